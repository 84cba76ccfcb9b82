//! A payload walks from the HTTP body to the socket as a slice of the body's own buffer.
//!
//! The whole house stands between two edges: one plays `http · server`, the other `tcp · client`.
//! What arrives at the latter is what it hands to the socket's vectored write, so that its address
//! shows whether anyone has copied it.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what it expects"
)]

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use tidegate_binding_mcp::server::{self, McpServer};
use tidegate_binding_mcp_mqtt::McpMqtt;
use tidegate_binding_mqtt::client::MqttClient;
use tidegate_binding_mqtt::codec::{Ack, Decoder, Packet, REMAINING_LENGTH_MAX, Version, encode};
use tidegate_engine::testing::Rig;
use tidegate_engine::{BindingId, PendingData, StreamId};
use tidegate_streams::bytes_stream::BytesBegin;
use tidegate_streams::http_stream::{HttpBeginEx, HttpRequest};
use tidegate_streams::{BeginEx, Data, DataFlags, Frame};

struct House {
    rig: Rig,
    network: BindingId,
    entry: BindingId,
    server: BindingId,
    decoder: Decoder,
}

impl House {
    fn new() -> Self {
        let mut rig = Rig::new();
        let network = rig.edge(1 << 24);
        let client = serde_json::from_str("{}").expect("defaults");
        let client = rig.attach(MqttClient::new(client, network));
        let proxy = serde_json::from_str("{}").expect("defaults");
        let proxy = rig.attach(McpMqtt::new(&proxy, client));
        let server = rig.attach(McpServer::new(server::Options::default(), proxy));
        let entry = rig.edge(1 << 24);
        rig.worker.start();
        Self {
            rig,
            network,
            entry,
            server,
            decoder: Decoder::new(Version::V5, REMAINING_LENGTH_MAX),
        }
    }

    /// Posts a body in the parts that it was read in.
    fn post(&mut self, body: &[Bytes]) -> StreamId {
        let length: usize = body.iter().map(Bytes::len).sum();
        let request = HttpRequest {
            method: Method::POST,
            path: "/mcp".into(),
            headers: headers(),
            content_length: i64::try_from(length).expect("a length"),
        };
        let stream = self.rig.open(self.entry, self.server, request);
        let mut pending = PendingData::new();
        for part in body {
            pending.push(Data {
                flags: DataFlags::WHOLE,
                payload: part.clone(),
                extension: None,
            });
        }
        while !self.rig.turn(self.entry, |cx| pending.flush(cx, stream)) {}
        self.rig.send(self.entry, stream, Frame::end());
        stream
    }

    /// Takes what the network gets, as the broker reads it: the slices and the packets in them.
    fn written(&mut self) -> (Option<StreamId>, Vec<Bytes>, Vec<Packet>) {
        let (mut stream, mut slices, mut packets) = (None, vec![], vec![]);
        for output in self.rig.outputs(self.network) {
            stream = Some(output.at.stream);
            if let Frame::Data(data) = output.frame {
                slices.push(data.payload.clone());
                self.decoder.push(data.payload);
            }
        }
        while let Some(packet) = self.decoder.next().expect("legal packets") {
            packets.push(packet);
        }
        (stream, slices, packets)
    }

    fn answer(&mut self, stream: StreamId, packet: &Packet) {
        let mut out = BytesMut::new();
        encode(packet, Version::V5, REMAINING_LENGTH_MAX, &mut out).expect("a legal packet");
        self.rig
            .send(self.network, stream, Frame::data(out.freeze()));
    }
}

fn headers() -> HeaderMap {
    let pairs = [
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "publish"),
    ];
    let pair = |(name, value)| {
        (
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )
    };
    pairs.into_iter().map(pair).collect()
}

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
    let mut house = House::new();
    let request = house.post(body);
    let (stream, _, packets) = house.written();
    let seen = house.rig.frames(house.entry, request);
    let stream = stream.unwrap_or_else(|| panic!("no connection is asked for: {seen:?}"));
    assert!(
        matches!(packets.as_slice(), [Packet::Connect(_)]),
        "{packets:?}"
    );
    let begin = Frame::begin(BytesBegin {
        remote: "broker:1883".into(),
    });
    house.rig.send(house.network, stream, begin);
    house.answer(stream, &Packet::Connack(Box::default()));
    let (_, slices, packets) = house.written();
    let [Packet::Publish(publish)] = packets.as_slice() else {
        panic!("one PUBLISH is expected: {packets:?}");
    };
    let packet_id = publish.packet_id;
    house.answer(
        stream,
        &Packet::Puback(Ack {
            packet_id,
            ..Ack::default()
        }),
    );
    let frames = house.rig.frames(house.entry, request);
    let status = frames.iter().find_map(|frame| match frame {
        Frame::Begin(begin) => match &**begin {
            BeginEx::Http(HttpBeginEx::Response(response)) => Some(response.status),
            _ => None,
        },
        _ => None,
    });
    assert_eq!(status, Some(StatusCode::OK), "{frames:?}");
    slices
}

/// The addresses of a slice's bytes.
fn addresses(bytes: &[u8]) -> Range<usize> {
    let start = bytes.as_ptr() as usize;
    start..start + bytes.len()
}

/// How many of the slices' bytes stand in `buffer`.
fn within(slices: &[Bytes], buffer: &[u8]) -> usize {
    let buffer = addresses(buffer);
    let inside = |slice: &&Bytes| {
        let slice = addresses(slice);
        buffer.start <= slice.start && slice.end <= buffer.end
    };
    slices.iter().filter(inside).map(Bytes::len).sum()
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
    let (body, place) = call(&payload);
    let parts = [
        body.slice(..50_000),
        body.slice(50_000..50_001),
        body.slice(50_001..),
    ];
    // Each part has a buffer of its own, as the reads of a socket do.
    let parts = parts.map(|part| Bytes::copy_from_slice(&part));
    let slices = publish(&parts);
    let inside: usize = parts.iter().map(|part| within(&slices, part)).sum();
    assert_eq!(inside, payload.len());
    assert!(slices.len() >= 3 && place.len() == payload.len());
}

#[test]
fn a_payload_with_escapes_arrives_unescaped() {
    let (body, _) = call("line\\nend \\u00fc");
    let slices = publish(&[body]);
    let written = slices.concat();
    assert!(written.ends_with("line\nend ü".as_bytes()), "{written:?}");
}
