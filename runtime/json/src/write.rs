//! Writes JSON text, for the few bytes that tidegate adds around what it passes on.

use bytes::{BufMut as _, BytesMut};

/// Appends a string in quotes, escaped as RFC 8259 (section 7) asks and no further.
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

/// Appends a string's content, escaped, without its quotes.
pub fn push_escaped(out: &mut BytesMut, text: &str) {
    push_escaped_bytes(out, text.as_bytes());
}

/// The same for a piece of a text, whose UTF-8 may be cut at its ends.
pub fn push_escaped_bytes(out: &mut BytesMut, text: &[u8]) {
    out.reserve(text.len());
    let mut rest = text;
    while let Some(at) = first_to_escape(rest) {
        let (plain, behind) = rest.split_at(at);
        out.extend_from_slice(plain);
        if let Some((byte, behind)) = behind.split_first() {
            push_escape(out, *byte);
            rest = behind;
        }
    }
    out.extend_from_slice(rest);
}

/// Where the first byte stands that cannot stand in a string as it is.
pub fn first_to_escape(text: &[u8]) -> Option<usize> {
    const WIDTH: usize = 64;
    // Without a way out inside a block, the compiler makes a few vector instructions of it.
    let is_plain = |block: &&[u8; WIDTH]| {
        let special = block.iter().fold(0, |special, byte| {
            let ends = u8::from(*byte == b'"') | u8::from(*byte == b'\\');
            special | ends | u8::from(*byte < 0x20)
        });
        special == 0
    };
    let (blocks, _) = text.as_chunks::<WIDTH>();
    let passed = WIDTH * blocks.iter().take_while(is_plain).count();
    let rest = text.get(passed..)?;
    let at = rest.iter().position(|byte| needs_escape(*byte))?;
    Some(passed + at)
}

const fn needs_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

fn push_escape(out: &mut BytesMut, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let short = match byte {
        b'"' => b'"',
        b'\\' => b'\\',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        _ => {
            let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0');
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte & 15)]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// Appends a whole number.
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
