//! Responses of legacy servers whose stream of events ends before the answer.

use serde_json::json;
use tidegate_engine::{Duration, StreamId};
use tidegate_streams::mcp::McpResetKind;

use super::harness::{Asked, Setup, setup, tool};

const EVENTS: [(&str, &str); 1] = [("content-type", "text/event-stream")];

/// A call whose stream of events has begun with this text.
fn begun(setup: &mut Setup, text: &str) -> (StreamId, Asked) {
    let call = setup.open(tool("a"), r#"{"name":"a"}"#);
    setup.initialize("s", &json!({ "tools": {} }));
    let asked = setup.next();
    setup.begin(&asked, 200, &EVENTS);
    setup.data(&asked, text);
    (call, asked)
}

fn answer(setup: &mut Setup, on: &Asked, to: &Asked) {
    let message = json!({ "jsonrpc": "2.0", "id": to.body["id"], "result": { "content": [] } });
    setup.data(on, &format!("data: {message}\n\n"));
    setup.end(on);
}

#[test]
fn a_stream_is_continued_after_its_last_event() {
    let mut setup = setup(json!({ "era": "legacy" }));
    let (call, asked) = begun(&mut setup, "id: e-1\nretry: 500\ndata:\n\n");
    setup.end(&asked);
    setup.rig.advance(Duration::from_millis(499));
    assert!(setup.is_quiet());
    setup.rig.advance(Duration::from_millis(1));
    let next = setup.next();
    assert_eq!((next.head.method.as_str(), next.ended), ("GET", true));
    assert_eq!(next.header("last-event-id"), Some("e-1"));
    assert_eq!(next.header("mcp-session-id"), Some("s"));
    // It may end again, now by a lost connection, and the default wait is a second.
    setup.begin(&next, 200, &EVENTS);
    setup.data(&next, "id: e-2\ndata:\n\n");
    setup
        .rig
        .turn(setup.exit, |cx| cx.terminate(next.stream, None, None));
    setup.rig.advance(Duration::from_secs(1));
    let last = setup.next();
    assert_eq!(last.header("last-event-id"), Some("e-2"));
    setup.begin(&last, 200, &EVENTS);
    answer(&mut setup, &last, &asked);
    assert_eq!(setup.result(call).0, r#"{"content":[]}"#);
    setup.finish();
}

#[test]
fn a_stream_without_ids_and_one_of_a_modern_server_are_not_continued() {
    let mut legacy = setup(json!({ "era": "legacy" }));
    let (call, asked) = begun(&mut legacy, ": comment\n\n");
    legacy.end(&asked);
    assert!(
        legacy
            .refusal(call)
            .message
            .contains("closed before its answer")
    );
    legacy.finish();

    let mut modern = setup(json!({}));
    let call = modern.open(tool("a"), r#"{"name":"a"}"#);
    modern.modern(&json!({ "tools": {} }));
    let asked = modern.next();
    modern.begin(&asked, 200, &EVENTS);
    modern.data(&asked, "id: e-1\ndata:\n\n");
    modern.end(&asked);
    assert!(
        modern
            .refusal(call)
            .message
            .contains("closed before its answer")
    );
    modern.finish();
}

#[test]
fn a_server_that_has_no_such_stream_is_not_asked_again() {
    for status in [404, 405] {
        let mut setup = setup(json!({ "era": "legacy" }));
        let (call, asked) = begun(&mut setup, "id: e-1\nretry: 0\ndata:\n\n");
        setup.end(&asked);
        setup.rig.advance(Duration::from_millis(1));
        let next = setup.next();
        setup.respond(&next, status, &[], "");
        // The call may have been executed, so that it is not sent again in a new session.
        let refusal = setup.refusal(call);
        assert_eq!(refusal.kind, McpResetKind::Unavailable);
        assert!(
            refusal.message.contains("closed before its answer"),
            "{}",
            refusal.message
        );
        setup.finish();
    }
}

#[test]
fn a_stream_that_brings_nothing_is_given_up() {
    let mut setup = setup(json!({ "era": "legacy" }));
    let (call, asked) = begun(&mut setup, "id: e-1\nretry: 10\ndata:\n\n");
    setup.end(&asked);
    for attempt in 0..5 {
        setup.rig.advance(Duration::from_secs(1));
        let next = setup.next();
        assert_eq!(next.header("last-event-id"), Some("e-1"));
        match attempt % 2 {
            0 => setup.respond(&next, 200, &EVENTS, ""),
            _ => setup.respond(&next, 503, &[], ""),
        }
    }
    assert!(
        setup
            .refusal(call)
            .message
            .contains("closed before its answer")
    );
    setup.finish();
}

#[test]
fn a_call_that_is_cancelled_while_it_waits_leaves_nothing() {
    let mut setup = setup(json!({ "era": "legacy" }));
    let (call, asked) = begun(&mut setup, "id: e-1\nretry: 500\ndata:\n\n");
    setup.end(&asked);
    setup.cancel(call);
    let cancelled = setup.next();
    assert_eq!(cancelled.method(), "notifications/cancelled");
    setup.respond(&cancelled, 202, &[], "");
    setup.rig.advance(Duration::from_secs(2));
    assert!(setup.is_quiet());
    setup.finish();
}

#[test]
fn the_deadline_of_the_operation_ends_the_wait() {
    let mut setup = setup(json!({ "era": "legacy" }));
    let (call, asked) = begun(&mut setup, "id: e-1\nretry: 60000\ndata:\n\n");
    setup.end(&asked);
    setup.rig.advance(Duration::from_secs(20));
    assert_eq!(setup.refusal(call).kind, McpResetKind::TimedOut);
    let cancelled = setup.next();
    setup.respond(&cancelled, 202, &[], "");
    setup.finish();
}
