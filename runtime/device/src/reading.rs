//! What a message says: the value of a property, or whether a device is online.

use std::str::Utf8Error;

use serde_json::{Map, Number, Value, json};
use thiserror::Error;

use crate::device::{AvailabilityTopic, Expected, Format, Property};
use crate::template::{Template, TemplateError};
use crate::text::Text;

/// What a message says about a property.
#[derive(Debug, Clone, PartialEq)]
pub enum Reading {
    /// Its value: any JSON with [`Format::Json`], a number, a boolean or a text.
    Value(Value),
    /// The device does not know it.
    Unknown,
    /// Nothing: the message is about other properties on the same topic, and the last value stays.
    Absent,
}

/// Why a payload is not a value of the property.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum ReadingError {
    /// The payload is not UTF-8.
    #[error("the payload is not UTF-8 text: {0}")]
    NotText(#[from] Utf8Error),
    /// The value could not be extracted.
    #[error("the value could not be extracted from the payload: {0}")]
    Template(#[from] TemplateError),
    /// It is not JSON.
    #[error("not a JSON text: {0}")]
    NotJson(String),
    /// It is not a number.
    #[error("not a number")]
    NotNumber,
    /// It is neither of the two texts.
    #[error("neither '{on}' nor '{off}'")]
    NotBoolean {
        /// The text for true.
        on: String,
        /// The text for false.
        off: String,
    },
    /// It is none of the declared texts.
    #[error("none of the declared values")]
    NotListed,
}

impl Property {
    /// Reads the value from the payload of a message on its topic.
    ///
    /// The template has the variables `value`, the payload as text, and `value_json`, the payload as JSON if it is.
    pub fn read(&self, payload: &[u8]) -> Result<Reading, ReadingError> {
        let payload = std::str::from_utf8(payload)?;
        let Some(template) = &self.value else {
            return self.format.read(payload).map(Reading::Value);
        };
        let context = context(payload);
        if !template.is_home_assistant() {
            let text = template.render(&context)?;
            return self.format.read(&text).map(Reading::Value);
        }
        let text = match template.render(&context) {
            // Like an empty text: the JSON lacks what the template needs.
            Err(TemplateError::Undefined { .. }) if is_json(&context) => {
                return Ok(Reading::Absent);
            }
            text => text?,
        };
        match text.trim() {
            "" => Ok(Reading::Absent),
            "None" => Ok(Reading::Unknown),
            text => self.format.read(text).map(Reading::Value),
        }
    }
}

impl AvailabilityTopic {
    /// Whether a message says online or offline; `None`: neither.
    pub fn read(&self, payload: &[u8]) -> Option<bool> {
        let payload = std::str::from_utf8(payload).ok()?;
        let rendered;
        let text = match &self.value {
            Some(template) => {
                rendered = template.render(&context(payload)).ok()?;
                trimmed(template, &rendered)
            }
            None => payload,
        };
        if text == self.online {
            Some(true)
        } else if text == self.offline {
            Some(false)
        } else {
            None
        }
    }
}

fn trimmed<'a>(template: &Template, text: &'a str) -> &'a str {
    if template.is_home_assistant() {
        text.trim()
    } else {
        text
    }
}

/// Whether the payload was JSON.
pub(crate) fn is_json(context: &Value) -> bool {
    context.get("value_json").is_some()
}

/// The variables of a template that reads `payload`.
pub(crate) fn context(payload: &str) -> Value {
    match serde_json::from_str::<Value>(payload) {
        Ok(json) => json!({ "value": payload, "value_json": json }),
        Err(_) => json!({ "value": payload }),
    }
}

impl Format {
    /// Reads the text of a value.
    pub fn read(&self, text: &str) -> Result<Value, ReadingError> {
        match self {
            Self::Json => {
                serde_json::from_str(text).map_err(|error| ReadingError::NotJson(error.to_string()))
            }
            Self::Number => number(text).ok_or(ReadingError::NotNumber),
            Self::Text => Ok(Value::from(text)),
            Self::Boolean { on, off } => match text {
                _ if text == on => Ok(Value::Bool(true)),
                _ if text == off => Ok(Value::Bool(false)),
                // A device may declare texts of any length and characters.
                _ => Err(ReadingError::NotBoolean {
                    on: Text::new(on).to_string(),
                    off: Text::new(off).to_string(),
                }),
            },
            Self::Choice(choices) => choices
                .iter()
                .find(|choice| *choice == text)
                .map(|choice| Value::from(choice.as_str()))
                .ok_or(ReadingError::NotListed),
        }
    }
}

/// A decimal number; an integer stays one.
fn number(text: &str) -> Option<Value> {
    let text = text.trim();
    if let Ok(integer) = text.parse::<i64>() {
        return Some(Value::from(integer));
    }
    let begins_well =
        text.starts_with(|it: char| it.is_ascii_digit() || matches!(it, '-' | '+' | '.'));
    let number: f64 = text.parse().ok().filter(|_| begins_well)?;
    Number::from_f64(number).map(Value::Number)
}

/// How a value compares with the one that confirms a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// It is that value.
    Met,
    /// It is another one.
    Contradicted,
    /// It does not tell: an object that lacks some of the members, and whose others are as expected.
    Silent,
}

impl Expected {
    /// Compares `value` with what confirms a command that was given with these `arguments`.
    pub fn compare(&self, value: &Value, arguments: &Map<String, Value>) -> Comparison {
        let whole = |met: bool| {
            if met {
                Comparison::Met
            } else {
                Comparison::Contradicted
            }
        };
        match self {
            Self::Value(expected) => whole(equal(value, expected)),
            Self::Argument(name) => whole(arguments.get(name).is_some_and(|it| equal(value, it))),
            Self::Arguments => members(value, arguments.iter()),
            Self::Object {
                members: fixed,
                arguments: names,
            } => {
                let given = names
                    .iter()
                    .filter_map(|name| Some((name, arguments.get(name)?)));
                members(value, fixed.iter().chain(given))
            }
        }
    }

    /// Whether `value` confirms a command that was given with these `arguments`.
    pub fn is_met(&self, value: &Value, arguments: &Map<String, Value>) -> bool {
        self.compare(value, arguments) == Comparison::Met
    }
}

/// Compares the members of an object. One that is absent or null tells nothing.
fn members<'a>(
    value: &Value,
    expected: impl Iterator<Item = (&'a String, &'a Value)>,
) -> Comparison {
    let Value::Object(object) = value else {
        return Comparison::Contradicted;
    };
    let (mut silent, mut any) = (false, false);
    for (name, expected) in expected {
        any = true;
        match object.get(name) {
            Some(value) if equal(value, expected) => {}
            None | Some(Value::Null) => silent = true,
            Some(_) => return Comparison::Contradicted,
        }
    }
    // Without anything to compare, any object would confirm.
    if silent || !any {
        Comparison::Silent
    } else {
        Comparison::Met
    }
}

/// Whether two values are the same, numbers by their value: `21` and `21.0` are.
fn equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            one == other
                || one
                    .as_f64()
                    .zip(other.as_f64())
                    .is_some_and(|(one, other)| {
                        (one - other).abs() <= f64::EPSILON * one.abs().max(other.abs())
                    })
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| equal(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .all(|(name, one)| other.get(name).is_some_and(|it| equal(one, it)))
        }
        (one, other) => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn property(format: Format, value: Option<Template>) -> Property {
        Property {
            name: "it".to_owned(),
            description: None,
            topic: "it".to_owned(),
            format,
            value,
            unit: None,
            minimum: None,
            maximum: None,
            stale_after: None,
            request: None,
        }
    }

    fn value(json: Value) -> Reading {
        Reading::Value(json)
    }

    #[test]
    fn a_payload_is_read_in_its_format() {
        let boolean = Format::Boolean {
            on: "ON".to_owned(),
            off: "OFF".to_owned(),
        };
        let choice = Format::Choice(vec!["open".to_owned(), "closed".to_owned()]);
        for (format, payload, expected) in [
            (Format::Number, " 21.50", json!(21.5)),
            (Format::Number, "-3", json!(-3)),
            (Format::Number, "1e3", json!(1000.0)),
            (Format::Text, " a ", json!(" a ")),
            (Format::Json, "{\"a\":1}", json!({ "a": 1 })),
            (boolean.clone(), "ON", json!(true)),
            (boolean.clone(), "OFF", json!(false)),
            (choice.clone(), "open", json!("open")),
        ] {
            assert_eq!(
                property(format, None).read(payload.as_bytes()),
                Ok(value(expected))
            );
        }
        for (format, payload) in [
            (Format::Number, "inf"),
            (Format::Number, "nan"),
            (Format::Number, "-inf"),
            (Format::Number, "1e999"),
            (Format::Number, ""),
            (Format::Json, "{"),
            (boolean, "on"),
            (choice, "ajar"),
        ] {
            let read = property(format, None).read(payload.as_bytes());
            assert!(read.is_err(), "{payload}: {read:?}");
        }
        assert!(property(Format::Text, None).read(b"\xff").is_err());
    }

    #[test]
    fn a_fault_repeats_what_a_device_declared_as_a_text() {
        let format = Format::Boolean {
            on: "ON\u{202e}".repeat(300),
            off: "OFF\u{7}".to_owned(),
        };
        let error = property(format, None).read(b"x").expect_err("neither");
        let error = error.to_string();
        assert!(error.len() < 600 && Text::is_visible(&error), "{error}");
    }

    #[test]
    fn a_template_of_home_assistant_tells_what_a_message_leaves_out() {
        let template = Template::home_assistant(" {{ value_json.temperature }} ").ok();
        let property = property(Format::Number, template);
        assert_eq!(
            property.read(br#"{"temperature":21}"#),
            Ok(value(json!(21)))
        );
        assert_eq!(property.read(br#"{"humidity":40}"#), Ok(Reading::Absent));
        assert_eq!(
            property.read(br#"{"temperature":null}"#),
            Ok(Reading::Unknown)
        );
        assert!(property.read(b"not JSON").is_err());
    }

    #[test]
    fn json_that_lacks_what_a_template_of_home_assistant_needs_says_nothing() {
        for source in [
            "{{ value_json.ENERGY.Power }}",
            "{{ value_json.power | float / 10 }}",
            "{{ value_json.power | is_defined }}",
            "{{ value_json.power | int }}",
            "{{ value_json.power | multiply(0.1) | round(1) }}",
        ] {
            let property = property(Format::Number, Template::home_assistant(source).ok());
            let read = property.read(br#"{"Time":"12:00"}"#);
            assert_eq!(read, Ok(Reading::Absent), "{source}");
            assert!(property.read(b"offline").is_err(), "{source}");
        }
        let wrong = Template::home_assistant("{{ value_json.power | float }}").ok();
        let read = property(Format::Number, wrong).read(br#"{"power":"high"}"#);
        assert!(matches!(read, Err(ReadingError::Template(_))), "{read:?}");
    }

    #[test]
    fn availability_is_online_offline_or_not_told() {
        let topic = AvailabilityTopic {
            topic: "a".to_owned(),
            value: Template::home_assistant("{{ value_json.state }}").ok(),
            online: "online".to_owned(),
            offline: "offline".to_owned(),
        };
        assert_eq!(topic.read(br#"{"state":"online"}"#), Some(true));
        assert_eq!(topic.read(br#"{"state":"offline"}"#), Some(false));
        assert_eq!(topic.read(b"online"), None);
    }

    #[test]
    fn a_state_confirms_what_the_arguments_say() {
        let arguments = json!({ "brightness": 120.0, "transition": 2 });
        let Value::Object(arguments) = arguments else {
            return;
        };
        let state = json!({ "state": "ON", "brightness": 120, "color_temp": 300 });
        let object = |state: &str| Expected::Object {
            members: Map::from_iter([("state".to_owned(), json!(state))]),
            arguments: vec!["brightness".to_owned(), "color_temp".to_owned()],
        };
        assert!(object("ON").is_met(&state, &arguments));
        assert!(!object("OFF").is_met(&state, &arguments));
        let compare = |value: Value| object("ON").compare(&value, &arguments);
        assert_eq!(
            compare(json!({ "state": "ON", "brightness": 7 })),
            Comparison::Contradicted
        );
        for partial in [
            json!({}),
            json!({ "state": "ON" }),
            json!({ "brightness": 120, "linkquality": 7 }),
            json!({ "state": "ON", "brightness": null }),
        ] {
            assert_eq!(compare(partial.clone()), Comparison::Silent, "{partial}");
        }
        let partial = json!({ "state": "OFF" });
        assert_eq!(compare(partial), Comparison::Contradicted);
        assert_eq!(compare(json!("ON")), Comparison::Contradicted);
        let nothing = Expected::Arguments.compare(&state, &Map::new());
        assert_eq!(nothing, Comparison::Silent);
        assert!(!Expected::Arguments.is_met(&state, &arguments));
        assert!(Expected::Argument("brightness".to_owned()).is_met(&json!(120), &arguments));
        assert!(!Expected::Argument("missing".to_owned()).is_met(&json!(120), &arguments));
        assert!(
            Expected::Value(json!([1, { "a": 2.0 }])).is_met(&json!([1.0, { "a": 2 }]), &arguments)
        );
    }
}
