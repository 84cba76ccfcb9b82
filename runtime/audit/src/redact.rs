//! Removes values from recorded payloads.
//!
//! A path is a subset of `JSONPath` (RFC 9535): `$`, then `.name`, `['name']`, `[0]`, `.*` or `[*]`,
//! and `..name` for a name at any depth. With paths, only a payload that is JSON is recorded, because
//! the paths say nothing about other text.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::Value;
use thiserror::Error;

/// Replaces a removed value.
const REDACTED: &str = "[redacted]";

/// A path to values of a JSON document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonPath(Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Member(String),
    Element(usize),
    All,
    /// Members of this name at any depth.
    Descendant(String),
}

/// Why a text is not a path.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("invalid path '{0}': use '$' and steps such as .name, ['name'], [0], [*] and ..name")]
pub struct PathFault(String);

impl FromStr for JsonPath {
    type Err = PathFault;

    fn from_str(text: &str) -> Result<Self, PathFault> {
        let fault = || PathFault(text.to_owned());
        let mut rest = text.strip_prefix('$').ok_or_else(fault)?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let (step, behind) = step(rest).ok_or_else(fault)?;
            steps.push(step);
            rest = behind;
        }
        if steps.is_empty() {
            return Err(fault());
        }
        Ok(Self(steps))
    }
}

/// The first step of a path, and the rest.
fn step(text: &str) -> Option<(Step, &str)> {
    if let Some(rest) = text.strip_prefix("..") {
        let (name, rest) = name(rest)?;
        return Some((Step::Descendant(name), rest));
    }
    if let Some(rest) = text.strip_prefix(".*").or_else(|| text.strip_prefix("[*]")) {
        return Some((Step::All, rest));
    }
    if let Some(rest) = text.strip_prefix('.') {
        let (name, rest) = name(rest)?;
        return Some((Step::Member(name), rest));
    }
    let inner = text.strip_prefix('[')?;
    for quote in ['\'', '"'] {
        if let Some(inner) = inner.strip_prefix(quote) {
            let (name, rest) = inner.split_once(quote)?;
            return Some((Step::Member(name.to_owned()), rest.strip_prefix(']')?));
        }
    }
    let (index, rest) = inner.split_once(']')?;
    Some((Step::Element(index.parse().ok()?), rest))
}

fn name(text: &str) -> Option<(String, &str)> {
    let end = text.find(['.', '[']).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let valid = !name.is_empty() && !name.contains(['*', ']', '\'', '"']);
    valid.then(|| (name.to_owned(), rest))
}

impl JsonPath {
    fn redact(&self, value: &mut Value) {
        redact(&self.0, value);
    }
}

/// Recursion is bounded by the depth of a parsed document, which is at most 128.
fn redact(steps: &[Step], value: &mut Value) {
    let Some((step, rest)) = steps.split_first() else {
        *value = Value::from(REDACTED);
        return;
    };
    match (step, value) {
        (Step::Member(name), Value::Object(members)) => {
            members
                .get_mut(name)
                .into_iter()
                .for_each(|it| redact(rest, it));
        }
        (Step::Element(index), Value::Array(items)) => {
            items
                .get_mut(*index)
                .into_iter()
                .for_each(|it| redact(rest, it));
        }
        (Step::All, Value::Object(members)) => {
            members.values_mut().for_each(|it| redact(rest, it));
        }
        (Step::All, Value::Array(items)) => items.iter_mut().for_each(|it| redact(rest, it)),
        (Step::Descendant(name), Value::Object(members)) => {
            for (key, value) in members {
                if key == name {
                    redact(rest, value);
                }
                redact(steps, value);
            }
        }
        (Step::Descendant(_), Value::Array(items)) => {
            for item in items {
                redact(steps, item);
            }
        }
        _ => {}
    }
}

/// The text of a payload without the values at `paths`, at most `max` bytes; or why it is omitted.
pub(crate) fn text(payload: &[u8], paths: &[JsonPath], max: usize) -> Result<String, &'static str> {
    if payload.len() > max {
        return Err("too large");
    }
    if paths.is_empty() {
        let text = std::str::from_utf8(payload).map_err(|_| "not text")?;
        return Ok(text.to_owned());
    }
    let mut value: Value = serde_json::from_slice(payload).map_err(|_| "not JSON")?;
    for path in paths {
        path.redact(&mut value);
    }
    Ok(value.to_string())
}

impl fmt::Display for JsonPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("$")?;
        self.0.iter().try_for_each(|step| match step {
            Step::Member(name) => write!(f, "['{name}']"),
            Step::Element(index) => write!(f, "[{index}]"),
            Step::All => f.write_str("[*]"),
            Step::Descendant(name) => write!(f, "..{name}"),
        })
    }
}

impl Serialize for JsonPath {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for JsonPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for JsonPath {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "JsonPath".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^\\$[.\\[]" })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn redacted(paths: &[&str], payload: &str) -> Result<String, &'static str> {
        let paths = paths.iter().map(|path| path.parse().expect("a path"));
        text(payload.as_bytes(), &paths.collect::<Vec<_>>(), 1_000)
    }

    #[test]
    fn paths_select_members_elements_and_descendants() {
        let payload = r#"{"a":{"b":[{"c":1},{"c":2}],"pin":3},"pin":{"x":4}}"#;
        for (path, expected) in [
            ("$.a.b", r#"{"a":{"b":"[redacted]","pin":3},"pin":{"x":4}}"#),
            (
                "$['a'].b[1].c",
                r#"{"a":{"b":[{"c":1},{"c":"[redacted]"}],"pin":3},"pin":{"x":4}}"#,
            ),
            (
                "$.a.b[*].c",
                r#"{"a":{"b":[{"c":"[redacted]"},{"c":"[redacted]"}],"pin":3},"pin":{"x":4}}"#,
            ),
            (
                "$..pin",
                r#"{"a":{"b":[{"c":1},{"c":2}],"pin":"[redacted]"},"pin":"[redacted]"}"#,
            ),
            ("$.a.missing", payload),
        ] {
            assert_eq!(
                redacted(&[path], payload).as_deref(),
                Ok(expected),
                "{path}"
            );
            let path: JsonPath = path.parse().expect("a path");
            assert_eq!(path.to_string().parse(), Ok(path));
        }
        assert_eq!(
            redacted(&["$.*"], "[1,2]").as_deref(),
            Ok(r#"["[redacted]","[redacted]"]"#)
        );
    }

    #[test]
    fn with_paths_only_json_is_recorded() {
        assert_eq!(redacted(&["$.a"], "pin=1234"), Err("not JSON"));
        assert_eq!(redacted(&[], "pin=1234").as_deref(), Ok("pin=1234"));
        assert_eq!(text(&[0xff], &[], 10), Err("not text"));
        assert_eq!(text(b"12345", &[], 4), Err("too large"));
    }

    #[test]
    fn wrong_paths_are_refused() {
        for wrong in [
            "", "$", "a.b", "$.", "$a", "$.a[", "$[x]", "$['a", "$...a", "$.a.*b",
        ] {
            assert!(wrong.parse::<JsonPath>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_path_is_read_without_a_panic(text in "[$.\\[\\]'*a0]{0,12}") {
            let _ = text.parse::<JsonPath>();
        }
    }
}
