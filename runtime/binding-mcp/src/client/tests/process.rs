//! A server on a line stream.

use bytes::Bytes;
use serde_json::{Value, json};
use tidegate_engine::testing::Rig;
use tidegate_engine::{BindingId, CallContext, Duration, StreamId, Token};
use tidegate_streams::line::{LineBegin, LineReset};
use tidegate_streams::mcp::{McpLifecycle, McpResetKind};
use tidegate_streams::{BeginEx, Frame, FrameKind, ResetEx};

use super::harness::tool;
use crate::client::{Exit, McpClient, Options};

struct Setup {
    rig: Rig,
    caller: BindingId,
    client: BindingId,
    exit: BindingId,
    line: Option<StreamId>,
}

fn setup(options: Value) -> Setup {
    let options: Options = serde_json::from_value(options).expect("valid");
    let mut rig = Rig::new();
    let exit = rig.edge(1 << 20);
    let client = rig.attach(McpClient::new(options, Exit::Line(exit)));
    let caller = rig.edge(1 << 20);
    Setup {
        rig,
        caller,
        client,
        exit,
        line: None,
    }
}

impl Setup {
    fn open(&mut self, begin: impl Into<BeginEx>, params: &str) -> StreamId {
        let (edge, target) = (self.caller, self.client);
        let params = Bytes::copy_from_slice(params.as_bytes());
        self.rig.turn(edge, |cx| {
            let call = CallContext::default();
            let stream = cx
                .open_for(call, target, begin, Token::default())
                .expect("room");
            if !params.is_empty() {
                cx.send_whole(stream, params);
            }
            stream
        })
    }

    /// The messages that the process has received.
    fn received(&mut self) -> Vec<Value> {
        let mut messages = Vec::new();
        let mut text = String::new();
        for output in self.rig.outputs(self.exit) {
            match output.frame {
                Frame::Begin(_) => {
                    self.line = Some(output.at.stream);
                    let begin = Frame::begin(LineBegin {});
                    self.rig.send(self.exit, output.at.stream, begin);
                }
                Frame::Data(data) => {
                    text.push_str(std::str::from_utf8(&data.payload).expect("text"));
                    if data.flags.is_fin() {
                        messages.push(serde_json::from_str(&text).expect("JSON"));
                        text.clear();
                    }
                }
                _ => {}
            }
        }
        messages
    }

    fn one(&mut self) -> Value {
        let mut messages = self.received();
        assert_eq!(messages.len(), 1, "{messages:?}");
        messages.remove(0)
    }

    fn write(&mut self, text: &str) {
        let line = self.line.expect("a process");
        let payload = Bytes::copy_from_slice(text.as_bytes());
        self.rig.send(self.exit, line, Frame::data(payload));
    }

    fn answer(&mut self, asked: &Value, result: &Value) {
        let text = json!({ "jsonrpc": "2.0", "id": asked["id"], "result": result });
        self.write(&text.to_string());
    }

    /// Answers the handshake of a legacy server.
    fn legacy(&mut self) {
        let probe = self.one();
        assert_eq!(probe["method"], "server/discover");
        let error = json!({ "jsonrpc": "2.0", "id": probe["id"], "error": { "code": -32601, "message": "?" } });
        self.write(&error.to_string());
        self.initialize();
    }

    fn initialize(&mut self) {
        let initialize = self.one();
        assert_eq!(initialize["method"], "initialize");
        self.answer(
            &initialize,
            &json!({ "protocolVersion": "2025-11-25", "capabilities": { "tools": {} } }),
        );
    }

    fn text(&mut self, stream: StreamId) -> String {
        let mut text = Vec::new();
        for frame in self.rig.frames(self.caller, stream) {
            if let Frame::Data(data) = frame {
                text.extend_from_slice(&data.payload);
            }
        }
        self.rig
            .turn(self.caller, |cx| cx.terminate(stream, None, None));
        String::from_utf8(text).expect("text")
    }

    fn refusal(&mut self, stream: StreamId) -> (McpResetKind, String) {
        let frames = self.rig.frames(self.caller, stream);
        self.rig
            .turn(self.caller, |cx| cx.terminate(stream, None, None));
        let reset = frames.into_iter().find_map(|frame| match frame {
            Frame::Reset(Some(reset)) => Some(*reset),
            _ => None,
        });
        match reset {
            Some(ResetEx::Mcp(reset)) => (reset.kind, reset.message.to_string()),
            other => panic!("{other:?}"),
        }
    }

    fn die(&mut self, reason: &str) {
        let line = self.line.take().expect("a process");
        let reset = LineReset {
            reason: reason.into(),
        };
        self.rig.turn(self.exit, |cx| {
            cx.terminate(line, Some(ResetEx::Line(reset)), None);
        });
    }

    fn finish(mut self) {
        if self.line.is_some() {
            self.die("end of the test");
        }
        self.rig.outputs(self.exit);
        self.rig.outputs(self.caller);
        self.rig.assert_idle();
    }
}

#[test]
fn callers_share_the_process_and_answers_come_in_any_order() {
    let mut setup = setup(json!({}));
    let first = setup.open(tool("a"), r#"{"name":"a"}"#);
    let second = setup.open(tool("b"), r#"{"name":"b"}"#);
    setup.legacy();
    let messages = setup.received();
    assert_eq!(messages[0]["method"], "notifications/initialized");
    let [one, two] = [&messages[1], &messages[2]];
    assert_eq!(
        (&one["params"]["name"], &two["params"]["name"]),
        (&json!("a"), &json!("b"))
    );
    setup.answer(two, &json!({ "content": ["b"] }));
    setup.answer(one, &json!({ "content": ["a"] }));
    assert_eq!(setup.text(first), r#"{"content":["a"]}"#);
    assert_eq!(setup.text(second), r#"{"content":["b"]}"#);
    setup.finish();
}

#[test]
fn a_process_that_is_silent_about_an_unknown_method_is_legacy() {
    let mut setup = setup(json!({ "probeTimeout": 100 }));
    let call = setup.open(tool("a"), r#"{"name":"a"}"#);
    assert_eq!(setup.one()["method"], "server/discover");
    setup.rig.advance(Duration::from_millis(100));
    setup.initialize();
    let asked = setup.received().remove(1);
    setup.answer(&asked, &json!({}));
    assert_eq!(setup.text(call), "{}");
    setup.finish();
}

#[test]
fn a_modern_process_that_starts_slowly_is_modern() {
    let mut setup = setup(json!({ "probeTimeout": 100 }));
    let call = setup.open(tool("a"), r#"{"name":"a"}"#);
    let probe = setup.one();
    setup.rig.advance(Duration::from_millis(100));
    let initialize = setup.one();
    setup.answer(
        &probe,
        &json!({ "supportedVersions": ["2026-07-28"], "capabilities": { "tools": {} } }),
    );
    let error = json!({ "jsonrpc": "2.0", "id": initialize["id"], "error": { "code": -32600, "message": "no" } });
    setup.write(&error.to_string());
    let asked = setup.one();
    assert_eq!(asked["method"], "tools/call");
    setup.answer(&asked, &json!({ "content": [] }));
    assert_eq!(setup.text(call), r#"{"content":[]}"#);
    setup.finish();
}

#[test]
fn garbage_and_answers_to_nobody_are_skipped() {
    let mut setup = setup(json!({}));
    let call = setup.open(tool("a"), r#"{"name":"a"}"#);
    setup.legacy();
    let asked = setup.received().remove(1);
    for garbage in [
        "Listening on stdio",
        "{",
        "7",
        r#"{"jsonrpc":"2.0","id":99,"result":{}}"#,
    ] {
        setup.write(garbage);
    }
    setup.answer(&asked, &json!({ "content": [] }));
    assert_eq!(setup.text(call), r#"{"content":[]}"#);
    setup.finish();
}

#[test]
fn a_flood_of_garbage_ends_the_process() {
    let mut setup = setup(json!({}));
    let call = setup.open(tool("a"), r#"{"name":"a"}"#);
    setup.legacy();
    setup.received();
    for _ in 0..2_000 {
        setup.write("garbage");
    }
    let (kind, message) = setup.refusal(call);
    assert_eq!(kind, McpResetKind::Unavailable);
    assert!(message.contains("no MCP messages"), "{message}");
    let line = setup.line.take().expect("a process");
    let ends = setup.rig.frames(setup.exit, line);
    assert!(
        ends.iter().any(|frame| frame.kind() == FrameKind::Abort),
        "{ends:?}"
    );
    setup
        .rig
        .turn(setup.exit, |cx| cx.terminate(line, None, None));
    setup.finish();
}

#[test]
fn a_process_that_ends_fails_its_calls_and_is_started_again() {
    let mut setup = setup(json!({}));
    let session = setup.open(McpLifecycle::default(), "");
    let call = setup.open(tool("a"), r#"{"name":"a"}"#);
    setup.legacy();
    setup.received();
    setup.die("'server' ended with exit status 1");
    let (kind, message) = setup.refusal(call);
    assert_eq!(kind, McpResetKind::Unavailable);
    assert_eq!(
        message,
        "The MCP server is not running: 'server' ended with exit status 1."
    );
    // The session of the caller stays, and what was found out is remembered.
    let call = setup.open(tool("a"), r#"{"name":"a"}"#);
    setup.initialize();
    let asked = setup.received().remove(1);
    setup.answer(&asked, &json!({}));
    assert_eq!(setup.text(call), "{}");
    setup
        .rig
        .turn(setup.caller, |cx| cx.terminate(session, None, None));
    setup.finish();
}

#[test]
fn a_process_that_cannot_be_started_refuses_what_waits() {
    let mut setup = setup(json!({}));
    let call = setup.open(tool("a"), r#"{"name":"a"}"#);
    setup.received();
    setup.die("cannot start 'server': No such file or directory");
    let (_, message) = setup.refusal(call);
    assert!(message.contains("cannot start 'server'"), "{message}");
    setup.finish();
}

#[test]
fn a_cancelled_call_is_cancelled_at_the_process() {
    let mut setup = setup(json!({}));
    let call = setup.open(tool("a"), r#"{"name":"a"}"#);
    setup.legacy();
    let asked = setup.received().remove(1);
    setup
        .rig
        .turn(setup.caller, |cx| cx.terminate(call, None, None));
    let cancelled = setup.one();
    assert_eq!(cancelled["method"], "notifications/cancelled");
    assert_eq!(cancelled["params"]["requestId"], asked["id"]);
    // Its answer may come nevertheless.
    setup.answer(&asked, &json!({}));
    setup.finish();
}

impl Setup {
    /// The process is ended by the binding.
    fn ended(&mut self) {
        let line = self.line.take().expect("a process");
        let ends = self.rig.frames(self.exit, line);
        let is_end = |frame: &Frame| frame.kind() == FrameKind::Abort;
        assert!(ends.iter().any(is_end), "{ends:?}");
        self.rig
            .turn(self.exit, |cx| cx.terminate(line, None, None));
    }
}

#[test]
fn a_process_whose_handshake_fails_is_ended_and_started_again() {
    let mut setup = setup(json!({ "probeTimeout": 100, "handshakeTimeout": 200 }));
    let call = setup.open(tool("a"), r#"{"name":"a"}"#);
    assert_eq!(setup.one()["method"], "server/discover");
    setup.rig.advance(Duration::from_millis(100));
    assert_eq!(setup.one()["method"], "initialize");
    setup.rig.advance(Duration::from_millis(200));
    assert_eq!(setup.refusal(call).0, McpResetKind::TimedOut);
    setup.ended();

    let call = setup.open(tool("a"), r#"{"name":"a"}"#);
    setup.legacy();
    let asked = setup.received().remove(1);
    setup.answer(&asked, &json!({}));
    assert_eq!(setup.text(call), "{}");
    setup.finish();
}

#[test]
fn a_process_whose_handshake_always_fails_is_started_after_waits_that_grow() {
    let mut setup = setup(json!({ "era": "legacy", "handshakeTimeout": 200 }));
    for wait in [0, 1, 2, 4] {
        if wait > 0 {
            let call = setup.open(tool("a"), r#"{"name":"a"}"#);
            let (kind, message) = setup.refusal(call);
            assert_eq!(kind, McpResetKind::Unavailable);
            assert_eq!(
                message,
                format!(
                    "The MCP server was ended: The MCP server did not answer within 200 ms \
                     (handshakeTimeout). It is started again in {wait} s at the earliest."
                )
            );
            assert!(setup.received().is_empty(), "no process is started");
            setup.rig.advance(Duration::from_secs(wait));
        }
        for starts in 1..=2 {
            if wait > 0 && starts > 1 {
                break;
            }
            let call = setup.open(tool("a"), r#"{"name":"a"}"#);
            assert_eq!(setup.one()["method"], "initialize");
            setup.rig.advance(Duration::from_millis(200));
            assert_eq!(setup.refusal(call).0, McpResetKind::TimedOut);
            setup.ended();
        }
    }
    setup.finish();
}

#[test]
fn a_process_that_does_not_read_its_input_is_ended() {
    let mut setup = setup(json!({}));
    let first = setup.open(tool("a"), r#"{"name":"a"}"#);
    setup.legacy();
    setup.received();
    // Each is within the limit of a message, and the process takes the first ones only.
    let large = format!(r#"{{"name":"a","x":"{}"}}"#, "x".repeat(50_000));
    let mut calls = Vec::new();
    let is_reset = |frame: &Frame| frame.kind() == FrameKind::Reset;
    while !setup.rig.frames(setup.caller, first).iter().any(is_reset) {
        assert!(calls.len() < 400, "the process is not ended");
        calls.push(setup.open(tool("a"), &large));
    }
    setup
        .rig
        .turn(setup.caller, |cx| cx.terminate(first, None, None));
    for call in calls {
        let (kind, message) = setup.refusal(call);
        assert_eq!(kind, McpResetKind::Unavailable);
        assert!(message.contains("does not read its input"), "{message}");
    }
    setup.ended();
    setup.finish();
}
