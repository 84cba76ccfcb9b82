//! How connections end.

use bytes::Bytes;
use tidegate_engine::Duration;
use tidegate_streams::bytes_stream::BytesReset;
use tidegate_streams::{AbortEx, Frame, ResetEx};

use super::broker::{Authority, Folder};
use super::harness::{Harness, REMOTE, broker, trusting};

#[test]
fn the_callers_end_is_close_notify_and_the_brokers_answer_ends_the_reply() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let mut harness = Harness::new(trusting(&authority, &folder));
    let (streams, mut broker) = harness.establish(&broker(&authority));
    let disconnect = Frame::data(Bytes::from_static(b"DISCONNECT"));
    harness.rig.send(harness.caller, streams.caller, disconnect);
    harness
        .rig
        .send(harness.caller, streams.caller, Frame::end());
    let (ciphertext, others) = harness.sent(streams);
    assert_eq!(others, [Frame::end()]);
    assert_eq!(broker.take(&ciphertext).expect("records"), b"DISCONNECT");
    let state = broker.0.process_new_packets().expect("no more");
    assert!(state.peer_has_closed());
    broker.0.send_close_notify();
    let answer = broker.give();
    harness.receive(streams, answer);
    assert_eq!(harness.told(streams), [Frame::end()]);
    harness.rig.send(harness.exit, streams.exit, Frame::end());
    harness.finish();
}

#[test]
fn a_broker_that_keeps_the_connection_after_close_notify_has_a_second_to_close_it() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let mut harness = Harness::new(trusting(&authority, &folder));
    let (streams, mut broker) = harness.establish(&broker(&authority));
    harness
        .rig
        .send(harness.caller, streams.caller, Frame::end());
    broker.0.send_close_notify();
    let answer = broker.give();
    harness.receive(streams, answer);
    assert_eq!(harness.told(streams), [Frame::end()]);
    harness.rig.advance(Duration::from_millis(999));
    assert_eq!(harness.sent(streams).1, [Frame::end()]);
    harness.rig.advance(Duration::from_millis(1));
    assert_eq!(harness.sent(streams).1, [Frame::reset()]);
    harness.finish();
}

#[test]
fn a_caller_that_ends_and_resets_at_once_still_has_its_last_words_written() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let mut harness = Harness::new(trusting(&authority, &folder));
    let (streams, mut broker) = harness.establish(&broker(&authority));
    harness.rig.turn(harness.caller, |cx| {
        cx.send(
            streams.caller,
            Frame::data(Bytes::from_static(b"DISCONNECT")),
        );
        cx.end(streams.caller, Frame::end());
        cx.terminate(streams.caller, None, None);
    });
    let (ciphertext, others) = harness.sent(streams);
    assert_eq!(broker.take(&ciphertext).expect("records"), b"DISCONNECT");
    // The end comes first, so that `tcp · client` writes what is queued.
    assert_eq!(others, [Frame::end(), Frame::reset()]);
    harness.finish();
}

#[test]
fn the_brokers_close_notify_ends_the_reply_after_all_data() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let mut harness = Harness::with_credit(trusting(&authority, &folder), 3, 1 << 20);
    let (streams, mut broker) = harness.establish(&broker(&authority));
    broker.say(b"abcdef");
    broker.0.send_close_notify();
    let ciphertext = broker.give();
    harness.receive(streams, ciphertext);
    harness.rig.send(harness.exit, streams.exit, Frame::end());
    let mut frames = Vec::new();
    for _ in 0..3 {
        let told = harness.told(streams);
        for frame in &told {
            if let Frame::Data(data) = frame {
                let length = data.payload.len();
                harness.rig.turn(harness.caller, |cx| {
                    cx.acknowledge(streams.caller, length);
                });
            }
        }
        frames.extend(told);
    }
    let (last, data) = frames.split_last().expect("frames");
    let text: Vec<u8> = data
        .iter()
        .flat_map(|frame| match frame {
            Frame::Data(data) => data.payload.to_vec(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!((text.as_slice(), last), (&b"abcdef"[..], &Frame::end()));
    harness.close(streams);
    harness.finish();
}

#[test]
fn an_end_without_close_notify_is_an_error() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let mut harness = Harness::new(trusting(&authority, &folder));
    let (streams, mut broker) = harness.establish(&broker(&authority));
    broker.say(b"data");
    let ciphertext = broker.give();
    harness.receive(streams, ciphertext);
    assert_eq!(harness.told(streams).len(), 1);
    harness.rig.send(harness.exit, streams.exit, Frame::end());
    let reset = harness.failure(streams);
    assert!(reset.connected);
    assert!(
        reset.reason.contains("without close_notify"),
        "{}",
        reset.reason
    );
    harness.finish();
}

#[test]
fn an_end_during_the_handshake_asks_for_the_port() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let mut harness = Harness::new(trusting(&authority, &folder));
    let streams = harness.open();
    harness.connect_to(streams, "broker.test");
    harness.rig.send(harness.exit, streams.exit, Frame::end());
    let reset = harness.failure(streams);
    assert!(!reset.connected);
    assert!(
        reset.reason.contains("check that the port"),
        "{}",
        reset.reason
    );
    harness.finish();
}

#[test]
fn a_failure_of_the_exit_keeps_its_reason() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let config = broker(&authority);
    for (established, given, expected) in [
        (None, "connection refused", "connection refused"),
        (
            Some(false),
            "connection reset",
            "no TLS connection: connection reset; check that the port expects TLS",
        ),
        (Some(true), "connection reset", "connection reset"),
    ] {
        let mut harness = Harness::new(trusting(&authority, &folder));
        let streams = match established {
            Some(true) => harness.establish(&config).0,
            Some(false) => {
                let streams = harness.open();
                harness.connect_to(streams, "broker.test");
                streams
            }
            None => harness.open(),
        };
        let reset = BytesReset {
            remote: REMOTE.into(),
            reason: given.into(),
            connected: established.is_some(),
            ..BytesReset::default()
        };
        harness.rig.turn(harness.exit, |cx| {
            let abort = AbortEx::Bytes(reset.clone());
            cx.terminate(streams.exit, Some(ResetEx::Bytes(reset)), Some(abort));
        });
        let told = harness.failure(streams);
        assert_eq!(&*told.reason, expected);
        assert_eq!(told.connected, established == Some(true));
        harness.finish();
    }
}

#[test]
fn a_record_that_was_changed_on_the_way_ends_the_connection_with_an_alert() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let mut harness = Harness::new(trusting(&authority, &folder));
    let (streams, mut broker) = harness.establish(&broker(&authority));
    broker.say(b"data");
    let good = broker.give();
    harness.receive(streams, good);
    harness.told(streams);
    broker.say(b"more");
    let mut record = broker.give();
    *record.last_mut().expect("a record") ^= 1;
    harness.receive(streams, record);
    let reset = harness.failure(streams);
    assert!(reset.connected);
    assert!(reset.reason.starts_with("TLS failed: "), "{}", reset.reason);
    let (alert, others) = harness.sent(streams);
    let refused = broker.take(&alert).expect_err("an alert");
    assert!(refused.to_string().contains("BadRecordMac"), "{refused}");
    assert_eq!(others.first(), Some(&Frame::end()));
    harness.finish();
}

#[test]
fn a_caller_that_leaves_closes_the_connection() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let mut harness = Harness::new(trusting(&authority, &folder));
    for established in [false, true] {
        let streams = if established {
            harness.establish(&broker(&authority)).0
        } else {
            harness.open()
        };
        harness.rig.turn(harness.caller, |cx| {
            cx.terminate(streams.caller, None, None);
        });
        let (_, others) = harness.sent(streams);
        assert_eq!(others, [Frame::reset(), Frame::abort()]);
        harness.told(streams);
    }
    harness.finish();
}
