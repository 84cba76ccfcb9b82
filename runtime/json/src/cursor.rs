//! A forward-moving position in a message, across buffers.

use crate::error::{Error, Fault};
use crate::parts::Parts;

/// A position in a message.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<'a> {
    parts: &'a Parts,
    /// The unread rest of the buffer.
    rest: &'a [u8],
    /// Index of the buffer.
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

    /// Whether the message is longer than `length` can express.
    pub(crate) const fn is_beyond(&self, length: u32) -> bool {
        self.parts.len() > length as usize
    }

    /// The rest of the current buffer, or the next buffer; empty only at the end.
    #[inline]
    pub(crate) fn chunk(&mut self) -> &'a [u8] {
        if self.rest.is_empty() {
            self.enter_next_buffer();
        }
        self.rest
    }

    // Called for every byte; nearly every message is a single buffer.
    #[cold]
    fn enter_next_buffer(&mut self) {
        while self.rest.is_empty() && self.index + 1 < self.parts.slots() {
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

    /// Skips white space and returns the next byte without consuming it.
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

    /// The error for a byte that was just consumed, or for the end of the message.
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
