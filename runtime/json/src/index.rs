//! The positions of a message's values, recorded during validation so that no value's end must be
//! searched for again.
//!
//! The list is flat and in text order, with 16 bytes for each value and each name, and at most
//! [`ROOM`] entries. If a message has more values, the innermost container in which the list gets
//! full becomes *unlisted*: its own entry stays and the entries of its content are removed. Values
//! in an unlisted container are found by scanning the text.

use std::cell::RefCell;

use crate::document::ValueId;
use crate::value::Kind;

/// Maximum number of entries: 8 KiB.
pub(crate) const ROOM: usize = 512;
/// Initial capacity of a new list, in entries.
const FIRST_ROOM: usize = 32;

/// The position of one value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    /// Offset of its first byte.
    pub(crate) start: u32,
    /// Offset after its last byte.
    pub(crate) end: u32,
    /// Index of the entry after it and its content. While a container is open: the index of the
    /// container around it.
    pub(crate) next: u32,
    pub(crate) kind: Kind,
    /// The value is a string with escapes.
    pub(crate) escaped: bool,
    /// The value is a container whose content is not listed.
    pub(crate) unlisted: bool,
}

impl Entry {
    /// A value that does not exist.
    pub(crate) const NOTHING: Self = Self {
        start: 0,
        end: 0,
        next: 0,
        kind: Kind::Null,
        escaped: false,
        unlisted: false,
    };
}

/// The list of entries.
#[derive(Debug, Default, Clone)]
pub(crate) struct Index(Vec<Entry>);

thread_local! {
    /// The memory of the last list, reused for the next.
    static SPARE: RefCell<Vec<Entry>> = const { RefCell::new(Vec::new()) };
}

impl Index {
    /// An empty list, in reused memory if there is some.
    pub(crate) fn reused() -> Self {
        let spare = SPARE.try_with(|spare| std::mem::take(&mut *spare.borrow_mut()));
        Self(spare.unwrap_or_default())
    }

    #[inline]
    pub(crate) fn get(&self, at: u32) -> Entry {
        self.0.get(at as usize).copied().unwrap_or(Entry::NOTHING)
    }

    /// The id of the value at an index.
    #[inline]
    pub(crate) fn id(&self, at: u32) -> ValueId {
        ValueId {
            at,
            entry: self.get(at),
        }
    }

    /// Index of the entry after a value and its content; the list's length after the last value.
    #[inline]
    pub(crate) fn next(&self, at: u32) -> u32 {
        self.0.get(at as usize).map_or(u32::MAX, |entry| entry.next)
    }

    /// Index of the next entry to be pushed.
    #[inline]
    pub(crate) fn len(&self) -> u32 {
        // A list has at most `ROOM` entries.
        #[allow(clippy::cast_possible_truncation)]
        let len = self.0.len() as u32;
        len
    }

    /// Appends an entry; returns whether there was room.
    #[inline]
    pub(crate) fn push(&mut self, entry: Entry) -> bool {
        if self.0.len() == self.0.capacity() && !self.grow() {
            return false;
        }
        self.0.push(entry);
        true
    }

    /// Grows the list, up to the limit; returns whether there is room.
    #[cold]
    fn grow(&mut self) -> bool {
        let room = self.0.capacity();
        let wanted = (2 * room).clamp(FIRST_ROOM, ROOM);
        self.0.reserve_exact(wanted.saturating_sub(room));
        self.0.len() < ROOM
    }

    /// Removes every entry after `at`.
    pub(crate) fn truncate_behind(&mut self, at: u32) {
        self.0.truncate(at as usize + 1);
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, at: u32) -> Option<&mut Entry> {
        self.0.get_mut(at as usize)
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        let mut list = std::mem::take(&mut self.0);
        if list.capacity() == 0 {
            return;
        }
        list.clear();
        // While the thread is exiting, the spare may be gone.
        let _ = SPARE.try_with(|spare| {
            if let Ok(mut spare) = spare.try_borrow_mut() {
                *spare = list;
            }
        });
    }
}
