//! Values as callers see them: one that is not in the declared format is given as it is, with the reason.

use serde_json::Value;
use tidegate_device::{Property, Reading};

/// Most bytes of a payload that is shown although it is not in the declared format.
const SHOWN_MAX: usize = 1024;

/// The value of a payload.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Shown {
    /// The value; if it is not in the declared format: the payload as text.
    pub(crate) value: Value,
    /// Why it is not valid; a sentence without a full stop.
    pub(crate) invalid: Option<String>,
}

impl Shown {
    /// The value of a payload; `None` if the message says nothing about the property.
    pub(crate) fn of(property: &Property, payload: &[u8]) -> Option<Self> {
        match property.read(payload) {
            Ok(Reading::Value(value)) => {
                let invalid = out_of_range(property, &value);
                Some(Self { value, invalid })
            }
            Ok(Reading::Unknown) => Some(Self {
                value: Value::Null,
                invalid: Some("the device does not know the value".to_owned()),
            }),
            Ok(Reading::Absent) => None,
            Err(error) => Some(Self {
                value: Value::String(text(payload)),
                invalid: Some(error.to_string()),
            }),
        }
    }
}

/// A payload as text of bounded length.
fn text(payload: &[u8]) -> String {
    let text = String::from_utf8_lossy(payload);
    if text.len() <= SHOWN_MAX {
        return text.into_owned();
    }
    let ends = text.char_indices().map(|(at, _)| at);
    let end = ends.take_while(|at| *at <= SHOWN_MAX).last().unwrap_or(0);
    format!("{}…", text.get(..end).unwrap_or_default())
}

fn out_of_range(property: &Property, value: &Value) -> Option<String> {
    let number = value.as_f64()?;
    match (property.minimum, property.maximum) {
        (Some(minimum), _) if number < minimum => {
            Some(format!("{value} is below the minimum {minimum}"))
        }
        (_, Some(maximum)) if number > maximum => {
            Some(format!("{value} is above the maximum {maximum}"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tidegate_device::{Format, Template};

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

    fn shown(property: &Property, payload: &[u8]) -> (Value, Option<String>) {
        let shown = Shown::of(property, payload).expect("it says something");
        (shown.value, shown.invalid)
    }

    #[test]
    fn what_is_not_in_the_format_is_given_as_it_is() {
        let number = property(Format::Number);
        assert_eq!(shown(&number, b"21.50"), (json!(21.5), None));
        assert_eq!(
            shown(&number, b"warm"),
            (json!("warm"), Some("not a number".to_owned()))
        );
        let (value, invalid) = shown(&property(Format::Text), b"\xffabc");
        assert_eq!(value, json!("\u{fffd}abc"));
        assert!(invalid.is_some_and(|why| why.contains("not UTF-8")));
        let (long, _) = shown(&number, "ä".repeat(5_000).as_bytes());
        assert!(long.as_str().is_some_and(|text| text.len() < 1_100));
    }

    #[test]
    fn a_number_beyond_the_bounds_is_invalid_and_shown() {
        let number = property(Format::Number);
        let above = (json!(51), Some("51 is above the maximum 50".to_owned()));
        assert_eq!(shown(&number, b"51"), above);
        let below = (
            json!(-10.5),
            Some("-10.5 is below the minimum -10".to_owned()),
        );
        assert_eq!(shown(&number, b"-10.5"), below);
    }

    #[test]
    fn a_template_extracts_the_value() {
        let template = Template::new("{{ value_json.t }}").expect("a template");
        let property = Property {
            value: Some(template),
            ..property(Format::Number)
        };
        assert_eq!(shown(&property, br#"{"t":7}"#), (json!(7), None));
        assert!(shown(&property, b"no JSON").1.is_some());
    }
}
