//! Records the values of a message during validation, and unlists containers when there are too
//! many.

use crate::cursor::Cursor;
use crate::error::Error;
use crate::index::{Entry, Index};
use crate::scan::{self, Open};
use crate::value::Kind;

/// What was read last in a container, before reading continues.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Behind {
    Value,
    /// A name; its colon follows.
    Name,
    /// The opening of a nested container.
    Opening(Kind),
}

/// Receives the values found in a text.
pub(crate) trait List {
    /// Number of containers already open when reading began.
    fn floor(&self) -> u32;

    /// Records a scalar or a name; returns whether there was room.
    fn leaf(&mut self, kind: Kind, escaped: bool, start: u32, end: u32) -> bool;

    /// A container opens; returns whether there was room.
    fn open(&mut self, kind: Kind, start: u32) -> bool;

    /// The innermost container closes.
    fn close(&mut self, end: u32);

    /// Called when there was no room: reads to the end of the innermost listed container and
    /// removes its content from the list.
    fn unlist(
        &mut self,
        cursor: &mut Cursor<'_>,
        open: &mut Open,
        behind: Behind,
    ) -> Result<(), Error>;
}

/// Records every value, while there is room.
pub(crate) struct Listing<'i> {
    index: &'i mut Index,
    /// Index of the innermost container; each container refers to the one around it.
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
        // A container that has just opened is not listed itself, but is inside the innermost listed
        // one.
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

/// Records nothing: the text is only validated.
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
