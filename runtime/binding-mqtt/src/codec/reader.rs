//! Reads the fields of a packet as slices.

use bytes::{Buf as _, Bytes};
use bytestring::ByteString;

use super::error::DecodeFault;

const SHORT: DecodeFault = DecodeFault::Malformed("the packet ends within a field");

/// The unread bytes of a packet.
#[derive(Debug, Clone)]
pub(super) struct Reader(Bytes);

impl Reader {
    pub(super) const fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> Result<u8, DecodeFault> {
        self.0.try_get_u8().map_err(|_| SHORT)
    }

    pub(super) fn two(&mut self) -> Result<u16, DecodeFault> {
        self.0.try_get_u16().map_err(|_| SHORT)
    }

    pub(super) fn four(&mut self) -> Result<u32, DecodeFault> {
        self.0.try_get_u32().map_err(|_| SHORT)
    }

    /// A variable byte integer, in its shortest form (1.5.5).
    pub(super) fn varint(&mut self) -> Result<u32, DecodeFault> {
        match varint(&self.0)? {
            Some((value, size)) => {
                self.0.advance(size);
                Ok(value)
            }
            None => Err(SHORT),
        }
    }

    /// The next bytes as a separate reader.
    pub(super) fn take(&mut self, length: usize) -> Result<Self, DecodeFault> {
        if length > self.0.len() {
            return Err(DecodeFault::Malformed("a length exceeds the packet"));
        }
        Ok(Self(self.0.split_to(length)))
    }

    /// Binary data (1.5.6).
    pub(super) fn binary(&mut self) -> Result<Bytes, DecodeFault> {
        let length = usize::from(self.two()?);
        Ok(self.take(length)?.0)
    }

    /// A UTF-8 string (1.5.4).
    pub(super) fn text(&mut self) -> Result<ByteString, DecodeFault> {
        let text = ByteString::try_from(self.binary()?)
            .map_err(|_| DecodeFault::Malformed("a string is not valid UTF-8"))?;
        if memchr::memchr(0, text.as_bytes()).is_some() {
            return Err(DecodeFault::Malformed("a string contains U+0000"));
        }
        Ok(text)
    }

    /// A packet identifier, which is never 0 (2.2.1).
    pub(super) fn packet_id(&mut self) -> Result<u16, DecodeFault> {
        match self.two()? {
            0 => Err(DecodeFault::Protocol("a packet identifier of 0")),
            id => Ok(id),
        }
    }

    /// Checks that all bytes were read.
    pub(super) fn finish(self) -> Result<(), DecodeFault> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(DecodeFault::Malformed(
                "trailing bytes after the last field",
            ))
        }
    }
}

/// The variable byte integer at the start, and its size; `None` if more bytes are needed.
pub(super) fn varint(bytes: &[u8]) -> Result<Option<(u32, usize)>, DecodeFault> {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            if index > 0 && *byte == 0 {
                return Err(DecodeFault::Malformed(
                    "a variable byte integer is not in its shortest form",
                ));
            }
            return Ok(Some((value, index + 1)));
        }
        if index == 3 {
            return Err(DecodeFault::Malformed(
                "a variable byte integer exceeds four bytes",
            ));
        }
    }
    Ok(None)
}

/// Encoded size of a variable byte integer.
pub(super) const fn varint_size(value: usize) -> usize {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        _ => 4,
    }
}

/// Whether a text has no wildcards, so that a message can have it as its topic (4.7.1).
pub(super) fn is_topic_name(text: &str) -> bool {
    memchr::memchr2(b'+', b'#', text.as_bytes()).is_none()
}
