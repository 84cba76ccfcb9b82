//! Writes the list of a message's values while its text is checked, and does without some where there
//! are too many.

use crate::cursor::Cursor;
use crate::error::Error;
use crate::index::{Entry, Index};
use crate::scan::{self, Open};
use crate::value::Kind;

/// Behind what in a container the text is to be read on.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Behind {
    Value,
    /// A name whose colon follows.
    Name,
    /// The opening of a container in it.
    Opening(Kind),
}

/// What is written down of a text.
pub(crate) trait List {
    /// How many containers are open around what is read.
    fn floor(&self) -> u32;

    /// A value or a name that has nothing in it; whether there was room for it.
    fn leaf(&mut self, kind: Kind, escaped: bool, start: u32, end: u32) -> bool;

    /// A container opens; whether there was room for it.
    fn open(&mut self, kind: Kind, start: u32) -> bool;

    /// The innermost container closes.
    fn close(&mut self, end: u32);

    /// There was no room: reads on to the end of the innermost container in the list, of whose
    /// content nothing stays there.
    fn unlist(
        &mut self,
        cursor: &mut Cursor<'_>,
        open: &mut Open,
        behind: Behind,
    ) -> Result<(), Error>;
}

/// Everything, as long as there is room.
pub(crate) struct Listing<'i> {
    index: &'i mut Index,
    /// The entry of the innermost container; each names the one that it is in.
    innermost: u32,
}

impl<'i> Listing<'i> {
    pub(crate) const fn new(index: &'i mut Index) -> Self {
        Self {
            index,
            innermost: 0,
        }
    }
}

impl List for Listing<'_> {
    #[inline]
    fn floor(&self) -> u32 {
        0
    }

    #[inline]
    fn leaf(&mut self, kind: Kind, escaped: bool, start: u32, end: u32) -> bool {
        let next = self.index.len() + 1;
        self.index.push(Entry {
            start,
            end,
            next,
            kind,
            escaped,
            unlisted: false,
        })
    }

    #[inline]
    fn open(&mut self, kind: Kind, start: u32) -> bool {
        let entry = self.index.len();
        let pushed = self.index.push(Entry {
            start,
            end: start,
            next: self.innermost,
            kind,
            escaped: false,
            unlisted: false,
        });
        if pushed {
            self.innermost = entry;
        }
        pushed
    }

    #[inline]
    fn close(&mut self, end: u32) {
        let next = self.index.len();
        if let Some(entry) = self.index.get_mut(self.innermost) {
            self.innermost = std::mem::replace(&mut entry.next, next);
            entry.end = end;
        }
    }

    #[cold]
    fn unlist(
        &mut self,
        cursor: &mut Cursor<'_>,
        open: &mut Open,
        behind: Behind,
    ) -> Result<(), Error> {
        // One that has just opened is in the innermost of the list, and not in the list.
        let beyond = u32::from(matches!(behind, Behind::Opening(_)));
        let mut rest = Unlisted {
            floor: open.depth.saturating_sub(beyond + 1),
        };
        self.index.truncate_behind(self.innermost);
        if let Some(entry) = self.index.get_mut(self.innermost) {
            entry.unlisted = true;
        }
        scan::go_on(cursor, open, &mut rest, behind)?;
        self.close(scan::position(cursor));
        Ok(())
    }
}

/// Nothing: the text is only checked.
struct Unlisted {
    floor: u32,
}

impl List for Unlisted {
    #[inline]
    fn floor(&self) -> u32 {
        self.floor
    }

    #[inline]
    fn leaf(&mut self, _: Kind, _: bool, _: u32, _: u32) -> bool {
        true
    }

    #[inline]
    fn open(&mut self, _: Kind, _: u32) -> bool {
        true
    }

    #[inline]
    fn close(&mut self, _: u32) {}

    fn unlist(&mut self, _: &mut Cursor<'_>, _: &mut Open, _: Behind) -> Result<(), Error> {
        Ok(())
    }
}
