//! The characters allowed in MQTT strings (MQTT 5.0, 1.5.4).
//!
//! A string must not contain U+0000, and should not contain other control characters or
//! noncharacters. A receiver may close the connection for any of them, and brokers do. Surrogates,
//! which are also forbidden, cannot occur in Rust strings.

use std::fmt;

use thiserror::Error;

/// A character that is not allowed in MQTT strings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub struct ForbiddenCharacter {
    /// The character.
    pub character: char,
    /// Position in the text, in characters from 1.
    pub position: usize,
}

impl fmt::Display for ForbiddenCharacter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (code, position) = (u32::from(self.character), self.position);
        write!(
            f,
            "U+{code:04X} at character {position}; MQTT allows no control characters (U+0000 to \
             U+001F, U+007F to U+009F) and no noncharacters"
        )
    }
}

/// Checks that `text` contains only allowed characters. Does not check its length.
pub fn check_characters(text: &str) -> Result<(), ForbiddenCharacter> {
    if is_printable_ascii(text, false) {
        return Ok(());
    }
    let mut characters = text.chars().zip(1..);
    match characters.find(|(character, _)| is_forbidden(*character)) {
        Some((character, position)) => Err(ForbiddenCharacter {
            character,
            position,
        }),
        None => Ok(()),
    }
}

const fn is_forbidden(character: char) -> bool {
    character.is_ascii_control()
        || matches!(character, '\u{80}'..='\u{9f}' | '\u{fdd0}'..='\u{fdef}')
        || (character as u32) & 0xfffe == 0xfffe
}

/// Whether every character is in U+0020 to U+007E and, with `no_wildcards`, neither `+` nor `#`.
///
/// This is the fast path for every published topic; it checks eight bytes at a time.
pub(super) fn is_printable_ascii(text: &str, no_wildcards: bool) -> bool {
    let bytes = text.as_bytes();
    let (words, rest) = bytes.as_chunks::<8>();
    let mut unusual = 0;
    for word in words {
        unusual |= unusual_bytes(u64::from_le_bytes(*word), no_wildcards);
    }
    unusual == 0
        && rest.iter().all(|byte| {
            matches!(byte, b' '..=b'~') && !(no_wildcards && matches!(byte, b'+' | b'#'))
        })
}

/// Non-zero exactly if one of the eight bytes is outside 0x20 to 0x7E or, with `no_wildcards`, is
/// `+` or `#`.
///
/// The high bit of each byte is the marker. A carry or borrow only comes out of a byte that is
/// itself marked, so it can mark a wrong neighbour, but never a word without a match.
const fn unusual_bytes(word: u64, no_wildcards: bool) -> u64 {
    const fn each(byte: u8) -> u64 {
        u64::from_le_bytes([byte; 8])
    }
    let controls = word.wrapping_sub(each(0x20)) | word.wrapping_add(each(0x01));
    // '#' equals '+' with the bit 0x08 cleared.
    let off_wildcard = (word | each(0x08)) ^ each(b'+');
    let wildcard = if no_wildcards {
        off_wildcard.wrapping_sub(each(0x01))
    } else {
        0
    };
    (word | controls | wildcard) & each(0x80)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The rule as listed in the specification.
    fn is_listed(character: char) -> bool {
        let code = u32::from(character);
        let noncharacter =
            (0..=0x10).any(|plane| code == plane << 16 | 0xfffe || code == plane << 16 | 0xffff);
        code <= 0x1f
            || (0x7f..=0x9f).contains(&code)
            || (0xfdd0..=0xfdef).contains(&code)
            || noncharacter
    }

    #[test]
    fn every_character_is_checked_against_the_specification() {
        for character in '\0'..=char::MAX {
            let text = format!("ab{character}");
            let expected = if is_listed(character) {
                Err(ForbiddenCharacter {
                    character,
                    position: 3,
                })
            } else {
                Ok(())
            };
            assert_eq!(
                check_characters(&text),
                expected,
                "U+{:04X}",
                u32::from(character)
            );
        }
    }

    #[test]
    fn a_forbidden_character_is_reported_with_its_position() {
        let error = check_characters("ök/\u{85}").expect_err("NEL");
        assert!(
            error.to_string().starts_with("U+0085 at character 4; "),
            "{error}"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        // Independent of the neighbouring bytes and the position in the word.
        #[test]
        fn word_and_byte_checks_agree(bytes in proptest::collection::vec(0u8..0x80, 0..40)) {
            let text = String::from_utf8(bytes).expect("ASCII");
            let printable = |byte: u8| matches!(byte, b' '..=b'~');
            prop_assert_eq!(is_printable_ascii(&text, false), text.bytes().all(printable));
            let plain = |byte: u8| printable(byte) && byte != b'+' && byte != b'#';
            prop_assert_eq!(is_printable_ascii(&text, true), text.bytes().all(plain));
        }

        #[test]
        fn the_first_forbidden_character_is_found(
            text in "[ -~/äößµ→\u{0}\u{1}\u{7f}\u{9f}\u{a0}\u{fdd0}\u{fffe}\u{1ffff}\u{10ffff}]{0,40}",
        ) {
            let first = text.chars().position(is_listed);
            let found = check_characters(&text).err();
            prop_assert_eq!(found.map(|found| found.position), first.map(|index| index + 1));
            prop_assert_eq!(found.map(|found| found.character), first.and_then(|at| text.chars().nth(at)));
        }
    }
}
