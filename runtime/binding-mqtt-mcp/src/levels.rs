//! Topics with named levels: which messages are requests, where answers may go, and where they go.
//!
//! `devices/{device}/call` matches as `devices/+/call` and gives the level a name. In a topic that is
//! published to, the name stands for the value; in a pattern of reply topics, the level must be equal
//! to it, so that one device cannot direct answers to another.

use std::borrow::Cow;
use std::sync::Arc;

use bytestring::ByteString;
use minijinja::Value;
use minijinja::value::{Enumerator, Object};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use tidegate_streams::mqtt::topic::{TopicFilter, check_name, is_reserved, levels};

/// Longest name of a level, in bytes.
const NAME_MAX: usize = 64;
/// Bytes that are reserved for a topic: most have not more.
const EXPECTED: usize = 64;

/// The values of the named levels of a topic, which templates see as `topic`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Values(Arc<Named>);

/// They are few, so they are found one after the other.
#[derive(Debug, Default, PartialEq, Eq)]
struct Named(Vec<(ByteString, ByteString)>);

impl Values {
    pub(crate) fn get(&self, name: &str) -> Option<&ByteString> {
        self.0.get(name)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.0.is_empty()
    }

    /// What templates see of them.
    pub(crate) fn variable(&self) -> Value {
        Value::from_dyn_object(Arc::clone(&self.0))
    }
}

impl FromIterator<(ByteString, ByteString)> for Values {
    /// Names must differ.
    fn from_iter<I: IntoIterator<Item = (ByteString, ByteString)>>(levels: I) -> Self {
        Self(Arc::new(Named(levels.into_iter().collect())))
    }
}

impl Named {
    fn get(&self, name: &str) -> Option<&ByteString> {
        let mut levels = self.0.iter();
        levels.find_map(|(known, value)| (*known == name).then_some(value))
    }
}

impl Object for Named {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get(key.as_str()?).map(|it| Value::from(&**it))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        let names = self.0.iter().map(|(name, _)| Value::from(&**name));
        Enumerator::Values(names.collect())
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Level {
    /// A literal or a wildcard.
    Text(Box<str>),
    /// `{name}`
    Named(ByteString),
}

/// The levels of a topic or filter with names.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Levels(Box<[Level]>);

impl Levels {
    /// Parses the levels. The error completes a sentence.
    fn parse(text: &str) -> Result<Self, String> {
        let levels = text.split('/').map(|level| {
            if !level.contains(['{', '}']) {
                return Ok(Level::Text(level.into()));
            }
            let name = level
                .strip_prefix('{')
                .and_then(|it| it.strip_suffix('}'))
                .filter(|it| is_word(it));
            name.map(|name| Level::Named(name.into())).ok_or_else(|| {
                format!(
                    "'{level}' is not a level with a name; write '{{name}}' as a whole level, with 1 to \
                     {NAME_MAX} letters, digits and '_'"
                )
            })
        });
        Ok(Self(levels.collect::<Result<_, String>>()?))
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|level| match level {
            Level::Named(name) => Some(&**name),
            Level::Text(_) => None,
        })
    }

    /// The text with `of(name)` in place of each name.
    fn with<'a>(&'a self, of: impl Fn(&'a str) -> Option<&'a str>) -> Option<String> {
        let mut text = String::with_capacity(EXPECTED);
        for (index, level) in self.0.iter().enumerate() {
            if index > 0 {
                text.push('/');
            }
            text.push_str(match level {
                Level::Text(text) => text,
                Level::Named(name) => of(name)?,
            });
        }
        Some(text)
    }

    fn text(&self) -> String {
        let levels = self.0.iter().map(|level| match level {
            Level::Text(text) => text.to_string(),
            Level::Named(name) => format!("{{{name}}}"),
        });
        levels.collect::<Vec<_>>().join("/")
    }
}

pub(crate) fn is_word(name: &str) -> bool {
    let is_letter = |it: char| it.is_ascii_alphanumeric() || it == '_';
    !name.is_empty()
        && name.len() <= NAME_MAX
        && name.chars().all(is_letter)
        && !name.starts_with(|first: char| first.is_ascii_digit())
}

/// Whether a value can stand for a whole level of a topic.
fn is_one_level(value: &str) -> bool {
    !value.is_empty() && !value.contains(['/', '+', '#', '\0'])
}

/// A topic filter whose messages are requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RequestTopic {
    levels: Levels,
    filter: TopicFilter,
}

impl RequestTopic {
    /// Parses a filter. The error is a sentence without its full stop.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let invalid = |why: &str| format!("invalid topic filter '{text}': {why}");
        let levels = Levels::parse(text).map_err(|why| invalid(&why))?;
        let mut names: Vec<&str> = levels.names().collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair.first() == pair.last()) {
            let name = pair.first().copied().unwrap_or_default();
            return Err(invalid(&format!(
                "two levels are named '{name}'; rename one"
            )));
        }
        let filter = levels.with(|_| Some("+")).unwrap_or_default();
        let filter = TopicFilter::parse(filter).map_err(|error| invalid(&error.to_string()))?;
        if filter.is_shared() {
            return Err(invalid(
                "remove '$share/NAME/'; the binding subscribes itself",
            ));
        }
        Ok(Self { levels, filter })
    }

    /// As in the config.
    pub(crate) fn text(&self) -> String {
        self.levels.text()
    }

    /// The topic filter, with wildcards in place of names.
    pub(crate) const fn filter(&self) -> &TopicFilter {
        &self.filter
    }

    /// The names of its levels, in order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.levels.names()
    }

    /// The values of the named levels of a topic that it matches.
    pub(crate) fn values(&self, topic: &ByteString) -> Option<Values> {
        if !self.filter.matches(topic) {
            return None;
        }
        let levels = self.levels.0.iter().zip(levels(topic));
        let values = levels.filter_map(|(level, value)| match level {
            Level::Named(name) => Some((name.clone(), topic.slice_ref(value))),
            Level::Text(_) => None,
        });
        Some(values.collect())
    }
}

/// A topic to publish to, in which names stand for levels of the request's topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AnswerTopic(Levels);

impl AnswerTopic {
    /// Parses a topic. The error is a sentence without its full stop.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let invalid = |why: &str| format!("invalid topic '{text}': {why}");
        let levels = Levels::parse(text).map_err(|why| invalid(&why))?;
        let example = levels.with(|_| Some("x")).unwrap_or_default();
        check_name(&example).map_err(|error| invalid(&error.to_string()))?;
        if is_reserved(&example) {
            return Err(invalid(
                "topics that begin with '$' are reserved for the broker; use another",
            ));
        }
        Ok(Self(levels))
    }

    /// The names of its levels.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.names()
    }

    /// The filter of all topics that it can be.
    pub(crate) fn filter(&self) -> Option<TopicFilter> {
        TopicFilter::parse(self.0.with(|_| Some("+"))?).ok()
    }

    /// The topic for a request. `None` if a value is missing or is not one level.
    pub(crate) fn of(&self, values: &Values) -> Option<ByteString> {
        let value = |name: &str| values.get(name).map(|it| &**it);
        let topic = self
            .0
            .with(|name| value(name).filter(|it| is_one_level(it)))?;
        check_name(&topic).ok()?;
        (!is_reserved(&topic)).then(|| topic.into())
    }

    /// The topic, as written.
    pub(crate) fn text(&self) -> String {
        self.0.text()
    }
}

/// A pattern of topics that requests may name for their answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReplyPattern(Levels);

impl ReplyPattern {
    /// Parses a pattern. The error is a sentence without its full stop.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let invalid = |why: &str| format!("invalid topic filter '{text}': {why}");
        let levels = Levels::parse(text).map_err(|why| invalid(&why))?;
        let filter = levels.with(|_| Some("x")).unwrap_or_default();
        let filter = TopicFilter::parse(filter).map_err(|error| invalid(&error.to_string()))?;
        if filter.is_shared() || is_reserved(filter.as_str()) {
            return Err(invalid(
                "topics that begin with '$' are reserved for the broker; use another",
            ));
        }
        Ok(Self(levels))
    }

    /// Whether answers to a request with these values may go to `topic`, which must be valid.
    pub(crate) fn allows(&self, topic: &str, values: &Values) -> bool {
        let value = |name: &str| values.get(name).map(|it| &**it);
        let filter = self
            .0
            .with(|name| value(name).filter(|it| is_one_level(it)));
        // A value such as '$share' must not make another kind of filter of it.
        let filter = filter.filter(|filter| !is_reserved(filter));
        let filter = filter.and_then(|filter| TopicFilter::parse(filter).ok());
        filter.is_some_and(|filter| filter.matches(topic))
    }
}

macro_rules! option {
    ($type:ident, $description:literal) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::parse(&text).map_err(de::Error::custom)
            }
        }

        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "type": "string", "minLength": 1, "maxLength": 65_535, "description": $description,
                })
            }
        }
    };
}

option!(
    RequestTopic,
    "A topic filter; a level `{name}` is a wildcard with a name."
);
option!(
    AnswerTopic,
    "A topic; a level `{name}` is the level of that name of the request's topic."
);
option!(
    ReplyPattern,
    "A topic filter; a level `{name}` must be equal to the level of that name of the request's topic."
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values(pairs: &[(&str, &str)]) -> Values {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect()
    }

    #[test]
    fn a_named_level_matches_any_value_and_keeps_it() {
        let topic = RequestTopic::parse("ai/{scope}/barista/{robot}/#").expect("a filter");
        assert_eq!(topic.filter().as_str(), "ai/+/barista/+/#");
        let found = topic.values(&"ai/local/barista/A3/request".into());
        assert_eq!(found, Some(values(&[("scope", "local"), ("robot", "A3")])));
        assert_eq!(topic.values(&"ai/local/other/A3/request".into()), None);
    }

    #[test]
    fn an_answer_topic_takes_the_values_of_the_request() {
        let topic = AnswerTopic::parse("ai/cloud/planner/{robot}/plan").expect("a topic");
        let of = |value| topic.of(&values(&[("robot", value)]));
        assert_eq!(of("A3").as_deref(), Some("ai/cloud/planner/A3/plan"));
        for value in ["", "a/b", "+", "#", "a\0"] {
            assert_eq!(of(value), None, "{value:?}");
        }
        assert_eq!(topic.of(&Values::default()), None);
        let first = AnswerTopic::parse("{scope}/plan").expect("a topic");
        assert_eq!(first.of(&values(&[("scope", "$SYS")])), None);
    }

    #[test]
    fn a_device_cannot_name_the_topics_of_another() {
        let pattern = ReplyPattern::parse("devices/{device}/answers/#").expect("a pattern");
        let own = values(&[("device", "d1")]);
        assert!(pattern.allows("devices/d1/answers/7", &own));
        assert!(!pattern.allows("devices/d2/answers/7", &own));
        assert!(!pattern.allows("devices/d1/call", &own));
        for value in ["+", "#", "", "d1/answers/x"] {
            let other = values(&[("device", value)]);
            assert!(!pattern.allows("devices/d2/answers/7", &other), "{value}");
        }
        assert!(!pattern.allows("devices/d1/answers/7", &Values::default()));
        let pattern = ReplyPattern::parse("{scope}/{group}/x").expect("a pattern");
        let shared = values(&[("scope", "$share"), ("group", "g")]);
        assert!(!pattern.allows("x", &shared), "no shared filter");
        assert!(!pattern.allows("$share/g/x", &shared));
    }

    #[test]
    fn errors_name_the_level() {
        for (text, expected) in [
            ("a/x{b}", "'x{b}' is not a level with a name"),
            ("a/{b c}", "'{b c}' is not a level with a name"),
            ("a/{1}", "'{1}' is not a level with a name"),
            ("a/{b}/{b}", "two levels are named 'b'"),
            ("$share/g/a", "remove '$share/NAME/'"),
            ("a/#/b", "the wildcard '#' must be the last level"),
        ] {
            let error = RequestTopic::parse(text).expect_err(text);
            assert!(error.contains(expected), "{error}");
        }
        for text in ["a/+", "$SYS/a", "a/#", ""] {
            assert!(AnswerTopic::parse(text).is_err(), "{text}");
        }
        assert!(ReplyPattern::parse("$SYS/#").is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "[ab/{}+#$_]{0,16}", topic in "[ab/]{1,8}") {
            if let Ok(pattern) = RequestTopic::parse(&text)
                && let Some(values) = pattern.values(&topic.as_str().into())
            {
                prop_assert_eq!(values.0.0.len(), pattern.names().count());
            }
            if let Ok(answer) = AnswerTopic::parse(&text) {
                prop_assert!(answer.of(&values(&[("a", "x"), ("b", "y")])).is_none_or(|it| check_name(&it).is_ok()));
            }
        }

        #[test]
        fn a_named_level_of_a_reply_is_the_requests(device in "[ab+#/]{0,3}", topic in "r/[ab]{1,3}") {
            let pattern = ReplyPattern::parse("r/{device}").expect("a pattern");
            let allowed = pattern.allows(&topic, &values(&[("device", &device)]));
            prop_assert_eq!(allowed, topic == format!("r/{device}"));
        }
    }
}
