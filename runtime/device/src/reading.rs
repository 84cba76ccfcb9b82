//! Reads the payloads that devices publish: values of properties, availability, and whether a value
//! confirms a command.

use serde_json::{Map, Number, Value};

use crate::device::{AvailabilityTopic, Expected, Format, Property};
use crate::template::Template;

/// Most bytes of a payload that is shown although it is not in the declared format.
const SHOWN_MAX: usize = 1024;

/// A value as a device published it.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// The value. If it is not in the declared format: the payload as text.
    pub value: Value,
    /// Why the value is not valid; a sentence without a full stop.
    pub invalid: Option<String>,
}

impl Reading {
    fn invalid(payload: &[u8], why: impl Into<String>) -> Self {
        let text = String::from_utf8_lossy(payload);
        let end = text.char_indices().map(|(at, _)| at);
        let end = end.take_while(|at| *at <= SHOWN_MAX).last().unwrap_or(0);
        let text = if text.len() <= SHOWN_MAX {
            text.into_owned()
        } else {
            format!("{}…", text.get(..end).unwrap_or_default())
        };
        Self {
            value: Value::String(text),
            invalid: Some(why.into()),
        }
    }

    /// The value as a number, if it is valid and one.
    pub fn number(&self) -> Option<f64> {
        self.value.as_f64().filter(|_| self.invalid.is_none())
    }
}

impl Property {
    /// Reads a payload. Never fails: a payload that is not in the declared format is given as it is,
    /// with the reason.
    ///
    /// ```
    /// # use tidegate_device::{Format, Property};
    /// # let property = |format| Property { name: "status".into(), description: None, topic: "t".into(), format,
    /// #     value: None, unit: None, minimum: None, maximum: Some(50.0), stale_after: None, request: None };
    /// let reading = property(Format::Number).read(b"21.50");
    /// assert_eq!((reading.value, reading.invalid), (21.5.into(), None));
    /// let reading = property(Format::Number).read(b"warm");
    /// assert_eq!(reading.invalid.as_deref(), Some("'warm' is not a number"));
    /// ```
    pub fn read(&self, payload: &[u8]) -> Reading {
        let Ok(text) = std::str::from_utf8(payload) else {
            return Reading::invalid(payload, "the payload is not UTF-8 text");
        };
        let extracted = match &self.value {
            None => None,
            Some(template) => match extract(template, text) {
                Ok(extracted) => Some(extracted),
                Err(why) => return Reading::invalid(payload, why),
            },
        };
        match self.parse(extracted.as_deref().unwrap_or(text)) {
            Ok(value) => match self.out_of_range(&value) {
                None => Reading {
                    value,
                    invalid: None,
                },
                why => Reading {
                    value,
                    invalid: why,
                },
            },
            Err(why) => Reading::invalid(payload, why),
        }
    }

    fn parse(&self, text: &str) -> Result<Value, String> {
        let shown = |text: &str| text.chars().take(100).collect::<String>();
        match &self.format {
            Format::Json => {
                serde_json::from_str(text).map_err(|error| format!("invalid JSON: {error}"))
            }
            Format::Number => {
                let number = text.trim();
                let whole = number.parse::<i64>().ok().map(Number::from);
                let decimal = || number.parse::<f64>().ok().and_then(Number::from_f64);
                let number = whole.or_else(decimal).map(Value::Number);
                number.ok_or_else(|| format!("'{}' is not a number", shown(text)))
            }
            Format::Text => Ok(Value::String(text.to_owned())),
            Format::Boolean { on, .. } if text == on => Ok(Value::Bool(true)),
            Format::Boolean { off, .. } if text == off => Ok(Value::Bool(false)),
            Format::Boolean { on, off } => {
                Err(format!("'{}' is neither '{on}' nor '{off}'", shown(text)))
            }
            Format::Choice(choices) if choices.iter().any(|it| it == text) => {
                Ok(Value::String(text.to_owned()))
            }
            Format::Choice(choices) => Err(format!(
                "'{}' is none of '{}'",
                shown(text),
                choices.join("', '")
            )),
        }
    }

    fn out_of_range(&self, value: &Value) -> Option<String> {
        let number = value.as_f64()?;
        match (self.minimum, self.maximum) {
            (Some(minimum), _) if number < minimum => {
                Some(format!("{value} is below the minimum {minimum}"))
            }
            (_, Some(maximum)) if number > maximum => {
                Some(format!("{value} is above the maximum {maximum}"))
            }
            _ => None,
        }
    }
}

impl AvailabilityTopic {
    /// Whether a payload means online (`true`), offline (`false`), or neither.
    pub fn read(&self, payload: &[u8]) -> Option<bool> {
        let text = std::str::from_utf8(payload).ok()?;
        let extracted = match &self.value {
            None => None,
            Some(template) => Some(extract(template, text).ok()?),
        };
        let text = extracted.as_deref().unwrap_or(text);
        if text == self.online {
            Some(true)
        } else if text == self.offline {
            Some(false)
        } else {
            None
        }
    }
}

/// Renders the template of a value: `value` is the payload, `value_json` what it is as JSON.
fn extract(template: &Template, text: &str) -> Result<String, String> {
    let mut context = Map::new();
    if let Ok(json) = serde_json::from_str(text) {
        context.insert("value_json".to_owned(), json);
    }
    context.insert("value".to_owned(), Value::String(text.to_owned()));
    let context = Value::Object(context);
    template.render(&context).map_err(|error| error.to_string())
}

impl Expected {
    /// Whether `value` confirms a command with these arguments.
    pub fn is_met(&self, arguments: &Map<String, Value>, value: &Value) -> bool {
        match self {
            Self::Value(expected) => equal(expected, value),
            Self::Argument(name) => arguments.get(name).is_some_and(|it| equal(it, value)),
            Self::Arguments => {
                let mut arguments = arguments.iter();
                arguments.len() > 0
                    && arguments.all(|(name, it)| value.get(name).is_some_and(|is| equal(it, is)))
            }
        }
    }
}

/// Whether two JSON values are the same; numbers are compared by value, so that 21 equals 21.0.
pub fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => {
            left == right || left.as_f64() == right.as_f64()
        }
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .zip(right)
                    .all(|(left, right)| equal(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            let same = |(name, left)| right.get(name).is_some_and(|right| equal(left, right));
            left.len() == right.len() && left.iter().all(same)
        }
        _ => left == right,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn property(format: Format) -> Property {
        Property {
            name: "status".to_owned(),
            description: None,
            topic: "t".to_owned(),
            format,
            value: None,
            unit: None,
            minimum: Some(-10.0),
            maximum: Some(50.0),
            stale_after: None,
            request: None,
        }
    }

    fn on_off() -> Format {
        Format::Boolean {
            on: "ON".to_owned(),
            off: "OFF".to_owned(),
        }
    }

    #[test]
    fn each_format_reads_its_values() {
        for (format, payload, value) in [
            (Format::Json, r#"{"on":true}"#, json!({ "on": true })),
            (Format::Json, "7", json!(7)),
            (Format::Number, " -3 ", json!(-3)),
            (Format::Number, "21.50", json!(21.5)),
            (Format::Text, "", json!("")),
            (on_off(), "ON", json!(true)),
            (on_off(), "OFF", json!(false)),
            (Format::Choice(vec!["a".into()]), "a", json!("a")),
        ] {
            let reading = property(format).read(payload.as_bytes());
            assert_eq!((reading.value, reading.invalid), (value, None), "{payload}");
        }
    }

    #[test]
    fn what_is_not_in_the_format_is_given_as_it_is() {
        for (format, payload, expected) in [
            (Format::Json, "{", "invalid JSON"),
            (Format::Number, "NaN", "'NaN' is not a number"),
            (Format::Number, "", "'' is not a number"),
            (on_off(), "on", "'on' is neither 'ON' nor 'OFF'"),
            (Format::Choice(vec!["a".into()]), "b", "'b' is none of 'a'"),
        ] {
            let reading = property(format).read(payload.as_bytes());
            assert_eq!(reading.value, json!(payload));
            let why = reading.invalid.expect(payload);
            assert!(why.starts_with(expected), "{why}");
        }
        let reading = property(Format::Text).read(b"\xffabc");
        assert_eq!(reading.value, json!("\u{fffd}abc"));
        assert_eq!(
            reading.invalid.as_deref(),
            Some("the payload is not UTF-8 text")
        );
        let long = property(Format::Number).read("ä".repeat(5_000).as_bytes());
        assert!(long.value.as_str().is_some_and(|text| text.len() < 1_100));
    }

    #[test]
    fn a_number_beyond_the_bounds_is_invalid_and_shown() {
        for (payload, expected) in [
            ("51", "51 is above the maximum 50"),
            ("-10.5", "-10.5 is below the minimum -10"),
        ] {
            let reading = property(Format::Number).read(payload.as_bytes());
            assert_eq!(reading.invalid.as_deref(), Some(expected));
            assert!(reading.value.is_number() && reading.number().is_none());
        }
    }

    #[test]
    fn a_template_extracts_the_value() {
        let template = Template::new("{{ value_json.t }}").expect("a template");
        let property = Property {
            value: Some(template),
            ..property(Format::Number)
        };
        assert_eq!(property.read(br#"{"t":7}"#).value, json!(7));
        assert!(property.read(b"{}").invalid.is_some());
        assert!(property.read(b"no JSON").invalid.is_some());
    }

    #[test]
    fn availability_is_one_of_two_texts() {
        let topic = AvailabilityTopic {
            topic: "t".to_owned(),
            value: None,
            online: "up".to_owned(),
            offline: "down".to_owned(),
        };
        assert_eq!(topic.read(b"up"), Some(true));
        assert_eq!(topic.read(b"down"), Some(false));
        assert_eq!(topic.read(b"Up"), None);
    }

    #[test]
    fn a_value_confirms_by_what_is_expected() {
        let arguments = json!({ "level": 5, "on": true });
        let arguments = arguments.as_object().expect("an object");
        let met = |expected: Expected, value: Value| expected.is_met(arguments, &value);
        assert!(met(
            Expected::Arguments,
            json!({ "level": 5.0, "on": true, "x": 1 })
        ));
        assert!(!met(Expected::Arguments, json!({ "level": 5 })));
        assert!(!met(Expected::Arguments, json!(5)));
        assert!(met(Expected::Argument("level".to_owned()), json!(5.0)));
        assert!(!met(Expected::Argument("missing".to_owned()), json!(null)));
        assert!(met(
            Expected::Value(json!([1, { "a": 2 }])),
            json!([1.0, { "a": 2.0 }])
        ));
        assert!(!met(Expected::Value(json!("on")), json!(true)));
        assert!(
            !Expected::Arguments.is_met(&Map::new(), &json!({ "level": 5 })),
            "nothing is asked for"
        );
    }
}
