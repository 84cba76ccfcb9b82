//! Decodes YAML values into typed values and reports all faults, not only the first.
//!
//! `Deserialize` stops at the first error. Each error is recorded, the value that caused it is removed,
//! and the rest is decoded again until no error remains.

use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;
use serde_yaml::Value;

use crate::expression::Expressions;
use crate::fault::{Faults, Findings, suggestion};

/// Most faults reported for one value; each one costs another pass.
const ATTEMPTS: usize = 64;

/// Decodes a `T` at `path`; records the faults and returns `None` if there are any.
pub(crate) fn decode<T: DeserializeOwned>(
    value: Value,
    path: &[String],
    expressions: &Expressions,
    findings: &mut Findings<'_>,
) -> Option<T> {
    let found_before = findings.len();
    let decoded = decode_valid_part(value, path, expressions, findings);
    decoded.filter(|_| findings.len() == found_before)
}

/// Decodes a value of the binding, guard or exporter `name` that was checked when the config was loaded.
pub(crate) fn decode_again<T: DeserializeOwned>(
    name: &str,
    value: Value,
    path: &[&str],
    expressions: &Expressions,
) -> Result<T, Faults> {
    let mut findings = Findings::new(name, "");
    let path: Vec<String> = path.iter().map(|step| (*step).to_owned()).collect();
    decode(value, &path, expressions, &mut findings).ok_or_else(|| findings.into_faults())
}

/// Decodes a `T` at `path` from the valid members, and records the faults of the others.
pub(crate) fn decode_valid_part<T: DeserializeOwned>(
    mut value: Value,
    path: &[String],
    expressions: &Expressions,
    findings: &mut Findings<'_>,
) -> Option<T> {
    let mut pruned: Vec<Vec<String>> = Vec::new();
    let mut reread: Vec<Vec<String>> = Vec::new();
    for _ in 0..ATTEMPTS {
        let error = match serde_path_to_error::deserialize::<_, T>(value.clone()) {
            Ok(decoded) => return Some(decoded),
            Err(error) => error,
        };
        let mut below = steps(error.path());
        let message = error.inner().to_string();
        if let Some(name) = quoted_after(&message, "missing field `") {
            below.push(name.to_owned());
            if !pruned.contains(&below) {
                below.pop();
                let message = format!("missing key '{name}'");
                findings.value(&absolute(path, &below), message);
            }
            return None;
        }
        if let Some(name) = quoted_after(&message, "unknown field `") {
            if below.last().map(String::as_str) != Some(name) {
                below.push(name.to_owned());
            }
            let help = suggestion(name, &expected_names(&message));
            let at = absolute(path, &below);
            findings.key(&at, format!("unknown key '{name}'"), Some(help));
        } else {
            let at = absolute(path, &below);
            let expression = expressions.alone_at(&at);
            if expression.is_some() && !reread.contains(&below) {
                reread.push(below.clone());
                if let Some(found) = find(&mut value, &below)
                    && let Some(text) = found.as_str()
                    && let Ok(scalar) = serde_yaml::from_str::<Value>(text)
                    && scalar != *found
                {
                    *found = scalar;
                    continue;
                }
            }
            findings.value(&at, sentence(&message, expression));
        }
        if !prune(&mut value, &below) {
            return None;
        }
        pruned.push(below);
    }
    None
}

fn absolute(path: &[String], below: &[String]) -> Vec<String> {
    path.iter().chain(below).cloned().collect()
}

fn steps(path: &serde_path_to_error::Path) -> Vec<String> {
    path.iter()
        .filter_map(|segment| match segment {
            Segment::Seq { index } => Some(index.to_string()),
            Segment::Map { key } => Some(key.clone()),
            Segment::Enum { .. } | Segment::Unknown => None,
        })
        .collect()
}

fn quoted_after<'m>(message: &'m str, words: &str) -> Option<&'m str> {
    message.split_once(words)?.1.split('`').next()
}

/// The names in "…, expected one of `a`, `b`" or "…, expected `a` or `b`".
fn expected_names(message: &str) -> Vec<&str> {
    let Some((_, expected)) = message.split_once("`, expected ") else {
        return Vec::new();
    };
    expected.split('`').skip(1).step_by(2).collect()
}

/// Rewrites a serde message as a plain sentence. The value of an expression is never quoted: it may be
/// a secret.
fn sentence(message: &str, expression: Option<&str>) -> String {
    for kind in ["invalid type: ", "invalid value: ", "invalid length "] {
        if let Some(rest) = message.strip_prefix(kind)
            && let Some((found, wanted)) = rest.rsplit_once(", expected ")
        {
            return match expression {
                Some(expression) => {
                    format!(
                        "must be {}; the value of {expression} is not",
                        expected(wanted)
                    )
                }
                None => format!("must be {}, not {}", expected(wanted), actual(found)),
            };
        }
    }
    if let Some(name) = quoted_after(message, "unknown variant `") {
        let help = suggestion(name, &expected_names(message));
        return format!("unknown value '{name}'; {help}");
    }
    message.to_owned()
}

/// The expected type, in words.
fn expected(expected: &str) -> &str {
    match expected {
        "u8" => "an integer from 0 to 255",
        "u16" => "an integer from 0 to 65535",
        "u32" => "an integer from 0 to 4294967295",
        "u64" | "usize" => "an integer of at least 0",
        "a nonzero u16" => "an integer from 1 to 65535",
        "a nonzero u32" => "an integer from 1 to 4294967295",
        "a nonzero u64" => "an integer of at least 1",
        "a sequence" => "a list",
        "a boolean" => "true or false",
        other if other.starts_with("struct ") => "a mapping of keys to values",
        other => other,
    }
}

/// The type that was found, in words.
fn actual(found: &str) -> String {
    match found {
        "sequence" => "a list".to_owned(),
        "map" => "a mapping".to_owned(),
        "unit value" => "nothing".to_owned(),
        other => other.replace('`', ""),
    }
}

fn find<'v>(value: &'v mut Value, path: &[String]) -> Option<&'v mut Value> {
    path.iter().try_fold(value, |value, step| match value {
        Value::Mapping(members) => members.get_mut(step.as_str()),
        Value::Sequence(items) => items.get_mut(step.parse::<usize>().ok()?),
        _ => None,
    })
}

/// Removes the value at a path. For an element of a list the whole list is removed, so that the
/// indices of other elements in reported paths stay correct.
fn prune(value: &mut Value, path: &[String]) -> bool {
    let Some((step, above)) = path.split_last() else {
        return false;
    };
    match find(value, above) {
        Some(Value::Mapping(members)) => members.remove(step.as_str()).is_some(),
        Some(Value::Sequence(_)) => prune(value, above),
        _ => false,
    }
}
