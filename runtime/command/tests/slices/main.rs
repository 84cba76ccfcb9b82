//! A payload walks from the HTTP body to the socket as a slice of the body's own buffer, and from
//! what the socket has read to the HTTP response as slices of that.
//!
//! The whole harness stands between two edges: one plays `http · server`, the other `tcp · client`.
//! What arrives at either is what it hands to the socket's vectored write, so that its address
//! shows whether anyone has copied it.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test says what it expects"
)]

mod back;
mod onward;

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use tidegate_binding_mcp::server::{self, McpServer};
use tidegate_binding_mcp_mqtt::McpMqtt;
use tidegate_binding_mqtt::client::MqttClient;
use tidegate_binding_mqtt::codec::{Decoder, Packet, REMAINING_LENGTH_MAX, Version, encode};
use tidegate_engine::testing::Rig;
use tidegate_engine::{BindingId, PendingData, StreamId};
use tidegate_streams::bytes_stream::BytesBegin;
use tidegate_streams::http_stream::{HttpBeginEx, HttpRequest};
use tidegate_streams::{BeginEx, Data, DataFlags, Frame};

struct Harness {
    rig: Rig,
    network: BindingId,
    entry: BindingId,
    server: BindingId,
    connection: Option<StreamId>,
    decoder: Decoder,
}

impl Harness {
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
            connection: None,
            decoder: Decoder::new(Version::V5, REMAINING_LENGTH_MAX),
        }
    }

    /// Posts a request for what is named, in the parts in which its body was read, and lets the
    /// broker accept the connection that it asks for.
    fn post(&mut self, method: &'static str, name: &'static str, body: &[Bytes]) -> StreamId {
        let length: usize = body.iter().map(Bytes::len).sum();
        let request = HttpRequest {
            method: Method::POST,
            path: "/mcp".into(),
            headers: headers(method, name),
            content_length: i64::try_from(length).expect("a length"),
            peer: None,
        };
        let stream = self.rig.open(self.entry, self.server, request);
        self.send(self.entry, stream, body);
        self.rig.send(self.entry, stream, Frame::end());
        let (_, packets) = self.written();
        let seen = self.rig.frames(self.entry, stream);
        let connection = self.connection;
        let connection = connection.unwrap_or_else(|| panic!("no connection: {seen:?}"));
        assert!(
            matches!(packets.as_slice(), [Packet::Connect(_)]),
            "{packets:?}"
        );
        let begin = Frame::begin(BytesBegin {
            remote: "broker:1883".into(),
            ..BytesBegin::default()
        });
        self.rig.send(self.network, connection, begin);
        self.answer(&Packet::Connack(Box::default()));
        stream
    }

    /// Takes what the network gets, as the broker reads it: the slices and the packets in them.
    fn written(&mut self) -> (Vec<Bytes>, Vec<Packet>) {
        let (mut slices, mut packets) = (vec![], vec![]);
        for output in self.rig.outputs(self.network) {
            self.connection = Some(output.at.stream);
            if let Frame::Data(data) = output.frame {
                slices.push(data.payload.clone());
                self.decoder.push(data.payload);
            }
        }
        while let Some(packet) = self.decoder.next().expect("legal packets") {
            packets.push(packet);
        }
        (slices, packets)
    }

    fn answer(&mut self, packet: &Packet) {
        self.read(&[encoded(packet)]);
    }

    /// The socket reads from the broker, into a buffer for each part.
    fn read(&mut self, parts: &[Bytes]) {
        let connection = self.connection.expect("a connection");
        self.send(self.network, connection, parts);
    }

    fn send(&mut self, edge: BindingId, stream: StreamId, parts: &[Bytes]) {
        let mut pending = PendingData::new();
        for part in parts {
            pending.push(Data {
                flags: DataFlags::WHOLE,
                payload: part.clone(),
                extension: None,
            });
        }
        while !self.rig.turn(edge, |cx| pending.flush(cx, stream)) {}
    }

    /// The body of a whole response that says that all is well, in the slices that it is written from.
    fn response(&mut self, request: StreamId) -> Vec<Bytes> {
        let frames = self.rig.frames(self.entry, request);
        let status = frames.iter().find_map(|frame| match frame {
            Frame::Begin(begin) => match &**begin {
                BeginEx::Http(HttpBeginEx::Response(response)) => Some(response.status),
                _ => None,
            },
            _ => None,
        });
        assert_eq!(status, Some(StatusCode::OK), "{frames:?}");
        assert!(matches!(frames.last(), Some(Frame::End(_))), "{frames:?}");
        let slices = frames.into_iter().filter_map(|frame| match frame {
            Frame::Data(data) => Some(data.payload),
            _ => None,
        });
        slices.collect()
    }
}

fn headers(method: &'static str, name: &'static str) -> HeaderMap {
    let pairs = [
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", method),
        ("mcp-name", name),
    ];
    let pair = |(name, value)| {
        (
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )
    };
    pairs.into_iter().map(pair).collect()
}

fn encoded(packet: &Packet) -> Bytes {
    let mut out = BytesMut::new();
    encode(packet, Version::V5, REMAINING_LENGTH_MAX, &mut out).expect("a legal packet");
    out.freeze()
}

/// A message as reads bring it: cut at these places, each part in a buffer of its own.
fn cut(message: &Bytes, places: &[usize]) -> Vec<Bytes> {
    let starts = std::iter::once(0).chain(places.iter().copied());
    let ends = places.iter().copied().chain([message.len()]);
    let part = |(start, end)| Bytes::copy_from_slice(&message.slice(start..end));
    starts.zip(ends).map(part).collect()
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
