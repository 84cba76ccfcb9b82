//! Topic filters in options: plain ones, and those that contain the caller.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use tidegate_streams::mqtt::topic::{TopicFilter, TopicLimits, TopicTemplate};
use tidegate_streams::{Identity, shown};

/// A topic filter that is not a shared subscription. It may contain the caller:
/// `commands/${guarded['staff'].identity}/set`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicPattern(Form);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    Filter(TopicFilter),
    Template(TopicTemplate),
}

impl TopicPattern {
    /// Parses a pattern. The error is a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let invalid =
            |error: &dyn std::fmt::Display| format!("invalid topic filter '{text}': {error}");
        if TopicTemplate::is_template(text) {
            let template = TopicTemplate::parse(text).map_err(|error| invalid(&error))?;
            return Ok(Self(Form::Template(template)));
        }
        let filter = TopicFilter::parse(text).map_err(|error| invalid(&error))?;
        if filter.is_shared() {
            let inner = filter.inner();
            let error = format!("shared subscriptions are not allowed here; use '{inner}'");
            return Err(invalid(&error));
        }
        Ok(Self(Form::Filter(filter)))
    }

    /// The pattern, as written.
    pub fn text(&self) -> &str {
        match &self.0 {
            Form::Filter(filter) => filter.as_str(),
            Form::Template(template) => template.text(),
        }
    }

    /// The filter, unless it depends on the caller.
    pub const fn filter(&self) -> Option<&TopicFilter> {
        match &self.0 {
            Form::Filter(filter) => Some(filter),
            Form::Template(_) => None,
        }
    }

    /// The template, if it depends on the caller.
    pub const fn template(&self) -> Option<&TopicTemplate> {
        match &self.0 {
            Form::Filter(_) => None,
            Form::Template(template) => Some(template),
        }
    }

    /// The filter for a caller, if there is one.
    pub fn for_caller(&self, caller: Option<&Identity>) -> Option<Cow<'_, TopicFilter>> {
        match &self.0 {
            Form::Filter(filter) => Some(Cow::Borrowed(filter)),
            Form::Template(template) => template.filter(caller).map(Cow::Owned),
        }
    }

    /// Checks the limits. The error is a sentence.
    pub fn check(&self, limits: &TopicLimits) -> Result<(), String> {
        let checked = match &self.0 {
            Form::Filter(filter) => limits.check(filter.as_str()),
            Form::Template(template) => template
                .example()
                .and_then(|example| limits.check(example.as_str())),
        };
        checked.map_err(|error| format!("invalid topic filter '{}': {error}", shown(self.text())))
    }
}

impl<'de> Deserialize<'de> for TopicPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(de::Error::custom)
    }
}

impl Serialize for TopicPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.text())
    }
}

impl JsonSchema for TopicPattern {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "TopicPattern".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "minLength": 1,
            "maxLength": 65_535,
            "description": "An MQTT topic filter: '+' matches one level, '#' all following levels. A level \
                            may be the caller: ${guarded['GUARD'].identity} or \
                            ${guarded['GUARD'].attributes.NAME}.",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_a_filter_or_a_template() {
        let plain = TopicPattern::parse("a/+").expect("a filter");
        assert!(plain.filter().is_some() && plain.template().is_none());
        let own = TopicPattern::parse("a/${guarded['staff'].identity}").expect("a template");
        assert!(own.filter().is_none());
        assert_eq!(own.text(), "a/${guarded['staff'].identity}");
        assert_eq!(own.for_caller(None), None);
        let limits = TopicLimits {
            levels: 1,
            length: 100,
        };
        for pattern in [plain, own] {
            assert!(
                pattern
                    .check(&limits)
                    .is_err_and(|error| error.contains("it has 2 levels"))
            );
        }
    }

    #[test]
    fn errors_name_the_pattern() {
        for (text, expected) in [
            ("a/#/b", "invalid topic filter 'a/#/b': the wildcard '#'"),
            (
                "$share/g/a",
                "shared subscriptions are not allowed here; use 'a'",
            ),
            (
                "a/${x}",
                "invalid topic filter 'a/${x}': unknown expression '${x}'",
            ),
        ] {
            let error = TopicPattern::parse(text).expect_err(text);
            assert!(error.contains(expected), "{error}");
        }
    }
}
