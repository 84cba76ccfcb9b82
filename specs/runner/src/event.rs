//! A line about an event: its id, and the fields that matter.

use std::fmt::Write as _;

use nom::Parser as _;
use nom::bytes::complete::take_while1;
use nom::character::complete::char;
use nom::combinator::{cut, map};
use nom::multi::many0;
use nom::sequence::{preceded, separated_pair};
use tidegate_engine::Emitted;

use crate::captures::Captures;
use crate::lexer::{Read, blanks, expected, name};
use crate::value::{Pattern, pattern};

/// An event that the binding must have emitted.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    id: String,
    fields: Vec<(String, Pattern)>,
}

/// Parses the text after `event`.
pub(crate) fn event(input: &str) -> Read<'_, Event> {
    let letter = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.' | '-');
    let id = expected("the id of an event", take_while1(letter));
    let field = separated_pair(
        map(name, str::to_owned),
        char('='),
        cut(expected("a value", pattern)),
    );
    let fields = many0(preceded(blanks, field));
    let (rest, (id, fields)) = (preceded(blanks, id), fields).parse(input)?;
    let id = id.to_owned();
    Ok((rest, Event { id, fields }))
}

impl Event {
    /// Whether it is this event; binds captures.
    pub(crate) fn matches(&self, emitted: &Emitted, captures: &mut Captures) -> bool {
        let agrees = |(name, pattern): &(String, Pattern)| {
            let found = emitted.fields.iter().find(|(known, _)| known == name);
            found.is_some_and(|(_, value)| pattern.matches(value, captures))
        };
        emitted.id == self.id && self.fields.iter().all(agrees)
    }
}

/// An event as a line of a script.
pub(crate) fn line(emitted: &Emitted) -> String {
    let mut line = format!("event {}", emitted.id);
    for (name, value) in &emitted.fields {
        let _ = write!(line, " {name}={value}");
    }
    line
}
