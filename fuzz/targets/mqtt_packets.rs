//! Any bytes as MQTT packets, in both versions and in any pieces.
//!
//! What is accepted must come out of the encoder as a packet that reads the same; pieces must make
//! no difference; where mqttbytes reads a PUBLISH too, it must see the same message. A decoder that passes
//! messages over must read what comes after one as if that had not been there, and hold no more than its limit.
#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use tidegate_binding_mqtt::codec::{Decoder, Packet, PassedOver, REMAINING_LENGTH_MAX, Version, encode};

/// The packets up to the first fault, and whether there was one.
fn decode(version: Version, pieces: &[&[u8]]) -> (Vec<Packet>, bool) {
    let mut decoder = Decoder::new(version, 1 << 20);
    let mut packets = Vec::new();
    for piece in pieces {
        decoder.push(Bytes::copy_from_slice(piece));
        loop {
            match decoder.next() {
                Ok(Some(packet)) => packets.push(packet),
                Ok(None) => break,
                Err(_) => return (packets, true),
            }
        }
    }
    (packets, false)
}

/// A packet with its payload in one piece: how it is cut depends on how it was read.
fn whole(mut packet: Packet) -> Packet {
    if let Packet::Publish(publish) = &mut packet {
        let payload = publish.payload.concat();
        publish.payload.clear();
        publish.payload.push(Bytes::from(payload));
    }
    packet
}

fn again(packet: &Packet, version: Version) {
    let mut out = BytesMut::new();
    if encode(packet, version, REMAINING_LENGTH_MAX, &mut out).is_err() {
        panic!("what was read cannot be written: {packet:?}");
    }
    let (packets, fault) = decode(version, &[&out]);
    assert!(!fault && packets.len() == 1, "what was written cannot be read: {packet:?}");
    assert_eq!(whole(packets[0].clone()), whole(packet.clone()));
}

fn oracle(packet: &Packet) {
    let Packet::Publish(ours) = packet else { return };
    // It corrupts payloads behind two subscription identifiers.
    if ours.properties.subscription_ids.len() > 1 {
        return;
    }
    let mut bytes = BytesMut::new();
    if encode(packet, Version::V5, REMAINING_LENGTH_MAX, &mut bytes).is_err() {
        return;
    }
    if let Ok(mqttbytes::v5::Packet::Publish(theirs)) = mqttbytes::v5::read(&mut bytes, 1 << 20) {
        assert_eq!(theirs.topic, *ours.topic);
        assert_eq!(theirs.payload, ours.payload.concat());
    }
}

/// What a decoder makes of a packet, or of all of them.
#[derive(Debug, PartialEq)]
enum Read {
    Packet(Packet),
    Passed(PassedOver),
    /// The connection would be closed.
    Fault,
}

/// What a decoder that passes messages over makes of these bytes, until a fault, and how many it holds at the end.
fn passing(version: Version, limit: usize, bytes: &[u8], piece: usize) -> (Vec<Read>, usize) {
    let mut decoder = Decoder::new(version, limit);
    decoder.pass_over();
    let (mut all, mut pushed) = (Vec::new(), 0);
    for piece in bytes.chunks(piece.max(1)) {
        pushed += piece.len();
        decoder.push(Bytes::copy_from_slice(piece));
        loop {
            match decoder.next() {
                Ok(Some(packet)) => all.push(Read::Packet(whole(packet))),
                Ok(None) => break,
                Err(_) => match decoder.passed_over() {
                    Some(passed) => all.push(Read::Passed(passed)),
                    None => {
                        all.push(Read::Fault);
                        return (all, 0);
                    }
                },
            }
        }
        let held = &bytes[pushed - decoder.buffered()..pushed];
        assert!(held.len() < needed(held, limit), "{} bytes are held", held.len());
    }
    (all, decoder.buffered())
}

/// Size of the first packet as its fixed header states it; `None` if that is not complete, or invalid.
fn size(bytes: &[u8]) -> Option<usize> {
    let mut remaining = 0;
    for (at, byte) in bytes.get(1..)?.iter().take(4).enumerate() {
        remaining |= usize::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            return Some(2 + at + remaining);
        }
    }
    None
}

/// How many bytes of an incomplete packet are held at most, plus one: as many as it has, and of one that is too large
/// its topic and packet identifier.
fn needed(packet: &[u8], limit: usize) -> usize {
    let Some(size) = size(packet) else { return 5 };
    if size <= limit {
        return size;
    }
    let header = 1 + packet[1..].iter().take_while(|byte| **byte & 0x80 != 0).count() + 1;
    let topic = packet.get(header..header + 2).map_or(0, |it| usize::from(u16::from_be_bytes([it[0], it[1]])));
    header + 2 + topic + 2
}

/// What follows a message that is passed over is read as if that had not been there.
fn passes_over(version: Version, limit: usize, bytes: &[u8], piece: usize) {
    let (all, held) = passing(version, limit, bytes, piece);
    let (mut rest, mut expected, mut left) = (bytes, Vec::new(), Vec::new());
    while !rest.is_empty() && expected.last() != Some(&Read::Fault) {
        let (one, others) = rest.split_at(size(rest).unwrap_or(rest.len()).min(rest.len()));
        let (read, _) = passing(version, limit, one, one.len());
        assert!(read.len() <= 1, "one packet is read as {read:?}");
        if !matches!(read[..], [Read::Passed(_)]) {
            left.extend_from_slice(one);
        }
        expected.extend(read);
        rest = others;
    }
    assert_eq!(all, expected);
    expected.retain(|it| !matches!(it, Read::Passed(_)));
    assert_eq!(passing(version, limit, &left, left.len()), (expected, held));
}

fuzz_target!(|data: &[u8]| {
    let Some((&cut, bytes)) = data.split_first() else { return };
    let (first, second) = bytes.split_at(usize::from(cut).min(bytes.len()));
    for version in [Version::V5, Version::V311] {
        let (packets, fault) = decode(version, &[bytes]);
        let (pieces, pieces_fault) = decode(version, &[first, second]);
        let of = |packets: Vec<Packet>| packets.into_iter().map(whole).collect::<Vec<_>>();
        for packet in &packets {
            again(packet, version);
            if version == Version::V5 {
                oracle(packet);
            }
        }
        assert_eq!((of(packets), fault), (of(pieces), pieces_fault));
        passes_over(version, 10 + usize::from(cut), bytes, usize::from(cut) % 7);
    }
});
