//! JSON Schemas of arguments: compiled at the start, without references to other documents.

use std::fmt;

use jsonschema::error::ValidationErrorKind;
use jsonschema::{PatternOptions, Validator};
use serde::Serialize;
use serde_json::{Value, json};
use tidegate_device::Text;

/// Most violations that are listed.
const LISTED: usize = 10;
/// Most bytes of a list of allowed values in a message.
const ALLOWED_MAX: usize = 512;

/// A compiled schema.
pub(crate) struct Schema(Validator);

/// One violation of a schema.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Violation {
    /// JSON pointer to the value, beginning at the arguments.
    pub(crate) pointer: String,
    /// What is wrong, and what is allowed.
    pub(crate) message: String,
    /// The allowed values, if they are listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) allowed: Option<Value>,
}

impl Violation {
    /// A schema that cannot be used.
    pub(crate) const fn of_schema(why: String) -> Self {
        Self {
            pointer: String::new(),
            message: why,
            allowed: None,
        }
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Schema")
    }
}

impl Schema {
    /// Compiles a schema. Regular expressions run in linear time, and no reference is fetched.
    pub(crate) fn new(schema: &Value) -> Result<Self, String> {
        let options = jsonschema::options()
            .offline()
            .with_pattern_options(PatternOptions::regex());
        let validator = options
            .build(schema)
            .map_err(|error| format!("invalid JSON Schema: {error}"))?;
        Ok(Self(validator))
    }

    /// The violations of a value, the first few.
    pub(crate) fn violations(&self, value: &Value) -> Vec<Violation> {
        let errors = self.0.iter_errors(value).take(LISTED);
        let violations = errors.map(|error| {
            let (message, allowed) = explain(error.kind(), error.instance());
            // Names of arguments are the caller's, and schemas those of a device.
            let message = message.unwrap_or_else(|| error.masked_with("it").to_string());
            Violation {
                pointer: Text::new(&error.instance_path().to_string()).to_string(),
                message: Text::new(&message).to_string(),
                allowed,
            }
        });
        violations.collect()
    }
}

/// The message of a violation, and the allowed values.
fn explain(kind: &ValidationErrorKind, given: &Value) -> (Option<String>, Option<Value>) {
    use ValidationErrorKind as Kind;
    let given = shortened(given);
    let bounded = |what: &str, key: &str, limit: &Value| {
        let message = format!("{given} is {what} {limit}");
        (Some(message), Some(json!({ key: limit })))
    };
    match kind {
        Kind::Enum { options } => {
            let listed = options.to_string();
            let allowed = (listed.len() <= ALLOWED_MAX).then(|| (**options).clone());
            (
                Some(format!("{given} is not one of the allowed values")),
                allowed,
            )
        }
        Kind::Constant { expected_value } => {
            let message = format!("{given} is not the allowed value");
            let allowed = (expected_value.to_string().len() <= ALLOWED_MAX)
                .then(|| json!([**expected_value]));
            (Some(message), allowed)
        }
        Kind::Minimum { limit } => bounded("below the minimum", "minimum", limit),
        Kind::Maximum { limit } => bounded("above the maximum", "maximum", limit),
        Kind::ExclusiveMinimum { limit } => bounded("not above", "exclusiveMinimum", limit),
        Kind::ExclusiveMaximum { limit } => bounded("not below", "exclusiveMaximum", limit),
        Kind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            (Some(format!("'{name}' is missing")), None)
        }
        Kind::AdditionalProperties { unexpected } => {
            let names: Vec<String> = unexpected
                .iter()
                .take(5)
                .map(|it| format!("'{}'", tidegate_streams::shown(it)))
                .collect();
            (Some(format!("unknown: {}", names.join(", "))), None)
        }
        _ => (None, None),
    }
}

/// A value for a message: it may be as long as a whole body.
fn shortened(value: &Value) -> String {
    tidegate_streams::shown(&value.to_string()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn violations(schema: &Value, value: &Value) -> Vec<(String, String)> {
        let schema = Schema::new(schema).expect("a schema");
        let violations = schema.violations(value).into_iter();
        violations.map(|it| (it.pointer, it.message)).collect()
    }

    #[test]
    fn each_violation_has_a_pointer_and_what_is_allowed() {
        let schema = json!({
            "type": "object",
            "properties": {
                "level": { "type": "integer", "minimum": 0, "maximum": 100 },
                "mode": { "enum": ["day", "night"] },
                "a": { "type": "array", "items": { "type": "string" } },
            },
            "required": ["level"],
            "additionalProperties": false,
        });
        let check = |value: Value| violations(&schema, &value);
        assert_eq!(check(json!({ "level": 100 })), []);
        let list = |items: &[(&str, &str)]| -> Vec<(String, String)> {
            let items = items.iter();
            items
                .map(|(at, why)| ((*at).to_owned(), (*why).to_owned()))
                .collect()
        };
        assert_eq!(
            check(json!({ "level": 101, "mode": "dusk" })),
            list(&[
                ("/level", "101 is above the maximum 100"),
                ("/mode", "\"dusk\" is not one of the allowed values"),
            ])
        );
        assert_eq!(check(json!({})), list(&[("", "'level' is missing")]));
        assert_eq!(
            check(json!({ "level": 1, "x": 1 })),
            list(&[("", "unknown: 'x'")])
        );
        assert_eq!(check(json!({ "level": 1, "a": [1] }))[0].0, "/a/0");
        let schema = Schema::new(&schema).expect("a schema");
        let mode = schema.violations(&json!({ "level": 1, "mode": 3 }));
        assert_eq!(mode[0].allowed, Some(json!(["day", "night"])));
    }

    #[test]
    fn a_violation_is_of_bounded_size() {
        let long = "x".repeat(10_000);
        let schema = json!({
            "properties": {
                "constant": { "const": long },
                "pattern": { "pattern": format!("^{}$", "y".repeat(1_000)) },
                "items": { "additionalProperties": { "type": "integer" } },
            },
            "required": [long],
            "additionalProperties": false,
        });
        let value = json!({
            "constant": "a", "pattern": "a", "items": { long.as_str(): "\u{202e}" }, long.to_uppercase(): 1,
        });
        let violations = Schema::new(&schema).expect("a schema").violations(&value);
        assert_eq!(violations.len(), 5, "{violations:?}");
        for violation in violations {
            let text = serde_json::to_string(&violation).expect("JSON");
            assert!(text.len() < 1_100, "{text}");
            assert!(Text::is_visible(&violation.message), "{text}");
        }
    }

    #[test]
    fn many_violations_are_not_all_listed() {
        let schema = json!({ "items": { "type": "string" } });
        let many = Value::Array(vec![json!(1); 1_000]);
        assert_eq!(violations(&schema, &many).len(), LISTED);
    }

    #[test]
    fn references_to_other_documents_are_refused() {
        for reference in [
            "https://example.com/x.json",
            "file:///etc/passwd",
            "other.json",
        ] {
            let error = Schema::new(&json!({ "$ref": reference })).expect_err(reference);
            assert!(error.starts_with("invalid JSON Schema"), "{error}");
        }
        let within = json!({ "$defs": { "a": { "type": "string" } }, "$ref": "#/$defs/a" });
        assert!(Schema::new(&within).is_ok());
    }
}
