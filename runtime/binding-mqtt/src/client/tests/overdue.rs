//! Missing acknowledgements and incomplete packets: how long they are waited for, and the extra
//! time for slow links.

use bytes::{Bytes, BytesMut};
use tidegate_engine::StreamId;
use tidegate_engine::streams::mqtt::MqttDelivery;

use super::harness::*;
use crate::codec::{Packet, Publish, ReasonCode, Version, encode};

/// A message from a broker, encoded.
fn wire(length: usize) -> Bytes {
    let mut out = BytesMut::new();
    let packet = Packet::Publish(incoming("a", &"x".repeat(length), &[1]));
    encode(&packet, Version::V5, usize::MAX, &mut out).expect("legal");
    out.freeze()
}

fn subscribed(json: &str) -> (Harness, StreamId, StreamId) {
    let mut harness = Harness::new(json);
    let stream = harness.subscribe(&[("a", 0)]);
    let (bytes, _) = harness.connect();
    let subscribe = harness.subscribed(bytes);
    harness.suback(bytes, &subscribe, 0);
    harness.seen(stream).granted();
    (harness, bytes, stream)
}

fn puback(publish: &Publish) -> Packet {
    Packet::Puback(ack(publish.packet_id, ReasonCode::SUCCESS))
}

/// Checks that the connection was closed with DISCONNECT.
fn given_up(harness: &mut Harness, bytes: StreamId) {
    let packets = harness.packets(bytes);
    assert!(
        matches!(packets.last(), Some(Packet::Disconnect(it)) if it.reason.is_error()),
        "{packets:?}"
    );
}

#[test]
fn each_acknowledgement_has_its_own_timeout() {
    let (mut harness, bytes, _) = subscribed(r#"{"acknowledgeTimeout":1000}"#);
    let lost = harness.publish("t", 1, "lost");
    let never = harness.published(bytes);
    for round in 0..9 {
        harness.advance(100);
        let stream = harness.publish("t", 1, "m");
        let publish = harness.published(bytes);
        assert_ne!(publish.packet_id, never.packet_id);
        harness.broker(bytes, &puback(&publish));
        assert!(harness.seen(stream).is_done(), "round {round}");
    }
    harness.advance(99);
    harness.quiet(bytes);
    harness.advance(1);
    given_up(&mut harness, bytes);
    let seen = harness.seen(lost);
    assert_eq!(
        seen.reset().reason,
        "The broker broker.example:1883 did not send PUBACK within 1000 ms (acknowledgeTimeout); the \
         connection was closed."
    );
    assert_eq!(seen.reset().delivery, MqttDelivery::Possible);
    harness.connect();
}

#[test]
fn calls_that_are_answered_share_one_timer() {
    let (mut harness, bytes, _) = subscribed("{}");
    for _ in 0..1_000 {
        let stream = harness.publish("t", 1, "m");
        let publish = harness.published(bytes);
        harness.broker(bytes, &puback(&publish));
        assert!(harness.seen(stream).is_done());
    }
    let timers = harness.rig.worker.counters().timers;
    assert!(timers <= 2, "{timers} timers: keep-alive and this");
}

#[test]
fn a_large_message_gets_extra_time() {
    let (mut harness, bytes, _) = subscribed(r#"{"acknowledgeTimeout":1000,"keepAlive":0}"#);
    let large = harness.publish("t", 1, &"x".repeat(48 * 1024));
    let publish = harness.published(bytes);
    harness.advance(3_900);
    assert!(harness.seen(large).is_nothing(), "three seconds more");
    harness.broker(bytes, &puback(&publish));
    assert!(harness.seen(large).is_done());
    // The answer to a later packet shows that it was read.
    let large = harness.publish("t", 1, &"x".repeat(48 * 1024));
    harness.published(bytes);
    let small = harness.publish("t", 1, "m");
    let publish = harness.published(bytes);
    harness.broker(bytes, &puback(&publish));
    assert!(harness.seen(small).is_done());
    harness.advance(1_000);
    given_up(&mut harness, bytes);
    assert_eq!(harness.seen(large).reset().delivery, MqttDelivery::Possible);
}

#[test]
fn a_large_packet_gets_extra_time_and_later_acknowledgements_wait() {
    let (mut harness, bytes, stream) = subscribed(r#"{"acknowledgeTimeout":1000,"keepAlive":1}"#);
    let publish = harness.publish("t", 1, "m");
    let sent = harness.published(bytes);
    let mut rest = wire(200 * 1024);
    while !rest.is_empty() {
        let part = rest.split_to(rest.len().min(17 * 1024));
        harness.raw(bytes, part);
        if rest.is_empty() {
            harness.broker(bytes, &puback(&sent));
        }
        harness.advance(1_000);
        let packets = harness.packets(bytes);
        let ping = |packet: &Packet| matches!(packet, Packet::Pingreq);
        assert!(packets.iter().all(ping), "{packets:?}");
    }
    assert_eq!(harness.seen(stream).messages.len(), 1);
    assert!(harness.seen(publish).is_done());
}

#[test]
fn a_packet_that_arrives_too_slowly_closes_the_connection() {
    for keep_alive in [0, 1, 30] {
        let json = format!(r#"{{"acknowledgeTimeout":1000,"keepAlive":{keep_alive}}}"#);
        let (mut harness, bytes, stream) = subscribed(&json);
        let mut rest = wire(200 * 1024);
        let mut seconds = 0;
        while harness.connections().contains(&bytes) {
            harness.raw_if_open(bytes, rest.split_to(8 * 1024));
            harness.advance(1_000);
            harness.packets(bytes);
            seconds += 1;
        }
        assert_eq!(seconds, 1, "it was half as fast as the slowest");
        harness.connect();
        assert!(harness.seen(stream).is_nothing());
    }
}

#[test]
fn a_packet_that_begins_after_the_timeout_does_not_extend_it() {
    let (mut harness, bytes, _) = subscribed(r#"{"acknowledgeTimeout":1000,"keepAlive":0}"#);
    let publish = harness.publish("t", 1, "m");
    harness.published(bytes);
    // Large packets without a pause, each in time.
    for _ in 0..3 {
        let mut packet = wire(1_000);
        let rest = packet.split_off(500);
        harness.raw_if_open(bytes, packet);
        harness.advance(700);
        harness.raw_if_open(bytes, rest);
    }
    given_up(&mut harness, bytes);
    assert_eq!(
        harness.seen(publish).reset().delivery,
        MqttDelivery::Possible
    );
}

#[test]
fn timeouts_pause_while_reading_is_paused() {
    let mut harness = Harness::new(r#"{"queueMessages":2,"acknowledgeTimeout":1000}"#);
    let (slow, client) = (harness.slow, harness.client);
    let lazy = harness.rig.open(slow, client, subscription(&[("a", 1)]));
    let (bytes, _) = harness.connect();
    let subscribe = harness.subscribed(bytes);
    harness.suback(bytes, &subscribe, 1);
    let id = id_of(&subscribe);
    harness.seen_by(slow, lazy).granted();
    for packet_id in 1..=4 {
        let publish = Publish {
            qos: 1,
            packet_id,
            ..incoming("a", "12345678", &[id])
        };
        harness.broker(bytes, &Packet::Publish(publish));
    }
    // The only stream of its connection does not read, so reading from the broker pauses.
    harness.packets(bytes);
    let packets = harness.pass(bytes, 20);
    assert!(packets.is_empty(), "{packets:?}");
    for _ in 0..8 {
        harness.rig.turn(slow, |cx| cx.acknowledge(lazy, 8));
    }
    assert_eq!(harness.seen_by(slow, lazy).messages.len(), 4);
}
