//! Data in both directions, and its limits.

use bytes::Bytes;
use proptest::prelude::*;
use tidegate_engine::Duration;
use tidegate_streams::{DataFlags, Frame};

use super::broker::{Authority, Folder};
use super::harness::{Harness, Streams, broker, trusting};

fn pattern(length: usize) -> Vec<u8> {
    let byte = |at: usize| at.wrapping_mul(31) ^ (at >> 8) ^ (at >> 16);
    (0..length).map(|at| byte(at).to_le_bytes()[0]).collect()
}

/// The payloads for the caller, acknowledged.
fn payload(harness: &mut Harness, streams: Streams) -> Vec<u8> {
    let mut payload = Vec::new();
    for frame in harness.told(streams) {
        match frame {
            Frame::Data(data) => payload.extend_from_slice(&data.payload),
            other => panic!("no DATA but {other:?}"),
        }
    }
    let length = payload.len();
    harness.rig.turn(harness.caller, |cx| {
        cx.acknowledge(streams.caller, length);
    });
    payload
}

#[test]
fn what_is_sent_before_the_handshake_is_encrypted_after_it() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let mut harness = Harness::new(trusting(&authority, &folder));
    let streams = harness.open();
    let connect = Frame::data(Bytes::from_static(b"CONNECT"));
    harness.rig.send(harness.caller, streams.caller, connect);
    assert!(harness.sent(streams).0.is_empty(), "nothing in plaintext");
    harness.connect_to(streams, "broker.test");
    let mut broker = super::broker::Broker::new(broker(&authority));
    let plaintext = harness.carry(streams, &mut broker);
    assert_eq!(plaintext.expect("a handshake"), b"CONNECT");
    harness.close(streams);
    harness.finish();
}

#[test]
fn what_follows_in_a_turn_shares_a_record() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let mut harness = Harness::new(trusting(&authority, &folder));
    let (streams, mut broker) = harness.establish(&broker(&authority));
    harness.rig.turn(harness.caller, |cx| {
        for (flags, text) in [
            (DataFlags::WHOLE, "a"),
            (DataFlags::INIT, "b"),
            (DataFlags::FIN, "c"),
        ] {
            cx.send(streams.caller, Frame::part(flags, text.into()));
        }
    });
    let (ciphertext, _) = harness.sent(streams);
    // Type, version, length, the content and its type, and the tag.
    let record = |length: usize| 5 + length + 1 + 16;
    assert_eq!(ciphertext.len(), record(1) + record(2));
    assert_eq!(broker.take(&ciphertext).expect("a record"), b"abc");
    harness.close(streams);
    harness.finish();
}

#[test]
fn a_caller_that_waits_for_answers_needs_no_timer() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let mut harness = Harness::new(trusting(&authority, &folder));
    let (streams, mut broker) = harness.establish(&broker(&authority));
    for _ in 0..3 {
        let packet = Frame::data(Bytes::from_static(b"packet"));
        harness
            .rig
            .turn(harness.caller, |cx| cx.send(streams.caller, packet));
        assert_eq!(harness.rig.next_deadline(), None, "nothing waits");
        let (ciphertext, _) = harness.sent(streams);
        assert_eq!(broker.take(&ciphertext).expect("a record"), b"packet");
        harness.rig.advance(Duration::from_micros(100));
    }
    harness.close(streams);
    harness.finish();
}

#[test]
fn a_broker_that_does_not_read_stops_the_caller() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let mut harness = Harness::with_credit(trusting(&authority, &folder), 1 << 20, 4_000);
    let (streams, mut broker) = harness.establish(&broker(&authority));
    let sent = pattern(300_000);
    let mut rest = Bytes::from(sent.clone());
    let mut received = Vec::new();
    let mut stopped = false;
    while received.len() < sent.len() {
        let stream = streams.caller;
        let credit = harness.rig.turn(harness.caller, |cx| cx.credit(stream));
        let part = rest.split_to(credit.min(rest.len()));
        stopped |= credit == 0;
        if !part.is_empty() {
            harness.rig.send(harness.caller, stream, Frame::data(part));
        }
        let waiting = harness.rig.frames(harness.exit, streams.exit);
        let waiting: usize = waiting
            .iter()
            .map(|frame| match frame {
                Frame::Data(data) => {
                    received.extend(broker.take(&data.payload).expect("records"));
                    data.payload.len()
                }
                _ => 0,
            })
            .sum();
        assert!(waiting <= 4_000, "{waiting} bytes beyond the credit");
        harness
            .rig
            .turn(harness.exit, |cx| cx.acknowledge(streams.exit, waiting));
    }
    assert_eq!(received, sent);
    assert!(stopped, "the caller always had credit");
    harness.close(streams);
    harness.finish();
}

#[test]
fn a_caller_that_does_not_read_stops_the_broker() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let mut harness = Harness::with_credit(trusting(&authority, &folder), 10_000, 1 << 20);
    let (streams, mut broker) = harness.establish(&broker(&authority));
    let sent = pattern(300_000);
    let mut ciphertext = Vec::new();
    for part in sent.chunks(10_000) {
        broker.say(part);
        ciphertext.extend(broker.give());
    }
    let mut rest = Bytes::from(ciphertext);
    let mut received = Vec::new();
    let mut taken = 0;
    while received.len() < sent.len() {
        let stream = streams.exit;
        let credit = harness.rig.turn(harness.exit, |cx| cx.credit(stream));
        let part = rest.split_to(credit.min(rest.len()));
        taken += part.len();
        if !part.is_empty() {
            harness.rig.send(harness.exit, stream, Frame::data(part));
        }
        assert!(taken <= received.len() + 200_000, "{taken} bytes are held");
        received.extend(payload(&mut harness, streams));
    }
    assert_eq!(received, sent);
    harness.close(streams);
    harness.finish();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// However the ciphertext is cut, the plaintext is the same, in both directions.
    #[test]
    fn any_cuts_give_the_same_plaintext(
        up in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3_000), 0..8),
        down in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3_000), 0..8),
        cut in 1_usize..2_000,
    ) {
        let (authority, folder) = (Authority::new(), Folder::new());
        let mut harness = Harness::new(trusting(&authority, &folder));
        let (streams, mut broker) = harness.establish(&broker(&authority));
        for part in &up {
            let data = Frame::data(part.clone().into());
            harness.rig.send(harness.caller, streams.caller, data);
        }
        for part in &down {
            broker.say(part);
        }
        let mut received = Vec::new();
        for part in broker.give().chunks(cut) {
            harness.receive(streams, part.to_vec());
            received.extend(payload(&mut harness, streams));
        }
        let (ciphertext, _) = harness.sent(streams);
        let mut taken = Vec::new();
        for part in ciphertext.chunks(cut) {
            taken.extend(broker.take(part).expect("records"));
        }
        prop_assert_eq!(received, down.concat());
        prop_assert_eq!(taken, up.concat());
        harness.close(streams);
        harness.finish();
    }

    /// No bytes of a peer make the binding panic, violate the credit, or keep something.
    #[test]
    fn any_bytes_are_refused_or_wait_for_more(
        bytes in prop::collection::vec(any::<u8>(), 1..600),
        established in any::<bool>(),
    ) {
        let (authority, folder) = (Authority::new(), Folder::new());
        let mut harness = Harness::new(trusting(&authority, &folder));
        let streams = if established {
            harness.establish(&broker(&authority)).0
        } else {
            let streams = harness.open();
            harness.connect_to(streams, "broker.test");
            streams
        };
        harness.receive(streams, bytes);
        harness.close(streams);
        harness.finish();
    }
}
