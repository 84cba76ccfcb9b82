//! Patterns after `name=`.

use bytes::Bytes;
use nom::Parser as _;
use nom::branch::alt;
use nom::bytes::complete::{tag, take_while1};
use nom::character::complete::{char, i64 as integer};
use nom::combinator::{cut, map, not, peek, value as constant};
use nom::multi::separated_list0;
use nom::sequence::{delimited, preceded, separated_pair, terminated};
use tidegate_streams::Value;

use crate::captures::{Captured, Captures, Unbound};
use crate::lexer::{Read, SyntaxError, blanks, capture, expected, hex, name, text, word};

/// A pattern of a value.
#[derive(Debug, Clone, PartialEq)]
pub enum Pattern {
    /// `_`
    Any,
    /// `$name`
    Capture(String),
    /// A value without patterns.
    Exactly(Value),
    /// `[a, b]`
    List(Vec<Pattern>),
    /// `{name=value}`
    Record(Vec<(String, Pattern)>),
}

/// Reads a pattern.
pub(crate) fn pattern(input: &str) -> Read<'_, Pattern> {
    let separator = || delimited(blanks, char(','), blanks);
    let list = delimited(
        (char('['), blanks),
        separated_list0(separator(), pattern),
        (blanks, cut(expected("',' or ']'", char(']')))),
    );
    let field = separated_pair(map(name, str::to_owned), char('='), pattern);
    let record = delimited(
        (char('{'), blanks),
        separated_list0(separator(), field),
        (blanks, cut(expected("',' or '}'", char('}')))),
    );
    let any = terminated(char('_'), not(peek(word)));
    let number = terminated(alt((reason_code, integer)), not(peek(word)));
    let parsers = alt((
        constant(Pattern::Any, any),
        map(capture, Pattern::Capture),
        map(number, |number| Pattern::Exactly(Value::Integer(number))),
        map(text, |text| Pattern::Exactly(Value::Text(text))),
        map(hex, |bytes| {
            Pattern::Exactly(Value::Hex(Bytes::from(bytes)))
        }),
        map(list, of_list),
        map(record, of_record),
        map(word, |word| Pattern::Exactly(Value::Word(word.to_owned()))),
    ));
    expected("a value", parsers)(input)
}

/// A hexadecimal number such as `0x87`, the usual form of MQTT reason codes.
fn reason_code(input: &str) -> Read<'_, i64> {
    let digits = take_while1(|letter: char| letter.is_ascii_hexdigit());
    let (rest, digits) = preceded(tag("0x"), digits).parse(input)?;
    let error = SyntaxError {
        rest: input,
        expected: "at most 15 hex digits",
    };
    let number = i64::from_str_radix(digits, 16);
    number.map_or(Err(nom::Err::Failure(error)), |number| Ok((rest, number)))
}

/// A list of patterns; without wildcards it is a plain value.
fn of_list(items: Vec<Pattern>) -> Pattern {
    let plain = items.iter().map(|item| match item {
        Pattern::Exactly(value) => Some(value.clone()),
        _ => None,
    });
    let plain: Option<Vec<Value>> = plain.collect();
    plain.map_or(Pattern::List(items), |values| {
        Pattern::Exactly(Value::List(values))
    })
}

fn of_record(fields: Vec<(String, Pattern)>) -> Pattern {
    let plain = fields.iter().map(|(name, item)| match item {
        Pattern::Exactly(value) => Some((name.clone(), value.clone())),
        _ => None,
    });
    let plain: Option<Vec<_>> = plain.collect();
    plain.map_or(Pattern::Record(fields), |values| {
        Pattern::Exactly(Value::Record(values))
    })
}

impl Pattern {
    /// The value to send.
    pub fn resolve(&self, captures: &Captures) -> Result<Value, Unbound> {
        Ok(match self {
            Self::Any => return Err(Unbound("_".to_owned())),
            Self::Capture(name) => captures.value(name)?,
            Self::Exactly(value) => value.clone(),
            Self::List(items) => {
                let items = items.iter().map(|item| item.resolve(captures));
                Value::List(items.collect::<Result<_, _>>()?)
            }
            Self::Record(fields) => {
                let fields = fields
                    .iter()
                    .map(|(name, item)| Ok((name.clone(), item.resolve(captures)?)));
                Value::Record(fields.collect::<Result<_, _>>()?)
            }
        })
    }

    /// Whether a value matches; binds captures.
    pub fn matches(&self, value: &Value, captures: &mut Captures) -> bool {
        match (self, value) {
            (Self::Any, _) => true,
            (Self::Capture(name), value) => captures.bind(name, &Captured::Value(value.clone())),
            (Self::Exactly(expected), value) => expected == value,
            (Self::List(items), Value::List(values)) => {
                items.len() == values.len()
                    && items
                        .iter()
                        .zip(values)
                        .all(|(item, value)| item.matches(value, captures))
            }
            (Self::Record(items), Value::Record(values)) => {
                let actual = |name: &str| values.iter().find(|(other, _)| other == name);
                let known = |name: &str| items.iter().any(|(other, _)| other == name);
                values.iter().all(|(name, _)| known(name))
                    && items.iter().all(|(name, item)| match actual(name) {
                        Some((_, value)) => item.matches(value, captures),
                        None => *item == Self::Any,
                    })
            }
            _ => false,
        }
    }
}
