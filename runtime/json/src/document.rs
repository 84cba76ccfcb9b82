//! A message that is known to be JSON.

use crate::cursor::Cursor;
use crate::error::Error;
use crate::parts::Parts;
use crate::scan;
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

/// A message that was checked as a whole.
#[derive(Debug, Clone)]
pub struct Document {
    parts: Parts,
}

impl Document {
    /// Checks a message.
    pub fn parse(parts: Parts, limits: Limits) -> Result<Self, Error> {
        scan::check(&mut Cursor::at(&parts, 0), limits.depth)?;
        Ok(Self { parts })
    }

    /// What is known to be one JSON value.
    pub(crate) const fn checked(parts: Parts) -> Self {
        Self { parts }
    }

    /// The value that the message is.
    pub fn root(&self) -> Value<'_> {
        let mut cursor = Cursor::at(&self.parts, 0);
        cursor.skip_whitespace();
        Value::starting_at(&self.parts, &mut cursor)
    }

    /// The message.
    pub const fn parts(&self) -> &Parts {
        &self.parts
    }

    /// The message, given back.
    pub fn into_parts(self) -> Parts {
        self.parts
    }
}
