//! The codec against the specification's vectors, against itself and against other codecs.

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use self::packets::{any_packet, publish};
use super::*;

mod packets;

const NO_LIMIT: usize = REMAINING_LENGTH_MAX;

fn decode_one(version: Version, bytes: &[u8]) -> Result<Option<Packet>, DecodeError> {
    let mut decoder = Decoder::new(version, NO_LIMIT);
    decoder.push(Bytes::copy_from_slice(bytes));
    decoder.next()
}

fn encoded(packet: &Packet, version: Version) -> Bytes {
    let mut out = BytesMut::new();
    encode(packet, version, NO_LIMIT, &mut out).expect("within the limits");
    out.freeze()
}

#[test]
fn every_test_vector_is_decoded_as_specified() {
    let vectors = include_str!("../../tests/data/mqtt.tsv");
    let mut wrong = Vec::new();
    let mut count = 0;
    for line in vectors.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<&str> = line.split('\t').collect();
        let version = if fields[0] == "5" {
            Version::V5
        } else {
            Version::V311
        };
        let digits = fields[2].as_bytes().chunks(2);
        let bytes: Vec<u8> = digits
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect();
        let verdict = match decode_one(version, &bytes) {
            Ok(Some(_)) => "accept",
            Ok(None) => "need more",
            Err(_) => "reject",
        };
        if verdict != fields[1] {
            wrong.push(format!("{line}: {verdict}"));
        }
        count += 1;
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(count, 59, "all vectors were looked at");
}

#[test]
fn several_subscription_identifiers_do_not_change_the_payload() {
    let packet = decode_one(Version::V5, b"\x30\x0b\0\x01a\x06\x0b\x01\x0b\x02\x0b\x03X");
    let Ok(Some(Packet::Publish(publish))) = packet else {
        panic!("{packet:?}")
    };
    assert_eq!(publish.properties.subscription_ids, [1, 2, 3]);
    assert_eq!(publish.payload.as_slice(), ["X"]);
}

#[test]
fn payloads_are_decoded_and_encoded_without_a_copy() {
    let payload = Bytes::from(vec![7; 5_000]);
    let publish = Publish {
        topic: "a/b".into(),
        qos: 1,
        packet_id: 9,
        payload: vec![payload.clone()].into(),
        ..Publish::default()
    };
    let mut head = BytesMut::new();
    encode_publish(&publish, payload.len(), Version::V5, NO_LIMIT, &mut head).expect("encoded");
    assert!(
        head.len() < 20,
        "the payload is not copied after the header"
    );

    let whole = encoded(&Packet::Publish(publish), Version::V5);
    let read = [
        whole.slice(..100),
        whole.slice(100..3_000),
        whole.slice(3_000..),
    ];
    let mut parted = Decoder::new(Version::V5, NO_LIMIT);
    for part in &read {
        parted.push(part.clone());
    }
    let Ok(Some(Packet::Publish(decoded))) = parted.next() else {
        panic!("not decoded")
    };
    let range = whole.as_ptr_range();
    assert_eq!(decoded.payload.len(), 3);
    assert!(
        decoded
            .payload
            .iter()
            .all(|part| range.contains(&part.as_ptr()))
    );
    assert_eq!(decoded.payload.concat(), payload);
    assert_eq!(parted.buffered(), 0);
}

#[test]
fn a_packet_over_the_limit_is_rejected_at_its_header() {
    let mut decoder = Decoder::new(Version::V5, 1_000);
    decoder.push(Bytes::from_static(&[0x30, 0xff, 0xff, 0x03]));
    let error = decoder.next().expect_err("too large");
    assert_eq!(error.reason_code(), ReasonCode::PACKET_TOO_LARGE);
    assert_eq!(error.packet, Some(PacketType::Publish));
}

#[test]
fn a_publish_that_is_too_large_or_cannot_be_decoded_is_passed_over_if_asked() {
    let mut decoder = Decoder::new(Version::V5, 40);
    decoder.pass_over();
    let large = Publish {
        qos: 1,
        packet_id: 7,
        topic: "a/b".into(),
        payload: std::iter::once(Bytes::from(vec![b'x'; 100])).collect(),
        ..Publish::default()
    };
    // A response topic with a wildcard, at QoS 2.
    let wrong = [
        0x34, 0x0C, 0, 1, b'a', 0, 8, 4, 0x08, 0, 1, b'#', b'1', b'2',
    ];
    let good = encoded(&Packet::Pingresp, Version::V5);
    let bytes = [
        &encoded(&Packet::Publish(large), Version::V5),
        &wrong[..],
        &good,
    ]
    .concat();
    let (mut passed, mut packets) = (Vec::new(), Vec::new());
    for byte in bytes {
        decoder.push(Bytes::from(vec![byte]));
        assert!(decoder.buffered() <= 40);
        match decoder.next() {
            Ok(None) => {}
            Ok(Some(packet)) => packets.push(packet),
            Err(error) => {
                let it = decoder.passed_over().expect("passed over");
                passed.push((
                    it.packet_id,
                    it.qos,
                    it.topic.to_string(),
                    error.reason_code(),
                ));
            }
        }
    }
    let (large, wrong) = (ReasonCode::PACKET_TOO_LARGE, ReasonCode::PROTOCOL_ERROR);
    assert_eq!(
        passed,
        [(7, 1, "a/b".into(), large), (8, 2, "a".into(), wrong)]
    );
    assert_eq!(packets, [Packet::Pingresp]);
}

/// Of a message that is too large, its topic is held, and nothing of its payload.
#[test]
fn a_topic_beyond_the_limit_is_held_until_the_packet_identifier() {
    let mut decoder = Decoder::new(Version::V5, 128);
    decoder.pass_over();
    let topic = "t".repeat(60_000);
    let publish = Publish {
        qos: 1,
        packet_id: 7,
        topic: topic.as_str().into(),
        payload: std::iter::once(Bytes::from(vec![b'x'; 100_000])).collect(),
        ..Publish::default()
    };
    let bytes = encoded(&Packet::Publish(publish), Version::V5);
    let (mut passed, mut held) = (Vec::new(), 0);
    for part in bytes.chunks(1_000) {
        decoder.push(Bytes::copy_from_slice(part));
        if decoder.next().is_err() {
            passed.extend(decoder.passed_over());
        }
        held = held.max(decoder.buffered());
    }
    let passed: Vec<_> = passed.iter().map(|it| (it.packet_id, &*it.topic)).collect();
    assert_eq!(passed, [(7, &*topic)]);
    assert_eq!((held, decoder.buffered()), (60_000, 0));
}

#[test]
fn what_has_no_packet_identifier_is_not_passed_over() {
    // QoS 0 and too large; a topic beyond the packet; an identifier of 0.
    for bytes in [
        &[0x30, 0x7F, 0, 1, b'a'][..],
        &[0x32, 4, 0, 9, b'a', b'b'],
        &[0x32, 6, 0, 1, b'a', 0, 0, 0],
    ] {
        let mut decoder = Decoder::new(Version::V5, 40);
        decoder.pass_over();
        decoder.push(Bytes::copy_from_slice(bytes));
        decoder.next().expect_err("wrong");
        assert_eq!(decoder.passed_over(), None, "{bytes:?}");
    }
}

#[test]
fn an_unencodable_packet_is_rejected_and_nothing_is_written() {
    let long = ByteString::from("a".repeat(65_536));
    let mut out = BytesMut::from(&b"before"[..]);
    let publish = Publish {
        topic: long.clone(),
        ..Publish::default()
    };
    let subscribe = Subscribe {
        packet_id: 1,
        filters: vec![SubscribeFilter {
            filter: long.clone(),
            ..SubscribeFilter::default()
        }],
        ..Subscribe::default()
    };
    let connect = Connect {
        username: Some(long),
        ..Connect::default()
    };
    for packet in [
        Packet::Publish(publish),
        Packet::Subscribe(subscribe),
        Packet::Connect(Box::new(connect)),
    ] {
        let error = encode(&packet, Version::V5, NO_LIMIT, &mut out);
        assert_eq!(error, Err(EncodeError::FieldTooLong(65_536)));
    }
    let publish = Publish {
        topic: "t".into(),
        ..Publish::default()
    };
    let error = encode_publish(&publish, 100, Version::V5, 50, &mut out);
    assert_eq!(
        error,
        Err(EncodeError::TooLarge {
            size: 106,
            limit: 50
        })
    );
    let error = encode_publish(
        &publish,
        REMAINING_LENGTH_MAX,
        Version::V5,
        usize::MAX,
        &mut out,
    );
    let limit = 5 + REMAINING_LENGTH_MAX;
    assert!(matches!(error, Err(EncodeError::TooLarge { limit: stated, .. }) if stated == limit));
    assert_eq!(&out[..], b"before");
}

#[test]
fn return_codes_of_mqtt_3_1_1_become_reason_codes_and_back() {
    for code in 0..=5 {
        let reason = ReasonCode::from_return_code(code).expect("a code of the specification");
        assert_eq!(reason.to_return_code(), code, "{reason:?}");
    }
    assert_eq!(ReasonCode::from_return_code(6), None);
    assert_eq!(ReasonCode::QUOTA_EXCEEDED.to_return_code(), 3);
}

#[test]
fn binary_credentials_are_written_unchanged() {
    for (username, password) in [
        (Some("u"), Some(&b"\xff\xfe"[..])),
        (Some("u"), Some(&b""[..])),
        (Some(""), None),
        (None, Some(&b"token"[..])),
    ] {
        let connect = Connect {
            client_id: "c".into(),
            username: username.map(Into::into),
            password: password.map(Bytes::from_static),
            ..Connect::default()
        };
        let packet = Packet::Connect(Box::new(connect));
        assert_eq!(
            decode_one(Version::V5, &encoded(&packet, Version::V5)),
            Ok(Some(packet))
        );
    }
}

/// What of a packet MQTT 3.1.1 can express.
fn in_311(packet: Packet) -> Option<Packet> {
    let ack = |ack: Ack| Ack {
        packet_id: ack.packet_id,
        ..Ack::default()
    };
    Some(match packet {
        Packet::Publish(publish) => Packet::Publish(Publish {
            properties: PublishProperties::default(),
            ..publish
        }),
        Packet::Puback(puback) => Packet::Puback(ack(puback)),
        Packet::Pubrec(pubrec) => Packet::Pubrec(ack(pubrec)),
        Packet::Pubrel(pubrel) => Packet::Pubrel(ack(pubrel)),
        Packet::Pubcomp(pubcomp) => Packet::Pubcomp(ack(pubcomp)),
        Packet::Unsubscribe(unsubscribe) => Packet::Unsubscribe(unsubscribe),
        Packet::Unsuback(Unsuback { packet_id, .. }) => Packet::Unsuback(Unsuback {
            packet_id,
            ..Unsuback::default()
        }),
        Packet::Disconnect(_) => Packet::Disconnect(Box::default()),
        Packet::Pingreq | Packet::Pingresp => packet,
        _ => return None,
    })
}

fn joined(packet: Packet) -> Packet {
    match packet {
        Packet::Publish(mut publish) if !publish.payload.is_empty() => {
            publish.payload = vec![Bytes::from(publish.payload.concat())].into();
            Packet::Publish(publish)
        }
        other => other,
    }
}

/// What a decoder that passes messages over makes of these parts, until an error that ends the connection.
fn passed_over(
    version: Version,
    limit: usize,
    parts: &[&[u8]],
) -> (Vec<Packet>, Vec<PassedOver>, bool) {
    let mut decoder = Decoder::new(version, limit);
    decoder.pass_over();
    let (mut packets, mut passed) = (Vec::new(), Vec::new());
    for part in parts {
        decoder.push(Bytes::copy_from_slice(part));
        loop {
            match decoder.next() {
                Ok(None) => break,
                Ok(Some(packet)) => packets.push(packet),
                Err(_) => match decoder.passed_over() {
                    Some(it) => passed.push(it),
                    None => return (packets, passed, true),
                },
            }
        }
    }
    (packets, passed, false)
}

/// A PUBLISH with any flags and any body, or any bytes.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let publish = (0x30..0x40_u8, vec(any::<u8>(), 0..100)).prop_map(|(first, mut body)| {
        if let Some(high) = body.first_mut() {
            *high = 0;
        }
        if let Some(low) = body.get_mut(1) {
            *low %= 12;
        }
        let length = u8::try_from(body.len()).expect("less than 100");
        [&[first, length], &body[..]].concat()
    });
    let any_bytes = vec(any::<u8>(), 0..20);
    vec(prop_oneof![8 => publish, 1 => any_bytes], 1..6).prop_map(|frames| frames.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn what_is_passed_over_does_not_depend_on_how_it_is_received(bytes in frames(), limit in 10..120_usize) {
        for version in [Version::V5, Version::V311] {
            let whole = passed_over(version, limit, &[&bytes]);
            let pieces: Vec<&[u8]> = bytes.chunks(1).collect();
            let pieces = passed_over(version, limit, &pieces);
            prop_assert_eq!(&whole.1, &pieces.1);
            prop_assert_eq!((whole.0.len(), whole.2), (pieces.0.len(), pieces.2));
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_however_it_is_parted(
        packets in vec(any_packet(), 1..5),
        old in any::<bool>(),
        cuts in vec(any::<usize>(), 0..10),
    ) {
        let version = if old { Version::V311 } else { Version::V5 };
        let packets: Vec<Packet> = if old {
            packets.into_iter().filter_map(in_311).collect()
        } else {
            packets
        };
        let whole: Vec<u8> = packets.iter().flat_map(|packet| encoded(packet, version)).collect();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (whole.len() + 1)).collect();
        cuts.push(whole.len());
        cuts.sort_unstable();
        let mut decoder = Decoder::new(version, NO_LIMIT);
        let mut read = Vec::new();
        let mut start = 0;
        for cut in cuts {
            decoder.push(Bytes::copy_from_slice(&whole[start..cut]));
            start = cut;
            while let Some(packet) = decoder.next().expect("it was written so") {
                read.push(joined(packet));
            }
        }
        prop_assert_eq!(read, packets);
        prop_assert_eq!(decoder.buffered(), 0);
    }

    // A complete frame is either a packet or refused, and what is accepted is written the same.
    #[test]
    fn damage_is_refused_or_read_but_never_waited_for(
        packet in any_packet(),
        damage in vec((any::<usize>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = encoded(&packet, Version::V5).to_vec();
        for (at, byte) in damage {
            // The length stays as it is, so that the frame is complete.
            let first = bytes.iter().skip(1).position(|byte| byte & 0x80 == 0).unwrap_or(0) + 2;
            if first < bytes.len() {
                let at = first + at % (bytes.len() - first);
                bytes[at] = byte;
            }
        }
        if let Ok(decoded) = decode_one(Version::V5, &bytes) {
            let decoded = joined(decoded.expect("a complete frame is not waited for"));
            let again = decode_one(Version::V5, &encoded(&decoded, Version::V5));
            prop_assert_eq!(again.map(|packet| packet.map(joined)), Ok(Some(decoded)));
        }
    }

    #[test]
    fn any_bytes_are_decoded_or_rejected(bytes in vec(any::<u8>(), 0..200), old in any::<bool>()) {
        let version = if old { Version::V311 } else { Version::V5 };
        let mut decoder = Decoder::new(version, 1_000);
        decoder.push(Bytes::from(bytes));
        while let Ok(Some(_)) = decoder.next() {}
    }

    // mqttbytes is right where there are at most one subscription identifier and no AUTH.
    #[test]
    fn mqttbytes_reads_our_publish_as_it_was_written(packet in publish()) {
        let Packet::Publish(mut publish) = packet else { unreachable!() };
        publish.properties.subscription_ids.truncate(1);
        let mut bytes = BytesMut::from(&encoded(&Packet::Publish(publish.clone()), Version::V5)[..]);
        let theirs = mqttbytes::v5::read(&mut bytes, NO_LIMIT).expect("it reads PUBLISH");
        let mqttbytes::v5::Packet::Publish(theirs) = theirs else { panic!("{theirs:?}") };
        prop_assert_eq!(theirs.topic.as_str(), &publish.topic[..]);
        prop_assert_eq!((theirs.pkid, theirs.dup, theirs.retain), (publish.packet_id, publish.dup, publish.retain));
        prop_assert_eq!(theirs.payload, publish.payload.concat());
        let properties = theirs.properties.map(|properties| properties.user_properties.len());
        prop_assert_eq!(properties.unwrap_or(0), publish.properties.user.len());
    }

    // Where both accept any bytes as a PUBLISH, they see the same message; where rmqtt-codec refuses
    // what we accept, or the other way round, the vectors decide.
    #[test]
    fn rmqtt_codec_and_we_see_the_same_message(
        packet in publish(),
        damage in option::of((any::<usize>(), any::<u8>())),
    ) {
        use rmqtt_codec::v5::{Codec, Packet as Theirs};
        use tokio_util::codec::Decoder as _;
        let mut bytes = encoded(&packet, Version::V5).to_vec();
        if let Some((at, byte)) = damage {
            let at = 5.min(bytes.len() - 1) + at % bytes.len().saturating_sub(5).max(1);
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
        }
        let ours = decode_one(Version::V5, &bytes);
        let theirs = Codec::new(u32::MAX, u32::MAX).decode(&mut BytesMut::from(&bytes[..]));
        if let (Ok(Some(Packet::Publish(ours))), Ok(Some((Theirs::Publish(theirs), _)))) = (ours, theirs) {
            prop_assert_eq!(&ours.topic[..], &theirs.topic[..]);
            prop_assert_eq!(ours.payload.concat(), &theirs.payload[..]);
            prop_assert_eq!(ours.retain, theirs.retain);
        }
    }
}
