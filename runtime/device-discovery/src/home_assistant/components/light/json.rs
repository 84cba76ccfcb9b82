//! The `json` schema: one object tells and sets everything.

use serde_json::{Map, Value, json};
use tidegate_device::{Expected, Format, Payload, Template};

use super::{color_temperature, effect, flash, transition};
use crate::fault::Fault;
use crate::home_assistant::config::{Config, template_fault};
use crate::home_assistant::draft::{Draft, STATE};
use crate::schema::{Argument, integer, number, object};

/// Members in the order of their declaration; each is left out if its argument is.
const TURN_ON: &str = concat!(
    r#"{"state":"ON""#,
    "{% if brightness is defined %},\"brightness\":{{ brightness }}{% endif %}",
    "{% if color_temp is defined %},\"color_temp\":{{ color_temp }}{% endif %}",
    "{% if color is defined %},\"color\":{{ color | to_json }}{% endif %}",
    "{% if white is defined %},\"white\":{{ white }}{% endif %}",
    "{% if effect is defined %},\"effect\":{{ effect | to_json }}{% endif %}",
    "{% if flash is defined %},\"flash\":{{ flash_seconds[flash] }}{% endif %}",
    "{% if transition is defined %},\"transition\":{{ transition }}{% endif %}",
    "}",
);
const TURN_OFF: &str = concat!(
    r#"{"state":"OFF""#,
    "{% if transition is defined %},\"transition\":{{ transition }}{% endif %}",
    "}",
);

/// A message without `state` is not about the light, and the last one stays.
const SAYS_STATE: &str = "{% if value_json.state is defined %}{{ value }}{% endif %}";

pub(super) fn light(draft: &mut Draft<'_>) -> Result<(), Fault> {
    let config = draft.config;
    let topic = config.required_topic("command_topic")?;
    if let Some(property) = draft.property(STATE, "state_topic", &[], Format::Json)? {
        let says = Template::home_assistant(SAYS_STATE);
        property.value = Some(says.map_err(|error| template_fault("state_topic", &error))?);
    }
    let mut arguments = on_arguments(config)?;
    let mut off_arguments = Vec::new();
    if config.flag("transition", true)? {
        arguments.push(transition());
        off_arguments.push(transition());
    }
    let seconds = json!({
        "short": config.integer("flash_time_short", 2, 0, 3600)?,
        "long": config.integer("flash_time_long", 10, 0, 3600)?,
    });
    let on = format!("{{% set flash_seconds = {seconds} %}}{TURN_ON}");
    let on = Template::home_assistant(&on).map_err(|error| template_fault("flash", &error))?;
    let off =
        Template::home_assistant(TURN_OFF).map_err(|error| template_fault("transition", &error))?;
    let (on, off) = (Payload::Template(on), Payload::Template(off));
    let repeated = &["brightness", "color_temp"];
    let (is_on, is_off) = (Some(state("ON", repeated)), Some(state("OFF", &[])));
    let description = "Turns it on, and sets what is given.";
    draft.command("turn_on", description, &topic, arguments, on, is_on);
    draft.command(
        "turn_off",
        "Turns it off.",
        &topic,
        off_arguments,
        off,
        is_off,
    );
    Ok(())
}

/// The state that confirms a command. A colour is told in other numbers than it was set, and effects are often not told.
fn state(state: &str, repeated: &[&str]) -> (&'static str, Expected) {
    let expected = Expected::Object {
        members: Map::from_iter([("state".to_owned(), Value::from(state))]),
        arguments: repeated.iter().map(|name| (*name).to_owned()).collect(),
    };
    (STATE, expected)
}

fn on_arguments(config: &Config<'_>) -> Result<Vec<Argument>, Fault> {
    let mut modes = config.list("supported_color_modes")?.unwrap_or_default();
    // The forms of older versions.
    for mode in ["color_temp", "hs", "rgb", "xy"] {
        if config.flag(mode, false)? && !modes.iter().any(|it| it == mode) {
            modes.push(mode.to_owned());
        }
    }
    let has = |mode: &str| modes.iter().any(|it| it == mode);
    let scale = config.integer("brightness_scale", 255, 1, 1_000_000)?;
    let mut arguments = Vec::new();
    if config.flag("brightness", false)? || modes.iter().any(|it| it != "onoff") {
        arguments.push(Argument::optional("brightness", integer(1, scale)));
    }
    if has("color_temp") {
        arguments.push(Argument::optional("color_temp", color_temperature(config)?));
    }
    let colors: Vec<Value> = modes.iter().filter_map(|mode| color(mode)).collect();
    match colors.as_slice() {
        [] => {}
        [one] => arguments.push(Argument::optional("color", one.clone())),
        several => arguments.push(Argument::optional("color", json!({ "anyOf": several }))),
    }
    if has("white") {
        let scale = config.integer("white_scale", 255, 1, 1_000_000)?;
        arguments.push(Argument::optional("white", integer(1, scale)));
    }
    if config.flag("effect", false)? {
        arguments.extend(effect(config)?);
    }
    if config.flag("flash", true)? {
        arguments.push(flash());
    }
    Ok(arguments)
}

/// The colour of a mode.
fn color(mode: &str) -> Option<Value> {
    let bytes = |names: &[&'static str]| {
        object(
            names
                .iter()
                .map(|name| Argument::required(name, integer(0, 255)))
                .collect(),
        )
    };
    Some(match mode {
        "rgb" => bytes(&["r", "g", "b"]),
        "rgbw" => bytes(&["r", "g", "b", "w"]),
        "rgbww" => bytes(&["r", "g", "b", "c", "w"]),
        "hs" => object(vec![
            Argument::required("h", number(0.0, 360.0)),
            Argument::required("s", number(0.0, 100.0)),
        ]),
        "xy" => object(vec![
            Argument::required("x", number(0.0, 1.0)),
            Argument::required("y", number(0.0, 1.0)),
        ]),
        _ => return None,
    })
}
