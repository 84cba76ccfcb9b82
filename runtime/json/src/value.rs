//! Values as ranges of a validated message.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use bytestring::ByteString;

use crate::document::{Document, ValueId};
use crate::error::Duplicate;
use crate::index::Entry;
use crate::parts::Parts;
use crate::unescape::unescaped;
use crate::unlisted::Steps;

/// The kind of a value.
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
    document: &'a Document,
    /// Index in the document's list, or [`UNLISTED`].
    at: u32,
    entry: Entry,
}

/// The name of a member.
#[derive(Debug, Clone, Copy)]
pub struct Key<'a>(Value<'a>);

impl<'a> Value<'a> {
    #[inline]
    pub(crate) const fn at(document: &'a Document, id: ValueId) -> Self {
        let ValueId { at, entry } = id;
        Self {
            document,
            at,
            entry,
        }
    }

    /// The kind of the value.
    pub const fn kind(&self) -> Kind {
        self.entry.kind
    }

    /// The range of the value in the message.
    pub const fn range(&self) -> Range<usize> {
        self.entry.start as usize..self.entry.end as usize
    }

    /// The id of the value within its document; see [`Document::at`].
    pub const fn id(&self) -> ValueId {
        ValueId {
            at: self.at,
            entry: self.entry,
        }
    }

    /// The JSON text, as slices of the message.
    pub fn parts(&self) -> Parts {
        self.document.message().slice(self.range())
    }

    /// The JSON text in one piece: a slice of the message if it lies in one buffer, a copy
    /// otherwise.
    pub fn bytes(&self) -> Bytes {
        self.document.message().bytes(self.range())
    }

    /// Whether the value is a string with escapes.
    pub const fn is_escaped(&self) -> bool {
        self.entry.escaped
    }

    /// The members of an object, in order; empty for any other kind.
    pub fn members(&self) -> Members<'a> {
        Members(Walk::into(self, Kind::Object))
    }

    /// The elements of an array, in order; empty for any other kind.
    pub fn elements(&self) -> Elements<'a> {
        Elements(Walk::into(self, Kind::Array))
    }

    /// The member called `name`. A duplicate member is an error: the code that checks the object
    /// and the code that uses it might read different ones.
    pub fn get(&self, name: &str) -> Result<Option<Self>, Duplicate> {
        if self.entry.kind != Kind::Object {
            return Ok(None);
        }
        if self.entry.unlisted {
            return self.find(name);
        }
        let index = self.document.index();
        let mut found = None;
        let mut at = self.at + 1;
        while at < self.entry.next {
            let key = index.get(at);
            let next = index.next(at + 1);
            if self.document.is_text(key, name) && found.replace(at + 1).is_some() {
                return Err(Duplicate(name.to_owned()));
            }
            at = next;
        }
        Ok(found.map(|at| Value::at(self.document, index.id(at))))
    }

    #[cold]
    fn find(&self, name: &str) -> Result<Option<Self>, Duplicate> {
        let mut wanted = self.members().filter(|(key, _)| key.is(name));
        let found = wanted.next().map(|(_, value)| value);
        match wanted.next() {
            Some(_) => Err(Duplicate(name.to_owned())),
            None => Ok(found),
        }
    }

    /// Finds the members with these names, in one pass.
    pub fn pick<const N: usize>(&self, names: &'static [&'static str; N]) -> Picked<N> {
        let mut picked = Picked::none(names);
        if self.entry.kind != Kind::Object {
            return picked;
        }
        if self.entry.unlisted {
            self.find_all(&mut picked);
            return picked;
        }
        let index = self.document.index();
        let mut at = self.at + 1;
        while at < self.entry.next {
            let key = index.get(at);
            let mut wanted = names.iter().zip(&mut picked.places);
            if let Some((_, place)) = wanted.find(|(name, _)| self.document.is_text(key, name)) {
                *place = if *place == NOWHERE { at + 1 } else { TWICE };
            } else {
                picked.others = true;
            }
            at = index.next(at + 1);
        }
        picked
    }

    #[cold]
    fn find_all<const N: usize>(&self, picked: &mut Picked<N>) {
        let mut found = Box::new([self.id(); N]);
        for (key, value) in self.members() {
            let names = picked.names.iter().zip(&mut picked.places);
            let mut wanted = names.zip(found.iter_mut());
            if let Some(((_, place), found)) = wanted.find(|((name, _), _)| key.is(name)) {
                *place = if *place == NOWHERE { UNLISTED } else { TWICE };
                *found = value.id();
            } else {
                picked.others = true;
            }
        }
        picked.unlisted = Some(found);
    }

    /// The content of a string: a slice of the message if it lies in one buffer without escapes, a
    /// copy otherwise.
    pub fn string(&self) -> Option<ByteString> {
        let content = self.content()?;
        let content = if self.entry.escaped {
            self.unescaped(content)
        } else {
            self.document.message().bytes(content)
        };
        // The document was validated, so this is UTF-8.
        ByteString::try_from(content).ok()
    }

    /// The content of a string, borrowed from the message if it lies in one buffer without escapes.
    pub fn text(&self) -> Option<Cow<'a, str>> {
        let content = self.content()?;
        let text = if self.entry.escaped {
            Cow::Owned(self.unescaped(content).into())
        } else {
            self.document.message().text(content)
        };
        utf8(text)
    }

    /// The JSON text, borrowed from the message if it lies in one buffer.
    pub fn raw(&self) -> Cow<'a, [u8]> {
        self.document.message().text(self.range())
    }

    /// Whether the value is a string with this content.
    #[inline]
    pub fn is(&self, text: &str) -> bool {
        self.entry.kind == Kind::String && self.document.is_text(self.entry, text)
    }

    /// The content of a string as slices of the message; one decoded copy if it has escapes.
    pub fn string_parts(&self) -> Option<Parts> {
        let content = self.content()?;
        if self.entry.escaped {
            return Some(Parts::from(self.unescaped(content)));
        }
        Some(self.document.message().slice(content))
    }

    /// The value as a non-negative integer. `3.0` and `1e2` are integers too.
    pub fn as_u64(&self) -> Option<u64> {
        let text = self.number()?;
        text.parse()
            .ok()
            .or_else(|| whole(&text).and_then(|number| u64::try_from(number).ok()))
    }

    /// The value as an integer.
    pub fn as_i64(&self) -> Option<i64> {
        let text = self.number()?;
        text.parse().ok().or_else(|| whole(&text))
    }

    /// The value as a floating-point number.
    pub fn as_f64(&self) -> Option<f64> {
        self.number()?.parse().ok()
    }

    /// The value as a boolean.
    pub const fn as_bool(&self) -> Option<bool> {
        match self.entry.kind {
            Kind::Bool(value) => Some(value),
            _ => None,
        }
    }

    fn number(&self) -> Option<Cow<'a, str>> {
        let text = (self.entry.kind == Kind::Number).then(|| self.raw());
        utf8(text?)
    }

    /// Range of a string's content, without the quotes.
    fn content(&self) -> Option<Range<usize>> {
        let range = self.range();
        (self.entry.kind == Kind::String).then(|| range.start + 1..range.end.saturating_sub(1))
    }

    fn unescaped(&self, content: Range<usize>) -> Bytes {
        unescaped(self.document.message(), content)
    }
}

/// Text of a validated document as UTF-8.
fn utf8(text: Cow<'_, [u8]>) -> Option<Cow<'_, str>> {
    match text {
        Cow::Borrowed(text) => std::str::from_utf8(text).ok().map(Cow::Borrowed),
        Cow::Owned(text) => String::from_utf8(text).ok().map(Cow::Owned),
    }
}

/// A number written with a point or an exponent, as an integer if that is exact.
fn whole(text: &str) -> Option<i64> {
    /// Up to this bound every integer is exactly representable as `f64`.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let number: f64 = text.parse().ok()?;
    // The cast is exact within the range checked here.
    #[allow(clippy::cast_possible_truncation)]
    (number.fract() == 0.0 && number.abs() <= EXACT).then_some(number as i64)
}

impl Key<'_> {
    /// The range of the name in the message, with its quotes.
    pub const fn range(&self) -> Range<usize> {
        self.0.range()
    }

    /// Whether this is the name.
    #[inline]
    pub fn is(&self, name: &str) -> bool {
        self.0.is(name)
    }

    /// The name.
    pub fn text(&self) -> Cow<'static, str> {
        self.0
            .string()
            .map_or(Cow::Borrowed(""), |name| Cow::Owned(name.to_string()))
    }
}

/// Marks a member that is absent: entry 0 is the document's own value.
const NOWHERE: u32 = 0;
/// Marks a member that occurs twice.
const TWICE: u32 = u32::MAX;
/// Marks a member that is not in the list.
const UNLISTED: u32 = ValueId::UNLISTED;

/// The positions of some members, found in one pass, without borrowing the document.
#[derive(Debug, Clone)]
pub struct Picked<const N: usize> {
    names: &'static [&'static str; N],
    places: [u32; N],
    /// Ids of the members of an unlisted object.
    unlisted: Option<Box<[ValueId; N]>>,
    /// There are members with other names.
    others: bool,
}

impl<const N: usize> Picked<N> {
    /// The result of a pass that found none of the names.
    pub const fn none(names: &'static [&'static str; N]) -> Self {
        Self {
            names,
            places: [NOWHERE; N],
            unlisted: None,
            others: false,
        }
    }

    /// Whether the object has members with other names.
    pub const fn has_others(&self) -> bool {
        self.others
    }

    /// The member with the name at index `which`; same result as [`Value::get`] on the same
    /// document.
    #[inline]
    pub fn get<'a>(
        &self,
        document: &'a Document,
        which: usize,
    ) -> Result<Option<Value<'a>>, Duplicate> {
        match self.places.get(which) {
            None | Some(&NOWHERE) => Ok(None),
            Some(&TWICE) => Err(self.twice(which)),
            Some(&UNLISTED) => Ok(self.beyond(document, which)),
            Some(at) => Ok(Some(Value::at(document, document.index().id(*at)))),
        }
    }

    #[cold]
    fn beyond<'a>(&self, document: &'a Document, which: usize) -> Option<Value<'a>> {
        let id = self.unlisted.as_ref()?.get(which)?;
        Some(Value::at(document, *id))
    }

    /// The first of the names that occurs twice.
    pub fn duplicate(&self) -> Option<Duplicate> {
        let which = self.places.iter().position(|place| *place == TWICE)?;
        Some(self.twice(which))
    }

    #[cold]
    fn twice(&self, which: usize) -> Duplicate {
        let name = self.names.get(which).copied();
        Duplicate(name.unwrap_or_default().to_owned())
    }
}

/// A pass over the content of an object or an array.
#[derive(Debug, Clone)]
struct Walk<'a> {
    document: &'a Document,
    next: u32,
    end: u32,
    /// For an unlisted container.
    steps: Option<Steps<'a>>,
}

impl<'a> Walk<'a> {
    #[inline]
    fn into(value: &Value<'a>, kind: Kind) -> Self {
        let is_kind = value.entry.kind == kind;
        let (next, end) = if is_kind && !value.entry.unlisted {
            (value.at + 1, value.entry.next)
        } else {
            (0, 0)
        };
        let unlisted = is_kind && value.entry.unlisted;
        Self {
            document: value.document,
            next,
            end,
            steps: unlisted.then(|| Steps::into(value.document, value.entry)),
        }
    }

    #[inline]
    fn value(&mut self) -> Option<Value<'a>> {
        let id = if self.next < self.end {
            let id = self.document.index().id(self.next);
            self.next = id.entry.next;
            id
        } else {
            ValueId::unlisted(self.steps.as_mut()?.next()?)
        };
        Some(Value::at(self.document, id))
    }
}

/// Iterator over the members of an object.
#[derive(Debug, Clone)]
pub struct Members<'a>(Walk<'a>);

impl<'a> Iterator for Members<'a> {
    type Item = (Key<'a>, Value<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let key = self.0.value()?;
        Some((Key(key), self.0.value()?))
    }
}

/// Iterator over the elements of an array.
#[derive(Debug, Clone)]
pub struct Elements<'a>(Walk<'a>);

impl<'a> Iterator for Elements<'a> {
    type Item = Value<'a>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.0.value()
    }
}
