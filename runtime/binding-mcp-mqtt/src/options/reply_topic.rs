//! `replyTopic`: where the answers of `query` arrive.

use std::borrow::Cow;

use bytestring::ByteString;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use tidegate_streams::mqtt::topic::{TopicError, TopicLimits, check_name, is_reserved};

/// The level that stands for the client identifier.
const CLIENT_ID: &str = "{clientId}";

/// A topic with one level `{clientId}`, so that each connection has a topic of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyTopic {
    before: String,
    after: String,
}

impl ReplyTopic {
    /// Parses a topic. The error is a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let invalid = |why: &str| format!("invalid reply topic '{text}': {why}");
        let mut levels = text.split('/').enumerate();
        let found = levels.find(|(_, level)| *level == CLIENT_ID);
        let Some((index, _)) = found else {
            return Err(invalid(&format!(
                "no level is '{CLIENT_ID}'; write one, as in 'replies/{CLIENT_ID}'"
            )));
        };
        let join = |levels: Vec<&str>| levels.join("/");
        let before = join(text.split('/').take(index).chain([""]).collect());
        let behind = text.split('/').skip(index + 1);
        let after = join([""].into_iter().chain(behind).collect());
        let topic = Self { before, after };
        if topic.after.contains(['{', '}']) || topic.before.contains(['{', '}']) {
            return Err(invalid(&format!(
                "only one level can be '{CLIENT_ID}'; remove other braces"
            )));
        }
        let example = topic.of("x");
        check_name(&example).map_err(|error| invalid(&error.to_string()))?;
        if is_reserved(&example) {
            return Err(invalid(
                "topics that begin with '$' are reserved for the broker; use another",
            ));
        }
        Ok(topic)
    }

    /// The topic of a client.
    pub(crate) fn of(&self, client_id: &str) -> ByteString {
        format!("{}{client_id}{}", self.before, self.after).into()
    }

    /// Checks the limits, with a client identifier of usual length.
    pub(crate) fn check(&self, limits: &TopicLimits) -> Result<(), TopicError> {
        const CLIENT_ID_LENGTH: usize = 23;
        limits.check(&self.of(&"x".repeat(CLIENT_ID_LENGTH)))
    }
}

impl<'de> Deserialize<'de> for ReplyTopic {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(de::Error::custom)
    }
}

impl JsonSchema for ReplyTopic {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ReplyTopic".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "minLength": 10, "maxLength": 65_535, "pattern": "\\{clientId\\}" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_level_is_the_client() {
        for (text, expected) in [
            ("replies/{clientId}", "replies/c-1"),
            ("{clientId}", "c-1"),
            ("{clientId}/answers", "c-1/answers"),
            ("a/{clientId}/b/c", "a/c-1/b/c"),
        ] {
            let topic = ReplyTopic::parse(text).expect(text);
            assert_eq!(topic.of("c-1"), expected);
        }
        for (text, expected) in [
            ("replies", "no level is '{clientId}'"),
            ("replies/x{clientId}", "no level is '{clientId}'"),
            ("{clientId}/{clientId}", "only one level can be"),
            ("{room}/{clientId}", "only one level can be"),
            (
                "a/+/{clientId}",
                "the wildcard '+' is only allowed in a topic filter",
            ),
            ("{clientId}/#", "the wildcard '#'"),
            ("$replies/{clientId}", "reserved for the broker"),
        ] {
            let error = ReplyTopic::parse(text).expect_err(text);
            assert!(error.contains(expected), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_topic_of_the_client_or_refused(text in "[a/{}+#$]{0,8}(\\{clientId\\})?[a/{}+#$]{0,8}") {
            if let Ok(topic) = ReplyTopic::parse(&text) {
                prop_assert!(check_name(&topic.of("c")).is_ok());
                prop_assert_eq!(topic.of("{clientId}"), text.as_str());
            }
        }
    }
}
