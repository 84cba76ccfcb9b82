//! Shortens texts from clients and peers for use in messages.

use std::borrow::Cow;

/// The text, cut after 100 characters: it may be as long as a whole body.
pub fn shown(text: &str) -> Cow<'_, str> {
    const CHARACTERS: usize = 100;
    match text.char_indices().nth(CHARACTERS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()).into(),
        None => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let line = "ä".repeat(100);
        assert_eq!(shown(&line), line);
        assert_eq!(shown(&format!("{line}ä")), format!("{line}…"));
    }
}
