//! Errors of packets.

use thiserror::Error;

use super::{PacketType, ReasonCode};

/// A packet that cannot be decoded. Its connection must be closed, unless the packet was passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{}: {fault}", packet.map_or("a packet", PacketType::word))]
pub struct DecodeError {
    /// The packet type, if known.
    pub packet: Option<PacketType>,
    /// The fault.
    pub fault: DecodeFault,
}

/// The fault of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DecodeFault {
    /// It violates the format.
    #[error("{0}")]
    Malformed(&'static str),
    /// It is well-formed but not allowed.
    #[error("{0}")]
    Protocol(&'static str),
    /// It exceeds the size limit.
    #[error("packet size {size} exceeds the limit of {limit} bytes")]
    TooLarge {
        /// Packet size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
}

impl DecodeError {
    /// The reason code for a DISCONNECT (MQTT 5.0, 4.13).
    pub const fn reason_code(&self) -> ReasonCode {
        match self.fault {
            DecodeFault::Malformed(_) => ReasonCode::MALFORMED_PACKET,
            DecodeFault::Protocol(_) => ReasonCode::PROTOCOL_ERROR,
            DecodeFault::TooLarge { .. } => ReasonCode::PACKET_TOO_LARGE,
        }
    }
}

/// A packet that cannot be encoded. Nothing was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// A string or binary field is longer than MQTT allows.
    #[error("a field of {0} bytes exceeds the MQTT limit of 65,535 bytes")]
    FieldTooLong(usize),
    /// The packet exceeds the limit of the peer or of MQTT.
    #[error("packet size {size} exceeds the limit of {limit} bytes")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The version does not have this packet or field.
    #[error("MQTT 3.1.1 has no {0}")]
    NotInVersion(&'static str),
}
