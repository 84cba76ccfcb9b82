//! `switch`.

use tidegate_device::Format;

use super::state_is;
use crate::fault::Fault;
use crate::home_assistant::draft::{Draft, STATE};

pub(super) fn switch(draft: &mut Draft<'_>) -> Result<(), Fault> {
    let config = draft.config;
    let topic = config.required_topic("command_topic")?;
    let on = config.payload("payload_on", "ON")?;
    let off = config.payload("payload_off", "OFF")?;
    let format = Format::Boolean {
        on: config.payload("state_on", &on)?,
        off: config.payload("state_off", &off)?,
    };
    draft.property(STATE, "state_topic", &["value_template"], format)?;
    for (name, description, text, state) in [
        ("turn_on", "Turns it on.", on, true),
        ("turn_off", "Turns it off.", off, false),
    ] {
        let payload = draft.fixed("command_template", &text)?;
        draft.command(
            name,
            description,
            &topic,
            Vec::new(),
            payload,
            state_is(state),
        );
    }
    Ok(())
}
