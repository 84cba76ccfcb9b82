//! Decodes strings with escapes.
//!
//! Payloads that are themselves JSON have an escape every few bytes. The text between escapes is
//! therefore copied in words of fixed size, of which only the bytes before the next backslash
//! count.

use std::ops::Range;

use bytes::Bytes;

use crate::blocks;
use crate::cursor::Cursor;
use crate::parts::Parts;
use crate::string;

/// The text of a validated string; `content` is its range without the quotes.
pub(crate) fn unescaped(message: &Parts, content: Range<usize>) -> Bytes {
    let mut text = Text {
        bytes: vec![0; content.len()],
        len: 0,
    };
    let mut cursor = Cursor::at(message, content.start);
    while cursor.offset() < content.end {
        let left = content.end - cursor.offset();
        let chunk = cursor.chunk();
        let chunk = chunk.get(..left.min(chunk.len())).unwrap_or_default();
        cursor.advance(text.take(chunk));
        if cursor.offset() >= content.end {
            break;
        }
        // The last bytes of a buffer, or an escape longer than two bytes.
        match cursor.next() {
            Some(b'\\') => {
                let character = character(&mut cursor);
                text.push(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
            Some(byte) => text.push(&[byte]),
            None => break,
        }
    }
    text.bytes.truncate(text.len);
    Bytes::from(text.bytes)
}

/// Whether a validated string has this text; `content` is its range without the quotes.
pub(crate) fn is(message: &Parts, content: Range<usize>, text: &str) -> bool {
    let mut cursor = Cursor::at(message, content.start);
    let mut rest = text.as_bytes();
    while cursor.offset() < content.end {
        let Some(byte) = cursor.next() else {
            return false;
        };
        let mut character_of = [0; 4];
        let expected = if byte == b'\\' {
            character(&mut cursor)
                .encode_utf8(&mut character_of)
                .as_bytes()
        } else {
            &[byte]
        };
        match rest.strip_prefix(expected) {
            Some(behind) => rest = behind,
            None => return false,
        }
    }
    rest.is_empty()
}

/// The decoded text. Its capacity is the length of the escaped form, which is never shorter.
struct Text {
    bytes: Vec<u8>,
    len: usize,
}

impl Text {
    fn push(&mut self, bytes: &[u8]) {
        if let Some(room) = self.bytes.get_mut(self.len..self.len + bytes.len()) {
            room.copy_from_slice(bytes);
            self.len += bytes.len();
        }
    }

    /// Decodes a buffer word by word, up to an escape longer than two bytes; returns how many bytes
    /// were consumed.
    fn take(&mut self, chunk: &[u8]) -> usize {
        let mut rest = chunk;
        while let Some((word, behind)) = rest.split_first_chunk::<8>() {
            let Some(room) = self.bytes.get_mut(self.len..self.len + 8) else {
                break;
            };
            room.copy_from_slice(word);
            let Some(backslash) = blocks::first_of(*word, b'\\') else {
                self.len += word.len();
                rest = behind;
                continue;
            };
            self.len += backslash;
            rest = rest.get(backslash..).unwrap_or_default();
            let Some((byte, behind)) = rest.get(1).zip(rest.get(2..)) else {
                break;
            };
            let Some(byte) = short(*byte) else {
                break;
            };
            self.push(&[byte]);
            rest = behind;
        }
        chunk.len() - rest.len()
    }
}

/// The character of a two-byte escape, by the byte after its backslash.
#[inline]
pub(crate) const fn short(byte: u8) -> Option<u8> {
    match byte {
        b'"' | b'\\' | b'/' => Some(byte),
        b'n' => Some(b'\n'),
        b't' => Some(b'\t'),
        b'r' => Some(b'\r'),
        b'b' => Some(0x08),
        b'f' => Some(0x0c),
        _ => None,
    }
}

/// The character of an escape, after its backslash.
fn character(cursor: &mut Cursor<'_>) -> char {
    match cursor.next() {
        Some(b'u') => {
            let mut code = string::hex(cursor).unwrap_or_default();
            if (0xD800..0xDC00).contains(&code) {
                cursor.next();
                cursor.next();
                let low = string::hex(cursor).unwrap_or_default();
                code = 0x1_0000 + ((code - 0xD800) << 10) + (low & 0x3FF);
            }
            char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
        }
        Some(byte) => short(byte).map_or(char::REPLACEMENT_CHARACTER, char::from),
        None => char::REPLACEMENT_CHARACTER,
    }
}
