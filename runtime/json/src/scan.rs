//! The grammar: validates a text and records the positions of its values.
#![allow(
    clippy::inline_always,
    reason = "one loop keeps the text position in registers"
)]

use crate::blocks;
use crate::cursor::Cursor;
use crate::document::Limits;
use crate::error::{Error, Fault};
use crate::index::{Entry, Index};
use crate::listing::{Behind, List, Listing};
use crate::string::string;
use crate::value::Kind;

/// The open containers.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) depth: u32,
    /// As bits, the innermost last: 1 is an object, 0 an array.
    objects: u128,
    /// Number of elements followed by another one, of an array that is the whole text.
    elements: u32,
    limits: Limits,
}

impl Open {
    const DEPTH_MAX: u32 = u128::BITS;

    const fn within(limits: Limits) -> Self {
        Self {
            depth: 0,
            objects: 0,
            elements: 0,
            limits,
        }
    }

    fn push(&mut self, kind: Kind) -> bool {
        if self.depth >= self.limits.depth || self.depth >= Self::DEPTH_MAX {
            return false;
        }
        self.depth += 1;
        self.objects = (self.objects << 1) | u128::from(kind == Kind::Object);
        true
    }

    fn pop(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        self.objects >>= 1;
    }

    const fn in_object(&self) -> bool {
        self.objects & 1 == 1
    }

    /// Counts a further element of an array; returns whether it is within the limit.
    const fn next_element(&mut self) -> bool {
        if self.depth > 1 {
            return true;
        }
        self.elements += 1;
        self.elements < self.limits.elements
    }
}

/// Validates that the text is exactly one JSON value, and records its values.
pub(crate) fn check(
    cursor: &mut Cursor<'_>,
    limits: Limits,
    index: &mut Index,
) -> Result<(), Error> {
    if cursor.is_beyond(u32::MAX) {
        return Err(cursor.fault(Fault::Size));
    }
    let mut open = Open::within(limits);
    values(cursor, &mut open, &mut Listing::new(index))?;
    match cursor.skip_whitespace() {
        None => Ok(()),
        Some(_) => Err(cursor.fault(Fault::Trailing)),
    }
}

/// Continues inside a container, up to the end of the container above the list's floor.
pub(crate) fn go_on<L: List>(
    cursor: &mut Cursor<'_>,
    open: &mut Open,
    list: &mut L,
    behind: Behind,
) -> Result<(), Error> {
    let value_follows = match behind {
        Behind::Value => false,
        Behind::Name => {
            colon(cursor)?;
            true
        }
        Behind::Opening(kind) => opened(cursor, open, list, kind)?,
    };
    if !value_follows && behind_value(cursor, open, list)? {
        return Ok(());
    }
    values(cursor, open, list)
}

/// Reads values up to the end of the container above the list's floor, or the single value at it.
#[inline(always)]
fn values<L: List>(cursor: &mut Cursor<'_>, open: &mut Open, list: &mut L) -> Result<(), Error> {
    loop {
        let first = cursor.skip_whitespace();
        let start = position(cursor);
        cursor.advance(1);
        let value_follows = match first {
            Some(b'{') => container(cursor, open, list, Kind::Object, start)?,
            Some(b'[') => container(cursor, open, list, Kind::Array, start)?,
            Some(byte) => {
                let (kind, escaped) = scalar(cursor, byte)?;
                if !list.leaf(kind, escaped, start, position(cursor)) {
                    list.unlist(cursor, open, Behind::Value)?;
                }
                false
            }
            None => return Err(cursor.fault(Fault::Incomplete)),
        };
        if !value_follows && behind_value(cursor, open, list)? {
            return Ok(());
        }
    }
}

/// Reads a container after its opening; returns whether a value follows, as opposed to the text
/// after a value.
#[inline(always)]
fn container<L: List>(
    cursor: &mut Cursor<'_>,
    open: &mut Open,
    list: &mut L,
    kind: Kind,
    start: u32,
) -> Result<bool, Error> {
    if !open.push(kind) {
        return Err(cursor.fault(Fault::Depth));
    }
    if !list.open(kind, start) {
        list.unlist(cursor, open, Behind::Opening(kind))?;
        return Ok(false);
    }
    opened(cursor, open, list, kind)
}

/// Like `container`, once it has been recorded.
#[inline(always)]
fn opened<L: List>(
    cursor: &mut Cursor<'_>,
    open: &mut Open,
    list: &mut L,
    kind: Kind,
) -> Result<bool, Error> {
    let object = kind == Kind::Object;
    let closing = if object { b'}' } else { b']' };
    if cursor.skip_whitespace() != Some(closing) {
        return if object {
            member_name(cursor, open, list)
        } else {
            Ok(true)
        };
    }
    cursor.advance(1);
    open.pop();
    list.close(position(cursor));
    Ok(false)
}

/// Position of the cursor, in a text of less than 4 GiB.
#[inline]
pub(crate) const fn position(cursor: &Cursor<'_>) -> u32 {
    #[allow(
        clippy::cast_possible_truncation,
        reason = "the text's size was checked"
    )]
    let position = cursor.offset() as u32;
    position
}

/// Reads what follows a value: ends of containers and then a comma. Returns `true` at the end at
/// the list's floor.
#[inline(always)]
fn behind_value<L: List>(
    cursor: &mut Cursor<'_>,
    open: &mut Open,
    list: &mut L,
) -> Result<bool, Error> {
    loop {
        if open.depth == list.floor() {
            return Ok(true);
        }
        let byte = cursor.skip_whitespace();
        cursor.advance(1);
        match (byte, open.in_object()) {
            (Some(b','), false) => {
                if !open.next_element() {
                    return Err(cursor.fault(Fault::Elements));
                }
                return Ok(false);
            }
            (Some(b','), true) => {
                if member_name(cursor, open, list)? {
                    return Ok(false);
                }
            }
            (Some(b'}'), true) | (Some(b']'), false) => {
                open.pop();
                list.close(position(cursor));
            }
            (byte, _) => return Err(cursor.unexpected(byte)),
        }
    }
}

/// Reads a name and its colon; returns whether the member's value follows, as opposed to the text
/// after the object.
#[inline(always)]
fn member_name<L: List>(
    cursor: &mut Cursor<'_>,
    open: &mut Open,
    list: &mut L,
) -> Result<bool, Error> {
    cursor.skip_whitespace();
    let start = position(cursor);
    match cursor.next() {
        Some(b'"') => {
            let escaped = string(cursor)?;
            if !list.leaf(Kind::String, escaped, start, position(cursor)) {
                list.unlist(cursor, open, Behind::Name)?;
                return Ok(false);
            }
        }
        byte => return Err(cursor.unexpected(byte)),
    }
    colon(cursor)?;
    Ok(true)
}

#[inline(always)]
fn colon(cursor: &mut Cursor<'_>) -> Result<(), Error> {
    cursor.skip_whitespace();
    match cursor.next() {
        Some(b':') => Ok(()),
        byte => Err(cursor.unexpected(byte)),
    }
}

/// The kind and range of the next value in a validated text, without looking into it.
pub(crate) fn value(cursor: &mut Cursor<'_>) -> Option<Entry> {
    let first = cursor.skip_whitespace()?;
    let start = position(cursor);
    cursor.advance(1);
    let (kind, escaped) = match first {
        b'{' => (Kind::Object, false),
        b'[' => (Kind::Array, false),
        byte => scalar(cursor, byte).ok()?,
    };
    let unlisted = matches!(kind, Kind::Object | Kind::Array);
    if unlisted {
        pass(cursor)?;
    }
    Some(Entry {
        start,
        end: position(cursor),
        next: 0,
        kind,
        escaped,
        unlisted,
    })
}

/// Skips a container of a validated text, after its opening.
fn pass(cursor: &mut Cursor<'_>) -> Option<()> {
    let mut depth = 1_u32;
    while depth > 0 {
        let chunk = cursor.chunk();
        // Square and curly brackets differ in one bit.
        let is_special = |byte: u8| (byte == b'"') | matches!(byte | 0x20, b'{' | b'}');
        let Some(at) = blocks::position(chunk, is_special) else {
            if chunk.is_empty() {
                return None;
            }
            cursor.advance(chunk.len());
            continue;
        };
        cursor.advance(at);
        match cursor.next()? {
            b'"' => {
                string(cursor).ok()?;
            }
            b'{' | b'[' => depth += 1,
            _ => depth -= 1,
        }
    }
    Some(())
}

#[inline(always)]
fn scalar(cursor: &mut Cursor<'_>, first: u8) -> Result<(Kind, bool), Error> {
    let kind = match first {
        b'"' => return Ok((Kind::String, string(cursor)?)),
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
    Ok((kind, false))
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

#[inline(always)]
fn number(cursor: &mut Cursor<'_>, first: u8) -> Result<(), Error> {
    let first = if first == b'-' {
        cursor.next()
    } else {
        Some(first)
    };
    match first {
        // A zero is not followed by further digits before the point.
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
    // Report `01` and `1x` as invalid numbers, not as unexpected text after a number.
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
