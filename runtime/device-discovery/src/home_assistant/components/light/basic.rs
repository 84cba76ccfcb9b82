//! The default schema: each aspect of a light has topics of its own.

use serde_json::{Value, json};
use tidegate_device::{Expected, Format, Payload, Template};

use super::{color_temperature, color_temperatures};
use crate::fault::Fault;
use crate::home_assistant::components::{repeats, state_is};
use crate::home_assistant::config::template_fault;
use crate::home_assistant::draft::{Draft, STATE};
use crate::schema::{Argument, choice, integer, number};

pub(super) fn light(draft: &mut Draft<'_>) -> Result<(), Fault> {
    let config = draft.config;
    config.required_topic("command_topic")?;
    let format = Format::Boolean {
        on: config.payload("payload_on", "ON")?,
        off: config.payload("payload_off", "OFF")?,
    };
    let templates = ["state_value_template", "value_template"];
    draft.property(STATE, "state_topic", &templates, format)?;
    let scale = config.integer("brightness_scale", 255, 1, 1_000_000)?;
    brightness(draft, scale)?;
    color_temp(draft)?;
    for color in &COLORS {
        add_color(draft, color)?;
    }
    effect(draft)?;
    white(draft)?;
    let templates = ["color_mode_value_template"];
    draft.property(
        "color_mode",
        "color_mode_state_topic",
        &templates,
        Format::Text,
    )?;
    switch(draft, scale)
}

fn switch(draft: &mut Draft<'_>, scale: i32) -> Result<(), Fault> {
    let config = draft.config;
    let topic = config.required_topic("command_topic")?;
    let off = config.payload("payload_off", "OFF")?;
    let brightness = match config.payload("on_command_type", "last")?.as_str() {
        "last" | "first" => None,
        // Such a light is turned on by a brightness, and has no message for on.
        "brightness" => config.topic("brightness_command_topic")?,
        _ => {
            return Err(Fault::invalid(
                "on_command_type",
                "must be 'last', 'first' or 'brightness'",
            ));
        }
    };
    let (on_topic, on) = match brightness {
        Some(topic) => {
            let variables = format!("{{% set value = {scale} %}}");
            let template = config.command_template("brightness_command_template", &variables)?;
            let full = || Payload::Fixed(scale.to_string());
            (topic, template.map_or_else(full, Payload::Template))
        }
        None => (
            topic.clone(),
            Payload::Fixed(config.payload("payload_on", "ON")?),
        ),
    };
    draft.command(
        "turn_on",
        "Turns it on.",
        &on_topic,
        Vec::new(),
        on,
        state_is(true),
    );
    let off = Payload::Fixed(off);
    draft.command(
        "turn_off",
        "Turns it off.",
        &topic,
        Vec::new(),
        off,
        state_is(false),
    );
    Ok(())
}

fn brightness(draft: &mut Draft<'_>, scale: i32) -> Result<(), Fault> {
    let config = draft.config;
    let templates = ["brightness_value_template"];
    if let Some(state) = draft.property(
        "brightness",
        "brightness_state_topic",
        &templates,
        Format::Number,
    )? {
        state.minimum = Some(0.0);
        state.maximum = Some(f64::from(scale));
    }
    let Some(topic) = config.topic("brightness_command_topic")? else {
        return Ok(());
    };
    let payload = draft.argument("brightness_command_template", "brightness")?;
    let arguments = vec![Argument::required("brightness", integer(1, scale))];
    let confirmed_by = repeats("brightness", "brightness");
    draft.command(
        "set_brightness",
        "Sets its brightness.",
        &topic,
        arguments,
        payload,
        confirmed_by,
    );
    Ok(())
}

fn color_temp(draft: &mut Draft<'_>) -> Result<(), Fault> {
    let config = draft.config;
    let templates = ["color_temp_value_template"];
    if let Some(state) = draft.property(
        "color_temp",
        "color_temp_state_topic",
        &templates,
        Format::Number,
    )? {
        let (least, most, unit) = color_temperatures(config)?;
        state.minimum = Some(f64::from(least));
        state.maximum = Some(f64::from(most));
        state.unit = Some(tidegate_device::Text::new(unit));
    }
    let Some(topic) = config.topic("color_temp_command_topic")? else {
        return Ok(());
    };
    let payload = draft.argument("color_temp_command_template", "color_temp")?;
    let arguments = vec![Argument::required("color_temp", color_temperature(config)?)];
    let confirmed_by = repeats("color_temp", "color_temp");
    let description = "Sets its colour temperature.";
    draft.command(
        "set_color_temp",
        description,
        &topic,
        arguments,
        payload,
        confirmed_by,
    );
    Ok(())
}

/// A way to name a colour: several numbers in one text, with commas between them.
struct Color {
    name: &'static str,
    command: &'static str,
    state_topic: &'static str,
    state_template: &'static str,
    command_topic: &'static str,
    command_template: &'static str,
    parts: &'static [(&'static str, f64)],
    /// The payload of a light that declares no template.
    payload: &'static str,
}

const COLORS: [Color; 5] = [
    Color {
        name: "rgb",
        command: "set_rgb",
        state_topic: "rgb_state_topic",
        state_template: "rgb_value_template",
        command_topic: "rgb_command_topic",
        command_template: "rgb_command_template",
        parts: &[("red", 255.0), ("green", 255.0), ("blue", 255.0)],
        payload: "{{ red }},{{ green }},{{ blue }}",
    },
    Color {
        name: "rgbw",
        command: "set_rgbw",
        state_topic: "rgbw_state_topic",
        state_template: "rgbw_value_template",
        command_topic: "rgbw_command_topic",
        command_template: "rgbw_command_template",
        parts: &[
            ("red", 255.0),
            ("green", 255.0),
            ("blue", 255.0),
            ("white", 255.0),
        ],
        payload: "{{ red }},{{ green }},{{ blue }},{{ white }}",
    },
    Color {
        name: "rgbww",
        command: "set_rgbww",
        state_topic: "rgbww_state_topic",
        state_template: "rgbww_value_template",
        command_topic: "rgbww_command_topic",
        command_template: "rgbww_command_template",
        parts: &[
            ("red", 255.0),
            ("green", 255.0),
            ("blue", 255.0),
            ("cold_white", 255.0),
            ("warm_white", 255.0),
        ],
        payload: "{{ red }},{{ green }},{{ blue }},{{ cold_white }},{{ warm_white }}",
    },
    Color {
        name: "hs",
        command: "set_hs",
        state_topic: "hs_state_topic",
        state_template: "hs_value_template",
        command_topic: "hs_command_topic",
        command_template: "hs_command_template",
        parts: &[("hue", 360.0), ("sat", 100.0)],
        payload: "{{ hue }},{{ sat }}",
    },
    Color {
        name: "xy",
        command: "set_xy",
        state_topic: "xy_state_topic",
        state_template: "xy_value_template",
        command_topic: "xy_command_topic",
        command_template: "xy_command_template",
        parts: &[("x", 1.0), ("y", 1.0)],
        payload: "{{ x }},{{ y }}",
    },
];

fn add_color(draft: &mut Draft<'_>, color: &Color) -> Result<(), Fault> {
    let config = draft.config;
    draft.property(
        color.name,
        color.state_topic,
        &[color.state_template],
        Format::Text,
    )?;
    let Some(topic) = config.topic(color.command_topic)? else {
        return Ok(());
    };
    let template = match config.template(color.command_template)? {
        Some(template) => template,
        None => Template::home_assistant(color.payload)
            .map_err(|error| template_fault(color.command_template, &error))?,
    };
    let part = |(name, most): &(&'static str, f64)| {
        let schema: Value = match *most {
            255.0 => integer(0, 255),
            most => number(0.0, most),
        };
        Argument::required(name, schema)
    };
    let arguments = color.parts.iter().map(part).collect();
    let payload = Payload::Template(template);
    // A device may tell the colour in numbers that it has rounded, so that no state confirms it.
    draft.command(
        color.command,
        "Sets its colour.",
        &topic,
        arguments,
        payload,
        None,
    );
    Ok(())
}

fn effect(draft: &mut Draft<'_>) -> Result<(), Fault> {
    let config = draft.config;
    let templates = ["effect_value_template"];
    draft.property("effect", "effect_state_topic", &templates, Format::Text)?;
    let Some(topic) = config.topic("effect_command_topic")? else {
        return Ok(());
    };
    let effects = config.list("effect_list")?.filter(|it| !it.is_empty());
    let schema = match effects {
        Some(effects) => choice(&effects),
        None => json!({ "type": "string", "maxLength": 64 }),
    };
    let payload = draft.argument("effect_command_template", "effect")?;
    let arguments = vec![Argument::required("effect", schema)];
    let confirmed_by = repeats("effect", "effect");
    draft.command(
        "set_effect",
        "Starts an effect.",
        &topic,
        arguments,
        payload,
        confirmed_by,
    );
    Ok(())
}

fn white(draft: &mut Draft<'_>) -> Result<(), Fault> {
    let config = draft.config;
    let Some(topic) = config.topic("white_command_topic")? else {
        return Ok(());
    };
    let scale = config.integer("white_scale", 255, 1, 1_000_000)?;
    let arguments = vec![Argument::required("white", integer(1, scale))];
    let payload = Payload::Argument("white".to_owned());
    let confirmed_by = Some(("color_mode", Expected::Value("white".into())));
    let description = "Makes it white, with this brightness.";
    draft.command(
        "set_white",
        description,
        &topic,
        arguments,
        payload,
        confirmed_by,
    );
    Ok(())
}
