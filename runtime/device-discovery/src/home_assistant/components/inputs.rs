//! `number`, `select`, `text` and `button`: entities of one value, or of none.

use serde_json::json;
use tidegate_device::{Format, Text};

use super::repeats;
use crate::fault::Fault;
use crate::home_assistant::draft::{Draft, STATE};
use crate::schema::{Argument, choice, plain, whole_step, with};

pub(super) fn number(draft: &mut Draft<'_>) -> Result<(), Fault> {
    let config = draft.config;
    let topic = config.required_topic("command_topic")?;
    let minimum = config.number_or("min", 1.0)?;
    let maximum = config.number_or("max", 100.0)?;
    if minimum > maximum {
        return Err(Fault::invalid("max", "is less than 'min'"));
    }
    let step = config.number_or("step", 1.0)?;
    if step <= 0.0 {
        return Err(Fault::invalid("step", "must be greater than 0"));
    }
    let unit = config.shown("unit_of_measurement");
    if let Some(state) =
        draft.property(STATE, "state_topic", &["value_template"], Format::Number)?
    {
        state.unit.clone_from(&unit);
        state.minimum = Some(minimum);
        state.maximum = Some(maximum);
    }
    let schema = crate::schema::number(minimum, maximum);
    let schema = match whole_step(step, minimum) {
        Some(step) => with(schema, "multipleOf", step),
        None => with(schema, "description", format!("Steps of {}.", plain(step))),
    };
    let payload = draft.argument("command_template", "value")?;
    let arguments = vec![Argument::required("value", schema)];
    let description = match unit {
        Some(unit) => format!("Sets its value, in {unit}."),
        None => "Sets its value.".to_owned(),
    };
    draft.command(
        "set",
        &description,
        &topic,
        arguments,
        payload,
        repeats(STATE, "value"),
    );
    Ok(())
}

pub(super) fn select(draft: &mut Draft<'_>) -> Result<(), Fault> {
    let config = draft.config;
    let topic = config.required_topic("command_topic")?;
    let options = config.list("options")?.unwrap_or_default();
    if options.is_empty() {
        return Err(Fault::Missing { key: "options" });
    }
    let format = Format::Choice(options.clone());
    draft.property(STATE, "state_topic", &["value_template"], format)?;
    let payload = draft.argument("command_template", "option")?;
    let arguments = vec![Argument::required("option", choice(&options))];
    let confirmed_by = repeats(STATE, "option");
    draft.command(
        "select",
        "Selects an option.",
        &topic,
        arguments,
        payload,
        confirmed_by,
    );
    Ok(())
}

pub(super) fn text(draft: &mut Draft<'_>) -> Result<(), Fault> {
    let config = draft.config;
    let topic = config.required_topic("command_topic")?;
    let minimum = config.integer("min", 0, 0, 255)?;
    let maximum = config.integer("max", 255, 0, 255)?;
    if minimum > maximum {
        return Err(Fault::invalid("max", "is less than 'min'"));
    }
    // A password is told to the device, and not to callers.
    let is_password = config.payload("mode", "text")? == "password";
    if !is_password {
        draft.property(STATE, "state_topic", &["value_template"], Format::Text)?;
    }
    let schema = json!({ "type": "string", "minLength": minimum, "maxLength": maximum });
    let payload = draft.argument("command_template", "value")?;
    let arguments = vec![Argument::required("value", schema)];
    let confirmed_by = repeats(STATE, "value");
    draft.command(
        "set",
        "Sets its text.",
        &topic,
        arguments,
        payload,
        confirmed_by,
    );
    Ok(())
}

pub(super) fn button(draft: &mut Draft<'_>) -> Result<(), Fault> {
    let config = draft.config;
    let topic = config.required_topic("command_topic")?;
    let text = config.payload("payload_press", "PRESS")?;
    let payload = draft.fixed("command_template", &text)?;
    let description = match config.shown("device_class").as_ref().map(Text::as_str) {
        Some("restart") => "Restarts the device.",
        Some("update") => "Updates the device.",
        Some("identify") => "Makes the device show where it is.",
        _ => "Presses it.",
    };
    draft.command("press", description, &topic, Vec::new(), payload, None);
    Ok(())
}
