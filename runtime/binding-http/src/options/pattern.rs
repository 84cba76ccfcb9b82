//! What is around a credential in a header or a parameter: `Bearer {credentials}`.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

const PLACE: &str = "{credentials}";

/// A text with one `{credentials}` in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern {
    before: String,
    after: String,
}

impl Pattern {
    pub(crate) fn bare() -> Self {
        Self {
            before: String::new(),
            after: String::new(),
        }
    }

    pub(crate) fn bearer() -> Self {
        Self {
            before: "Bearer ".to_owned(),
            after: String::new(),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let (before, after) = text.split_once(PLACE)?;
        let is_valid = |byte: u8| (0x20..0x7f).contains(&byte);
        let valid = !after.contains(PLACE) && text.bytes().all(is_valid);
        valid.then(|| Self {
            before: before.trim_start().to_owned(),
            after: after.trim_end().to_owned(),
        })
    }

    /// The scheme of an `Authorization` header, as in `Bearer`.
    pub(crate) fn scheme(&self) -> Option<&str> {
        let (scheme, _) = self.before.split_once(' ')?;
        Some(scheme)
    }

    /// The credential in a text. What is before it is compared without regard to case, as schemes are
    /// (RFC 9110, section 11.1), and may be followed by several spaces.
    pub(crate) fn credential<'a>(&self, text: &'a str) -> Option<&'a str> {
        let (before, rest) = text.split_at_checked(self.before.len())?;
        if !before.eq_ignore_ascii_case(&self.before) {
            return None;
        }
        let credential = rest.strip_suffix(&self.after)?;
        let spaced = self.before.ends_with(' ');
        Some(if spaced {
            credential.trim_start_matches(' ')
        } else {
            credential
        })
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}{PLACE}{}", self.before, self.after))
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            de::Error::custom("must have {credentials} once, as in \"Bearer {credentials}\"")
        })
    }
}

impl JsonSchema for Pattern {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Pattern".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "\\{credentials\\}" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).expect(text)
    }

    #[test]
    fn a_credential_is_found_whatever_the_case_of_its_scheme() {
        let bearer = pattern("Bearer {credentials}");
        assert_eq!(bearer, Pattern::bearer());
        assert_eq!(bearer.scheme(), Some("Bearer"));
        for (text, expected) in [
            ("Bearer abc", Some("abc")),
            ("bearer abc", Some("abc")),
            ("BEARER   abc", Some("abc")),
            ("Bearer ", Some("")),
            ("Bearer a b", Some("a b")),
            ("Bearer", None),
            ("Bearerabc", None),
            ("Basic abc", None),
            ("", None),
            ("ééééééé", None),
        ] {
            assert_eq!(bearer.credential(text), expected, "{text}");
        }
        assert_eq!(pattern("{credentials}").credential(" abc"), Some(" abc"));
        assert_eq!(pattern("<{credentials}>").credential("<abc>"), Some("abc"));
        assert_eq!(pattern("<{credentials}>").credential("<abc"), None);
        assert_eq!(pattern("<{credentials}>").scheme(), None);
    }

    #[test]
    fn a_pattern_has_one_place() {
        for text in [
            "",
            "Bearer",
            "{credentials}{credentials}",
            "{Credentials}",
            "é{credentials}",
        ] {
            assert_eq!(Pattern::parse(text), None, "{text}");
        }
        let json = serde_json::to_string(&pattern("Bearer {credentials}")).expect("JSON");
        assert_eq!(json, r#""Bearer {credentials}""#);
    }
}
