//! The tokens that values, payloads and lines share.

use bytestring::ByteString;
use nom::branch::alt;
use nom::bytes::complete::{tag, take_while, take_while1};
use nom::character::complete::{char, one_of};
use nom::combinator::{cut, map, recognize, value};
use nom::error::{ErrorKind, ParseError};
use nom::multi::fold_many0;
use nom::sequence::{delimited, pair, preceded};
use nom::{IResult, Parser};

/// Where reading stopped, and what would have been right there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble<'a> {
    pub(crate) rest: &'a str,
    pub(crate) wanted: &'static str,
}

impl<'a> ParseError<&'a str> for Trouble<'a> {
    fn from_error_kind(rest: &'a str, _kind: ErrorKind) -> Self {
        Self {
            rest,
            wanted: "something else",
        }
    }

    fn append(_rest: &'a str, _kind: ErrorKind, other: Self) -> Self {
        other
    }

    /// Of two ways that failed, the one that came further tells more.
    fn or(self, other: Self) -> Self {
        if other.rest.len() < self.rest.len() {
            other
        } else {
            self
        }
    }
}

pub(crate) type Read<'a, T> = IResult<&'a str, T, Trouble<'a>>;

/// A parser whose failure at its very start says what was wanted.
pub(crate) fn wanted<'a, T>(
    what: &'static str,
    mut parser: impl Parser<&'a str, Output = T, Error = Trouble<'a>>,
) -> impl FnMut(&'a str) -> Read<'a, T> {
    move |input| {
        parser.parse(input).map_err(|error| {
            error.map(|trouble| {
                if trouble.rest.len() == input.len() || trouble.wanted == "something else" {
                    Trouble {
                        rest: trouble.rest,
                        wanted: what,
                    }
                } else {
                    trouble
                }
            })
        })
    }
}

/// Blanks between items, and the line ends of a line that is continued.
pub(crate) fn blanks(input: &str) -> Read<'_, &str> {
    take_while(|letter: char| letter.is_ascii_whitespace())(input)
}

/// The name of a field, a side or a capture.
pub(crate) fn name(input: &str) -> Read<'_, &str> {
    let first = |letter: char| letter.is_ascii_alphabetic();
    let other = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-');
    wanted(
        "a name",
        recognize(pair(take_while1(first), take_while(other))),
    )(input)
}

/// A bare word: names, flags joined by `|`, numbers of HTTP.
pub(crate) fn word(input: &str) -> Read<'_, &str> {
    let letter = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '|');
    wanted("a word", take_while1(letter))(input)
}

/// `$name`
pub(crate) fn capture(input: &str) -> Read<'_, String> {
    map(preceded(char('$'), name), str::to_owned).parse(input)
}

/// A quoted text, with the escapes of JSON and `\u{…}`.
pub(crate) fn text(input: &str) -> Read<'_, ByteString> {
    let plain = take_while1(|letter| letter != '"' && letter != '\\' && letter != '\n');
    let piece = alt((map(plain, str::to_owned), map(escape, String::from)));
    let whole = fold_many0(piece, String::new, |whole, piece| whole + &piece);
    map(
        delimited(char('"'), whole, cut(wanted("a closing '\"'", char('"')))),
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
    wanted("an escape", preceded(char('\\'), alt((short, unicode))))(input)
}

fn unicode(input: &str) -> Read<'_, char> {
    let hex = |input| take_while1(|letter: char| letter.is_ascii_hexdigit())(input);
    let braced = delimited(tag("u{"), hex, char('}'));
    let number = |digits: &str| u32::from_str_radix(digits, 16).unwrap_or(u32::MAX);
    let (mut rest, digits) = alt((braced, four)).parse(input)?;
    let mut letter = number(digits);
    // Letters beyond 16 bits are two escapes in JSON.
    if (0xD800..0xDC00).contains(&letter)
        && let Ok((behind, low)) = preceded(char('\\'), four).parse(rest)
        && (0xDC00..0xE000).contains(&number(low))
    {
        letter = 0x1_0000 + ((letter - 0xD800) << 10) + (number(low) - 0xDC00);
        rest = behind;
    }
    let trouble = Trouble {
        rest: input,
        wanted: "a letter's number",
    };
    char::from_u32(letter)
        .map(|letter| (rest, letter))
        .ok_or(nom::Err::Failure(trouble))
}

/// `uXXXX`
fn four(input: &str) -> Read<'_, &str> {
    let (rest, _) = char('u').parse(input)?;
    match rest.split_at_checked(4) {
        Some((digits, rest)) if digits.bytes().all(|digit| digit.is_ascii_hexdigit()) => {
            Ok((rest, digits))
        }
        _ => Err(nom::Err::Failure(Trouble {
            rest,
            wanted: "four digits",
        })),
    }
}

/// `x"0aff"`, blanks between the digits allowed.
pub(crate) fn hex(input: &str) -> Read<'_, Vec<u8>> {
    let inside = take_while(|letter: char| letter.is_ascii_hexdigit() || letter == ' ');
    let (rest, digits) =
        delimited(tag("x\""), inside, cut(wanted("a closing '\"'", char('"')))).parse(input)?;
    let digits: Vec<u8> = digits.bytes().filter(|digit| *digit != b' ').collect();
    let odd = digits.len() % 2 == 1;
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Option<Vec<u8>> = digits.chunks(2).map(byte).collect();
    match bytes.filter(|_| !odd) {
        Some(bytes) => Ok((rest, bytes)),
        None => Err(nom::Err::Failure(Trouble {
            rest: input,
            wanted: "pairs of hex digits",
        })),
    }
}
