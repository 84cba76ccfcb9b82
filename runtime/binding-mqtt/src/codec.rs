//! The MQTT wire format: encodes and decodes packets of MQTT 5.0 and 3.1.1.
//!
//! - **Strict.** Everything that the specification forbids is rejected with a reason: reserved
//!   flags, variable byte integers that are longer than needed, invalid UTF-8, misplaced
//!   properties, trailing bytes. A complete packet never yields "need more".
//! - **Zero-copy.** Topics, properties and payloads are slices of the received bytes; a PUBLISH
//!   received in several reads keeps its payload in several slices. A PUBLISH is encoded as a small
//!   header before the slices of its payload.
//! - **One implementation for both versions**: [`Version`] is a parameter.
//! - **Both directions** of every packet, so that tests can act as the broker.

mod decode;
mod encode;
mod error;
mod frame;
mod packet;
mod properties;
mod reader;
mod reason;
mod repeat;
mod scripted;

pub use encode::{encode, encode_publish};
pub use error::{DecodeError, DecodeFault, EncodeError};
pub use frame::{Decoder, PassedOver};
pub use packet::{
    Ack, Auth, Connack, Connect, Disconnect, Packet, PacketType, Publish, RetainHandling, Suback,
    Subscribe, SubscribeFilter, Unsuback, Unsubscribe, Will,
};
pub use properties::{
    AckProperties, AuthProperties, ConnackProperties, ConnectProperties, DisconnectProperties,
    PublishProperties, SubscribeProperties, UnsubscribeProperties, UserProperty, WillProperties,
};
pub use reason::ReasonCode;
pub use repeat::{set_duplicate, set_message_expiry};
pub use scripted::packet_reference;

/// The protocol version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Version {
    /// MQTT 3.1.1
    V311,
    /// MQTT 5.0
    #[default]
    V5,
}

impl Version {
    /// Its number.
    pub const fn word(self) -> &'static str {
        match self {
            Self::V311 => "3.1.1",
            Self::V5 => "5",
        }
    }
}

/// Bytes in the parts in which they were received; nearly always one.
pub type Parts = smallvec::SmallVec<[bytes::Bytes; 1]>;

/// The maximum Remaining Length (MQTT 5.0, 2.1.4).
pub const REMAINING_LENGTH_MAX: usize = 268_435_455;

#[cfg(test)]
mod tests;
