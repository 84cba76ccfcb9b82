//! Text that a caller sees, from a source that may be hostile.

use std::fmt;

/// Most characters of a text.
const CHARACTERS_MAX: usize = 256;

/// A name or a description: at most 256 characters on one line, without control characters.
///
/// Texts that a device declares about itself reach language models and terminals, so characters that
/// move a cursor, change the direction of writing or hide text are removed.
///
/// ```
/// use tidegate_device::Text;
///
/// assert_eq!(Text::new("Lamp\u{1b}[31m\nat the door").as_str(), "Lamp[31m at the door");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Text(Box<str>);

impl Text {
    /// Takes `text`, without what does not belong into a text.
    pub fn new(text: &str) -> Self {
        let mut clean = String::new();
        let mut space = false;
        let mut kept = 0;
        for character in text.trim().chars() {
            if character.is_whitespace() {
                space = true;
                continue;
            }
            if character.is_control() || is_invisible(character) {
                continue;
            }
            if kept + usize::from(space) >= CHARACTERS_MAX {
                break;
            }
            if space {
                clean.push(' ');
                kept += 1;
                space = false;
            }
            clean.push(character);
            kept += 1;
        }
        Self(clean.into())
    }

    /// Whether `text` can be shown as it is: no character of it would be removed. The length is not checked.
    ///
    /// For texts that must stay what they are, such as a payload that is shown to a caller.
    pub fn is_visible(text: &str) -> bool {
        !text.chars().any(|it| it.is_control() || is_invisible(it))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Zero-width characters, bidirectional controls, tags and private use: a reader does not see them, a
/// model does.
const fn is_invisible(character: char) -> bool {
    matches!(character,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        | '\u{e000}'..='\u{f8ff}' | '\u{e0000}'..='\u{10ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_one_line_of_bounded_length() {
        assert_eq!(Text::new("  a \t\r\n b  ").as_str(), "a b");
        assert_eq!(Text::new(&"é".repeat(300)).as_str(), "é".repeat(256));
        assert_eq!(Text::new(&"a ".repeat(300)).as_str().chars().count(), 255);
    }

    #[test]
    fn invisible_characters_are_removed() {
        assert_eq!(
            Text::new("a\u{202e}b\u{200b}c\u{e0041}d\u{0}").as_str(),
            "abcd"
        );
    }
}
