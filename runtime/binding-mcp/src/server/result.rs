//! Adds the envelope to a result passed on in parts: a prefix, and the members that the modern era
//! adds before the closing brace.

use bytes::{Bytes, BytesMut};
use tidegate_streams::mcp::McpEnd;

use crate::jsonrpc::{Era, Method, additions};

/// A result being passed on. Its last part is held back, because members may be added before its
/// closing brace.
#[derive(Debug, Default)]
pub(super) struct Passing {
    held: Option<Bytes>,
    seen: Seen,
    /// String state after the scanned prefix; covers `held` iff `looked` is set.
    string: InString,
    /// Whether `string` covers the held part.
    looked: bool,
}

/// String state of a scanned text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum InString {
    #[default]
    No,
    Yes,
    /// After a backslash.
    Escaped,
}

/// Bytes that are looked at together.
const BLOCK: usize = 64;

impl InString {
    /// The state after `text`. Of a block without a backslash, only the number of quotes matters, and counting has no
    /// early exit, so the compiler vectorises it.
    fn after(self, text: &[u8]) -> Self {
        let (blocks, rest) = text.as_chunks::<BLOCK>();
        let at = blocks.iter().fold(self, |at, block| {
            let escapes: u8 = block.iter().map(|byte| u8::from(*byte == b'\\')).sum();
            let quotes: u8 = block.iter().map(|byte| u8::from(*byte == b'"')).sum();
            match at {
                Self::No | Self::Yes if escapes == 0 && quotes.is_multiple_of(2) => at,
                Self::No if escapes == 0 => Self::Yes,
                Self::Yes if escapes == 0 => Self::No,
                _ => at.after_each(block),
            }
        });
        at.after_each(rest)
    }

    fn after_each(self, text: &[u8]) -> Self {
        let (mut at, mut rest) = (self, text);
        loop {
            // After a backslash only the next byte matters; otherwise the next quote or backslash.
            let next = match at {
                Self::Escaped => Some(0),
                Self::No | Self::Yes => memchr::memchr2(b'"', b'\\', rest),
            };
            let behind = next.and_then(|next| rest.get(next..));
            let Some((byte, behind)) = behind.and_then(<[u8]>::split_first) else {
                return at;
            };
            rest = behind;
            at = match (at, byte) {
                (Self::No, b'"') | (Self::Escaped, _) => Self::Yes,
                (Self::Yes, b'"') | (Self::No, _) => Self::No,
                (Self::Yes, _) => Self::Escaped,
            };
        }
    }
}

/// How much of the start of the result has been seen.
#[derive(Debug, Default, PartialEq, Eq)]
enum Seen {
    /// The opening brace has not been seen.
    #[default]
    Nothing,
    /// The opening brace, but no member.
    Brace,
    /// A member.
    Member,
}

impl Passing {
    /// Adds a part; returns the part that can be sent.
    pub(super) fn push(&mut self, part: Bytes) -> Option<Bytes> {
        let mut black = part
            .iter()
            .filter(|byte| !byte.is_ascii_whitespace())
            .peekable();
        // The last part, nearly always the only one, need not be scanned.
        if let Some(held) = self.held.as_ref().filter(|_| !self.looked) {
            self.string = self.string.after(held);
            self.looked = true;
        }
        // White space between tokens is insignificant, and would hide the closing brace.
        if black.peek().is_none() && self.string == InString::No {
            return None;
        }
        for byte in black {
            match (&self.seen, byte) {
                (Seen::Nothing, _) => self.seen = Seen::Brace,
                (Seen::Brace, b'}') | (Seen::Member, _) => break,
                (Seen::Brace, _) => self.seen = Seen::Member,
            }
        }
        self.looked = false;
        self.held.replace(part)
    }

    /// The last part, up to the position where members are added.
    pub(super) fn last(&mut self, era: Era) -> Bytes {
        let held = self.held.take().unwrap_or_else(|| {
            // A result is an object; a missing result becomes an empty object.
            self.seen = Seen::Brace;
            Bytes::from_static(b"{}")
        });
        match era {
            Era::Legacy => held,
            Era::Modern => held.slice(..held.trim_ascii_end().len().saturating_sub(1)),
        }
    }

    /// The text after the last part: added members and the end of the envelope.
    pub(super) fn tail(&self, era: Era, method: Method, end: &McpEnd, out: &mut BytesMut) {
        if era == Era::Modern {
            if self.seen == Seen::Member {
                out.extend_from_slice(b",");
            }
            additions(out, method, end);
            out.extend_from_slice(b"}");
        }
        out.extend_from_slice(b"}");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::jsonrpc::{Id, begin_response};

    fn passed(parts: &[&'static str], era: Era) -> String {
        let mut passing = Passing::default();
        let mut out = BytesMut::new();
        begin_response(&mut out, &Id::number(7));
        for part in parts {
            let ready = passing.push(Bytes::from_static(part.as_bytes()));
            out.extend_from_slice(&ready.unwrap_or_default());
        }
        let end = McpEnd {
            ttl_ms: Some(5),
            ..McpEnd::default()
        };
        out.extend_from_slice(&passing.last(era));
        passing.tail(era, Method::ResourcesRead, &end, &mut out);
        String::from_utf8(out.to_vec()).expect("text")
    }

    fn by_bytes(at: InString, text: &[u8]) -> InString {
        text.iter().fold(at, |at, byte| match (at, byte) {
            (InString::No, b'"') | (InString::Escaped, _) => InString::Yes,
            (InString::Yes, b'"') => InString::No,
            (InString::Yes, b'\\') => InString::Escaped,
            (at, _) => at,
        })
    }

    proptest! {
        #[test]
        fn blocks_are_looked_at_as_each_byte_is(text in "[a-z\" ]{0,150}[a-z\"\\\\ ]{0,150}") {
            for at in [InString::No, InString::Yes, InString::Escaped] {
                prop_assert_eq!(at.after(text.as_bytes()), by_bytes(at, text.as_bytes()));
            }
        }
    }

    #[test]
    fn whether_a_text_ends_in_a_string_is_known_however_it_is_parted() {
        let text = br#"{"a\\":"\"x\\\"","b":[" ",""]}"#;
        for cut in 0..=text.len() {
            for end in cut..=text.len() {
                let at = InString::No.after(&text[..cut]).after(&text[cut..end]);
                assert_eq!(at, by_bytes(InString::No, &text[..end]), "{cut} {end}");
            }
        }
    }

    #[test]
    fn additions_stand_before_the_last_brace_however_the_result_is_parted() {
        let head = r#"{"jsonrpc":"2.0","id":7,"result":"#;
        let tail = format!(
            r#""resultType":"complete","ttlMs":5,"cacheScope":"private","_meta":{{"io.modelcontextprotocol/serverInfo":{{"name":"tidegate","version":"{}"}}}}}}}}"#,
            env!("CARGO_PKG_VERSION")
        );
        for (parts, modern, legacy) in [
            (&["{\"a\":1}"][..], "{\"a\":1,", "{\"a\":1}}"),
            (&["{\"a\":1", "} \n", " "], "{\"a\":1,", "{\"a\":1} \n}"),
            (&["{}"], "{", "{}}"),
            (&["{", " ", "}"], "{", "{}}"),
            (&[], "{", "{}}"),
        ] {
            assert_eq!(passed(parts, Era::Modern), format!("{head}{modern}{tail}"));
            assert_eq!(passed(parts, Era::Legacy), format!("{head}{legacy}"));
        }
    }
}
