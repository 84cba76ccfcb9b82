//! `fan`.

use tidegate_device::Format;

use super::{repeats, state_is};
use crate::fault::Fault;
use crate::home_assistant::draft::{Draft, STATE};
use crate::schema::{Argument, choice, integer};

pub(super) fn fan(draft: &mut Draft<'_>) -> Result<(), Fault> {
    let config = draft.config;
    let topic = config.required_topic("command_topic")?;
    let on = config.payload("payload_on", "ON")?;
    let off = config.payload("payload_off", "OFF")?;
    let format = Format::Boolean {
        on: on.clone(),
        off: off.clone(),
    };
    let templates = ["state_value_template", "value_template"];
    draft.property(STATE, "state_topic", &templates, format)?;
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
    speed(draft)?;
    preset_mode(draft)?;
    oscillation(draft)?;
    direction(draft)
}

/// `percentage_…`: the device counts its speeds from 1 to the end of the range, and 0 is off.
fn speed(draft: &mut Draft<'_>) -> Result<(), Fault> {
    let config = draft.config;
    let least = config.integer("speed_range_min", 1, 1, 1_000_000)?;
    let most = config.integer("speed_range_max", 100, 1, 1_000_000)?;
    if least > most {
        return Err(Fault::invalid(
            "speed_range_max",
            "is less than 'speed_range_min'",
        ));
    }
    let templates = ["percentage_value_template"];
    if let Some(speed) = draft.property(
        "speed",
        "percentage_state_topic",
        &templates,
        Format::Number,
    )? {
        speed.minimum = Some(0.0);
        speed.maximum = Some(f64::from(most));
    }
    let Some(topic) = config.topic("percentage_command_topic")? else {
        return Ok(());
    };
    let payload = draft.argument("percentage_command_template", "speed")?;
    let arguments = vec![Argument::required("speed", integer(least, most))];
    let confirmed_by = repeats("speed", "speed");
    draft.command(
        "set_speed",
        "Sets its speed.",
        &topic,
        arguments,
        payload,
        confirmed_by,
    );
    Ok(())
}

fn preset_mode(draft: &mut Draft<'_>) -> Result<(), Fault> {
    let config = draft.config;
    let modes = config.list("preset_modes")?.unwrap_or_default();
    // The state is a text: it is `None`, or a speed, while none of the modes is set.
    let templates = ["preset_mode_value_template"];
    draft.property(
        "preset_mode",
        "preset_mode_state_topic",
        &templates,
        Format::Text,
    )?;
    let Some(topic) = config.topic("preset_mode_command_topic")? else {
        return Ok(());
    };
    if modes.is_empty() {
        return Err(Fault::Missing {
            key: "preset_modes",
        });
    }
    let payload = draft.argument("preset_mode_command_template", "preset_mode")?;
    let arguments = vec![Argument::required("preset_mode", choice(&modes))];
    let confirmed_by = repeats("preset_mode", "preset_mode");
    draft.command(
        "set_preset_mode",
        "Sets its mode.",
        &topic,
        arguments,
        payload,
        confirmed_by,
    );
    Ok(())
}

fn oscillation(draft: &mut Draft<'_>) -> Result<(), Fault> {
    let config = draft.config;
    let on = config.payload("payload_oscillation_on", "oscillate_on")?;
    let off = config.payload("payload_oscillation_off", "oscillate_off")?;
    let format = Format::Boolean {
        on: on.clone(),
        off: off.clone(),
    };
    let templates = ["oscillation_value_template"];
    draft.property("oscillation", "oscillation_state_topic", &templates, format)?;
    let Some(topic) = config.topic("oscillation_command_topic")? else {
        return Ok(());
    };
    for (name, description, text, state) in [
        ("start_oscillation", "Makes it oscillate.", on, true),
        ("stop_oscillation", "Stops its oscillation.", off, false),
    ] {
        let payload = draft.fixed("oscillation_command_template", &text)?;
        let confirmed_by = Some((
            "oscillation",
            tidegate_device::Expected::Value(state.into()),
        ));
        draft.command(name, description, &topic, Vec::new(), payload, confirmed_by);
    }
    Ok(())
}

fn direction(draft: &mut Draft<'_>) -> Result<(), Fault> {
    let directions = ["forward".to_owned(), "reverse".to_owned()];
    let format = Format::Choice(directions.to_vec());
    draft.property(
        "direction",
        "direction_state_topic",
        &["direction_value_template"],
        format,
    )?;
    let Some(topic) = draft.config.topic("direction_command_topic")? else {
        return Ok(());
    };
    let payload = draft.argument("direction_command_template", "direction")?;
    let arguments = vec![Argument::required("direction", choice(&directions))];
    let confirmed_by = repeats("direction", "direction");
    draft.command(
        "set_direction",
        "Sets its direction.",
        &topic,
        arguments,
        payload,
        confirmed_by,
    );
    Ok(())
}
