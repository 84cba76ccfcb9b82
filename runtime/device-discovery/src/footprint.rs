//! How many bytes of memory a declaration makes the gateway keep, about.

use serde_json::Value;
use tidegate_device::{Availability, Command, Expected, Format, Payload, Property, Template, Text};

/// What a property or a command takes beside its texts.
const FIXED: usize = 256;

pub(crate) fn of_property(property: &Property) -> usize {
    let format = match &property.format {
        Format::Boolean { on, off } => on.len() + off.len(),
        Format::Choice(choices) => choices.iter().map(|it| it.len() + 24).sum(),
        Format::Json | Format::Number | Format::Text => 0,
    };
    FIXED
        + property.name.len()
        + property.topic.len()
        + of_text(property.description.as_ref())
        + of_text(property.unit.as_ref())
        + of_template(property.value.as_ref())
        + format
}

pub(crate) fn of_command(command: &Command) -> usize {
    let payload = match &command.payload {
        Payload::Fixed(text) | Payload::Argument(text) => text.len(),
        Payload::Template(template) => of_template(Some(template)),
        Payload::Arguments => 0,
    };
    let expected = command
        .confirm
        .as_ref()
        .map_or(0, |confirm| match &confirm.expected {
            Expected::Value(value) => of_value(value),
            Expected::Object { .. } => FIXED,
            Expected::Argument(_) | Expected::Arguments => 64,
        });
    FIXED
        + command.name.len()
        + command.topic.len()
        + of_text(command.description.as_ref())
        + of_value(&command.arguments)
        + payload
        + expected
}

pub(crate) fn of_availability(availability: &Availability) -> usize {
    availability
        .topics
        .iter()
        .map(|it| {
            FIXED
                + it.topic.len()
                + it.online.len()
                + it.offline.len()
                + of_template(it.value.as_ref())
        })
        .sum()
}

pub(crate) fn of_text(text: Option<&Text>) -> usize {
    text.map_or(0, |text| text.as_str().len())
}

fn of_template(template: Option<&Template>) -> usize {
    template.map_or(0, |template| template.source().len())
}

/// A JSON value in memory. Its depth is bounded by the parser, or it was made here.
fn of_value(value: &Value) -> usize {
    32 + match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(of_value).sum(),
        Value::Object(members) => members
            .iter()
            .map(|(key, it)| 32 + key.len() + of_value(it))
            .sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}
