//! The `template` schema: templates write the commands and read the state.

use tidegate_device::{Format, Payload};

use super::{color_temperature, effect, flash, transition};
use crate::fault::Fault;
use crate::home_assistant::components::state_is;
use crate::home_assistant::draft::{Draft, STATE};
use crate::schema::{Argument, integer};

pub(super) fn light(draft: &mut Draft<'_>) -> Result<(), Fault> {
    let config = draft.config;
    let topic = config.required_topic("command_topic")?;
    states(draft)?;
    let mut arguments = Vec::new();
    if config.has("brightness_template") {
        arguments.push(Argument::optional("brightness", integer(1, 255)));
    }
    if config.has("color_temp_template") {
        arguments.push(Argument::optional("color_temp", color_temperature(config)?));
    }
    if ["red_template", "green_template", "blue_template"]
        .iter()
        .all(|it| config.has(it))
    {
        for part in ["red", "green", "blue"] {
            arguments.push(Argument::optional(part, integer(0, 255)));
        }
    }
    arguments.extend(effect(config)?);
    arguments.push(flash());
    arguments.push(transition());
    let on = "{% set state = 'on' %}";
    let on = config.command_template("command_on_template", on)?;
    let on = on.ok_or(Fault::Missing {
        key: "command_on_template",
    })?;
    let off = "{% set state = 'off' %}";
    let off = config.command_template("command_off_template", off)?;
    let off = off.ok_or(Fault::Missing {
        key: "command_off_template",
    })?;
    let (on, off) = (Payload::Template(on), Payload::Template(off));
    let description = "Turns it on, and sets what is given.";
    draft.command(
        "turn_on",
        description,
        &topic,
        arguments,
        on,
        state_is(true),
    );
    draft.command(
        "turn_off",
        "Turns it off.",
        &topic,
        vec![transition()],
        off,
        state_is(false),
    );
    Ok(())
}

/// What the templates extract from the messages on the one state topic.
fn states(draft: &mut Draft<'_>) -> Result<(), Fault> {
    let config = draft.config;
    let Some(topic) = config.topic("state_topic")? else {
        return Ok(());
    };
    let boolean = Format::Boolean {
        on: "on".to_owned(),
        off: "off".to_owned(),
    };
    for (name, template, format) in [
        (STATE, "state_template", boolean),
        ("brightness", "brightness_template", Format::Number),
        ("color_temp", "color_temp_template", Format::Number),
        ("red", "red_template", Format::Number),
        ("green", "green_template", Format::Number),
        ("blue", "blue_template", Format::Number),
        ("effect", "effect_template", Format::Text),
    ] {
        if let Some(template) = config.template(template)? {
            draft.property_on(name, topic.clone(), Some(template), format);
        }
    }
    Ok(())
}
