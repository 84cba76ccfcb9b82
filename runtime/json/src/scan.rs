//! The walk over a text that checks everything and writes down where the values lie.
#![allow(
    clippy::inline_always,
    reason = "what each value takes stays in one loop, where the place in the text is in registers"
)]

use crate::blocks;
use crate::cursor::Cursor;
use crate::error::{Error, Fault};
use crate::index::{Entry, Index};
use crate::unescape::short;
use crate::value::Kind;

/// Which containers are open.
#[derive(Default)]
struct Open {
    depth: u32,
    /// As bits, the innermost last: an object is 1, an array 0.
    objects: u128,
    /// The entry of the innermost; each names the one that it is in.
    innermost: u32,
}

impl Open {
    const MAX: u32 = u128::BITS;

    fn push(&mut self, kind: Kind, start: u32, limit: u32, index: &mut Index) -> bool {
        if self.depth >= limit || self.depth >= Self::MAX {
            return false;
        }
        let entry = index.len();
        index.push(Entry {
            start,
            end: start,
            next: self.innermost,
            kind,
            escaped: false,
        });
        self.innermost = entry;
        self.depth += 1;
        self.objects = (self.objects << 1) | u128::from(kind == Kind::Object);
        true
    }

    fn pop(&mut self, end: u32, index: &mut Index) {
        let next = index.len();
        if let Some(entry) = index.get_mut(self.innermost) {
            self.innermost = std::mem::replace(&mut entry.next, next);
            entry.end = end;
        }
        self.depth = self.depth.saturating_sub(1);
        self.objects >>= 1;
    }

    const fn in_object(&self) -> bool {
        self.objects & 1 == 1
    }
}

/// Checks that the text is one JSON value and nothing else, and writes down where its values lie.
pub(crate) fn check(cursor: &mut Cursor<'_>, depth: u32, index: &mut Index) -> Result<(), Error> {
    if cursor.is_beyond(u32::MAX) {
        return Err(cursor.fault(Fault::Size));
    }
    let mut open = Open::default();
    loop {
        let first = cursor.skip_whitespace();
        let start = place(cursor);
        cursor.advance(1);
        let kind = match first {
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(byte) => {
                scalar(cursor, byte, start, index)?;
                if behind_value(cursor, &mut open, index)? {
                    return Ok(());
                }
                continue;
            }
            None => return Err(cursor.fault(Fault::Incomplete)),
        };
        if !open.push(kind, start, depth, index) {
            return Err(cursor.fault(Fault::Depth));
        }
        let object = kind == Kind::Object;
        let closing = if object { b'}' } else { b']' };
        if cursor.skip_whitespace() != Some(closing) {
            if object {
                member_name(cursor, index)?;
            }
            continue;
        }
        cursor.advance(1);
        open.pop(place(cursor), index);
        if behind_value(cursor, &mut open, index)? {
            return Ok(());
        }
    }
}

/// Where the cursor is, in a text of less than 4 GiB.
#[inline]
const fn place(cursor: &Cursor<'_>) -> u32 {
    #[allow(
        clippy::cast_possible_truncation,
        reason = "the text's size was checked"
    )]
    let place = cursor.offset() as u32;
    place
}

/// What follows a value: the ends of containers and then a comma, or the end of the text (`true`).
#[inline(always)]
fn behind_value(
    cursor: &mut Cursor<'_>,
    open: &mut Open,
    index: &mut Index,
) -> Result<bool, Error> {
    loop {
        let byte = cursor.skip_whitespace();
        if open.depth == 0 {
            return match byte {
                None => Ok(true),
                Some(_) => Err(cursor.fault(Fault::Trailing)),
            };
        }
        cursor.advance(1);
        match (byte, open.in_object()) {
            (Some(b','), false) => return Ok(false),
            (Some(b','), true) => {
                member_name(cursor, index)?;
                return Ok(false);
            }
            (Some(b'}'), true) | (Some(b']'), false) => open.pop(place(cursor), index),
            (byte, _) => return Err(cursor.unexpected(byte)),
        }
    }
}

#[inline(always)]
fn member_name(cursor: &mut Cursor<'_>, index: &mut Index) -> Result<(), Error> {
    cursor.skip_whitespace();
    let start = place(cursor);
    match cursor.next() {
        Some(b'"') => {
            let escaped = string(cursor)?;
            leaf(cursor, Kind::String, escaped, start, index);
        }
        byte => return Err(cursor.unexpected(byte)),
    }
    cursor.skip_whitespace();
    match cursor.next() {
        Some(b':') => Ok(()),
        byte => Err(cursor.unexpected(byte)),
    }
}

fn scalar(cursor: &mut Cursor<'_>, first: u8, start: u32, index: &mut Index) -> Result<(), Error> {
    let mut escaped = false;
    let kind = match first {
        b'"' => {
            escaped = string(cursor)?;
            Kind::String
        }
        b'-' | b'0'..=b'9' => {
            number(cursor, first)?;
            Kind::Number
        }
        b't' => {
            literal(cursor, b"rue")?;
            Kind::Bool(true)
        }
        b'f' => {
            literal(cursor, b"alse")?;
            Kind::Bool(false)
        }
        b'n' => {
            literal(cursor, b"ull")?;
            Kind::Null
        }
        _ => return Err(cursor.unexpected(Some(first))),
    };
    leaf(cursor, kind, escaped, start, index);
    Ok(())
}

/// Writes down what has nothing in it and ends here.
#[inline(always)]
fn leaf(cursor: &Cursor<'_>, kind: Kind, escaped: bool, start: u32, index: &mut Index) {
    let end = place(cursor);
    let next = index.len() + 1;
    index.push(Entry {
        start,
        end,
        next,
        kind,
        escaped,
    });
}

fn literal(cursor: &mut Cursor<'_>, rest: &[u8]) -> Result<(), Error> {
    for expected in rest {
        match cursor.next() {
            Some(byte) if byte == *expected => {}
            byte => return Err(cursor.unexpected(byte)),
        }
    }
    Ok(())
}

fn number(cursor: &mut Cursor<'_>, first: u8) -> Result<(), Error> {
    let first = if first == b'-' {
        cursor.next()
    } else {
        Some(first)
    };
    match first {
        // A zero stands alone in front of the point.
        Some(b'0') => {}
        Some(b'1'..=b'9') => {
            digits(cursor);
        }
        _ => return Err(cursor.fault(Fault::Number)),
    }
    if cursor.peek() == Some(b'.') {
        cursor.advance(1);
        if digits(cursor) == 0 {
            return Err(cursor.fault(Fault::Number));
        }
    }
    if matches!(cursor.peek(), Some(b'e' | b'E')) {
        cursor.advance(1);
        if matches!(cursor.peek(), Some(b'+' | b'-')) {
            cursor.advance(1);
        }
        if digits(cursor) == 0 {
            return Err(cursor.fault(Fault::Number));
        }
    }
    // `01` and `1x` are told here and not as whatever would follow a number.
    match cursor.peek() {
        Some(b'0'..=b'9' | b'.' | b'+' | b'-' | b'a'..=b'z' | b'A'..=b'Z') => {
            Err(cursor.fault(Fault::Number))
        }
        _ => Ok(()),
    }
}

fn digits(cursor: &mut Cursor<'_>) -> usize {
    let mut count = 0;
    while matches!(cursor.peek(), Some(b'0'..=b'9')) {
        cursor.advance(1);
        count += 1;
    }
    count
}

/// A character of several bytes that a buffer's end has cut.
#[derive(Default)]
struct Cut {
    bytes: [u8; 4],
    len: usize,
}

impl Cut {
    const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes one more byte; `false` if the character cannot become valid.
    fn push(&mut self, byte: u8) -> bool {
        let Some(place) = self.bytes.get_mut(self.len) else {
            return false;
        };
        *place = byte;
        self.len += 1;
        match std::str::from_utf8(self.bytes.get(..self.len).unwrap_or_default()) {
            Ok(_) => {
                self.len = 0;
                true
            }
            Err(error) => error.error_len().is_none(),
        }
    }

    /// Keeps what of `run` is the start of a character; `false` if `run` is no UTF-8.
    fn keep(&mut self, run: &[u8]) -> bool {
        let Err(error) = std::str::from_utf8(run) else {
            return true;
        };
        let tail = run.get(error.valid_up_to()..).unwrap_or_default();
        error.error_len().is_none() && tail.iter().all(|byte| self.push(*byte))
    }
}

/// How many bytes from the start on mean themselves.
#[inline(always)]
fn plain_run(bytes: &[u8]) -> usize {
    let mut run = 0;
    let mut rest = bytes;
    while let Some((word, behind)) = rest.split_first_chunk::<8>() {
        if let Some(special) = blocks::first_special(*word) {
            return run + special;
        }
        run += 8;
        rest = behind;
        // Names and short texts end before it; the rest of a long one is passed in larger steps.
        if run == 64 {
            let passed = blocks::passed(rest, |byte| !blocks::is_plain(byte));
            run += passed;
            rest = rest.get(passed..).unwrap_or_default();
        }
    }
    run + rest
        .iter()
        .take_while(|byte| blocks::is_plain(**byte))
        .count()
}

/// A string, behind its opening quote; whether it has escapes.
#[inline(always)]
fn string(cursor: &mut Cursor<'_>) -> Result<bool, Error> {
    let chunk = cursor.chunk();
    let run = plain_run(chunk);
    if chunk.get(run) == Some(&b'"') {
        cursor.advance(run + 1);
        return Ok(false);
    }
    cursor.advance(run);
    unusual_string(cursor)
}

/// The rest of a string that has more to it than ASCII in one buffer.
fn unusual_string(cursor: &mut Cursor<'_>) -> Result<bool, Error> {
    let mut escaped = false;
    loop {
        let (passed, has_escapes) = ordinary(cursor.chunk());
        cursor.advance(passed);
        escaped |= has_escapes;
        match cursor.peek() {
            Some(b'"') => {
                cursor.advance(1);
                return Ok(escaped);
            }
            Some(b'\\') => {
                cursor.advance(1);
                escape(cursor)?;
                escaped = true;
            }
            Some(0x80..) => beyond_ascii(cursor)?,
            Some(0x00..=0x1F) => return Err(cursor.fault(Fault::Control)),
            Some(_) => {}
            None => return Err(cursor.fault(Fault::Incomplete)),
        }
    }
}

/// How many bytes from the start on mean themselves or are escapes of two bytes, and whether there are
/// such escapes.
fn ordinary(bytes: &[u8]) -> (usize, bool) {
    let mut escaped = false;
    let mut rest = bytes;
    loop {
        rest = rest.get(plain_run(rest)..).unwrap_or_default();
        match rest {
            [b'\\', byte, behind @ ..] if short(*byte).is_some() => rest = behind,
            _ => return (bytes.len() - rest.len(), escaped),
        }
        escaped = true;
    }
}

/// What a string holds up to its next escape or its end, where not all of it is ASCII.
fn beyond_ascii(cursor: &mut Cursor<'_>) -> Result<(), Error> {
    let mut cut = Cut::default();
    loop {
        let chunk = cursor.chunk();
        if chunk.is_empty() {
            return Err(cursor.fault(Fault::Incomplete));
        }
        let end = memchr::memchr2(b'"', b'\\', chunk);
        let mut run = chunk.get(..end.unwrap_or(chunk.len())).unwrap_or_default();
        while let Some((byte, rest)) = run.split_first().filter(|_| !cut.is_empty()) {
            if !cut.push(*byte) {
                return Err(cursor.fault(Fault::Utf8));
            }
            cursor.advance(1);
            run = rest;
        }
        if let Some(control) = blocks::position(run, |byte| byte < 0x20) {
            cursor.advance(control);
            return Err(cursor.fault(Fault::Control));
        }
        if !cut.keep(run) {
            return Err(cursor.fault(Fault::Utf8));
        }
        cursor.advance(run.len());
        if end.is_some() {
            if cut.is_empty() {
                return Ok(());
            }
            return Err(cursor.fault(Fault::Utf8));
        }
    }
}

/// An escape, behind its backslash.
fn escape(cursor: &mut Cursor<'_>) -> Result<(), Error> {
    match cursor.next() {
        Some(byte) if short(byte).is_some() => Ok(()),
        Some(b'u') => match hex(cursor)? {
            0xD800..=0xDBFF => {
                let follows = cursor.next() == Some(b'\\') && cursor.next() == Some(b'u');
                if follows && matches!(hex(cursor)?, 0xDC00..=0xDFFF) {
                    return Ok(());
                }
                Err(cursor.fault(Fault::Escape))
            }
            0xDC00..=0xDFFF => Err(cursor.fault(Fault::Escape)),
            _ => Ok(()),
        },
        Some(_) => Err(cursor.fault(Fault::Escape)),
        None => Err(cursor.fault(Fault::Incomplete)),
    }
}

/// Four hexadecimal digits.
pub(crate) fn hex(cursor: &mut Cursor<'_>) -> Result<u32, Error> {
    let mut value = 0;
    for _ in 0..4 {
        let digit = match cursor.next() {
            Some(byte) => char::from(byte).to_digit(16),
            None => return Err(cursor.fault(Fault::Incomplete)),
        };
        value = value * 16 + digit.ok_or_else(|| cursor.fault(Fault::Escape))?;
    }
    Ok(value)
}
