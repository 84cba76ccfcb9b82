//! The cursor of a page of a merged list.
//!
//! It names the next element: its toolkit, its position there, and a hash of its name, which finds it
//! again if the toolkit's list has changed. It holds nothing else, so that every worker and a restarted
//! gateway can continue a list. It grants nothing: what a page contains is decided for its caller. A
//! checksum distinguishes it from a cursor of another server.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytestring::ByteString;
use sha2::{Digest as _, Sha256};

use super::list_kind::ListKind;

/// Where the next page begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) kind: ListKind,
    /// Index of the array of the result.
    pub(super) array: u8,
    /// Index of the toolkit in the routing.
    pub(super) upstream: u16,
    /// Of the toolkit's name.
    pub(super) toolkit: u32,
    /// Where the element was in the toolkit's list.
    pub(super) element: u32,
    /// Of the element's name or URI.
    pub(super) key: u64,
}

const VERSION: u8 = 1;
const LENGTH: usize = 25;

/// The first bytes of a text's SHA-256.
fn hash<const N: usize>(domain: &str, text: &[u8]) -> [u8; N] {
    let digest = Sha256::new().chain_update(domain).chain_update(text);
    let digest = digest.finalize();
    let mut first = [0; N];
    first
        .iter_mut()
        .zip(digest)
        .for_each(|(to, from)| *to = from);
    first
}

/// The hash of a name or URI.
pub(super) fn key_hash(key: &str) -> u64 {
    u64::from_be_bytes(hash("tidegate list element ", key.as_bytes()))
}

/// The hash of a toolkit's name.
pub(super) fn toolkit_hash(toolkit: &str) -> u32 {
    u32::from_be_bytes(hash("tidegate toolkit ", toolkit.as_bytes()))
}

fn checksum(content: &[u8]) -> [u8; 4] {
    hash("tidegate list cursor ", content)
}

impl Cursor {
    /// The text for the client.
    pub(super) fn encode(&self) -> ByteString {
        let mut bytes = Vec::with_capacity(LENGTH);
        bytes.extend([VERSION, self.kind.number(), self.array]);
        bytes.extend(self.upstream.to_be_bytes());
        bytes.extend(self.toolkit.to_be_bytes());
        bytes.extend(self.element.to_be_bytes());
        bytes.extend(self.key.to_be_bytes());
        let checksum = checksum(&bytes);
        bytes.extend(checksum);
        URL_SAFE_NO_PAD.encode(bytes).into()
    }

    /// Reads a cursor of this list; `None` if it is not one.
    pub(super) fn decode(text: &str, kind: ListKind) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let bytes: [u8; LENGTH] = bytes.try_into().ok()?;
        let (content, sum) = bytes.split_last_chunk::<4>()?;
        if checksum(content) != *sum {
            return None;
        }
        let (&[version, number, array], rest) = content.split_first_chunk()?;
        let (upstream, rest) = rest.split_first_chunk()?;
        let (toolkit, rest) = rest.split_first_chunk()?;
        let (element, rest) = rest.split_first_chunk()?;
        let key = rest.first_chunk()?;
        if version != VERSION || number != kind.number() {
            return None;
        }
        Some(Self {
            kind,
            array,
            upstream: u16::from_be_bytes(*upstream),
            toolkit: u32::from_be_bytes(*toolkit),
            element: u32::from_be_bytes(*element),
            key: u64::from_be_bytes(*key),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cursor() -> Cursor {
        Cursor {
            kind: ListKind::Tools,
            array: 0,
            upstream: 3,
            toolkit: toolkit_hash("plant"),
            element: 500,
            key: key_hash("publish"),
        }
    }

    #[test]
    fn a_cursor_is_the_same_on_every_worker_and_after_a_restart() {
        let text = cursor().encode();
        assert_eq!(text, cursor().encode());
        assert_eq!(Cursor::decode(&text, ListKind::Tools), Some(cursor()));
        assert_eq!(Cursor::decode(&text, ListKind::Prompts), None);
    }

    proptest! {
        #[test]
        fn what_the_proxy_has_not_written_is_refused(text in ".*", place in 0_usize..33, other in "[A-Za-z0-9_-]") {
            prop_assert_eq!(Cursor::decode(&text, ListKind::Tools), None);
            let genuine = cursor().encode().to_string();
            let mut forged = genuine.clone();
            forged.replace_range(place..=place, &other);
            // The last character holds a few bits only, which must be zero.
            if forged != genuine {
                prop_assert_eq!(Cursor::decode(&forged, ListKind::Tools), None);
            }
        }
    }
}
