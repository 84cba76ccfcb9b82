//! Writing JSON: a text in parts, so that a large string without escapes passes as it is.

use bytes::{Bytes, BytesMut};
use tidegate_json::Parts;
use tidegate_json::write::{first_to_escape, push_escaped_bytes, push_escaped_twice};

/// Up to this size a copy is cheaper than a part of its own.
pub(crate) const COPIED: usize = 512;

/// A JSON text under construction.
#[derive(Debug, Default)]
pub(crate) struct JsonText {
    parts: Vec<Bytes>,
    tail: BytesMut,
}

/// A place in a text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    parts: usize,
    tail: usize,
}

impl JsonText {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Makes room for so many bytes ahead.
    pub(crate) fn reserve(&mut self, bytes: usize) {
        self.tail.reserve(bytes);
    }

    /// Text that is JSON already.
    pub(crate) fn raw(&mut self, text: &str) {
        self.tail.extend_from_slice(text.as_bytes());
    }

    /// Bytes that are JSON already, as a part of their own.
    pub(crate) fn part(&mut self, bytes: Bytes) {
        if !self.tail.is_empty() {
            self.parts.push(self.tail.split().freeze());
        }
        self.parts.push(bytes);
    }

    /// The inside of a string. Its UTF-8 may be cut between calls.
    pub(crate) fn escaped(&mut self, text: &[u8]) {
        push_escaped_bytes(&mut self.tail, text);
    }

    /// The inside of a string, without a copy where nothing is to be escaped.
    pub(crate) fn escaped_part(&mut self, text: &Bytes) {
        if text.len() <= COPIED || first_to_escape(text).is_some() {
            self.escaped(text);
        } else {
            self.part(text.clone());
        }
    }

    /// Bytes that are JSON already: copied where that is cheaper than a part of their own.
    pub(crate) fn piece(&mut self, bytes: Bytes) {
        if bytes.len() <= COPIED {
            self.tail.extend_from_slice(&bytes);
        } else {
            self.part(bytes);
        }
    }

    /// The inside of a string here, and of a string within a string there: without a copy where
    /// nothing is to be escaped and the text has `kept` bytes or more.
    pub(crate) fn escaped_twice(&mut self, within: &mut Self, text: &Bytes, kept: usize) {
        if first_to_escape(text).is_some() {
            push_escaped_twice(&mut self.tail, &mut within.tail, text);
        } else if text.len() < kept {
            self.tail.extend_from_slice(text);
            within.tail.extend_from_slice(text);
        } else {
            self.part(text.clone());
            within.part(text.clone());
        }
    }

    /// Moves all of another text behind this one.
    pub(crate) fn append(&mut self, other: Self) {
        for part in other.parts {
            self.piece(part);
        }
        self.tail.extend_from_slice(&other.tail);
    }

    /// Where the next byte will stand.
    pub(crate) fn mark(&self) -> Mark {
        Mark {
            parts: self.parts.len(),
            tail: self.tail.len(),
        }
    }

    /// Forgets what was written since.
    pub(crate) fn truncate(&mut self, mark: Mark) {
        if let Some(front) = self.parts.drain(mark.parts..).next() {
            // What was the tail then has become the front of this part, or all of it.
            self.tail.clear();
            let kept = front.get(..mark.tail).unwrap_or_default();
            self.tail.extend_from_slice(kept);
        }
        self.tail.truncate(mark.tail);
    }

    /// The inside of a string that bears bytes as base64.
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

/// How many bytes are in chunks of less than `large`.
pub(crate) fn small(chunks: &[Bytes], large: usize) -> usize {
    let lengths = chunks.iter().map(Bytes::len);
    lengths.filter(|length| *length < large).sum()
}

/// Appends bytes as base64 with padding, as if they came in one piece.
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
    fn strings_are_escaped_as_a_parser_reads_them() {
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
    fn a_text_is_taken_back_to_a_mark_whatever_came_behind_it() {
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
            for behind in write {
                let (mut json, mut expected) = (JsonText::new(), JsonText::new());
                before(&mut json, &long);
                before(&mut expected, &long);
                let mark = json.mark();
                behind(&mut json, &long);
                json.truncate(mark);
                json.raw("z");
                expected.raw("z");
                assert_eq!(json.into_bytes(), expected.into_bytes());
            }
        }
    }

    #[test]
    fn a_string_within_a_string_is_read_as_it_was() {
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
