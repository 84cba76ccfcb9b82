//! Two walks over a text: one that checks everything, and one that trusts what was checked.

use crate::cursor::Cursor;
use crate::error::{Error, Fault};

/// Which containers are open, as bits: an object is 1, an array 0.
#[derive(Default)]
struct Nesting {
    depth: u32,
    objects: u128,
}

impl Nesting {
    const MAX: u32 = u128::BITS;

    const fn push(&mut self, object: bool, limit: u32) -> bool {
        if self.depth >= limit || self.depth >= Self::MAX {
            return false;
        }
        self.depth += 1;
        self.objects = (self.objects << 1) | object as u128;
        true
    }

    const fn pop(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        self.objects >>= 1;
    }

    const fn in_object(&self) -> bool {
        self.objects & 1 == 1
    }
}

/// Checks that the text is one JSON value and nothing else.
pub(crate) fn check(cursor: &mut Cursor<'_>, depth: u32) -> Result<(), Error> {
    let mut nesting = Nesting::default();
    loop {
        cursor.skip_whitespace();
        let first = cursor.next();
        let opens = match first {
            Some(b'{') => Some(true),
            Some(b'[') => Some(false),
            Some(byte) => {
                scalar(cursor, byte)?;
                None
            }
            None => return Err(cursor.fault(Fault::Incomplete)),
        };
        if let Some(object) = opens {
            if !nesting.push(object, depth) {
                return Err(cursor.fault(Fault::Depth));
            }
            let closing = if object { b'}' } else { b']' };
            if cursor.skip_whitespace() == Some(closing) {
                cursor.advance(1);
                nesting.pop();
            } else {
                if object {
                    member_name(cursor)?;
                }
                continue;
            }
        }
        if behind_value(cursor, &mut nesting)? {
            return Ok(());
        }
    }
}

/// What follows a value: the ends of containers and then a comma, or the end of the text (`true`).
fn behind_value(cursor: &mut Cursor<'_>, nesting: &mut Nesting) -> Result<bool, Error> {
    loop {
        cursor.skip_whitespace();
        if nesting.depth == 0 {
            return match cursor.peek() {
                None => Ok(true),
                Some(_) => Err(cursor.fault(Fault::Trailing)),
            };
        }
        match (cursor.next(), nesting.in_object()) {
            (Some(b','), false) => return Ok(false),
            (Some(b','), true) => {
                member_name(cursor)?;
                return Ok(false);
            }
            (Some(b'}'), true) | (Some(b']'), false) => nesting.pop(),
            (byte, _) => return Err(cursor.unexpected(byte)),
        }
    }
}

fn member_name(cursor: &mut Cursor<'_>) -> Result<(), Error> {
    cursor.skip_whitespace();
    match cursor.next() {
        Some(b'"') => string(cursor)?,
        byte => return Err(cursor.unexpected(byte)),
    }
    cursor.skip_whitespace();
    match cursor.next() {
        Some(b':') => Ok(()),
        byte => Err(cursor.unexpected(byte)),
    }
}

fn scalar(cursor: &mut Cursor<'_>, first: u8) -> Result<(), Error> {
    match first {
        b'"' => string(cursor),
        b'-' | b'0'..=b'9' => number(cursor, first),
        b't' => literal(cursor, b"rue"),
        b'f' => literal(cursor, b"alse"),
        b'n' => literal(cursor, b"ull"),
        _ => Err(cursor.unexpected(Some(first))),
    }
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

/// A string, behind its opening quote.
fn string(cursor: &mut Cursor<'_>) -> Result<(), Error> {
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
        if let Some(control) = run.iter().position(|byte| *byte < 0x20) {
            cursor.advance(control);
            return Err(cursor.fault(Fault::Control));
        }
        if !cut.keep(run) {
            return Err(cursor.fault(Fault::Utf8));
        }
        cursor.advance(run.len());
        if end.is_some() {
            if !cut.is_empty() {
                return Err(cursor.fault(Fault::Utf8));
            }
            if cursor.next() == Some(b'"') {
                return Ok(());
            }
            escape(cursor)?;
        }
    }
}

/// An escape, behind its backslash.
fn escape(cursor: &mut Cursor<'_>) -> Result<(), Error> {
    match cursor.next() {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(()),
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

/// Passes a string of a text that was checked, behind its opening quote; whether it has escapes.
pub(crate) fn skip_string(cursor: &mut Cursor<'_>) -> bool {
    let mut escaped = false;
    loop {
        let chunk = cursor.chunk();
        let Some(end) = memchr::memchr2(b'"', b'\\', chunk) else {
            if chunk.is_empty() {
                return escaped;
            }
            cursor.advance(chunk.len());
            continue;
        };
        let quote = chunk.get(end) == Some(&b'"');
        cursor.advance(end + 1);
        if quote {
            return escaped;
        }
        escaped = true;
        cursor.next();
        // Where escapes follow one another, looking for each from anew would cost the most.
        let pairs = cursor.chunk().chunks_exact(2);
        let run = pairs.take_while(|pair| pair.first() == Some(&b'\\'));
        cursor.advance(2 * run.count());
    }
}

/// Passes a value of a text that was checked.
pub(crate) fn skip_value(cursor: &mut Cursor<'_>) {
    let mut depth = 0_usize;
    loop {
        match cursor.skip_whitespace() {
            Some(b'"') => {
                cursor.advance(1);
                skip_string(cursor);
            }
            Some(b'{' | b'[') => {
                cursor.advance(1);
                depth += 1;
                continue;
            }
            Some(b'}' | b']') => {
                cursor.advance(1);
                depth = depth.saturating_sub(1);
            }
            Some(b',' | b':') if depth > 0 => {
                cursor.advance(1);
                continue;
            }
            Some(_) => skip_word(cursor),
            None => return,
        }
        if depth == 0 {
            return;
        }
    }
}

/// Passes a number or a literal.
fn skip_word(cursor: &mut Cursor<'_>) {
    while matches!(
        cursor.peek(),
        Some(b'0'..=b'9' | b'.' | b'+' | b'-' | b'a'..=b'z' | b'A'..=b'Z')
    ) {
        cursor.advance(1);
    }
}
