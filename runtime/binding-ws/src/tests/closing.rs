//! How connections end.

use bytes::Bytes;
use tidegate_streams::bytes_stream::BytesReset;
use tidegate_streams::{AbortEx, Frame, ResetEx};

use super::harness::{Harness, REMOTE, answer};
use crate::Options;
use crate::frames::{Close, Event};

#[test]
fn the_callers_end_is_a_close_frame_and_the_servers_answer_ends_the_reply() {
    let mut harness = Harness::new();
    let streams = harness.open();
    let disconnect = Frame::data(Bytes::from_static(b"DISCONNECT"));
    harness.rig.send(harness.caller, streams.caller, disconnect);
    harness
        .rig
        .send(harness.caller, streams.caller, Frame::end());
    let frames = harness.frames(streams);
    let text = Event::Payload(Bytes::from_static(b"DISCONNECT"));
    assert_eq!(frames, [text, Event::Close(Close::of(1000))]);
    harness.receive(streams, b"\x88\x02\x03\xe8");
    assert_eq!(harness.told(streams), [Frame::end()]);
    assert_eq!(harness.sent(streams), (vec![], vec![Frame::end()]));
    harness.rig.send(harness.exit, streams.exit, Frame::end());
    harness.finish();
}

#[test]
fn the_servers_orderly_close_is_answered_and_ends_the_reply() {
    for (close, answered) in [
        (&b"\x88\x00"[..], Close::default()),
        (b"\x88\x02\x03\xe9", Close::of(1001)),
    ] {
        let mut harness = Harness::new();
        let streams = harness.open();
        harness.receive(streams, &[b"\x82\x02hi", close].concat());
        let data = Frame::data(Bytes::from_static(b"hi"));
        assert_eq!(harness.told(streams), [data, Frame::end()]);
        assert_eq!(harness.frames(streams), [Event::Close(answered)]);
        // Nothing follows a close frame.
        let late = Frame::data(Bytes::from_static(b"late"));
        harness.rig.send(harness.caller, streams.caller, late);
        assert_eq!(harness.sent(streams).0, b"");
        harness.close(streams);
        harness.finish();
    }
}

#[test]
fn a_close_with_an_error_is_the_reason_of_the_failure() {
    let mut harness = Harness::new();
    let streams = harness.open();
    harness.receive(streams, b"\x88\x04\x03\xf0no");
    let reset = harness.failure(streams);
    assert!(reset.connected);
    assert_eq!(
        &*reset.reason,
        "it closed the WebSocket with 1008 (policy violation): no"
    );
    let (bytes, others) = harness.sent(streams);
    assert_eq!(bytes[0], 0x88);
    assert_eq!(others, [Frame::end(), Frame::reset()]);
    harness.finish();
}

#[test]
fn a_violation_is_answered_with_its_code() {
    for (bytes, code) in [(&b"\x81\x02hi"[..], 1003), (b"\x82\x80", 1002)] {
        let mut harness = Harness::new();
        let streams = harness.open();
        harness.receive(streams, bytes);
        let reset = harness.failure(streams);
        assert!(
            reset.reason.contains("violated the WebSocket protocol"),
            "{}",
            reset.reason
        );
        assert_eq!(harness.frames(streams), [Event::Close(Close::of(code))]);
        harness.finish();
    }
}

#[test]
fn an_end_without_a_close_frame_is_an_error() {
    let mut harness = Harness::new();
    let streams = harness.open();
    harness.rig.send(harness.exit, streams.exit, Frame::end());
    let reset = harness.failure(streams);
    assert!(reset.connected && reset.reason.contains("without a close frame"));
    let (streams, _) = harness.ask();
    harness.rig.send(harness.exit, streams.exit, Frame::end());
    let reset = harness.failure(streams);
    assert!(!reset.connected && reset.reason.contains("during the handshake"));
    harness.finish();
}

#[test]
fn an_end_after_the_callers_end_is_no_error() {
    let mut harness = Harness::new();
    let streams = harness.open();
    harness
        .rig
        .send(harness.caller, streams.caller, Frame::end());
    harness.rig.send(harness.exit, streams.exit, Frame::end());
    assert_eq!(harness.told(streams), [Frame::end()]);
    harness.finish();
}

#[test]
fn what_arrived_before_that_end_is_delivered_and_then_the_reply_ends() {
    let mut harness = Harness::with(Options::default(), 4, 1 << 20);
    let streams = harness.open();
    harness
        .rig
        .send(harness.caller, streams.caller, Frame::end());
    harness.receive(streams, b"\x82\x04onet");
    harness.receive(streams, b"\x82\x02wo");
    harness.rig.send(harness.exit, streams.exit, Frame::end());
    let first = Frame::data(Bytes::from_static(b"onet"));
    assert_eq!(harness.told(streams), [first]);
    harness
        .rig
        .turn(harness.caller, |cx| cx.acknowledge(streams.caller, 4));
    let rest = Frame::data(Bytes::from_static(b"wo"));
    assert_eq!(harness.told(streams), [rest, Frame::end()]);
    harness.finish();
}

#[test]
fn a_caller_that_ends_and_resets_at_once_still_has_its_last_words_written() {
    let mut harness = Harness::new();
    let streams = harness.open();
    harness.rig.turn(harness.caller, |cx| {
        cx.send(
            streams.caller,
            Frame::data(Bytes::from_static(b"DISCONNECT")),
        );
        cx.end(streams.caller, Frame::end());
        cx.terminate(streams.caller, None, None);
    });
    let (bytes, others) = harness.sent(streams);
    assert_eq!(bytes.len(), 6 + 10 + 6 + 2);
    assert_eq!(others, [Frame::end(), Frame::reset()]);
    harness.finish();
}

#[test]
fn a_refused_handshake_is_explained() {
    let mut harness = Harness::new();
    let (streams, _) = harness.ask();
    harness.receive(streams, b"HTTP/1.1 404 Not Found\r\n\r\n");
    let reset = harness.failure(streams);
    assert!(!reset.connected);
    assert_eq!(
        &*reset.reason,
        "no WebSocket connection: HTTP status 404; check 'path' of ws · client"
    );
    let (streams, request) = harness.ask();
    let other = answer("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==");
    assert_ne!(other, answer(&request));
    harness.receive(streams, &other);
    assert!(harness.failure(streams).reason.contains("another request"));
    harness.finish();
}

#[test]
fn a_failure_of_the_exit_keeps_its_reason() {
    for (asked, connected, given, expected) in [
        (false, true, "connection reset", "connection reset"),
        (
            true,
            true,
            "connection reset",
            "no WebSocket connection: connection reset; check that the port is a WebSocket listener",
        ),
        (true, false, "no TLS connection", "no TLS connection"),
    ] {
        let mut harness = Harness::new();
        let streams = if asked {
            harness.ask().0
        } else {
            harness.open()
        };
        let reset = BytesReset {
            remote: REMOTE.into(),
            reason: given.into(),
            connected,
            ..BytesReset::default()
        };
        harness.rig.turn(harness.exit, |cx| {
            let abort = AbortEx::Bytes(reset.clone());
            cx.terminate(streams.exit, Some(ResetEx::Bytes(reset)), Some(abort));
        });
        let told = harness.failure(streams);
        assert_eq!(&*told.reason, expected);
        assert_eq!(told.connected, !asked);
        harness.finish();
    }
}
