//! Texts of others in sentences of ours.

use std::borrow::Cow;

/// A text as an error shows it: not longer than a line, since it may be as long as a body.
pub(crate) fn shown(text: &str) -> Cow<'_, str> {
    const CHARACTERS: usize = 100;
    match text.char_indices().nth(CHARACTERS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()).into(),
        None => text.into(),
    }
}
