use bytes::{Bytes, BytesMut};
use tidegate_engine::StreamId;
use tidegate_engine::streams::Frame;
use tidegate_engine::streams::mqtt::MqttDelivery;

use super::harness::*;
use crate::codec::{
    Auth, Connack, ConnackProperties, Packet, Publish, PublishProperties, ReasonCode, Version,
    encode,
};

fn accepted(harness: &mut Harness, bytes: StreamId, stream: StreamId) -> u32 {
    let subscribe = harness.subscribed(bytes);
    harness.suback(bytes, &subscribe, subscribe.filters[0].qos);
    harness.seen(stream).granted();
    id_of(&subscribe)
}

fn subscribed(json: &str) -> (Harness, StreamId, StreamId, u32) {
    let mut harness = Harness::new(json);
    let stream = harness.subscribe(&[("a/#", 2)]);
    let (bytes, _) = harness.connect();
    let id = accepted(&mut harness, bytes, stream);
    (harness, bytes, stream, id)
}

fn send(harness: &mut Harness, bytes: StreamId, publish: Publish) {
    harness.broker(bytes, &Packet::Publish(publish));
}

fn numbered(qos: u8, packet_id: u16, payload: &str, id: u32) -> Publish {
    Publish {
        qos,
        packet_id,
        ..incoming("a/b", payload, &[id])
    }
}

#[test]
fn a_subscription_is_restored_after_the_loss_of_its_connection() {
    let (mut harness, bytes, stream, old) = subscribed("{}");
    let waiting = harness.subscribe(&[("b", 0)]);
    harness.packets(bytes);
    harness.break_off(bytes, "connection reset");
    let seen = harness.seen(waiting);
    assert_eq!(
        seen.reset().reason,
        "The broker broker.example:1883 dropped the connection: connection reset."
    );
    assert!(harness.seen(stream).is_nothing());
    let bytes = harness.opened();
    harness.break_off(bytes, "connection refused");
    assert!(harness.seen(stream).is_nothing());
    harness.no_connection();
    harness.advance(1_000);
    let (bytes, _) = harness.connect();
    let subscribe = harness.subscribed(bytes);
    assert_eq!(subscribe.filters[0].filter, "a/#");
    let id = id_of(&subscribe);
    send(&mut harness, bytes, retained("a/b", "state", &[id]));
    harness.suback(bytes, &subscribe, 2);
    let seen = harness.seen(stream);
    assert!(seen.begin.is_none(), "it was accepted before");
    assert_eq!(seen.payloads(), ["state"]);
    assert_eq!(old, id, "a new connection counts anew");
    harness.cancel(stream);
    harness.unsubscribed(bytes);
    harness.finish(bytes);
}

#[test]
fn streams_that_shared_a_filter_share_it_again() {
    let (mut harness, bytes, first, _) = subscribed("{}");
    let second = harness.subscribe(&[("a/#", 0)]);
    accepted(&mut harness, bytes, second);
    harness.break_off(bytes, "reset");
    let (bytes, _) = harness.connect();
    let subscribe = harness.subscribed(bytes);
    assert_eq!(subscribe.filters[0].qos, 2);
    harness.suback(bytes, &subscribe, 2);
    send(
        &mut harness,
        bytes,
        retained("a/b", "state", &[id_of(&subscribe)]),
    );
    for stream in [first, second] {
        assert_eq!(harness.seen(stream).payloads(), ["state"]);
        harness.cancel(stream);
    }
    harness.unsubscribed(bytes);
    harness.finish(bytes);
}

#[test]
fn a_subscription_that_is_refused_after_a_loss_is_reset() {
    let (mut harness, bytes, stream, _) = subscribed("{}");
    harness.break_off(bytes, "reset");
    let (bytes, _) = harness.connect();
    let subscribe = harness.subscribed(bytes);
    harness.suback(bytes, &subscribe, 0x87);
    assert_eq!(harness.seen(stream).reset().reason_code, 0x87);
    harness.finish(bytes);
}

#[test]
fn attempts_continue_with_backoff_while_a_subscription_is_open() {
    let (mut harness, bytes, stream, _) = subscribed("{}");
    harness.break_off(bytes, "reset");
    let bytes = harness.accept();
    harness.packets(bytes);
    let connack = Connack {
        reason: ReasonCode::BAD_USER_NAME_OR_PASSWORD,
        ..Connack::default()
    };
    harness.broker(bytes, &Packet::Connack(Box::new(connack)));
    harness.packets(bytes);
    harness.advance(29_999);
    harness.no_connection();
    let other = harness.publish("x", 0, "1");
    assert_eq!(harness.seen(other).reset().reason_code, 0x86);
    assert!(harness.seen(stream).is_nothing());
    harness.advance(30_001);
    let bytes = harness.opened();
    harness.cancel(stream);
    harness.break_off(bytes, "refused");
    harness.assert_idle();
}

#[test]
fn a_new_stream_shares_the_reopened_connection() {
    let (mut harness, bytes, stream, _) = subscribed("{}");
    harness.break_off(bytes, "reset");
    let publish = harness.publish("x", 0, "1");
    let (bytes, _) = harness.connect();
    let packets = harness.packets(bytes);
    assert!(
        matches!(
            packets.as_slice(),
            [Packet::Subscribe(_), Packet::Publish(_)]
        ),
        "{packets:?}"
    );
    assert!(harness.seen(publish).is_done());
    harness.cancel(stream);
    harness.packets(bytes);
    harness.advance(500);
    harness.no_connection();
    harness.break_off(bytes, "done");
    harness.assert_idle();
}

#[test]
fn a_session_stays_open_after_a_loss_and_the_next_stream_reconnects() {
    let mut harness = Harness::new("{}");
    let session = harness.session("");
    let (bytes, _) = harness.connect();
    harness.seen(session);
    harness.break_off(bytes, "reset");
    assert!(harness.seen(session).is_nothing());
    harness.advance(120_000);
    harness.no_connection();
    let publish = harness.publish("a", 0, "1");
    let (bytes, _) = harness.connect();
    harness.published(bytes);
    assert!(harness.seen(publish).is_done());
    harness.end(session);
    assert!(harness.seen(session).ended);
    assert!(matches!(harness.one(bytes), Packet::Disconnect(_)));
    harness.assert_idle();
}

#[test]
fn messages_are_acknowledged_in_order_and_duplicates_dropped() {
    let (mut harness, bytes, stream, id) = subscribed("{}");
    send(&mut harness, bytes, numbered(1, 7, "one", id));
    send(&mut harness, bytes, numbered(2, 8, "two", id));
    send(&mut harness, bytes, numbered(1, 9, "three", id));
    let success = |packet_id| ack(packet_id, ReasonCode::SUCCESS);
    assert_eq!(
        harness.packets(bytes),
        [
            Packet::Puback(success(7)),
            Packet::Pubrec(success(8)),
            Packet::Puback(success(9))
        ]
    );
    let repeated = Publish {
        dup: true,
        ..numbered(2, 8, "two", id)
    };
    send(&mut harness, bytes, repeated);
    assert_eq!(harness.one(bytes), Packet::Pubrec(success(8)));
    assert_eq!(harness.seen(stream).payloads(), ["one", "two", "three"]);
    harness.broker(bytes, &Packet::Pubrel(success(8)));
    assert_eq!(harness.one(bytes), Packet::Pubcomp(success(8)));
    harness.broker(bytes, &Packet::Pubrel(success(8)));
    let unknown = ack(8, ReasonCode::PACKET_IDENTIFIER_NOT_FOUND);
    assert_eq!(harness.one(bytes), Packet::Pubcomp(unknown));
    send(&mut harness, bytes, numbered(2, 8, "anew", id));
    harness.one(bytes);
    assert_eq!(harness.seen(stream).payloads(), ["anew"]);
    harness.cancel(stream);
    harness.unsubscribed(bytes);
    harness.finish(bytes);
}

#[test]
fn a_message_is_delivered_to_each_subscriber_without_a_copy() {
    let (mut harness, bytes, first, _) = subscribed("{}");
    let second = harness.subscribe(&[("a/#", 0)]);
    let id = accepted(&mut harness, bytes, second);
    let mut out = BytesMut::new();
    let packet = Packet::Publish(incoming("a/b", &"x".repeat(10_000), &[id]));
    encode(&packet, Version::V5, usize::MAX, &mut out).expect("legal");
    let mut wire = out.freeze();
    let rest = wire.split_off(4_000);
    let pointers = [wire.as_ptr_range(), rest.as_ptr_range()];
    harness.raw(bytes, wire);
    harness.raw(bytes, rest);
    for stream in [first, second] {
        let frames = harness.rig.frames(harness.caller, stream);
        let parts: Vec<&Bytes> = frames
            .iter()
            .filter_map(|frame| match frame {
                Frame::Data(data) => Some(&data.payload),
                _ => None,
            })
            .collect();
        assert_eq!(parts.len(), 2);
        for (part, range) in parts.iter().zip(&pointers) {
            assert!(range.contains(&part.as_ptr()), "a slice of what was read");
        }
        harness.cancel(stream);
    }
    harness.packets(bytes);
    harness.break_off(bytes, "done");
    harness.assert_idle();
}

#[test]
fn a_slow_consumer_is_reset_and_the_others_continue() {
    let mut harness = Harness::new(r#"{"queueMessages":3}"#);
    let slow = harness.slow;
    let client = harness.client;
    let begin = subscription(&[("a/#", 0)]);
    let lazy = harness.rig.open(slow, client, begin);
    let brisk = harness.subscribe(&[("a/#", 0)]);
    let (bytes, _) = harness.connect();
    let subscribe = harness.subscribed(bytes);
    harness.suback(bytes, &subscribe, 0);
    let id = id_of(&subscribe);
    harness.seen_by(slow, lazy).granted();
    harness.seen(brisk).granted();
    for _ in 0..4 {
        send(&mut harness, bytes, incoming("a", "12345678", &[id]));
    }
    let seen = harness.seen_by(slow, lazy);
    assert_eq!(seen.payloads(), ["12345678"], "what its credit allowed");
    assert!(seen.reset.is_none());
    send(&mut harness, bytes, incoming("a", "one more", &[id]));
    let seen = harness.seen_by(slow, lazy);
    assert_eq!(seen.reset().reason_code, 0x97);
    assert!(seen.reset().reason.contains("Slow consumer"), "{seen:?}");
    assert_eq!(harness.seen(brisk).messages.len(), 5);
    harness.cancel(brisk);
    harness.unsubscribed(bytes);
    harness.finish(bytes);
}

#[test]
fn the_only_subscriber_of_a_connection_pauses_reading() {
    let mut harness = Harness::new(r#"{"queueMessages":2}"#);
    let (slow, client) = (harness.slow, harness.client);
    let lazy = harness.rig.open(slow, client, subscription(&[("a/#", 1)]));
    let (bytes, _) = harness.connect();
    let subscribe = harness.subscribed(bytes);
    harness.suback(bytes, &subscribe, 1);
    let id = id_of(&subscribe);
    harness.seen_by(slow, lazy).granted();
    for packet_id in 1..=10 {
        send(&mut harness, bytes, numbered(1, packet_id, "12345678", id));
    }
    let acknowledged = harness.packets(bytes).len();
    assert_eq!(
        acknowledged, 3,
        "one sent, two wait, and the broker with the rest"
    );
    let credit = harness.rig.turn(harness.exit, |cx| cx.credit(bytes));
    assert!(credit < 64 * 1024, "its credit runs out");
    // Silence is ignored while reading is paused.
    let packets = harness.pass(bytes, 100);
    assert!(packets.is_empty(), "{packets:?}");
    for _ in 0..20 {
        harness.rig.turn(slow, |cx| cx.acknowledge(lazy, 8));
    }
    let seen = harness.seen_by(slow, lazy);
    assert!(seen.messages.len() == 10 && seen.reset.is_none());
    assert_eq!(harness.packets(bytes).len(), 7);
    harness.rig.turn(slow, |cx| cx.terminate(lazy, None, None));
    harness.unsubscribed(bytes);
    harness.finish(bytes);
}

#[test]
fn a_second_stream_resumes_reading() {
    let mut harness = Harness::new(r#"{"queueMessages":2}"#);
    let (slow, client) = (harness.slow, harness.client);
    let lazy = harness.rig.open(slow, client, subscription(&[("a/#", 0)]));
    let (bytes, _) = harness.connect();
    let subscribe = harness.subscribed(bytes);
    harness.suback(bytes, &subscribe, 0);
    harness.seen_by(slow, lazy).granted();
    for _ in 0..10 {
        send(
            &mut harness,
            bytes,
            incoming("a", "12345678", &[id_of(&subscribe)]),
        );
    }
    let publish = harness.publish("b", 1, "1");
    assert!(
        harness.seen_by(slow, lazy).reset.is_some(),
        "it is alone no more"
    );
    let packets = harness.packets(bytes);
    let Some(Packet::Publish(sent)) = packets
        .iter()
        .find(|packet| matches!(packet, Packet::Publish(_)))
    else {
        panic!("{packets:?}");
    };
    let Some(Packet::Unsubscribe(left)) = packets
        .iter()
        .find(|packet| matches!(packet, Packet::Unsubscribe(_)))
    else {
        panic!("{packets:?}");
    };
    harness.unsuback(bytes, left.packet_id);
    harness.broker(
        bytes,
        &Packet::Puback(ack(sent.packet_id, ReasonCode::SUCCESS)),
    );
    assert!(harness.seen(publish).is_done());
    harness.finish(bytes);
}

#[test]
fn large_messages_are_delivered_in_parts_as_credit_allows() {
    let mut harness = Harness::new("{}");
    let (slow, client) = (harness.slow, harness.client);
    let lazy = harness.rig.open(slow, client, subscription(&[("a", 0)]));
    let (bytes, _) = harness.connect();
    let subscribe = harness.subscribed(bytes);
    harness.suback(bytes, &subscribe, 0);
    harness.seen_by(slow, lazy).granted();
    let text = "0123456789abcdefghijklmnopqrstuvwxyz";
    send(
        &mut harness,
        bytes,
        incoming("a", text, &[id_of(&subscribe)]),
    );
    for _ in 0..3 {
        harness.rig.turn(slow, |cx| cx.acknowledge(lazy, 10));
    }
    assert_eq!(harness.seen_by(slow, lazy).payloads(), [text]);
    harness.rig.turn(slow, |cx| cx.terminate(lazy, None, None));
    harness.unsubscribed(bytes);
    harness.finish(bytes);
}

#[test]
fn a_protocol_violation_is_answered_with_disconnect() {
    let alias = Publish {
        properties: PublishProperties {
            topic_alias: Some(1),
            ..PublishProperties::default()
        },
        ..incoming("a", "m", &[])
    };
    let cases: Vec<(Vec<Packet>, ReasonCode)> = vec![
        (
            vec![Packet::Publish(alias)],
            ReasonCode::TOPIC_ALIAS_INVALID,
        ),
        (vec![Packet::Pingreq], ReasonCode::PROTOCOL_ERROR),
        (
            vec![Packet::Connack(Box::default())],
            ReasonCode::PROTOCOL_ERROR,
        ),
        (
            vec![Packet::Puback(ack(9, ReasonCode::SUCCESS))],
            ReasonCode::PROTOCOL_ERROR,
        ),
        (
            vec![Packet::Pubrec(ack(1, ReasonCode::SUCCESS))],
            ReasonCode::PROTOCOL_ERROR,
        ),
        (
            vec![Packet::Pubcomp(ack(1, ReasonCode::SUCCESS))],
            ReasonCode::PROTOCOL_ERROR,
        ),
    ];
    for (packets, reason) in cases {
        let mut harness = Harness::new(r#"{"receiveMaximum":2}"#);
        let publish = harness.publish("a", 1, "1");
        let (bytes, _) = harness.connect();
        harness.published(bytes);
        for packet in &packets {
            harness.broker(bytes, packet);
        }
        let sent = harness.packets(bytes);
        assert!(
            matches!(sent.last(), Some(Packet::Disconnect(it)) if it.reason == reason),
            "{packets:?}: {sent:?}"
        );
        let seen = harness.seen(publish);
        assert_eq!(seen.reset().reason_code, reason.0, "{packets:?}");
        assert_eq!(seen.reset().delivery, MqttDelivery::Possible);
        harness.assert_idle();
    }
}

#[test]
fn malformed_packets_close_the_connection() {
    for (wire, code) in [
        (&[0x00, 0x00][..], 0x81),
        (&[0x40, 0x01, 0x00][..], 0x81),
        (&[0x30, 0xff, 0xff, 0xff, 0xff][..], 0x81),
        (&[0x30, 0xff, 0xff, 0xff, 0x7f][..], 0x95),
    ] {
        let mut harness = Harness::new("{}");
        let publish = harness.publish("a", 1, "1");
        let (bytes, _) = harness.connect();
        harness.published(bytes);
        harness.raw(bytes, Bytes::from_static(wire));
        assert_eq!(harness.seen(publish).reset().reason_code, code, "{wire:?}");
        harness.packets(bytes);
        harness.assert_idle();
    }
}

#[test]
fn a_connection_opens_only_with_connack() {
    let cases = [
        Packet::Pingresp,
        Packet::Auth(Box::new(Auth {
            reason: ReasonCode::CONTINUE_AUTHENTICATION,
            ..Auth::default()
        })),
        Packet::Connack(Box::new(Connack {
            session_present: true,
            ..Connack::default()
        })),
    ];
    for packet in cases {
        let mut harness = Harness::new("{}");
        let publish = harness.publish("a", 1, "1");
        let bytes = harness.accept();
        harness.packets(bytes);
        harness.broker(bytes, &packet);
        let seen = harness.seen(publish);
        assert_eq!(seen.reset().reason_code, 0x82, "{packet:?}");
        assert_eq!(seen.reset().delivery, MqttDelivery::None);
        harness.packets(bytes);
        harness.assert_idle();
    }
}

#[test]
fn an_end_of_the_byte_stream_is_a_lost_connection() {
    let mut harness = Harness::new("{}");
    let publish = harness.publish("a", 1, "1");
    let bytes = harness.accept();
    harness.packets(bytes);
    harness.rig.send(harness.exit, bytes, Frame::end());
    assert_eq!(
        harness.seen(publish).reset().reason,
        "The broker broker.example:1883 closed the connection before CONNACK; check that the port is an MQTT port without TLS."
    );
    harness.packets(bytes);
    harness.advance(1_000);
    let publish = harness.publish("a", 1, "1");
    let (bytes, _) = harness.connect_with(ConnackProperties::default());
    harness.published(bytes);
    harness.rig.send(harness.exit, bytes, Frame::end());
    assert_eq!(
        harness.seen(publish).reset().reason,
        "The broker broker.example:1883 closed the connection."
    );
    harness.packets(bytes);
    harness.assert_idle();
}
