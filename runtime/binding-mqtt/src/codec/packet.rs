//! The packets (MQTT 5.0, 3).

use bytes::Bytes;
use bytestring::ByteString;

use super::properties::{
    AckProperties, AuthProperties, ConnackProperties, ConnectProperties, DisconnectProperties,
    PublishProperties, SubscribeProperties, UnsubscribeProperties, WillProperties,
};
use super::{Parts, ReasonCode, Version};

/// The type of a packet; the value is its number in the fixed header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "named as in the specification")]
pub enum PacketType {
    Connect = 1,
    Connack = 2,
    Publish = 3,
    Puback = 4,
    Pubrec = 5,
    Pubrel = 6,
    Pubcomp = 7,
    Subscribe = 8,
    Suback = 9,
    Unsubscribe = 10,
    Unsuback = 11,
    Pingreq = 12,
    Pingresp = 13,
    Disconnect = 14,
    Auth = 15,
}

impl PacketType {
    pub(super) const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Connect,
            2 => Self::Connack,
            3 => Self::Publish,
            4 => Self::Puback,
            5 => Self::Pubrec,
            6 => Self::Pubrel,
            7 => Self::Pubcomp,
            8 => Self::Subscribe,
            9 => Self::Suback,
            10 => Self::Unsubscribe,
            11 => Self::Unsuback,
            12 => Self::Pingreq,
            13 => Self::Pingresp,
            14 => Self::Disconnect,
            15 => Self::Auth,
            _ => return None,
        })
    }

    /// The name in the specification.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Connect => "CONNECT",
            Self::Connack => "CONNACK",
            Self::Publish => "PUBLISH",
            Self::Puback => "PUBACK",
            Self::Pubrec => "PUBREC",
            Self::Pubrel => "PUBREL",
            Self::Pubcomp => "PUBCOMP",
            Self::Subscribe => "SUBSCRIBE",
            Self::Suback => "SUBACK",
            Self::Unsubscribe => "UNSUBSCRIBE",
            Self::Unsuback => "UNSUBACK",
            Self::Pingreq => "PINGREQ",
            Self::Pingresp => "PINGRESP",
            Self::Disconnect => "DISCONNECT",
            Self::Auth => "AUTH",
        }
    }

    /// The reserved flags of its fixed header; PUBLISH has its own flags (2.1.3).
    pub(super) const fn reserved_flags(self) -> u8 {
        match self {
            Self::Pubrel | Self::Subscribe | Self::Unsubscribe => 0b0010,
            _ => 0,
        }
    }
}

/// A packet.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "named as in the specification")]
pub enum Packet {
    Connect(Box<Connect>),
    Connack(Box<Connack>),
    Publish(Publish),
    Puback(Ack),
    Pubrec(Ack),
    Pubrel(Ack),
    Pubcomp(Ack),
    Subscribe(Subscribe),
    Suback(Suback),
    Unsubscribe(Unsubscribe),
    Unsuback(Unsuback),
    Pingreq,
    Pingresp,
    Disconnect(Box<Disconnect>),
    Auth(Box<Auth>),
}

impl Packet {
    /// The type.
    pub const fn packet_type(&self) -> PacketType {
        match self {
            Self::Connect(_) => PacketType::Connect,
            Self::Connack(_) => PacketType::Connack,
            Self::Publish(_) => PacketType::Publish,
            Self::Puback(_) => PacketType::Puback,
            Self::Pubrec(_) => PacketType::Pubrec,
            Self::Pubrel(_) => PacketType::Pubrel,
            Self::Pubcomp(_) => PacketType::Pubcomp,
            Self::Subscribe(_) => PacketType::Subscribe,
            Self::Suback(_) => PacketType::Suback,
            Self::Unsubscribe(_) => PacketType::Unsubscribe,
            Self::Unsuback(_) => PacketType::Unsuback,
            Self::Pingreq => PacketType::Pingreq,
            Self::Pingresp => PacketType::Pingresp,
            Self::Disconnect(_) => PacketType::Disconnect,
            Self::Auth(_) => PacketType::Auth,
        }
    }
}

/// CONNECT (3.1).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Connect {
    /// The protocol version in the packet.
    pub version: Version,
    /// Whether to discard an earlier session.
    pub clean_start: bool,
    /// The keep-alive interval in seconds; 0: off.
    pub keep_alive: u16,
    /// The client identifier.
    pub client_id: ByteString,
    /// MQTT 5 only.
    pub properties: ConnectProperties,
    /// The message that the broker publishes when the connection is lost.
    pub will: Option<Will>,
    /// The user name.
    pub username: Option<ByteString>,
    /// The password, any bytes.
    pub password: Option<Bytes>,
}

/// The will message of a CONNECT (3.1.3.2).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Will {
    /// The `QoS`.
    pub qos: u8,
    /// Whether it is retained.
    pub retain: bool,
    /// The topic.
    pub topic: ByteString,
    /// The payload.
    pub payload: Bytes,
    /// MQTT 5 only.
    pub properties: WillProperties,
}

/// CONNACK (3.2).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Connack {
    /// Whether the broker has a session of the client.
    pub session_present: bool,
    /// The result. A return code of MQTT 3.1.1 is mapped to the equivalent reason code.
    pub reason: ReasonCode,
    /// MQTT 5 only.
    pub properties: ConnackProperties,
}

/// PUBLISH (3.3).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Publish {
    /// Whether it may be a duplicate.
    pub dup: bool,
    /// The `QoS`.
    pub qos: u8,
    /// The retain flag.
    pub retain: bool,
    /// The topic; empty if a topic alias is used.
    pub topic: ByteString,
    /// 0 at `QoS` 0, otherwise not 0.
    pub packet_id: u16,
    /// MQTT 5 only.
    pub properties: PublishProperties,
    /// The payload in the parts in which it was received, none of them empty.
    pub payload: Parts,
}

/// PUBACK, PUBREC, PUBREL and PUBCOMP (3.4 to 3.7).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Ack {
    /// The packet identifier of the PUBLISH.
    pub packet_id: u16,
    /// The result; success in MQTT 3.1.1.
    pub reason: ReasonCode,
    /// MQTT 5 only.
    pub properties: AckProperties,
}

/// SUBSCRIBE (3.8).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Subscribe {
    /// Matches the packet to its SUBACK.
    pub packet_id: u16,
    /// MQTT 5 only.
    pub properties: SubscribeProperties,
    /// At least one.
    pub filters: Vec<SubscribeFilter>,
}

/// When retained messages are sent for a subscription (3.8.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RetainHandling {
    /// At every SUBSCRIBE.
    #[default]
    Send = 0,
    /// If the subscription is new.
    SendIfNew = 1,
    /// Never.
    DoNotSend = 2,
}

/// One filter of a SUBSCRIBE (3.8.3).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SubscribeFilter {
    /// The topic filter.
    pub filter: ByteString,
    /// The maximum `QoS` of messages.
    pub qos: u8,
    /// Not the client's own messages. MQTT 5 only.
    pub no_local: bool,
    /// The retain flag as published. MQTT 5 only.
    pub retain_as_published: bool,
    /// MQTT 5 only.
    pub retain_handling: RetainHandling,
}

/// SUBACK (3.9).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Suback {
    /// The packet identifier of the SUBSCRIBE.
    pub packet_id: u16,
    /// MQTT 5 only.
    pub properties: AckProperties,
    /// One per filter.
    pub reasons: Vec<ReasonCode>,
}

/// UNSUBSCRIBE (3.10).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Unsubscribe {
    /// Matches the packet to its UNSUBACK.
    pub packet_id: u16,
    /// MQTT 5 only.
    pub properties: UnsubscribeProperties,
    /// At least one.
    pub filters: Vec<ByteString>,
}

/// UNSUBACK (3.11).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Unsuback {
    /// The packet identifier of the UNSUBSCRIBE.
    pub packet_id: u16,
    /// MQTT 5 only.
    pub properties: AckProperties,
    /// One per filter; none in MQTT 3.1.1.
    pub reasons: Vec<ReasonCode>,
}

/// DISCONNECT (3.14).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Disconnect {
    /// The reason; success in MQTT 3.1.1.
    pub reason: ReasonCode,
    /// MQTT 5 only.
    pub properties: DisconnectProperties,
}

/// AUTH (3.15), MQTT 5 only.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Auth {
    /// The step of the authentication.
    pub reason: ReasonCode,
    /// The method and the data.
    pub properties: AuthProperties,
}
