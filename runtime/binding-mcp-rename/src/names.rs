//! Which name of a caller stands for which tool of the exit, and the other way round.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytestring::ByteString;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The longest name of a tool, in characters.
const LENGTH_MAX: usize = 128;

/// The tools that are renamed.
///
/// The two directions are each other's inverse: a tool has one name, and a name means one tool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// By the exit's name: the caller's.
    offered: BTreeMap<ByteString, ByteString>,
    /// By the caller's name: the exit's.
    original: BTreeMap<ByteString, ByteString>,
}

impl Names {
    /// What callers call a tool of the exit; `None` where a renamed tool has taken its name.
    pub fn offered<'a>(&'a self, original: &'a str) -> Option<&'a str> {
        through(&self.offered, &self.original, original)
    }

    /// Which tool of the exit a caller's name means; `None` where it was given up for a new one.
    pub fn original<'a>(&'a self, offered: &'a str) -> Option<&'a str> {
        through(&self.original, &self.offered, offered)
    }

    fn add(&mut self, original: ByteString, offered: ByteString) -> Result<(), String> {
        for name in [&original, &offered] {
            if !is_name(name) {
                return Err(format!(
                    "invalid tool name '{name}'; use 1 to {LENGTH_MAX} of A-Z, a-z, 0-9, '_', '-' and '.'"
                ));
            }
        }
        if let Some(other) = self.original.get(&offered) {
            return Err(format!(
                "'{other}' and '{original}' are both renamed to '{offered}'; give each tool a name of its own"
            ));
        }
        self.original.insert(offered.clone(), original.clone());
        self.offered.insert(original, offered);
        Ok(())
    }
}

/// A name that is not in the map stays, unless another tool has taken it.
fn through<'a>(
    map: &'a BTreeMap<ByteString, ByteString>,
    inverse: &BTreeMap<ByteString, ByteString>,
    name: &'a str,
) -> Option<&'a str> {
    match map.get(name) {
        Some(other) => Some(other),
        None => (!inverse.contains_key(name)).then_some(name),
    }
}

/// Whether a text can name a tool (MCP 2025-11-25, "Tool Names").
fn is_name(text: &str) -> bool {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    (1..=LENGTH_MAX).contains(&text.len()) && text.bytes().all(valid)
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let tools = BTreeMap::<String, String>::deserialize(deserializer)?;
        let mut names = Self::default();
        for (original, offered) in tools {
            let added = names.add(original.into(), offered.into());
            added.map_err(de::Error::custom)?;
        }
        Ok(names)
    }
}

impl Serialize for Names {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.offered.iter().map(|(from, to)| (&**from, &**to)))
    }
}

impl JsonSchema for Names {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ToolNames".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let name = "^[A-Za-z0-9_.-]{1,128}$";
        json_schema!({
            "type": "object",
            "propertyNames": { "pattern": name },
            "additionalProperties": { "type": "string", "pattern": name }
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn names(tools: Value) -> Result<Names, String> {
        serde_json::from_value(tools).map_err(|error| error.to_string())
    }

    #[test]
    fn a_name_goes_there_and_back() {
        let swapped = names(json!({ "a": "b", "b": "a", "c": "d" })).expect("valid");
        for (original, offered) in [("a", "b"), ("b", "a"), ("c", "d"), ("other", "other")] {
            assert_eq!(swapped.offered(original), Some(offered));
            assert_eq!(swapped.original(offered), Some(original));
        }
    }

    #[test]
    fn a_name_means_one_tool() {
        let names = names(json!({ "publish": "send" })).expect("valid");
        assert_eq!(names.original("publish"), None, "it was given up");
        assert_eq!(names.offered("send"), None, "another tool has taken it");
    }

    #[test]
    fn two_tools_cannot_have_one_name() {
        let error = names(json!({ "a": "c", "b": "c" })).expect_err("ambiguous");
        assert!(
            error.starts_with("'a' and 'b' are both renamed to 'c'"),
            "{error}"
        );
    }

    #[test]
    fn a_name_that_mcp_does_not_allow_is_refused() {
        let long = "x".repeat(LENGTH_MAX);
        assert!(names(json!({ "a": long })).is_ok());
        for name in ["", "two words", "ö", &(long + "x")] {
            for tools in [json!({ "a": name }), json!({ name: "a" })] {
                let error = names(tools).expect_err(name);
                assert!(error.starts_with("invalid tool name"), "{error}");
            }
        }
    }

    #[test]
    fn what_was_read_is_written_again() {
        let tools = json!({ "a": "b", "c": "d" });
        let names = names(tools.clone()).expect("valid");
        assert_eq!(serde_json::to_value(names).expect("JSON"), tools);
    }
}
