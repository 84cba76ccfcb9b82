//! `$name`: captured where it first stands in a reaction, compared and played afterwards.

use std::collections::BTreeMap;

use bytestring::ByteString;
use thiserror::Error;
use tidegate_streams::Value;

/// What a name stands for: a field's value, or a piece of JSON.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Captured {
    Value(Value),
    Json(serde_json::Value),
}

/// A stimulus names what nothing has been captured for.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("'{0}' stands for nothing yet, so it cannot be played")]
pub struct Unbound(pub(crate) String);

/// Everything that was captured.
#[derive(Debug, Clone, Default)]
pub struct Captures(BTreeMap<String, Captured>);

impl Captures {
    /// Binds a name, or compares with what it stands for.
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

    /// As a field's value.
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

    /// As a piece of JSON.
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
