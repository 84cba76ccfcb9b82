//! `climate`.

use tidegate_device::{Format, Payload, Text};

use super::repeats;
use crate::fault::Fault;
use crate::home_assistant::draft::Draft;
use crate::schema::{Argument, choice, number, plain, with};

/// A mode: one of several texts.
struct Mode {
    name: &'static str,
    command: &'static str,
    description: &'static str,
    state_topic: &'static str,
    state_template: &'static str,
    command_topic: &'static str,
    command_template: &'static str,
    modes: &'static str,
    /// The modes of a device that lists none.
    default: &'static [&'static str],
}

const MODES: [Mode; 5] = [
    Mode {
        name: "mode",
        command: "set_mode",
        description: "Sets its mode.",
        state_topic: "mode_state_topic",
        state_template: "mode_state_template",
        command_topic: "mode_command_topic",
        command_template: "mode_command_template",
        modes: "modes",
        default: &["auto", "off", "cool", "heat", "dry", "fan_only"],
    },
    Mode {
        name: "fan_mode",
        command: "set_fan_mode",
        description: "Sets the mode of its fan.",
        state_topic: "fan_mode_state_topic",
        state_template: "fan_mode_state_template",
        command_topic: "fan_mode_command_topic",
        command_template: "fan_mode_command_template",
        modes: "fan_modes",
        default: &["auto", "low", "medium", "high"],
    },
    Mode {
        name: "swing_mode",
        command: "set_swing_mode",
        description: "Sets the mode of its swing.",
        state_topic: "swing_mode_state_topic",
        state_template: "swing_mode_state_template",
        command_topic: "swing_mode_command_topic",
        command_template: "swing_mode_command_template",
        modes: "swing_modes",
        default: &["on", "off"],
    },
    Mode {
        name: "swing_horizontal_mode",
        command: "set_swing_horizontal_mode",
        description: "Sets the mode of its horizontal swing.",
        state_topic: "swing_horizontal_mode_state_topic",
        state_template: "swing_horizontal_mode_state_template",
        command_topic: "swing_horizontal_mode_command_topic",
        command_template: "swing_horizontal_mode_command_template",
        modes: "swing_horizontal_modes",
        default: &["on", "off"],
    },
    Mode {
        name: "preset_mode",
        command: "set_preset_mode",
        description: "Sets its preset.",
        state_topic: "preset_mode_state_topic",
        state_template: "preset_mode_value_template",
        command_topic: "preset_mode_command_topic",
        command_template: "preset_mode_command_template",
        modes: "preset_modes",
        default: &[],
    },
];

/// A setpoint: a number.
struct Setpoint {
    name: &'static str,
    command: &'static str,
    description: &'static str,
    state_topic: &'static str,
    state_template: &'static str,
    command_topic: &'static str,
    command_template: &'static str,
    is_temperature: bool,
}

const SETPOINTS: [Setpoint; 4] = [
    Setpoint {
        name: "temperature",
        command: "set_temperature",
        description: "Sets the temperature to reach",
        state_topic: "temperature_state_topic",
        state_template: "temperature_state_template",
        command_topic: "temperature_command_topic",
        command_template: "temperature_command_template",
        is_temperature: true,
    },
    Setpoint {
        name: "temperature_low",
        command: "set_temperature_low",
        description: "Sets the temperature below which it heats",
        state_topic: "temperature_low_state_topic",
        state_template: "temperature_low_state_template",
        command_topic: "temperature_low_command_topic",
        command_template: "temperature_low_command_template",
        is_temperature: true,
    },
    Setpoint {
        name: "temperature_high",
        command: "set_temperature_high",
        description: "Sets the temperature above which it cools",
        state_topic: "temperature_high_state_topic",
        state_template: "temperature_high_state_template",
        command_topic: "temperature_high_command_topic",
        command_template: "temperature_high_command_template",
        is_temperature: true,
    },
    Setpoint {
        name: "humidity",
        command: "set_humidity",
        description: "Sets the humidity to reach",
        state_topic: "target_humidity_state_topic",
        state_template: "target_humidity_state_template",
        command_topic: "target_humidity_command_topic",
        command_template: "target_humidity_command_template",
        is_temperature: false,
    },
];

/// The default template of all states.
const VALUE_TEMPLATE: &str = "value_template";

pub(super) fn climate(draft: &mut Draft<'_>) -> Result<(), Fault> {
    let unit = match draft.config.payload("temperature_unit", "C")?.as_str() {
        "C" => "°C",
        "F" => "°F",
        _ => return Err(Fault::invalid("temperature_unit", "must be 'C' or 'F'")),
    };
    for mode in &MODES {
        add_mode(draft, mode)?;
    }
    for setpoint in &SETPOINTS {
        add_setpoint(draft, setpoint, unit)?;
    }
    for (name, topic, template, unit) in [
        (
            "current_temperature",
            "current_temperature_topic",
            "current_temperature_template",
            unit,
        ),
        (
            "current_humidity",
            "current_humidity_topic",
            "current_humidity_template",
            "%",
        ),
    ] {
        let templates = [template, VALUE_TEMPLATE];
        if let Some(current) = draft.property(name, topic, &templates, Format::Number)? {
            current.unit = Some(Text::new(unit));
        }
    }
    let templates = ["action_template", VALUE_TEMPLATE];
    draft.property("action", "action_topic", &templates, Format::Text)?;
    power(draft)?;
    if draft.properties.is_empty() && draft.commands.is_empty() {
        return Err(Fault::Missing {
            key: "mode_command_topic",
        });
    }
    Ok(())
}

fn add_mode(draft: &mut Draft<'_>, mode: &Mode) -> Result<(), Fault> {
    let config = draft.config;
    let modes = config
        .list(mode.modes)?
        .unwrap_or_else(|| mode.default.iter().map(|it| (*it).to_owned()).collect());
    let templates = [mode.state_template, VALUE_TEMPLATE];
    draft.property(mode.name, mode.state_topic, &templates, Format::Text)?;
    let Some(topic) = config.topic(mode.command_topic)? else {
        return Ok(());
    };
    if modes.is_empty() {
        return Err(Fault::Missing { key: mode.modes });
    }
    let payload = draft.argument(mode.command_template, mode.name)?;
    let arguments = vec![Argument::required(mode.name, choice(&modes))];
    let confirmed_by = repeats(mode.name, mode.name);
    draft.command(
        mode.command,
        mode.description,
        &topic,
        arguments,
        payload,
        confirmed_by,
    );
    Ok(())
}

fn add_setpoint(draft: &mut Draft<'_>, setpoint: &Setpoint, unit: &str) -> Result<(), Fault> {
    let config = draft.config;
    let (unit, minimum, maximum, step) = if setpoint.is_temperature {
        let (least, most) = if unit == "°F" {
            (44.6, 95.0)
        } else {
            (7.0, 35.0)
        };
        (
            unit,
            config.number_or("min_temp", least)?,
            config.number_or("max_temp", most)?,
            config.number_or("temp_step", 1.0)?,
        )
    } else {
        (
            "%",
            config.number_or("min_humidity", 30.0)?,
            config.number_or("max_humidity", 99.0)?,
            1.0,
        )
    };
    let templates = [setpoint.state_template, VALUE_TEMPLATE];
    let state = draft.property(
        setpoint.name,
        setpoint.state_topic,
        &templates,
        Format::Number,
    )?;
    if let Some(state) = state {
        state.unit = Some(Text::new(unit));
    }
    let Some(topic) = config.topic(setpoint.command_topic)? else {
        return Ok(());
    };
    if minimum > maximum {
        let key = if setpoint.is_temperature {
            "max_temp"
        } else {
            "max_humidity"
        };
        return Err(Fault::invalid(key, "is less than the minimum"));
    }
    // A setpoint between two steps is rounded by the device.
    let steps = format!("Steps of {}.", plain(step));
    let schema = with(number(minimum, maximum), "description", steps);
    let payload = draft.argument(setpoint.command_template, setpoint.name)?;
    let arguments = vec![Argument::required(setpoint.name, schema)];
    let description = format!("{}, in {unit}.", setpoint.description);
    let confirmed_by = repeats(setpoint.name, setpoint.name);
    draft.command(
        setpoint.command,
        &description,
        &topic,
        arguments,
        payload,
        confirmed_by,
    );
    Ok(())
}

/// `power_command_topic`: a switch beside the modes, which tells no state of its own.
fn power(draft: &mut Draft<'_>) -> Result<(), Fault> {
    let config = draft.config;
    let Some(topic) = config.topic("power_command_topic")? else {
        return Ok(());
    };
    for (name, description, key, default) in [
        ("turn_on", "Turns it on.", "payload_on", "ON"),
        ("turn_off", "Turns it off.", "payload_off", "OFF"),
    ] {
        let text = config.payload(key, default)?;
        let payload: Payload = draft.fixed("power_command_template", &text)?;
        draft.command(name, description, &topic, Vec::new(), payload, None);
    }
    Ok(())
}
