//! From the HTTP body to the socket.

use std::ops::Range;

use bytes::Bytes;
use tidegate_binding_mqtt::codec::{Ack, Packet};

use super::{Harness, cut, within};

/// A call of `publish`, and where in it the payload stands.
fn call(payload: &str) -> (Bytes, Range<usize>) {
    let head = concat!(
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"publish","_meta":{"#,
        r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","#,
        r#""io.modelcontextprotocol/clientCapabilities":{}},"#,
        r#""arguments":{"topic":"a/b","qos":1,"payload":""#,
    );
    let body = format!("{head}{payload}\"}}}}}}");
    (Bytes::from(body), head.len()..head.len() + payload.len())
}

/// Publishes, and returns what the socket is to write of the PUBLISH.
fn publish(body: &[Bytes]) -> Vec<Bytes> {
    let mut harness = Harness::new();
    let request = harness.post("tools/call", "publish", body);
    let (slices, packets) = harness.written();
    let [Packet::Publish(publish)] = packets.as_slice() else {
        panic!("one PUBLISH is expected: {packets:?}");
    };
    let packet_id = publish.packet_id;
    harness.answer(&Packet::Puback(Ack {
        packet_id,
        ..Ack::default()
    }));
    harness.response(request);
    slices
}

#[test]
fn a_payload_without_escapes_is_written_from_the_buffer_of_the_body() {
    let payload = "temperature ".repeat(20_000);
    let (body, place) = call(&payload);
    let slices = publish(std::slice::from_ref(&body));
    assert_eq!(within(&slices, &body[place]), payload.len());
}

#[test]
fn a_body_that_was_read_in_several_parts_is_not_put_together() {
    let payload = "x".repeat(100_000);
    let (body, _) = call(&payload);
    let parts = cut(&body, &[50_000, 50_001]);
    let slices = publish(&parts);
    let inside: usize = parts.iter().map(|part| within(&slices, part)).sum();
    assert_eq!(inside, payload.len());
    assert!(slices.len() >= 3);
}

#[test]
fn a_payload_with_escapes_arrives_unescaped() {
    let (body, _) = call("line\\nend \\u00fc");
    let slices = publish(&[body]);
    let written = slices.concat();
    assert!(written.ends_with("line\nend ü".as_bytes()), "{written:?}");
}

#[test]
fn a_payload_with_escapes_is_written_from_one_copy_in_however_many_parts_it_came() {
    let text = "temperature\n".repeat(10_000);
    let (body, _) = call(&text.replace('\n', "\\n"));
    for parts in [vec![body.clone()], cut(&body, &[50_000, 50_001])] {
        let slices = publish(&parts);
        for part in &parts {
            assert_eq!(within(&slices, part), 0, "nothing of the body is left");
        }
        // The slices of the payload are those of a single buffer, one behind the other.
        let (head, copy): (Vec<&Bytes>, Vec<&Bytes>) =
            slices.iter().partition(|slice| slice.len() < 1_000);
        assert_eq!(
            copy.iter().map(|part| part.len()).sum::<usize>(),
            text.len()
        );
        assert!(head.iter().map(|part| part.len()).sum::<usize>() < 100);
        for pair in copy.windows(2) {
            assert_eq!(pair[0].as_ptr_range().end, pair[1].as_ptr());
        }
        assert!(slices.concat().ends_with(text.as_bytes()));
    }
}
