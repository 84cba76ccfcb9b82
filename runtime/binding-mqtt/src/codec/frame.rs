//! Splits a byte stream into packets.

use std::collections::VecDeque;

use bytes::{Buf as _, Bytes, BytesMut};
use bytestring::ByteString;

use super::decode::decode;
use super::error::{DecodeError, DecodeFault};
use super::reader::varint;
use super::{Packet, PacketType, Parts, REMAINING_LENGTH_MAX, Version};

/// Maximum size of a fixed header (2.1.1).
const HEADER_MAX: usize = 5;
/// Maximum size of the topic and the packet identifier of a PUBLISH (3.3.2).
const FRONT_MAX: usize = 2 + u16::MAX as usize + 2;

/// Decodes packets from the bytes of a connection.
///
/// It buffers at most one incomplete packet, so at most the maximum packet size and the excess of
/// one read; of a larger packet that is passed over, the topic, which has at most 64 KiB. After an error
/// the connection must be closed, because the start of the next packet is unknown, unless the packet was
/// passed over ([`Self::pass_over`]).
#[derive(Debug)]
pub struct Decoder {
    version: Version,
    packet_size_max: usize,
    parts: VecDeque<Bytes>,
    len: usize,
    /// Whether it continues after a PUBLISH that cannot be decoded.
    passes_over: bool,
    passed: Option<PassedOver>,
    /// What is left of a packet that is passed over, in bytes.
    skipped: usize,
}

/// A PUBLISH of `QoS` 1 or 2 that cannot be decoded, and was passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedOver {
    /// Its packet identifier.
    pub packet_id: u16,
    /// Its `QoS`.
    pub qos: u8,
    /// Its topic; what is not UTF-8 is replaced.
    pub topic: ByteString,
}

struct FixedHeader {
    packet: PacketType,
    flags: u8,
    /// Size of the fixed header.
    size: usize,
    remaining: usize,
}

impl Decoder {
    /// A decoder for one connection. Packets larger than `packet_size_max` bytes are rejected at
    /// their fixed header.
    pub fn new(version: Version, packet_size_max: usize) -> Self {
        let packet_size_max = packet_size_max.min(REMAINING_LENGTH_MAX + HEADER_MAX);
        Self {
            version,
            packet_size_max,
            parts: VecDeque::new(),
            len: 0,
            passes_over: false,
            passed: None,
            skipped: 0,
        }
    }

    /// Continues after a PUBLISH of `QoS` 1 or 2 that is too large or cannot be decoded, if it has a packet
    /// identifier: [`Self::next`] returns the error, [`Self::passed_over`] the PUBLISH, and the connection need not be
    /// closed. Of what is too large, only the topic and the packet identifier are buffered.
    pub const fn pass_over(&mut self) {
        self.passes_over = true;
    }

    /// The PUBLISH to which the last error belongs, if it was passed over.
    pub const fn passed_over(&mut self) -> Option<PassedOver> {
        self.passed.take()
    }

    /// Sets the version of further packets: a broker learns it from CONNECT.
    pub const fn set_version(&mut self, version: Version) {
        self.version = version;
    }

    /// Adds received bytes.
    pub fn push(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.len += bytes.len();
            self.parts.push_back(bytes);
        }
    }

    /// Size of the incomplete packet, in bytes.
    pub const fn buffered(&self) -> usize {
        self.len
    }

    /// The next packet; `None` if more bytes are needed.
    #[allow(
        clippy::should_implement_trait,
        reason = "it can fail, and go on after None"
    )]
    pub fn next(&mut self) -> Result<Option<Packet>, DecodeError> {
        if !self.skip_rest() {
            return Ok(None);
        }
        let Some(header) = self.header()? else {
            return Ok(None);
        };
        let size = header.size + header.remaining;
        if size > self.packet_size_max {
            if self.may_pass_over(&header) {
                if !self.has_identifier(&header) {
                    return Ok(None);
                }
                let front = self.parts.iter().flatten().skip(header.size);
                let front: Vec<u8> = front
                    .take(FRONT_MAX.min(header.remaining))
                    .copied()
                    .collect();
                self.passed = identify(&front, header.flags);
                if self.passed.is_some() {
                    self.skipped = size;
                    self.skip_rest();
                }
            }
            let fault = DecodeFault::TooLarge {
                size,
                limit: self.packet_size_max,
            };
            return Err(DecodeError {
                packet: Some(header.packet),
                fault,
            });
        }
        if self.len < size {
            return Ok(None);
        }
        self.skip(header.size);
        let may_pass = self.may_pass_over(&header);
        let (packet, fields) = match self.body(&header) {
            Ok((head, payload)) => {
                let fields = may_pass.then(|| head.clone());
                let (packet, flags) = (header.packet, header.flags);
                (decode(self.version, packet, flags, head, payload), fields)
            }
            Err(fault) => {
                let fields = may_pass.then(|| self.take_whole(header.remaining));
                (Err(fault), fields)
            }
        };
        match packet {
            Ok(packet) => Ok(Some(packet)),
            Err(fault) => {
                self.passed = fields.and_then(|fields| identify(&fields, header.flags));
                Err(DecodeError {
                    packet: Some(header.packet),
                    fault,
                })
            }
        }
    }

    /// Drops what is left of a packet that is passed over. Returns whether all of it was there.
    fn skip_rest(&mut self) -> bool {
        let skipped = self.skipped.min(self.len);
        if skipped > 0 {
            self.skip(skipped);
            self.skipped -= skipped;
        }
        self.skipped == 0
    }

    fn may_pass_over(&self, header: &FixedHeader) -> bool {
        let qos = header.flags >> 1 & 0b11;
        self.passes_over && header.packet == PacketType::Publish && matches!(qos, 1 | 2)
    }

    /// Whether the topic and the packet identifier of a PUBLISH are there, or can never be.
    fn has_identifier(&self, header: &FixedHeader) -> bool {
        let at = header.size;
        let (Some(high), Some(low)) = (self.peek(at), self.peek(at + 1)) else {
            return header.remaining < 2;
        };
        let needed = 4 + usize::from(u16::from_be_bytes([high, low]));
        needed > header.remaining || self.len >= at + needed
    }

    /// The fixed header of the next packet, once it is complete.
    fn header(&self) -> Result<Option<FixedHeader>, DecodeError> {
        let front = self.parts.front().map(|front| &front[..]);
        let gathered;
        let bytes = if let Some(bytes) = front.and_then(<[u8]>::first_chunk::<HEADER_MAX>) {
            &bytes[..]
        } else {
            gathered = self.gathered::<HEADER_MAX>();
            gathered.get(..self.len).unwrap_or(&gathered)
        };
        let Some((first, length)) = bytes.split_first() else {
            return Ok(None);
        };
        let malformed = |packet, what| DecodeError {
            packet,
            fault: DecodeFault::Malformed(what),
        };
        let packet = PacketType::from_number(first >> 4)
            .filter(|packet| *packet != PacketType::Auth || self.version == Version::V5)
            .ok_or_else(|| malformed(None, "reserved packet type"))?;
        let flags = first & 0x0F;
        if packet != PacketType::Publish && flags != packet.reserved_flags() {
            return Err(malformed(Some(packet), "invalid flags in the fixed header"));
        }
        match varint(length).map_err(|fault| DecodeError {
            packet: Some(packet),
            fault,
        })? {
            Some((remaining, size)) => Ok(Some(FixedHeader {
                packet,
                flags,
                size: 1 + size,
                remaining: remaining as usize,
            })),
            None => Ok(None),
        }
    }

    /// The first bytes, padded with zeros.
    fn gathered<const N: usize>(&self) -> [u8; N] {
        let mut gathered = [0; N];
        for (place, byte) in gathered.iter_mut().zip(self.parts.iter().flatten()) {
            *place = *byte;
        }
        gathered
    }

    /// Decodes the packet after its fixed header: fields from contiguous bytes, the payload of a
    /// PUBLISH in the parts in which it was received.
    fn body(&mut self, header: &FixedHeader) -> Result<(Bytes, Parts), DecodeFault> {
        if header.packet != PacketType::Publish {
            return Ok((self.take_whole(header.remaining), Parts::new()));
        }
        let head = self.publish_head(header)?;
        let fields = self.take_whole(head);
        Ok((fields, self.take_parts(header.remaining - head)))
    }

    /// Size of a PUBLISH before its payload, in bytes.
    fn publish_head(&self, header: &FixedHeader) -> Result<usize, DecodeFault> {
        const BEYOND: DecodeFault = DecodeFault::Malformed("a length exceeds the packet");
        let peek = |at: usize| {
            self.peek(at)
                .filter(|_| at < header.remaining)
                .ok_or(BEYOND)
        };
        let topic = usize::from(u16::from_be_bytes([peek(0)?, peek(1)?]));
        let qos = header.flags >> 1 & 0b11;
        let mut head = 2 + topic + if qos > 0 { 2 } else { 0 };
        if self.version == Version::V5 {
            let mut length = [0; 4];
            let mut filled = 0;
            for place in &mut length {
                let Ok(byte) = peek(head + filled) else { break };
                *place = byte;
                filled += 1;
            }
            let (properties, size) =
                varint(length.get(..filled).unwrap_or_default())?.ok_or(BEYOND)?;
            head += size + properties as usize;
        }
        if head > header.remaining {
            Err(BEYOND)
        } else {
            Ok(head)
        }
    }

    fn peek(&self, mut at: usize) -> Option<u8> {
        for part in &self.parts {
            if let Some(byte) = part.get(at) {
                return Some(*byte);
            }
            at -= part.len();
        }
        None
    }

    fn skip(&mut self, length: usize) {
        match self.parts.front_mut() {
            Some(front) if front.len() > length => {
                front.advance(length);
                self.len -= length;
            }
            _ => drop(self.take_parts(length)),
        }
    }

    /// The next bytes, contiguous: a slice if they are in one part, otherwise a copy.
    fn take_whole(&mut self, length: usize) -> Bytes {
        let mut parts = self.take_parts(length);
        if parts.len() <= 1 {
            return parts.pop().unwrap_or_default();
        }
        let mut whole = BytesMut::with_capacity(length);
        for part in &parts {
            whole.extend_from_slice(part);
        }
        whole.freeze()
    }

    /// The next bytes, without a copy.
    fn take_parts(&mut self, mut length: usize) -> Parts {
        let mut taken = Parts::new();
        while length > 0
            && let Some(front) = self.parts.front_mut()
        {
            let part = if front.len() > length {
                front.split_to(length)
            } else {
                self.parts.pop_front().unwrap_or_default()
            };
            length -= part.len();
            self.len -= part.len();
            taken.push(part);
        }
        taken
    }
}

/// The PUBLISH that begins with these bytes behind its fixed header; `None` if it has no packet identifier.
fn identify(bytes: &[u8], flags: u8) -> Option<PassedOver> {
    let (length, bytes) = bytes.split_first_chunk::<2>()?;
    let (topic, bytes) = bytes.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    let packet_id = u16::from_be_bytes(*bytes.first_chunk::<2>()?);
    (packet_id != 0).then(|| PassedOver {
        packet_id,
        qos: flags >> 1 & 0b11,
        topic: String::from_utf8_lossy(topic).into_owned().into(),
    })
}
