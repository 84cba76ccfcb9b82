//! Builds the packets that this side sends, and converts received messages for subscribers.

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use tidegate_engine::streams::mqtt::{
    MqttPayloadFormat, MqttSubscribeData, MqttSubscribeFlags, MqttUserProperty,
};

use super::connection::Shared;
use super::publications::Message;
use super::subscriptions::Order;
use crate::codec::{
    Ack, Connect, ConnectProperties, Decoder, Disconnect, EncodeError, Packet, Parts, Publish,
    PublishProperties, ReasonCode, RetainHandling, Subscribe, SubscribeFilter, SubscribeProperties,
    Unsubscribe, UserProperty, encode, encode_publish,
};

/// Size of a buffer for packets, and for the headers of PUBLISH packets.
const PACKETS: usize = 4_096;
/// Typical size of a packet, with a topic and properties of some length.
const PACKET: usize = 128;
/// A payload up to this size is copied behind its header, which costs less than passing on and
/// writing a part of its own.
const COPIED_MAX: usize = 1_024;

/// The buffer for packets of one connection. It is not shared with others, because packets queued
/// on a stalled connection would keep the memory of all.
#[derive(Debug, Default)]
pub(super) struct Buffer(BytesMut);

impl Buffer {
    fn room(&mut self) -> &mut BytesMut {
        // Remove what a failed packet may have left.
        self.0.clear();
        if self.0.capacity() < PACKET {
            // The memory is reused if all packets written to it were dropped.
            self.0.reserve(PACKETS);
        }
        &mut self.0
    }

    fn written(&mut self) -> Bytes {
        self.0.split().freeze()
    }
}

/// The decoder for packets from the broker.
pub(super) fn decoder(shared: &Shared) -> Decoder {
    Decoder::new(shared.version, shared.options.max_packet_size.size())
}

fn bytes_of(
    shared: &Shared,
    out: &mut Buffer,
    packet: &Packet,
    limit: Option<usize>,
) -> Result<Bytes, EncodeError> {
    let limit = limit.unwrap_or(usize::MAX);
    encode(packet, shared.version, limit, out.room())?;
    Ok(out.written())
}

/// Encodes a packet whose fields are already checked and that is smaller than any broker's limit.
fn small(shared: &Shared, out: &mut Buffer, packet: &Packet) -> Bytes {
    bytes_of(shared, out, packet, None).unwrap_or_else(|error| {
        tracing::error!("cannot encode a packet: {error}");
        Bytes::new()
    })
}

/// CONNECT with a clean start, and a session that ends with the connection. `receive_maximum` is
/// set for a counted subscription.
pub(super) fn connect(
    shared: &Shared,
    out: &mut Buffer,
    client_id: &ByteString,
    receive_maximum: Option<u16>,
) -> Bytes {
    let options = &shared.options;
    let number = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    let short = |value: u64| u16::try_from(value).unwrap_or(u16::MAX);
    let packet = Connect {
        version: shared.version,
        clean_start: true,
        keep_alive: short(options.keep_alive.get()),
        client_id: client_id.clone(),
        properties: ConnectProperties {
            receive_maximum: receive_maximum.or_else(|| Some(short(options.receive_maximum.get()))),
            maximum_packet_size: Some(number(options.max_packet_size.get())),
            ..ConnectProperties::default()
        },
        will: None,
        username: options.username.as_ref().map(|name| name.text().clone()),
        password: options.password.as_ref().map(|it| it.bytes().clone()),
    };
    small(shared, out, &Packet::Connect(Box::new(packet)))
}

/// PINGREQ
pub(super) fn ping(shared: &Shared, out: &mut Buffer) -> Bytes {
    small(shared, out, &Packet::Pingreq)
}

/// DISCONNECT
pub(super) fn disconnect(shared: &Shared, out: &mut Buffer, reason: ReasonCode) -> Bytes {
    let packet = Disconnect {
        reason,
        ..Disconnect::default()
    };
    small(shared, out, &Packet::Disconnect(Box::new(packet)))
}

fn ack(packet_id: u16, reason: ReasonCode) -> Ack {
    Ack {
        packet_id,
        reason,
        ..Ack::default()
    }
}

/// PUBACK
pub(super) fn puback(shared: &Shared, out: &mut Buffer, packet_id: u16) -> Bytes {
    small(
        shared,
        out,
        &Packet::Puback(ack(packet_id, ReasonCode::SUCCESS)),
    )
}

/// PUBREC
pub(super) fn pubrec(shared: &Shared, out: &mut Buffer, packet_id: u16) -> Bytes {
    small(
        shared,
        out,
        &Packet::Pubrec(ack(packet_id, ReasonCode::SUCCESS)),
    )
}

/// PUBREL
pub(super) fn pubrel(
    shared: &Shared,
    out: &mut Buffer,
    packet_id: u16,
    reason: ReasonCode,
) -> Bytes {
    small(shared, out, &Packet::Pubrel(ack(packet_id, reason)))
}

/// PUBCOMP
pub(super) fn pubcomp(
    shared: &Shared,
    out: &mut Buffer,
    packet_id: u16,
    reason: ReasonCode,
) -> Bytes {
    small(shared, out, &Packet::Pubcomp(ack(packet_id, reason)))
}

/// SUBSCRIBE; an error if it exceeds the packet size that the broker accepts.
pub(super) fn subscribe(
    shared: &Shared,
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
    bytes_of(shared, out, &Packet::Subscribe(packet), limit)
}

/// UNSUBSCRIBE
pub(super) fn unsubscribe(
    shared: &Shared,
    out: &mut Buffer,
    packet_id: u16,
    filter: ByteString,
) -> Bytes {
    let packet = Unsubscribe {
        packet_id,
        filters: vec![filter],
        ..Unsubscribe::default()
    };
    small(shared, out, &Packet::Unsubscribe(packet))
}

/// PUBLISH: the header, with a small payload behind it, and the parts of a larger one.
pub(super) fn publish(
    shared: &Shared,
    out: &mut Buffer,
    mut message: Message,
    packet_id: u16,
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
    let packet = Publish {
        dup: false,
        qos: message.qos,
        retain: message.retain,
        topic: message.topic,
        packet_id,
        properties: PublishProperties {
            payload_format: match extension.format {
                MqttPayloadFormat::Text => Some(1),
                MqttPayloadFormat::Binary | MqttPayloadFormat::None => None,
            },
            message_expiry: u32::try_from(extension.expiry_interval).ok(),
            topic_alias: None,
            response_topic: extension.response_topic,
            correlation: extension.correlation,
            subscription_ids: Vec::new(),
            content_type: extension.content_type,
            user: user.collect(),
        },
        payload: Parts::new(),
    };
    let limit = limit.unwrap_or(usize::MAX);
    let text = out.room();
    encode_publish(&packet, message.length, shared.version, limit, text)?;
    if message.length <= COPIED_MAX {
        for part in message.parts.drain(..) {
            text.extend_from_slice(&part);
        }
    }
    Ok((out.written(), message.parts))
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
