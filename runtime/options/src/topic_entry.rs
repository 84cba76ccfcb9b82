//! Entries of topic lists: a pattern, and who may use it.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::guarded::{GuardReference, Guarded};
use crate::topic_pattern::TopicPattern;

/// A topic pattern and who may use it: `a/#` or `{ pattern: a/#, guarded: { staff: [operator] } }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicEntry {
    /// The pattern.
    pub pattern: TopicPattern,
    /// The callers that may use it; `None`: everybody.
    pub guarded: Option<Guarded>,
}

/// The long form.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Long {
    pattern: TopicPattern,
    guarded: Option<Guarded>,
}

impl TopicEntry {
    /// Whether what it allows depends on the caller.
    pub const fn depends_on_caller(&self) -> bool {
        self.guarded.is_some() || self.pattern.template().is_some()
    }

    /// The guards that it refers to. `path` leads to it.
    pub fn references(&self, path: &[&str]) -> Vec<GuardReference> {
        let below = [path, &["guarded"]].concat();
        let guarded = self.guarded.as_ref();
        let mut references = guarded.map_or_else(Vec::new, |it| it.references(&below));
        references.extend(self.pattern.template().map(|template| GuardReference {
            guard: template.guard().to_owned(),
            path: path.iter().map(|step| (*step).to_owned()).collect(),
        }));
        references
    }
}

impl<'de> Deserialize<'de> for TopicEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Visitor)
    }
}

struct Visitor;

impl<'de> de::Visitor<'de> for Visitor {
    type Value = TopicEntry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a topic filter, or a map with 'pattern' and 'guarded'")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<TopicEntry, E> {
        Ok(TopicEntry {
            pattern: TopicPattern::parse(text).map_err(E::custom)?,
            guarded: None,
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TopicEntry, A::Error> {
        let long = Long::deserialize(MapAccessDeserializer::new(map))?;
        Ok(TopicEntry {
            pattern: long.pattern,
            guarded: long.guarded,
        })
    }
}

impl Serialize for TopicEntry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Long<'a> {
            pattern: &'a TopicPattern,
            guarded: &'a Guarded,
        }
        let pattern = &self.pattern;
        match &self.guarded {
            None => pattern.serialize(serializer),
            Some(guarded) => Long { pattern, guarded }.serialize(serializer),
        }
    }
}

impl JsonSchema for TopicEntry {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "TopicEntry".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let pattern = generator.subschema_for::<TopicPattern>();
        let guarded = generator.subschema_for::<Guarded>();
        json_schema!({
            "anyOf": [
                pattern,
                {
                    "type": "object",
                    "required": ["pattern"],
                    "additionalProperties": false,
                    "properties": { "pattern": pattern, "guarded": guarded },
                },
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read_and_written() {
        for json in [
            r#""a/#""#,
            r#"{"pattern":"a/#","guarded":{"staff":["operator"]}}"#,
        ] {
            let entry: TopicEntry = serde_json::from_str(json).expect(json);
            assert_eq!(entry.pattern.text(), "a/#");
            assert_eq!(serde_json::to_string(&entry).expect("JSON"), json);
        }
        for (json, expected) in [
            (r#"{"guarded":{"staff":[]}}"#, "missing field `pattern`"),
            (r#"{"pattern":"a","guard":{}}"#, "unknown field `guard`"),
            (
                "7",
                "expected a topic filter, or a map with 'pattern' and 'guarded'",
            ),
            (r#""a/#/b""#, "invalid topic filter"),
        ] {
            let error = serde_json::from_str::<TopicEntry>(json).expect_err(json);
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn guards_are_referred_to_by_guarded_and_by_the_pattern() {
        let json = r#"{"pattern":"${guarded['a'].identity}","guarded":{"b":[]}}"#;
        let entry: TopicEntry = serde_json::from_str(json).expect("an entry");
        let references = entry.references(&["publish", "0"]).into_iter();
        let references: Vec<String> = references
            .map(|it| format!("{} at {}", it.guard, it.path.join(".")))
            .collect();
        assert_eq!(references, ["b at publish.0.guarded.b", "a at publish.0"]);
        assert!(entry.depends_on_caller());
    }
}
