//! `$name`: captured at its first occurrence in a reaction, then compared and played.

use std::collections::BTreeMap;

use bytestring::ByteString;
use thiserror::Error;
use tidegate_streams::Value;

/// A captured value: of a field, or a part of JSON.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Captured {
    Value(Value),
    Json(serde_json::Value),
}

/// A stimulus uses a name that is not captured, or `_`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("'{0}' has no value yet; capture it in an earlier reaction")]
pub struct Unbound(pub(crate) String);

/// The captured values, by name.
#[derive(Debug, Clone, Default)]
pub struct Captures(BTreeMap<String, Captured>);

impl Captures {
    /// Captures a value, or compares it with the captured one.
    pub(crate) fn bind(&mut self, name: &str, value: &Captured) -> bool {
        let before = self
            .0
            .entry(name.to_owned())
            .or_insert_with(|| value.clone());
        before.json() == value.json()
    }

    fn get(&self, name: &str) -> Result<&Captured, Unbound> {
        self.0.get(name).ok_or_else(|| Unbound(format!("${name}")))
    }

    /// The captured value as the value of a field.
    pub(crate) fn value(&self, name: &str) -> Result<Value, Unbound> {
        Ok(match self.get(name)? {
            Captured::Value(value) => value.clone(),
            Captured::Json(serde_json::Value::String(text)) => {
                Value::Text(ByteString::from(text.clone()))
            }
            Captured::Json(json) => match json.as_i64() {
                Some(number) => Value::Integer(number),
                None => Value::Word(json.to_string()),
            },
        })
    }

    /// The captured value as JSON.
    pub(crate) fn json(&self, name: &str) -> Result<serde_json::Value, Unbound> {
        Ok(self.get(name)?.json())
    }
}

impl Captured {
    fn json(&self) -> serde_json::Value {
        match self {
            Self::Json(json) => json.clone(),
            Self::Value(Value::Text(text)) => serde_json::Value::from(&text[..]),
            Self::Value(Value::Integer(number)) => serde_json::Value::from(*number),
            Self::Value(other) => serde_json::Value::from(other.to_string()),
        }
    }
}
