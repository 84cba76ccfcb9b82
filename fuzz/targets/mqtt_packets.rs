//! Any bytes as MQTT packets, in both versions and in any pieces.
//!
//! What is accepted must come out of the encoder as a packet that reads the same; pieces must make
//! no difference; where mqttbytes reads a PUBLISH too, it must see the same message.
#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use tidegate_binding_mqtt::codec::{Decoder, Packet, REMAINING_LENGTH_MAX, Version, encode};

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
    }
});
