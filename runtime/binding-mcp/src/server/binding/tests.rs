//! A handler that panicked: what it worked for is given up, and nothing of it stays.

use bytes::Bytes;
use serde_json::{Value, json};
use tidegate_engine::StreamId;
use tidegate_streams::http_stream::HttpRequest;
use tidegate_streams::line::LineBegin;
use tidegate_streams::mcp::{McpCapabilities, McpLifecycle};
use tidegate_streams::{Frame, Role};

use super::*;
use crate::server::tests::part::Bench;

/// The binding, whose frames and timers the test hands over.
struct House {
    bench: Bench,
    server: McpServer,
}

impl House {
    fn new() -> Self {
        let bench = Bench::with_window(1 << 20);
        let server = McpServer::new(Options::default(), bench.exit);
        Self { bench, server }
    }

    /// Hands over what has come.
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

    /// The exit begins the session that it is asked for.
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

    /// A session of the revision that has batches: its id.
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

    /// Whatever was left ends with the session.
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
    let mut house = House::new();
    let session = house.session();
    let stream = house.post(Some(&session), &list(1));
    house.fault(Key::Request(0));
    assert_eq!(house.error(stream), -32603);
    house.fault(Key::Request(0));
    house.done();
}

#[test]
fn an_exchange_takes_along_what_depends_on_it() {
    let mut house = House::new();
    let session = house.session();
    house.post(Some(&session), &list(1));
    house.fault(Key::Http(0));
    assert_eq!(house.server.http.len(), 0);
    assert_eq!(house.server.requests.len(), 1, "a legacy one goes on");
    house.done();
}

#[test]
fn a_session_takes_along_its_requests() {
    let mut house = House::new();
    let session = house.session();
    let stream = house.post(Some(&session), &list(1));
    house.fault(Key::Session(0));
    assert_eq!(house.error(stream), -32001);
    house.done();
}

#[test]
fn a_batch_serves_nothing_more_whoever_fails_over_it() {
    for faulty in [Key::Batch(0), Key::Http(0)] {
        let mut house = House::new();
        let session = house.session();
        // More than is served in one turn, and one of them is not answered yet.
        let batch: Vec<Value> = (0..20).map(list).collect();
        house.post(Some(&session), &json!(batch));
        assert_eq!(house.server.batches.len(), 1);
        let under_way = house.server.requests.len();
        house.fault(faulty);
        assert_eq!(house.server.requests.len(), under_way);
        assert_eq!(house.server.batches.len(), 1, "what was asked for goes on");
        house.done();
    }
}

#[test]
fn a_line_takes_along_its_session() {
    let mut house = House::new();
    let client = house.bench.client;
    let stream = house.bench.rig.open(client, house.bench.own, LineBegin {});
    house.pump();
    let message = Frame::data(Bytes::from(initialize().to_string()));
    house.bench.rig.send(client, stream, message);
    house.pump();
    house.begin_session();
    for id in 0..3 {
        let message = Frame::data(Bytes::from(list(id).to_string()));
        house.bench.rig.send(client, stream, message);
        house.pump();
    }
    assert_eq!(house.server.exchanges(), 5);
    house.fault(Key::Line(0));
    assert_eq!(house.server.exchanges(), 0);
    house.done();
}

#[test]
fn what_waits_for_the_exit_is_answered_with_an_error() {
    let mut house = House::new();
    let session = house.session();
    let subscribe = json!({ "jsonrpc": "2.0", "id": 1, "method": "resources/subscribe", "params": { "uri": "u" } });
    let stream = house.post(Some(&session), &subscribe);
    house.fault(Key::Subscription(0));
    assert_eq!(house.error(stream), -32603);
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let client = house.bench.client;
    let stream = house.bench.rig.open(client, house.bench.own, LineBegin {});
    house.pump();
    let discover = json!({
        "jsonrpc": "2.0", "id": 1, "method": "server/discover", "params": { "_meta": meta },
    });
    let message = Frame::data(Bytes::from(discover.to_string()));
    house.bench.rig.send(client, stream, message);
    house.pump();
    house.fault(Key::Capabilities);
    let (answer, _) = house.bench.at_client(stream);
    assert!(answer.contains("-32603"), "{answer}");
    house.fault(Key::Line(0));
    house.done();
}
