//! Texts in options that may contain the caller: `agent-${guarded['staff'].identity}`.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use tidegate_streams::{CallerValue, EXPRESSION, Identity, shown};

/// Most bytes of a text.
const LENGTH_MAX: usize = 1_024;

/// A text with any number of expressions for the caller, of one guard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallerText {
    text: Box<str>,
    guard: Option<Box<str>>,
    parts: Box<[Part]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    Caller(CallerValue),
}

impl CallerText {
    /// Parses a text. The error is a sentence without its full stop.
    ///
    /// ```
    /// use tidegate_options::CallerText;
    /// let text = CallerText::parse("agent-${guarded['staff'].identity}").expect("a text");
    /// assert_eq!(text.guard(), Some("staff"));
    /// ```
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.len() > LENGTH_MAX {
            return Err(format!("invalid text; use 1 to {LENGTH_MAX} bytes"));
        }
        let mut parts = Vec::new();
        let mut guard: Option<Box<str>> = None;
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once(EXPRESSION) {
            let unknown = || {
                format!(
                    "unknown expression in '{}'; use ${{guarded['GUARD'].identity}} or \
                     ${{guarded['GUARD'].attributes.NAME}}",
                    shown(text)
                )
            };
            let (inner, after) = behind.split_once('}').ok_or_else(unknown)?;
            let expression = format!("{EXPRESSION}{inner}}}");
            let (named, value) = CallerValue::parse(&expression).ok_or_else(unknown)?;
            match &guard {
                Some(guard) if **guard != *named => {
                    return Err(format!(
                        "it names the guards '{guard}' and '{named}', but a caller has an identity of \
                         one guard only"
                    ));
                }
                _ => guard = Some(named.into()),
            }
            if !before.is_empty() {
                parts.push(Part::Text(before.into()));
            }
            parts.push(Part::Caller(value));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.into()));
        }
        Ok(Self {
            text: text.into(),
            guard,
            parts: parts.into_boxed_slice(),
        })
    }

    /// The text, as written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The guard whose identities it contains; `None` without an expression.
    pub fn guard(&self) -> Option<&str> {
        self.guard.as_deref()
    }

    /// The text for a caller. `None` if the caller has an identity of another guard, or no usable value
    /// for an expression. As in topics, a value must not be empty or contain `/`, `+`, `#` or NUL: brokers
    /// insert user names and client identifiers into the topic filters of their access lists, which no
    /// subject and no claim of a token may widen.
    pub fn of(&self, caller: &Identity) -> Option<String> {
        self.parts(caller).collect()
    }

    /// Whether there is a text for a caller.
    pub fn is_for(&self, caller: &Identity) -> bool {
        self.parts(caller).all(|part| part.is_some())
    }

    fn parts<'a>(&'a self, caller: &'a Identity) -> impl Iterator<Item = Option<&'a str>> {
        let is_own = self.guard().is_none_or(|guard| *caller.guard == *guard);
        self.parts.iter().map(move |part| match part {
            Part::Text(text) => Some(&**text),
            Part::Caller(value) => value.of(caller).filter(|it| is_own && is_usable(it)),
        })
    }

    /// The names of the attributes that it contains.
    pub fn attributes(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Caller(CallerValue::Attribute(name)) => Some(&**name),
            _ => None,
        })
    }
}

fn is_usable(value: &str) -> bool {
    !value.is_empty() && !value.contains(['/', '+', '#', '\0'])
}

impl<'de> Deserialize<'de> for CallerText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

impl Serialize for CallerText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl JsonSchema for CallerText {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "CallerText".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "minLength": 1, "maxLength": LENGTH_MAX })
    }
}

#[cfg(test)]
mod tests {
    use tidegate_streams::IdentityAttribute;

    use super::*;

    fn alice() -> Identity {
        Identity {
            subject: "alice".into(),
            guard: "staff".into(),
            attributes: vec![IdentityAttribute {
                name: "site".into(),
                value: "north".into(),
            }],
            ..Identity::default()
        }
    }

    #[test]
    fn expressions_stand_for_the_caller() {
        for (text, expected) in [
            ("plain", Some("plain")),
            ("${guarded['staff'].identity}", Some("alice")),
            (
                "a-${guarded['staff'].identity}@${guarded['staff'].attributes.site}",
                Some("a-alice@north"),
            ),
            ("${guarded['staff'].attributes['site']}!", Some("north!")),
            ("${guarded['staff'].attributes.team}", None),
            ("${guarded['other'].identity}", None),
        ] {
            let parsed = CallerText::parse(text).expect(text);
            assert_eq!(parsed.of(&alice()).as_deref(), expected, "{text}");
            assert_eq!(parsed.text(), text);
        }
        let nobody = Identity {
            subject: "".into(),
            ..alice()
        };
        let own = CallerText::parse("a${guarded['staff'].identity}").expect("a text");
        assert_eq!(own.of(&nobody), None, "an empty value is none");
        for subject in ["a/b", "+", "a#", "a\0"] {
            let odd = Identity {
                subject: subject.into(),
                ..alice()
            };
            assert!(own.of(&odd).is_none() && !own.is_for(&odd), "{subject}");
        }
        let site = CallerText::parse("${guarded['staff'].attributes.site}").expect("a text");
        assert_eq!(site.attributes().collect::<Vec<_>>(), ["site"]);
    }

    #[test]
    fn a_value_is_never_read_as_an_expression() {
        let odd = Identity {
            subject: "${guarded['staff'].attributes.site}".into(),
            ..alice()
        };
        let own = CallerText::parse("${guarded['staff'].identity}").expect("a text");
        assert!(own.is_for(&odd));
        let expected = "${guarded['staff'].attributes.site}";
        assert_eq!(own.of(&odd).as_deref(), Some(expected));
    }

    #[test]
    fn faults_are_named() {
        for (text, expected) in [
            ("", "use 1 to 1024 bytes"),
            ("${x}", "unknown expression in '${x}'"),
            ("${guarded['a'].identity", "unknown expression"),
            ("${guarded['a'].roles}", "unknown expression"),
            (
                "${guarded['a'].identity}${guarded['b'].identity}",
                "it names the guards 'a' and 'b'",
            ),
        ] {
            let error = CallerText::parse(text).expect_err(text);
            assert!(error.contains(expected), "{error}");
        }
    }
}
