//! A complete gateway without sockets: the edges are played, and the clock does not advance.
//!
//! One [`Harness::publish`] is the whole work of tidegate from the body of the HTTP request to PUBLISH and
//! from PUBACK to the response, without the cost of the kernel and hyper. Benches measure its time,
//! `scripts/cost` its instructions and allocations.
#![forbid(unsafe_code)]
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::panic,
    reason = "a failed bench must stop"
)]

mod bodies;
mod chain;
mod crowd;
mod federation;
mod fleet;
mod toolkit;
mod upstream;

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tidegate_binding_mcp::proxy::{self, McpProxy};
use tidegate_binding_mcp::server::{self, McpServer};
use tidegate_binding_mcp_mqtt::McpMqtt;
use tidegate_binding_mqtt::client::MqttClient;
use tidegate_binding_mqtt::codec::{
    Ack, Connack, Decoder, Packet, Publish, REMAINING_LENGTH_MAX, Suback, Version, encode,
};
use tidegate_engine::testing::Rig;
use tidegate_engine::{BindingId, Output, StreamId};
use tidegate_streams::bytes_stream::BytesBegin;
use tidegate_streams::http_stream::{HttpBeginEx, HttpRequest};
use tidegate_streams::{BeginEx, Frame};

pub use bodies::{Body, bodies};
pub use chain::Chain;
pub use crowd::Crowd;
pub use federation::{Federation, Read};
pub use fleet::{Fleet, list_tools};
pub use toolkit::Toolkit;
pub use upstream::Upstream;

/// A gateway between a played `http · server` and a played `tcp · client`.
pub struct Harness {
    rig: Rig,
    entry: BindingId,
    server: BindingId,
    network: BindingId,
    connection: Option<StreamId>,
    decoder: Decoder,
    headers: HeaderMap,
}

/// The bindings and patterns of a [`Harness`].
#[derive(Debug, Clone, Default)]
pub struct HarnessOptions {
    /// Toolkits behind an `mcp · proxy`; 0: no proxy.
    pub toolkits: usize,
    /// Patterns in `publish`; 0: all topics are allowed.
    pub patterns: usize,
}

impl Harness {
    /// Creates a harness with an open connection to the broker.
    pub fn new(setup: &HarnessOptions) -> Self {
        let mut rig = Rig::new();
        let network = rig.edge(1 << 30);
        let client = serde_json::from_str("{}").expect("defaults");
        let client = rig.attach(MqttClient::new(client, network));
        let patterns = (0..setup.patterns).map(|index| format!("plant/{index}/+"));
        let patterns: Vec<String> = patterns.chain(["a/+".to_owned()]).collect();
        let options = match setup.patterns {
            0 => serde_json::json!({}),
            _ => serde_json::json!({ "publish": patterns }),
        };
        let options = serde_json::from_value(options).expect("options");
        let toolkit = rig.attach(McpMqtt::new(&options, client));
        let exit = if setup.toolkits == 0 {
            toolkit
        } else {
            let route =
                |index: usize| proxy::Route::of(proxy::Toolkit::new(format!("t{index}")), toolkit);
            let routes = (0..setup.toolkits).map(route).collect();
            rig.attach(McpProxy::new(proxy::Options::default(), routes))
        };
        let server = rig.attach(McpServer::new(server::Options::default(), exit));
        let entry = rig.edge(1 << 30);
        rig.worker.start();
        let tool = if setup.toolkits == 0 {
            "publish"
        } else {
            "t0__publish"
        };
        let mut harness = Self {
            rig,
            entry,
            server,
            network,
            connection: None,
            decoder: Decoder::new(Version::V5, REMAINING_LENGTH_MAX),
            headers: headers(tool),
        };
        let body = call(tool, 0, "warm up");
        harness.publish(&body);
        harness
    }

    /// Sets the headers for calls of `receive`.
    #[must_use]
    pub fn receiving(mut self) -> Self {
        self.headers = headers("receive");
        self
    }

    /// One call of `publish`; returns the length of the response body.
    pub fn publish(&mut self, body: &Bytes) -> usize {
        let request = self.post(body);
        self.answered(request)
    }

    /// Sends a body in parts of `part` bytes, as read from a socket; returns the longest turn of the worker.
    /// A batch is sent in `session`.
    pub fn body(&mut self, body: &Body, part: usize, session: &str) -> Duration {
        let headers = if body.batch {
            legacy_headers(session)
        } else {
            let mut headers = self.headers.clone();
            let method = HeaderValue::from_static(body.method);
            headers.insert("mcp-method", method);
            headers
        };
        let request = HttpRequest {
            method: Method::POST,
            path: "/mcp".into(),
            headers,
            content_length: i64::try_from(body.text.len()).expect("a length"),
            peer: None,
        };
        let (entry, server) = (self.entry, self.server);
        let stream = self.rig.open(entry, server, request);
        let mut longest = Duration::ZERO;
        let mut rest = body.text.clone();
        while !rest.is_empty() && self.rig.turn(entry, |cx| cx.is_sending(stream)) {
            let credit = self.rig.turn(entry, |cx| cx.credit(stream));
            let part = rest.split_to(rest.len().min(part).min(credit));
            let began = Instant::now();
            self.rig.send(entry, stream, Frame::data(part));
            longest = longest.max(began.elapsed());
        }
        let mut turn = |rig: &mut Rig, frame: Option<Frame>| {
            let began = Instant::now();
            rig.turn(entry, |cx| {
                if let Some(frame) = frame.filter(|_| cx.is_sending(stream)) {
                    cx.send(stream, frame);
                }
            });
            longest = longest.max(began.elapsed());
        };
        turn(&mut self.rig, Some(Frame::end()));
        // Work that yields continues in the next turns.
        (0..100).for_each(|_| turn(&mut self.rig, None));
        self.serve();
        self.rig.turn(entry, |cx| cx.terminate(stream, None, None));
        let frames = self.rig.frames(entry, stream);
        let is_answer = |frame: &Frame| matches!(frame, Frame::Begin(_));
        assert!(frames.iter().any(is_answer), "{} is answered", body.name);
        longest
    }

    /// Begins a session of 2025-03-26.
    pub fn session(&mut self) -> String {
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-03-26","capabilities":{}}}"#;
        let headers = std::mem::replace(&mut self.headers, legacy_headers(""));
        self.headers.remove("mcp-session-id");
        let stream = self.post(&Bytes::from_static(body.as_bytes()));
        self.headers = headers;
        session_id(self.rig.frames(self.entry, stream))
    }

    /// One call of `receive` that gets `messages` messages with this payload; returns the length of the
    /// response body.
    pub fn receive(&mut self, body: &Bytes, messages: usize, payload: &Bytes) -> usize {
        let request = self.post(body);
        for packet in self.read() {
            if let Packet::Subscribe(subscribe) = packet {
                let reasons = vec![tidegate_binding_mqtt::codec::ReasonCode::GRANTED_QOS_1];
                let packet_id = subscribe.packet_id;
                self.write(&Packet::Suback(Suback {
                    packet_id,
                    reasons,
                    ..Suback::default()
                }));
                for _ in 0..messages {
                    let mut message = Publish {
                        topic: "a/b".into(),
                        payload: vec![payload.clone()].into(),
                        ..Publish::default()
                    };
                    message.properties.subscription_ids =
                        subscribe.properties.subscription_id.into_iter().collect();
                    self.write(&Packet::Publish(message));
                }
            }
        }
        self.answered(request)
    }

    /// Lets the broker respond until the call is complete; returns the length of the response body.
    fn answered(&mut self, request: StreamId) -> usize {
        self.serve();
        let frames = self.rig.frames(self.entry, request);
        let length = frames.iter().map(|frame| match frame {
            Frame::Data(data) => data.payload.len(),
            _ => 0,
        });
        let length = length.sum();
        assert!(length > 0, "the call was answered");
        length
    }

    fn post(&mut self, body: &Bytes) -> StreamId {
        let request = HttpRequest {
            method: Method::POST,
            path: "/mcp".into(),
            headers: self.headers.clone(),
            content_length: i64::try_from(body.len()).expect("a length"),
            peer: None,
        };
        let (entry, server) = (self.entry, self.server);
        let stream = self.rig.open(entry, server, request);
        let mut body = body.clone();
        while !body.is_empty() {
            let credit = self.rig.turn(entry, |cx| cx.credit(stream));
            let part = body.split_to(body.len().min(credit));
            self.rig.send(entry, stream, Frame::data(part));
        }
        self.rig.send(entry, stream, Frame::end());
        stream
    }

    /// Lets the broker respond until no packet is left.
    fn serve(&mut self) {
        loop {
            let packets = self.read();
            if packets.is_empty() {
                return;
            }
            for packet in packets {
                match packet {
                    Packet::Connect(_) => self.write(&Packet::Connack(Box::<Connack>::default())),
                    Packet::Publish(publish) if publish.qos == 1 => {
                        let packet_id = publish.packet_id;
                        self.write(&Packet::Puback(Ack {
                            packet_id,
                            ..Ack::default()
                        }));
                    }
                    Packet::Unsubscribe(unsubscribe) => {
                        self.write(&Packet::Unsuback(tidegate_binding_mqtt::codec::Unsuback {
                            packet_id: unsubscribe.packet_id,
                            reasons: vec![tidegate_binding_mqtt::codec::ReasonCode::SUCCESS],
                            ..Default::default()
                        }));
                    }
                    _ => {}
                }
            }
        }
    }

    /// The packets sent to the broker, which are acknowledged.
    fn read(&mut self) -> Vec<Packet> {
        let mut length = 0;
        for Output { at, frame, .. } in self.rig.outputs(self.network) {
            match frame {
                Frame::Begin(_) => {
                    self.connection = Some(at.stream);
                    let begin = Frame::begin(BytesBegin {
                        remote: "broker:1883".into(),
                        ..BytesBegin::default()
                    });
                    self.rig.send(self.network, at.stream, begin);
                }
                Frame::Data(data) => {
                    length += data.payload.len();
                    self.decoder.push(data.payload);
                }
                _ => {}
            }
        }
        if let Some(connection) = self.connection.filter(|_| length > 0) {
            self.rig
                .turn(self.network, |cx| cx.acknowledge(connection, length));
        }
        let mut packets = Vec::new();
        while let Some(packet) = self.decoder.next().expect("legal packets") {
            packets.push(packet);
        }
        packets
    }

    fn write(&mut self, packet: &Packet) {
        let mut out = BytesMut::with_capacity(64);
        encode(packet, Version::V5, REMAINING_LENGTH_MAX, &mut out).expect("a legal packet");
        let connection = self.connection.expect("a connection");
        self.rig
            .send(self.network, connection, Frame::data(out.freeze()));
    }
}

/// The session id in a response to `initialize`.
fn session_id(response: Vec<Frame>) -> String {
    let id = response.into_iter().find_map(|frame| match frame {
        Frame::Begin(begin) => match begin.into_inner() {
            BeginEx::Http(HttpBeginEx::Response(head)) => {
                head.headers.get("mcp-session-id").cloned()
            }
            _ => None,
        },
        _ => None,
    });
    let id = id.expect("a session began");
    id.to_str().expect("ASCII").to_owned()
}

fn legacy_headers(session: &str) -> HeaderMap {
    let pairs = [
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-session-id", session),
    ];
    fields(&pairs)
}

fn headers(tool: &str) -> HeaderMap {
    let pairs = [
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", tool),
    ];
    fields(&pairs)
}

fn fields(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let field = |(name, value): &(&'static str, &str)| {
        let value = HeaderValue::from_str(value).expect("a header");
        (HeaderName::from_static(name), value)
    };
    pairs.iter().map(field).collect()
}

/// The body of a call of `publish`, or of another tool with the same arguments.
pub fn call(tool: &str, qos: u8, payload: &str) -> Bytes {
    arguments(
        tool,
        &serde_json::json!({ "topic": "a/b", "qos": qos, "payload": payload }),
    )
}

/// The body of a call.
pub fn arguments(tool: &str, arguments: &serde_json::Value) -> Bytes {
    let body = serde_json::json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {
            "name": tool, "arguments": arguments,
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientInfo": { "name": "bench", "version": "1" },
                "io.modelcontextprotocol/clientCapabilities": {},
            },
        },
    });
    Bytes::from(body.to_string())
}
