//! Reads the frames of a server from bytes in any parts.
//!
//! The payload of a message is returned as it arrives, without being copied; control frames are
//! gathered, since they are small. Each violation says what the server did, for an error.

use bytes::{Buf as _, Bytes};
use thiserror::Error;

use super::{CONTROL_MAX, Close, Opcode};

/// Longest header that a server may send: without a mask.
const HEADER_MAX: usize = 10;

/// What a server sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A part of the payload of a binary message.
    Payload(Bytes),
    /// A ping, with the payload to repeat.
    Ping(Bytes),
    /// A pong.
    Pong,
    /// The server closes.
    Close(Close),
}

/// A frame that the server must not send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Violation {
    /// A bit of an extension that was not agreed on is set.
    #[error("a frame with a reserved bit")]
    ReservedBit,
    /// The opcode is reserved.
    #[error("a frame with the reserved opcode {0}")]
    ReservedOpcode(u8),
    /// The frame is masked, which only those of a client are.
    #[error("a masked frame")]
    Masked,
    /// MQTT is sent in binary frames (MQTT 5, 6.0).
    #[error("a text frame instead of a binary one")]
    Text,
    /// A part of a message without a first part.
    #[error("a continuation without a message")]
    Continuation,
    /// A message begins within another.
    #[error("a message within another")]
    Interleaved,
    /// A control frame in parts, or with more than 125 bytes.
    #[error("a control frame that is fragmented or too long")]
    Control,
    /// The length has more bytes than it needs, or its highest bit is set.
    #[error("a length that is not encoded as it must be")]
    Length,
    /// The payload of a close frame is invalid.
    #[error("an invalid close frame")]
    Close,
}

impl Violation {
    /// The code to close with.
    pub const fn code(self) -> u16 {
        match self {
            Self::Text => Close::UNSUPPORTED,
            _ => Close::PROTOCOL_ERROR,
        }
    }
}

#[derive(Debug)]
enum State {
    /// Within a header, or before one.
    Header,
    /// Within the payload of a message.
    Payload { left: u64 },
    /// Within a control frame.
    Control { opcode: Opcode, left: usize },
}

/// Decodes frames. After a violation it must not be used again.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    /// The first bytes of a header.
    header: [u8; HEADER_MAX],
    header_len: usize,
    control: [u8; CONTROL_MAX],
    control_len: usize,
    /// A message has begun and its last frame has not.
    in_message: bool,
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            state: State::Header,
            header: [0; HEADER_MAX],
            header_len: 0,
            control: [0; CONTROL_MAX],
            control_len: 0,
            in_message: false,
        }
    }
}

impl Decoder {
    /// Takes bytes from the front of `input`. Returns the next event; `None` if all bytes are taken.
    pub fn next(&mut self, input: &mut Bytes) -> Result<Option<Event>, Violation> {
        loop {
            match self.state {
                State::Header => {
                    let Some(needed) = self.take_header(input) else {
                        return Ok(None);
                    };
                    self.state = self.begin(needed)?;
                    self.header_len = 0;
                }
                State::Payload { left: 0 } => self.state = State::Header,
                State::Payload { left } => {
                    if input.is_empty() {
                        return Ok(None);
                    }
                    let here = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                    self.state = State::Payload {
                        left: left - here as u64,
                    };
                    return Ok(Some(Event::Payload(input.split_to(here))));
                }
                State::Control { opcode, left } => {
                    let here = left.min(input.len());
                    let room = self
                        .control
                        .get_mut(self.control_len..self.control_len + here);
                    // A control frame has at most 125 bytes, which was checked.
                    let room = room.ok_or(Violation::Control)?;
                    input.copy_to_slice(room);
                    self.control_len += here;
                    if here < left {
                        self.state = State::Control {
                            opcode,
                            left: left - here,
                        };
                        return Ok(None);
                    }
                    self.state = State::Header;
                    return self.control(opcode).map(Some);
                }
            }
        }
    }

    /// Takes bytes of the header until it is complete. Returns its length; `None` if bytes are missing.
    fn take_header(&mut self, input: &mut Bytes) -> Option<usize> {
        loop {
            let needed = match (self.header_len, self.header) {
                (0 | 1, _) => 2,
                (_, [_, second, ..]) => match second & 0x7f {
                    126 => 4,
                    127 => 10,
                    _ => 2,
                },
            };
            if self.header_len >= needed {
                return Some(needed);
            }
            if input.is_empty() {
                return None;
            }
            let byte = input.get_u8();
            if let Some(place) = self.header.get_mut(self.header_len) {
                *place = byte;
            }
            self.header_len += 1;
        }
    }

    /// A header of `length` bytes is complete.
    fn begin(&mut self, length: usize) -> Result<State, Violation> {
        let [first, second, rest @ ..] = self.header;
        let code = first & 0x0f;
        let is_final = first & 0x80 != 0;
        if first & 0x70 != 0 {
            return Err(Violation::ReservedBit);
        }
        if second & 0x80 != 0 {
            return Err(Violation::Masked);
        }
        let [a, b, ..] = rest;
        let payload = match length {
            2 => u64::from(second),
            4 => u64::from(u16::from_be_bytes([a, b])),
            _ => u64::from_be_bytes(rest),
        };
        let minimal = match length {
            2 => 0,
            4 => 126,
            _ => 0x1_0000,
        };
        if payload < minimal || payload >> 63 != 0 {
            return Err(Violation::Length);
        }
        match Opcode::of(code).ok_or(Violation::ReservedOpcode(code))? {
            Opcode::Text => Err(Violation::Text),
            Opcode::Binary if self.in_message => Err(Violation::Interleaved),
            Opcode::Continuation if !self.in_message => Err(Violation::Continuation),
            Opcode::Binary | Opcode::Continuation => {
                self.in_message = !is_final;
                Ok(State::Payload { left: payload })
            }
            opcode @ (Opcode::Close | Opcode::Ping | Opcode::Pong) => {
                let left = usize::try_from(payload).unwrap_or(usize::MAX);
                if !is_final || left > CONTROL_MAX {
                    return Err(Violation::Control);
                }
                self.control_len = 0;
                Ok(State::Control { opcode, left })
            }
        }
    }

    /// A control frame is complete.
    fn control(&self, opcode: Opcode) -> Result<Event, Violation> {
        let payload = self.control.get(..self.control_len).unwrap_or_default();
        Ok(match opcode {
            Opcode::Ping => Event::Ping(Bytes::copy_from_slice(payload)),
            Opcode::Close => Event::Close(Close::read(payload).ok_or(Violation::Close)?),
            _ => Event::Pong,
        })
    }
}
