//! After a handler panic, everything the handler worked for is removed.

use bytes::Bytes;
use serde_json::{Value, json};
use tidegate_engine::StreamId;
use tidegate_streams::http_stream::HttpRequest;
use tidegate_streams::line::LineBegin;
use tidegate_streams::mcp::{McpCapabilities, McpLifecycle};
use tidegate_streams::{Frame, Role};

use super::*;
use crate::server::tests::part::Bench;

/// The binding; the test passes frames and timers to it.
struct Harness {
    bench: Bench,
    server: McpServer,
}

impl Harness {
    fn new() -> Self {
        let bench = Bench::with_window(1 << 20);
        let server = McpServer::new(Options::default(), bench.exit);
        Self { bench, server }
    }

    /// Passes pending frames to the binding.
    fn pump(&mut self) {
        loop {
            let outputs = self.bench.rig.outputs(self.bench.own);
            if outputs.is_empty() {
                return;
            }
            for output in outputs {
                let (at, server) = (output.at, &mut self.server);
                self.bench.act(|cx| match output.frame {
                    Frame::Begin(begin) if at.role == Role::Callee => {
                        server.on_begin(cx, at.stream, begin.into_inner());
                    }
                    frame => server.on_frame(cx, at, frame),
                });
            }
        }
    }

    fn fault(&mut self, key: Key) {
        let server = &mut self.server;
        self.bench.act(|cx| server.on_fault(cx, key.token()));
        self.pump();
    }

    fn post(&mut self, session: Option<&str>, body: &Value) -> StreamId {
        let mut headers = ::http::HeaderMap::new();
        if let Some(session) = session {
            headers.insert("mcp-session-id", session.parse().expect("a value"));
        }
        let head = HttpRequest {
            method: ::http::Method::POST,
            path: "/mcp".into(),
            headers,
            content_length: -1,
            peer: None,
        };
        let client = self.bench.client;
        let stream = self.bench.rig.open(client, self.bench.own, head);
        let body = Frame::data(Bytes::from(body.to_string()));
        for frame in [body, Frame::end()] {
            self.bench.rig.send(client, stream, frame);
        }
        self.pump();
        stream
    }

    /// The exit accepts the requested session.
    fn begin_session(&mut self) {
        let (stream, _) = self.bench.at_exit();
        let lifecycle = McpLifecycle {
            session_id: Some("s".into()),
            capabilities: McpCapabilities::NONE,
        };
        let exit = self.bench.exit;
        self.bench.rig.send(exit, stream, Frame::begin(lifecycle));
        self.pump();
    }

    /// Opens a session of the revision with batches; returns its id.
    fn session(&mut self) -> String {
        let stream = self.post(None, &initialize());
        self.begin_session();
        let (answer, ended) = self.bench.at_client(stream);
        assert!(ended, "{answer}");
        let session = self.server.sessions.id(0);
        session.expect("the first").to_string()
    }

    fn error(&mut self, stream: StreamId) -> i64 {
        let (answer, ended) = self.bench.at_client(stream);
        assert!(ended, "{answer}");
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        answer["error"]["code"].as_i64().expect("an error")
    }

    /// Everything that remains ends with the session.
    fn done(mut self) {
        self.fault(Key::Session(0));
        assert_eq!(self.server.exchanges(), 0);
        self.bench.kinds_at_exit();
        self.bench.rig.outputs(self.bench.client);
        self.bench.rig.assert_idle();
    }
}

fn initialize() -> Value {
    let params = json!({ "protocolVersion": "2025-03-26", "capabilities": {} });
    json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params })
}

fn list(id: i64) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": "tools/list" })
}

#[test]
fn a_request_is_answered_with_an_error() {
    let mut harness = Harness::new();
    let session = harness.session();
    let stream = harness.post(Some(&session), &list(1));
    harness.fault(Key::Request(0));
    assert_eq!(harness.error(stream), -32603);
    harness.fault(Key::Request(0));
    harness.done();
}

#[test]
fn removing_an_exchange_returns_its_owner() {
    let mut harness = Harness::new();
    let session = harness.session();
    harness.post(Some(&session), &list(1));
    harness.fault(Key::Http(0));
    assert_eq!(harness.server.http.len(), 0);
    assert_eq!(harness.server.requests.len(), 1, "legacy requests continue");
    harness.done();
}

#[test]
fn requests_end_with_their_session() {
    let mut harness = Harness::new();
    let session = harness.session();
    let stream = harness.post(Some(&session), &list(1));
    harness.fault(Key::Session(0));
    assert_eq!(harness.error(stream), -32001);
    harness.done();
}

#[test]
fn a_batch_stops_after_a_handler_panic() {
    for faulty in [Key::Batch(0), Key::Http(0)] {
        let mut harness = Harness::new();
        let session = harness.session();
        // More messages than one turn processes, one of them unanswered.
        let batch: Vec<Value> = (0..20).map(list).collect();
        harness.post(Some(&session), &json!(batch));
        assert_eq!(harness.server.batches.len(), 1);
        let running = harness.server.requests.len();
        harness.fault(faulty);
        assert_eq!(harness.server.requests.len(), running);
        assert_eq!(harness.server.batches.len(), 1, "running requests continue");
        harness.done();
    }
}

#[test]
fn a_session_ends_with_its_line() {
    let mut harness = Harness::new();
    let client = harness.bench.client;
    let stream = harness
        .bench
        .rig
        .open(client, harness.bench.own, LineBegin {});
    harness.pump();
    let message = Frame::data(Bytes::from(initialize().to_string()));
    harness.bench.rig.send(client, stream, message);
    harness.pump();
    harness.begin_session();
    for id in 0..3 {
        let message = Frame::data(Bytes::from(list(id).to_string()));
        harness.bench.rig.send(client, stream, message);
        harness.pump();
    }
    assert_eq!(harness.server.exchanges(), 5);
    harness.fault(Key::Line(0));
    assert_eq!(harness.server.exchanges(), 0);
    harness.done();
}

#[test]
fn requests_waiting_for_the_exit_are_answered_with_an_error() {
    let mut harness = Harness::new();
    let session = harness.session();
    let subscribe = json!({ "jsonrpc": "2.0", "id": 1, "method": "resources/subscribe", "params": { "uri": "u" } });
    let stream = harness.post(Some(&session), &subscribe);
    harness.fault(Key::Subscription(0));
    assert_eq!(harness.error(stream), -32603);
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let client = harness.bench.client;
    let stream = harness
        .bench
        .rig
        .open(client, harness.bench.own, LineBegin {});
    harness.pump();
    let discover = json!({
        "jsonrpc": "2.0", "id": 1, "method": "server/discover", "params": { "_meta": meta },
    });
    let message = Frame::data(Bytes::from(discover.to_string()));
    harness.bench.rig.send(client, stream, message);
    harness.pump();
    harness.fault(Key::Capabilities(0));
    let (answer, _) = harness.bench.at_client(stream);
    assert!(answer.contains("-32603"), "{answer}");
    harness.fault(Key::Line(0));
    harness.done();
}
