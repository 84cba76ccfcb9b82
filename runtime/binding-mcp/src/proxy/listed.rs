//! The elements of a list in little memory: one text for all, one for their names, and eight bytes for
//! each. A toolkit may list many tiny elements, and lists are kept.

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;

/// An array of a toolkit's list.
#[derive(Debug, Default)]
pub(super) struct Listed {
    /// The elements, separated by commas, without the brackets.
    text: Bytes,
    /// Their names or URIs at the toolkit, one behind the other.
    keys: ByteString,
    ends: Vec<End>,
}

/// Where an element ends. It begins where the one before it ends; in the text, behind the comma.
#[derive(Debug, Clone, Copy)]
struct End {
    text: u32,
    key: u32,
}

impl Listed {
    /// Number of elements.
    pub(super) const fn len(&self) -> usize {
        self.ends.len()
    }

    /// The name or URI of an element at the toolkit.
    pub(super) fn key(&self, index: usize) -> Option<&str> {
        let end = self.ends.get(index)?.key;
        let start = self.before(index).map_or(0, |end| end.key);
        self.keys.get(start as usize..end as usize)
    }

    /// The names or URIs of all elements.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).filter_map(|index| self.key(index))
    }

    /// The text of neighbours, from the first to the last.
    pub(super) fn slice(&self, first: usize, last: usize) -> Bytes {
        let start = self.before(first).map_or(0, |end| end.text as usize + 1);
        let end = self.ends.get(last).map_or(0, |end| end.text as usize);
        if start > end || end > self.text.len() {
            debug_assert!(false, "not neighbours of the list");
            return Bytes::new();
        }
        self.text.slice(start..end)
    }

    fn before(&self, index: usize) -> Option<&End> {
        self.ends.get(index.checked_sub(1)?)
    }

    /// The memory that it takes, in bytes.
    pub(super) fn size(&self) -> usize {
        self.text.len() + self.keys.len() + self.ends.len() * size_of::<End>()
    }
}

/// Collects elements.
#[derive(Debug, Default)]
pub(super) struct Elements {
    text: BytesMut,
    keys: String,
    ends: Vec<End>,
}

impl Elements {
    /// The next page has so many elements, with a text of so many bytes.
    pub(super) fn reserve(&mut self, count: usize, text: usize) {
        self.ends.reserve(count);
        self.text.reserve(text);
    }

    /// Where the text of the next element is appended.
    pub(super) fn begin(&mut self) -> &mut BytesMut {
        if !self.ends.is_empty() {
            self.text.extend_from_slice(b",");
        }
        &mut self.text
    }

    /// The element has this name. Fails if there is no room for it.
    pub(super) fn end(&mut self, key: &str) -> Result<(), &'static str> {
        const TOO_LARGE: &str = "list larger than 4 GiB";
        self.keys.push_str(key);
        self.ends.push(End {
            text: u32::try_from(self.text.len()).map_err(|_| TOO_LARGE)?,
            key: u32::try_from(self.keys.len()).map_err(|_| TOO_LARGE)?,
        });
        Ok(())
    }

    /// The list. Buffers that have grown beyond their content are copied, since the list may be kept.
    pub(super) fn finish(mut self) -> Listed {
        self.ends.shrink_to_fit();
        self.keys.shrink_to_fit();
        let text = if self.text.capacity() > self.text.len() + self.text.len() / 4 {
            Bytes::copy_from_slice(&self.text)
        } else {
            self.text.freeze()
        };
        Listed {
            text,
            keys: self.keys.into(),
            ends: self.ends,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_found_by_their_place() {
        let mut elements = Elements::default();
        for (key, text) in [("a", "{1}"), ("", "{}"), ("bc", "{\"\"}")] {
            elements.begin().extend_from_slice(text.as_bytes());
            elements.end(key).expect("room");
        }
        let listed = elements.finish();
        assert_eq!(listed.keys().collect::<Vec<_>>(), ["a", "", "bc"]);
        assert_eq!(listed.key(3), None);
        assert_eq!(listed.slice(0, 2), "{1},{},{\"\"}");
        assert_eq!(listed.slice(1, 1), "{}");
        assert_eq!(listed.size(), 11 + 3 + 24);
    }
}
