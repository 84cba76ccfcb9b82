//! `mcp · server` between a client, over HTTP or a line, and an exit.

mod batch;
mod errors;
mod events;
mod interleaving;
mod large;
mod legacy;
mod line;
mod listen;
mod modern;
pub(in crate::server) mod part;
mod record;
mod requests;
mod stopping;
mod updates;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde_json::{Value, json};
use tidegate_engine::testing::Rig;
use tidegate_engine::{BindingId, Duration, StreamId};
use tidegate_streams::http_stream::{HttpBeginEx, HttpRequest};
use tidegate_streams::line::LineBegin;
use tidegate_streams::mcp::{
    McpBeginEx, McpCapabilities, McpLifecycle, McpReset, McpResetKind, McpResourcesUpdated,
};
use tidegate_streams::{BeginEx, Frame};

use super::{McpServer, Options};

const BOTH: &str = "application/json, text/event-stream";
/// Of the clients over HTTP.
const ADDRESS: &str = "192.0.2.7:50000";
const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

struct Harness {
    rig: Rig,
    server: BindingId,
    client: BindingId,
    exit: BindingId,
}

/// A stream opened to the exit.
#[derive(Debug)]
struct ExitStream {
    stream: StreamId,
    begin: McpBeginEx,
    params: Vec<Bytes>,
    /// Milliseconds until its deadline.
    within: Option<u64>,
    /// Whether the params are complete.
    whole: bool,
}

impl ExitStream {
    fn params(&self) -> Value {
        let params = self.params.concat();
        serde_json::from_slice(&params).expect("params are JSON")
    }
}

/// The response received by an HTTP client.
#[derive(Debug, Default)]
struct Response {
    status: Option<StatusCode>,
    headers: HeaderMap,
    parts: Vec<Bytes>,
    ended: bool,
    broken: bool,
    /// Whether the rest of the request was reset, and whether that was after the response head.
    reset_behind_head: Option<bool>,
}

impl Response {
    fn body(&self) -> Vec<u8> {
        self.parts.concat()
    }

    fn text(&self) -> String {
        String::from_utf8(self.body()).expect("text")
    }

    fn json(&self) -> Value {
        assert!(self.ended, "{self:?}");
        assert_eq!(self.header("content-type"), "application/json", "{self:?}");
        serde_json::from_slice(&self.body()).unwrap_or_else(|_| panic!("{self:?}"))
    }

    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().expect("ASCII"))
    }

    fn status(&self) -> u16 {
        self.status.expect("a response").as_u16()
    }

    /// Status and code of an error.
    fn error(&self) -> (u16, i64) {
        let code = self.json()["error"]["code"].as_i64();
        (self.status(), code.unwrap_or_else(|| panic!("{self:?}")))
    }

    fn events(&self) -> Vec<Value> {
        events(&self.text())
    }
}

/// The messages of server-sent events, without comments.
fn events(text: &str) -> Vec<Value> {
    let blocks = text.split("\n\n").filter(|block| !block.is_empty());
    blocks
        .filter(|block| !block.starts_with(':'))
        .map(|block| {
            // A client can resume behind the id, which the tests of resuming read.
            let block = match block.split_once('\n') {
                Some((id, rest)) if id.starts_with("id: ") => rest,
                _ => block,
            };
            let data = block.strip_prefix("event: message\ndata: ");
            let data = data.unwrap_or_else(|| panic!("{block:?}"));
            assert!(!data.contains('\n'), "{data:?}");
            serde_json::from_str(data).unwrap_or_else(|_| panic!("{data:?}"))
        })
        .collect()
}

fn harness() -> Harness {
    harness_with(Options::default(), 1 << 24)
}

/// `window` is the client's credit for each response.
fn harness_with(options: Options, window: u32) -> Harness {
    let mut rig = Rig::new();
    let exit = rig.edge(1 << 24);
    let server = rig.attach(McpServer::new(options, exit));
    let client = rig.edge(window);
    Harness {
        rig,
        server,
        client,
        exit,
    }
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let name: HeaderName = name.parse().expect("a header's name");
        headers.append(
            name,
            HeaderValue::from_str(value).expect("a header's value"),
        );
    }
    headers
}

/// `params` with the members required in modern requests.
fn with_meta(mut params: Value) -> Value {
    params["_meta"][VERSION] = json!("2026-07-28");
    params["_meta"][CAPABILITIES] = json!({});
    params
}

fn request(id: &Value, method: &str, params: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

fn notification(method: &str, params: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "method": method, "params": params })
}

/// The headers of a modern request.
fn modern_headers<'a>(method: &'a str, name: &'a str) -> Vec<(&'a str, &'a str)> {
    let mut pairs = vec![
        ("content-type", "application/json"),
        ("accept", BOTH),
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", method),
    ];
    if !name.is_empty() {
        pairs.push(("mcp-name", name));
    }
    pairs
}

fn legacy_headers(session: &str) -> Vec<(&str, &str)> {
    vec![
        ("content-type", "application/json"),
        ("accept", BOTH),
        ("mcp-session-id", session),
    ]
}

impl Harness {
    /// A request with its complete body.
    fn http(&mut self, verb: Method, pairs: &[(&str, &str)], body: impl Into<Bytes>) -> StreamId {
        let stream = self.http_open(verb, pairs);
        let body = body.into();
        if !body.is_empty() {
            self.rig.send(self.client, stream, Frame::data(body));
        }
        self.rig.send(self.client, stream, Frame::end());
        stream
    }

    fn http_open(&mut self, verb: Method, pairs: &[(&str, &str)]) -> StreamId {
        let head = HttpRequest {
            method: verb,
            path: "/mcp".into(),
            headers: headers(pairs),
            content_length: -1,
            peer: Some(ADDRESS.parse().expect("an address")),
        };
        self.rig.open(self.client, self.server, head)
    }

    fn post(&mut self, pairs: &[(&str, &str)], body: &Value) -> StreamId {
        self.http(Method::POST, pairs, body.to_string())
    }

    /// A complete modern request.
    fn modern(&mut self, id: &Value, method: &str, params: Value) -> StreamId {
        let params = with_meta(params);
        let named = match method {
            "tools/call" | "prompts/get" => &params["name"],
            "resources/read" => &params["uri"],
            _ => &Value::Null,
        };
        let name = named.as_str().unwrap_or_default().to_owned();
        self.post(
            &modern_headers(method, &name),
            &request(id, method, &params),
        )
    }

    fn call(&mut self, id: i64) -> StreamId {
        self.modern(&json!(id), "tools/call", json!({ "name": "t" }))
    }

    /// The response received so far, which is acknowledged.
    fn response(&mut self, stream: StreamId) -> Response {
        let response = self.peek(stream);
        let length = response.parts.iter().map(Bytes::len).sum();
        self.rig
            .turn(self.client, |cx| cx.acknowledge(stream, length));
        response
    }

    /// The response received so far, without acknowledging it.
    fn peek(&mut self, stream: StreamId) -> Response {
        let mut response = Response::default();
        for frame in self.rig.frames(self.client, stream) {
            match frame {
                Frame::Begin(begin) => {
                    let BeginEx::Http(HttpBeginEx::Response(head)) = begin.into_inner() else {
                        panic!("another begin")
                    };
                    response.status = Some(head.status);
                    response.headers = head.headers;
                }
                Frame::Data(data) => response.parts.push(data.payload),
                Frame::End(_) => response.ended = true,
                Frame::Abort(_) => response.broken = true,
                Frame::Reset(_) => {
                    response.reset_behind_head = Some(response.status.is_some());
                }
                _ => {}
            }
        }
        response
    }

    /// The client disconnects.
    fn disconnect(&mut self, stream: StreamId) {
        self.rig
            .turn(self.client, |cx| cx.terminate(stream, None, None));
    }

    /// The streams opened to the exit since the last call, with their params.
    fn exit_streams(&mut self) -> Vec<ExitStream> {
        let mut asked: Vec<ExitStream> = Vec::new();
        for output in self.rig.outputs(self.exit) {
            let stream = output.at.stream;
            match output.frame {
                Frame::Begin(begin) => {
                    let within = self.rig.left(stream);
                    let BeginEx::Mcp(begin) = begin.into_inner() else {
                        panic!("another begin")
                    };
                    asked.push(ExitStream {
                        stream,
                        begin,
                        params: vec![],
                        within: within.map(Duration::as_millis),
                        whole: false,
                    });
                }
                Frame::Data(data) => {
                    let asked = asked.iter_mut().find(|asked| asked.stream == stream);
                    let asked = asked.expect("DATA behind BEGIN");
                    assert_eq!(data.flags.is_init(), asked.params.is_empty());
                    asked.whole = data.flags.is_fin();
                    asked.params.push(data.payload);
                }
                other => panic!("{stream:?} {other:?}"),
            }
        }
        asked
    }

    /// The only stream opened to the exit since the last call.
    fn exit_stream(&mut self) -> ExitStream {
        let mut asked = self.exit_streams();
        assert_eq!(asked.len(), 1, "{asked:?}");
        asked.remove(0)
    }

    fn assert_no_exit_stream(&mut self) {
        let outputs = self.rig.outputs(self.exit);
        assert!(outputs.is_empty(), "{outputs:?}");
    }

    /// The exit begins its response.
    fn begin(&mut self, asked: &ExitStream) {
        self.rig.send(
            self.exit,
            asked.stream,
            Frame::begin(BeginEx::Mcp(asked.begin.clone())),
        );
    }

    fn exit_sends(&mut self, asked: &ExitStream, frame: Frame) {
        self.rig.send(self.exit, asked.stream, frame);
    }

    /// The exit responds with a complete result.
    fn reply(&mut self, asked: &ExitStream, result: &str) {
        self.begin(asked);
        let result = Bytes::copy_from_slice(result.as_bytes());
        self.exit_sends(asked, Frame::data(result));
        self.exit_sends(asked, Frame::end());
        assert_eq!(self.at_exit(asked), ["end"]);
    }

    fn refuse(&mut self, asked: &ExitStream, kind: McpResetKind) {
        let reset = McpReset::new(kind, "So it is.");
        self.rig.turn(self.exit, |cx| {
            cx.terminate(asked.stream, Some(reset.into()), None);
        });
    }

    /// The frames received by the exit on a stream, except DATA and WINDOW.
    fn at_exit(&mut self, asked: &ExitStream) -> Vec<&'static str> {
        let frames = self.rig.frames(self.exit, asked.stream);
        let kinds = frames.iter().map(|frame| frame.kind().word());
        kinds.filter(|kind| *kind != "window").collect()
    }

    /// Begins a session over HTTP; returns its id and its lifecycle stream.
    fn session(&mut self, version: &str) -> (String, ExitStream) {
        let params = json!({ "protocolVersion": version, "capabilities": {} });
        let body = request(&json!(0), "initialize", &params);
        let stream = self.post(&legacy_headers("")[..2], &body);
        let lifecycle = self.exit_stream();
        self.lifecycle_begun(&lifecycle);
        let response = self.response(stream);
        assert_eq!(response.json()["result"]["protocolVersion"], version);
        (response.header("mcp-session-id").to_owned(), lifecycle)
    }

    fn lifecycle_begun(&mut self, lifecycle: &ExitStream) {
        let begin = McpLifecycle {
            session_id: Some("s-1".into()),
            capabilities: McpCapabilities::SERVER_TOOLS,
        };
        self.exit_sends(lifecycle, Frame::begin(begin));
    }

    /// A request within a session.
    fn legacy(&mut self, session: &str, id: &Value, method: &str, params: &Value) -> StreamId {
        self.post(&legacy_headers(session), &request(id, method, params))
    }

    fn notify(&mut self, session: &str, method: &str, params: &Value) -> Response {
        let stream = self.post(&legacy_headers(session), &notification(method, params));
        self.response(stream)
    }

    /// Subscribes within a session.
    fn subscribe(&mut self, session: &str, uri: &str) -> ExitStream {
        let params = json!({ "uri": uri });
        let stream = self.legacy(session, &json!(uri), "resources/subscribe", &params);
        let asked = self.exit_stream();
        let McpBeginEx::ResourcesSubscribe(begin) = &asked.begin else {
            panic!("{asked:?}")
        };
        assert_eq!(begin.uri, uri);
        assert_eq!(asked.begin.session_id().map(|id| &**id), Some("s-1"));
        assert_eq!(self.peek(stream).status, None, "not before it is confirmed");
        self.begin(&asked);
        let done = json!({ "jsonrpc": "2.0", "id": uri, "result": {} });
        assert_eq!(self.response(stream).json(), done);
        asked
    }

    /// The exit sends an update.
    fn update(&mut self, subscription: &ExitStream, uri: &str) {
        let updated = McpResourcesUpdated { uri: uri.into() };
        self.exit_sends(subscription, Frame::flush(updated));
    }

    fn get(&mut self, session: &str) -> StreamId {
        let pairs = [("accept", "text/event-stream"), ("mcp-session-id", session)];
        self.http(Method::GET, &pairs, "")
    }

    /// The client ends its session, and the exit receives the end.
    fn end_session(&mut self, session: &str, lifecycle: &ExitStream) {
        let stream = self.http(Method::DELETE, &[("mcp-session-id", session)], "");
        assert_eq!(self.response(stream).status(), 200);
        assert_eq!(self.at_exit(lifecycle), ["end", "reset"]);
    }

    fn line(&mut self) -> StreamId {
        let stream = self.rig.open(self.client, self.server, LineBegin {});
        let frames = self.rig.frames(self.client, stream);
        assert!(matches!(frames[..], [Frame::Begin(_)]), "{frames:?}");
        stream
    }

    fn send_line(&mut self, line: StreamId, message: &Value) {
        let message = Bytes::from(message.to_string());
        self.rig.send(self.client, line, Frame::data(message));
    }

    fn send_modern_line(&mut self, line: StreamId, id: &Value, method: &str, params: Value) {
        self.send_line(line, &request(id, method, &with_meta(params)));
    }

    /// The complete messages written to a line, which are acknowledged.
    fn line_messages(&mut self, line: StreamId) -> Vec<Value> {
        let (messages, ended) = self.last_line_messages(line);
        assert!(!ended, "{messages:?}");
        messages
    }

    /// The complete messages written to a line, and whether it has ended.
    fn last_line_messages(&mut self, line: StreamId) -> (Vec<Value>, bool) {
        let (mut messages, mut message, mut ended) = (vec![], vec![], false);
        for frame in self.rig.frames(self.client, line) {
            match frame {
                Frame::Data(data) => {
                    self.rig
                        .turn(self.client, |cx| cx.acknowledge(line, data.payload.len()));
                    assert_eq!(data.flags.is_init(), message.is_empty());
                    message.extend_from_slice(&data.payload);
                    if data.flags.is_fin() {
                        assert!(!message.contains(&b'\n'));
                        messages.push(serde_json::from_slice(&message).expect("JSON"));
                        message.clear();
                    }
                }
                Frame::End(_) => ended = true,
                Frame::Window(_) | Frame::Reset(_) => {}
                other => panic!("{other:?}"),
            }
        }
        assert!(message.is_empty(), "half a message");
        (messages, ended)
    }

    /// Begins a session on a line.
    fn line_session(&mut self, line: StreamId, version: &str) -> ExitStream {
        let params = json!({ "protocolVersion": version, "capabilities": {} });
        self.send_line(line, &request(&json!("init"), "initialize", &params));
        let lifecycle = self.exit_stream();
        self.lifecycle_begun(&lifecycle);
        assert_eq!(self.line_messages(line)[0]["id"], "init");
        lifecycle
    }

    /// The client of a line ends its input, and the line ends.
    fn end_line(&mut self, line: StreamId) {
        self.rig.send(self.client, line, Frame::end());
        assert_eq!(self.last_line_messages(line), (vec![], true));
    }

    fn refuse_calls(&mut self, reason: Option<&'static str>) {
        self.rig.worker.refuse_calls(reason);
    }

    fn shut_down(&mut self) {
        let now = self.rig.now();
        self.rig.worker.shutdown(now);
        // Collects output into the rig.
        self.rig.turn(self.client, |_| ());
    }

    /// Asserts that nothing remains, and that all output other than WINDOW was taken.
    fn finish(mut self) {
        for edge in [self.client, self.exit] {
            let left = self.rig.outputs(edge);
            let left: Vec<_> = left
                .iter()
                .filter(|output| !matches!(output.frame, Frame::Window(_)))
                .collect();
            assert!(left.is_empty(), "{left:#?}");
        }
        self.rig.assert_idle();
    }
}
