//! `topics`: topics that explain themselves.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use tidegate_options::{Bounded, Guarded, Required, TopicEntry};

use super::named_pattern::NamedPattern;
use super::payload_schema::PayloadSchema;

/// Topics with their meaning and their rules.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", remote = "Self")]
#[schemars(inline)]
pub struct Topic {
    /// The topics.
    pub pattern: NamedPattern,
    /// What clients may do with them.
    pub permissions: Permissions,
    /// What the messages mean, for the model: it appears in `list_topics`, in resources and resource
    /// templates, and in the descriptions of the tools.
    pub description: Option<String>,
    /// JSON Schema of the payloads. A publish that breaks it is refused with its violations. A payload
    /// that is not JSON is checked as a string; one of more than 64 KiB is refused. A `$ref` must lead to a place in this schema.
    pub schema: Option<PayloadSchema>,
    /// A payload, as an example for the model: a string, or JSON.
    pub example: Option<serde_json::Value>,
    /// Callers that may use the topics.
    pub guarded: Option<Guarded>,
    /// Lowest and highest `qos` of published messages.
    #[serde(default)]
    pub qos: QosRange,
    /// Whether published messages may be retained.
    #[serde(default = "retained")]
    pub retain: bool,
    /// `required`: a person has to approve each message before it is published. The client asks its user
    /// (MCP elicitation), who sees topic, payload and present value; a client that cannot ask is refused.
    pub approval: Option<Required>,
}

const fn retained() -> bool {
    true
}

impl<'de> Deserialize<'de> for Topic {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let topic = Self::deserialize(deserializer)?;
        if let (Some(schema), Some(example)) = (&topic.schema, &topic.example)
            && let Err(violations) = schema.check_example(example)
        {
            return Err(de::Error::custom(format!(
                "'example' does not match 'schema': {violations}; correct one of them"
            )));
        }
        Ok(topic)
    }
}

impl Topic {
    /// The topics of an entry of `subscribe` or `publish`, which has no meaning beyond its pattern.
    pub(crate) fn plain(entry: &TopicEntry, permissions: Permissions) -> Self {
        Self {
            pattern: NamedPattern::plain(entry.pattern.clone()),
            permissions,
            description: None,
            schema: None,
            example: None,
            guarded: entry.guarded.clone(),
            qos: QosRange::default(),
            retain: true,
            approval: None,
        }
    }

    /// The pattern, and who may use it.
    pub(crate) fn entry(&self) -> TopicEntry {
        TopicEntry {
            pattern: self.pattern.pattern().clone(),
            guarded: self.guarded.clone(),
        }
    }

    /// Whether it has rules for the messages that are published.
    pub(crate) fn restricts(&self) -> bool {
        self.schema.is_some() || !self.retain || !self.qos.is_open() || self.approval.is_some()
    }
}

/// A range of `QoS`.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    rename_all = "camelCase",
    default,
    remote = "Self"
)]
#[schemars(inline)]
pub struct QosRange {
    /// Lowest `qos`. Absent: 0.
    pub minimum: Option<Bounded<0, 2>>,
    /// Highest `qos`. Absent: 2.
    pub maximum: Option<Bounded<0, 2>>,
}

impl QosRange {
    pub(crate) fn lowest(&self) -> u8 {
        self.minimum
            .map_or(0, |qos| u8::try_from(qos.get()).unwrap_or(2))
    }

    pub(crate) fn highest(&self) -> u8 {
        self.maximum
            .map_or(2, |qos| u8::try_from(qos.get()).unwrap_or(2))
    }

    pub(crate) fn is_open(&self) -> bool {
        self.lowest() == 0 && self.highest() == 2
    }
}

impl<'de> Deserialize<'de> for QosRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let range = Self::deserialize(deserializer)?;
        if range.lowest() > range.highest() {
            return Err(de::Error::custom(format!(
                "'minimum' is {} and higher than 'maximum', which is {}; swap them",
                range.lowest(),
                range.highest()
            )));
        }
        Ok(range)
    }
}

/// What clients may do with topics; at least one of both.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Permissions {
    /// They may receive, read and subscribe.
    pub subscribe: bool,
    /// They may publish.
    pub publish: bool,
}

impl Permissions {
    pub(crate) const SUBSCRIBE: Self = Self {
        subscribe: true,
        publish: false,
    };
    pub(crate) const PUBLISH: Self = Self {
        subscribe: false,
        publish: true,
    };

    /// Whether both have a permission.
    pub(crate) const fn intersects(self, other: Self) -> bool {
        (self.subscribe && other.subscribe) || (self.publish && other.publish)
    }

    /// All permissions of both.
    pub(crate) const fn and(self, other: Self) -> Self {
        Self {
            subscribe: self.subscribe || other.subscribe,
            publish: self.publish || other.publish,
        }
    }

    /// The words, in order.
    pub(crate) fn words(self) -> impl Iterator<Item = &'static str> {
        let subscribe = self.subscribe.then_some("subscribe");
        subscribe
            .into_iter()
            .chain(self.publish.then_some("publish"))
    }
}

impl<'de> Deserialize<'de> for Permissions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Words)
    }
}

struct Words;

impl<'de> de::Visitor<'de> for Words {
    type Value = Permissions;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of 'subscribe' and 'publish'")
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut words: A) -> Result<Permissions, A::Error> {
        let mut permissions = Permissions::default();
        while let Some(word) = words.next_element::<Permission>()? {
            match word {
                Permission::Subscribe => permissions.subscribe = true,
                Permission::Publish => permissions.publish = true,
            }
        }
        if permissions == Permissions::default() {
            let error = "it is empty, so nobody could use the topics; add subscribe or publish";
            return Err(de::Error::custom(error));
        }
        Ok(permissions)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Permission {
    #[serde(alias = "read")]
    Subscribe,
    #[serde(alias = "write")]
    Publish,
}

impl JsonSchema for Permissions {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Permissions".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "array",
            "minItems": 1,
            "items": { "type": "string", "enum": ["subscribe", "publish", "read", "write"] },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Topic, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn an_entry_has_a_pattern_and_permissions_and_all_else_is_optional() {
        let topic = read(r#"{"pattern":"a/+","permissions":["read","write","publish"]}"#);
        let topic = topic.expect("an entry");
        let both = Permissions {
            subscribe: true,
            publish: true,
        };
        assert_eq!(topic.permissions, both);
        assert!(topic.retain && topic.qos.is_open() && !topic.restricts());
        let words: Vec<&str> = topic.permissions.words().collect();
        assert_eq!(words, ["subscribe", "publish"]);
        for restricted in [
            r#"{"pattern":"a","permissions":["publish"],"retain":false}"#,
            r#"{"pattern":"a","permissions":["publish"],"qos":{"maximum":1}}"#,
            r#"{"pattern":"a","permissions":["publish"],"schema":{"type":"number"}}"#,
        ] {
            assert!(read(restricted).is_ok_and(|topic| topic.restricts()));
        }
    }

    #[test]
    fn mistakes_are_refused_with_a_hint() {
        for (json, expected) in [
            (r#"{"permissions":["publish"]}"#, "missing field `pattern`"),
            (r#"{"pattern":"a"}"#, "missing field `permissions`"),
            (r#"{"pattern":"a","permissions":[]}"#, "it is empty"),
            (
                r#"{"pattern":"a","permissions":["admin"]}"#,
                "unknown variant `admin`",
            ),
            (
                r#"{"pattern":"a","permissions":"read"}"#,
                "expected a list of 'subscribe' and 'publish'",
            ),
            (
                r#"{"pattern":"a","permissions":["read"],"qos":{"minimum":2,"maximum":1}}"#,
                "'minimum' is 2 and higher than 'maximum', which is 1",
            ),
            (
                r#"{"pattern":"a","permissions":["write"],"schema":{"type":"number"},"example":"on"}"#,
                "'example' does not match 'schema'",
            ),
            (
                r#"{"pattern":"a","permissions":["read"],"note":1}"#,
                "unknown field `note`",
            ),
        ] {
            let error = read(json).expect_err(json);
            assert!(error.contains(expected), "{error}");
        }
    }
}
