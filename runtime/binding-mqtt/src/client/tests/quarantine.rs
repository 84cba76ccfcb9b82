//! What the broker closes connections over goes over one of its own: whose, and for how long.

use tidegate_engine::StreamId;
use tidegate_engine::streams::mqtt::MqttDelivery;

use super::house::*;
use crate::codec::{Disconnect, Packet, ReasonCode};

fn success(packet_id: u16) -> Packet {
    Packet::Puback(ack(packet_id, ReasonCode::SUCCESS))
}

/// A connection with a subscription of somebody who publishes nothing.
fn neighbour(json: &str) -> (House, StreamId, StreamId) {
    let mut house = House::new(json);
    let stream = house.subscribe(&[("n", 0)]);
    let bytes = resubscribed(&mut house);
    house.seen(stream).granted();
    (house, stream, bytes)
}

/// Takes the next connection, on which the neighbour's subscription is made.
fn resubscribed(house: &mut House) -> StreamId {
    let (bytes, connect) = house.connect();
    assert!(connect.client_id.starts_with("tidegate-"));
    let subscribe = house.subscribed(bytes);
    house.suback(bytes, &subscribe, 0);
    bytes
}

fn drop_with(house: &mut House, bytes: StreamId, reason: ReasonCode) {
    let disconnect = Disconnect {
        reason,
        ..Disconnect::default()
    };
    house.broker(bytes, &Packet::Disconnect(Box::new(disconnect)));
    house.packets(bytes);
}

/// Which connection a publication goes over: one of its own, if the binding makes one.
fn goes_apart(house: &mut House, stream: StreamId, shared: StreamId) -> bool {
    if house.is_opened() {
        let (bytes, _) = house.connect();
        let packets = house.packets(bytes);
        assert!(
            matches!(packets.first(), Some(Packet::Publish(_))),
            "{packets:?}"
        );
        house.break_off(bytes, "done");
        house.seen(stream);
        return true;
    }
    let publish = house.published(shared);
    if publish.qos > 0 {
        house.broker(shared, &success(publish.packet_id));
    }
    assert!(house.seen(stream).is_done());
    false
}

/// What became of a message that the broker closes each connection over.
#[derive(Debug, PartialEq, Eq)]
enum Became {
    /// It took the neighbour's connection along, which is made again.
    Shared(StreamId),
    /// It took one of its own along.
    Apart,
    /// Its own is not made again yet.
    Refused,
}

/// Somebody publishes what the broker closes the connection over.
fn publish_bad(house: &mut House, topic: &str, shared: StreamId) -> Became {
    let stream = house.publish(topic, 0, "x");
    if house.is_opened() {
        let (bytes, _) = house.connect();
        house.packets(bytes);
        drop_with(house, bytes, ReasonCode::MALFORMED_PACKET);
        assert_eq!(house.seen(stream).reset().delivery, MqttDelivery::Possible);
        return Became::Apart;
    }
    let seen = house.seen(stream);
    if seen.reset.is_some() {
        assert!(seen.reset().reason.contains("next attempt in"), "{seen:?}");
        return Became::Refused;
    }
    assert!(seen.is_done(), "it was written");
    house.packets(shared);
    drop_with(house, shared, ReasonCode::MALFORMED_PACKET);
    Became::Shared(resubscribed(house))
}

/// Every three seconds, for as long as there are topics: how often the neighbour's connection was lost,
/// one of its own was, and neither.
fn publish_all_bad<'a>(topics: impl IntoIterator<Item = &'a str>) -> (House, StreamId, [usize; 3]) {
    let (mut house, neighbour, mut shared) = neighbour(r#"{"keepAlive":0}"#);
    let mut counts = [0; 3];
    for topic in topics {
        let became = publish_bad(&mut house, topic, shared);
        let place = match became {
            Became::Shared(bytes) => {
                shared = bytes;
                0
            }
            Became::Apart => 1,
            Became::Refused => 2,
        };
        counts[place] += 1;
        house.advance(3_000);
    }
    assert!(house.seen(neighbour).is_nothing());
    (house, shared, counts)
}

#[test]
fn a_neighbour_loses_its_connection_once_however_often_the_caller_tries() {
    let (mut house, shared, [lost, apart, refused]) = publish_all_bad(["bad"; 20]);
    assert!(
        lost == 1 && apart >= 5 && apart + refused == 19,
        "{apart} {refused}"
    );
    house.quiet(shared);
}

#[test]
fn a_caller_who_changes_the_topic_each_time_is_found_by_its_first_level() {
    let topics: Vec<_> = (0..20).map(|round| format!("ok/{round}")).collect();
    let topics = topics.iter().map(String::as_str);
    let (mut house, shared, [lost, apart, _]) = publish_all_bad(topics);
    assert!(lost == 3 && apart >= 5, "{lost} {apart}");
    let other = house.publish("fine/1", 0, "x");
    assert!(!goes_apart(&mut house, other, shared));
}

#[test]
fn who_leaves_before_the_broker_answers_is_remembered() {
    let (mut house, _, shared) = neighbour("{}");
    let stream = house.publish("bad", 1, "x");
    house.published(shared);
    house.cancel(stream);
    drop_with(&mut house, shared, ReasonCode::PACKET_TOO_LARGE);
    let shared = resubscribed(&mut house);
    let stream = house.publish("bad", 1, "x");
    assert!(goes_apart(&mut house, stream, shared));

    let stream = house.subscribe(&[("bad/#", 0)]);
    house.subscribed(shared);
    house.cancel(stream);
    house.packets(shared);
    drop_with(&mut house, shared, ReasonCode::QUOTA_EXCEEDED);
    let shared = resubscribed(&mut house);
    house.subscribe(&[("bad/#", 0)]);
    let (bytes, _) = house.connect();
    assert_eq!(house.subscribed(bytes).filters[0].filter, "bad/#");
    house.quiet(shared);
}

#[test]
fn what_the_broker_has_answered_or_had_time_to_is_no_suspect() {
    let (mut house, _, shared) = neighbour("{}");
    // Answered.
    let stream = house.publish("acknowledged", 1, "x");
    let publish = house.published(shared);
    house.broker(shared, &success(publish.packet_id));
    assert!(house.seen(stream).is_done());
    // Read, as the answer to what was sent behind it shows.
    house.publish("read", 0, "x");
    house.published(shared);
    house.publish("behind", 1, "x");
    let publish = house.published(shared);
    house.broker(shared, &success(publish.packet_id));
    // Long ago.
    house.publish("old", 0, "x");
    house.published(shared);
    house.advance(5_001);
    drop_with(&mut house, shared, ReasonCode::PROTOCOL_ERROR);
    let shared = resubscribed(&mut house);
    for topic in ["acknowledged", "read", "behind", "old"] {
        let stream = house.publish(topic, 1, "x");
        assert!(!goes_apart(&mut house, stream, shared), "{topic}");
    }
}

#[test]
fn a_close_that_has_to_do_with_no_packet_makes_no_suspects() {
    for reason in [
        ReasonCode::SERVER_SHUTTING_DOWN,
        ReasonCode::SERVER_BUSY,
        ReasonCode::ADMINISTRATIVE_ACTION,
        ReasonCode::KEEP_ALIVE_TIMEOUT,
    ] {
        let (mut house, _, mut shared) = neighbour("{}");
        for _ in 0..3 {
            house.publish("fine", 1, "x");
            house.published(shared);
            drop_with(&mut house, shared, reason);
            shared = resubscribed(&mut house);
        }
        let stream = house.publish("fine", 1, "x");
        assert!(!goes_apart(&mut house, stream, shared), "{reason:?}");
    }
}

#[test]
fn clients_are_not_suspected_for_each_other() {
    let mut house = House::new("{}");
    house.publish_as("one", "t", 1, "x");
    let (bytes, _) = house.connect();
    house.published(bytes);
    drop_with(&mut house, bytes, ReasonCode::PACKET_TOO_LARGE);
    house.publish_as("two", "t", 1, "x");
    let (_, connect) = house.connect();
    assert_eq!(connect.client_id, "two");
    house.publish_as("one", "t", 1, "x");
    let (_, connect) = house.connect();
    assert_eq!(connect.client_id, "one_2");
}

#[test]
fn a_message_of_qos_0_is_done_with_the_answer_to_the_ping_behind_it() {
    let (mut house, _, shared) = neighbour("{}");
    house.publish("bad", 0, "x");
    house.published(shared);
    drop_with(&mut house, shared, ReasonCode::MALFORMED_PACKET);
    resubscribed(&mut house);
    let first = house.publish("bad", 0, "1");
    let second = house.publish("bad", 1, "2");
    let (bytes, _) = house.connect();
    let packets = house.packets(bytes);
    assert!(
        matches!(packets.as_slice(), [Packet::Publish(_), Packet::Pingreq]),
        "{packets:?}"
    );
    assert!(house.seen(first).is_nothing());
    house.broker(bytes, &Packet::Pingresp);
    assert!(house.seen(first).is_done());
    let publish = house.published(bytes);
    house.broker(bytes, &success(publish.packet_id));
    assert!(house.seen(second).is_done());
    // Where no answer comes, the message may have been delivered.
    let third = house.publish("bad", 0, "3");
    house.packets(bytes);
    house.advance(20_000);
    let seen = house.seen(third);
    assert_eq!(seen.reset().delivery, MqttDelivery::Possible);
    assert!(seen.reset().reason.contains("PINGRESP"), "{seen:?}");
}

#[test]
fn a_connection_in_quarantine_counts_and_is_closed_when_idle() {
    let (mut house, subscriber, shared) = neighbour(r#"{"maxConnections":2}"#);
    let stream = house.publish("bad", 1, "x");
    house.published(shared);
    drop_with(&mut house, shared, ReasonCode::PACKET_TOO_LARGE);
    house.seen(stream).reset();
    let shared = resubscribed(&mut house);
    let session = house.session("other");
    let (other, _) = house.connect();
    house.seen(session);
    let stream = house.publish("bad", 1, "x");
    assert_eq!(house.seen(stream).reset().reason_code, 0x97);
    house.quiet(shared);
    house.end(session);
    house.packets(other);
    let stream = house.publish("bad", 1, "x");
    let (bytes, _) = house.connect();
    let publish = house.published(bytes);
    house.broker(bytes, &success(publish.packet_id));
    assert!(house.seen(stream).is_done());
    house.cancel(subscriber);
    house.unsubscribed(shared);
    house.seen(session);
    house.advance(29_000);
    house.advance(1_000);
    for bytes in [shared, bytes] {
        assert_eq!(house.one(bytes), Packet::Pingreq);
        house.broker(bytes, &Packet::Pingresp);
    }
    house.advance(30_000);
    for bytes in [shared, bytes] {
        assert!(matches!(house.one(bytes), Packet::Disconnect(_)));
    }
    house.assert_idle();
}

#[test]
fn a_trial_that_could_not_be_made_convicts_nobody() {
    let (mut house, _, shared) = neighbour("{}");
    for filter in ["one/#", "two/#"] {
        house.subscribe(&[(filter, 0)]);
        house.subscribed(shared);
    }
    drop_with(&mut house, shared, ReasonCode::TOPIC_FILTER_INVALID);
    let shared = resubscribed(&mut house);
    house.subscribe(&[("one/#", 0)]);
    let bytes = house.opened();
    house.break_off(bytes, "connection refused");
    house.advance(1_000);
    let stream = house.subscribe(&[("one/#", 0)]);
    let (bytes, _) = house.connect();
    let subscribe = house.subscribed(bytes);
    house.suback(bytes, &subscribe, 0);
    house.seen(stream).granted();
    house.subscribe(&[("one/#", 0)]);
    house.no_connection();
    assert_eq!(house.subscribed(shared).filters[0].filter, "one/#");
}
