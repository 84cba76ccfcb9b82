//! Encodes packets.

use bytes::{BufMut as _, Bytes, BytesMut};

use super::error::EncodeError;
use super::packet::{
    Ack, Connack, Connect, Packet, PacketType, Publish, Subscribe, SubscribeFilter, Will,
};
use super::properties::{Properties, put_field, put_varint};
use super::reader::varint_size;
use super::{REMAINING_LENGTH_MAX, ReasonCode, Version};

/// Appends a packet, including the payload of a PUBLISH; appends nothing on an error.
/// `packet_size_max` is the limit of the peer, in bytes.
pub fn encode(
    packet: &Packet,
    version: Version,
    packet_size_max: usize,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    if let Packet::Publish(publish) = packet {
        let length = publish.payload.iter().map(Bytes::len).sum();
        encode_publish(publish, length, version, packet_size_max, out)?;
        for part in &publish.payload {
            out.extend_from_slice(part);
        }
        return Ok(());
    }
    let start = out.len();
    let written = encode_after_header(packet, version, packet_size_max, out);
    if written.is_err() {
        out.truncate(start);
    }
    written
}

/// The size of the fixed header depends on the length it contains: it is nearly always two bytes,
/// which are reserved and filled in once the length is known.
fn encode_after_header(
    packet: &Packet,
    version: Version,
    packet_size_max: usize,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    const USUAL: usize = 2;
    let start = out.len();
    out.put_bytes(0, USUAL);
    let mut body = Body {
        version,
        out,
        too_long: None,
    };
    body.packet(packet)?;
    if let Some(length) = body.too_long {
        return Err(EncodeError::FieldTooLong(length));
    }
    let length = out.len() - start - USUAL;
    check_size(length, packet_size_max)?;
    let header = 1 + varint_size(length);
    out.put_bytes(0, header - USUAL);
    let Some(room) = out.get_mut(start..) else {
        return Ok(());
    };
    if header > USUAL {
        room.copy_within(USUAL..USUAL + length, header);
    }
    let packet = packet.packet_type();
    let mut room = room;
    room.put_u8(((packet as u8) << 4) | packet.reserved_flags());
    put_varint(&mut room, length);
    Ok(())
}

/// Appends the part of a PUBLISH before its payload, for a payload of `length` bytes that the
/// caller sends after it. The `payload` of the packet is ignored.
pub fn encode_publish(
    publish: &Publish,
    length: usize,
    version: Version,
    packet_size_max: usize,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    let properties = &publish.properties;
    let longest = publish.topic.len().max(properties.longest_field());
    if longest > usize::from(u16::MAX) {
        return Err(EncodeError::FieldTooLong(longest));
    }
    let mut remaining = 2 + publish.topic.len() + length;
    if publish.qos > 0 {
        remaining += 2;
    }
    if version == Version::V5 {
        let size = properties.size();
        remaining += varint_size(size) + size;
    }
    check_size(remaining, packet_size_max)?;
    out.reserve(1 + varint_size(remaining) + remaining - length);
    let flags = u8::from(publish.dup) << 3 | (publish.qos & 0b11) << 1 | u8::from(publish.retain);
    out.put_u8((PacketType::Publish as u8) << 4 | flags);
    put_varint(out, remaining);
    put_field(out, publish.topic.as_bytes());
    if publish.qos > 0 {
        out.put_u16(publish.packet_id);
    }
    if version == Version::V5 {
        properties.write(out);
    }
    Ok(())
}

fn check_size(remaining: usize, packet_size_max: usize) -> Result<(), EncodeError> {
    let size = 1 + varint_size(remaining) + remaining;
    let limit = packet_size_max.min(1 + 4 + REMAINING_LENGTH_MAX);
    if size > limit || remaining > REMAINING_LENGTH_MAX {
        return Err(EncodeError::TooLarge { size, limit });
    }
    Ok(())
}

/// The part of a packet after the fixed header, while it is encoded.
struct Body<'a> {
    version: Version,
    out: &'a mut BytesMut,
    /// The first field that is too long.
    too_long: Option<usize>,
}

impl Body<'_> {
    fn packet(&mut self, packet: &Packet) -> Result<(), EncodeError> {
        match packet {
            Packet::Connect(connect) => self.connect(connect),
            Packet::Connack(connack) => self.connack(connack),
            Packet::Puback(ack)
            | Packet::Pubrec(ack)
            | Packet::Pubrel(ack)
            | Packet::Pubcomp(ack) => self.ack(ack),
            Packet::Subscribe(subscribe) => self.subscribe(subscribe),
            Packet::Suback(suback) => {
                self.out.put_u16(suback.packet_id);
                self.properties(&suback.properties);
                self.reasons(&suback.reasons);
            }
            Packet::Unsubscribe(unsubscribe) => {
                self.out.put_u16(unsubscribe.packet_id);
                self.properties(&unsubscribe.properties);
                for filter in &unsubscribe.filters {
                    self.field(filter.as_bytes());
                }
            }
            Packet::Unsuback(unsuback) => {
                self.out.put_u16(unsuback.packet_id);
                self.properties(&unsuback.properties);
                if self.version == Version::V5 {
                    self.reasons(&unsuback.reasons);
                }
            }
            Packet::Disconnect(disconnect) => {
                self.verdict(disconnect.reason, &disconnect.properties);
            }
            Packet::Auth(auth) => {
                if self.version == Version::V311 {
                    return Err(EncodeError::NotInVersion("AUTH"));
                }
                self.verdict(auth.reason, &auth.properties);
            }
            Packet::Publish(_) | Packet::Pingreq | Packet::Pingresp => {}
        }
        Ok(())
    }

    fn field(&mut self, bytes: &[u8]) {
        if bytes.len() > usize::from(u16::MAX) {
            self.too_long.get_or_insert(bytes.len());
        }
        put_field(self.out, bytes);
    }

    fn properties<P: Properties>(&mut self, properties: &P) {
        if self.version == Version::V5 {
            let longest = properties.longest_field();
            if longest > usize::from(u16::MAX) {
                self.too_long.get_or_insert(longest);
            }
            properties.write(self.out);
        }
    }

    fn reasons(&mut self, reasons: &[ReasonCode]) {
        for reason in reasons {
            // MQTT 3.1.1 has only one failure code.
            let code = if self.version == Version::V311 && reason.is_error() {
                ReasonCode::UNSPECIFIED_ERROR
            } else {
                *reason
            };
            self.out.put_u8(code.0);
        }
    }

    /// Reason code and properties, omitted if they have the default values (3.14.2.1).
    fn verdict<P: Properties>(&mut self, reason: ReasonCode, properties: &P) {
        if self.version == Version::V311 {
            return;
        }
        let empty = properties.size() == 0;
        if reason != ReasonCode::SUCCESS || !empty {
            self.out.put_u8(reason.0);
            self.properties(properties);
        }
    }

    fn ack(&mut self, ack: &Ack) {
        self.out.put_u16(ack.packet_id);
        self.verdict(ack.reason, &ack.properties);
    }

    fn connect(&mut self, connect: &Connect) {
        self.version = connect.version;
        self.field(b"MQTT");
        self.out
            .put_u8(if connect.version == Version::V5 { 5 } else { 4 });
        let will = connect.will.as_ref();
        let flags = u8::from(connect.username.is_some()) << 7
            | u8::from(connect.password.is_some()) << 6
            | will.map_or(0, |will| {
                u8::from(will.retain) << 5 | (will.qos & 0b11) << 3 | 0b100
            })
            | u8::from(connect.clean_start) << 1;
        self.out.put_u8(flags);
        self.out.put_u16(connect.keep_alive);
        self.properties(&connect.properties);
        self.field(connect.client_id.as_bytes());
        if let Some(Will {
            topic,
            payload,
            properties,
            ..
        }) = will
        {
            self.properties(properties);
            self.field(topic.as_bytes());
            self.field(payload);
        }
        if let Some(username) = &connect.username {
            self.field(username.as_bytes());
        }
        if let Some(password) = &connect.password {
            self.field(password);
        }
    }

    fn connack(&mut self, connack: &Connack) {
        self.out.put_u8(u8::from(connack.session_present));
        match self.version {
            Version::V5 => self.out.put_u8(connack.reason.0),
            Version::V311 => self.out.put_u8(connack.reason.to_return_code()),
        }
        self.properties(&connack.properties);
    }

    fn subscribe(&mut self, subscribe: &Subscribe) {
        self.out.put_u16(subscribe.packet_id);
        self.properties(&subscribe.properties);
        for filter in &subscribe.filters {
            self.field(filter.filter.as_bytes());
            let options = self.options(filter);
            self.out.put_u8(options);
        }
    }

    fn options(&self, filter: &SubscribeFilter) -> u8 {
        let qos = filter.qos & 0b11;
        match self.version {
            Version::V311 => qos,
            Version::V5 => {
                (filter.retain_handling as u8) << 4
                    | u8::from(filter.retain_as_published) << 3
                    | u8::from(filter.no_local) << 2
                    | qos
            }
        }
    }
}
