//! Values as ranges of a message that was checked.

use std::borrow::Cow;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;

use crate::cursor::Cursor;
use crate::document::Document;
use crate::error::Duplicate;
use crate::parts::Parts;
use crate::scan;

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `{…}`
    Object,
    /// `[…]`
    Array,
    /// `"…"`
    String,
    /// A number.
    Number,
    /// `true` or `false`
    Bool(bool),
    /// `null`
    Null,
}

/// A value of a document.
#[derive(Debug, Clone, Copy)]
pub struct Value<'a> {
    parts: &'a Parts,
    start: usize,
    end: usize,
    kind: Kind,
    escaped: bool,
}

/// The name of a member.
#[derive(Debug, Clone, Copy)]
pub struct Key<'a>(Value<'a>);

impl<'a> Value<'a> {
    /// The value at the cursor, which is moved behind it.
    pub(crate) fn starting_at(parts: &'a Parts, cursor: &mut Cursor<'a>) -> Self {
        let start = cursor.offset();
        let mut escaped = false;
        let kind = match cursor.peek() {
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b'"') => Kind::String,
            Some(b't') => Kind::Bool(true),
            Some(b'f') => Kind::Bool(false),
            Some(b'n') => Kind::Null,
            _ => Kind::Number,
        };
        if kind == Kind::String {
            cursor.advance(1);
            escaped = scan::skip_string(cursor);
        } else {
            scan::skip_value(cursor);
        }
        Self {
            parts,
            start,
            end: cursor.offset(),
            kind,
            escaped,
        }
    }

    /// What it is.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Where it lies in the message.
    pub const fn range(&self) -> Range<usize> {
        self.start..self.end
    }

    /// Its text, as slices of the message.
    pub fn parts(&self) -> Parts {
        self.parts.slice(self.range())
    }

    /// Whether it is a string with escapes.
    pub const fn is_escaped(&self) -> bool {
        self.escaped
    }

    /// The members of an object, in order; nothing for another kind.
    pub fn members(&self) -> Members<'a> {
        Members(Walk::into(self, Kind::Object))
    }

    /// The elements of an array, in order; nothing for another kind.
    pub fn elements(&self) -> Elements<'a> {
        Elements(Walk::into(self, Kind::Array))
    }

    /// The member of a name. An object that has it twice is refused: who checks it and who uses it
    /// might take different ones.
    pub fn get(&self, name: &str) -> Result<Option<Self>, Duplicate> {
        let mut found = None;
        for (key, value) in self.members() {
            if key.is(name) && found.replace(value).is_some() {
                return Err(Duplicate(name.to_owned()));
            }
        }
        Ok(found)
    }

    /// The content of a string: a slice of the message where it lies in one buffer without escapes,
    /// a copy otherwise.
    pub fn string(&self) -> Option<ByteString> {
        let content = self.string_parts()?.contiguous();
        // The document was checked, so this is UTF-8.
        ByteString::try_from(content).ok()
    }

    /// The value as a document of its own. A part of a text that was checked is in order, so that it
    /// is not looked at again.
    pub fn document(&self) -> Document {
        Document::checked(self.parts())
    }

    /// The content of a string as slices of the message; one unescaped copy where it has escapes.
    pub fn string_parts(&self) -> Option<Parts> {
        let content = self.content()?;
        if self.escaped {
            return Some(Parts::from(self.unescaped(content)));
        }
        Some(self.parts.slice(content))
    }

    /// A number without a fraction, from 0 up. `3.0` and `1e2` are such numbers too.
    pub fn as_u64(&self) -> Option<u64> {
        let text = self.number()?;
        text.parse()
            .ok()
            .or_else(|| whole(&text).and_then(|number| u64::try_from(number).ok()))
    }

    /// A number without a fraction.
    pub fn as_i64(&self) -> Option<i64> {
        let text = self.number()?;
        text.parse().ok().or_else(|| whole(&text))
    }

    /// A number.
    pub fn as_f64(&self) -> Option<f64> {
        self.number()?.parse().ok()
    }

    /// `true` or `false`.
    pub const fn as_bool(&self) -> Option<bool> {
        match self.kind {
            Kind::Bool(value) => Some(value),
            _ => None,
        }
    }

    fn number(&self) -> Option<String> {
        (self.kind == Kind::Number)
            .then(|| String::from_utf8(self.parts().contiguous().to_vec()).ok())
            .flatten()
    }

    /// Where a string's content lies.
    fn content(&self) -> Option<Range<usize>> {
        (self.kind == Kind::String).then(|| self.start + 1..self.end.saturating_sub(1))
    }

    fn unescaped(&self, content: Range<usize>) -> Bytes {
        let mut text = BytesMut::with_capacity(content.len());
        let mut cursor = Cursor::at(self.parts, content.start);
        while cursor.offset() < content.end {
            let left = content.end - cursor.offset();
            let chunk = cursor.chunk();
            let chunk = chunk.get(..left.min(chunk.len())).unwrap_or_default();
            let run = memchr::memchr(b'\\', chunk).unwrap_or(chunk.len());
            text.extend_from_slice(chunk.get(..run).unwrap_or_default());
            cursor.advance(run);
            if run < chunk.len() {
                cursor.advance(1);
                unescape(&mut cursor, &mut text);
            }
        }
        text.freeze()
    }
}

/// Appends the character of an escape that was checked, behind its backslash.
fn unescape(cursor: &mut Cursor<'_>, text: &mut BytesMut) {
    let character = match cursor.next() {
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => {
            let mut code = scan::hex(cursor).unwrap_or_default();
            if (0xD800..0xDC00).contains(&code) {
                cursor.next();
                cursor.next();
                let low = scan::hex(cursor).unwrap_or_default();
                code = 0x1_0000 + ((code - 0xD800) << 10) + (low & 0x3FF);
            }
            char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
        }
        Some(byte) => char::from(byte),
        None => return,
    };
    text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}

/// A number in a form with a point or an exponent, if it has no fraction and is exact.
fn whole(text: &str) -> Option<i64> {
    /// Up to here every whole number has a floating-point number of its own.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let number: f64 = text.parse().ok()?;
    // Within the range checked here the cast is exact.
    #[allow(clippy::cast_possible_truncation)]
    (number.fract() == 0.0 && number.abs() <= EXACT).then_some(number as i64)
}

impl Key<'_> {
    /// Whether this is the name.
    pub fn is(&self, name: &str) -> bool {
        let Some(content) = self.0.content() else {
            return false;
        };
        if self.0.escaped {
            return self.0.unescaped(content) == name.as_bytes();
        }
        if content.len() != name.len() {
            return false;
        }
        let mut cursor = Cursor::at(self.0.parts, content.start);
        let mut name = name.as_bytes();
        while !name.is_empty() {
            let chunk = cursor.chunk();
            let length = chunk.len().min(name.len());
            if length == 0 || chunk.get(..length) != name.get(..length) {
                return false;
            }
            cursor.advance(length);
            name = name.get(length..).unwrap_or_default();
        }
        true
    }

    /// The name.
    pub fn text(&self) -> Cow<'static, str> {
        self.0
            .string()
            .map_or(Cow::Borrowed(""), |name| Cow::Owned(name.to_string()))
    }
}

/// A walk through an object or an array.
#[derive(Debug, Clone)]
struct Walk<'a> {
    parts: &'a Parts,
    cursor: Cursor<'a>,
    end: usize,
}

impl<'a> Walk<'a> {
    fn into(value: &Value<'a>, kind: Kind) -> Self {
        let (start, end) = if value.kind == kind {
            (value.start + 1, value.end.saturating_sub(1))
        } else {
            (0, 0)
        };
        Self {
            parts: value.parts,
            cursor: Cursor::at(value.parts, start),
            end,
        }
    }

    fn value(&mut self) -> Option<Value<'a>> {
        while matches!(self.cursor.skip_whitespace(), Some(b',' | b':'))
            && self.cursor.offset() < self.end
        {
            self.cursor.advance(1);
        }
        (self.cursor.offset() < self.end).then(|| Value::starting_at(self.parts, &mut self.cursor))
    }
}

/// The members of an object.
#[derive(Debug, Clone)]
pub struct Members<'a>(Walk<'a>);

impl<'a> Iterator for Members<'a> {
    type Item = (Key<'a>, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let key = self.0.value()?;
        Some((Key(key), self.0.value()?))
    }
}

/// The elements of an array.
#[derive(Debug, Clone)]
pub struct Elements<'a>(Walk<'a>);

impl<'a> Iterator for Elements<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.value()
    }
}
