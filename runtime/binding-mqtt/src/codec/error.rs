//! What can be wrong with a packet.

use thiserror::Error;

use super::{PacketType, ReasonCode};

/// A packet that cannot be read. The connection it came on is not to be used any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{}: {fault}", packet.map_or("a packet", PacketType::word))]
pub struct DecodeError {
    /// Which packet, where that is known.
    pub packet: Option<PacketType>,
    /// What is wrong with it.
    pub fault: DecodeFault,
}

/// What is wrong with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DecodeFault {
    /// It breaks the format.
    #[error("{0}")]
    Malformed(&'static str),
    /// It is well-formed and not allowed.
    #[error("{0}")]
    Protocol(&'static str),
    /// It is larger than is taken.
    #[error("packet size {size} exceeds the limit of {limit} bytes")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
}

impl DecodeError {
    /// The reason code that a DISCONNECT gives for it (MQTT 5.0, 4.13).
    pub const fn reason_code(&self) -> ReasonCode {
        match self.fault {
            DecodeFault::Malformed(_) => ReasonCode::MALFORMED_PACKET,
            DecodeFault::Protocol(_) => ReasonCode::PROTOCOL_ERROR,
            DecodeFault::TooLarge { .. } => ReasonCode::PACKET_TOO_LARGE,
        }
    }
}

/// A packet that cannot be written. Nothing of it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// A string or binary field is longer than its length can tell.
    #[error("a field of {0} bytes exceeds the MQTT limit of 65,535 bytes")]
    FieldTooLong(usize),
    /// The packet is larger than the peer takes, or than MQTT can express.
    #[error("packet size {size} exceeds the limit of {limit} bytes")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The version has no such packet or field.
    #[error("MQTT 3.1.1 has no {0}")]
    NotInVersion(&'static str),
}
