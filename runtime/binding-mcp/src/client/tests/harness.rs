//! The binding between a caller and a server that the test plays.

use std::sync::Arc;

use ::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use serde_json::{Value, json};
use tidegate_engine::testing::Rig;
use tidegate_engine::{BindingId, CallContext, Duration, StreamId, Token};
use tidegate_streams::http_stream::{HttpBeginEx, HttpRequest, HttpResponse};
use tidegate_streams::mcp::{McpBeginEx, McpEnd, McpReset, McpToolsCall};
use tidegate_streams::{BeginEx, EndEx, Frame, FrameKind, Identity, ResetEx, Role};

use crate::client::{Exit, McpClient, Options};
use crate::proxy::{McpProxy, Route, Toolkit};

/// A request that the server has received.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) stream: StreamId,
    pub(super) head: HttpRequest,
    pub(super) body: Value,
    /// It was complete.
    pub(super) ended: bool,
    /// The binding has given it up.
    pub(super) dropped: bool,
}

impl Asked {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head
            .headers
            .get(name)
            .map(|it| it.to_str().expect("text"))
    }

    pub(super) fn method(&self) -> &str {
        self.body["method"].as_str().unwrap_or_default()
    }
}

pub(super) struct Setup {
    pub(super) rig: Rig,
    pub(super) caller: BindingId,
    pub(super) client: BindingId,
    pub(super) exit: BindingId,
    asked: Vec<Asked>,
}

pub(super) fn setup(options: Value) -> Setup {
    let options: Options = serde_json::from_value(options).expect("valid");
    let mut rig = Rig::new();
    let exit = rig.edge(1 << 20);
    let client = rig.attach(McpClient::new(options, Exit::Http(exit)));
    let caller = rig.edge(1 << 20);
    Setup {
        rig,
        caller,
        client,
        exit,
        asked: Vec::new(),
    }
}

/// The same behind a proxy, as its toolkit `b`.
pub(super) fn setup_as_toolkit(options: Value) -> Setup {
    let mut setup = setup(options);
    let toolkit = Toolkit::new("b").expect("a toolkit's name");
    let routes = vec![Route::of(Some(toolkit), setup.client)];
    let proxy = McpProxy::new(crate::proxy::Options::default(), routes);
    setup.client = setup.rig.attach(proxy);
    setup
}

pub(super) fn tool(name: &str) -> McpToolsCall {
    McpToolsCall {
        name: name.into(),
        ..McpToolsCall::default()
    }
}

impl Setup {
    /// Opens an operation with params; `{}` for none.
    pub(super) fn open(&mut self, begin: impl Into<BeginEx>, params: &str) -> StreamId {
        self.open_as(None, begin, params)
    }

    pub(super) fn open_as(
        &mut self,
        caller: Option<&str>,
        begin: impl Into<BeginEx>,
        params: &str,
    ) -> StreamId {
        let (edge, target) = (self.caller, self.client);
        let call = CallContext {
            identity: caller.map(|subject| {
                Arc::new(Identity {
                    subject: subject.into(),
                    ..Identity::default()
                })
            }),
            deadline: Some(self.rig.now() + Duration::from_secs(20)),
            ..CallContext::default()
        };
        let params = Bytes::copy_from_slice(params.as_bytes());
        let begin = begin.into();
        let is_session = matches!(begin, BeginEx::Mcp(McpBeginEx::Lifecycle(_)));
        self.rig.turn(edge, |cx| {
            let stream = cx
                .open_for(call, target, begin, Token::default())
                .expect("room");
            if !is_session {
                cx.send_whole(stream, params);
            }
            stream
        })
    }

    /// The next request of the binding.
    pub(super) fn next(&mut self) -> Asked {
        self.take();
        assert!(!self.asked.is_empty(), "the server is asked nothing");
        self.asked.remove(0)
    }

    /// Whether the server is asked nothing more.
    pub(super) fn is_quiet(&mut self) -> bool {
        self.take();
        self.asked.is_empty()
    }

    /// Streams of requests that the binding has given up.
    pub(super) fn take(&mut self) -> Vec<StreamId> {
        let mut dropped = Vec::new();
        for output in self.rig.outputs(self.exit) {
            let stream = output.at.stream;
            let known = self.asked.iter_mut().find(|asked| asked.stream == stream);
            match (output.frame, known) {
                (Frame::Begin(begin), _) => match begin.into_inner() {
                    BeginEx::Http(HttpBeginEx::Request(head)) => self.asked.push(Asked {
                        stream,
                        head,
                        body: Value::Null,
                        ended: false,
                        dropped: false,
                    }),
                    other => panic!("{other:?}"),
                },
                (Frame::Data(data), Some(asked)) => {
                    let mut text = asked.body.as_str().unwrap_or_default().to_owned();
                    text.push_str(std::str::from_utf8(&data.payload).expect("text"));
                    asked.body = Value::String(text);
                }
                (Frame::End(_), Some(asked)) => {
                    asked.ended = true;
                    if let Some(text) = asked.body.as_str() {
                        asked.body = serde_json::from_str(text).expect("JSON");
                    }
                }
                (Frame::Abort(_) | Frame::Reset(_), known) => {
                    if let Some(asked) = known {
                        asked.dropped = true;
                    }
                    dropped.push(stream);
                }
                _ => {}
            }
        }
        for stream in &dropped {
            let stream = *stream;
            self.rig
                .turn(self.exit, |cx| cx.terminate(stream, None, None));
        }
        dropped
    }

    /// Begins a response.
    pub(super) fn begin(&mut self, asked: &Asked, status: u16, headers: &[(&'static str, &str)]) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().expect("a header"));
        }
        let response = HttpResponse {
            status: StatusCode::from_u16(status).expect("a status"),
            headers: map,
            content_length: -1,
        };
        self.rig
            .send(self.exit, asked.stream, Frame::begin(response));
    }

    pub(super) fn data(&mut self, asked: &Asked, text: &str) {
        let payload = Bytes::copy_from_slice(text.as_bytes());
        self.rig.send(self.exit, asked.stream, Frame::data(payload));
    }

    pub(super) fn end(&mut self, asked: &Asked) {
        self.rig.send(self.exit, asked.stream, Frame::end());
        self.take();
    }

    /// Answers a request with a result.
    pub(super) fn answer(&mut self, asked: &Asked, result: &Value) {
        let text = json!({ "jsonrpc": "2.0", "id": asked.body["id"], "result": result });
        self.respond(
            asked,
            200,
            &[("content-type", "application/json")],
            &text.to_string(),
        );
    }

    pub(super) fn respond(
        &mut self,
        asked: &Asked,
        status: u16,
        headers: &[(&'static str, &str)],
        body: &str,
    ) {
        self.begin(asked, status, headers);
        if !body.is_empty() {
            self.data(asked, body);
        }
        self.end(asked);
    }

    /// Answers the handshake of a legacy server, which does not know `server/discover`.
    pub(super) fn legacy(&mut self, session: &str, capabilities: &Value) {
        let probe = self.next();
        assert_eq!(probe.method(), "server/discover");
        self.respond(&probe, 400, &[], "Bad Request");
        self.initialize(session, capabilities);
    }

    /// Answers `initialize` and `notifications/initialized`.
    pub(super) fn initialize(&mut self, session: &str, capabilities: &Value) {
        let initialize = self.next();
        assert_eq!(initialize.method(), "initialize");
        assert_eq!(initialize.header("mcp-session-id"), None);
        let result = json!({ "protocolVersion": "2025-06-18", "capabilities": capabilities,
            "serverInfo": { "name": "files", "version": "1" } });
        let text = json!({ "jsonrpc": "2.0", "id": initialize.body["id"], "result": result });
        let headers = [
            ("content-type", "application/json"),
            ("mcp-session-id", session),
        ];
        self.respond(&initialize, 200, &headers, &text.to_string());
        let initialized = self.next();
        assert_eq!(initialized.method(), "notifications/initialized");
        assert_eq!(initialized.header("mcp-session-id"), Some(session));
        self.respond(&initialized, 202, &[], "");
    }

    /// Answers the handshake of a modern server.
    pub(super) fn modern(&mut self, capabilities: &Value) {
        let probe = self.next();
        assert_eq!(probe.method(), "server/discover");
        self.answer(
            &probe,
            &json!({ "resultType": "complete", "supportedVersions": ["2026-07-28"],
                "capabilities": capabilities, "ttlMs": 60_000, "cacheScope": "public" }),
        );
    }

    /// Frames that the caller has got.
    pub(super) fn frames(&mut self, stream: StreamId) -> Vec<Frame> {
        let frames = self.rig.frames(self.caller, stream);
        frames
            .into_iter()
            .filter(|frame| frame.kind() != FrameKind::Window)
            .collect()
    }

    /// The result that the caller has got, and its END; the caller then ends its half.
    pub(super) fn result(&mut self, stream: StreamId) -> (String, McpEnd) {
        let (mut text, mut end) = (Vec::new(), None);
        for frame in self.frames(stream) {
            match frame {
                Frame::Data(data) => text.extend_from_slice(&data.payload),
                Frame::End(ended) => match ended.map(tidegate_streams::Pooled::into_inner) {
                    Some(EndEx::Mcp(ended)) => end = Some(ended),
                    other => panic!("{other:?}"),
                },
                Frame::Begin(_) | Frame::Flush(_) => {}
                other => panic!("{other:?}"),
            }
        }
        self.rig.send(self.caller, stream, Frame::end());
        let end = end.expect("the result has ended");
        (String::from_utf8(text).expect("text"), end)
    }

    pub(super) fn refusal(&mut self, stream: StreamId) -> McpReset {
        let frames = self.frames(stream);
        let shown = format!("{frames:?}");
        let reset = frames.into_iter().find_map(|frame| match frame {
            Frame::Reset(Some(reset)) => Some(*reset),
            _ => None,
        });
        self.rig
            .turn(self.caller, |cx| cx.terminate(stream, None, None));
        match reset {
            Some(ResetEx::Mcp(reset)) => reset,
            _ => panic!("no refusal: {shown}"),
        }
    }

    /// The caller cancels.
    pub(super) fn cancel(&mut self, stream: StreamId) {
        self.rig
            .turn(self.caller, |cx| cx.terminate(stream, None, None));
    }

    /// The sessions that calls share expire; the server accepts their end. Nothing is left.
    pub(super) fn finish(mut self) {
        self.rig.advance(Duration::from_secs(400));
        self.take();
        while !self.asked.is_empty() {
            let asked = self.asked.remove(0);
            assert_eq!(asked.head.method, "DELETE", "{asked:?}");
            self.respond(&asked, 200, &[], "");
        }
        let at_exit = self.rig.outputs(self.exit);
        let left = at_exit
            .iter()
            .filter(|it| it.frame.kind() != FrameKind::Window);
        let left: Vec<_> = left.map(|it| (it.at.role, it.frame.kind())).collect();
        assert_eq!(left, [] as [(Role, FrameKind); 0]);
        self.rig.outputs(self.caller);
        self.rig.assert_idle();
    }
}
