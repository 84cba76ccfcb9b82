//! Escapes string content as RFC 8259 (section 7) requires, and nothing more.
//!
//! Payloads that are themselves JSON need an escape every few bytes. The text between escapes is
//! therefore copied in words of fixed size, of which only the bytes before the next escape count.

use bytes::{BufMut as _, BytesMut};

use crate::blocks;

/// Destination of escaped text.
pub(crate) trait Out {
    /// Appends bytes that need no escape.
    fn plain(&mut self, bytes: &[u8]);
    /// Appends the first `count` bytes of `word`.
    fn word(&mut self, word: [u8; 8], count: usize);
    /// Appends a byte as an escape.
    fn escape(&mut self, byte: u8);
}

/// Escapes a text, or a fragment of one with UTF-8 sequences cut at its ends.
pub(crate) fn escape(text: &[u8], out: &mut impl Out) {
    let mut plain_words = 0;
    let mut rest = text;
    while let Some((word, behind)) = rest.split_first_chunk::<8>() {
        let first = blocks::first_unwritable(*word);
        out.word(*word, first.unwrap_or(word.len()));
        if let Some([byte, behind @ ..]) = first.and_then(|first| rest.get(first..)) {
            out.escape(*byte);
            plain_words = 0;
            rest = behind;
            continue;
        }
        plain_words += 1;
        rest = behind;
        if plain_words == 8 {
            let (plain, behind) = rest.split_at(blocks::passed(rest, blocks::needs_escape));
            out.plain(plain);
            rest = behind;
        }
    }
    for byte in rest {
        if blocks::needs_escape(*byte) {
            out.escape(*byte);
        } else {
            out.plain(&[*byte]);
        }
    }
}

impl Out for BytesMut {
    #[inline]
    fn plain(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    #[inline]
    fn word(&mut self, word: [u8; 8], count: usize) {
        self.extend_from_slice(&word);
        self.truncate(self.len() - (word.len() - count));
    }

    #[inline]
    fn escape(&mut self, byte: u8) {
        match Escape::of(byte) {
            Escape::Short(letter) => self.extend_from_slice(&[b'\\', letter]),
            Escape::Code(high, low) => {
                self.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
            }
        }
    }
}

/// Writes a text escaped once to one destination and escaped twice to another.
pub(crate) struct Twice<'a> {
    pub(crate) once: &'a mut BytesMut,
    pub(crate) within: &'a mut BytesMut,
}

impl Out for Twice<'_> {
    #[inline]
    fn plain(&mut self, bytes: &[u8]) {
        self.once.plain(bytes);
        self.within.plain(bytes);
    }

    #[inline]
    fn word(&mut self, word: [u8; 8], count: usize) {
        self.once.word(word, count);
        self.within.word(word, count);
    }

    #[inline]
    fn escape(&mut self, byte: u8) {
        self.once.escape(byte);
        self.within.put_slice(br"\\");
        match Escape::of(byte) {
            Escape::Short(letter @ (b'"' | b'\\')) => self.within.put_slice(&[b'\\', letter]),
            Escape::Short(letter) => self.within.put_u8(letter),
            Escape::Code(high, low) => self.within.put_slice(&[b'u', b'0', b'0', high, low]),
        }
    }
}

/// How a byte is escaped, after the backslash.
enum Escape {
    Short(u8),
    /// `u00` and two hexadecimal digits.
    Code(u8, u8),
}

impl Escape {
    #[inline]
    const fn of(byte: u8) -> Self {
        match byte {
            b'"' | b'\\' => Self::Short(byte),
            b'\n' => Self::Short(b'n'),
            b'\r' => Self::Short(b'r'),
            b'\t' => Self::Short(b't'),
            0x08 => Self::Short(b'b'),
            0x0c => Self::Short(b'f'),
            _ => Self::Code(digit(byte >> 4), digit(byte & 15)),
        }
    }
}

const fn digit(nibble: u8) -> u8 {
    match nibble {
        0..=9 => b'0' + nibble,
        _ => b'a' - 10 + nibble,
    }
}
