//! Address templates: how the topics of devices are built, such as `{location}/{type}/{device}/{action}`.
//!
//! An [`Address`] does both directions: it fills the template for a device and an action, and reads a
//! topic back. A placeholder stands for one level; a trailing `#` stands for an action of one or more
//! levels.

use std::borrow::Cow;
use std::fmt::Write as _;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use tidegate_streams::mqtt::topic::check_name;
use tidegate_streams::shown;

/// An address template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    text: String,
    levels: Vec<Level>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Level {
    Literal(String),
    Location,
    Type,
    Device,
    Action,
    /// The trailing `#`: the action is the rest of the topic.
    Rest,
}

/// The parts of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts<'a> {
    /// Absent if the template has no `{location}`.
    pub location: Option<&'a str>,
    /// Absent if the template has no `{type}`.
    pub kind: Option<&'a str>,
    /// The id of the device.
    pub device: &'a str,
    /// One level, or the rest of the topic.
    pub action: &'a str,
}

/// The placeholders of templates of topics.
pub(crate) const LOCATION: &str = "{location}";
pub(crate) const DEVICE: &str = "{device}";
const TYPE: &str = "{type}";
const ACTION: &str = "{action}";

impl Address {
    /// Parses a template. The error is a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let invalid = |why: &str| format!("invalid address '{}': {why}", shown(text));
        if text.is_empty() {
            return Err(invalid("it is empty; write at least {device}/{action}"));
        }
        let mut levels = Vec::new();
        for level in text.split('/') {
            levels.push(match level {
                LOCATION => Level::Location,
                TYPE => Level::Type,
                DEVICE => Level::Device,
                ACTION => Level::Action,
                "#" => Level::Rest,
                literal if literal.contains(['{', '}']) => {
                    return Err(invalid(&format!(
                        "'{}' is not a placeholder; use {LOCATION}, {TYPE}, {DEVICE} or {ACTION} as a \
                         whole level",
                        shown(literal)
                    )));
                }
                // A topic may begin with '/', or have empty levels.
                "" => Level::Literal(String::new()),
                literal => {
                    check_name(literal).map_err(|error| invalid(&error.to_string()))?;
                    Level::Literal(literal.to_owned())
                }
            });
        }
        let count = |level: &Level| levels.iter().filter(|it| *it == level).count();
        for (level, name) in [
            (Level::Location, LOCATION),
            (Level::Type, TYPE),
            (Level::Device, DEVICE),
            (Level::Action, ACTION),
        ] {
            if count(&level) > 1 {
                return Err(invalid(&format!("{name} occurs twice; write it once")));
            }
        }
        if count(&Level::Device) == 0 {
            return Err(invalid(&format!("it has no {DEVICE}; add it as a level")));
        }
        match (count(&Level::Action), count(&Level::Rest)) {
            (1, 0) => {}
            (0, 1) if levels.last() == Some(&Level::Rest) => {}
            (0, 1) => return Err(invalid("'#' must be the last level")),
            _ => {
                return Err(invalid(&format!(
                    "it needs either {ACTION} or a trailing '#' for the action"
                )));
            }
        }
        if levels.first() == Some(&Level::Action) {
            return Err(invalid(&format!("{ACTION} must not be the first level")));
        }
        Ok(Self {
            text: text.to_owned(),
            levels,
        })
    }

    /// The template, as written.
    pub fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn has_location(&self) -> bool {
        self.levels.contains(&Level::Location)
    }

    pub(crate) fn has_type(&self) -> bool {
        self.levels.contains(&Level::Type)
    }

    /// Whether an action may have several levels.
    pub(crate) fn has_rest(&self) -> bool {
        self.levels.last() == Some(&Level::Rest)
    }

    /// The topic of an action of a type, with the placeholders of location and device left in.
    pub fn topic(&self, kind: &str, action: &str) -> String {
        let mut topic = String::new();
        for (index, level) in self.levels.iter().enumerate() {
            let slash = if index > 0 { "/" } else { "" };
            let level = match level {
                Level::Literal(literal) => literal,
                Level::Location => LOCATION,
                Level::Type => kind,
                Level::Device => DEVICE,
                Level::Action | Level::Rest => action,
            };
            let _ = write!(topic, "{slash}{level}");
        }
        topic
    }

    /// Reads a topic; `None` if it does not match. No part is empty.
    pub fn read<'a>(&self, topic: &'a str) -> Option<Parts<'a>> {
        let mut parts = Parts {
            location: None,
            kind: None,
            device: "",
            action: "",
        };
        let mut rest = Some(topic);
        for level in &self.levels {
            if *level == Level::Rest {
                parts.action = rest.take()?;
                break;
            }
            let (text, behind) = match rest?.split_once('/') {
                Some((text, behind)) => (text, Some(behind)),
                None => (rest?, None),
            };
            rest = behind;
            match level {
                Level::Literal(literal) if literal == text => continue,
                Level::Literal(_) => return None,
                Level::Location => parts.location = Some(text),
                Level::Type => parts.kind = Some(text),
                Level::Device => parts.device = text,
                Level::Action | Level::Rest => parts.action = text,
            }
            if text.is_empty() {
                return None;
            }
        }
        (rest.is_none() && !parts.action.is_empty()).then_some(parts)
    }
}

/// Fills the placeholders of a topic for a device.
pub fn filled(topic: &str, location: &str, device: &str) -> String {
    let mut filled = String::with_capacity(topic.len() + location.len() + device.len());
    for (index, level) in topic.split('/').enumerate() {
        if index > 0 {
            filled.push('/');
        }
        filled.push_str(match level {
            LOCATION => location,
            DEVICE => device,
            level => level,
        });
    }
    filled
}

/// The topic filter that matches a topic with placeholders.
pub fn filter(topic: &str) -> String {
    filled(topic, "+", "+")
}

impl Default for Address {
    /// `{location}/{type}/{device}/{action}`
    fn default() -> Self {
        Self {
            text: "{location}/{type}/{device}/{action}".to_owned(),
            levels: vec![Level::Location, Level::Type, Level::Device, Level::Action],
        }
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(de::Error::custom)
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl JsonSchema for Address {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Address".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "Levels of a topic: {location}, {type}, {device} and {action}, or literal \
                            text. A trailing '#' instead of {action} stands for an action of several \
                            levels.",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(text: &str) -> Address {
        Address::parse(text).expect(text)
    }

    #[test]
    fn a_topic_is_built_and_read_back() {
        for (text, topic, location, kind, action) in [
            (
                "{location}/{type}/{device}/{action}",
                "hall/light/lamp/state",
                Some("hall"),
                Some("light"),
                "state",
            ),
            (
                "plant/v1/{device}/{action}",
                "plant/v1/lamp/state",
                None,
                None,
                "state",
            ),
            (
                "{type}/{device}/#",
                "light/lamp/a/b",
                None,
                Some("light"),
                "a/b",
            ),
        ] {
            let address = address(text);
            let built = address.topic("light", action);
            assert_eq!(filled(&built, location.unwrap_or_default(), "lamp"), topic);
            let parts = address.read(topic).expect(topic);
            assert_eq!(
                (parts.location, parts.kind, parts.device, parts.action),
                (location, kind, "lamp", action)
            );
        }
    }

    #[test]
    fn other_topics_do_not_match() {
        let four = address("{location}/{type}/{device}/{action}");
        for topic in ["", "a", "a/b/c", "a/b/c/d/e", "/b/c/d", "a/b//d", "a/b/c/"] {
            assert_eq!(four.read(topic), None, "{topic}");
        }
        let prefixed = address("plant/{device}/#");
        for topic in ["plant/a", "plant/a/", "depot/a/b", "plant//b", "plant"] {
            assert_eq!(prefixed.read(topic), None, "{topic}");
        }
    }

    #[test]
    fn invalid_templates_are_refused_with_a_fix() {
        for (text, expected) in [
            ("{location}/{action}", "it has no {device}"),
            ("{device}", "either {action} or a trailing '#'"),
            ("{device}/{action}/#", "either {action} or a trailing '#'"),
            ("{device}/#/a", "'#' must be the last level"),
            ("{device}/{device}/{action}", "{device} occurs twice"),
            ("{device}/{what}", "'{what}' is not a placeholder"),
            ("x{device}/{action}", "'x{device}' is not a placeholder"),
            ("+/{device}/{action}", "the wildcard '+'"),
            ("{action}/{device}", "must not be the first level"),
            ("", "it is empty"),
        ] {
            let error = Address::parse(text).expect_err(text);
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_filter_has_wildcards_for_placeholders() {
        let topic = address("plant/{location}/{type}/{device}/{action}").topic("light", "state");
        assert_eq!(topic, "plant/{location}/light/{device}/state");
        assert_eq!(filter(&topic), "plant/+/light/+/state");
    }

    proptest! {
        #[test]
        fn what_is_built_is_read_back(
            template in prop::sample::select(vec![
                "{location}/{type}/{device}/{action}",
                "/{type}/{device}/x/{action}",
                "{device}/{location}/{type}/#",
            ]),
            parts in prop::array::uniform4("[^/+#\u{0}]{1,6}"),
        ) {
            let address = address(template);
            let [location, kind, device, action] = &parts;
            let topic = filled(&address.topic(kind, action), location, device);
            // A part that looks like a placeholder is filled like one.
            prop_assume!(!parts.iter().any(|part| part.contains('{')));
            let read = address.read(&topic);
            prop_assert_eq!(read.map(|it| (it.location, it.kind, it.device, it.action)), Some((
                address.has_location().then_some(location.as_str()),
                Some(kind.as_str()),
                device.as_str(),
                action.as_str(),
            )));
        }

        #[test]
        fn any_topic_is_read_without_a_panic(topic in "[a-c/+#{}]{0,12}") {
            for template in ["{location}/{type}/{device}/{action}", "a/{device}/#"] {
                if let Some(parts) = address(template).read(&topic) {
                    prop_assert!(!parts.device.is_empty() && !parts.action.is_empty());
                }
            }
        }
    }
}
