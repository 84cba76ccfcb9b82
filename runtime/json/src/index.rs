//! Where the values of a message lie: written down while it is checked, so that nobody has to look
//! for a value's end again.
//!
//! One flat list in the order of the text, 16 bytes for each value and each name, whatever its size.
//! A text of nothing but one-digit numbers takes eight times its size here, for as long as it is read.

use std::cell::RefCell;

use crate::value::Kind;

/// A list longer than this is not kept for the next message.
const KEPT: usize = 512;

/// Where one value lies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    /// Offset of its first byte.
    pub(crate) start: u32,
    /// Offset behind its last byte.
    pub(crate) end: u32,
    /// The entry behind it and all that is in it. While a container is open: the one that it is in.
    pub(crate) next: u32,
    pub(crate) kind: Kind,
    /// A string with escapes.
    pub(crate) escaped: bool,
}

impl Entry {
    /// A value that is not there.
    pub(crate) const NOTHING: Self = Self {
        start: 0,
        end: 0,
        next: 0,
        kind: Kind::Null,
        escaped: false,
    };
}

/// The list.
#[derive(Debug, Default, Clone)]
pub(crate) struct Index(Vec<Entry>);

thread_local! {
    /// The list of the last message, whose memory serves the next.
    static SPARE: RefCell<Vec<Entry>> = const { RefCell::new(Vec::new()) };
}

impl Index {
    /// An empty list, in memory that has served before where there is some.
    pub(crate) fn reused() -> Self {
        let spare = SPARE.try_with(|spare| std::mem::take(&mut *spare.borrow_mut()));
        Self(spare.unwrap_or_default())
    }

    #[inline]
    pub(crate) fn get(&self, at: u32) -> Entry {
        self.0.get(at as usize).copied().unwrap_or(Entry::NOTHING)
    }

    /// The entry behind a value and all that is in it; the end of the list behind none.
    #[inline]
    pub(crate) fn next(&self, at: u32) -> u32 {
        self.0.get(at as usize).map_or(u32::MAX, |entry| entry.next)
    }

    /// Where the next entry will be.
    #[inline]
    pub(crate) fn len(&self) -> u32 {
        // A text is shorter than 2^32 bytes, and every value takes at least one.
        #[allow(clippy::cast_possible_truncation)]
        let len = self.0.len() as u32;
        len
    }

    #[inline]
    pub(crate) fn push(&mut self, entry: Entry) {
        self.0.push(entry);
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, at: u32) -> Option<&mut Entry> {
        self.0.get_mut(at as usize)
    }

    /// The part of the list that is about one value, for a text that is this value alone.
    pub(crate) fn of(&self, at: u32) -> Self {
        let root = self.get(at);
        let entries = self.0.get(at as usize..root.next as usize);
        let moved = entries.unwrap_or_default().iter().map(|entry| Entry {
            start: entry.start - root.start,
            end: entry.end - root.start,
            next: entry.next - at,
            ..*entry
        });
        Self(moved.collect())
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        let mut list = std::mem::take(&mut self.0);
        if list.capacity() == 0 || list.capacity() > KEPT {
            return;
        }
        list.clear();
        // Where the thread is about to end there is nothing to keep it for.
        let _ = SPARE.try_with(|spare| {
            if let Ok(mut spare) = spare.try_borrow_mut() {
                *spare = list;
            }
        });
    }
}
