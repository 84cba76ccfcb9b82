//! Frames: every violation, and the same results as tungstenite.

use bytes::Bytes;
use proptest::prelude::*;
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Message, WebSocket};

use crate::frames::{CONTROL_MAX, Close, Decoder, Event, Opcode, Violation, encode};

/// All events; payloads that follow each other are one.
fn decode(parts: &[&[u8]]) -> Result<Vec<Event>, Violation> {
    let mut decoder = Decoder::default();
    let mut events: Vec<Event> = Vec::new();
    for part in parts {
        let mut input = Bytes::copy_from_slice(part);
        while let Some(event) = decoder.next(&mut input)? {
            match (events.last_mut(), event) {
                (Some(Event::Payload(before)), Event::Payload(more)) => {
                    *before = [&before[..], &more].concat().into();
                }
                (_, event) => events.push(event),
            }
        }
        assert!(input.is_empty(), "everything is taken");
    }
    Ok(events)
}

fn payload(text: &[u8]) -> Event {
    Event::Payload(Bytes::copy_from_slice(text))
}

#[test]
fn frames_of_each_length_are_read() {
    for (header, length) in [
        (vec![0x82, 5], 5),
        (vec![0x82, 126, 0, 126], 126),
        (vec![0x82, 126, 0xff, 0xff], 65_535),
        (vec![0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0], 65_536),
    ] {
        let body = vec![7; length];
        assert_eq!(decode(&[&header, &body]), Ok(vec![payload(&body)]));
    }
}

#[test]
fn a_frame_of_any_size_is_passed_on_as_it_arrives() {
    let header = [0x82, 127, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    assert_eq!(decode(&[&header, b"ab", b"cd"]), Ok(vec![payload(b"abcd")]));
}

#[test]
fn control_frames_may_come_within_a_message() {
    let events = decode(&[b"\x02\x01a\x89\x02hi\x80\x01b\x8a\x00"]);
    let ping = Event::Ping(Bytes::from_static(b"hi"));
    assert_eq!(
        events,
        Ok(vec![payload(b"a"), ping, payload(b"b"), Event::Pong])
    );
}

#[test]
fn each_violation_is_found() {
    let long = [&[0x89, 126, 0, 126][..], &[0; 126]].concat();
    for (bytes, expected) in [
        (&b"\xc2\x00"[..], Violation::ReservedBit),
        (b"\x83\x00", Violation::ReservedOpcode(3)),
        (b"\x8b\x00", Violation::ReservedOpcode(11)),
        (b"\x82\x80", Violation::Masked),
        (b"\x81\x00", Violation::Text),
        (b"\x80\x00", Violation::Continuation),
        (b"\x02\x00\x82\x00", Violation::Interleaved),
        (b"\x82\x00\x80\x00", Violation::Continuation),
        (b"\x09\x00", Violation::Control),
        (&long, Violation::Control),
        (b"\x82\x7e\x00\x7d", Violation::Length),
        (
            b"\x82\x7f\x00\x00\x00\x00\x00\x00\xff\xff",
            Violation::Length,
        ),
        (
            b"\x82\x7f\x80\x00\x00\x00\x00\x01\x00\x00",
            Violation::Length,
        ),
        (b"\x88\x01\x03", Violation::Close),
        (b"\x88\x02\x03\xed", Violation::Close),
        (b"\x88\x04\x03\xe8\xff\xff", Violation::Close),
    ] {
        assert_eq!(decode(&[bytes]), Err(expected), "{bytes:x?}");
    }
}

#[test]
fn a_close_frame_has_a_code_and_a_reason_or_nothing() {
    let close = Close {
        code: Some(1008),
        reason: "no\u{7}".into(),
    };
    assert_eq!(close.to_string(), "1008 (policy violation): no\\u{7}");
    let read = decode(&[b"\x88\x05\x03\xf0no\x07"]);
    assert_eq!(read, Ok(vec![Event::Close(close)]));
    assert_eq!(
        decode(&[b"\x88\x00"]),
        Ok(vec![Event::Close(Close::default())])
    );
    assert!(Close::default().is_orderly() && Close::of(1001).is_orderly());
    assert!(!Close::of(1002).is_orderly());
}

/// A stream in memory: what is read, and what was written.
struct Memory {
    input: std::io::Cursor<Vec<u8>>,
    output: Vec<u8>,
}

impl std::io::Read for Memory {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.input.read(buffer)
    }
}

impl std::io::Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.output.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn tungstenite(role: Role, input: Vec<u8>) -> WebSocket<Memory> {
    let memory = Memory {
        input: std::io::Cursor::new(input),
        output: Vec::new(),
    };
    WebSocket::from_raw_socket(memory, role, Some(WebSocketConfig::default()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// tungstenite reads what we write.
    #[test]
    fn written_frames_are_read_by_tungstenite(
        parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40_000), 0..4),
        mask in any::<[u8; 4]>(),
    ) {
        let parts: Vec<Bytes> = parts.into_iter().map(Bytes::from).collect();
        let frame = encode(Opcode::Binary, &parts, mask);
        let mut server = tungstenite(Role::Server, frame.to_vec());
        let message = server.read().expect("a message");
        prop_assert_eq!(message, Message::Binary(parts.concat().into()));
    }

    /// We read what tungstenite writes, in any parts.
    #[test]
    fn frames_of_tungstenite_are_read(
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..70_000), 1..3),
        ping in prop::collection::vec(any::<u8>(), 0..=CONTROL_MAX),
        cut in 1_usize..5_000,
    ) {
        let mut server = tungstenite(Role::Server, Vec::new());
        for message in &messages {
            server.send(Message::Binary(message.clone().into())).expect("memory");
        }
        server.send(Message::Ping(ping.clone().into())).expect("memory");
        let written = std::mem::take(&mut server.get_mut().output);
        let parts: Vec<&[u8]> = written.chunks(cut).collect();
        let expected = vec![payload(&messages.concat()), Event::Ping(ping.into())];
        prop_assert_eq!(decode(&parts), Ok(expected));
    }

}

proptest! {
    /// Any bytes, in any two parts, have the same result; what tungstenite accepts of binary messages is
    /// accepted.
    #[test]
    fn any_bytes_in_any_parts(bytes in prop::collection::vec(any::<u8>(), 0..64), cut in 0_usize..64) {
        let (first, second) = bytes.split_at(cut.min(bytes.len()));
        prop_assert_eq!(decode(&[&bytes]), decode(&[first, second]));
    }
}
