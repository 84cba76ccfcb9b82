//! Names of tools that would be longer than clients accept.
//!
//! Many clients refuse a tool whose name has more than 64 characters. A name that becomes longer by its
//! prefix is cut, and ends with a hash of the tool's name at the toolkit, so that it is the same on every
//! worker and after every restart. The hash cannot be reversed: a call by such a name is matched with the
//! toolkit's list.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// Digits of the hash: 40 bits, so that two of a thousand tools with the same beginning have the same
/// name once in two million federations.
const DIGITS: usize = 10;
/// The most bytes that a cut between characters leaves unused.
const UNUSED_MAX: usize = 3;

/// The name of a tool with its prefix, if it has to be shortened to `max` bytes.
pub(super) fn shortened(prefix: &str, name: &str, max: usize) -> Option<String> {
    if prefix.is_empty() || prefix.len() + name.len() <= max {
        return None;
    }
    let mut end = max
        .saturating_sub(prefix.len() + 1 + DIGITS)
        .min(name.len());
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    let beginning = name.get(..end).unwrap_or_default();
    let mut short = format!("{prefix}{beginning}_");
    let digest = Sha256::new().chain_update(name).finalize();
    for byte in digest.iter().take(DIGITS / 2) {
        // Writing to a text does not fail.
        let _ = write!(short, "{byte:02x}");
    }
    Some(short)
}

/// Whether a name may be a shortened one.
pub(super) fn may_be_shortened(name: &str, max: usize) -> bool {
    if name.len() + UNUSED_MAX < max {
        return false;
    }
    let Some((_, hash)) = name.rsplit_once('_') else {
        return false;
    };
    let is_digit = |each: u8| each.is_ascii_digit() || (b'a'..=b'f').contains(&each);
    hash.len() == DIGITS && hash.bytes().all(is_digit)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_a_long_name_with_a_prefix_is_shortened() {
        let name = "n".repeat(58);
        assert_eq!(shortened("abcd__", &name, 64), None);
        let short = shortened("abcde__", &name, 64).expect("65 bytes");
        assert_eq!(short, format!("abcde__{}_f35e6e58d5", "n".repeat(46)));
        assert_eq!(shortened("", &"n".repeat(100), 64), None);
    }

    proptest! {
        #[test]
        fn a_shortened_name_fits_and_is_recognised(
            toolkit in "[a-z][a-z0-9-]{0,39}",
            name in "\\PC{1,200}",
        ) {
            let prefix = format!("{toolkit}__");
            if let Some(short) = shortened(&prefix, &name, 64) {
                prop_assert!(short.len() <= 64 && short.starts_with(&prefix));
                prop_assert!(may_be_shortened(&short, 64));
                let other = shortened(&prefix, &format!("{name}x"), 64);
                prop_assert_ne!(Some(short), other);
            }
        }
    }
}
