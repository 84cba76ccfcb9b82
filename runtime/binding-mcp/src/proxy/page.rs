//! A page of a merged list, made of the lists of toolkits.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tidegate_json::{Parts, write};

use super::cursor::{Cursor, key_hash, toolkit_hash};
use super::list_kind::ListKind;
use super::listed::Listed;
use super::listing::Listing;
use super::pins::Digest;

/// The list of a toolkit, as a part of a merged list.
#[derive(Debug, Clone)]
pub(super) struct Section<'a> {
    /// The toolkit, as an index into the routing.
    pub(super) upstream: usize,
    /// Its name.
    pub(super) toolkit: &'a str,
    /// `None`: it is missing.
    pub(super) listing: Option<&'a Arc<Listing>>,
}

/// The element at which the page begins no longer exists.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stale;

/// An element of a toolkit's list.
#[derive(Debug, Clone, Copy)]
pub(super) struct Element<'a> {
    /// The toolkit, as an index into the routing.
    pub(super) upstream: usize,
    /// Its name or URI at the toolkit.
    pub(super) key: &'a str,
    /// Its definition, if definitions are wanted.
    pub(super) definition: Option<&'a Digest>,
}

/// Whether an element is offered to the caller.
pub(super) type Offers<'a> = dyn Fn(Element<'_>) -> bool + 'a;

/// Makes the page of at most `size` elements that begins at a cursor. `offers` decides which elements
/// the caller sees; without it, it sees all.
pub(super) fn page(
    kind: ListKind,
    sections: &[Section<'_>],
    from: Option<Cursor>,
    size: usize,
    offers: Option<&Offers<'_>>,
) -> Result<Parts, Stale> {
    let (array, section, element) = match from {
        Some(cursor) => position(sections, &cursor, offers)?,
        None => (0, 0, 0),
    };
    let mut page = Page {
        kind,
        offers,
        left: size,
        next: None,
        arrays: kind.arrays().iter().map(|_| Parts::new()).collect(),
    };
    for index in array..kind.arrays().len() {
        let first = if index == array { section } else { 0 };
        for (place, section) in sections.iter().enumerate().skip(first) {
            let continued = index == array && place == first;
            let start = if continued { element } else { 0 };
            page.add(index, section, start);
        }
    }
    Ok(page.finish())
}

/// Array, section and element at which a page begins. If the toolkit is missing, it begins behind it.
/// An element that the caller does not see is as one that does not exist.
fn position(
    sections: &[Section<'_>],
    cursor: &Cursor,
    offers: Option<&Offers<'_>>,
) -> Result<(usize, usize, usize), Stale> {
    let upstream = usize::from(cursor.upstream);
    let place = sections.iter().position(|it| it.upstream == upstream);
    let place = place.ok_or(Stale)?;
    let section = sections.get(place).ok_or(Stale)?;
    if toolkit_hash(section.toolkit) != cursor.toolkit {
        return Err(Stale);
    }
    let array = usize::from(cursor.array);
    let Some(listing) = section.listing else {
        return Ok((array, place + 1, 0));
    };
    let elements = listing.arrays.get(array).ok_or(Stale)?;
    let is_next = |index: usize| {
        let key = elements.key(index);
        key.is_some_and(|key| {
            let element = Element {
                upstream,
                key,
                definition: listing.definition(array, index),
            };
            key_hash(key) == cursor.key && offers.is_none_or(|offers| offers(element))
        })
    };
    let noted = usize::try_from(cursor.element).unwrap_or(usize::MAX);
    let found = if is_next(noted) {
        Some(noted)
    } else {
        (0..elements.len()).find(|index| is_next(*index))
    };
    Ok((array, place, found.ok_or(Stale)?))
}

struct Page<'a> {
    kind: ListKind,
    offers: Option<&'a Offers<'a>>,
    /// Elements that may still be added.
    left: usize,
    next: Option<Cursor>,
    arrays: Vec<Parts>,
}

impl Page<'_> {
    /// Adds the elements of a section from `start` on.
    fn add(&mut self, array: usize, section: &Section<'_>, start: usize) {
        let Some(listing) = section.listing.filter(|_| self.next.is_none()) else {
            return;
        };
        let Some(listed) = listing.arrays.get(array) else {
            return;
        };
        // Neighbours that are added are one slice of the text.
        let mut run: Option<(usize, usize)> = None;
        for (index, key) in listed.keys().enumerate().skip(start) {
            let offers = self.offers;
            let element = || Element {
                upstream: section.upstream,
                key,
                definition: listing.definition(array, index),
            };
            if !offers.is_none_or(|offers| offers(element())) {
                self.push(array, listed, run.take());
                continue;
            }
            if self.left == 0 {
                self.next = Some(self.cursor(array, section, index, key));
                break;
            }
            self.left -= 1;
            run = Some((run.map_or(index, |(first, _)| first), index));
        }
        self.push(array, listed, run);
    }

    fn push(&mut self, array: usize, listed: &Listed, run: Option<(usize, usize)>) {
        let (Some((first, last)), Some(text)) = (run, self.arrays.get_mut(array)) else {
            return;
        };
        if !text.is_empty() {
            text.push(Bytes::from_static(b","));
        }
        text.push(listed.slice(first, last));
    }

    fn cursor(&self, array: usize, section: &Section<'_>, element: usize, key: &str) -> Cursor {
        Cursor {
            kind: self.kind,
            array: u8::try_from(array).unwrap_or(u8::MAX),
            upstream: u16::try_from(section.upstream).unwrap_or(u16::MAX),
            toolkit: toolkit_hash(section.toolkit),
            element: u32::try_from(element).unwrap_or(u32::MAX),
            key: key_hash(key),
        }
    }

    /// The result: `{"tools":[…],"nextCursor":"…"}`. An optional array is only there if it has elements.
    fn finish(self) -> Parts {
        let mut result = Parts::new();
        for (index, (array, elements)) in self.kind.arrays().iter().zip(self.arrays).enumerate() {
            if index > 0 && elements.is_empty() {
                continue;
            }
            let before = if index > 0 { "]," } else { "{" };
            result.push(Bytes::from(format!("{before}\"{}\":[", array.name)));
            elements.into_iter().for_each(|part| result.push(part));
        }
        match self.next {
            Some(next) => {
                let mut end = BytesMut::from(&b"],\"nextCursor\":"[..]);
                write::push_string(&mut end, &next.encode());
                end.extend_from_slice(b"}");
                result.push(end.freeze());
            }
            None => result.push(Bytes::from_static(b"]}")),
        }
        result
    }
}

#[cfg(test)]
mod tests;
