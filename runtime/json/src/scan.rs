//! The walk over a text that checks everything and writes down where the values lie.
#![allow(
    clippy::inline_always,
    reason = "what each value takes stays in one loop, where the place in the text is in registers"
)]

use crate::cursor::Cursor;
use crate::error::{Error, Fault};
use crate::index::{Entry, Index};
use crate::parts::Parts;
use crate::value::Kind;

/// How deep containers may lie within each other, whatever the limit says.
const DEPTH_MAX: u32 = 128;

/// Which containers are open.
struct Open {
    /// How many more may be opened.
    left: u32,
    /// The entry of the innermost, or [`Open::NONE`]; each names the one that it is in.
    innermost: u32,
    /// Whether the innermost is an object.
    in_object: bool,
}

impl Open {
    const NONE: u32 = u32::MAX;

    /// Opens one more; `false` if it is one too many.
    #[inline(always)]
    fn push(&mut self, kind: Kind, start: u32, index: &mut Index) -> bool {
        let Some(left) = self.left.checked_sub(1) else {
            return false;
        };
        let entry = index.len();
        index.push(Entry {
            start,
            end: start,
            next: self.innermost,
            kind,
            escaped: false,
        });
        self.innermost = entry;
        self.in_object = kind == Kind::Object;
        self.left = left;
        true
    }

    #[inline(always)]
    fn pop(&mut self, end: u32, index: &mut Index) {
        let next = index.len();
        if let Some(entry) = index.get_mut(self.innermost) {
            self.innermost = std::mem::replace(&mut entry.next, next);
            entry.end = end;
        }
        self.in_object = index.kind(self.innermost) == Kind::Object;
        self.left += 1;
    }
}

/// Checks that the text is one JSON value and nothing else, and writes down where its values lie.
pub(crate) fn check(parts: &Parts, depth: u32, index: &mut Index) -> Result<(), Error> {
    let mut cursor = Cursor::at(parts, 0);
    if cursor.is_beyond(u32::MAX) {
        return Err(cursor.fault(Fault::Size));
    }
    let mut open = Open {
        left: depth.min(DEPTH_MAX),
        innermost: Open::NONE,
        in_object: false,
    };
    loop {
        let first = cursor.skip_whitespace();
        let start = place(cursor);
        let (kind, closing) = match first {
            Some(b'"') => {
                string(&mut cursor, index)?;
                if behind_value(&mut cursor, &mut open, index)? {
                    return Ok(());
                }
                continue;
            }
            Some(b'{') => (Kind::Object, b'}'),
            Some(b'[') => (Kind::Array, b']'),
            _ => {
                let kind = scalar(&mut cursor, first)?;
                leaf(cursor, kind, false, start, index);
                if behind_value(&mut cursor, &mut open, index)? {
                    return Ok(());
                }
                continue;
            }
        };
        cursor.advance(1);
        if !open.push(kind, start, index) {
            return Err(cursor.fault(Fault::Depth));
        }
        if cursor.skip_whitespace() != Some(closing) {
            if kind == Kind::Object {
                member_name(&mut cursor, index)?;
            }
            continue;
        }
        cursor.advance(1);
        open.pop(place(cursor), index);
        if behind_value(&mut cursor, &mut open, index)? {
            return Ok(());
        }
    }
}

/// Where the cursor is, in a text of less than 4 GiB.
#[inline(always)]
const fn place(cursor: Cursor<'_>) -> u32 {
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
        if open.innermost == Open::NONE {
            return match byte {
                None => Ok(true),
                Some(_) => Err(cursor.fault(Fault::Trailing)),
            };
        }
        match (byte, open.in_object) {
            (Some(b','), in_object) => {
                cursor.advance(1);
                if in_object {
                    member_name(cursor, index)?;
                }
                return Ok(false);
            }
            (Some(b'}'), true) | (Some(b']'), false) => {
                cursor.advance(1);
                open.pop(place(*cursor), index);
            }
            _ => return Err(cursor.unexpected()),
        }
    }
}

#[inline(always)]
fn member_name(cursor: &mut Cursor<'_>, index: &mut Index) -> Result<(), Error> {
    if cursor.skip_whitespace() != Some(b'"') {
        return Err(cursor.unexpected());
    }
    string(cursor, index)?;
    if cursor.skip_whitespace() != Some(b':') {
        return Err(cursor.unexpected());
    }
    cursor.advance(1);
    Ok(())
}

/// A number or a word.
#[inline(always)]
fn scalar(cursor: &mut Cursor<'_>, first: Option<u8>) -> Result<Kind, Error> {
    Ok(match first {
        Some(b'-' | b'0'..=b'9') => {
            number(cursor)?;
            Kind::Number
        }
        Some(b't') => {
            literal(cursor, b"true")?;
            Kind::Bool(true)
        }
        Some(b'f') => {
            literal(cursor, b"false")?;
            Kind::Bool(false)
        }
        Some(b'n') => {
            literal(cursor, b"null")?;
            Kind::Null
        }
        _ => return Err(cursor.unexpected()),
    })
}

/// Writes down what has nothing in it and ends here.
#[inline(always)]
fn leaf(cursor: Cursor<'_>, kind: Kind, escaped: bool, start: u32, index: &mut Index) {
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

#[inline(always)]
fn literal(cursor: &mut Cursor<'_>, word: &[u8]) -> Result<(), Error> {
    for byte in word {
        if cursor.peek() != Some(*byte) {
            return Err(cursor.unexpected());
        }
        cursor.advance(1);
    }
    Ok(())
}

#[inline(always)]
fn number(cursor: &mut Cursor<'_>) -> Result<(), Error> {
    if cursor.peek() == Some(b'-') {
        cursor.advance(1);
    }
    match cursor.next() {
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

#[inline(always)]
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

/// Whether a byte means itself in a string: ASCII without control characters, quote and backslash.
const fn is_plain(byte: u8) -> bool {
    matches!(byte, 0x20..=0x21 | 0x23..=0x5B | 0x5D..=0x7F)
}

/// Which bytes of eight do not mean themselves, as their highest bits; of the bits set, the lowest is
/// right, and those above it may not be.
#[inline(always)]
const fn special(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    // A subtraction borrows from a byte's highest bit where the byte is smaller. Where that bit was
    // set before it, the byte is beyond ASCII and meant in any case.
    let quotes = (word ^ (ONES * b'"' as u64)).wrapping_sub(ONES);
    let backslashes = (word ^ (ONES * b'\\' as u64)).wrapping_sub(ONES);
    let controls = word.wrapping_sub(ONES * 0x20);
    (quotes | backslashes | controls | word) & (ONES * 0x80)
}

/// Where the first byte stands that does not mean itself.
#[inline(always)]
fn first_special(words: &[[u8; 8]]) -> Option<usize> {
    let mut passed = 0;
    for word in words {
        let special = special(u64::from_le_bytes(*word));
        if special != 0 {
            return Some(passed + special.trailing_zeros() as usize / 8);
        }
        passed += 8;
    }
    None
}

/// How many bytes from the start on mean themselves.
// On its own: what it compares with stays in registers.
#[inline(never)]
fn plain_run(bytes: &[u8]) -> usize {
    /// Names and short texts end within.
    const NEAR: usize = 64;
    let (words, _) = bytes.get(..NEAR).unwrap_or(bytes).as_chunks();
    first_special(words).unwrap_or_else(|| far_run(bytes, 8 * words.len()))
}

/// The same for a long text, whose first bytes were looked at, and for one whose buffer ends.
#[inline(never)]
fn far_run(bytes: &[u8], passed: usize) -> usize {
    let rest = bytes.get(passed..).unwrap_or_default();
    let blocks = plain_blocks(rest);
    let (words, last) = rest.get(blocks..).unwrap_or_default().as_chunks();
    let run = first_special(words).unwrap_or_else(|| {
        let plain = last.iter().take_while(|byte| is_plain(**byte));
        8 * words.len() + plain.count()
    });
    passed + blocks + run
}

/// How many bytes in whole blocks from the start on mean themselves.
fn plain_blocks(bytes: &[u8]) -> usize {
    const WIDTH: usize = 64;
    // Without a way out inside a block, the compiler makes a few vector instructions of it.
    let is_plain_block = |block: &&[u8; WIDTH]| {
        let special = block.iter().fold(0, |special, byte| {
            let control = u8::from(*byte < 0x20);
            let ends = u8::from(*byte == b'"') | u8::from(*byte == b'\\');
            special | control | ends | (*byte & 0x80)
        });
        special == 0
    };
    let (blocks, _) = bytes.as_chunks::<WIDTH>();
    WIDTH * blocks.iter().take_while(is_plain_block).count()
}

/// A string, from its opening quote on.
#[inline(always)]
fn string(cursor: &mut Cursor<'_>, index: &mut Index) -> Result<(), Error> {
    let start = place(*cursor);
    cursor.advance(1);
    let chunk = cursor.chunk();
    let run = plain_run(chunk);
    cursor.advance(run);
    let mut escaped = false;
    if chunk.get(run) == Some(&b'"') {
        cursor.advance(1);
    } else {
        (*cursor, escaped) = unusual_string(*cursor)?;
    }
    leaf(*cursor, Kind::String, escaped, start, index);
    Ok(())
}

/// What is left of a string that has more to it than ASCII in one buffer; whether it has escapes.
#[inline(never)]
fn unusual_string(mut cursor: Cursor<'_>) -> Result<(Cursor<'_>, bool), Error> {
    let mut escaped = false;
    loop {
        let run = plain_run(cursor.chunk());
        cursor.advance(run);
        match cursor.peek() {
            Some(b'"') => {
                cursor.advance(1);
                return Ok((cursor, escaped));
            }
            Some(b'\\') => {
                cursor.advance(1);
                escape(&mut cursor)?;
                escaped = true;
            }
            Some(0x80..) => beyond_ascii(&mut cursor)?,
            Some(0x00..=0x1F) => return Err(cursor.fault(Fault::Control)),
            Some(_) => {}
            None => return Err(cursor.fault(Fault::Incomplete)),
        }
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
        if let Some(control) = run.iter().position(|byte| *byte < 0x20) {
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
