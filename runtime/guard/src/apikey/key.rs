//! The form of a key: `tg_<id>_<secret><checksum>`.
//!
//! - `id`, 8 characters of `a-z0-9`: public, and the same as `id` beside the hash in the config, so
//!   that a key is verified against one hash;
//! - `secret`, 32 characters of `A-Za-z0-9`: 190 bits from the system's random source;
//! - `checksum`, 6 characters: CRC-32 of what is before it, in base 62. A typing error is noticed
//!   without a verification, and a scanner for secrets can tell a key from other text. It protects
//!   nothing: anyone can compute it.
//!
//! Scanners find keys with `tg_[a-z0-9]{8}_[A-Za-z0-9]{38}`.

use std::fmt;

use thiserror::Error;

const PREFIX: &str = "tg_";
const ID: usize = 8;
const SECRET: usize = 32;
const CHECKSUM: usize = 6;
const BASE62: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const BASE36: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";

/// A key of our own form.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    text: String,
}

/// A text that is not a key of our own form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum KeyError {
    /// It has another form; it may be a key that was made elsewhere.
    #[error("not a tidegate key")]
    NotOurs,
    /// It has the form, and its checksum is wrong.
    #[error("wrong checksum")]
    Checksum,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({PREFIX}{}_…)", self.id())
    }
}

impl Key {
    /// Random bytes that [`Key::generate`] asks for.
    pub const RANDOM: usize = 64;

    /// A new key. `random` fills a buffer with random bytes, and is asked again for as long as there
    /// are too few that can be used without bias.
    pub fn generate<E>(mut random: impl FnMut(&mut [u8]) -> Result<(), E>) -> Result<Self, E> {
        let mut text = String::from(PREFIX);
        let mut push = |text: &mut String, count: usize, alphabet: &[u8]| -> Result<(), E> {
            let mut left = count;
            while left > 0 {
                let mut bytes = [0; Self::RANDOM];
                random(&mut bytes)?;
                // Reject what would favour the first letters.
                let fair = 256 - 256 % alphabet.len();
                let fair = bytes
                    .iter()
                    .map(|byte| usize::from(*byte))
                    .filter(|it| *it < fair);
                for letter in fair.take(left) {
                    if let Some(letter) = alphabet.get(letter % alphabet.len()) {
                        text.push(char::from(*letter));
                        left -= 1;
                    }
                }
            }
            Ok(())
        };
        push(&mut text, ID, BASE36)?;
        text.push('_');
        push(&mut text, SECRET, BASE62)?;
        let checksum = checksum(&text);
        text.push_str(&checksum);
        Ok(Self { text })
    }

    /// Reads a presented key.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let own = text.strip_prefix(PREFIX).ok_or(KeyError::NotOurs)?;
        let (id, secret) = own.split_once('_').ok_or(KeyError::NotOurs)?;
        let alphanumeric = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !is_id(id) || secret.len() != SECRET + CHECKSUM || !alphanumeric(secret) {
            return Err(KeyError::NotOurs);
        }
        let (before, found) = text
            .split_at_checked(text.len() - CHECKSUM)
            .ok_or(KeyError::NotOurs)?;
        if checksum(before) != found {
            return Err(KeyError::Checksum);
        }
        Ok(Self {
            text: text.to_owned(),
        })
    }

    /// The public id.
    pub fn id(&self) -> &str {
        let id = self.text.get(PREFIX.len()..PREFIX.len() + ID);
        id.unwrap_or_default()
    }

    /// The key itself, which is a secret.
    pub fn secret(&self) -> &str {
        &self.text
    }
}

/// Whether a text is the id of a key.
pub(crate) fn is_id(text: &str) -> bool {
    let lower = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.len() == ID && text.bytes().all(lower)
}

/// CRC-32 (ISO 3309) in base 62, most significant digit first.
pub(super) fn checksum(text: &str) -> String {
    let mut crc = u32::MAX;
    for byte in text.bytes() {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0xEDB8_8320
            } else {
                crc >> 1
            };
        }
    }
    let mut rest = u64::from(!crc);
    let mut digits = [b'A'; CHECKSUM];
    for digit in digits.iter_mut().rev() {
        let at = usize::try_from(rest % 62).unwrap_or_default();
        *digit = BASE62.get(at).copied().unwrap_or(b'A');
        rest /= 62;
    }
    digits.iter().map(|digit| char::from(*digit)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counting(mut next: u8) -> impl FnMut(&mut [u8]) -> Result<(), ()> {
        move |bytes| {
            for byte in bytes {
                *byte = next;
                next = next.wrapping_add(37);
            }
            Ok(())
        }
    }

    #[test]
    fn a_generated_key_is_read_again_and_has_an_id() {
        let key = Key::generate(counting(0)).expect("random bytes");
        assert_eq!(key.secret().len(), 3 + ID + 1 + SECRET + CHECKSUM);
        assert_eq!(Key::parse(key.secret()), Ok(key.clone()));
        assert!(is_id(key.id()));
        let other = Key::generate(counting(1)).expect("random bytes");
        assert_ne!(key, other);
        assert!(!format!("{key:?}").contains(&key.secret()[12..]), "{key:?}");
    }

    #[test]
    fn every_wrong_letter_is_noticed() {
        let key = Key::generate(counting(9)).expect("random bytes");
        let secret = key.secret();
        for at in 12..secret.len() {
            let letter = if &secret[at..=at] == "x" { "y" } else { "x" };
            let wrong = format!("{}{letter}{}", &secret[..at], &secret[at + 1..]);
            assert_eq!(Key::parse(&wrong), Err(KeyError::Checksum), "{at}");
        }
    }

    #[test]
    fn keys_of_other_forms_are_not_ours() {
        for text in [
            "",
            "tg_",
            "tg_short_x",
            "test-key-0000",
            "tg_ABCDEFGH_",
            "tg_abcdefgh",
        ] {
            assert_eq!(Key::parse(text), Err(KeyError::NotOurs), "{text}");
        }
    }

    // The check value of CRC-32 is 0xCBF43926 for "123456789".
    #[test]
    fn the_checksum_is_crc_32() {
        let value = checksum("123456789").bytes().fold(0_u64, |value, digit| {
            let at = BASE62.iter().position(|letter| *letter == digit);
            value * 62 + at.expect("a digit") as u64
        });
        assert_eq!(value, 0xCBF4_3926);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(tg_)?[a-z0-9é_]{0,60}") {
            if let Ok(key) = Key::parse(&text) {
                prop_assert_eq!(key.secret(), text);
            }
        }
    }
}
