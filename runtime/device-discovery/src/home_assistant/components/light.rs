//! `light`, in its three schemas.

mod basic;
mod json;
mod template;

use crate::fault::Fault;
use crate::home_assistant::config::Config;
use crate::home_assistant::draft::Draft;
use crate::schema::{Argument, choice, integer, with};

pub(super) fn light(draft: &mut Draft<'_>) -> Result<(), Fault> {
    match draft.config.payload("schema", "basic")?.as_str() {
        "basic" | "default" => basic::light(draft),
        "json" => json::light(draft),
        "template" => template::light(draft),
        _ => Err(Fault::invalid(
            "schema",
            "must be 'basic', 'json' or 'template'",
        )),
    }
}

/// The range of colour temperatures, in mired or in kelvin, and its unit.
fn color_temperatures(config: &Config<'_>) -> Result<(i32, i32, &'static str), Fault> {
    let in_kelvin = config.flag("color_temp_kelvin", false)?;
    let (least, most, unit) = if in_kelvin {
        let least = config.integer("min_kelvin", 2000, 1, 100_000)?;
        (
            least,
            config.integer("max_kelvin", 6535, 1, 100_000)?,
            "kelvin",
        )
    } else {
        let least = config.integer("min_mireds", 153, 1, 100_000)?;
        (
            least,
            config.integer("max_mireds", 500, 1, 100_000)?,
            "mired",
        )
    };
    if least > most {
        return Err(Fault::invalid("max_mireds", "is less than the minimum"));
    }
    Ok((least, most, unit))
}

/// The argument `color_temp`, with its unit.
fn color_temperature(config: &Config<'_>) -> Result<serde_json::Value, Fault> {
    let (least, most, unit) = color_temperatures(config)?;
    let description = format!("Colour temperature in {unit}.");
    Ok(with(integer(least, most), "description", description))
}

/// The argument `effect`, if the light has effects.
fn effect(config: &Config<'_>) -> Result<Option<Argument>, Fault> {
    let effects = config.list("effect_list")?.filter(|it| !it.is_empty());
    Ok(effects.map(|effects| Argument::optional("effect", choice(&effects))))
}

/// The argument `flash`.
fn flash() -> Argument {
    Argument::optional("flash", choice(&["short".to_owned(), "long".to_owned()]))
}

/// The argument `transition`.
fn transition() -> Argument {
    let schema = crate::schema::number(0.0, 3600.0);
    let schema = with(
        schema,
        "description",
        "Seconds until the new state is reached.",
    );
    Argument::optional("transition", schema)
}
