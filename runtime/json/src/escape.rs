//! The inside of a string, escaped as RFC 8259 (section 7) asks and no further.
//!
//! Payloads that are JSON themselves have something to escape every few bytes, so what lies between
//! is copied in words of a fixed size, of which only the bytes in front of the next escape count.

use bytes::{BufMut as _, BytesMut};

use crate::blocks;

/// Where an escaped text is written.
pub(crate) trait Out {
    /// Appends bytes that mean themselves.
    fn plain(&mut self, bytes: &[u8]);
    /// Appends those in front of `count`.
    fn word(&mut self, word: [u8; 8], count: usize);
    /// Appends a byte that cannot stand for itself.
    fn escape(&mut self, byte: u8);
}

/// Writes a text, or a piece of one whose UTF-8 may be cut at its ends.
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

/// A text in a string, and the same text in a string that stands in a string.
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

/// How a byte is escaped, behind the backslash.
enum Escape {
    Short(u8),
    /// `u00` and two digits.
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
