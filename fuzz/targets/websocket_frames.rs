//! Any bytes as frames of a WebSocket server, in any pieces.
//!
//! Pieces must make no difference; each violation has a code to close with; what is written as a client
//! must be read the same without its mask.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tidegate_binding_ws::frames::{Decoder, Event, Opcode, Violation, encode};

/// The events up to the first violation, with payloads that follow each other as one, and the violation.
fn decode(pieces: &[&[u8]]) -> (Vec<Event>, Option<Violation>) {
    let mut decoder = Decoder::default();
    let mut events: Vec<Event> = Vec::new();
    for piece in pieces {
        let mut input = Bytes::copy_from_slice(piece);
        loop {
            match decoder.next(&mut input) {
                Ok(Some(Event::Payload(more))) => match events.last_mut() {
                    Some(Event::Payload(before)) => *before = [&before[..], &more].concat().into(),
                    _ => events.push(Event::Payload(more)),
                },
                Ok(Some(event)) => events.push(event),
                Ok(None) => {
                    assert!(input.is_empty(), "bytes that nobody took");
                    break;
                }
                Err(violation) => {
                    assert!(matches!(violation.code(), 1002 | 1003));
                    return (events, Some(violation));
                }
            }
        }
    }
    (events, None)
}

/// A frame of a client as a server would send it: without the mask.
fn unmasked(frame: &[u8]) -> Vec<u8> {
    let head = match frame[1] & 0x7f {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    let (mask, payload) = frame[head..].split_at(4);
    let mut out = frame[..head].to_vec();
    out[1] &= 0x7f;
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    out
}

fuzz_target!(|data: &[u8]| {
    let Some((&cut, bytes)) = data.split_first() else { return };
    let (first, second) = bytes.split_at(usize::from(cut).min(bytes.len()));
    assert_eq!(decode(&[bytes]), decode(&[first, second]));
    let parts = [Bytes::copy_from_slice(first), Bytes::copy_from_slice(second)];
    let frame = encode(Opcode::Binary, &parts, [cut, 0x5a, 0xff, 0]);
    let expected = match bytes {
        [] => vec![],
        bytes => vec![Event::Payload(Bytes::copy_from_slice(bytes))],
    };
    assert_eq!(decode(&[&unmasked(&frame)]), (expected, None));
});
