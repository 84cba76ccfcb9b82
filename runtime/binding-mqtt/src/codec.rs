//! MQTT on the wire: packets in and out of bytes, for MQTT 5.0 and 3.1.1.
//!
//! - **Strict.** What the specification forbids is refused with its reason: reserved flags, variable
//!   integers that are longer than needed, text that is no UTF-8, properties where they do not
//!   belong, trailing bytes. A complete packet is never answered with "need more".
//! - **In place.** Topics, properties and payloads are slices of what was read; a PUBLISH that came
//!   in several reads keeps its payload in several slices. A PUBLISH is written as one small header
//!   in front of its payload's slices.
//! - **One code for both versions**: [`Version`] is a parameter.
//! - **Both directions** of every packet, so that tests can play the broker.

mod decode;
mod encode;
mod error;
mod frame;
mod packet;
mod properties;
mod reader;
mod reason;
mod scripted;

pub use encode::{encode, encode_publish};
pub use error::{DecodeError, DecodeFault, EncodeError};
pub use frame::Decoder;
pub use packet::{
    Ack, Auth, Connack, Connect, Disconnect, Packet, PacketType, Publish, RetainHandling, Suback,
    Subscribe, SubscribeFilter, Unsuback, Unsubscribe, Will,
};
pub use properties::{
    AckProperties, AuthProperties, ConnackProperties, ConnectProperties, DisconnectProperties,
    PublishProperties, SubscribeProperties, UnsubscribeProperties, UserProperty, WillProperties,
};
pub use reason::ReasonCode;
pub use scripted::packet_reference;

/// Which MQTT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Version {
    /// MQTT 3.1.1
    V311,
    /// MQTT 5.0
    #[default]
    V5,
}

/// Bytes in the pieces in which they came; nearly always one.
pub type Parts = smallvec::SmallVec<[bytes::Bytes; 1]>;

/// The largest remaining length that a packet can have (MQTT 5.0, 2.1.4).
pub const REMAINING_LENGTH_MAX: usize = 268_435_455;

#[cfg(test)]
mod tests;
