//! The content of one line: conversation, verb, fields and payload.

use bytes::Bytes;
use nom::Parser;
use nom::branch::alt;
use nom::character::complete::{char, u32 as number};
use nom::combinator::{consumed, cut, map, not, opt, peek, value as constant};
use nom::multi::many0;
use nom::sequence::{preceded, separated_pair, terminated};

use crate::captures::{Captures, Unbound};
use crate::json::{JsonPattern, json};
use crate::lexer::{Read, blanks, capture, expected, hex, name, text, word};
use crate::value::{Pattern, pattern};

/// A frame or packet of a conversation, as stated in a line.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// `mcp`
    pub side: String,
    /// `1`
    pub number: u32,
    /// Whether the conversation has a trailing `'` (reply half).
    pub reply: bool,
    /// `begin`, `PUBLISH`, `POST`, `200`.
    pub verb: String,
    /// Bare words after the verb.
    pub words: Vec<String>,
    /// `name=value` items.
    pub fields: Vec<(String, Pattern)>,
    /// The payload, after the fields.
    pub payload: Option<Payload>,
}

/// A payload pattern.
#[derive(Debug, Clone, PartialEq)]
pub enum Payload {
    /// `_`
    Any,
    /// `$name`
    Capture(String),
    /// JSON, with its text as written; `exact` compares the text.
    Json {
        /// The parsed pattern.
        pattern: JsonPattern,
        /// The text as written.
        written: String,
        /// Whether the text is compared byte by byte.
        exact: bool,
    },
    /// Text, or bytes in hex.
    Bytes(Bytes),
}

/// An item after the verb.
pub(crate) enum Item {
    Word(String),
    Field(String, Pattern),
    Payload(Payload),
}

/// Conversation (side, number, reply) and verb.
pub(crate) type Head<'a> = (&'a str, u32, bool, &'a str);

pub(crate) fn head(input: &str) -> Read<'_, Head<'_>> {
    let (input, _) = blanks(input)?;
    let conversation = (
        name,
        expected("'.' and a number", preceded(char('.'), number)),
        opt(char('\'')),
    );
    let (rest, (side, number, reply)) =
        expected("a conversation, e.g. mcp.1", conversation)(input)?;
    let (rest, verb) =
        preceded(blanks, expected("a frame or packet, e.g. begin", word)).parse(rest)?;
    Ok((rest, (side, number, reply.is_some(), verb)))
}

/// Parses the text after `>` or `<`.
pub(crate) fn statement(input: &str) -> Read<'_, Statement> {
    let (rest, (side, number, reply, verb)) = head(input)?;
    let (rest, items) = many0(preceded(blanks, item)).parse(rest)?;
    let mut statement = Statement {
        side: side.to_owned(),
        number,
        reply,
        verb: verb.to_owned(),
        words: vec![],
        fields: vec![],
        payload: None,
    };
    for item in items {
        match item {
            Item::Word(word) => statement.words.push(word),
            Item::Field(name, pattern) => statement.fields.push((name, pattern)),
            Item::Payload(payload) => statement.payload = Some(payload),
        }
    }
    Ok((rest, statement))
}

pub(crate) fn item(input: &str) -> Read<'_, Item> {
    let field = separated_pair(
        map(name, str::to_owned),
        char('='),
        cut(expected("a value", pattern)),
    );
    let keyword = |input| terminated(word, blanks).parse(input);
    let exact = |input| {
        let (rest, found) = keyword(input)?;
        match found {
            "exact" | "json" => Ok((rest, found == "exact")),
            _ => Err(nom::Err::Error(crate::lexer::SyntaxError {
                rest: input,
                expected: "a word",
            })),
        }
    };
    let keyed = map((exact, consumed(json)), |(exact, (written, pattern))| {
        Payload::Json {
            pattern,
            written: written.to_owned(),
            exact,
        }
    });
    let structured = preceded(
        peek(alt((char('{'), char('[')))),
        map(consumed(json), |(written, pattern)| Payload::Json {
            pattern,
            written: written.to_owned(),
            exact: false,
        }),
    );
    let payload = alt((
        constant(Payload::Any, terminated(char('_'), not(peek(word)))),
        map(capture, Payload::Capture),
        keyed,
        structured,
        map(text, |text| Payload::Bytes(text.into_bytes())),
        map(hex, |bytes| Payload::Bytes(Bytes::from(bytes))),
    ));
    alt((
        map(field, |(name, pattern)| Item::Field(name, pattern)),
        map(payload, Item::Payload),
        map(word, |word| Item::Word(word.to_owned())),
    ))
    .parse(input)
}

impl Statement {
    /// Whether it contains a bare word.
    pub fn has(&self, word: &str) -> bool {
        self.words.iter().any(|other| other == word)
    }

    /// The conversation as written.
    pub fn conversation(&self) -> String {
        format!(
            "{}.{}{}",
            self.side,
            self.number,
            if self.reply { "'" } else { "" }
        )
    }
}

impl Payload {
    /// The bytes to send: JSON as written, unless it contains captures.
    pub fn resolve(&self, captures: &Captures) -> Result<Bytes, Unbound> {
        Ok(match self {
            Self::Any => return Err(Unbound("_".to_owned())),
            Self::Capture(name) => match captures.json(name)? {
                serde_json::Value::String(text) => Bytes::from(text),
                other => Bytes::from(other.to_string()),
            },
            Self::Json {
                pattern, written, ..
            } if pattern.is_plain() => Bytes::copy_from_slice(written.as_bytes()),
            Self::Json { pattern, .. } => Bytes::from(pattern.resolve(captures)?.to_string()),
            Self::Bytes(bytes) => bytes.clone(),
        })
    }

    /// Whether bytes match; binds captures.
    pub fn matches(&self, bytes: &[u8], captures: &mut Captures) -> bool {
        self.difference(bytes, captures).is_none()
    }

    /// The difference, if any; binds captures.
    pub(crate) fn difference(&self, bytes: &[u8], captures: &mut Captures) -> Option<String> {
        let agrees = match self {
            Self::Any => true,
            Self::Capture(name) => {
                let text = String::from_utf8_lossy(bytes).into_owned();
                captures.bind(name, &crate::captures::Captured::Json(text.into()))
            }
            Self::Json {
                written,
                exact: true,
                ..
            } => written.as_bytes() == bytes,
            Self::Json { pattern, .. } => match serde_json::from_slice(bytes) {
                Ok(value) => return pattern.difference("", &value, captures),
                Err(error) => return Some(format!("the payload is not JSON: {error}")),
            },
            Self::Bytes(expected) => expected == bytes,
        };
        (!agrees).then(|| "the payload differs".to_owned())
    }
}
