//! Iterates over the content of an unlisted container by scanning the validated text.

use crate::cursor::Cursor;
use crate::document::Document;
use crate::index::Entry;
use crate::scan;

/// Iterator over the values of a container; the names of members are included.
#[derive(Debug, Clone)]
pub(crate) struct Steps<'a>(Cursor<'a>);

impl<'a> Steps<'a> {
    pub(crate) fn into(document: &'a Document, container: Entry) -> Self {
        Self(Cursor::at(document.message(), container.start as usize + 1))
    }
}

impl Iterator for Steps<'_> {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        loop {
            match self.0.skip_whitespace()? {
                b',' | b':' => self.0.advance(1),
                b'}' | b']' => return None,
                _ => return scan::value(&mut self.0),
            }
        }
    }
}
