use bytes::{Bytes, BytesMut};
use tidegate_engine::StreamId;
use tidegate_engine::streams::Frame;
use tidegate_engine::streams::mqtt::MqttDelivery;

use super::house::*;
use crate::codec::{
    Auth, Connack, ConnackProperties, Packet, Publish, PublishProperties, ReasonCode, Version,
    encode,
};

fn accepted(house: &mut House, bytes: StreamId, stream: StreamId) -> u32 {
    let subscribe = house.subscribed(bytes);
    house.suback(bytes, &subscribe, subscribe.filters[0].qos);
    house.seen(stream).granted();
    id_of(&subscribe)
}

fn subscribed(json: &str) -> (House, StreamId, StreamId, u32) {
    let mut house = House::new(json);
    let stream = house.subscribe(&[("a/#", 2)]);
    let (bytes, _) = house.connect();
    let id = accepted(&mut house, bytes, stream);
    (house, bytes, stream, id)
}

fn send(house: &mut House, bytes: StreamId, publish: Publish) {
    house.broker(bytes, &Packet::Publish(publish));
}

fn numbered(qos: u8, packet_id: u16, payload: &str, id: u32) -> Publish {
    Publish {
        qos,
        packet_id,
        ..incoming("a/b", payload, &[id])
    }
}

#[test]
fn a_subscription_survives_the_loss_of_its_connection() {
    let (mut house, bytes, stream, old) = subscribed("{}");
    let waiting = house.subscribe(&[("b", 0)]);
    house.packets(bytes);
    house.break_off(bytes, "connection reset");
    let seen = house.seen(waiting);
    assert_eq!(
        seen.reset().reason,
        "The broker broker.example:1883 went away: connection reset."
    );
    assert!(house.seen(stream).is_nothing());
    let bytes = house.opened();
    house.break_off(bytes, "connection refused");
    assert!(house.seen(stream).is_nothing());
    house.no_connection();
    house.advance(1_000);
    let (bytes, _) = house.connect();
    let subscribe = house.subscribed(bytes);
    assert_eq!(subscribe.filters[0].filter, "a/#");
    let id = id_of(&subscribe);
    send(&mut house, bytes, retained("a/b", "state", &[id]));
    house.suback(bytes, &subscribe, 2);
    let seen = house.seen(stream);
    assert!(seen.begin.is_none(), "it was accepted before");
    assert_eq!(seen.payloads(), ["state"]);
    assert_eq!(old, id, "a new connection counts anew");
    house.cancel(stream);
    house.unsubscribed(bytes);
    house.finish(bytes);
}

#[test]
fn streams_that_shared_a_filter_share_it_again() {
    let (mut house, bytes, first, _) = subscribed("{}");
    let second = house.subscribe(&[("a/#", 0)]);
    accepted(&mut house, bytes, second);
    house.break_off(bytes, "reset");
    let (bytes, _) = house.connect();
    let subscribe = house.subscribed(bytes);
    assert_eq!(subscribe.filters[0].qos, 2);
    house.suback(bytes, &subscribe, 2);
    send(
        &mut house,
        bytes,
        retained("a/b", "state", &[id_of(&subscribe)]),
    );
    for stream in [first, second] {
        assert_eq!(house.seen(stream).payloads(), ["state"]);
        house.cancel(stream);
    }
    house.unsubscribed(bytes);
    house.finish(bytes);
}

#[test]
fn a_subscription_that_is_refused_the_second_time_is_reset() {
    let (mut house, bytes, stream, _) = subscribed("{}");
    house.break_off(bytes, "reset");
    let (bytes, _) = house.connect();
    let subscribe = house.subscribed(bytes);
    house.suback(bytes, &subscribe, 0x87);
    assert_eq!(house.seen(stream).reset().reason_code, 0x87);
    house.finish(bytes);
}

#[test]
fn attempts_go_on_while_a_subscription_lives_and_not_hot_after_a_refusal() {
    let (mut house, bytes, stream, _) = subscribed("{}");
    house.break_off(bytes, "reset");
    let bytes = house.accept();
    house.packets(bytes);
    let connack = Connack {
        reason: ReasonCode::BAD_USER_NAME_OR_PASSWORD,
        ..Connack::default()
    };
    house.broker(bytes, &Packet::Connack(Box::new(connack)));
    house.packets(bytes);
    house.advance(29_999);
    house.no_connection();
    let other = house.publish("x", 0, "1");
    assert_eq!(house.seen(other).reset().reason_code, 0x86);
    assert!(house.seen(stream).is_nothing());
    house.advance(30_001);
    let bytes = house.opened();
    house.cancel(stream);
    house.break_off(bytes, "refused");
    house.assert_idle();
}

#[test]
fn a_new_stream_shares_the_connection_that_is_made_anew() {
    let (mut house, bytes, stream, _) = subscribed("{}");
    house.break_off(bytes, "reset");
    let publish = house.publish("x", 0, "1");
    let (bytes, _) = house.connect();
    let packets = house.packets(bytes);
    assert!(
        matches!(
            packets.as_slice(),
            [Packet::Subscribe(_), Packet::Publish(_)]
        ),
        "{packets:?}"
    );
    assert!(house.seen(publish).is_done());
    house.cancel(stream);
    house.packets(bytes);
    house.advance(500);
    house.no_connection();
    house.break_off(bytes, "done");
    house.assert_idle();
}

#[test]
fn a_session_outlives_a_connection_and_is_taken_up_by_the_next_stream() {
    let mut house = House::new("{}");
    let session = house.session("");
    let (bytes, _) = house.connect();
    house.seen(session);
    house.break_off(bytes, "reset");
    assert!(house.seen(session).is_nothing());
    house.advance(120_000);
    house.no_connection();
    let publish = house.publish("a", 0, "1");
    let (bytes, _) = house.connect();
    house.published(bytes);
    assert!(house.seen(publish).is_done());
    house.end(session);
    assert!(house.seen(session).ended);
    assert!(matches!(house.one(bytes), Packet::Disconnect(_)));
    house.assert_idle();
}

#[test]
fn messages_are_acknowledged_in_order_of_arrival_and_repetitions_dropped() {
    let (mut house, bytes, stream, id) = subscribed("{}");
    send(&mut house, bytes, numbered(1, 7, "one", id));
    send(&mut house, bytes, numbered(2, 8, "two", id));
    send(&mut house, bytes, numbered(1, 9, "three", id));
    let success = |packet_id| ack(packet_id, ReasonCode::SUCCESS);
    assert_eq!(
        house.packets(bytes),
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
    send(&mut house, bytes, repeated);
    assert_eq!(house.one(bytes), Packet::Pubrec(success(8)));
    assert_eq!(house.seen(stream).payloads(), ["one", "two", "three"]);
    house.broker(bytes, &Packet::Pubrel(success(8)));
    assert_eq!(house.one(bytes), Packet::Pubcomp(success(8)));
    house.broker(bytes, &Packet::Pubrel(success(8)));
    let unknown = ack(8, ReasonCode::PACKET_IDENTIFIER_NOT_FOUND);
    assert_eq!(house.one(bytes), Packet::Pubcomp(unknown));
    send(&mut house, bytes, numbered(2, 8, "anew", id));
    house.one(bytes);
    assert_eq!(house.seen(stream).payloads(), ["anew"]);
    house.cancel(stream);
    house.unsubscribed(bytes);
    house.finish(bytes);
}

#[test]
fn a_message_crosses_uncopied_to_each_reader() {
    let (mut house, bytes, first, _) = subscribed("{}");
    let second = house.subscribe(&[("a/#", 0)]);
    let id = accepted(&mut house, bytes, second);
    let mut out = BytesMut::new();
    let packet = Packet::Publish(incoming("a/b", &"x".repeat(10_000), &[id]));
    encode(&packet, Version::V5, usize::MAX, &mut out).expect("legal");
    let mut wire = out.freeze();
    let rest = wire.split_off(4_000);
    let pointers = [wire.as_ptr_range(), rest.as_ptr_range()];
    house.raw(bytes, wire);
    house.raw(bytes, rest);
    for stream in [first, second] {
        let frames = house.rig.frames(house.caller, stream);
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
        house.cancel(stream);
    }
    house.packets(bytes);
    house.break_off(bytes, "done");
    house.assert_idle();
}

#[test]
fn a_slow_consumer_is_ended_and_the_others_go_on() {
    let mut house = House::new(r#"{"queueMessages":3}"#);
    let slow = house.slow;
    let client = house.client;
    let begin = subscription(&[("a/#", 0)]);
    let lazy = house.rig.open(slow, client, begin);
    let brisk = house.subscribe(&[("a/#", 0)]);
    let (bytes, _) = house.connect();
    let subscribe = house.subscribed(bytes);
    house.suback(bytes, &subscribe, 0);
    let id = id_of(&subscribe);
    house.seen_by(slow, lazy).granted();
    house.seen(brisk).granted();
    for _ in 0..4 {
        send(&mut house, bytes, incoming("a", "12345678", &[id]));
    }
    let seen = house.seen_by(slow, lazy);
    assert_eq!(seen.payloads(), ["12345678"], "what its credit allowed");
    assert!(seen.reset.is_none());
    send(&mut house, bytes, incoming("a", "one more", &[id]));
    let seen = house.seen_by(slow, lazy);
    assert_eq!(seen.reset().reason_code, 0x97);
    assert!(seen.reset().reason.contains("slow consumer"), "{seen:?}");
    assert_eq!(house.seen(brisk).messages.len(), 5);
    house.cancel(brisk);
    house.unsubscribed(bytes);
    house.finish(bytes);
}

#[test]
fn a_stream_that_has_its_connection_to_itself_holds_the_broker_back() {
    let mut house = House::new(r#"{"queueMessages":2}"#);
    let (slow, client) = (house.slow, house.client);
    let lazy = house.rig.open(slow, client, subscription(&[("a/#", 1)]));
    let (bytes, _) = house.connect();
    let subscribe = house.subscribed(bytes);
    house.suback(bytes, &subscribe, 1);
    let id = id_of(&subscribe);
    house.seen_by(slow, lazy).granted();
    for packet_id in 1..=10 {
        send(&mut house, bytes, numbered(1, packet_id, "12345678", id));
    }
    let acknowledged = house.packets(bytes).len();
    assert_eq!(
        acknowledged, 3,
        "one sent, two wait, and the broker with the rest"
    );
    let credit = house.rig.turn(house.exit, |cx| cx.credit(bytes));
    assert!(credit < 64 * 1024, "its credit runs out");
    // Silence is not judged while nobody listens.
    let packets = house.pass(bytes, 100);
    assert!(packets.is_empty(), "{packets:?}");
    for _ in 0..20 {
        house.rig.turn(slow, |cx| cx.acknowledge(lazy, 8));
    }
    let seen = house.seen_by(slow, lazy);
    assert!(seen.messages.len() == 10 && seen.reset.is_none());
    assert_eq!(house.packets(bytes).len(), 7);
    house.rig.turn(slow, |cx| cx.terminate(lazy, None, None));
    house.unsubscribed(bytes);
    house.finish(bytes);
}

#[test]
fn a_second_stream_frees_a_connection_that_was_held_back() {
    let mut house = House::new(r#"{"queueMessages":2}"#);
    let (slow, client) = (house.slow, house.client);
    let lazy = house.rig.open(slow, client, subscription(&[("a/#", 0)]));
    let (bytes, _) = house.connect();
    let subscribe = house.subscribed(bytes);
    house.suback(bytes, &subscribe, 0);
    house.seen_by(slow, lazy).granted();
    for _ in 0..10 {
        send(
            &mut house,
            bytes,
            incoming("a", "12345678", &[id_of(&subscribe)]),
        );
    }
    let publish = house.publish("b", 1, "1");
    assert!(
        house.seen_by(slow, lazy).reset.is_some(),
        "it is alone no more"
    );
    let packets = house.packets(bytes);
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
    house.unsuback(bytes, left.packet_id);
    house.broker(
        bytes,
        &Packet::Puback(ack(sent.packet_id, ReasonCode::SUCCESS)),
    );
    assert!(house.seen(publish).is_done());
    house.finish(bytes);
}

#[test]
fn large_messages_come_in_parts_as_credit_allows() {
    let mut house = House::new("{}");
    let (slow, client) = (house.slow, house.client);
    let lazy = house.rig.open(slow, client, subscription(&[("a", 0)]));
    let (bytes, _) = house.connect();
    let subscribe = house.subscribed(bytes);
    house.suback(bytes, &subscribe, 0);
    house.seen_by(slow, lazy).granted();
    let text = "0123456789abcdefghijklmnopqrstuvwxyz";
    send(&mut house, bytes, incoming("a", text, &[id_of(&subscribe)]));
    for _ in 0..3 {
        house.rig.turn(slow, |cx| cx.acknowledge(lazy, 10));
    }
    assert_eq!(house.seen_by(slow, lazy).payloads(), [text]);
    house.rig.turn(slow, |cx| cx.terminate(lazy, None, None));
    house.unsubscribed(bytes);
    house.finish(bytes);
}

#[test]
fn a_broker_that_breaks_the_protocol_is_told_and_left() {
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
        (
            (1..=3)
                .map(|id| Packet::Publish(numbered(2, id, "m", 1)))
                .collect(),
            ReasonCode::RECEIVE_MAXIMUM_EXCEEDED,
        ),
    ];
    for (packets, reason) in cases {
        let mut house = House::new(r#"{"receiveMaximum":2}"#);
        let publish = house.publish("a", 1, "1");
        let (bytes, _) = house.connect();
        house.published(bytes);
        for packet in &packets {
            house.broker(bytes, packet);
        }
        let sent = house.packets(bytes);
        assert!(
            matches!(sent.last(), Some(Packet::Disconnect(it)) if it.reason == reason),
            "{packets:?}: {sent:?}"
        );
        let seen = house.seen(publish);
        assert_eq!(seen.reset().reason_code, reason.0, "{packets:?}");
        assert_eq!(seen.reset().delivery, MqttDelivery::Possible);
        house.assert_idle();
    }
}

#[test]
fn bytes_that_are_no_packet_end_the_connection() {
    for (wire, code) in [
        (&[0x00, 0x00][..], 0x81),
        (&[0x40, 0x01, 0x00][..], 0x81),
        (&[0x30, 0xff, 0xff, 0xff, 0xff][..], 0x81),
        (&[0x30, 0xff, 0xff, 0xff, 0x7f][..], 0x95),
    ] {
        let mut house = House::new("{}");
        let publish = house.publish("a", 1, "1");
        let (bytes, _) = house.connect();
        house.published(bytes);
        house.raw(bytes, Bytes::from_static(wire));
        assert_eq!(house.seen(publish).reset().reason_code, code, "{wire:?}");
        house.packets(bytes);
        house.assert_idle();
    }
}

#[test]
fn what_is_not_connack_does_not_open_a_connection() {
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
        let mut house = House::new("{}");
        let publish = house.publish("a", 1, "1");
        let bytes = house.accept();
        house.packets(bytes);
        house.broker(bytes, &packet);
        let seen = house.seen(publish);
        assert_eq!(seen.reset().reason_code, 0x82, "{packet:?}");
        assert_eq!(seen.reset().delivery, MqttDelivery::None);
        house.packets(bytes);
        house.assert_idle();
    }
}

#[test]
fn an_end_of_the_byte_stream_is_a_loss_at_any_time() {
    let mut house = House::new("{}");
    let publish = house.publish("a", 1, "1");
    let bytes = house.accept();
    house.packets(bytes);
    house.rig.send(house.exit, bytes, Frame::end());
    assert_eq!(
        house.seen(publish).reset().reason,
        "The broker broker.example:1883 closed the connection before CONNACK: check that this is not its port for TLS, and that it supports MQTT 5."
    );
    house.packets(bytes);
    house.advance(1_000);
    let publish = house.publish("a", 1, "1");
    let (bytes, _) = house.connect_with(ConnackProperties::default());
    house.published(bytes);
    house.rig.send(house.exit, bytes, Frame::end());
    assert_eq!(
        house.seen(publish).reset().reason,
        "The broker broker.example:1883 closed the connection."
    );
    house.packets(bytes);
    house.assert_idle();
}
