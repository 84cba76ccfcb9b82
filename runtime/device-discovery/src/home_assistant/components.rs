//! The components: what each kind of entity tells, and what it can be told.

mod climate;
mod cover;
mod fan;
mod inputs;
mod light;
mod lock;
mod sensors;
mod switch;

use std::time::Duration;

use serde_json::Value;
use tidegate_device::Expected;

use super::config::Config;
use super::draft::{Draft, STATE};
use crate::fault::Fault;

/// A kind of entity. The first ones are those that a device is named after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Component {
    Climate,
    Light,
    Lock,
    Cover,
    Fan,
    Switch,
    Number,
    Select,
    Text,
    Button,
    BinarySensor,
    Sensor,
}

impl Component {
    pub(super) fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "binary_sensor" => Self::BinarySensor,
            "button" => Self::Button,
            "climate" => Self::Climate,
            "cover" => Self::Cover,
            "fan" => Self::Fan,
            "light" => Self::Light,
            "lock" => Self::Lock,
            "number" => Self::Number,
            "select" => Self::Select,
            "sensor" => Self::Sensor,
            "switch" => Self::Switch,
            "text" => Self::Text,
            _ => return None,
        })
    }

    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::BinarySensor => "binary_sensor",
            Self::Button => "button",
            Self::Climate => "climate",
            Self::Cover => "cover",
            Self::Fan => "fan",
            Self::Light => "light",
            Self::Lock => "lock",
            Self::Number => "number",
            Self::Select => "select",
            Self::Sensor => "sensor",
            Self::Switch => "switch",
            Self::Text => "text",
        }
    }

    /// How long a command may take until the state confirms it: what moves is slower than what switches.
    const fn within(self) -> Duration {
        Duration::from_secs(match self {
            Self::Cover => 60,
            Self::Lock => 30,
            Self::Climate | Self::Light | Self::Fan => 10,
            _ => 5,
        })
    }
}

/// Reads the config of an entity.
pub(super) fn draft<'a>(component: Component, config: &'a Config<'a>) -> Result<Draft<'a>, Fault> {
    let mut draft = Draft::new(config, component.within())?;
    match component {
        Component::BinarySensor => sensors::binary_sensor(&mut draft),
        Component::Button => inputs::button(&mut draft),
        Component::Climate => climate::climate(&mut draft),
        Component::Cover => cover::cover(&mut draft),
        Component::Fan => fan::fan(&mut draft),
        Component::Light => light::light(&mut draft),
        Component::Lock => lock::lock(&mut draft),
        Component::Number => inputs::number(&mut draft),
        Component::Select => inputs::select(&mut draft),
        Component::Sensor => sensors::sensor(&mut draft),
        Component::Switch => switch::switch(&mut draft),
        Component::Text => inputs::text(&mut draft),
    }?;
    Ok(draft)
}

/// The entity's own state is this value.
fn state_is(value: impl Into<Value>) -> (&'static str, Expected) {
    (STATE, Expected::Value(value.into()))
}

/// The property of this name has the value of the argument.
fn repeats(property: &'static str, argument: &str) -> (&'static str, Expected) {
    (property, Expected::Argument(argument.to_owned()))
}
