//! Builds the packets that this side sends, and converts received messages for subscribers.

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use tidegate_engine::streams::mqtt::{
    MqttPayloadFormat, MqttSubscribeData, MqttSubscribeFlags, MqttUserProperty,
};

use super::aliases::Naming;
use super::connection::Shared;
use super::credentials::Credentials;
use super::publications::Message;
use super::subscriptions::Order;
use super::will::WillMessage;
use crate::codec::{
    Ack, Auth, Connect, ConnectProperties, Decoder, Disconnect, EncodeError, Packet, Parts,
    Publish, PublishProperties, ReasonCode, RetainHandling, Subscribe, SubscribeFilter,
    SubscribeProperties, Unsubscribe, UserProperty, Version, encode, encode_publish, set_duplicate,
    set_message_expiry,
};

/// Size of a connection's first buffer for packets, and for the headers of PUBLISH packets, in bytes. Most
/// connections of sessions need no larger one.
const FIRST_BUFFER: usize = 512;
/// Size of the largest buffer; each one that is not free again when it is needed is followed by a larger one.
const LARGEST_BUFFER: usize = 4_096;
/// Typical size of a packet, with a topic and properties of some length.
const PACKET: usize = 128;
/// A payload up to this size is copied behind its header, which costs less than passing on and
/// writing a part of its own.
const COPIED_MAX: usize = 1_024;

/// The buffer for packets of one connection, and their version. It is not shared with others,
/// because packets queued on a stalled connection would keep the memory of all.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    bytes: BytesMut,
    /// Size of the last buffer.
    size: usize,
    /// The version of CONNECT.
    pub(super) version: Version,
}

impl Buffer {
    fn room(&mut self) -> &mut BytesMut {
        // Remove what a failed packet may have left.
        self.bytes.clear();
        // The memory is used again if all packets written to it were dropped.
        if self.bytes.capacity() < PACKET && (self.size == 0 || !self.bytes.try_reclaim(self.size))
        {
            self.size = (2 * self.size).clamp(FIRST_BUFFER, LARGEST_BUFFER);
            self.bytes.reserve(self.size);
        }
        &mut self.bytes
    }

    fn written(&mut self) -> Bytes {
        self.bytes.split().freeze()
    }

    /// The decoder for packets from the broker.
    pub(super) fn decoder(&self, shared: &Shared) -> Decoder {
        Decoder::new(self.version, shared.options.max_packet_size.size())
    }
}

fn bytes_of(out: &mut Buffer, packet: &Packet, limit: Option<usize>) -> Result<Bytes, EncodeError> {
    let limit = limit.unwrap_or(usize::MAX);
    encode(packet, out.version, limit, out.room())?;
    Ok(out.written())
}

/// Encodes a packet whose fields are already checked and that is smaller than any broker's limit.
fn small(out: &mut Buffer, packet: &Packet) -> Bytes {
    bytes_of(out, packet, None).unwrap_or_else(|error| {
        tracing::error!("cannot encode a packet: {error}");
        Bytes::new()
    })
}

/// What a connection asks for in CONNECT, besides the options.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Terms {
    /// Resume the session; otherwise, start clean.
    pub(super) resume: bool,
    /// Time in seconds that the session lasts after the connection; `None`: it ends with it.
    pub(super) session_expiry: Option<u32>,
    /// For a counted subscription.
    pub(super) receive_maximum: Option<u16>,
    /// With the will, if there is one.
    pub(super) will: bool,
}

/// CONNECT
pub(super) fn connect(
    shared: &Shared,
    out: &mut Buffer,
    client_id: &ByteString,
    terms: Terms,
    credentials: Credentials,
) -> Bytes {
    let options = &shared.options;
    let number = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    let short = |value: u64| u16::try_from(value).unwrap_or(u16::MAX);
    let Credentials {
        mut username,
        password,
        authentication,
    } = credentials;
    let (method, data) = authentication.unzip();
    if out.version == Version::V311 && password.is_some() {
        // MQTT 3.1.1 has no password without a user name (3.1.2.9).
        username.get_or_insert_default();
    }
    let packet = Connect {
        version: out.version,
        clean_start: !terms.resume,
        keep_alive: short(options.keep_alive.get()),
        client_id: client_id.clone(),
        properties: ConnectProperties {
            session_expiry: terms.session_expiry,
            receive_maximum: terms
                .receive_maximum
                .or_else(|| Some(short(options.receive_maximum.get()))),
            maximum_packet_size: Some(number(options.max_packet_size.get())),
            topic_alias_maximum: Some(short(options.topic_alias_maximum.get()))
                .filter(|most| *most > 0),
            authentication_method: method.map(ByteString::from_static),
            authentication_data: data,
            ..ConnectProperties::default()
        },
        will: options
            .will
            .as_ref()
            .filter(|_| terms.will)
            .map(WillMessage::packet),
        username,
        password,
    };
    small(out, &Packet::Connect(Box::new(packet)))
}

/// AUTH that continues an authentication.
pub(super) fn auth(out: &mut Buffer, method: &'static str, data: Bytes) -> Bytes {
    let mut packet = Auth {
        reason: ReasonCode::CONTINUE_AUTHENTICATION,
        ..Auth::default()
    };
    packet.properties.authentication_method = Some(ByteString::from_static(method));
    packet.properties.authentication_data = Some(data);
    small(out, &Packet::Auth(Box::new(packet)))
}

/// PINGREQ
pub(super) fn ping(out: &mut Buffer) -> Bytes {
    small(out, &Packet::Pingreq)
}

/// DISCONNECT that ends the session.
pub(super) fn disconnect_finally(out: &mut Buffer, kept: bool) -> Bytes {
    let mut packet = Disconnect::default();
    packet.properties.session_expiry = kept.then_some(0);
    small(out, &Packet::Disconnect(Box::new(packet)))
}

/// DISCONNECT with the reason for it.
pub(super) fn disconnect(out: &mut Buffer, reason: ReasonCode) -> Bytes {
    let packet = Disconnect {
        reason,
        ..Disconnect::default()
    };
    small(out, &Packet::Disconnect(Box::new(packet)))
}

fn ack(packet_id: u16, reason: ReasonCode) -> Ack {
    Ack {
        packet_id,
        reason,
        ..Ack::default()
    }
}

/// PUBACK
pub(super) fn puback(out: &mut Buffer, packet_id: u16) -> Bytes {
    small(out, &Packet::Puback(ack(packet_id, ReasonCode::SUCCESS)))
}

/// PUBREC
pub(super) fn pubrec(out: &mut Buffer, packet_id: u16) -> Bytes {
    small(out, &Packet::Pubrec(ack(packet_id, ReasonCode::SUCCESS)))
}

/// PUBREL
pub(super) fn pubrel(out: &mut Buffer, packet_id: u16, reason: ReasonCode) -> Bytes {
    small(out, &Packet::Pubrel(ack(packet_id, reason)))
}

/// PUBCOMP
pub(super) fn pubcomp(out: &mut Buffer, packet_id: u16, reason: ReasonCode) -> Bytes {
    small(out, &Packet::Pubcomp(ack(packet_id, reason)))
}

/// SUBSCRIBE; an error if it exceeds the packet size that the broker accepts.
pub(super) fn subscribe(
    out: &mut Buffer,
    packet_id: u16,
    order: &Order,
    identifiers: bool,
    limit: Option<usize>,
) -> Result<Bytes, EncodeError> {
    let filter = SubscribeFilter {
        filter: order.filter.clone(),
        qos: order.qos,
        no_local: order.no_local,
        retain_as_published: order.as_published,
        retain_handling: if order.replay {
            RetainHandling::Send
        } else {
            RetainHandling::DoNotSend
        },
    };
    let packet = Subscribe {
        packet_id,
        properties: SubscribeProperties {
            subscription_id: identifiers.then_some(order.identifier),
            ..SubscribeProperties::default()
        },
        filters: vec![filter],
    };
    bytes_of(out, &Packet::Subscribe(packet), limit)
}

/// UNSUBSCRIBE
pub(super) fn unsubscribe(out: &mut Buffer, packet_id: u16, filter: ByteString) -> Bytes {
    let packet = Unsubscribe {
        packet_id,
        filters: vec![filter],
        ..Unsubscribe::default()
    };
    small(out, &Packet::Unsubscribe(packet))
}

/// PUBLISH: the header, with a small payload behind it, and the parts of a larger one.
pub(super) fn publish(
    out: &mut Buffer,
    mut message: Message,
    packet_id: u16,
    naming: Naming,
    limit: Option<usize>,
) -> Result<(Bytes, Parts), EncodeError> {
    let extension = message.take_extension();
    let user = extension
        .properties
        .into_iter()
        .map(|property| UserProperty {
            key: property.key,
            value: property.value,
        });
    let (topic, topic_alias) = match naming {
        Naming::Topic => (message.topic, None),
        Naming::Both(alias) => (message.topic, Some(alias)),
        Naming::Alias(alias) => (ByteString::new(), Some(alias)),
    };
    let packet = Publish {
        dup: false,
        qos: message.qos,
        retain: message.retain,
        topic,
        packet_id,
        properties: PublishProperties {
            payload_format: match extension.format {
                MqttPayloadFormat::Text => Some(1),
                MqttPayloadFormat::Binary | MqttPayloadFormat::None => None,
            },
            message_expiry: u32::try_from(extension.expiry_interval).ok(),
            topic_alias,
            response_topic: extension.response_topic,
            correlation: extension.correlation,
            subscription_ids: Vec::new(),
            content_type: extension.content_type,
            user: user.collect(),
        },
        payload: Parts::new(),
    };
    let limit = limit.unwrap_or(usize::MAX);
    let version = out.version;
    let text = out.room();
    encode_publish(&packet, message.length, version, limit, text)?;
    if message.length <= COPIED_MAX {
        for part in message.parts.drain(..) {
            text.extend_from_slice(&part);
        }
    }
    Ok((out.written(), message.parts))
}

/// The header of a PUBLISH that is sent again, from that of the first time: with DUP, and with the time
/// until the message expires, in seconds.
pub(super) fn duplicate(out: &mut Buffer, header: &Bytes, expiry: Option<u32>) -> Bytes {
    let version = out.version;
    let again = out.room();
    again.extend_from_slice(header);
    set_duplicate(again);
    if let Some(seconds) = expiry
        && version == Version::V5
    {
        set_message_expiry(again, seconds);
    }
    out.written()
}

/// Converts a message from the broker. Subscriber-specific fields are added later.
pub(super) fn message(publish: &Publish) -> MqttSubscribeData {
    let properties = &publish.properties;
    let user = properties.user.iter().map(|property| MqttUserProperty {
        key: property.key.clone(),
        value: property.value.clone(),
    });
    MqttSubscribeData {
        deferred: 0,
        topic: publish.topic.clone(),
        packet_id: publish.packet_id,
        number: 0,
        qos: publish.qos,
        flags: MqttSubscribeFlags::NONE.with_if(MqttSubscribeFlags::RETAIN, publish.retain),
        subscription_ids: Vec::new(),
        expiry_interval: properties.message_expiry.map_or(-1, i64::from),
        content_type: properties.content_type.clone(),
        format: match properties.payload_format {
            Some(1) => MqttPayloadFormat::Text,
            Some(_) => MqttPayloadFormat::Binary,
            None => MqttPayloadFormat::None,
        },
        response_topic: properties.response_topic.clone(),
        correlation: properties.correlation.clone(),
        properties: user.collect(),
    }
}
