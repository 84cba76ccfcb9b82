//! Frames of WebSocket (RFC 6455, 5.2), as a client sends and receives them.

mod close;
mod decoder;

use bytes::{BufMut as _, Bytes, BytesMut};

pub use close::Close;
pub use decoder::{Decoder, Event, Violation};

/// Most payload of a control frame, in bytes (RFC 6455, 5.5).
pub const CONTROL_MAX: usize = 125;

/// What a frame is (RFC 6455, 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    /// A further part of a message.
    Continuation,
    /// A message of text, or its first part.
    Text,
    /// A message of bytes, or its first part.
    Binary,
    /// The sender closes.
    Close,
    /// Asks for a pong.
    Ping,
    /// Answers a ping.
    Pong,
}

impl Opcode {
    /// The code in the first byte of the header; `None` if it is reserved.
    pub const fn of(code: u8) -> Option<Self> {
        Some(match code {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xa => Self::Pong,
            _ => return None,
        })
    }

    const fn code(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xa,
        }
    }
}

/// A whole message in one frame, masked as a client must (RFC 6455, 5.3).
pub fn encode(opcode: Opcode, parts: &[Bytes], mask: [u8; 4]) -> Bytes {
    let length: usize = parts.iter().map(Bytes::len).sum();
    let mut frame = BytesMut::with_capacity(14 + length);
    frame.put_u8(0x80 | opcode.code());
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(length @ ..=125), _) => frame.put_u8(0x80 | length),
        (_, Ok(length)) => {
            frame.put_u8(0x80 | 0x7e);
            frame.put_u16(length);
        }
        _ => {
            frame.put_u8(0x80 | 0x7f);
            frame.put_u64(length as u64);
        }
    }
    frame.put_slice(&mask);
    let head = frame.len();
    for part in parts {
        frame.put_slice(part);
    }
    apply(mask, frame.get_mut(head..).unwrap_or_default());
    frame.freeze()
}

/// Masks or unmasks a payload (RFC 6455, 5.3).
fn apply(mask: [u8; 4], payload: &mut [u8]) {
    let mut words = payload.chunks_exact_mut(4);
    for word in &mut words {
        for (byte, mask) in word.iter_mut().zip(mask) {
            *byte ^= mask;
        }
    }
    for (byte, mask) in words.into_remainder().iter_mut().zip(mask) {
        *byte ^= mask;
    }
}
