//! Writes JSON text: the few bytes that tidegate adds around the messages it passes on.

use bytes::{BufMut as _, BytesMut};

use crate::blocks;
use crate::escape::{Twice, escape};

/// Appends a string in quotes, escaped as RFC 8259 (section 7) requires.
///
/// ```
/// let mut out = bytes::BytesMut::new();
/// tidegate_json::write::push_string(&mut out, "a \"b\"\n");
/// assert_eq!(&out[..], br#""a \"b\"\n""#);
/// ```
pub fn push_string(out: &mut BytesMut, text: &str) {
    out.reserve(text.len() + 2);
    out.put_u8(b'"');
    push_escaped(out, text);
    out.put_u8(b'"');
}

/// Appends the escaped content of a string, without quotes.
pub fn push_escaped(out: &mut BytesMut, text: &str) {
    push_escaped_bytes(out, text.as_bytes());
}

/// Like [`push_escaped`], for a fragment whose ends may cut UTF-8 sequences.
pub fn push_escaped_bytes(out: &mut BytesMut, text: &[u8]) {
    out.reserve(text.len());
    escape(text, out);
}

/// Appends a text escaped once to `once`, as the content of a string, and escaped twice to
/// `within`, as the content of a string nested in a string.
///
/// ```
/// let (mut once, mut within) = Default::default();
/// tidegate_json::write::push_escaped_twice(&mut once, &mut within, b"a \"b\"\n");
/// assert_eq!(&once[..], br#"a \"b\"\n"#);
/// assert_eq!(&within[..], br#"a \\\"b\\\"\\n"#);
/// ```
pub fn push_escaped_twice(once: &mut BytesMut, within: &mut BytesMut, text: &[u8]) {
    once.reserve(text.len());
    within.reserve(text.len());
    escape(text, &mut Twice { once, within });
}

/// Position of the first byte that must be escaped.
pub fn first_to_escape(text: &[u8]) -> Option<usize> {
    blocks::position(text, blocks::needs_escape)
}

/// Appends an unsigned integer.
pub fn push_number(out: &mut BytesMut, number: u64) {
    let mut digits = [0; 20];
    let mut left = number;
    let mut used = 0;
    for place in digits.iter_mut().rev() {
        // A remainder of ten is one digit.
        *place = b'0' + u8::try_from(left % 10).unwrap_or(0);
        left /= 10;
        used += 1;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(digits.len() - used..).unwrap_or_default());
}
