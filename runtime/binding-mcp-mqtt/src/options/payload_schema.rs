//! `schema`: what payloads must look like, as a compiled JSON Schema.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::sync::Arc;

use jsonschema::{PatternOptions, ValidationError, Validator};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;

/// Number of violations that a refusal lists.
const LISTED: usize = 10;
/// A violation up to this size, in bytes, repeats the value that breaks the schema.
const REPEATED: usize = 200;
/// Maximum size of a violation, in characters.
const VIOLATION_MAX: usize = 400;
/// Steps back that a regular expression with look-around or references may take for one text: a payload
/// has many texts, and a worker waits for them. A text that needs more breaks the schema.
const BACKTRACK_MAX: usize = 20_000;

/// A JSON Schema. A `$ref` can only lead to a place within it: nothing is fetched.
#[derive(Clone)]
pub struct PayloadSchema {
    document: Arc<Value>,
    validator: Arc<Validator>,
}

impl PayloadSchema {
    fn compile(document: Value) -> Result<Self, String> {
        let patterns = PatternOptions::fancy_regex().backtrack_limit(BACKTRACK_MAX);
        let validator = jsonschema::options()
            .with_pattern_options(patterns)
            .build(&document)
            .map_err(|error| format!("invalid JSON Schema: {}", violation(&error)))?;
        Ok(Self {
            document: Arc::new(document),
            validator: Arc::new(validator),
        })
    }

    /// The schema as it is in the config.
    pub(crate) fn document(&self) -> &Value {
        &self.document
    }

    /// Checks a payload. The error lists what is wrong and where, without a full stop.
    pub(crate) fn check(&self, payload: &Value) -> Result<(), String> {
        let mut errors = self.validator.iter_errors(payload);
        let mut text = String::new();
        for error in errors.by_ref().take(LISTED) {
            let before = if text.is_empty() { "" } else { "; " };
            let _ = write!(text, "{before}{}", violation(&error));
        }
        if text.is_empty() {
            return Ok(());
        }
        if errors.next().is_some() {
            text.push_str("; and more");
        }
        Err(text)
    }

    /// Checks an example of the config: a string is a payload as it is sent.
    pub(crate) fn check_example(&self, example: &Value) -> Result<(), String> {
        let parsed = match example {
            Value::String(text) => serde_json::from_str(text).ok(),
            _ => None,
        };
        self.check(parsed.as_ref().unwrap_or(example))
    }
}

/// A violation: the JSON pointer (RFC 6901) of the value, and what would be right.
fn violation(error: &ValidationError<'_>) -> String {
    let pointer = error.instance_path().to_string();
    let at = match pointer.as_str() {
        "" => "the whole value".to_owned(),
        pointer => pointer.to_owned(),
    };
    let mut text = error.to_string();
    if text.len() > REPEATED {
        text = error.masked().to_string();
    }
    let text = text.trim_end_matches('.');
    match text.char_indices().nth(VIOLATION_MAX) {
        Some((end, _)) => format!("{at}: {}…", text.get(..end).unwrap_or_default()),
        None => format!("{at}: {text}"),
    }
}

impl fmt::Debug for PayloadSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PayloadSchema")
            .field(&self.document)
            .finish()
    }
}

impl<'de> Deserialize<'de> for PayloadSchema {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::compile(Value::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

impl JsonSchema for PayloadSchema {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "PayloadSchema".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["object", "boolean"] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schema(document: Value) -> PayloadSchema {
        PayloadSchema::compile(document).expect("a schema")
    }

    #[test]
    fn each_violation_has_a_pointer_and_says_what_would_be_right() {
        let schema = schema(json!({
            "type": "object",
            "properties": {
                "state": { "enum": ["on", "off"] },
                "level": { "type": "integer", "maximum": 100 },
            },
            "required": ["state"],
            "additionalProperties": false,
        }));
        assert_eq!(schema.check(&json!({"state": "on", "level": 5})), Ok(()));
        let error = schema
            .check(&json!({"state": "of", "level": 500, "x": 1}))
            .expect_err("three violations");
        for expected in [
            "/state: \"of\" is not one of \"on\" or \"off\"",
            "/level: 500 is greater than the maximum of 100",
            "the whole value: Additional properties are not allowed ('x' was unexpected)",
        ] {
            assert!(error.contains(expected), "{error}");
        }
        let error = schema.check(&json!({})).expect_err("no state");
        assert!(
            error.contains("\"state\" is a required property"),
            "{error}"
        );
    }

    #[test]
    fn the_list_of_violations_is_bounded() {
        let schema = schema(json!({ "items": { "type": "integer" } }));
        let many: Vec<String> = (0..100).map(|_| "x".repeat(10_000)).collect();
        let error = schema.check(&json!(many)).expect_err("a hundred");
        assert!(error.ends_with("; and more"), "{error}");
        assert!(error.len() < 5_000, "{}", error.len());
        assert!(error.contains("/9: "), "{error}");
    }

    #[test]
    fn a_text_that_a_pattern_cannot_decide_about_soon_is_refused() {
        // Each further letter doubles the steps.
        let schema = schema(json!({ "pattern": r"^(a|a)*\1b" }));
        assert_eq!(schema.check(&json!("aaaab")), Ok(()));
        let error = schema
            .check(&json!("a".repeat(17)))
            .expect_err("17 letters");
        assert!(error.contains("limit"), "{error}");
    }

    #[test]
    fn a_bad_schema_is_refused_and_nothing_is_fetched() {
        for (document, expected) in [
            (json!({"type": "nonsense"}), "invalid JSON Schema: /type: "),
            (
                json!({"$ref": "https://example.com/schema.json"}),
                "invalid JSON Schema: ",
            ),
            (
                json!({"$ref": "file:///etc/hosts"}),
                "invalid JSON Schema: ",
            ),
            (json!({"$ref": "#/$defs/absent"}), "invalid JSON Schema: "),
            (json!({"pattern": "("}), "invalid JSON Schema: "),
            (json!("x"), "invalid JSON Schema: "),
        ] {
            let error = PayloadSchema::compile(document.clone()).expect_err("no schema");
            assert!(error.contains(expected), "{document}: {error}");
        }
    }

    #[test]
    fn an_example_is_checked_as_it_would_be_sent() {
        let number = schema(json!({ "type": "number" }));
        assert_eq!(number.check_example(&json!("22.5")), Ok(()));
        assert_eq!(number.check_example(&json!(22.5)), Ok(()));
        let word = schema(json!({ "enum": ["on"] }));
        assert_eq!(word.check_example(&json!("on")), Ok(()));
        assert!(word.check_example(&json!("off")).is_err());
    }
}
