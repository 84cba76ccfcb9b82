//! From what the socket has read to the HTTP response.

use bytes::Bytes;
use serde_json::{Value, json};
use tidegate_binding_mqtt::codec::{Packet, Publish, ReasonCode, Suback, Unsuback};

use super::{Harness, cut, encoded, within};

/// Who asks for the message.
#[derive(Debug, Clone, Copy)]
enum Reader {
    Receive,
    Read,
}

impl Reader {
    fn post(self, harness: &mut Harness) -> tidegate_engine::StreamId {
        let (method, name, mut params) = match self {
            Self::Receive => (
                "tools/call",
                "receive",
                json!({ "name": "receive", "arguments": { "topic": "a/b", "limit": 1 } }),
            ),
            Self::Read => (
                "resources/read",
                "mqtt://a/b",
                json!({ "uri": "mqtt://a/b" }),
            ),
        };
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        harness.post(method, name, &[Bytes::from(body.to_string())])
    }

    /// What the reader makes of the message.
    fn payload(self, response: &Value) -> &str {
        let result = &response["result"];
        let payload = match self {
            Self::Receive => &result["structuredContent"]["messages"][0]["payload"],
            Self::Read => match &result["contents"][0]["text"] {
                Value::Null => &result["contents"][0]["blob"],
                text => text,
            },
        };
        payload.as_str().unwrap_or_else(|| panic!("{response}"))
    }

    /// The body of the response to a reader to whom the broker sends a message, which the socket
    /// reads in as many buffers as `places` cut it into; and those buffers.
    fn given(self, payload: &[u8], places: &[usize]) -> (Vec<Bytes>, Vec<Bytes>) {
        let mut harness = Harness::new();
        let request = self.post(&mut harness);
        let (_, packets) = harness.written();
        let [Packet::Subscribe(subscribe)] = packets.as_slice() else {
            panic!("one SUBSCRIBE is expected: {packets:?}");
        };
        harness.answer(&Packet::Suback(Suback {
            packet_id: subscribe.packet_id,
            reasons: vec![ReasonCode::GRANTED_QOS_1],
            ..Suback::default()
        }));
        let mut publish = Publish {
            topic: "a/b".into(),
            payload: vec![Bytes::copy_from_slice(payload)].into(),
            ..Publish::default()
        };
        publish.properties.subscription_ids =
            subscribe.properties.subscription_id.into_iter().collect();
        let parts = cut(&encoded(&Packet::Publish(publish)), places);
        harness.read(&parts);
        let (_, packets) = harness.written();
        let [Packet::Unsubscribe(unsubscribe)] = packets.as_slice() else {
            panic!("one UNSUBSCRIBE is expected: {packets:?}");
        };
        harness.answer(&Packet::Unsuback(Unsuback {
            packet_id: unsubscribe.packet_id,
            reasons: vec![ReasonCode::SUCCESS],
            ..Unsuback::default()
        }));
        (harness.response(request), parts)
    }
}

/// Up to this length a piece is copied: what reads and credit cut off. Where it waits for other
/// messages, a small one would keep all of a large buffer with it.
const fn scrap(reader: Reader) -> usize {
    match reader {
        Reader::Read => 512,
        Reader::Receive => 4 * 1024,
    }
}

fn parsed(response: &[Bytes]) -> Value {
    serde_json::from_slice(&response.concat()).expect("a JSON body")
}

/// The response repeats the payload so often, each time from the buffers that were read.
fn is_written_from_what_was_read(reader: Reader, times: usize) {
    let payload = "temperature ".repeat(9_000);
    for places in [&[][..], &[60_000], &[50_000, 50_001, 90_000]] {
        let (response, parts) = reader.given(payload.as_bytes(), places);
        assert_eq!(reader.payload(&parsed(&response)), payload);
        let slices = parts.iter().map(|part| within(&response, part));
        let copied = times * payload.len() - slices.sum::<usize>();
        assert!(
            copied <= times * scrap(reader),
            "{copied} bytes with cuts at {places:?}"
        );
    }
}

#[test]
fn a_message_that_is_read_is_written_from_the_buffers_in_which_it_came() {
    is_written_from_what_was_read(Reader::Read, 1);
}

#[test]
fn a_message_that_is_received_is_written_from_the_buffers_in_which_it_came() {
    // As text, and as structured content.
    is_written_from_what_was_read(Reader::Receive, 2);
}

#[test]
fn of_a_message_only_the_buffer_with_an_escape_is_copied() {
    let payload = format!("{}\n{}", "a".repeat(50_000), "b".repeat(50_000));
    let (response, parts) = Reader::Read.given(payload.as_bytes(), &[40_000, 60_000]);
    assert_eq!(Reader::Read.payload(&parsed(&response)), payload);
    let lengths: Vec<usize> = parts.iter().map(Bytes::len).collect();
    let slices: Vec<usize> = parts.iter().map(|part| within(&response, part)).collect();
    let [first, second, third] = slices[..] else {
        panic!("three buffers: {slices:?}");
    };
    // The first one begins with the head of the packet.
    assert!(
        lengths[0] - first <= scrap(Reader::Read),
        "{slices:?} of {lengths:?}"
    );
    assert_eq!(second, 0, "{slices:?} of {lengths:?}");
    assert!(
        lengths[2] - third <= scrap(Reader::Read),
        "{slices:?} of {lengths:?}"
    );
    // What was copied stands there once, an escape longer.
    let all = response.iter().map(Bytes::len).sum::<usize>();
    let copied = all - first - third;
    assert!(
        (lengths[1] + 1..lengths[1] + 1 + 2 * scrap(Reader::Read)).contains(&copied),
        "{copied}"
    );
}

#[test]
fn bytes_that_are_no_text_are_written_from_one_copy() {
    let payload = [b"\xff".as_slice(), &vec![b'x'; 89_999]].concat();
    for places in [&[][..], &[40_000, 60_000]] {
        for reader in [Reader::Read, Reader::Receive] {
            let (response, parts) = reader.given(&payload, places);
            let base64 = reader.payload(&parsed(&response)).to_owned();
            assert_eq!(base64.len(), payload.len() / 3 * 4, "{reader:?}");
            assert!(
                base64.starts_with("/3h4eHh4") && base64.ends_with("eHh4"),
                "{reader:?}"
            );
            for part in &parts {
                assert_eq!(within(&response, part), 0, "{reader:?}");
            }
        }
        let (response, _) = Reader::Read.given(&payload, places);
        let all = response.iter().map(Bytes::len).sum::<usize>();
        assert!(all < payload.len() / 3 * 4 + scrap(Reader::Read), "{all}");
    }
}
