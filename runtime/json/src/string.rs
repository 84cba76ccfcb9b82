//! Validates strings: escapes, control characters and UTF-8, including sequences cut at the end of
//! a buffer.
#![allow(
    clippy::inline_always,
    reason = "inlined so that a plain string is scanned with the position in registers"
)]

use crate::blocks;
use crate::cursor::Cursor;
use crate::error::{Error, Fault};
use crate::unescape::short;

/// A multi-byte character cut at the end of a buffer.
#[derive(Default)]
struct Cut {
    bytes: [u8; 4],
    len: usize,
}

impl Cut {
    const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends one byte; `false` if the character cannot become valid.
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

    /// Keeps an incomplete character at the end of `run`; `false` if `run` is not valid UTF-8.
    fn keep(&mut self, run: &[u8]) -> bool {
        let Err(error) = std::str::from_utf8(run) else {
            return true;
        };
        let tail = run.get(error.valid_up_to()..).unwrap_or_default();
        error.error_len().is_none() && tail.iter().all(|byte| self.push(*byte))
    }
}

/// Length of the prefix of plain bytes.
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
        // Names and short texts end before this; the rest of a long text is scanned in larger
        // steps.
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

/// Reads a string after its opening quote; returns whether it has escapes.
#[inline(always)]
pub(crate) fn string(cursor: &mut Cursor<'_>) -> Result<bool, Error> {
    let chunk = cursor.chunk();
    let run = plain_run(chunk);
    if chunk.get(run) == Some(&b'"') {
        cursor.advance(run + 1);
        return Ok(false);
    }
    cursor.advance(run);
    unusual_string(cursor)
}

/// Reads the rest of a string that is not plain ASCII in one buffer.
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

/// Length of the prefix that consists of plain bytes and two-byte escapes, and whether it has such
/// escapes.
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

/// Reads a part of a string that is not only ASCII, up to its next escape or its end.
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

/// Reads an escape after its backslash.
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

/// Reads four hexadecimal digits.
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
