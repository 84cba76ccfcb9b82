//! Where the values of a message lie: written down while it is checked, so that nobody has to look
//! for a value's end again.
//!
//! One flat list in the order of the text, 16 bytes for each value and each name, and at most
//! [`ROOM`] of them whatever the message holds. A message that has more values does without some:
//! the innermost container in which the list comes to its end is *unlisted*, its own entry stays and
//! those of what is in it are taken back. What is in an unlisted container is found in the text.

use std::cell::RefCell;

use crate::document::ValueId;
use crate::value::Kind;

/// How many entries a list may have: 8 KiB.
pub(crate) const ROOM: usize = 512;
/// How many entries the memory of a new list has room for.
const FIRST_ROOM: usize = 32;

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
    /// A container of whose content nothing is in the list.
    pub(crate) unlisted: bool,
}

impl Entry {
    /// A value that is not there.
    pub(crate) const NOTHING: Self = Self {
        start: 0,
        end: 0,
        next: 0,
        kind: Kind::Null,
        escaped: false,
        unlisted: false,
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

    /// An entry with its place.
    #[inline]
    pub(crate) fn id(&self, at: u32) -> ValueId {
        ValueId {
            at,
            entry: self.get(at),
        }
    }

    /// The entry behind a value and all that is in it; the end of the list behind none.
    #[inline]
    pub(crate) fn next(&self, at: u32) -> u32 {
        self.0.get(at as usize).map_or(u32::MAX, |entry| entry.next)
    }

    /// Where the next entry will be.
    #[inline]
    pub(crate) fn len(&self) -> u32 {
        // A list has at most `ROOM` entries.
        #[allow(clippy::cast_possible_truncation)]
        let len = self.0.len() as u32;
        len
    }

    /// Appends an entry; whether there was room for it.
    #[inline]
    pub(crate) fn push(&mut self, entry: Entry) -> bool {
        if self.0.len() == self.0.capacity() && !self.grow() {
            return false;
        }
        self.0.push(entry);
        true
    }

    /// Makes room for more entries, up to the limit.
    #[cold]
    fn grow(&mut self) -> bool {
        let room = self.0.capacity();
        let wanted = (2 * room).clamp(FIRST_ROOM, ROOM);
        self.0.reserve_exact(wanted.saturating_sub(room));
        self.0.len() < ROOM
    }

    /// Takes back every entry behind this one.
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
        // Where the thread is about to end there is nothing to keep it for.
        let _ = SPARE.try_with(|spare| {
            if let Ok(mut spare) = spare.try_borrow_mut() {
                *spare = list;
            }
        });
    }
}
