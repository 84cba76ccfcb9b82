//! What a legacy server sends while a request is running.

use bytes::Bytes;
use serde_json::json;
use tidegate_engine::{Duration, StreamId};
use tidegate_streams::mcp::{
    McpCapabilities, McpChallenge, McpFlushEx, McpLogLevel, McpResetKind, McpResourcesSubscribe,
    McpResponse, McpToolsCall,
};
use tidegate_streams::{ChallengeEx, FlushEx, Frame, FrameKind};

use super::harness::{Asked, Setup, setup, tool};

#[test]
fn progress_and_log_messages_reach_the_caller() {
    let mut setup = setup(json!({ "era": "legacy" }));
    let call = setup.open(
        tool("a"),
        r#"{"name":"a","_meta":{"progressToken":"mine"}}"#,
    );
    setup.initialize("s", &json!({}));
    let asked = setup.next();
    let id = &asked.body["id"];
    assert_eq!(
        &asked.body["params"]["_meta"],
        &json!({ "progressToken": id })
    );
    setup.begin(&asked, 200, &[("content-type", "text/event-stream")]);
    for (method, params) in [
        (
            "progress",
            json!({ "progressToken": id, "progress": 0.5, "total": 1 }),
        ),
        ("progress", json!({ "progressToken": 999, "progress": 1 })),
        ("message", json!({ "level": "info", "data": "x" })),
    ] {
        let method = format!("notifications/{method}");
        let message = json!({ "jsonrpc": "2.0", "method": method, "params": params });
        setup.data(&asked, &format!("data: {message}\n\n"));
    }
    let told: Vec<McpFlushEx> = setup
        .frames(call)
        .into_iter()
        .filter(|frame| frame.kind() != FrameKind::Begin)
        .map(|frame| match frame {
            Frame::Flush(flush) => match *flush {
                FlushEx::Mcp(flush) => flush,
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        })
        .collect();
    let [McpFlushEx::Progress(progress), McpFlushEx::Log(log)] = &told[..] else {
        panic!("{told:?}")
    };
    assert_eq!(
        (&*progress.progress, progress.total.as_deref()),
        ("0.5", Some("1"))
    );
    assert_eq!(log.params, r#"{"data":"x","level":"info"}"#);
    let result = json!({ "jsonrpc": "2.0", "id": id, "result": { "content": [] } });
    setup.data(&asked, &format!("data: {result}\n\n"));
    setup.end(&asked);
    setup.result(call);
    setup.finish();
}

#[test]
fn a_question_goes_to_the_caller_and_its_answer_back() {
    let mut setup = setup(json!({ "era": "legacy" }));
    let call = setup.open(tool("a"), r#"{"name":"a"}"#);
    setup.initialize("s", &json!({}));
    let asked = setup.next();
    setup.begin(&asked, 200, &[("content-type", "text/event-stream")]);
    for message in [
        json!({ "jsonrpc": "2.0", "id": "p", "method": "ping" }),
        json!({ "jsonrpc": "2.0", "id": "q", "method": "elicitation/create", "params": { "message": "?" } }),
    ] {
        setup.data(&asked, &format!("data: {message}\n\n"));
    }
    let pong = setup.next();
    assert_eq!(
        pong.body,
        json!({ "jsonrpc": "2.0", "id": "p", "result": {} })
    );
    setup.respond(&pong, 202, &[], "");
    let frames = setup.frames(call);
    let [Frame::Challenge(challenge)] = &frames[..] else {
        panic!("{frames:?}")
    };
    let ChallengeEx::Mcp(McpChallenge {
        id, method, params, ..
    }) = &**challenge;
    assert_eq!(
        (&**method, &params[..]),
        ("elicitation/create", &br#"{"message":"?"}"#[..])
    );
    let answer = McpResponse {
        id: *id,
        content: Bytes::from_static(b"{\"action\":\"accept\"}"),
        ..McpResponse::default()
    };
    setup.rig.send(setup.caller, call, Frame::flush(answer));
    let answered = setup.next();
    let expected = json!({ "jsonrpc": "2.0", "id": "q", "result": { "action": "accept" } });
    assert_eq!(answered.body, expected);
    assert_eq!(answered.header("mcp-session-id"), Some("s"));
    setup.respond(&answered, 202, &[], "");
    setup.cancel(call);
    let cancelled = setup.next();
    setup.respond(&cancelled, 202, &[], "");
    setup.finish();
}

#[test]
fn a_server_is_told_what_the_caller_can_be_asked_for() {
    let mut setup = setup(json!({ "era": "legacy" }));
    let mut calls = Vec::new();
    for (capabilities, told) in [
        (McpCapabilities::CLIENT_ROOTS, json!({ "roots": {} })),
        (McpCapabilities::NONE, json!({})),
    ] {
        let begin = McpToolsCall {
            capabilities,
            ..tool("a")
        };
        let call = setup.open(begin, r#"{"name":"a"}"#);
        let initialize = setup.next();
        assert_eq!(initialize.body["params"]["capabilities"], told);
        setup.respond(&initialize, 500, &[], "");
        calls.push(call);
    }
    for call in calls {
        setup.refusal(call);
    }
    setup.finish();
}

#[test]
fn a_deadline_begins_again_when_the_last_question_is_answered() {
    let mut setup = setup(json!({ "era": "legacy" }));
    let call = setup.open(tool("a"), r#"{"name":"a"}"#);
    setup.initialize("s", &json!({}));
    let asked = setup.next();
    setup.begin(&asked, 200, &[("content-type", "text/event-stream")]);
    for id in [1, 2] {
        let message = json!({ "jsonrpc": "2.0", "id": id, "method": "elicitation/create" });
        setup.data(&asked, &format!("data: {message}\n\n"));
    }
    setup.frames(call);
    for id in [1, 2] {
        let answer = McpResponse {
            id,
            content: Bytes::from_static(b"{}"),
            timeout: 5_000,
            ..McpResponse::default()
        };
        setup.rig.send(setup.caller, call, Frame::flush(answer));
        let answered = setup.next();
        setup.respond(&answered, 202, &[], "");
        if id == 1 {
            setup.rig.advance(Duration::from_secs(60));
            assert!(setup.is_quiet(), "a question still waits");
        }
    }
    setup.rig.advance(Duration::from_secs(5));
    assert_eq!(setup.refusal(call).kind, McpResetKind::TimedOut);
    let cancelled = setup.next();
    assert_eq!(cancelled.method(), "notifications/cancelled");
    setup.respond(&cancelled, 202, &[], "");
    setup.finish();
}

/// Opens a call of a caller that can be asked, and the stream of the session's messages.
fn asked_call(setup: &mut Setup) -> (StreamId, Asked) {
    let begin = McpToolsCall {
        capabilities: McpCapabilities::CLIENT_ELICITATION,
        ..tool("a")
    };
    let call = setup.open(begin, r#"{"name":"a"}"#);
    (call, setup.next())
}

#[test]
fn a_question_on_the_stream_of_the_session_goes_to_the_only_running_call() {
    let mut setup = setup(json!({ "era": "legacy" }));
    let begin = McpToolsCall {
        capabilities: McpCapabilities::CLIENT_ELICITATION,
        ..tool("a")
    };
    let call = setup.open(begin, r#"{"name":"a"}"#);
    setup.initialize("s", &json!({ "tools": {} }));
    let asked = setup.next();
    setup.rig.advance(Duration::from_millis(1));
    let events = setup.next();
    assert_eq!(events.head.method, "GET");
    setup.begin(&events, 200, &[("content-type", "text/event-stream")]);
    let question = json!({ "jsonrpc": "2.0", "id": 7, "method": "elicitation/create" });
    setup.data(&events, &format!("data: {question}\n\n"));
    let frames = setup.frames(call);
    assert!(matches!(&frames[..], [Frame::Challenge(_)]), "{frames:?}");
    // The caller takes longer than the deadline of its call.
    setup.rig.advance(Duration::from_secs(30));
    let answer = McpResponse {
        id: 1,
        content: Bytes::from_static(b"{\"action\":\"accept\"}"),
        ..McpResponse::default()
    };
    setup.rig.send(setup.caller, call, Frame::flush(answer));
    let answered = setup.next();
    assert_eq!(answered.body["id"], 7);
    setup.respond(&answered, 202, &[], "");

    // With a second call it is not known whose user is asked.
    let (other, second) = asked_call(&mut setup);
    setup.data(&events, &format!("data: {question}\n\n"));
    let refused = setup.next();
    assert_eq!(refused.body["error"]["code"], -32601);
    setup.respond(&refused, 202, &[], "");
    for (call, asked) in [(call, asked), (other, second)] {
        setup.answer(&asked, &json!({ "content": [] }));
        setup.result(call);
    }
    setup.finish();
}

#[test]
fn a_log_message_before_a_subscription_is_confirmed_is_left_out() {
    let mut setup = setup(json!({ "era": "legacy" }));
    let begin = McpResourcesSubscribe {
        uri: "a:b".into(),
        ..McpResourcesSubscribe::default()
    };
    let stream = setup.open(begin, r#"{"uri":"a:b"}"#);
    setup.initialize("s", &json!({ "resources": { "subscribe": true } }));
    let asked = setup.next();
    setup.begin(&asked, 200, &[("content-type", "text/event-stream")]);
    let log = json!({ "jsonrpc": "2.0", "method": "notifications/message",
        "params": { "level": "info", "data": "x" } });
    setup.data(&asked, &format!("data: {log}\n\n"));
    let answer = json!({ "jsonrpc": "2.0", "id": asked.body["id"], "result": {} });
    setup.data(&asked, &format!("data: {answer}\n\n"));
    setup.end(&asked);
    let kinds: Vec<FrameKind> = setup.frames(stream).iter().map(Frame::kind).collect();
    assert_eq!(kinds, [FrameKind::Begin]);
    setup.rig.advance(Duration::from_millis(1));
    let events = setup.next();
    setup.respond(&events, 405, &[], "");
    setup.cancel(stream);
    setup.finish();
}

#[test]
fn a_server_is_asked_for_the_log_messages_that_callers_want() {
    let mut setup = setup(json!({ "era": "legacy" }));
    let call_with = |level| McpToolsCall {
        log_level: level,
        ..tool("a")
    };
    let mut begun = false;
    for (level, told) in [
        (None, None),
        (Some(McpLogLevel::Warning), Some("warning")),
        (Some(McpLogLevel::Error), None),
        (Some(McpLogLevel::Debug), Some("debug")),
        (None, None),
    ] {
        let call = setup.open(call_with(level), r#"{"name":"a"}"#);
        if !std::mem::replace(&mut begun, true) {
            setup.initialize("s", &json!({ "tools": {}, "logging": {} }));
        }
        if let Some(told) = told {
            let asked = setup.next();
            assert_eq!(asked.method(), "logging/setLevel");
            assert_eq!(asked.body["params"], json!({ "level": told }));
            setup.answer(&asked, &json!({}));
        }
        let asked = setup.next();
        assert_eq!(asked.method(), "tools/call");
        setup.answer(&asked, &json!({ "content": [] }));
        setup.result(call);
    }
    setup.finish();
}
