//! A message that is known to be JSON.

use bytes::Bytes;

use crate::cursor::Cursor;
use crate::error::Error;
use crate::index::{Entry, Index};
use crate::parts::Parts;
use crate::scan;
use crate::unescape::unescaped;
use crate::value::Value;

/// How much of a message is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How deep arrays and objects may lie within each other; at most 128.
    pub depth: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { depth: 128 }
    }
}

/// A message that was checked as a whole, or one value of it.
#[derive(Debug, Clone)]
pub struct Document {
    parts: Parts,
    index: Index,
    /// Which value.
    root: u32,
}

/// Which value of a document, without a hold on the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place(pub(crate) u32);

impl Document {
    /// Checks a message.
    pub fn parse(parts: Parts, limits: Limits) -> Result<Self, Error> {
        let mut index = Index::reused();
        scan::check(&mut Cursor::at(&parts, 0), limits.depth, &mut index)?;
        Ok(Self {
            parts,
            index,
            root: 0,
        })
    }

    /// A part of a message that was checked, which is this one value.
    pub(crate) const fn checked(parts: Parts, index: Index) -> Self {
        Self {
            parts,
            index,
            root: 0,
        }
    }

    /// The value.
    pub fn root(&self) -> Value<'_> {
        Value::at(self, self.root)
    }

    /// A value of the same message.
    pub fn value(&self, place: Place) -> Value<'_> {
        Value::at(self, place.0)
    }

    /// Another value of the same message, from now on.
    #[must_use]
    pub const fn at(mut self, place: Place) -> Self {
        self.root = place.0;
        self
    }

    /// The whole message, in which values have their ranges.
    pub const fn message(&self) -> &Parts {
        &self.parts
    }

    /// Whether a string has this content: its length decides nearly always.
    #[inline]
    pub(crate) fn is_text(&self, string: Entry, text: &str) -> bool {
        if string.escaped {
            return self.is_escaped_text(string, text);
        }
        (string.end - string.start) as usize == text.len() + 2
            && self.parts.has_at(string.start as usize + 1, text)
    }

    #[cold]
    fn is_escaped_text(&self, string: Entry, text: &str) -> bool {
        let content = string.start as usize + 1..(string.end as usize).saturating_sub(1);
        unescaped(&self.parts, content) == text.as_bytes()
    }

    pub(crate) const fn index(&self) -> &Index {
        &self.index
    }

    /// How many values and names the message has.
    pub fn values(&self) -> usize {
        self.index.len() as usize
    }

    /// Whether these bytes are the value's text: not equal ones, but the very same.
    pub fn is_of(&self, text: &Bytes) -> bool {
        let own = self.parts.one(self.root().range());
        own.is_some_and(|own| own.as_ptr_range() == text.as_ptr_range())
    }

    /// The text of the value; the message itself where the value is all of it.
    pub fn into_parts(self) -> Parts {
        let range = self.root().range();
        if range == (0..self.parts.len()) {
            return self.parts;
        }
        self.parts.slice(range)
    }
}
