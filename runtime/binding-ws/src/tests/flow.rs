//! The handshake, data in both directions, and its limits.

use bytes::Bytes;
use tidegate_engine::Duration;
use tidegate_options::Bounded;
use tidegate_streams::{DataFlags, Frame};

use super::harness::{Harness, Streams, answer};
use crate::Options;
use crate::frames::Event;

fn payload(text: &'static [u8]) -> Event {
    Event::Payload(Bytes::from_static(text))
}

#[test]
fn the_request_states_what_is_asked_for() {
    let options: Options = serde_json::from_str(
        r#"{ "path": "/ws?a=b", "headers": { "Authorization": "Basic eA==" }, "subprotocol": "mqtt" }"#,
    )
    .expect("valid options");
    let mut harness = Harness::with(options, 1 << 20, 1 << 20);
    let (streams, request) = harness.ask();
    let key = request.lines().nth(4).expect("a key");
    assert_eq!(key.len(), "Sec-WebSocket-Key: ".len() + 24);
    assert_eq!(
        request.replace(key, "KEY"),
        "GET /ws?a=b HTTP/1.1\r\nHost: broker.test:8083\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nKEY\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\nAuthorization: Basic eA==\r\n\r\n"
    );
    harness.close(streams);
    let (_, other) = harness.ask();
    assert_ne!(other, request, "each handshake has its own key");
    let (streams, _) = harness.ask();
    harness.close(streams);
}

#[test]
fn what_is_sent_before_the_answer_is_sent_after_it() {
    let mut harness = Harness::new();
    let (streams, request) = harness.ask();
    let connect = Frame::data(Bytes::from_static(b"CONNECT"));
    harness.rig.send(harness.caller, streams.caller, connect);
    assert_eq!(harness.sent(streams).0, b"");
    harness.receive(streams, &answer(&request));
    assert_eq!(harness.frames(streams), [payload(b"CONNECT")]);
    harness.close(streams);
    harness.finish();
}

#[test]
fn frames_behind_the_answer_are_not_lost() {
    let mut harness = Harness::new();
    let (streams, request) = harness.ask();
    let both = [&answer(&request)[..], b"\x82\x02hi"].concat();
    harness.receive(streams, &both);
    let told = harness.told(streams);
    assert_eq!(told[1], Frame::data(Bytes::from_static(b"hi")));
    harness.close(streams);
    harness.finish();
}

#[test]
fn many_tiny_frames_are_one_data() {
    let mut harness = Harness::new();
    let streams = harness.open();
    let large = [&[0x82, 126, 2, 0][..], &[7; 512]].concat();
    let frames = [
        &b"\x82\x01a".repeat(100)[..],
        &large,
        &b"\x82\x01b".repeat(2),
    ]
    .concat();
    harness.receive(streams, &frames);
    let told = harness.told(streams);
    let expected = ["a".repeat(100).into_bytes(), vec![7; 512], b"bb".to_vec()];
    assert_eq!(told, expected.map(|payload| Frame::data(payload.into())));
    harness.close(streams);
    harness.finish();
}

#[test]
fn the_parts_of_a_message_share_a_frame_and_a_large_one_is_cut() {
    let mut harness = Harness::new();
    let streams = harness.open();
    for (flags, text) in [(DataFlags::INIT, "ab"), (DataFlags::FIN, "c")] {
        let part = Frame::part(flags, text.into());
        harness.rig.send(harness.caller, streams.caller, part);
    }
    assert_eq!(harness.frames(streams), [payload(b"abc")]);
    let large = Bytes::from(vec![7; 100_000]);
    harness
        .rig
        .send(harness.caller, streams.caller, Frame::data(large));
    let frames = harness.frames(streams);
    let lengths = frames.iter().map(|event| match event {
        Event::Payload(payload) => payload.len(),
        other => panic!("{other:?}"),
    });
    assert_eq!(lengths.collect::<Vec<_>>(), [65_536, 34_464]);
    harness.close(streams);
    harness.finish();
}

#[test]
fn a_ping_is_answered_and_of_many_only_the_last_one() {
    let mut harness = Harness::with(Options::default(), 1 << 20, 400);
    let streams = harness.open();
    harness.receive(streams, b"\x89\x02hi");
    let (pong, _) = harness.sent(streams);
    assert_eq!((pong[0], pong.len()), (0x8a, 8));
    // The exit takes nothing: pongs do not pile up.
    for number in 0..=255 {
        harness.receive(streams, &[0x89, 1, number]);
    }
    let mut pongs = 0;
    let mut last = None;
    loop {
        let (bytes, _) = harness.sent(streams);
        if bytes.is_empty() {
            break;
        }
        pongs += bytes.len() / 7;
        last = bytes.chunks_exact(7).last().map(|pong| pong[6] ^ pong[2]);
    }
    assert_eq!(last, Some(255));
    assert!(pongs < 70, "{pongs}");
    harness.close(streams);
    harness.finish();
}

/// Sends as much as the credit allows.
fn push(harness: &mut Harness, streams: Streams, rest: &mut Bytes) -> usize {
    let stream = streams.exit;
    let credit = harness.rig.turn(harness.exit, |cx| cx.credit(stream));
    let part = rest.split_to(credit.min(rest.len()));
    let length = part.len();
    if length > 0 {
        harness.rig.send(harness.exit, stream, Frame::data(part));
    }
    length
}

#[test]
fn a_caller_that_does_not_read_stops_the_server() {
    let mut harness = Harness::with(Options::default(), 10_000, 1 << 20);
    let streams = harness.open();
    let mut sent = vec![0x82, 127, 0, 0, 0, 0, 0, 4, 0, 0];
    sent.extend(vec![9; 4 << 16]);
    let mut rest = Bytes::from(sent);
    let (mut taken, mut received) = (0, 0);
    while received < 4 << 16 {
        taken += push(&mut harness, streams, &mut rest);
        assert!(taken <= received + 150_000, "{taken} bytes are held");
        for frame in harness.told(streams) {
            let Frame::Data(data) = frame else {
                panic!("{frame:?}");
            };
            received += data.payload.len();
            harness.rig.turn(harness.caller, |cx| {
                cx.acknowledge(streams.caller, data.payload.len());
            });
        }
    }
    harness.close(streams);
    harness.finish();
}

#[test]
fn a_server_that_does_not_read_stops_the_caller() {
    let mut harness = Harness::with(Options::default(), 1 << 20, 1_000);
    let streams = harness.open();
    let stream = streams.caller;
    let mut given = 0;
    loop {
        let credit = harness.rig.turn(harness.caller, |cx| cx.credit(stream));
        if credit == 0 {
            break;
        }
        let part = Bytes::from(vec![1; credit.min(10_000)]);
        given += part.len();
        harness.rig.send(harness.caller, stream, Frame::data(part));
    }
    assert!(given <= 250_000, "{given}");
    harness.close(streams);
    harness.finish();
}

#[test]
fn a_silent_server_is_given_up_after_the_handshake_timeout() {
    let options = Options {
        handshake_timeout: Bounded::of(1_500),
        ..Options::default()
    };
    let mut harness = Harness::with(options, 1 << 20, 1 << 20);
    let (streams, _) = harness.ask();
    harness.rig.advance(Duration::from_millis(1_499));
    assert_eq!(harness.told(streams), []);
    harness.rig.advance(Duration::from_millis(1));
    let reset = harness.failure(streams);
    assert!(!reset.connected);
    assert!(
        reset.reason.contains("no answer within 1500 ms"),
        "{}",
        reset.reason
    );
    harness.finish();
}
