//! Legacy servers over HTTP.

use serde_json::{Value, json};
use tidegate_engine::{Duration, StreamId};
use tidegate_streams::mcp::{
    McpBeginEx, McpCapabilities, McpFlushEx, McpLifecycle, McpOutcome, McpResetKind,
    McpResourcesSubscribe, McpToolsList,
};
use tidegate_streams::{BeginEx, FlushEx, Frame};

use super::harness::{Setup, setup, tool};

fn tools() -> Value {
    json!({ "tools": {} })
}

#[test]
fn a_call_begins_a_session_and_the_next_one_uses_it() {
    let mut setup = setup(json!({}));
    let first = setup.open(
        tool("echo"),
        r#"{"name":"kit__echo","arguments":{"a":[1.0]}}"#,
    );
    setup.legacy("s-1", &tools());
    let asked = setup.next();
    assert_eq!(asked.method(), "tools/call");
    assert_eq!(asked.header("mcp-session-id"), Some("s-1"));
    assert_eq!(asked.header("mcp-protocol-version"), Some("2025-06-18"));
    assert_eq!(asked.header("mcp-method"), None);
    assert_eq!(
        asked.body["params"],
        json!({ "name": "echo", "arguments": { "a": [1.0] } })
    );
    setup.answer(&asked, &json!({ "content": [], "isError": true }));
    let (text, end) = setup.result(first);
    assert_eq!(text, r#"{"content":[],"isError":true}"#);
    assert_eq!(end.outcome, McpOutcome::Error);

    let second = setup.open(tool("echo"), r#"{"name":"echo"}"#);
    let asked = setup.next();
    assert_eq!(
        (asked.method(), asked.header("mcp-session-id")),
        ("tools/call", Some("s-1"))
    );
    setup.answer(&asked, &json!({}));
    setup.result(second);
    setup.finish();
}

#[test]
fn a_result_is_passed_on_byte_by_byte() {
    let mut setup = setup(json!({ "era": "legacy" }));
    let call = setup.open(McpToolsList::default(), "{}");
    setup.initialize("s", &tools());
    let asked = setup.next();
    let result = r#"{ "tools" :[{"name":"a", "inputSchema":{"type" : "object","x":1e2}}],"nextCursor":"\u00e4"}"#;
    let id = asked.body["id"].as_u64().expect("a number");
    let text = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{result}}}");
    setup.begin(&asked, 200, &[("content-type", "application/json")]);
    for part in text.as_bytes().chunks(7) {
        setup.data(&asked, std::str::from_utf8(part).expect("ASCII"));
    }
    setup.end(&asked);
    assert_eq!(setup.result(call).0, result);
    setup.finish();
}

#[test]
fn a_list_without_params_and_a_list_of_nothing() {
    let mut setup = setup(json!({ "era": "legacy" }));
    let (edge, client) = (setup.caller, setup.client);
    let list = setup.rig.open(edge, client, McpToolsList::default());
    setup.rig.advance(Duration::from_millis(1));
    setup.initialize("s", &json!({ "prompts": {} }));
    // The server says that it has no tools, so it is not asked for them.
    assert!(setup.is_quiet());
    assert_eq!(setup.result(list).0, r#"{"tools":[]}"#);
    setup.finish();
}

#[test]
fn an_expired_session_is_begun_again_once() {
    let mut setup = setup(json!({ "era": "legacy" }));
    let call = setup.open(tool("echo"), r#"{"name":"echo","x":1}"#);
    setup.initialize("s-1", &tools());
    let asked = setup.next();
    setup.respond(&asked, 404, &[("content-type", "application/json")], r#"{"jsonrpc":"2.0","id":"server-error","error":{"code":-32600,"message":"Session not found"}}"#);
    setup.initialize("s-2", &tools());
    let again = setup.next();
    assert_eq!(again.header("mcp-session-id"), Some("s-2"));
    assert_eq!(again.body["params"], json!({ "name": "echo", "x": 1 }));
    setup.answer(&again, &json!({ "content": [] }));
    assert_eq!(setup.result(call).0, r#"{"content":[]}"#);

    let call = setup.open(tool("echo"), r#"{"name":"echo"}"#);
    for session in ["s-3", "s-4"] {
        let asked = setup.next();
        setup.respond(&asked, 404, &[], "");
        if session == "s-3" {
            setup.initialize(session, &tools());
        }
    }
    let refusal = setup.refusal(call);
    assert_eq!(refusal.kind, McpResetKind::Unavailable);
    assert!(refusal.message.contains("expired"), "{}", refusal.message);
    setup.finish();
}

#[test]
fn callers_share_no_session() {
    let mut setup = setup(json!({ "era": "legacy" }));
    for (caller, session) in [(None, "s-0"), (Some("alice"), "s-a"), (Some("bob"), "s-b")] {
        let call = setup.open_as(caller, tool("echo"), r#"{"name":"echo"}"#);
        setup.initialize(session, &tools());
        let asked = setup.next();
        assert_eq!(asked.header("mcp-session-id"), Some(session));
        assert_eq!(asked.header("authorization"), None);
        setup.answer(&asked, &json!({}));
        setup.result(call);
    }
    let call = setup.open_as(Some("alice"), tool("echo"), r#"{"name":"echo"}"#);
    let asked = setup.next();
    assert_eq!(asked.header("mcp-session-id"), Some("s-a"));
    setup.answer(&asked, &json!({}));
    setup.result(call);
    setup.finish();
}

/// Begins a session of a caller with these capabilities of the server; returns its stream and identity.
fn session(setup: &mut Setup, capabilities: &Value) -> (StreamId, McpLifecycle) {
    let stream = setup.open(McpLifecycle::default(), "");
    setup.initialize("s-1", capabilities);
    let frames = setup.frames(stream);
    let [Frame::Begin(begin)] = &frames[..] else {
        panic!("{frames:?}")
    };
    match &**begin {
        BeginEx::Mcp(McpBeginEx::Lifecycle(session)) => (stream, session.clone()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_session_of_a_caller_is_a_session_with_the_server() {
    let mut setup = setup(json!({ "era": "legacy" }));
    let capabilities = json!({ "tools": { "listChanged": true } });
    let (stream, begun) = session(&mut setup, &capabilities);
    assert!(
        begun
            .capabilities
            .contains(McpCapabilities::SERVER_TOOLS_LIST_CHANGED)
    );
    let session_id = begun.session_id.expect("an identity");
    assert_ne!(session_id, "s-1", "the id of the server stays here");
    setup.rig.advance(Duration::from_millis(1));
    let events = setup.next();
    assert_eq!(
        (events.head.method.as_str(), events.header("mcp-session-id")),
        ("GET", Some("s-1"))
    );
    setup.begin(&events, 200, &[("content-type", "text/event-stream")]);
    setup.data(
        &events,
        "id: 7\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\"}\n\n",
    );
    let frames = setup.frames(stream);
    assert!(matches!(&frames[..], [Frame::Flush(_)]), "{frames:?}");

    let mut echo = tool("echo");
    echo.session_id = Some(session_id);
    let call = setup.open(echo, r#"{"name":"echo"}"#);
    let asked = setup.next();
    assert_eq!(asked.header("mcp-session-id"), Some("s-1"));
    setup.answer(&asked, &json!({}));
    setup.result(call);

    // The stream of events is continued where it ended.
    setup.end(&events);
    setup.rig.advance(Duration::from_secs(2));
    let events = setup.next();
    assert_eq!(events.header("last-event-id"), Some("7"));

    setup.rig.send(setup.caller, stream, Frame::end());
    setup.frames(stream);
    let delete = setup.next();
    assert!(
        delete.dropped || delete.head.method == "DELETE",
        "{delete:?}"
    );
    let delete = if delete.dropped { setup.next() } else { delete };
    assert_eq!(delete.header("mcp-session-id"), Some("s-1"));
    setup.respond(&delete, 405, &[], "");
    setup.finish();
}

#[test]
fn a_server_that_is_asked_for_events_too_often_is_asked_again_later() {
    for status in [408, 425, 429] {
        let mut setup = setup(json!({ "era": "legacy" }));
        let capabilities = json!({ "tools": { "listChanged": true } });
        let (stream, _) = session(&mut setup, &capabilities);
        setup.rig.advance(Duration::from_millis(1));
        let events = setup.next();
        setup.respond(&events, status, &[], "");
        assert!(setup.is_quiet());
        setup.rig.advance(Duration::from_secs(1));
        let events = setup.next();
        assert_eq!(events.head.method, "GET", "{status}");
        setup.begin(&events, 200, &[("content-type", "text/event-stream")]);
        setup.data(
            &events,
            "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\"}\n\n",
        );
        let frames = setup.frames(stream);
        assert!(matches!(&frames[..], [Frame::Flush(_)]), "{frames:?}");
        setup.cancel(stream);
        setup.finish();
    }
}

#[test]
fn a_server_without_an_event_stream_is_asked_for_it_once() {
    for status in [404, 405] {
        let mut setup = setup(json!({ "era": "legacy" }));
        let capabilities = json!({ "tools": { "listChanged": true } });
        let (stream, _) = session(&mut setup, &capabilities);
        setup.rig.advance(Duration::from_millis(1));
        let events = setup.next();
        setup.respond(&events, status, &[], "");
        setup.rig.advance(Duration::from_secs(100));
        assert!(setup.is_quiet(), "{status}");
        setup.cancel(stream);
        setup.finish();
    }
}

#[test]
fn a_subscription_is_confirmed_updated_and_ended() {
    let mut setup = setup(json!({ "era": "legacy" }));
    let begin = McpResourcesSubscribe {
        uri: "file:///a".into(),
        ..McpResourcesSubscribe::default()
    };
    let stream = setup.open(begin, r#"{"uri":"kit+file:///a"}"#);
    setup.initialize("s-1", &json!({ "resources": { "subscribe": true } }));
    let asked = setup.next();
    assert_eq!(asked.method(), "resources/subscribe");
    assert_eq!(asked.body["params"], json!({ "uri": "file:///a" }));
    setup.answer(&asked, &json!({}));
    let frames = setup.frames(stream);
    assert!(matches!(&frames[..], [Frame::Begin(_)]), "{frames:?}");
    setup.rig.advance(Duration::from_millis(1));
    let events = setup.next();
    assert_eq!(events.head.method, "GET");
    setup.begin(&events, 200, &[("content-type", "text/event-stream")]);
    for uri in ["file:///b", "file:///a", "file:///a/part"] {
        let params = json!({ "uri": uri });
        let message = json!({ "jsonrpc": "2.0", "method": "notifications/resources/updated", "params": params });
        setup.data(&events, &format!("data: {message}\n\n"));
    }
    let told: Vec<String> = setup
        .frames(stream)
        .into_iter()
        .map(|frame| match frame {
            Frame::Flush(flush) => match *flush {
                FlushEx::Mcp(McpFlushEx::ResourcesUpdated(updated)) => updated.uri.to_string(),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(told, ["file:///a", "file:///a/part"]);

    setup.rig.send(setup.caller, stream, Frame::end());
    setup.frames(stream);
    let unsubscribe = setup.next();
    assert_eq!(unsubscribe.method(), "resources/unsubscribe");
    setup.answer(&unsubscribe, &json!({}));
    setup.finish();
}

#[test]
fn subscriptions_are_requested_again_in_a_new_session() {
    let mut setup = setup(json!({ "era": "legacy" }));
    let capabilities = json!({ "resources": { "subscribe": true }, "tools": {} });
    let begin = McpResourcesSubscribe {
        uri: "a:b".into(),
        ..McpResourcesSubscribe::default()
    };
    let stream = setup.open(begin, r#"{"uri":"a:b"}"#);
    setup.initialize("s-1", &capabilities);
    let asked = setup.next();
    setup.answer(&asked, &json!({}));
    setup.rig.advance(Duration::from_millis(1));
    let events = setup.next();
    setup.respond(&events, 405, &[], "");

    let call = setup.open(tool("echo"), r#"{"name":"echo"}"#);
    let asked = setup.next();
    setup.respond(&asked, 404, &[], "");
    setup.initialize("s-2", &capabilities);
    let mut methods = vec![setup.next(), setup.next()];
    methods.sort_by_key(|asked| asked.method().to_owned());
    assert_eq!(methods[0].method(), "resources/subscribe");
    assert_eq!(methods[1].method(), "tools/call");
    for asked in &methods {
        assert_eq!(asked.header("mcp-session-id"), Some("s-2"));
        setup.answer(asked, &json!({}));
    }
    setup.result(call);
    setup.rig.advance(Duration::from_millis(1));
    let events = setup.next();
    setup.respond(&events, 405, &[], "");
    setup.cancel(stream);
    setup.finish();
}

#[test]
fn an_event_stream_that_stays_open_after_the_answer_is_ended() {
    let mut setup = setup(json!({ "era": "legacy" }));
    let call = setup.open(tool("echo"), r#"{"name":"echo"}"#);
    setup.initialize("s-1", &tools());
    let asked = setup.next();
    setup.begin(&asked, 200, &[("content-type", "text/event-stream")]);
    let answer = json!({ "jsonrpc": "2.0", "id": asked.body["id"], "result": {} });
    let question = json!({ "jsonrpc": "2.0", "id": 9, "method": "ping" });
    // What follows the answer is not read any more.
    setup.data(&asked, &format!("data: {answer}\n\ndata: {question}\n\n"));
    setup.data(&asked, &format!("data: {question}\n\n"));
    setup.result(call);
    assert_eq!(setup.take(), []);
    setup.rig.advance(Duration::from_secs(1));
    assert_eq!(setup.take(), [asked.stream]);
    assert!(setup.is_quiet());
    setup.finish();
}

#[test]
fn an_answered_request_of_a_session_that_has_ended_asks_no_other_caller() {
    let mut setup = setup(json!({ "era": "legacy" }));
    let (stream, begun) = session(&mut setup, &tools());
    let mut echo = tool("echo");
    echo.session_id = begun.session_id;
    let call = setup.open(echo, r#"{"name":"echo"}"#);
    let asked = setup.next();
    setup.begin(&asked, 200, &[("content-type", "text/event-stream")]);
    let answer = json!({ "jsonrpc": "2.0", "id": asked.body["id"], "result": {} });
    setup.data(&asked, &format!("data: {answer}\n\n"));
    setup.result(call);
    setup.rig.send(setup.caller, stream, Frame::end());
    setup.frames(stream);
    let delete = setup.next();
    assert_eq!(delete.head.method, "DELETE");

    // The next session has the place of the first one.
    let (other, _) = session(&mut setup, &tools());
    let question = json!({ "jsonrpc": "2.0", "id": 9, "method": "elicitation/create" });
    setup.begin(&delete, 200, &[("content-type", "text/event-stream")]);
    for old in [&asked, &delete] {
        setup.data(old, &format!("data: {question}\n\n"));
    }
    assert_eq!(setup.frames(other), []);
    assert!(setup.is_quiet());
    setup.end(&delete);
    setup.cancel(other);
    setup.finish();
}
