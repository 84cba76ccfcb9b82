//! Topic filters whose levels may have names: `sensors/{room}/temperature`, `plant/{+rest}`.
//!
//! A name stands for a wildcard, and appears in the URI template of the resource (RFC 6570): `{name}` is
//! one level, as `+`; `{+name}` is the last level and all levels below it, as `#`.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, de};
use tidegate_options::TopicPattern;

/// Maximum length of a name, in bytes.
const NAME_LENGTH_MAX: usize = 64;

/// A topic filter with the names of its levels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedPattern {
    pattern: TopicPattern,
    /// The levels that have a name: their index, and the expression of the URI template.
    names: Box<[(usize, Box<str>)]>,
}

impl NamedPattern {
    /// Parses a pattern. The error is a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let invalid = |error: &str| format!("invalid topic filter '{text}': {error}");
        let mut names: Vec<(usize, Box<str>)> = Vec::new();
        let mut filter = String::with_capacity(text.len());
        let mut levels = levels(text).enumerate().peekable();
        while let Some((index, level)) = levels.next() {
            if index > 0 {
                filter.push('/');
            }
            let Some(name) = named(level).map_err(|error| invalid(&error))? else {
                filter.push_str(level);
                continue;
            };
            let rest = level.starts_with("{+");
            if rest && levels.peek().is_some() {
                let error =
                    format!("'{level}' must be the last level; use '{{{name}}}' for one level");
                return Err(invalid(&error));
            }
            let is_name = |other: &str| other.trim_matches(['{', '+', '}']) == name;
            if names.iter().any(|(_, other)| is_name(other)) {
                return Err(invalid(&format!(
                    "two levels are named '{name}'; rename one"
                )));
            }
            names.push((index, level.into()));
            filter.push(if rest { '#' } else { '+' });
        }
        Ok(Self {
            pattern: TopicPattern::parse(&filter)?,
            names: names.into(),
        })
    }

    /// A pattern without names.
    pub(crate) fn plain(pattern: TopicPattern) -> Self {
        Self {
            pattern,
            names: Box::default(),
        }
    }

    /// Every topic that is not reserved.
    pub(crate) fn every() -> Option<TopicPattern> {
        TopicPattern::parse("#").ok()
    }

    /// The pattern with wildcards in place of names.
    pub const fn pattern(&self) -> &TopicPattern {
        &self.pattern
    }

    /// The levels that have a name: their index, and the name in braces.
    pub(crate) fn names(&self) -> impl Iterator<Item = (usize, &str)> {
        self.names.iter().map(|(index, name)| (*index, &**name))
    }

    /// A filter of this pattern with the names in place of its wildcards.
    pub(crate) fn named<'a>(&self, filter: &'a str) -> Cow<'a, str> {
        if self.names.is_empty() {
            return Cow::Borrowed(filter);
        }
        let mut names = self.names.iter().peekable();
        let levels = filter.split('/').enumerate().map(|(index, level)| {
            let name = names.next_if(|(named, _)| *named == index);
            name.map_or(level, |(_, name)| name)
        });
        Cow::Owned(levels.collect::<Vec<_>>().join("/"))
    }
}

/// The levels of a pattern. A slash within `${…}` separates nothing.
fn levels(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let from = rest?;
        let skipped = if from.starts_with("${") {
            from.find('}').unwrap_or(from.len())
        } else {
            0
        };
        let slash = from.get(skipped..)?.find('/').map(|at| at + skipped);
        let (level, behind) = match slash {
            Some(at) => (from.get(..at)?, from.get(at + 1..)),
            None => (from, None),
        };
        rest = behind;
        Some(level)
    })
}

/// The name of a level, if it has one. An error completes a sentence.
fn named(level: &str) -> Result<Option<&str>, String> {
    if level.starts_with("${") || !level.contains(['{', '}']) {
        return Ok(None);
    }
    let inner = level
        .strip_prefix('{')
        .and_then(|inner| inner.strip_suffix('}'))
        .filter(|inner| !inner.contains(['{', '}']))
        .ok_or_else(|| {
            format!("'{level}' is neither a name nor a level without braces; write '{{name}}'")
        })?;
    let name = inner.strip_prefix('+').unwrap_or(inner);
    let is_word = |character: char| character.is_ascii_alphanumeric() || character == '_';
    if name.is_empty() || name.len() > NAME_LENGTH_MAX || !name.chars().all(is_word) {
        return Err(format!(
            "invalid name '{level}'; use 1 to {NAME_LENGTH_MAX} letters, digits and '_' between the braces"
        ));
    }
    Ok(Some(name))
}

impl<'de> Deserialize<'de> for NamedPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(de::Error::custom)
    }
}

impl JsonSchema for NamedPattern {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "NamedPattern".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = TopicPattern::json_schema(generator);
        let plain = schema.get("description").and_then(|text| text.as_str());
        let description = format!(
            "{} '{{name}}' is a level with a name, '{{+name}}' names all following levels; the names \
             appear in URI templates and in `list_topics`.",
            plain.unwrap_or_default()
        );
        schema.insert("description".to_owned(), description.into());
        schema
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> NamedPattern {
        NamedPattern::parse(text).expect(text)
    }

    #[test]
    fn names_stand_for_wildcards() {
        for (text, filter) in [
            ("sensors/{room}/temperature", "sensors/+/temperature"),
            ("{plant}/{+rest}", "+/#"),
            ("{+all}", "#"),
            ("a/+/{b}/#", "a/+/+/#"),
            ("a/b", "a/b"),
            (
                "${guarded['staff'].attributes['a/b']}/{device}/set",
                "${guarded['staff'].attributes['a/b']}/+/set",
            ),
        ] {
            assert_eq!(parse(text).pattern().text(), filter, "{text}");
        }
        let own = parse("notes/${guarded['staff'].identity}/{kind}");
        assert_eq!(own.named("notes/alice/+"), "notes/alice/{kind}");
        assert_eq!(parse("a/+").named("a/+"), "a/+");
        assert_eq!(parse("{+all}").named("#"), "{+all}");
    }

    #[test]
    fn errors_name_the_level() {
        for (text, expected) in [
            (
                "a/x{b}",
                "'x{b}' is neither a name nor a level without braces",
            ),
            ("a/{b}{c}", "'{b}{c}' is neither"),
            ("a/}", "'}' is neither"),
            ("a/{}", "invalid name '{}'; use 1 to 64 letters"),
            ("a/{b c}", "invalid name '{b c}'"),
            ("a/{ü}", "invalid name"),
            (
                "{+a}/b",
                "'{+a}' must be the last level; use '{a}' for one level",
            ),
            ("{a}/{a}", "two levels are named 'a'"),
            ("{a}/{+a}", "two levels are named 'a'"),
            ("a/#/{b}", "the wildcard '#' must be the last level"),
            ("", "it is empty"),
        ] {
            let error = NamedPattern::parse(text).expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "[a/{}+#$'\\[\\].ü\\PC]{0,40}") {
            if let Ok(named) = NamedPattern::parse(&text) {
                prop_assert!(named.pattern().filter().is_some() || named.pattern().template().is_some());
            }
        }

        #[test]
        fn named_levels_are_restored(levels in prop::collection::vec("[a-z]{0,3}|\\+|\\{[a-z]{1,6}\\}", 1..8)) {
            let text = levels.join("/");
            if let Ok(named) = NamedPattern::parse(&text) {
                prop_assert_eq!(named.named(named.pattern().text()), text.as_str());
                let wildcards = levels.iter().filter(|it| it.len() > 2 && it.starts_with('{')).count();
                prop_assert_eq!(named.names().count(), wildcards);
            }
        }
    }
}
