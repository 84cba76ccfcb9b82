//! `sensor` and `binary_sensor`.

use tidegate_device::{Format, Text};

use crate::fault::Fault;
use crate::home_assistant::draft::{Draft, STATE};

pub(super) fn sensor(draft: &mut Draft<'_>) -> Result<(), Fault> {
    let config = draft.config;
    let unit = config.shown("unit_of_measurement");
    let options = config.list("options")?;
    let class = config.shown("device_class");
    let format = match (options, class.as_ref().map(Text::as_str)) {
        (Some(options), _) => Format::Choice(options),
        (None, Some("enum" | "timestamp" | "date" | "uptime")) => Format::Text,
        (None, Some(_)) => Format::Number,
        (None, None) if unit.is_some() || config.has("state_class") => Format::Number,
        (None, None) => Format::Text,
    };
    let state = draft.property(STATE, "state_topic", &["value_template"], format)?;
    state.ok_or(Fault::Missing { key: "state_topic" })?.unit = unit;
    Ok(())
}

pub(super) fn binary_sensor(draft: &mut Draft<'_>) -> Result<(), Fault> {
    let config = draft.config;
    let format = Format::Boolean {
        on: config.payload("payload_on", "ON")?,
        off: config.payload("payload_off", "OFF")?,
    };
    let state = draft.property(STATE, "state_topic", &["value_template"], format)?;
    state.ok_or(Fault::Missing { key: "state_topic" })?;
    Ok(())
}
