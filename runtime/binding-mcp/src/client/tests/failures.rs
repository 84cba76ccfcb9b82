//! Servers that fail, and callers that do not wait.

use serde_json::json;
use tidegate_engine::Duration;
use tidegate_streams::ResetEx;
use tidegate_streams::http_stream::HttpReset;
use tidegate_streams::mcp::{McpResetKind, McpResourcesRead};

use super::harness::{setup, tool};

#[test]
fn a_server_that_is_not_there_is_named() {
    let mut setup = setup(json!({}));
    let call = setup.open(tool("a"), r#"{"name":"a"}"#);
    let probe = setup.next();
    let reset = HttpReset {
        remote: "tools.example:443".into(),
        reason: "connection refused".into(),
        ..HttpReset::default()
    };
    setup.rig.turn(setup.exit, |cx| {
        cx.terminate(probe.stream, Some(ResetEx::Http(reset)), None);
    });
    let refusal = setup.refusal(call);
    assert_eq!(refusal.kind, McpResetKind::Unavailable);
    let expected = "The request to tools.example:443 failed: connection refused.";
    assert_eq!(refusal.message, expected);
    // The next call tries again.
    let call = setup.open(tool("a"), r#"{"name":"a"}"#);
    setup.modern(&json!({}));
    let asked = setup.next();
    setup.answer(&asked, &json!({}));
    setup.result(call);
    setup.finish();
}

#[test]
fn a_status_that_says_nothing_about_the_era_fails_the_call() {
    for (status, what) in [
        (401, "credentials"),
        (403, "refuses"),
        (503, "failed"),
        (302, "redirects"),
    ] {
        let mut setup = setup(json!({}));
        let call = setup.open(tool("a"), r#"{"name":"a"}"#);
        let probe = setup.next();
        setup.respond(&probe, status, &[], "");
        let refusal = setup.refusal(call);
        assert!(refusal.message.contains(what), "{}", refusal.message);
        setup.finish();
    }
}

#[test]
fn an_error_of_the_server_is_passed_on() {
    let mut setup = setup(json!({ "era": "legacy" }));
    let call = setup.open(tool("a"), r#"{"name":"a"}"#);
    setup.initialize("s", &json!({}));
    let asked = setup.next();
    let id = &asked.body["id"];
    let error = json!({ "jsonrpc": "2.0", "id": id, "error": { "code": -7, "message": "no", "data": [1] } });
    setup.respond(
        &asked,
        200,
        &[("content-type", "application/json")],
        &error.to_string(),
    );
    let refusal = setup.refusal(call);
    assert_eq!(
        (refusal.kind, refusal.code),
        (McpResetKind::Relayed, Some(-7))
    );
    assert_eq!(refusal.data.as_deref(), Some(&b"[1]"[..]));

    let begin = McpResourcesRead {
        uri: "a:b".into(),
        ..McpResourcesRead::default()
    };
    let call = setup.open(begin, r#"{"uri":"a:b"}"#);
    let asked = setup.next();
    let id = &asked.body["id"];
    let error = json!({ "jsonrpc": "2.0", "id": id, "error": { "code": -32002, "message": "no" } });
    setup.respond(
        &asked,
        200,
        &[("content-type", "application/json")],
        &error.to_string(),
    );
    assert_eq!(setup.refusal(call).kind, McpResetKind::NotFound);
    setup.finish();
}

#[test]
fn what_is_no_answer_fails_the_call() {
    let json = [("content-type", "application/json")];
    let events = [("content-type", "text/event-stream")];
    for (headers, body, what) in [
        (&json[..], "{", "closed before"),
        (&json[..], "", "closed before"),
        (&events[..], "data: {\n\n", "closed before"),
        (&[][..], "<html>", "closed before"),
        (&json[..], "[7]", "closed before"),
    ] {
        let mut setup = setup(json!({ "era": "legacy" }));
        let call = setup.open(tool("a"), r#"{"name":"a"}"#);
        setup.initialize("s", &json!({}));
        let asked = setup.next();
        setup.respond(&asked, 200, headers, body);
        let refusal = setup.refusal(call);
        assert_eq!(refusal.kind, McpResetKind::Unavailable, "{body}");
        assert!(
            refusal.message.contains(what),
            "{body}: {}",
            refusal.message
        );
        setup.finish();
    }
}

#[test]
fn an_answer_is_bounded() {
    let json = [("content-type", "application/json")];
    let events = [("content-type", "text/event-stream")];
    for headers in [&json, &events] {
        let mut setup = setup(json!({ "era": "legacy", "maxMessageSize": 1_024 }));
        let call = setup.open(tool("a"), r#"{"name":"a"}"#);
        setup.initialize("s", &json!({}));
        let asked = setup.next();
        setup.begin(&asked, 200, headers);
        setup.data(&asked, &"x".repeat(2_000));
        let refusal = setup.refusal(call);
        assert!(
            refusal.message.contains("maxMessageSize"),
            "{}",
            refusal.message
        );
        assert_eq!(setup.take(), [asked.stream]);
        setup.finish();
    }
}

#[test]
fn a_caller_that_does_not_wait_cancels_the_request() {
    let mut setup = setup(json!({ "era": "legacy" }));
    let call = setup.open(tool("a"), r#"{"name":"a"}"#);
    setup.initialize("s", &json!({}));
    let asked = setup.next();
    setup.cancel(call);
    let cancelled = setup.next();
    assert_eq!(cancelled.method(), "notifications/cancelled");
    assert_eq!(cancelled.body["params"]["requestId"], asked.body["id"]);
    setup.respond(&cancelled, 202, &[], "");
    setup.finish();
}

#[test]
fn a_deadline_names_the_server_and_cancels_the_request() {
    let mut setup = setup(json!({}));
    let call = setup.open(tool("a"), r#"{"name":"a"}"#);
    setup.modern(&json!({}));
    let asked = setup.next();
    setup.rig.advance(Duration::from_secs(21));
    let refusal = setup.refusal(call);
    assert_eq!(refusal.kind, McpResetKind::TimedOut);
    assert!(
        refusal.message.contains("may still be executed"),
        "{}",
        refusal.message
    );
    assert_eq!(setup.take(), [asked.stream], "its end tells the server");
    setup.finish();
}

#[test]
fn a_server_that_does_not_answer_the_handshake_is_given_up() {
    let mut setup = setup(json!({ "handshakeTimeout": 100 }));
    let call = setup.open(tool("a"), r#"{"name":"a"}"#);
    let probe = setup.next();
    setup.rig.advance(Duration::from_millis(100));
    let refusal = setup.refusal(call);
    assert_eq!(refusal.kind, McpResetKind::TimedOut);
    assert_eq!(setup.take(), [probe.stream]);
    setup.finish();
}

#[test]
fn operations_are_bounded() {
    let mut setup = setup(json!({ "maxRequests": 1 }));
    let first = setup.open(tool("a"), r#"{"name":"a"}"#);
    let second = setup.open(tool("a"), r#"{"name":"a"}"#);
    let refusal = setup.refusal(second);
    assert!(refusal.message.contains("maxRequests"));
    assert_eq!(refusal.kind, McpResetKind::Busy, "the server is not asked");
    let large = setup.next();
    setup.cancel(first);
    assert_eq!(setup.take(), [large.stream]);
    setup.finish();
}

#[test]
fn sessions_are_bounded_and_a_limit_says_nothing_about_the_server() {
    let mut setup = setup(json!({ "maxSessions": 1 }));
    let first = setup.open_as(Some("ada"), tool("a"), r#"{"name":"a"}"#);
    let second = setup.open_as(Some("bob"), tool("a"), r#"{"name":"a"}"#);
    let refusal = setup.refusal(second);
    assert!(refusal.message.contains("maxSessions"));
    assert_eq!(refusal.kind, McpResetKind::Busy);
    let probe = setup.next();
    setup.cancel(first);
    assert_eq!(setup.take(), [probe.stream]);

    let call = setup.open(tool("a"), r#"{"name":"a"}"#);
    let probe = setup.next();
    let reset = HttpReset {
        reason: "1 requests already wait for a connection (maxPending)".into(),
        limit: true,
        ..HttpReset::default()
    };
    setup.rig.turn(setup.exit, |cx| {
        cx.terminate(probe.stream, Some(ResetEx::Http(reset)), None);
    });
    assert_eq!(setup.refusal(call).kind, McpResetKind::Busy);
    setup.finish();
}
