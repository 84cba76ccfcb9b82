//! A place in a message that moves forward, from buffer to buffer.
#![allow(
    clippy::inline_always,
    reason = "a place that is in registers cannot be referred to"
)]

use crate::error::{Error, Fault};
use crate::parts::Parts;

/// A place in a message. Whoever walks along keeps it in registers: what is not inlined takes it by
/// value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor<'a> {
    parts: &'a Parts,
    /// The buffer.
    text: &'a [u8],
    /// Where in the buffer, not beyond its end.
    at: usize,
    /// Offset in the message of the buffer's start.
    base: usize,
    /// Which buffer.
    index: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn at(parts: &'a Parts, offset: usize) -> Self {
        let (index, at) = parts.locate(offset);
        Self {
            parts,
            text: parts.part(index),
            at,
            base: offset - at,
            index,
        }
    }

    #[inline(always)]
    pub(crate) const fn offset(&self) -> usize {
        self.base + self.at
    }

    /// Whether the message is longer than can be told.
    pub(crate) const fn is_beyond(&self, length: u32) -> bool {
        self.parts.len() > length as usize
    }

    /// What is left of the current buffer, or the next one: empty at the end alone.
    #[inline(always)]
    pub(crate) fn chunk(&mut self) -> &'a [u8] {
        match self.text.get(self.at..) {
            None | Some([]) => {
                *self = self.in_next_buffer();
                self.text.get(self.at..).unwrap_or_default()
            }
            Some(rest) => rest,
        }
    }

    // Every byte is asked for through here, and nearly every message is one buffer.
    #[cold]
    #[inline(never)]
    fn in_next_buffer(mut self) -> Self {
        while self.at >= self.text.len() && self.index + 1 < self.parts.places() {
            self.base += self.text.len();
            self.index += 1;
            self.text = self.parts.part(self.index);
            self.at = 0;
        }
        self
    }

    /// Moves forward within the current buffer.
    #[inline(always)]
    pub(crate) const fn advance(&mut self, bytes: usize) {
        self.at += bytes;
    }

    #[inline(always)]
    pub(crate) fn peek(&mut self) -> Option<u8> {
        match self.text.get(self.at) {
            None => {
                *self = self.in_next_buffer();
                self.text.get(self.at).copied()
            }
            byte => byte.copied(),
        }
    }

    #[inline(always)]
    pub(crate) fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.advance(1);
        Some(byte)
    }

    /// The next byte that is no white space, which is not passed.
    #[inline(always)]
    pub(crate) fn skip_whitespace(&mut self) -> Option<u8> {
        loop {
            let byte = self.peek()?;
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(byte);
            }
            self.advance(1);
        }
    }

    #[cold]
    pub(crate) const fn fault(self, fault: Fault) -> Error {
        Error {
            offset: self.offset(),
            fault,
        }
    }

    /// The fault of the byte that is here, or of the end.
    #[cold]
    pub(crate) fn unexpected(mut self) -> Error {
        let fault = match self.peek() {
            Some(_) => Fault::Unexpected,
            None => Fault::Incomplete,
        };
        self.fault(fault)
    }
}
