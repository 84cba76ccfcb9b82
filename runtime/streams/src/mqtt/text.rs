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
    // Nearly every text.
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
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
