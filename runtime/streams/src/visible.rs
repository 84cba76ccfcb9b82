//! Texts from clients and peers, made safe to print: a log line must not end early, change the
//! colours of a terminal, or show its characters in another order.

use std::fmt::{self, Write as _};

/// Whether a character is a control character, ends a line, changes the direction of text, or is
/// invisible.
pub fn is_deceptive(character: char) -> bool {
    matches!(
        character,
        '\u{0}'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{ad}'
            | '\u{61c}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

/// Formats a value with deceptive characters as `\u{…}`.
///
/// ```
/// use tidegate_streams::Visible;
/// assert_eq!(Visible("a\n\u{1b}[31m\u{202e}b").to_string(), r"a\n\u{1b}[31m\u{202e}b");
/// ```
pub struct Visible<T>(pub T);

impl<T: fmt::Display> fmt::Display for Visible<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

struct Escaping<'a, 'f>(&'a mut fmt::Formatter<'f>);

impl fmt::Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some((place, each)) = rest.char_indices().find(|(_, each)| is_deceptive(*each)) {
            let (before, behind) = rest.split_at(place);
            self.0.write_str(before)?;
            match each {
                '\n' => self.0.write_str("\\n")?,
                '\r' => self.0.write_str("\\r")?,
                '\t' => self.0.write_str("\\t")?,
                each => write!(self.0, "{}", each.escape_unicode())?,
            }
            rest = behind.get(each.len_utf8()..).unwrap_or_default();
        }
        self.0.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_text_stays_as_it_is() {
        for text in ["", "größe 温度 ✓", "a\\n\"b\""] {
            assert_eq!(Visible(text).to_string(), text);
        }
    }

    #[test]
    fn what_hides_or_reorders_is_shown() {
        let text = "\u{0}\u{7f}\u{9b}\u{2028}\u{2066}\u{feff}\u{e0041}x\r\t";
        assert_eq!(
            Visible(text).to_string(),
            r"\u{0}\u{7f}\u{9b}\u{2028}\u{2066}\u{feff}\u{e0041}x\r\t"
        );
    }
}
