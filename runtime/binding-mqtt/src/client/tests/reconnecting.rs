//! Connection attempts: how often they are made, in which order, and with which errors.

use tidegate_engine::StreamId;

use super::harness::*;
use crate::codec::{Connack, Packet, ReasonCode};

const FAILED: &str = "The broker broker.example:1883 cannot be reached: connection refused";

fn refuse(harness: &mut Harness, code: ReasonCode) {
    let bytes = harness.accept();
    harness.packets(bytes);
    let connack = Connack {
        reason: code,
        ..Connack::default()
    };
    harness.broker(bytes, &Packet::Connack(Box::new(connack)));
    harness.packets(bytes);
}

/// Accepts and closes every connection that the binding opens. Returns their number.
fn break_all(harness: &mut Harness) -> usize {
    let mut count = 0;
    while harness.is_opened() {
        let bytes = harness.opened();
        harness.break_off(bytes, "connection refused");
        count += 1;
    }
    count
}

/// Accepted subscriptions, each of a different client.
fn subscribers(harness: &mut Harness, count: usize) -> Vec<(StreamId, StreamId)> {
    let mut all = Vec::new();
    for number in 0..count {
        let stream = harness.subscribe_as(&format!("client-{number}"), "a");
        let (bytes, _) = harness.connect();
        let subscribe = harness.subscribed(bytes);
        harness.suback(bytes, &subscribe, 0);
        harness.seen(stream).granted();
        all.push((stream, bytes));
    }
    all
}

#[test]
fn a_broker_that_closes_at_once_is_retried_with_backoff() {
    let mut harness = Harness::new("{}");
    let mut connects = 0;
    // A hundred calls per second of many clients, for a minute.
    for round in 0..6_000 {
        let client = format!("client-{}", round % 50);
        let stream = harness.publish_as(&client, "a", 0, "1");
        connects += break_all(&mut harness);
        let reason = harness.seen(stream).reset().reason.clone();
        assert!(reason.starts_with(FAILED), "{reason}");
        harness.advance(10);
    }
    assert!((4..=12).contains(&connects), "{connects} connects");
    harness.assert_idle();
}

#[test]
fn a_broker_that_accepts_and_drops_is_retried_with_backoff() {
    let mut harness = Harness::new("{}");
    let mut connects = 0;
    for _ in 0..6_000 {
        let stream = harness.publish("a", 1, "1");
        while harness.is_opened() {
            let (bytes, _) = harness.connect();
            harness.packets(bytes);
            harness.break_off(bytes, "reset");
            connects += 1;
        }
        harness.seen(stream).reset();
        harness.advance(10);
    }
    assert!((9..=20).contains(&connects), "{connects} connects");
    harness.assert_idle();
}

#[test]
fn concurrent_attempts_are_bounded() {
    let mut harness = Harness::new("{}");
    let streams: Vec<_> = (0..20)
        .map(|number| harness.publish_as(&format!("client-{number}"), "a", 0, "1"))
        .collect();
    let first: Vec<_> = (0..16).map(|_| harness.opened()).collect();
    harness.no_connection();
    harness.connack(first[0]);
    let next = harness.opened();
    harness.no_connection();
    for bytes in first.into_iter().skip(1).chain([next]) {
        harness.connack(bytes);
    }
    while harness.is_opened() {
        let bytes = harness.opened();
        harness.connack(bytes);
    }
    for stream in streams {
        assert!(harness.seen(stream).is_done());
    }
    for bytes in harness.connections() {
        harness.break_off(bytes, "done");
    }
    harness.assert_idle();
}

#[test]
fn after_a_failure_one_connection_tries_and_the_others_wait_for_it() {
    let mut harness = Harness::new("{}");
    let all = subscribers(&mut harness, 20);
    for (_, bytes) in &all {
        harness.break_off(*bytes, "reset");
    }
    // The connections were healthy, so they are opened again at once, up to the limit.
    assert_eq!(break_all(&mut harness), 16);
    harness.advance(1_000);
    let probe = harness.opened();
    harness.no_connection();
    let waits = harness.publish_as("another", "a", 0, "1");
    harness.no_connection();
    assert!(harness.seen(waits).is_nothing());
    harness.break_off(probe, "connection refused");
    let reason = harness.seen(waits).reset().reason.clone();
    assert!(
        reason.starts_with(FAILED) && reason.contains("next attempt in"),
        "{reason}"
    );
    harness.advance(2_000);
    let probe = harness.opened();
    harness.no_connection();
    let waits = harness.publish_as("another", "a", 0, "1");
    harness.connack(probe);
    let mut connections = vec![probe];
    while harness.is_opened() {
        let bytes = harness.opened();
        harness.connack(bytes);
        connections.push(bytes);
    }
    assert_eq!(connections.len(), 21);
    assert!(harness.seen(waits).is_done());
    for (stream, _) in all {
        harness.cancel(stream);
    }
    for bytes in connections {
        harness.packets(bytes);
        harness.break_off(bytes, "done");
    }
    harness.assert_idle();
}

#[test]
fn a_cancelled_attempt_lets_the_next_connection_try() {
    let mut harness = Harness::new("{}");
    let all = subscribers(&mut harness, 2);
    for (_, bytes) in &all {
        harness.break_off(*bytes, "reset");
    }
    break_all(&mut harness);
    harness.advance(1_000);
    let session = harness.session("short");
    let probe = harness.opened();
    harness.no_connection();
    // Whichever of them tries is cancelled.
    harness.cancel(session);
    harness.break_off(probe, "connection refused");
    harness.advance(2_000);
    let probe = harness.opened();
    for (stream, _) in all {
        harness.cancel(stream);
    }
    harness.connack(probe);
    harness.finish(probe);
}

#[test]
fn refused_credentials_hold_off_all_clients_and_a_refused_identifier_only_itself() {
    let mut harness = Harness::new("{}");
    let first = harness.publish_as("one", "a", 0, "1");
    refuse(&mut harness, ReasonCode::CLIENT_IDENTIFIER_NOT_VALID);
    assert_eq!(harness.seen(first).reset().reason_code, 0x85);
    let again = harness.publish_as("one", "a", 0, "1");
    assert!(
        harness
            .seen(again)
            .reset()
            .reason
            .contains("next attempt in")
    );
    let other = harness.publish_as("two", "a", 0, "1");
    refuse(&mut harness, ReasonCode::BAD_USER_NAME_OR_PASSWORD);
    assert_eq!(harness.seen(other).reset().reason_code, 0x86);
    let third = harness.publish_as("three", "a", 0, "1");
    harness.no_connection();
    assert_eq!(harness.seen(third).reset().reason_code, 0x86);
    harness.assert_idle();
}

#[test]
fn a_client_that_was_taken_over_is_held_off_and_others_are_not() {
    let mut harness = Harness::new(r#"{"reconnect":{"min":1000,"max":1000}}"#);
    let all = subscribers(&mut harness, 2);
    let taken = crate::codec::Disconnect {
        reason: ReasonCode::SESSION_TAKEN_OVER,
        ..Default::default()
    };
    harness.broker(all[0].1, &Packet::Disconnect(Box::new(taken)));
    harness.packets(all[0].1);
    harness.no_connection();
    let publish = harness.publish_as("client-0", "a", 0, "1");
    assert_eq!(harness.seen(publish).reset().reason_code, 0x8E);
    let other = harness.publish_as("another", "a", 0, "1");
    let (bytes, _) = harness.connect();
    harness.packets(bytes);
    assert!(harness.seen(other).is_done());
    harness.advance(1_000);
    let again = harness.opened();
    harness.connack(again);
    for (stream, _) in all.iter().copied() {
        harness.cancel(stream);
    }
    for bytes in [all[1].1, bytes, again] {
        harness.packets(bytes);
        harness.break_off(bytes, "done");
    }
    harness.assert_idle();
}

#[test]
fn a_shutdown_refuses_streams_that_wait_for_an_attempt() {
    let mut harness = Harness::new("{}");
    let all = subscribers(&mut harness, 3);
    for (_, bytes) in &all {
        harness.break_off(*bytes, "reset");
    }
    break_all(&mut harness);
    let now = harness.rig.now();
    harness.rig.worker.shutdown(now);
    harness.advance(0);
    for (stream, _) in all {
        assert_eq!(harness.seen(stream).reset().reason_code, 0x8B);
    }
    harness.assert_idle();
}
