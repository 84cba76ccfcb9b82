//! The packets (MQTT 5.0, 3).

use bytes::Bytes;
use bytestring::ByteString;

use super::properties::{
    AckProperties, AuthProperties, ConnackProperties, ConnectProperties, DisconnectProperties,
    PublishProperties, SubscribeProperties, UnsubscribeProperties, WillProperties,
};
use super::{Parts, ReasonCode, Version};

/// What a packet is; the value is its number on the wire.
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

    /// The name as the specification writes it.
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

    /// The flags that its fixed header must have; PUBLISH has flags of its own (2.1.3).
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
    /// What it is.
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
    /// The version that the packet itself names.
    pub version: Version,
    /// Without what an earlier connection left.
    pub clean_start: bool,
    /// Seconds; 0 for none.
    pub keep_alive: u16,
    /// Whose session.
    pub client_id: ByteString,
    /// MQTT 5 only.
    pub properties: ConnectProperties,
    /// What the broker publishes when the connection is lost.
    pub will: Option<Will>,
    /// The user.
    pub username: Option<ByteString>,
    /// The password, any bytes.
    pub password: Option<Bytes>,
}

/// The will message of a CONNECT (3.1.3.2).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Will {
    /// How safely.
    pub qos: u8,
    /// Whether it is retained.
    pub retain: bool,
    /// Where to.
    pub topic: ByteString,
    /// What.
    pub payload: Bytes,
    /// MQTT 5 only.
    pub properties: WillProperties,
}

/// CONNACK (3.2).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Connack {
    /// Whether the broker has an earlier session of the client.
    pub session_present: bool,
    /// The verdict; a return code of MQTT 3.1.1 is told by the reason code that means the same.
    pub reason: ReasonCode,
    /// MQTT 5 only.
    pub properties: ConnackProperties,
}

/// PUBLISH (3.3).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Publish {
    /// Whether it may have been sent before.
    pub dup: bool,
    /// How safely.
    pub qos: u8,
    /// Whether it is, or is to be, retained.
    pub retain: bool,
    /// Where to; empty where a topic alias stands for it.
    pub topic: ByteString,
    /// 0 at `QoS` 0, and not 0 above.
    pub packet_id: u16,
    /// MQTT 5 only.
    pub properties: PublishProperties,
    /// What, in the slices in which it came; none of them is empty.
    pub payload: Parts,
}

/// PUBACK, PUBREC, PUBREL and PUBCOMP (3.4 to 3.7).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Ack {
    /// Of which PUBLISH.
    pub packet_id: u16,
    /// The verdict; success in MQTT 3.1.1.
    pub reason: ReasonCode,
    /// MQTT 5 only.
    pub properties: AckProperties,
}

/// SUBSCRIBE (3.8).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Subscribe {
    /// Pairs it with its SUBACK.
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
    /// At a SUBSCRIBE that makes the subscription.
    SendIfNew = 1,
    /// Never.
    DoNotSend = 2,
}

/// One filter of a SUBSCRIBE (3.8.3).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SubscribeFilter {
    /// The topic filter.
    pub filter: ByteString,
    /// The highest `QoS` at which messages come.
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
    /// Of which SUBSCRIBE.
    pub packet_id: u16,
    /// MQTT 5 only.
    pub properties: AckProperties,
    /// One for each filter.
    pub reasons: Vec<ReasonCode>,
}

/// UNSUBSCRIBE (3.10).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Unsubscribe {
    /// Pairs it with its UNSUBACK.
    pub packet_id: u16,
    /// MQTT 5 only.
    pub properties: UnsubscribeProperties,
    /// At least one.
    pub filters: Vec<ByteString>,
}

/// UNSUBACK (3.11).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Unsuback {
    /// Of which UNSUBSCRIBE.
    pub packet_id: u16,
    /// MQTT 5 only.
    pub properties: AckProperties,
    /// One for each filter; none in MQTT 3.1.1.
    pub reasons: Vec<ReasonCode>,
}

/// DISCONNECT (3.14).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Disconnect {
    /// Why; success in MQTT 3.1.1.
    pub reason: ReasonCode,
    /// MQTT 5 only.
    pub properties: DisconnectProperties,
}

/// AUTH (3.15), MQTT 5 only.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Auth {
    /// How far.
    pub reason: ReasonCode,
    /// What.
    pub properties: AuthProperties,
}
