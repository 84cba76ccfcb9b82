//! A message that is known to be JSON.

use bytes::Bytes;

use crate::cursor::Cursor;
use crate::error::Error;
use crate::index::{Entry, Index};
use crate::parts::Parts;
use crate::scan;
use crate::unescape;
use crate::value::Value;

/// How much of a message is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How deep arrays and objects may lie within each other; at most 128.
    pub depth: u32,
    /// How many elements an array may have that is the whole message. One more is refused where it
    /// begins, and nothing behind it is read.
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

/// A message that was checked as a whole, or one value of it.
#[derive(Debug, Clone)]
pub struct Document {
    parts: Parts,
    index: Index,
    /// Which value.
    root: ValueId,
}

/// Which value of a document, without a hold on the document.
#[derive(Debug, Clone, Copy)]
pub struct ValueId {
    /// Its place in the list, or [`ValueId::UNLISTED`].
    pub(crate) at: u32,
    pub(crate) entry: Entry,
}

impl ValueId {
    /// Where a value is that is in an unlisted container.
    pub(crate) const UNLISTED: u32 = u32::MAX - 1;

    pub(crate) const fn unlisted(entry: Entry) -> Self {
        Self {
            at: Self::UNLISTED,
            entry,
        }
    }
}

impl Document {
    /// Checks a message.
    pub fn parse(parts: Parts, limits: Limits) -> Result<Self, Error> {
        let mut index = Index::reused();
        scan::check(&mut Cursor::at(&parts, 0), limits, &mut index)?;
        let root = ValueId {
            at: 0,
            entry: index.get(0),
        };
        Ok(Self { parts, index, root })
    }

    /// The value.
    #[inline]
    pub const fn root(&self) -> Value<'_> {
        Value::at(self, self.root)
    }

    /// A value of the same message.
    pub const fn value(&self, id: ValueId) -> Value<'_> {
        Value::at(self, id)
    }

    /// Another value of the same message, from now on.
    #[must_use]
    pub const fn at(mut self, id: ValueId) -> Self {
        self.root = id;
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
            // An escape of six bytes may stand for one.
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

    /// Whether these bytes are the value's text: not equal ones, but the very same.
    pub fn is_of(&self, text: &Bytes) -> bool {
        let own = self.parts.one(self.root().range());
        own.is_some_and(|own| own.as_ptr_range() == text.as_ptr_range())
    }

    /// The same of a text in several buffers, wherever each of them ends.
    pub fn is_of_parts(&self, text: &Parts) -> bool {
        let own = self.parts.slice(self.root().range());
        own.is_same(text)
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
