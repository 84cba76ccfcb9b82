//! JSON patterns in scripts: JSON with `_`, `$name` and `...`.

use nom::Parser;
use nom::branch::alt;
use nom::bytes::complete::{tag, take_while1};
use nom::character::complete::char;
use nom::combinator::{cut, map, not, opt, peek, recognize, value as constant};
use nom::multi::separated_list0;
use nom::sequence::{delimited, separated_pair, terminated};
use serde_json::{Map, Value};

use crate::captures::{Captured, Captures, Unbound};
use crate::lexer::{Read, SyntaxError, blanks, capture, expected, text, word};

/// A JSON pattern.
#[derive(Debug, Clone, PartialEq)]
pub enum JsonPattern {
    /// `_`
    Any,
    /// `$name`
    Capture(String),
    /// A number, string, `true`, `false` or `null`.
    Scalar(Value),
    /// Elements; true if `...` allows more.
    Array(Vec<JsonPattern>, bool),
    /// Members; true if `...` allows more.
    Object(Vec<(String, JsonPattern)>, bool),
}

/// Reads a JSON pattern.
pub(crate) fn json(input: &str) -> Read<'_, JsonPattern> {
    let parsers = alt((
        constant(JsonPattern::Any, terminated(char('_'), not(peek(word)))),
        map(capture, JsonPattern::Capture),
        array,
        object,
        map(text, |text| JsonPattern::Scalar(Value::from(&text[..]))),
        scalar,
    ));
    expected("JSON", parsers)(input)
}

fn separator(input: &str) -> Read<'_, char> {
    delimited(blanks, char(','), blanks).parse(input)
}

/// `...`, after a comma unless it is first.
fn more(input: &str) -> Read<'_, bool> {
    let open = opt((opt(separator), blanks, tag("...")));
    map(open, |open| open.is_some()).parse(input)
}

fn array(input: &str) -> Read<'_, JsonPattern> {
    let elements = separated_list0(separator, json);
    let inside = (elements, more);
    let whole = delimited(
        (char('['), blanks),
        inside,
        (blanks, cut(expected("',' or ']'", char(']')))),
    );
    map(whole, |(elements, open)| JsonPattern::Array(elements, open)).parse(input)
}

fn object(input: &str) -> Read<'_, JsonPattern> {
    let name = map(text, |name| name.to_string());
    let member = separated_pair(
        name,
        delimited(blanks, cut(expected("':'", char(':'))), blanks),
        json,
    );
    let inside = (separated_list0(separator, member), more);
    let whole = delimited(
        (char('{'), blanks),
        inside,
        (blanks, cut(expected("',' or '}'", char('}')))),
    );
    map(whole, |(members, open)| JsonPattern::Object(members, open)).parse(input)
}

/// A number, `true`, `false` or `null`.
fn scalar(input: &str) -> Read<'_, JsonPattern> {
    let letters = |letter: char| letter.is_ascii_alphanumeric() || "+-.".contains(letter);
    let (rest, found) = recognize(take_while1(letters)).parse(input)?;
    match serde_json::from_str(found) {
        Ok(value) => Ok((rest, JsonPattern::Scalar(value))),
        Err(_) => Err(nom::Err::Error(SyntaxError {
            rest: input,
            expected: "JSON",
        })),
    }
}

impl JsonPattern {
    /// Whether it is plain JSON without patterns.
    pub(crate) fn is_plain(&self) -> bool {
        match self {
            Self::Any | Self::Capture(_) => false,
            Self::Scalar(_) => true,
            Self::Array(elements, open) => !open && elements.iter().all(Self::is_plain),
            Self::Object(members, open) => !open && members.iter().all(|(_, it)| it.is_plain()),
        }
    }

    /// The JSON to send.
    pub fn resolve(&self, captures: &Captures) -> Result<Value, Unbound> {
        Ok(match self {
            Self::Any => return Err(Unbound("_".to_owned())),
            Self::Capture(name) => captures.json(name)?,
            Self::Scalar(value) => value.clone(),
            Self::Array(elements, _) => {
                let elements = elements.iter().map(|element| element.resolve(captures));
                Value::Array(elements.collect::<Result<_, _>>()?)
            }
            Self::Object(members, _) => {
                let member = |(name, value): &(String, Self)| -> Result<_, Unbound> {
                    Ok((name.clone(), value.resolve(captures)?))
                };
                let members = members
                    .iter()
                    .map(member)
                    .collect::<Result<Map<_, _>, _>>()?;
                Value::Object(members)
            }
        })
    }

    /// Whether a value matches; binds captures.
    pub fn matches(&self, value: &Value, captures: &mut Captures) -> bool {
        self.difference("", value, captures).is_none()
    }

    /// The first difference of a value; `at` is its JSON pointer. Binds captures.
    pub(crate) fn difference(
        &self,
        at: &str,
        value: &Value,
        captures: &mut Captures,
    ) -> Option<String> {
        let path = if at.is_empty() { "the payload" } else { at };
        let agrees = match (self, value) {
            (Self::Any, _) => true,
            (Self::Capture(name), value) => captures.bind(name, &Captured::Json(value.clone())),
            (Self::Scalar(expected), value) => expected == value,
            (Self::Array(expected, open), Value::Array(values)) => {
                let (count, most) = (values.len(), expected.len());
                if count < most || (!open && count > most) {
                    return Some(format!("{path} has {count} elements, not {most}"));
                }
                let mut both = expected.iter().zip(values).enumerate();
                return both.find_map(|(index, (expected, value))| {
                    expected.difference(&format!("{at}/{index}"), value, captures)
                });
            }
            (Self::Object(expected, open), Value::Object(values)) => {
                let is_wanted = |name: &String| expected.iter().any(|(known, _)| known == name);
                if let Some(name) = values.keys().find(|name| !open && !is_wanted(name)) {
                    return Some(format!("unexpected member {at}/{name}"));
                }
                return expected.iter().find_map(|(name, expected)| {
                    let at = format!("{at}/{name}");
                    match values.get(name) {
                        Some(value) => expected.difference(&at, value, captures),
                        None => Some(format!("{at} is missing")),
                    }
                });
            }
            _ => false,
        };
        (!agrees).then(|| format!("{path} is {value}"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_first_difference_is_reported_with_its_pointer() {
        let text = r#"{"a": [1, {"b": _}, ...], "c": $x, "d": $x}"#;
        let (_, pattern) = json(text).expect("a pattern");
        let difference = |value: Value| pattern.difference("", &value, &mut Captures::default());
        let sound = json!({"a": [1, {"b": 2}, 3], "c": 4, "d": 4});
        assert_eq!(difference(sound), None);
        for (value, expected) in [
            (json!([]), "the payload is []"),
            (
                json!({"a": [1], "c": 4, "d": 4}),
                "/a has 1 elements, not 2",
            ),
            (json!({"a": [2, {"b": 2}], "c": 4, "d": 4}), "/a/0 is 2"),
            (json!({"a": [1, {}], "c": 4, "d": 4}), "/a/1/b is missing"),
            (json!({"a": [1, {"b": 2}], "c": 4, "d": 5}), "/d is 5"),
            (
                json!({"a": [1, {"b": 2}], "c": 4, "d": 4, "e": 6}),
                "unexpected member /e",
            ),
        ] {
            assert_eq!(
                difference(value.clone()).as_deref(),
                Some(expected),
                "{value}"
            );
        }
    }
}
