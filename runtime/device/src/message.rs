//! What a command publishes.

use serde_json::{Map, Number, Value};
use thiserror::Error;

use crate::device::{Command, Payload};
use crate::template::TemplateError;

/// Why there is no payload.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MessageError {
    /// An argument that the payload needs is missing.
    #[error("the argument '{0}' is missing; give it")]
    Missing(String),
    /// The payload could not be rendered.
    #[error(transparent)]
    Template(#[from] TemplateError),
}

impl Command {
    /// The payload for these arguments, which its schema has accepted.
    ///
    /// Whole numbers are written without a fraction, because devices parse them as integers.
    pub fn message(&self, arguments: &Map<String, Value>) -> Result<String, MessageError> {
        match &self.payload {
            Payload::Fixed(text) => Ok(text.clone()),
            Payload::Arguments => Ok(whole(&Value::Object(arguments.clone())).to_string()),
            Payload::Argument(name) => match arguments.get(name) {
                Some(Value::String(text)) => Ok(text.clone()),
                Some(value) => Ok(whole(value).to_string()),
                None => Err(MessageError::Missing(name.clone())),
            },
            Payload::Template(template) => {
                let context = whole(&Value::Object(arguments.clone()));
                let text = template.render(&context)?;
                // Home Assistant publishes what a template renders without the space around it.
                Ok(if template.is_home_assistant() {
                    text.trim().to_owned()
                } else {
                    text
                })
            }
        }
    }
}

/// The same value, in which numbers such as `20.0` are integers.
fn whole(value: &Value) -> Value {
    match value {
        Value::Number(number) => Value::Number(whole_number(number)),
        Value::Array(items) => items.iter().map(whole).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| (name.clone(), whole(value)))
            .collect(),
        other => other.clone(),
    }
}

fn whole_number(number: &Number) -> Number {
    /// Up to here each integer is a floating-point number of its own: 2^53.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match number.as_f64() {
        Some(it) if number.is_f64() && it.fract() == 0.0 && it.abs() <= EXACT => {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "it is an integer below 2^53"
            )]
            let integer = it as i64;
            Number::from(integer)
        }
        _ => number.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::template::Template;

    fn command(payload: Payload) -> Command {
        Command {
            name: "set".to_owned(),
            description: None,
            arguments: std::sync::Arc::new(json!({ "type": "object" })),
            topic: "set".to_owned(),
            payload,
            qos: 0,
            retain: false,
            expiry: None,
            confirm: None,
        }
    }

    fn message(payload: Payload, arguments: Value) -> Result<String, MessageError> {
        let Value::Object(arguments) = arguments else {
            return Err(MessageError::Missing(String::new()));
        };
        command(payload).message(&arguments)
    }

    #[test]
    fn a_payload_is_what_the_device_expects() -> Result<(), TemplateError> {
        let value = || Payload::Argument("value".to_owned());
        let template = Payload::Template(Template::new("{ \"position\": {{ position }} }")?);
        for (payload, arguments, expected) in [
            (Payload::Fixed("ON".to_owned()), json!({}), "ON"),
            (value(), json!({ "value": 21.5 }), "21.5"),
            (value(), json!({ "value": 20.0 }), "20"),
            (value(), json!({ "value": true }), "true"),
            (value(), json!({ "value": "a \"b\"" }), "a \"b\""),
            (
                value(),
                json!({ "value": [1.0, { "a": 2.0 }] }),
                "[1,{\"a\":2}]",
            ),
            (Payload::Arguments, json!({ "a": 1.0 }), "{\"a\":1}"),
            (
                template,
                json!({ "position": 50.0 }),
                "{ \"position\": 50 }",
            ),
        ] {
            assert_eq!(message(payload, arguments).as_deref(), Ok(expected));
        }
        Ok(())
    }

    #[test]
    fn a_missing_argument_is_named() {
        let missing = message(Payload::Argument("value".to_owned()), json!({}));
        assert_eq!(missing, Err(MessageError::Missing("value".to_owned())));
    }
}
