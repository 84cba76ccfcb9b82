//! Globs: patterns of names and URIs in conditions.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};

/// Most bytes of a glob.
const LENGTH_MAX: usize = 1_024;

/// A pattern of names: `*` stands for any text, also none; every other character for itself.
///
/// A match takes time in proportion to the name, times the number of `*` at most: no name from outside
/// can raise it further.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub struct Glob {
    /// The text before the first `*`.
    start: Box<str>,
    /// The texts behind each `*`; without any, the glob is a plain name.
    behind: Box<[Box<str>]>,
}

impl Glob {
    /// Returns `None` for an empty text and for one of more than 1024 bytes.
    pub fn new(text: &str) -> Option<Self> {
        if text.is_empty() || text.len() > LENGTH_MAX {
            return None;
        }
        let mut parts = text.split('*').map(Box::from);
        let start = parts.next()?;
        Some(Self {
            start,
            behind: parts.collect(),
        })
    }

    /// Whether it matches the whole of `name`.
    pub fn matches(&self, name: &str) -> bool {
        let Some((last, middle)) = self.behind.split_last() else {
            return *name == *self.start;
        };
        let Some(mut rest) = name.strip_prefix(&*self.start) else {
            return false;
        };
        for part in middle {
            // The first occurrence leaves the most for the others.
            let Some(at) = rest.find(&**part) else {
                return false;
            };
            rest = rest.get(at + part.len()..).unwrap_or_default();
        }
        rest.ends_with(&**last)
    }
}

impl From<Glob> for String {
    fn from(glob: Glob) -> Self {
        let mut text = Self::from(glob.start);
        for part in &glob.behind {
            text.push('*');
            text.push_str(part);
        }
        text
    }
}

impl<'de> Deserialize<'de> for Glob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(&text).ok_or_else(|| {
            de::Error::custom(format!(
                "invalid glob; use 1 to {LENGTH_MAX} bytes, in which '*' stands for any text"
            ))
        })
    }
}

impl JsonSchema for Glob {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Glob".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "minLength": 1, "maxLength": LENGTH_MAX })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(glob: &str, name: &str) -> bool {
        Glob::new(glob).expect("a glob").matches(name)
    }

    #[test]
    fn a_star_stands_for_any_text_and_the_rest_for_itself() {
        for (glob, name) in [
            ("a", "a"),
            ("*", ""),
            ("*", "a/b"),
            ("get_*", "get_"),
            ("get_*", "get_x"),
            ("*_x", "get_x"),
            ("a*b*c", "abc"),
            ("a*b*c", "a1b2b3c"),
            ("**a", "ba"),
            ("a?[b]", "a?[b]"),
            ("ä*", "äö"),
        ] {
            assert!(matches(glob, name), "{glob} {name}");
        }
        for (glob, name) in [
            ("a", "ab"),
            ("a", "A"),
            ("get_*", "get"),
            ("get_*", "xget_"),
            ("*_x", "_xy"),
            ("a*a", "a"),
            ("a*b*c", "acb"),
            ("ab*bc", "abc"),
        ] {
            assert!(!matches(glob, name), "{glob} {name}");
        }
    }

    #[test]
    fn the_length_is_limited() {
        assert!(Glob::new("").is_none());
        assert!(Glob::new(&"a".repeat(1_024)).is_some());
        assert!(Glob::new(&"a".repeat(1_025)).is_none());
        let error = serde_json::from_str::<Glob>("\"\"").expect_err("empty");
        assert!(error.to_string().contains("use 1 to 1024 bytes"), "{error}");
    }

    /// The definition, without any cleverness.
    fn defined(glob: &[char], name: &[char]) -> bool {
        match (glob.split_first(), name.split_first()) {
            (None, None) => true,
            (Some(('*', glob)), None) => defined(glob, name),
            (Some(('*', rest)), Some((_, tail))) => defined(rest, name) || defined(glob, tail),
            (Some((one, glob)), Some((other, name))) => one == other && defined(glob, name),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn it_matches_as_defined(glob in "[ab*]{1,8}", name in "[ab]{0,8}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(matches(&glob, &name), defined(&chars(&glob), &chars(&name)));
            prop_assert_eq!(String::from(Glob::new(&glob).expect("a glob")), glob);
        }
    }
}
