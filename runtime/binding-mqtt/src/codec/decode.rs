//! Decodes packets.

use bytes::Bytes;

use super::error::DecodeFault::{self, Malformed, Protocol};
use super::packet::{
    Ack, Auth, Connack, Connect, Disconnect, Packet, PacketType, Publish, RetainHandling, Suback,
    Subscribe, SubscribeFilter, Unsuback, Unsubscribe, Will,
};
use super::properties::{ConnackProperties, Properties};
use super::reader::{Reader, is_topic_name};
use super::{Parts, ReasonCode, Version};

/// Decodes what follows the fixed header; `payload` is that of a PUBLISH, and empty for other
/// packets.
pub(super) fn decode(
    version: Version,
    packet: PacketType,
    flags: u8,
    fields: Bytes,
    payload: Parts,
) -> Result<Packet, DecodeFault> {
    let mut reader = Reader::new(fields);
    let reader = &mut reader;
    let decoded = match packet {
        PacketType::Connect => Packet::Connect(Box::new(connect(reader)?)),
        PacketType::Connack => Packet::Connack(Box::new(connack(version, reader)?)),
        PacketType::Publish => Packet::Publish(publish(version, flags, reader, payload)?),
        PacketType::Puback => Packet::Puback(ack(version, packet, reader)?),
        PacketType::Pubrec => Packet::Pubrec(ack(version, packet, reader)?),
        PacketType::Pubrel => Packet::Pubrel(ack(version, packet, reader)?),
        PacketType::Pubcomp => Packet::Pubcomp(ack(version, packet, reader)?),
        PacketType::Subscribe => Packet::Subscribe(subscribe(version, reader)?),
        PacketType::Suback => Packet::Suback(suback(version, reader)?),
        PacketType::Unsubscribe => Packet::Unsubscribe(unsubscribe(version, reader)?),
        PacketType::Unsuback => Packet::Unsuback(unsuback(version, reader)?),
        PacketType::Pingreq => Packet::Pingreq,
        PacketType::Pingresp => Packet::Pingresp,
        PacketType::Disconnect => Packet::Disconnect(Box::new(disconnect(version, reader)?)),
        PacketType::Auth => Packet::Auth(Box::new(auth(reader)?)),
    };
    reader.clone().finish()?;
    Ok(decoded)
}

fn properties<P: Properties>(version: Version, reader: &mut Reader) -> Result<P, DecodeFault> {
    match version {
        Version::V5 => P::read(reader),
        Version::V311 => Ok(P::default()),
    }
}

fn reason(packet: PacketType, reader: &mut Reader) -> Result<ReasonCode, DecodeFault> {
    let reason = ReasonCode(reader.byte()?);
    if reason.belongs_to(packet) {
        Ok(reason)
    } else {
        Err(Protocol("reason code not allowed in this packet"))
    }
}

/// 3.1
fn connect(reader: &mut Reader) -> Result<Connect, DecodeFault> {
    if reader.binary()? != "MQTT" {
        return Err(Malformed("the protocol name is not 'MQTT'"));
    }
    let version = match reader.byte()? {
        4 => Version::V311,
        5 => Version::V5,
        _ => return Err(Protocol("unsupported protocol version")),
    };
    let flags = reader.byte()?;
    let has = |bit: u8| flags & bit != 0;
    let (will, username, password) = (has(0x04), has(0x80), has(0x40));
    if has(0x01) {
        return Err(Malformed("the reserved flag is set"));
    }
    if !will && flags & 0x38 != 0 {
        return Err(Malformed("will flags without a will message"));
    }
    if version == Version::V311 && password && !username {
        return Err(Malformed("a password without a user name"));
    }
    let keep_alive = reader.two()?;
    let properties = properties(version, reader)?;
    let client_id = reader.text()?;
    let will = if will {
        Some(self::will(version, flags, reader)?)
    } else {
        None
    };
    Ok(Connect {
        version,
        clean_start: has(0x02),
        keep_alive,
        client_id,
        properties,
        will,
        username: if username { Some(reader.text()?) } else { None },
        password: if password {
            Some(reader.binary()?)
        } else {
            None
        },
    })
}

fn will(version: Version, flags: u8, reader: &mut Reader) -> Result<Will, DecodeFault> {
    let qos = flags >> 3 & 0b11;
    if qos > 2 {
        return Err(Malformed("will QoS 3"));
    }
    let properties = properties(version, reader)?;
    let topic = reader.text()?;
    if topic.is_empty() || !is_topic_name(&topic) {
        return Err(Protocol("the will topic is empty or contains a wildcard"));
    }
    Ok(Will {
        qos,
        retain: flags & 0x20 != 0,
        topic,
        payload: reader.binary()?,
        properties,
    })
}

/// 3.2
fn connack(version: Version, reader: &mut Reader) -> Result<Connack, DecodeFault> {
    let flags = reader.byte()?;
    if flags & !1 != 0 {
        return Err(Malformed("reserved flags are set"));
    }
    let session_present = flags == 1;
    let reason = match version {
        Version::V5 => reason(PacketType::Connack, reader)?,
        Version::V311 => {
            ReasonCode::from_return_code(reader.byte()?).ok_or(Protocol("reserved return code"))?
        }
    };
    if session_present && reason.is_error() {
        return Err(Protocol("session present in a refused connection"));
    }
    let properties: ConnackProperties = properties(version, reader)?;
    Ok(Connack {
        session_present,
        reason,
        properties,
    })
}

/// 3.3
fn publish(
    version: Version,
    flags: u8,
    reader: &mut Reader,
    payload: Parts,
) -> Result<Publish, DecodeFault> {
    let (dup, qos, retain) = (flags & 0b1000 != 0, flags >> 1 & 0b11, flags & 1 != 0);
    if qos > 2 {
        return Err(Malformed("QoS 3"));
    }
    if dup && qos == 0 {
        return Err(Malformed("DUP flag at QoS 0"));
    }
    let topic = reader.text()?;
    if !is_topic_name(&topic) {
        return Err(Malformed("the topic contains a wildcard"));
    }
    let packet_id = if qos > 0 { reader.packet_id()? } else { 0 };
    let properties: super::PublishProperties = properties(version, reader)?;
    if topic.is_empty() && properties.topic_alias.is_none() {
        return Err(Protocol("neither a topic nor a topic alias"));
    }
    Ok(Publish {
        dup,
        qos,
        retain,
        topic,
        packet_id,
        properties,
        payload,
    })
}

/// 3.4 to 3.7: a reason code of 0 and empty properties may be omitted.
fn ack(version: Version, packet: PacketType, reader: &mut Reader) -> Result<Ack, DecodeFault> {
    let mut ack = Ack {
        packet_id: reader.packet_id()?,
        ..Ack::default()
    };
    if version == Version::V5 && !reader.is_empty() {
        ack.reason = reason(packet, reader)?;
        if !reader.is_empty() {
            ack.properties = properties(version, reader)?;
        }
    }
    Ok(ack)
}

/// 3.8
fn subscribe(version: Version, reader: &mut Reader) -> Result<Subscribe, DecodeFault> {
    let packet_id = reader.packet_id()?;
    let properties = properties(version, reader)?;
    let mut filters = Vec::new();
    while !reader.is_empty() {
        let filter = reader.text()?;
        let options = reader.byte()?;
        filters.push(subscribe_filter(version, filter, options)?);
    }
    if filters.is_empty() {
        return Err(Protocol("no topic filter"));
    }
    Ok(Subscribe {
        packet_id,
        properties,
        filters,
    })
}

/// 3.8.3.1
fn subscribe_filter(
    version: Version,
    filter: bytestring::ByteString,
    options: u8,
) -> Result<SubscribeFilter, DecodeFault> {
    let reserved = if version == Version::V5 { 0xC0 } else { 0xFC };
    let qos = options & 0b11;
    if options & reserved != 0 || qos > 2 {
        return Err(Malformed("reserved subscription options are set"));
    }
    let retain_handling = match options >> 4 & 0b11 {
        0 => RetainHandling::Send,
        1 => RetainHandling::SendIfNew,
        2 => RetainHandling::DoNotSend,
        _ => return Err(Protocol("retain handling 3")),
    };
    Ok(SubscribeFilter {
        filter,
        qos,
        no_local: options & 0b100 != 0,
        retain_as_published: options & 0b1000 != 0,
        retain_handling,
    })
}

/// 3.9
fn suback(version: Version, reader: &mut Reader) -> Result<Suback, DecodeFault> {
    let packet_id = reader.packet_id()?;
    let properties = properties(version, reader)?;
    let mut reasons = Vec::new();
    while !reader.is_empty() {
        let code = reason(PacketType::Suback, reader)?;
        if version == Version::V311 && code.0 > 2 && code != ReasonCode::UNSPECIFIED_ERROR {
            return Err(Protocol("reserved return code"));
        }
        reasons.push(code);
    }
    if reasons.is_empty() {
        return Err(Protocol("no reason code"));
    }
    Ok(Suback {
        packet_id,
        properties,
        reasons,
    })
}

/// 3.10
fn unsubscribe(version: Version, reader: &mut Reader) -> Result<Unsubscribe, DecodeFault> {
    let packet_id = reader.packet_id()?;
    let properties = properties(version, reader)?;
    let mut filters = Vec::new();
    while !reader.is_empty() {
        filters.push(reader.text()?);
    }
    if filters.is_empty() {
        return Err(Protocol("no topic filter"));
    }
    Ok(Unsubscribe {
        packet_id,
        properties,
        filters,
    })
}

/// 3.11
fn unsuback(version: Version, reader: &mut Reader) -> Result<Unsuback, DecodeFault> {
    let packet_id = reader.packet_id()?;
    let properties = properties(version, reader)?;
    let mut reasons = Vec::new();
    if version == Version::V5 {
        while !reader.is_empty() {
            reasons.push(reason(PacketType::Unsuback, reader)?);
        }
        if reasons.is_empty() {
            return Err(Protocol("no reason code"));
        }
    }
    Ok(Unsuback {
        packet_id,
        properties,
        reasons,
    })
}

/// 3.14
fn disconnect(version: Version, reader: &mut Reader) -> Result<Disconnect, DecodeFault> {
    let mut disconnect = Disconnect::default();
    if version == Version::V5 && !reader.is_empty() {
        disconnect.reason = reason(PacketType::Disconnect, reader)?;
        if !reader.is_empty() {
            disconnect.properties = properties(version, reader)?;
        }
    }
    Ok(disconnect)
}

/// 3.15
fn auth(reader: &mut Reader) -> Result<Auth, DecodeFault> {
    let mut auth = Auth::default();
    if !reader.is_empty() {
        auth.reason = reason(PacketType::Auth, reader)?;
        auth.properties = properties(Version::V5, reader)?;
    }
    Ok(auth)
}
