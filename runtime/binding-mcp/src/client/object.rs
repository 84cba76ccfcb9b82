//! Takes members out of a JSON object, and puts others in, without touching the rest.

use std::ops::Range;

use bytes::Bytes;
use tidegate_json::{Key, Parts, Value};

/// A JSON object under construction: runs of members as they were received, and members of our own.
pub(super) struct Object<'a> {
    message: &'a Parts,
    out: Parts,
    /// The run of received members that is not written yet.
    run: Option<Range<usize>>,
    is_empty: bool,
}

impl<'a> Object<'a> {
    /// An empty object. `message` is what members are kept from.
    pub(super) fn of(message: &'a Parts) -> Self {
        Self {
            message,
            out: Parts::from(Bytes::from_static(b"{")),
            run: None,
            is_empty: true,
        }
    }

    /// Keeps a member as received. Members next to each other stay as they are, with what is between them.
    pub(super) fn keep(&mut self, key: &Key<'_>, value: &Value<'_>) {
        let start = key.range().start;
        match &mut self.run {
            Some(run) => run.end = value.range().end,
            None => self.run = Some(start..value.range().end),
        }
    }

    /// The next member is not kept.
    pub(super) fn skip(&mut self) {
        if let Some(run) = self.run.take() {
            let run = self.message.slice(run);
            self.push(run);
        }
    }

    /// Adds a member, or several, of our own.
    pub(super) fn add(&mut self, members: impl Into<Parts>) {
        self.skip();
        self.push(members.into());
    }

    fn push(&mut self, members: Parts) {
        if !std::mem::take(&mut self.is_empty) {
            self.out.push(Bytes::from_static(b","));
        }
        members.into_iter().for_each(|part| self.out.push(part));
    }

    /// Whether it has no members yet.
    pub(super) const fn is_empty(&self) -> bool {
        self.is_empty && self.run.is_none()
    }

    /// The text of the object.
    pub(super) fn finish(mut self) -> Parts {
        self.skip();
        self.out.push(Bytes::from_static(b"}"));
        self.out
    }
}

/// A member with a value in several parts.
pub(super) fn member(name: &'static [u8], value: Parts) -> Parts {
    let mut member = Parts::from(Bytes::from_static(name));
    value.into_iter().for_each(|part| member.push(part));
    member
}
