//! One way to the broker, whoever asks: how often it is tried, who goes first, and who is told.

use tidegate_engine::StreamId;

use super::house::*;
use crate::codec::{Connack, Packet, ReasonCode};

const FAILED: &str = "The broker broker.example:1883 cannot be reached: connection refused";

fn refuse(house: &mut House, code: ReasonCode) {
    let bytes = house.accept();
    house.packets(bytes);
    let connack = Connack {
        reason: code,
        ..Connack::default()
    };
    house.broker(bytes, &Packet::Connack(Box::new(connack)));
    house.packets(bytes);
}

/// Opens and breaks every connection that the binding tries to make; how many there were.
fn break_all(house: &mut House) -> usize {
    let mut count = 0;
    while house.is_opened() {
        let bytes = house.opened();
        house.break_off(bytes, "connection refused");
        count += 1;
    }
    count
}

/// A subscription that is accepted, each of a client of its own.
fn subscribers(house: &mut House, count: usize) -> Vec<(StreamId, StreamId)> {
    let mut all = Vec::new();
    for number in 0..count {
        let stream = house.subscribe_as(&format!("client-{number}"), "a");
        let (bytes, _) = house.connect();
        let subscribe = house.subscribed(bytes);
        house.suback(bytes, &subscribe, 0);
        house.seen(stream).granted();
        all.push((stream, bytes));
    }
    all
}

#[test]
fn a_broker_that_closes_at_once_is_not_stormed_whoever_calls() {
    let mut house = House::new("{}");
    let mut connects = 0;
    // A hundred calls a second of many clients, for a minute.
    for round in 0..6_000 {
        let client = format!("client-{}", round % 50);
        let stream = house.publish_as(&client, "a", 0, "1");
        connects += break_all(&mut house);
        let reason = house.seen(stream).reset().reason.clone();
        assert!(reason.starts_with(FAILED), "{reason}");
        house.advance(10);
    }
    assert!((4..=12).contains(&connects), "{connects} connects");
    house.assert_idle();
}

#[test]
fn a_broker_that_accepts_and_drops_is_not_stormed_either() {
    let mut house = House::new("{}");
    let mut connects = 0;
    for _ in 0..6_000 {
        let stream = house.publish("a", 1, "1");
        while house.is_opened() {
            let (bytes, _) = house.connect();
            house.packets(bytes);
            house.break_off(bytes, "reset");
            connects += 1;
        }
        house.seen(stream).reset();
        house.advance(10);
    }
    assert!((9..=20).contains(&connects), "{connects} connects");
    house.assert_idle();
}

#[test]
fn at_first_connections_are_made_side_by_side_up_to_a_bound() {
    let mut house = House::new("{}");
    let streams: Vec<_> = (0..20)
        .map(|number| house.publish_as(&format!("client-{number}"), "a", 0, "1"))
        .collect();
    let first: Vec<_> = (0..16).map(|_| house.opened()).collect();
    house.no_connection();
    house.connack(first[0]);
    let next = house.opened();
    house.no_connection();
    for bytes in first.into_iter().skip(1).chain([next]) {
        house.connack(bytes);
    }
    while house.is_opened() {
        let bytes = house.opened();
        house.connack(bytes);
    }
    for stream in streams {
        assert!(house.seen(stream).is_done());
    }
    for bytes in house.connections() {
        house.break_off(bytes, "done");
    }
    house.assert_idle();
}

#[test]
fn after_a_failure_one_tries_and_the_others_follow_it() {
    let mut house = House::new("{}");
    let all = subscribers(&mut house, 20);
    for (_, bytes) in &all {
        house.break_off(*bytes, "reset");
    }
    // The connections were healthy, so that they are opened again at once, as many as may be.
    assert_eq!(break_all(&mut house), 16);
    house.advance(1_000);
    let probe = house.opened();
    house.no_connection();
    let waits = house.publish_as("another", "a", 0, "1");
    house.no_connection();
    assert!(house.seen(waits).is_nothing());
    house.break_off(probe, "connection refused");
    let told = house.seen(waits).reset().reason.clone();
    assert!(
        told.starts_with(FAILED) && told.contains("next attempt in"),
        "{told}"
    );
    house.advance(2_000);
    let probe = house.opened();
    house.no_connection();
    let waits = house.publish_as("another", "a", 0, "1");
    house.connack(probe);
    let mut connections = vec![probe];
    while house.is_opened() {
        let bytes = house.opened();
        house.connack(bytes);
        connections.push(bytes);
    }
    assert_eq!(connections.len(), 21);
    assert!(house.seen(waits).is_done());
    for (stream, _) in all {
        house.cancel(stream);
    }
    for bytes in connections {
        house.packets(bytes);
        house.break_off(bytes, "done");
    }
    house.assert_idle();
}

#[test]
fn a_probe_that_nobody_needs_any_more_makes_way() {
    let mut house = House::new("{}");
    let all = subscribers(&mut house, 2);
    for (_, bytes) in &all {
        house.break_off(*bytes, "reset");
    }
    break_all(&mut house);
    house.advance(1_000);
    let session = house.session("short");
    let probe = house.opened();
    house.no_connection();
    // Whichever of them tries, it gives up.
    house.cancel(session);
    house.break_off(probe, "connection refused");
    house.advance(2_000);
    let probe = house.opened();
    for (stream, _) in all {
        house.cancel(stream);
    }
    house.connack(probe);
    house.finish(probe);
}

#[test]
fn refused_credentials_hold_off_everybody_and_an_identifier_itself_alone() {
    let mut house = House::new("{}");
    let first = house.publish_as("one", "a", 0, "1");
    refuse(&mut house, ReasonCode::CLIENT_IDENTIFIER_NOT_VALID);
    assert_eq!(house.seen(first).reset().reason_code, 0x85);
    let again = house.publish_as("one", "a", 0, "1");
    assert!(house.seen(again).reset().reason.contains("next attempt in"));
    let other = house.publish_as("two", "a", 0, "1");
    refuse(&mut house, ReasonCode::BAD_USER_NAME_OR_PASSWORD);
    assert_eq!(house.seen(other).reset().reason_code, 0x86);
    let third = house.publish_as("three", "a", 0, "1");
    house.no_connection();
    assert_eq!(house.seen(third).reset().reason_code, 0x86);
    house.assert_idle();
}

#[test]
fn one_that_was_taken_over_is_held_off_and_the_others_are_not() {
    let mut house = House::new("{}");
    let all = subscribers(&mut house, 2);
    let taken = crate::codec::Disconnect {
        reason: ReasonCode::SESSION_TAKEN_OVER,
        ..Default::default()
    };
    house.broker(all[0].1, &Packet::Disconnect(Box::new(taken)));
    house.packets(all[0].1);
    house.no_connection();
    let publish = house.publish_as("client-0", "a", 0, "1");
    assert_eq!(house.seen(publish).reset().reason_code, 0x8E);
    let other = house.publish_as("another", "a", 0, "1");
    let (bytes, _) = house.connect();
    house.packets(bytes);
    assert!(house.seen(other).is_done());
    house.advance(1_000);
    let again = house.opened();
    house.connack(again);
    for (stream, _) in all.iter().copied() {
        house.cancel(stream);
    }
    for bytes in [all[1].1, bytes, again] {
        house.packets(bytes);
        house.break_off(bytes, "done");
    }
    house.assert_idle();
}

#[test]
fn at_shutdown_nobody_waits_for_another_attempt() {
    let mut house = House::new("{}");
    let all = subscribers(&mut house, 3);
    for (_, bytes) in &all {
        house.break_off(*bytes, "reset");
    }
    break_all(&mut house);
    let now = house.rig.now();
    house.rig.worker.shutdown(now);
    house.advance(0);
    for (stream, _) in all {
        assert_eq!(house.seen(stream).reset().reason_code, 0x8B);
    }
    house.assert_idle();
}
