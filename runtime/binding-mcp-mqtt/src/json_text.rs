//! Writes JSON as a list of parts, so that a large string without escapes is not copied.

use bytes::{Bytes, BytesMut};
use tidegate_json::Parts;
use tidegate_json::write::{first_to_escape, push_escaped_bytes, push_escaped_twice};

/// Up to this size in bytes, a copy is cheaper than a separate part.
pub(crate) const COPIED: usize = 512;

/// Builds a JSON text.
#[derive(Debug, Default)]
pub(crate) struct JsonText {
    parts: Vec<Bytes>,
    tail: BytesMut,
}

/// A position in a [`JsonText`], to truncate it to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    parts: usize,
    tail: usize,
}

impl JsonText {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Reserves capacity for `bytes` more bytes.
    pub(crate) fn reserve(&mut self, bytes: usize) {
        self.tail.reserve(bytes);
    }

    /// Appends text that is already JSON.
    pub(crate) fn raw(&mut self, text: &str) {
        self.tail.extend_from_slice(text.as_bytes());
    }

    /// Appends bytes that are already JSON as a separate part.
    pub(crate) fn part(&mut self, bytes: Bytes) {
        if !self.tail.is_empty() {
            self.parts.push(self.tail.split().freeze());
        }
        self.parts.push(bytes);
    }

    /// Appends the escaped content of a string. A UTF-8 character may be split between calls.
    pub(crate) fn escaped(&mut self, text: &[u8]) {
        push_escaped_bytes(&mut self.tail, text);
    }

    /// Appends the escaped content of a string; a large one that needs no escaping is not copied.
    pub(crate) fn escaped_part(&mut self, text: &Bytes) {
        if text.len() <= COPIED || first_to_escape(text).is_some() {
            self.escaped(text);
        } else {
            self.part(text.clone());
        }
    }

    /// Appends bytes that are already JSON, copied if that is cheaper than a separate part.
    pub(crate) fn piece(&mut self, bytes: Bytes) {
        if bytes.len() <= COPIED {
            self.tail.extend_from_slice(&bytes);
        } else {
            self.part(bytes);
        }
    }

    /// Appends the content of a string: escaped here, and escaped twice to `within`, which is a string
    /// that contains JSON. Text of at least `uncopied` bytes that needs no escaping is not copied.
    pub(crate) fn escaped_twice(&mut self, within: &mut Self, text: &Bytes, uncopied: usize) {
        if first_to_escape(text).is_some() {
            push_escaped_twice(&mut self.tail, &mut within.tail, text);
        } else if text.len() < uncopied {
            self.tail.extend_from_slice(text);
            within.tail.extend_from_slice(text);
        } else {
            self.part(text.clone());
            within.part(text.clone());
        }
    }

    /// Appends another text.
    pub(crate) fn append(&mut self, other: Self) {
        for part in other.parts {
            self.piece(part);
        }
        self.tail.extend_from_slice(&other.tail);
    }

    /// The position of the next byte.
    pub(crate) fn mark(&self) -> Mark {
        Mark {
            parts: self.parts.len(),
            tail: self.tail.len(),
        }
    }

    /// Removes everything that was written after `mark`.
    pub(crate) fn truncate(&mut self, mark: Mark) {
        if let Some(front) = self.parts.drain(mark.parts..).next() {
            // The tail at the time of the mark is now the start of this part, or all of it.
            self.tail.clear();
            let kept = front.get(..mark.tail).unwrap_or_default();
            self.tail.extend_from_slice(kept);
        }
        self.tail.truncate(mark.tail);
    }

    /// Appends bytes as base64, as the content of a string.
    pub(crate) fn base64(&mut self, chunks: &[Bytes]) {
        encode_base64(&mut self.tail, chunks);
    }

    pub(crate) fn len(&self) -> usize {
        self.parts.iter().map(Bytes::len).sum::<usize>() + self.tail.len()
    }

    pub(crate) fn into_parts(self) -> Parts {
        let tail = std::iter::once(self.tail.freeze());
        self.parts.into_iter().chain(tail).collect()
    }

    /// The text in one piece.
    pub(crate) fn into_bytes(self) -> Bytes {
        if self.parts.is_empty() {
            return self.tail.freeze();
        }
        self.into_parts().contiguous()
    }
}

/// Total size of the chunks that are smaller than `large` bytes.
pub(crate) fn small(chunks: &[Bytes], large: usize) -> usize {
    let lengths = chunks.iter().map(Bytes::len);
    lengths.filter(|length| *length < large).sum()
}

/// Appends the concatenated chunks as base64 with padding.
pub(crate) fn encode_base64(out: &mut BytesMut, chunks: &[Bytes]) {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let joined;
    let bytes: &[u8] = match chunks {
        [chunk] => chunk,
        chunks => {
            joined = chunks.concat();
            &joined
        }
    };
    let start = out.len();
    let length = base64::encoded_len(bytes.len(), true).unwrap_or(usize::MAX);
    out.resize(start + length, 0);
    if let Some(room) = out.get_mut(start..) {
        let written = STANDARD.encode_slice(bytes, room).unwrap_or(0);
        out.truncate(start + written);
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;

    use super::*;

    #[test]
    fn escaped_strings_parse_to_the_original() {
        let text = "a\"\\\n\r\t\u{0}\u{1f}ä\u{10ffff}/";
        let mut json = JsonText::new();
        json.raw("\"");
        json.escaped_part(&Bytes::from(text));
        json.raw("\"");
        let read: String = serde_json::from_slice(&json.into_bytes()).expect("legal JSON");
        assert_eq!(read, text);
    }

    #[test]
    fn a_large_string_without_escapes_is_not_copied() {
        let text = Bytes::from("x".repeat(COPIED + 1));
        let mut json = JsonText::new();
        json.raw("\"");
        json.escaped_part(&text);
        json.raw("\"");
        assert_eq!(json.len(), COPIED + 3);
        let parts: Vec<Bytes> = json.into_parts().into_iter().collect();
        assert_eq!(parts.len(), 3);
        assert_eq!(parts[1].as_ptr(), text.as_ptr());
    }

    #[test]
    fn truncating_to_a_mark_removes_what_was_written_after_it() {
        let long = Bytes::from("x".repeat(COPIED + 1));
        let write: [fn(&mut JsonText, &Bytes); 4] = [
            |_, _| {},
            |json, _| json.raw("a"),
            |json, long| json.piece(long.clone()),
            |json, long| {
                json.raw("b");
                json.piece(long.clone());
                json.raw("c");
            },
        ];
        for before in write {
            for after in write {
                let (mut json, mut expected) = (JsonText::new(), JsonText::new());
                before(&mut json, &long);
                before(&mut expected, &long);
                let mark = json.mark();
                after(&mut json, &long);
                json.truncate(mark);
                json.raw("z");
                expected.raw("z");
                assert_eq!(json.into_bytes(), expected.into_bytes());
            }
        }
    }

    #[test]
    fn a_string_within_a_string_parses_to_the_original() {
        for text in ["plain", "a\"\\\n\u{1}", &"y".repeat(COPIED + 1)] {
            let (mut once, mut within) = (JsonText::new(), JsonText::new());
            once.raw("\"");
            within.raw("\"\\\"");
            once.escaped_twice(&mut within, &Bytes::from(text.to_owned()), COPIED);
            once.raw("\"");
            within.raw("\\\"\"");
            let read: String = serde_json::from_slice(&once.into_bytes()).expect("legal JSON");
            assert_eq!(read, text);
            let inner: String = serde_json::from_slice(&within.into_bytes()).expect("legal JSON");
            let read: String = serde_json::from_str(&inner).expect("legal JSON within");
            assert_eq!(read, text);
        }
    }

    #[test]
    fn base64_of_chunks_is_base64_of_the_whole() {
        for chunks in [&[][..], &["a"], &["a", "bc", "d"], &["ab", "", "\u{ff}"]] {
            let chunks: Vec<Bytes> = chunks
                .iter()
                .map(|c| Bytes::from_static(c.as_bytes()))
                .collect();
            let mut out = BytesMut::from("x");
            encode_base64(&mut out, &chunks);
            let whole = base64::engine::general_purpose::STANDARD.encode(chunks.concat());
            assert_eq!(out, format!("x{whole}"));
        }
    }
}
