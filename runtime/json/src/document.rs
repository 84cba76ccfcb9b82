//! A validated JSON message.

use bytes::Bytes;

use crate::cursor::Cursor;
use crate::error::Error;
use crate::index::{Entry, Index};
use crate::parts::Parts;
use crate::scan;
use crate::unescape;
use crate::value::Value;

/// Limits on a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Maximum nesting depth of arrays and objects; at most 128.
    pub depth: u32,
    /// Maximum number of elements of an array that is the whole message. A further element is
    /// refused where it begins, and the rest is not read.
    pub elements: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            depth: 128,
            elements: u32::MAX,
        }
    }
}

/// A validated message, or one value of it.
#[derive(Debug, Clone)]
pub struct Document {
    parts: Parts,
    index: Index,
    /// The value.
    root: ValueId,
}

/// Identifies a value of a document without borrowing the document.
#[derive(Debug, Clone, Copy)]
pub struct ValueId {
    /// Index in the list of values, or [`ValueId::UNLISTED`].
    pub(crate) at: u32,
    pub(crate) entry: Entry,
}

impl ValueId {
    /// Marks a value inside an unlisted container.
    pub(crate) const UNLISTED: u32 = u32::MAX - 1;

    pub(crate) const fn unlisted(entry: Entry) -> Self {
        Self {
            at: Self::UNLISTED,
            entry,
        }
    }
}

impl Document {
    /// Validates a message.
    pub fn parse(parts: Parts, limits: Limits) -> Result<Self, Error> {
        let mut index = Index::reused();
        scan::check(&mut Cursor::at(&parts, 0), limits, &mut index)?;
        let root = ValueId {
            at: 0,
            entry: index.get(0),
        };
        Ok(Self { parts, index, root })
    }

    /// The value this document refers to.
    #[inline]
    pub const fn root(&self) -> Value<'_> {
        Value::at(self, self.root)
    }

    /// Another value of the same message.
    pub const fn value(&self, id: ValueId) -> Value<'_> {
        Value::at(self, id)
    }

    /// Makes the document refer to another value of the same message.
    #[must_use]
    pub const fn at(mut self, id: ValueId) -> Self {
        self.root = id;
        self
    }

    /// The whole message; the ranges of values refer to it.
    pub const fn message(&self) -> &Parts {
        &self.parts
    }

    /// Whether a string has this content. Comparing lengths first decides nearly always.
    #[inline]
    pub(crate) fn is_text(&self, string: Entry, text: &str) -> bool {
        if string.escaped {
            // A six-byte escape may represent a single byte.
            let content = (string.end - string.start) as usize - 2;
            return (text.len()..=6 * text.len()).contains(&content)
                && self.is_escaped_text(string, text);
        }
        (string.end - string.start) as usize == text.len() + 2
            && self.parts.has_at(string.start as usize + 1, text)
    }

    #[cold]
    fn is_escaped_text(&self, string: Entry, text: &str) -> bool {
        let content = string.start as usize + 1..(string.end as usize).saturating_sub(1);
        unescape::is(&self.parts, content, text)
    }

    pub(crate) const fn index(&self) -> &Index {
        &self.index
    }

    /// Whether `text` is the value's own memory. Equal bytes elsewhere do not count.
    pub fn is_of(&self, text: &Bytes) -> bool {
        let own = self.parts.one(self.root().range());
        own.is_some_and(|own| own.as_ptr_range() == text.as_ptr_range())
    }

    /// Like [`Self::is_of`], for a text in several buffers with any boundaries.
    pub fn is_of_parts(&self, text: &Parts) -> bool {
        let own = self.parts.slice(self.root().range());
        own.is_same(text)
    }

    /// The text of the value; the message itself if the value is the whole message.
    pub fn into_parts(self) -> Parts {
        let range = self.root().range();
        if range == (0..self.parts.len()) {
            return self.parts;
        }
        self.parts.slice(range)
    }
}
