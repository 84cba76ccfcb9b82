//! A message as received: a list of buffers read as one text.

use std::borrow::Cow;
use std::ops::Range;

use bytes::{Bytes, BytesMut};

/// A list of buffers. A message in one buffer needs no list.
#[derive(Debug, Clone)]
pub struct Parts {
    first: Bytes,
    rest: Vec<Part>,
    len: usize,
}

/// A buffer after the first.
#[derive(Debug, Clone)]
struct Part {
    bytes: Bytes,
    /// Offset in the message after its last byte.
    end: usize,
}

impl Default for Parts {
    fn default() -> Self {
        Self::new()
    }
}

impl From<Bytes> for Parts {
    fn from(bytes: Bytes) -> Self {
        Self {
            len: bytes.len(),
            first: bytes,
            rest: Vec::new(),
        }
    }
}

impl Parts {
    /// An empty message.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            first: Bytes::new(),
            rest: Vec::new(),
            len: 0,
        }
    }

    /// Appends a buffer; an empty one is skipped.
    pub fn push(&mut self, part: Bytes) {
        if part.is_empty() {
            return;
        }
        if self.len == 0 {
            self.len = part.len();
            self.first = part;
        } else {
            self.len += part.len();
            self.rest.push(Part {
                bytes: part,
                end: self.len,
            });
        }
    }

    /// Length in bytes.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether the message is empty.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The buffers in order; none of them is empty.
    pub fn iter(&self) -> impl Iterator<Item = &Bytes> {
        let rest = self.rest.iter().map(|part| &part.bytes);
        std::iter::once(&self.first)
            .chain(rest)
            .filter(|part| !part.is_empty())
    }

    /// The number of buffers.
    pub fn count(&self) -> usize {
        self.iter().count()
    }

    /// A range of the message, without a copy. The part of the range beyond the end is ignored.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Self {
        if range.start <= range.end && range.end <= self.first.len() {
            return Self::from(self.first.slice(range));
        }
        let mut slice = Self::new();
        let (mut index, mut at) = self.locate(range.start);
        let mut left = range.end.saturating_sub(range.start);
        while left > 0
            && let Some(part) = self.buffer(index)
        {
            let length = left.min(part.len().saturating_sub(at));
            slice.push(part.slice(at..at + length));
            left -= length;
            (index, at) = (index + 1, 0);
        }
        slice
    }

    /// A range of the message in one buffer: a slice if it lies in one buffer, a copy otherwise.
    pub fn bytes(&self, range: Range<usize>) -> Bytes {
        if range.start <= range.end && range.end <= self.first.len() {
            return self.first.slice(range);
        }
        self.slice(range).contiguous()
    }

    /// Like [`Self::bytes`], borrowing instead of sharing the buffer.
    pub(crate) fn text(&self, range: Range<usize>) -> Cow<'_, [u8]> {
        match self.one(range.clone()) {
            Some(text) => Cow::Borrowed(text),
            None => Cow::Owned(self.slice(range).contiguous().into()),
        }
    }

    /// A range of the message, if it lies in one buffer.
    pub(crate) fn one(&self, range: Range<usize>) -> Option<&[u8]> {
        if let Some(text) = self.first.get(range.clone()) {
            return Some(text);
        }
        let (index, at) = self.locate(range.start);
        self.part(index).get(at..at + range.len())
    }

    /// Whether both are the same memory, not only equal.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let (mut own, mut others) = (self.iter(), other.iter());
        let (mut left, mut right): (&[u8], &[u8]) = (&[], &[]);
        loop {
            if left.is_empty() {
                left = own.next().map_or(&[], |part| part);
            }
            if right.is_empty() {
                right = others.next().map_or(&[], |part| part);
            }
            let length = left.len().min(right.len());
            if length == 0 {
                return left.is_empty() && right.is_empty();
            }
            if left.as_ptr() != right.as_ptr() {
                return false;
            }
            left = left.get(length..).unwrap_or_default();
            right = right.get(length..).unwrap_or_default();
        }
    }

    /// The message in one buffer: itself if it has only one, a copy otherwise.
    pub fn contiguous(&self) -> Bytes {
        if self.rest.is_empty() {
            return self.first.clone();
        }
        let mut whole = BytesMut::with_capacity(self.len);
        for part in self.iter() {
            whole.extend_from_slice(part);
        }
        whole.freeze()
    }

    /// Whether the message contains `text` at `offset`.
    #[inline]
    pub(crate) fn has_at(&self, offset: usize, text: &str) -> bool {
        match self.first.get(offset..offset + text.len()) {
            Some(here) => here == text.as_bytes(),
            None => self.has_across(offset, text.as_bytes()),
        }
    }

    /// Like `has_at`, if the text is not entirely in the first buffer.
    #[cold]
    fn has_across(&self, offset: usize, mut text: &[u8]) -> bool {
        let (mut index, mut at) = self.locate(offset);
        loop {
            let here = self.part(index).get(at..).unwrap_or_default();
            let Some((expected, rest)) = text.split_at_checked(here.len()) else {
                return here.starts_with(text);
            };
            if here.is_empty() || expected != here {
                return text.is_empty();
            }
            text = rest;
            (index, at) = (index + 1, 0);
        }
    }

    /// Index of the buffer that holds the byte at `offset`, and the position in it.
    pub(crate) fn locate(&self, offset: usize) -> (usize, usize) {
        if offset < self.first.len() {
            return (0, offset);
        }
        let index = self.rest.partition_point(|part| part.end <= offset);
        let start = match index
            .checked_sub(1)
            .and_then(|before| self.rest.get(before))
        {
            Some(before) => before.end,
            None => self.first.len(),
        };
        match self.rest.get(index) {
            Some(_) => (index + 1, offset - start),
            None => (index + 1, 0),
        }
    }

    /// The buffer at an index.
    fn buffer(&self, index: usize) -> Option<&Bytes> {
        match index.checked_sub(1) {
            None => Some(&self.first),
            Some(behind) => self.rest.get(behind).map(|part| &part.bytes),
        }
    }

    /// The bytes of the buffer at an index; empty beyond the last.
    pub(crate) fn part(&self, index: usize) -> &[u8] {
        self.buffer(index).map_or(&[], |part| part)
    }

    /// Number of buffer slots, including an empty first one.
    pub(crate) const fn slots(&self) -> usize {
        self.rest.len() + 1
    }
}

/// The buffers of a message, in order.
#[derive(Debug)]
pub struct Buffers {
    first: Option<Bytes>,
    rest: std::vec::IntoIter<Part>,
}

impl Iterator for Buffers {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let first = self.first.take();
        first.or_else(|| self.rest.next().map(|part| part.bytes))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::from(self.first.is_some()) + self.rest.len();
        (left, Some(left))
    }
}

impl ExactSizeIterator for Buffers {}

impl IntoIterator for Parts {
    type Item = Bytes;
    type IntoIter = Buffers;

    fn into_iter(self) -> Buffers {
        Buffers {
            first: Some(self.first).filter(|first| !first.is_empty()),
            rest: self.rest.into_iter(),
        }
    }
}

impl FromIterator<Bytes> for Parts {
    fn from_iter<I: IntoIterator<Item = Bytes>>(buffers: I) -> Self {
        let mut parts = Self::new();
        for part in buffers {
            parts.push(part);
        }
        parts
    }
}

impl PartialEq for Parts {
    /// Compares bytes, independent of buffer boundaries.
    fn eq(&self, other: &Self) -> bool {
        let bytes = |parts: &Self| parts.clone().into_iter().flatten().collect::<Vec<u8>>();
        self.len == other.len && bytes(self) == bytes(other)
    }
}
