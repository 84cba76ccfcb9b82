//! A place in a message that moves forward, from buffer to buffer.

use crate::error::{Error, Fault};
use crate::parts::Parts;

/// A place in a message.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<'a> {
    parts: &'a Parts,
    /// What is left of the buffer.
    rest: &'a [u8],
    /// Which buffer.
    index: usize,
    /// Offset in the message of the end of `rest`.
    end: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn at(parts: &'a Parts, offset: usize) -> Self {
        let (index, at) = parts.locate(offset);
        let rest = parts.part(index).get(at..).unwrap_or(&[]);
        Self {
            parts,
            rest,
            index,
            end: offset + rest.len(),
        }
    }

    #[inline]
    pub(crate) const fn offset(&self) -> usize {
        self.end - self.rest.len()
    }

    /// Whether the message is longer than can be told.
    pub(crate) const fn is_beyond(&self, length: u32) -> bool {
        self.parts.len() > length as usize
    }

    /// What is left of the current buffer, or the next one: empty at the end alone.
    #[inline]
    pub(crate) fn chunk(&mut self) -> &'a [u8] {
        if self.rest.is_empty() {
            self.enter_next_buffer();
        }
        self.rest
    }

    // Every byte is asked for through here, and nearly every message is one buffer.
    #[cold]
    fn enter_next_buffer(&mut self) {
        while self.rest.is_empty() && self.index + 1 < self.parts.places() {
            self.index += 1;
            self.rest = self.parts.part(self.index);
            self.end += self.rest.len();
        }
    }

    /// Moves forward within the current buffer.
    #[inline]
    pub(crate) fn advance(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or(&[]);
    }

    #[inline]
    pub(crate) fn peek(&mut self) -> Option<u8> {
        self.chunk().first().copied()
    }

    #[inline]
    pub(crate) fn next(&mut self) -> Option<u8> {
        let (byte, rest) = self.chunk().split_first()?;
        self.rest = rest;
        Some(*byte)
    }

    /// The next byte that is no white space, which is not passed.
    #[inline]
    pub(crate) fn skip_whitespace(&mut self) -> Option<u8> {
        loop {
            let byte = self.peek()?;
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(byte);
            }
            self.advance(1);
        }
    }

    pub(crate) const fn fault(&self, fault: Fault) -> Error {
        Error {
            offset: self.offset(),
            fault,
        }
    }

    /// The fault of a byte that was just passed, or of the end.
    pub(crate) const fn unexpected(&self, byte: Option<u8>) -> Error {
        match byte {
            Some(_) => Error {
                offset: self.offset().saturating_sub(1),
                fault: Fault::Unexpected,
            },
            None => Error {
                offset: self.offset(),
                fault: Fault::Incomplete,
            },
        }
    }
}
