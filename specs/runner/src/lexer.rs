//! Tokens shared by values, payloads and lines.

use bytestring::ByteString;
use nom::branch::alt;
use nom::bytes::complete::{tag, take_while, take_while1};
use nom::character::complete::{char, one_of};
use nom::combinator::{cut, map, recognize, value};
use nom::error::{ErrorKind, ParseError};
use nom::multi::fold_many0;
use nom::sequence::{delimited, pair, preceded};
use nom::{IResult, Parser};

/// A syntax error: the unparsed rest, and what was expected there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SyntaxError<'a> {
    pub(crate) rest: &'a str,
    pub(crate) expected: &'static str,
}

impl<'a> ParseError<&'a str> for SyntaxError<'a> {
    fn from_error_kind(rest: &'a str, _kind: ErrorKind) -> Self {
        Self {
            rest,
            expected: "valid syntax",
        }
    }

    fn append(_rest: &'a str, _kind: ErrorKind, other: Self) -> Self {
        other
    }

    /// Of two alternatives, keep the error that is further in the text.
    fn or(self, other: Self) -> Self {
        if other.rest.len() < self.rest.len() {
            other
        } else {
            self
        }
    }
}

pub(crate) type Read<'a, T> = IResult<&'a str, T, SyntaxError<'a>>;

/// Names what a parser expects, for errors at its start.
pub(crate) fn expected<'a, T>(
    what: &'static str,
    mut parser: impl Parser<&'a str, Output = T, Error = SyntaxError<'a>>,
) -> impl FnMut(&'a str) -> Read<'a, T> {
    move |input| {
        parser.parse(input).map_err(|error| {
            error.map(|error| {
                if error.rest.len() == input.len() || error.expected == "valid syntax" {
                    SyntaxError {
                        rest: error.rest,
                        expected: what,
                    }
                } else {
                    error
                }
            })
        })
    }
}

/// Whitespace between items, including newlines of continued lines.
pub(crate) fn blanks(input: &str) -> Read<'_, &str> {
    take_while(|letter: char| letter.is_ascii_whitespace())(input)
}

/// The name of a field, a side or a capture.
pub(crate) fn name(input: &str) -> Read<'_, &str> {
    let first = |letter: char| letter.is_ascii_alphabetic();
    let other = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-');
    expected(
        "a name",
        recognize(pair(take_while1(first), take_while(other))),
    )(input)
}

/// A bare word: a name, flags joined by `|`, an HTTP status.
pub(crate) fn word(input: &str) -> Read<'_, &str> {
    let letter = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '|');
    expected("a word", take_while1(letter))(input)
}

/// `$name`
pub(crate) fn capture(input: &str) -> Read<'_, String> {
    map(preceded(char('$'), name), str::to_owned).parse(input)
}

/// A quoted string, with the escapes of JSON and `\u{…}`.
pub(crate) fn text(input: &str) -> Read<'_, ByteString> {
    let plain = take_while1(|letter| letter != '"' && letter != '\\' && letter != '\n');
    let piece = alt((map(plain, str::to_owned), map(escape, String::from)));
    let whole = fold_many0(piece, String::new, |whole, piece| whole + &piece);
    map(
        delimited(char('"'), whole, cut(expected("a closing '\"'", char('"')))),
        ByteString::from,
    )
    .parse(input)
}

fn escape(input: &str) -> Read<'_, char> {
    let short = alt((
        value('\n', char('n')),
        value('\r', char('r')),
        value('\t', char('t')),
        value('\0', char('0')),
        value('\u{8}', char('b')),
        value('\u{c}', char('f')),
        one_of("\"\\/'"),
    ));
    expected("an escape", preceded(char('\\'), alt((short, unicode))))(input)
}

fn unicode(input: &str) -> Read<'_, char> {
    let hex = |input| take_while1(|letter: char| letter.is_ascii_hexdigit())(input);
    let braced = delimited(tag("u{"), hex, char('}'));
    let number = |digits: &str| u32::from_str_radix(digits, 16).unwrap_or(u32::MAX);
    let (mut rest, digits) = alt((braced, four)).parse(input)?;
    let mut letter = number(digits);
    // JSON writes code points above U+FFFF as two escapes (a surrogate pair).
    if (0xD800..0xDC00).contains(&letter)
        && let Ok((behind, low)) = preceded(char('\\'), four).parse(rest)
        && (0xDC00..0xE000).contains(&number(low))
    {
        letter = 0x1_0000 + ((letter - 0xD800) << 10) + (number(low) - 0xDC00);
        rest = behind;
    }
    let error = SyntaxError {
        rest: input,
        expected: "a Unicode code point",
    };
    char::from_u32(letter)
        .map(|letter| (rest, letter))
        .ok_or(nom::Err::Failure(error))
}

/// `uXXXX`
fn four(input: &str) -> Read<'_, &str> {
    let (rest, _) = char('u').parse(input)?;
    match rest.split_at_checked(4) {
        Some((digits, rest)) if digits.bytes().all(|digit| digit.is_ascii_hexdigit()) => {
            Ok((rest, digits))
        }
        _ => Err(nom::Err::Failure(SyntaxError {
            rest,
            expected: "four hex digits",
        })),
    }
}

/// `x"0aff"`; spaces between digits are allowed.
pub(crate) fn hex(input: &str) -> Read<'_, Vec<u8>> {
    let inside = take_while(|letter: char| letter.is_ascii_hexdigit() || letter == ' ');
    let (rest, digits) = delimited(
        tag("x\""),
        inside,
        cut(expected("a closing '\"'", char('"'))),
    )
    .parse(input)?;
    let digits: Vec<u8> = digits.bytes().filter(|digit| *digit != b' ').collect();
    let odd = digits.len() % 2 == 1;
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Option<Vec<u8>> = digits.chunks(2).map(byte).collect();
    match bytes.filter(|_| !odd) {
        Some(bytes) => Ok((rest, bytes)),
        None => Err(nom::Err::Failure(SyntaxError {
            rest: input,
            expected: "pairs of hex digits",
        })),
    }
}
