//! Packets over which the broker closes connections use a separate connection: which ones, and for
//! how long.

use tidegate_engine::StreamId;
use tidegate_engine::streams::mqtt::MqttDelivery;

use super::harness::*;
use crate::codec::{ConnackProperties, Disconnect, Packet, ReasonCode};

fn success(packet_id: u16) -> Packet {
    Packet::Puback(ack(packet_id, ReasonCode::SUCCESS))
}

/// A connection with a subscription of a client that publishes nothing.
fn neighbour(json: &str) -> (Harness, StreamId, StreamId) {
    let mut harness = Harness::new(json);
    let stream = harness.subscribe(&[("n", 0)]);
    let bytes = resubscribed(&mut harness);
    harness.seen(stream).granted();
    (harness, stream, bytes)
}

/// Accepts the next connection and restores the subscription on it.
fn resubscribed(harness: &mut Harness) -> StreamId {
    let (bytes, connect) = harness.connect();
    assert!(connect.client_id.starts_with("tidegate-"));
    let subscribe = harness.subscribed(bytes);
    harness.suback(bytes, &subscribe, 0);
    bytes
}

fn drop_with(harness: &mut Harness, bytes: StreamId, reason: ReasonCode) {
    let disconnect = Disconnect {
        reason,
        ..Disconnect::default()
    };
    harness.broker(bytes, &Packet::Disconnect(Box::new(disconnect)));
    harness.packets(bytes);
}

/// The connection of a publication: a separate one, if the binding opens one.
fn goes_apart(harness: &mut Harness, stream: StreamId, shared: StreamId) -> bool {
    if harness.is_opened() {
        let (bytes, _) = harness.connect();
        let packets = harness.packets(bytes);
        assert!(
            matches!(packets.first(), Some(Packet::Publish(_))),
            "{packets:?}"
        );
        harness.break_off(bytes, "done");
        harness.seen(stream);
        return true;
    }
    let publish = harness.published(shared);
    if publish.qos > 0 {
        harness.broker(shared, &success(publish.packet_id));
    }
    assert!(harness.seen(stream).is_done());
    false
}

/// The outcome of a message over which the broker closes each connection.
#[derive(Debug, PartialEq, Eq)]
enum Became {
    /// The shared connection was closed; it is open again.
    Shared(StreamId),
    /// A separate connection was closed.
    Apart,
    /// It was refused during the hold-off.
    Refused,
}

/// Publishes a message over which the broker closes the connection.
fn publish_bad(harness: &mut Harness, topic: &str, shared: StreamId) -> Became {
    let stream = harness.publish(topic, 0, "x");
    if harness.is_opened() {
        let (bytes, _) = harness.connect();
        harness.packets(bytes);
        drop_with(harness, bytes, ReasonCode::MALFORMED_PACKET);
        assert_eq!(
            harness.seen(stream).reset().delivery,
            MqttDelivery::Possible
        );
        return Became::Apart;
    }
    let seen = harness.seen(stream);
    if seen.reset.is_some() {
        assert!(seen.reset().reason.contains("next attempt in"), "{seen:?}");
        return Became::Refused;
    }
    assert!(seen.is_done(), "it was written");
    harness.packets(shared);
    drop_with(harness, shared, ReasonCode::MALFORMED_PACKET);
    Became::Shared(resubscribed(harness))
}

/// Publishes every three seconds. Returns how often the shared connection was lost, how often a
/// separate one, and how often neither.
fn publish_all_bad<'a>(
    topics: impl IntoIterator<Item = &'a str>,
) -> (Harness, StreamId, [usize; 3]) {
    let (mut harness, neighbour, mut shared) = neighbour(r#"{"keepAlive":0}"#);
    let mut counts = [0; 3];
    for topic in topics {
        let became = publish_bad(&mut harness, topic, shared);
        let place = match became {
            Became::Shared(bytes) => {
                shared = bytes;
                0
            }
            Became::Apart => 1,
            Became::Refused => 2,
        };
        counts[place] += 1;
        harness.advance(3_000);
    }
    assert!(harness.seen(neighbour).is_nothing());
    (harness, shared, counts)
}

#[test]
fn another_stream_loses_its_connection_only_once() {
    let (mut harness, shared, [lost, apart, refused]) = publish_all_bad(["bad"; 20]);
    assert!(
        lost == 1 && apart >= 5 && apart + refused == 19,
        "{apart} {refused}"
    );
    harness.quiet(shared);
}

#[test]
fn a_caller_that_changes_the_topic_is_convicted_by_its_first_level() {
    let topics: Vec<_> = (0..20).map(|round| format!("ok/{round}")).collect();
    let topics = topics.iter().map(String::as_str);
    let (mut harness, shared, [lost, apart, _]) = publish_all_bad(topics);
    assert!(lost == 3 && apart >= 5, "{lost} {apart}");
    let other = harness.publish("fine/1", 0, "x");
    assert!(!goes_apart(&mut harness, other, shared));
}

#[test]
fn a_stream_cancelled_before_the_answer_is_still_a_suspect() {
    let (mut harness, _, shared) = neighbour("{}");
    let stream = harness.publish("bad", 1, "x");
    harness.published(shared);
    harness.cancel(stream);
    drop_with(&mut harness, shared, ReasonCode::PACKET_TOO_LARGE);
    let shared = resubscribed(&mut harness);
    let stream = harness.publish("bad", 1, "x");
    assert!(goes_apart(&mut harness, stream, shared));

    let stream = harness.subscribe(&[("bad/#", 0)]);
    harness.subscribed(shared);
    harness.cancel(stream);
    harness.packets(shared);
    drop_with(&mut harness, shared, ReasonCode::QUOTA_EXCEEDED);
    let shared = resubscribed(&mut harness);
    harness.subscribe(&[("bad/#", 0)]);
    let (bytes, _) = harness.connect();
    assert_eq!(harness.subscribed(bytes).filters[0].filter, "bad/#");
    harness.quiet(shared);
}

#[test]
fn an_answered_or_old_packet_is_not_a_suspect() {
    let (mut harness, _, shared) = neighbour("{}");
    // Answered.
    let stream = harness.publish("acknowledged", 1, "x");
    let publish = harness.published(shared);
    harness.broker(shared, &success(publish.packet_id));
    assert!(harness.seen(stream).is_done());
    // Read, since a later packet was answered.
    harness.publish("read", 0, "x");
    harness.published(shared);
    harness.publish("behind", 1, "x");
    let publish = harness.published(shared);
    harness.broker(shared, &success(publish.packet_id));
    // Too old.
    harness.publish("old", 0, "x");
    harness.published(shared);
    harness.advance(5_001);
    drop_with(&mut harness, shared, ReasonCode::PROTOCOL_ERROR);
    let shared = resubscribed(&mut harness);
    for topic in ["acknowledged", "read", "behind", "old"] {
        let stream = harness.publish(topic, 1, "x");
        assert!(!goes_apart(&mut harness, stream, shared), "{topic}");
    }
}

#[test]
fn a_close_without_a_packet_error_makes_no_suspects() {
    for reason in [
        ReasonCode::SERVER_SHUTTING_DOWN,
        ReasonCode::SERVER_BUSY,
        ReasonCode::ADMINISTRATIVE_ACTION,
        ReasonCode::KEEP_ALIVE_TIMEOUT,
    ] {
        let (mut harness, _, mut shared) = neighbour("{}");
        for _ in 0..3 {
            harness.publish("fine", 1, "x");
            harness.published(shared);
            drop_with(&mut harness, shared, reason);
            shared = resubscribed(&mut harness);
        }
        let stream = harness.publish("fine", 1, "x");
        assert!(!goes_apart(&mut harness, stream, shared), "{reason:?}");
    }
}

#[test]
fn clients_are_suspected_independently() {
    let mut harness = Harness::new("{}");
    harness.publish_as("one", "t", 1, "x");
    let (bytes, _) = harness.connect();
    harness.published(bytes);
    drop_with(&mut harness, bytes, ReasonCode::PACKET_TOO_LARGE);
    harness.publish_as("two", "t", 1, "x");
    let (_, connect) = harness.connect();
    assert_eq!(connect.client_id, "two");
    harness.publish_as("one", "t", 1, "x");
    let (_, connect) = harness.connect();
    assert_eq!(connect.client_id, "one_2");
}

#[test]
fn a_qos_0_message_in_quarantine_is_done_with_pingresp() {
    let (mut harness, _, shared) = neighbour("{}");
    harness.publish("bad", 0, "x");
    harness.published(shared);
    drop_with(&mut harness, shared, ReasonCode::MALFORMED_PACKET);
    resubscribed(&mut harness);
    let first = harness.publish("bad", 0, "1");
    let second = harness.publish("bad", 1, "2");
    let (bytes, _) = harness.connect();
    let packets = harness.packets(bytes);
    assert!(
        matches!(packets.as_slice(), [Packet::Publish(_), Packet::Pingreq]),
        "{packets:?}"
    );
    assert!(harness.seen(first).is_nothing());
    harness.broker(bytes, &Packet::Pingresp);
    assert!(harness.seen(first).is_done());
    let publish = harness.published(bytes);
    harness.broker(bytes, &success(publish.packet_id));
    assert!(harness.seen(second).is_done());
    // Without an answer, the message may have been delivered.
    let third = harness.publish("bad", 0, "3");
    harness.packets(bytes);
    harness.advance(20_000);
    let seen = harness.seen(third);
    assert_eq!(seen.reset().delivery, MqttDelivery::Possible);
    assert!(seen.reset().reason.contains("PINGRESP"), "{seen:?}");
}

#[test]
fn a_connection_in_quarantine_counts_and_is_closed_when_idle() {
    let (mut harness, subscriber, shared) = neighbour(r#"{"maxConnections":2}"#);
    let stream = harness.publish("bad", 1, "x");
    harness.published(shared);
    drop_with(&mut harness, shared, ReasonCode::PACKET_TOO_LARGE);
    harness.seen(stream).reset();
    let shared = resubscribed(&mut harness);
    let session = harness.session("other");
    let (other, _) = harness.connect();
    harness.seen(session);
    let stream = harness.publish("bad", 1, "x");
    assert_eq!(harness.seen(stream).reset().reason_code, 0x97);
    harness.quiet(shared);
    harness.end(session);
    harness.packets(other);
    let stream = harness.publish("bad", 1, "x");
    let (bytes, _) = harness.connect();
    let publish = harness.published(bytes);
    harness.broker(bytes, &success(publish.packet_id));
    assert!(harness.seen(stream).is_done());
    harness.cancel(subscriber);
    harness.seen(subscriber);
    harness.unsubscribed(shared);
    harness.seen(session);
    harness.advance(29_000);
    harness.advance(1_000);
    for bytes in [shared, bytes] {
        assert_eq!(harness.one(bytes), Packet::Pingreq);
        harness.broker(bytes, &Packet::Pingresp);
    }
    harness.advance(30_000);
    for bytes in [shared, bytes] {
        assert!(matches!(harness.one(bytes), Packet::Disconnect(_)));
    }
    harness.assert_idle();
}

#[test]
fn a_failed_attempt_for_a_trial_convicts_nothing() {
    let (mut harness, _, shared) = neighbour("{}");
    for filter in ["one/#", "two/#"] {
        harness.subscribe(&[(filter, 0)]);
        harness.subscribed(shared);
    }
    drop_with(&mut harness, shared, ReasonCode::TOPIC_FILTER_INVALID);
    let shared = resubscribed(&mut harness);
    harness.subscribe(&[("one/#", 0)]);
    let bytes = harness.opened();
    harness.break_off(bytes, "connection refused");
    harness.advance(1_000);
    let stream = harness.subscribe(&[("one/#", 0)]);
    let (bytes, _) = harness.connect();
    let subscribe = harness.subscribed(bytes);
    harness.suback(bytes, &subscribe, 0);
    harness.seen(stream).granted();
    harness.subscribe(&[("one/#", 0)]);
    harness.no_connection();
    assert_eq!(harness.subscribed(shared).filters[0].filter, "one/#");
}

#[test]
fn an_unwritten_publication_of_a_convicted_topic_does_not_use_the_reopened_connection() {
    let mut harness = Harness::new(r#"{"keepAlive":0}"#);
    let neighbour = harness.subscribe(&[("n", 0)]);
    let one_at_a_time = ConnackProperties {
        receive_maximum: Some(1),
        ..ConnackProperties::default()
    };
    let (shared, _) = harness.connect_with(one_at_a_time.clone());
    let subscribe = harness.subscribed(shared);
    harness.suback(shared, &subscribe, 0);
    harness.seen(neighbour).granted();
    let written = harness.publish("bad", 1, "x");
    let waiting = harness.publish("bad", 1, "y");
    let innocent = harness.publish("good", 1, "z");
    assert_eq!(harness.published(shared).topic, "bad");

    drop_with(&mut harness, shared, ReasonCode::MALFORMED_PACKET);
    let reset = |seen: Seen| seen.reset().delivery;
    assert_eq!(reset(harness.seen(written)), MqttDelivery::Possible);
    assert_eq!(reset(harness.seen(waiting)), MqttDelivery::None);
    let (reopened, _) = harness.connect_with(one_at_a_time);
    let packets = harness.packets(reopened);
    let [Packet::Subscribe(_), Packet::Publish(publish)] = packets.as_slice() else {
        panic!("{packets:?}");
    };
    assert_eq!(publish.topic, "good");
    harness.broker(reopened, &success(publish.packet_id));
    assert!(harness.seen(innocent).is_done());
}
