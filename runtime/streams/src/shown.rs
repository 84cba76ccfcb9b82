//! Texts of callers and peers in sentences of ours.

use std::borrow::Cow;

/// A text as a message shows it: not longer than a line, since it may be as long as a body.
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
