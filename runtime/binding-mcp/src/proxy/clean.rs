//! Texts of toolkits that are shown to models and people: invisible characters are removed.
//!
//! A text can contain instructions that a person who reads it does not see: characters without width,
//! tags, and characters that change the direction of the text. They are removed from each `title` and
//! `description` of an element, at any depth; nothing else is changed.

use bytes::BytesMut;
use tidegate_json::{Kind, Value, write};
use tidegate_streams::is_deceptive;

use super::edit::Edit;

/// Whether a character is removed. Line breaks and tabs are visible in a text.
fn is_removed(character: char) -> bool {
    !matches!(character, '\n' | '\r' | '\t') && is_deceptive(character)
}

/// The changes that remove such characters.
pub(super) fn edits(element: Value<'_>) -> Vec<Edit> {
    let mut edits = Vec::new();
    if may_have_some(element) {
        visit(element, &mut edits);
    }
    edits
}

/// Whether the text of an element has a character beyond ASCII, a control character or an escape that
/// may stand for one.
fn may_have_some(element: Value<'_>) -> bool {
    element.parts().iter().any(|part| {
        part.iter()
            .any(|byte| !byte.is_ascii() || *byte == b'\\' || *byte == 0x7f)
    })
}

fn visit(value: Value<'_>, edits: &mut Vec<Edit>) {
    match value.kind() {
        Kind::Object => {
            for (key, member) in value.members() {
                if key.is("description") || key.is("title") {
                    edits.extend(edit(member));
                }
                visit(member, edits);
            }
        }
        Kind::Array => value.elements().for_each(|element| visit(element, edits)),
        _ => {}
    }
}

fn edit(text: Value<'_>) -> Option<Edit> {
    let shown = text.text()?;
    if !shown.contains(is_removed) {
        return None;
    }
    let clean: String = shown.chars().filter(|each| !is_removed(*each)).collect();
    let mut quoted = BytesMut::new();
    write::push_string(&mut quoted, &clean);
    Some(Edit {
        at: text.range(),
        with: quoted.freeze(),
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tidegate_json::{Document, Limits};

    use super::*;
    use crate::proxy::edit;

    fn cleaned(element: &str) -> (String, usize) {
        let text = Bytes::copy_from_slice(element.as_bytes());
        let document = Document::parse(text.into(), Limits::default()).expect("JSON");
        let edits = edits(document.root());
        let mut out = BytesMut::new();
        edit::write(
            document.message(),
            document.root().range(),
            &edits,
            &mut out,
        );
        (String::from_utf8(out.to_vec()).expect("text"), edits.len())
    }

    #[test]
    fn invisible_characters_are_removed_from_descriptions_at_any_depth() {
        let element = "{\"name\":\"a\",\"description\":\"De\u{200b}lete\u{e0041} \\u202eall\\n\",\"inputSchema\":{\"properties\":{\"description\":{\"description\":\"\\u0007x\",\"enum\":[\"\u{200b}\"]}}}}";
        let expected = "{\"name\":\"a\",\"description\":\"Delete all\\n\",\"inputSchema\":{\"properties\":{\"description\":{\"description\":\"x\",\"enum\":[\"\u{200b}\"]}}}}";
        assert_eq!(cleaned(element), (expected.to_owned(), 2));
    }

    #[test]
    fn an_ordinary_text_stays_as_it_is() {
        let element = "{ \"title\" : \"Gr\\u00f6\u{df}e \u{1f600}\\t\u{fe0f}\",\"description\":7}";
        assert_eq!(cleaned(element), (element.to_owned(), 0));
    }
}
