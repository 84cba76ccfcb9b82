//! 2025-11-25, 2025-06-18, 2025-03-26: sessions over HTTP.

use bytes::Bytes;
use serde_json::{Value, json};
use tidegate_engine::{Duration, StreamId};
use tidegate_streams::Frame;
use tidegate_streams::mcp::{McpBeginEx, McpCapabilities, McpResetKind, McpToolsListChanged};

use super::{ExitStream, Harness, harness, harness_with, legacy_headers, request};
use crate::server::Options;

fn initialize(harness: &mut Harness, params: &Value) -> StreamId {
    let body = request(&json!("i"), "initialize", params);
    harness.post(&legacy_headers("")[..2], &body)
}

fn minutes(count: u64) -> Duration {
    Duration::from_millis(count * 60_000)
}

fn named() -> Value {
    json!({ "name": "t" })
}

#[test]
fn a_revision_is_agreed_on() {
    for (asked, agreed) in [
        ("2025-11-25", "2025-11-25"),
        ("2025-06-18", "2025-06-18"),
        ("2025-03-26", "2025-03-26"),
        ("2024-11-05", "2025-11-25"),
        ("2026-07-28", "2025-11-25"),
    ] {
        let mut harness = harness();
        let stream = initialize(&mut harness, &json!({ "protocolVersion": asked }));
        let lifecycle = harness.exit_stream();
        harness.lifecycle_begun(&lifecycle);
        let response = harness.response(stream);
        let info = json!({ "name": "tidegate", "version": env!("CARGO_PKG_VERSION") });
        assert_eq!(
            response.json(),
            json!({ "jsonrpc": "2.0", "id": "i", "result": {
                "protocolVersion": agreed, "capabilities": { "tools": {} }, "serverInfo": info
            } })
        );
        let session = response.header("mcp-session-id").to_owned();
        assert!(session.is_ascii() && session.len() >= 22, "{session}");
        harness.end_session(&session, &lifecycle);
        harness.finish();
    }
}

#[test]
fn client_capabilities_are_passed_to_the_exit() {
    type C = McpCapabilities;
    for (told, known) in [
        (json!({}), C::NONE),
        (
            json!({ "roots": { "listChanged": true }, "sampling": { "tools": {} } }),
            C::CLIENT_ROOTS
                .with(C::CLIENT_ROOTS_LIST_CHANGED)
                .with(C::CLIENT_SAMPLING)
                .with(C::CLIENT_SAMPLING_TOOLS),
        ),
        (
            json!({ "elicitation": {} }),
            C::CLIENT_ELICITATION.with(C::CLIENT_ELICITATION_FORM),
        ),
        (
            json!({ "elicitation": { "form": {}, "url": {} } }),
            C::CLIENT_ELICITATION
                .with(C::CLIENT_ELICITATION_FORM)
                .with(C::CLIENT_ELICITATION_URL),
        ),
        (json!({ "roots": true, "sampling": null }), C::NONE),
    ] {
        let mut harness = harness();
        let params = json!({ "protocolVersion": "2025-11-25", "capabilities": told });
        let stream = initialize(&mut harness, &params);
        let lifecycle = harness.exit_stream();
        let McpBeginEx::Lifecycle(begin) = &lifecycle.begin else {
            panic!("{lifecycle:?}")
        };
        assert_eq!((begin.capabilities, &begin.session_id), (known, &None));
        harness.refuse(&lifecycle, McpResetKind::Unavailable);
        assert_eq!(harness.response(stream).error(), (200, -32603));
        harness.finish();
    }
}

#[test]
fn initialize_without_a_revision_is_refused() {
    let mut harness = harness();
    let stream = initialize(&mut harness, &json!({ "protocolVersion": 7 }));
    assert_eq!(harness.response(stream).error(), (400, -32602));
    harness.assert_no_exit_stream();
    harness.finish();
}

#[test]
fn an_unanswered_initialize_removes_the_session() {
    let mut harness = harness();
    let stream = initialize(&mut harness, &json!({ "protocolVersion": "2025-11-25" }));
    let lifecycle = harness.exit_stream();
    assert_eq!(lifecycle.within, Some(60_000));
    harness.rig.advance(Duration::from_millis(60_500));
    assert_eq!(harness.response(stream).error(), (200, -32603));
    assert_eq!(harness.at_exit(&lifecycle), ["reset", "abort"]);
    harness.finish();
}

#[test]
fn a_disconnect_before_initialize_is_answered_removes_the_session() {
    let mut harness = harness();
    let stream = initialize(&mut harness, &json!({ "protocolVersion": "2025-11-25" }));
    let lifecycle = harness.exit_stream();
    harness.disconnect(stream);
    assert_eq!(harness.at_exit(&lifecycle), ["reset", "abort"]);
    harness.finish();
}

#[test]
fn a_session_beyond_the_limit_is_refused() {
    let options = Options {
        max_sessions: 1,
        ..Options::default()
    };
    let mut harness = harness_with(options, 1 << 20);
    let (session, lifecycle) = harness.session("2025-11-25");
    let stream = initialize(&mut harness, &json!({ "protocolVersion": "2025-11-25" }));
    assert_eq!(harness.response(stream).error(), (503, -32603));
    harness.end_session(&session, &lifecycle);
    let (session, lifecycle) = harness.session("2025-11-25");
    harness.end_session(&session, &lifecycle);
    harness.finish();
}

#[test]
fn an_unknown_session_is_not_found() {
    let mut harness = harness();
    for session in ["0.unknown", "7.other-worker", "nonsense"] {
        let stream = harness.legacy(session, &json!(1), "tools/list", &json!({}));
        assert_eq!(harness.response(stream).error(), (404, -32001));
        let response = harness.notify(session, "notifications/initialized", &json!({}));
        assert_eq!(response.status(), 404);
        let stream = harness.get(session);
        assert_eq!(harness.response(stream).status(), 404);
        let pairs = [("mcp-session-id", session)];
        let stream = harness.http(http::Method::DELETE, &pairs, "");
        assert_eq!(harness.response(stream).status(), 404);
    }
    harness.assert_no_exit_stream();
    harness.finish();
}

#[test]
fn a_legacy_request_needs_a_session_and_a_legacy_revision() {
    let mut harness = harness();
    let body = request(&json!(1), "tools/list", &json!({}));
    let stream = harness.post(&legacy_headers("")[..2], &body);
    assert_eq!(harness.response(stream).error(), (400, -32600));
    let (session, lifecycle) = harness.session("2025-11-25");
    for (version, status) in [
        ("2025-11-25", 200),
        ("2025-03-26", 200),
        ("1900-01-01", 400),
        ("2026-07-28", 400),
    ] {
        let mut pairs = legacy_headers(&session);
        pairs.push(("mcp-protocol-version", version));
        let stream = harness.post(&pairs, &request(&json!(1), "ping", &json!({})));
        assert_eq!(harness.response(stream).status(), status, "{version}");
    }
    harness.end_session(&session, &lifecycle);
    harness.finish();
}

#[test]
fn a_legacy_result_is_passed_on_unchanged() {
    let mut harness = harness();
    let (session, lifecycle) = harness.session("2025-06-18");
    let ready = harness.notify(&session, "notifications/initialized", &json!({}));
    assert_eq!((ready.status(), ready.parts.len()), (202, 0));
    let stream = harness.legacy(&session, &json!(1), "tools/call", &named());
    let asked = harness.exit_stream();
    assert_eq!(asked.begin.session_id().map(|id| &**id), Some("s-1"));
    let McpBeginEx::ToolsCall(call) = &asked.begin else {
        panic!("{asked:?}")
    };
    assert!(!call.headers_required);
    harness.reply(&asked, "{ \"content\": [] }");
    assert_eq!(
        harness.response(stream).text(),
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{ \"content\": [] }}"
    );
    let stream = harness.legacy(&session, &json!(2), "ping", &json!({}));
    let pong = json!({ "jsonrpc": "2.0", "id": 2, "result": {} });
    assert_eq!(harness.response(stream).json(), pong);
    harness.end_session(&session, &lifecycle);
    harness.finish();
}

#[test]
fn a_request_is_cancelled_by_its_id_and_only_within_its_session() {
    let mut harness = harness();
    let (one, first) = harness.session("2025-11-25");
    let (other, second) = harness.session("2025-11-25");
    let stream = harness.legacy(&one, &json!(1), "tools/call", &named());
    let asked = harness.exit_stream();
    for (session, id) in [(&other, json!(1)), (&one, json!("1")), (&one, json!(2))] {
        let params = json!({ "requestId": id });
        let told = harness.notify(session, "notifications/cancelled", &params);
        assert_eq!(told.status(), 202);
        assert!(harness.at_exit(&asked).is_empty());
    }
    let params = json!({ "requestId": 1 });
    harness.notify(&one, "notifications/cancelled", &params);
    assert_eq!(harness.at_exit(&asked), ["reset", "abort"]);
    // HTTP requires a response, without a message.
    let response = harness.response(stream);
    assert_eq!((response.status(), response.ended), (202, true));
    assert!(response.parts.is_empty());
    harness.end_session(&one, &first);
    harness.end_session(&other, &second);
    harness.finish();
}

#[test]
fn a_cancelled_request_with_events_ends_without_an_answer() {
    let mut harness = harness();
    let (session, lifecycle) = harness.session("2025-11-25");
    let params = json!({ "name": "t", "_meta": { "progressToken": 1 } });
    let stream = harness.legacy(&session, &json!(1), "tools/call", &params);
    let asked = harness.exit_stream();
    harness.begin(&asked);
    harness.exit_sends(
        &asked,
        Frame::flush(tidegate_streams::mcp::McpProgress {
            progress: "1".into(),
            ..Default::default()
        }),
    );
    harness.notify(
        &session,
        "notifications/cancelled",
        &json!({ "requestId": 1 }),
    );
    assert_eq!(harness.at_exit(&asked), ["reset", "abort"]);
    let response = harness.response(stream);
    assert!(response.ended && response.events().len() == 1);
    harness.end_session(&session, &lifecycle);
    harness.finish();
}

#[test]
fn a_disconnect_does_not_cancel_a_legacy_request() {
    let mut harness = harness();
    let (session, lifecycle) = harness.session("2025-11-25");
    let stream = harness.legacy(&session, &json!(1), "tools/call", &named());
    let asked = harness.exit_stream();
    harness.disconnect(stream);
    assert!(harness.at_exit(&asked).is_empty());
    harness.reply(&asked, "{}");
    harness.end_session(&session, &lifecycle);
    harness.finish();
}

#[test]
fn an_id_is_used_by_one_request_at_a_time() {
    let mut harness = harness();
    let (session, lifecycle) = harness.session("2025-11-25");
    let first = harness.legacy(&session, &json!(1), "tools/call", &named());
    let asked = harness.exit_stream();
    let second = harness.legacy(&session, &json!(1), "tools/list", &json!({}));
    assert_eq!(harness.response(second).error(), (400, -32600));
    harness.reply(&asked, "{}");
    assert_eq!(harness.response(first).status(), 200);
    let again = harness.legacy(&session, &json!(1), "tools/list", &json!({}));
    let asked = harness.exit_stream();
    harness.reply(&asked, "{}");
    assert_eq!(harness.response(again).status(), 200);
    harness.end_session(&session, &lifecycle);
    harness.finish();
}

#[test]
fn a_session_has_256_requests_at_a_time() {
    let mut harness = harness();
    let (session, lifecycle) = harness.session("2025-11-25");
    let streams: Vec<StreamId> = (0..256)
        .map(|id| harness.legacy(&session, &json!(id), "tools/call", &named()))
        .collect();
    assert_eq!(harness.exit_streams().len(), 256);
    let one_more = harness.legacy(&session, &json!(256), "tools/call", &named());
    assert_eq!(harness.response(one_more).error(), (503, -32603));
    // The end of the session answers them all.
    let delete = harness.http(http::Method::DELETE, &[("mcp-session-id", &session)], "");
    assert_eq!(harness.response(delete).status(), 200);
    assert_eq!(harness.at_exit(&lifecycle), ["end", "reset"]);
    for stream in streams {
        assert_eq!(harness.response(stream).error(), (404, -32001));
    }
    assert_eq!(harness.rig.outputs(harness.exit).len(), 512);
    harness.finish();
}

#[test]
fn an_idle_session_expires() {
    let mut harness = harness();
    let (session, lifecycle) = harness.session("2025-11-25");
    // A request restarts the idle time, which does not pass while one is running.
    harness.rig.advance(minutes(4));
    let stream = harness.legacy(&session, &json!(1), "ping", &json!({}));
    assert_eq!(harness.response(stream).status(), 200);
    harness.rig.advance(minutes(4));
    assert!(harness.at_exit(&lifecycle).is_empty());
    harness.rig.advance(minutes(1));
    assert_eq!(harness.at_exit(&lifecycle), ["end", "reset"]);
    let stream = harness.legacy(&session, &json!(1), "ping", &json!({}));
    assert_eq!(harness.response(stream).error(), (404, -32001));
    harness.finish();
}

#[test]
fn an_open_event_stream_keeps_its_session_and_is_kept_open() {
    let mut harness = harness();
    let (session, lifecycle) = harness.session("2025-11-25");
    let events = harness.get(&session);
    harness.rig.advance(minutes(60));
    assert!(harness.at_exit(&lifecycle).is_empty());
    let response = harness.response(events);
    assert_eq!(response.header("content-type"), "text/event-stream");
    assert_eq!(response.header("x-accel-buffering"), "no");
    // Four a minute.
    assert_eq!(response.text(), ": keep-alive\n\n".repeat(240));
    harness.disconnect(events);
    harness.rig.advance(minutes(4));
    assert!(harness.at_exit(&lifecycle).is_empty());
    harness.rig.advance(minutes(1));
    assert_eq!(harness.at_exit(&lifecycle), ["end", "reset"]);
    harness.finish();
}

#[test]
fn an_event_stream_must_be_acceptable() {
    let mut harness = harness();
    let (session, lifecycle) = harness.session("2025-11-25");
    let pairs = [
        ("accept", "application/json"),
        ("mcp-session-id", &*session),
    ];
    let stream = harness.http(http::Method::GET, &pairs, "");
    assert_eq!(harness.response(stream).status(), 406);
    harness.end_session(&session, &lifecycle);
    harness.finish();
}

#[test]
fn a_new_event_stream_replaces_the_previous_one() {
    let mut harness = harness();
    let (session, lifecycle) = harness.session("2025-11-25");
    let older = harness.get(&session);
    let newer = harness.get(&session);
    assert!(harness.response(older).ended);
    harness.exit_sends(&lifecycle, Frame::flush(McpToolsListChanged {}));
    let changed = json!({ "jsonrpc": "2.0", "method": "notifications/tools/list_changed" });
    assert_eq!(harness.response(newer).events(), [changed]);
    harness.end_session(&session, &lifecycle);
    assert!(harness.response(newer).ended);
    harness.finish();
}

#[test]
fn ending_a_session_ends_it_at_the_exit() {
    let ways: [fn(&mut Harness, &ExitStream); 2] = [
        |harness, asked| harness.exit_sends(asked, Frame::end()),
        |harness, asked| harness.refuse(asked, McpResetKind::Unavailable),
    ];
    for way in ways {
        let mut harness = harness();
        let (session, lifecycle) = harness.session("2025-11-25");
        let events = harness.get(&session);
        let subscription = harness.subscribe(&session, "a");
        let call = harness.legacy(&session, &json!(1), "tools/call", &named());
        let asked = harness.exit_stream();
        way(&mut harness, &lifecycle);
        assert!(harness.response(events).ended);
        assert_eq!(harness.response(call).error(), (404, -32001));
        assert_eq!(harness.at_exit(&subscription), ["end", "reset"]);
        assert_eq!(harness.at_exit(&asked), ["reset", "abort"]);
        harness.rig.frames(harness.exit, lifecycle.stream);
        let stream = harness.legacy(&session, &json!(1), "ping", &json!({}));
        assert_eq!(harness.response(stream).error(), (404, -32001));
        harness.finish();
    }
}

#[test]
fn a_result_without_a_client_is_read_to_its_end() {
    let mut harness = harness();
    let (session, lifecycle) = harness.session("2025-11-25");
    let stream = harness.legacy(&session, &json!(1), "tools/call", &named());
    let asked = harness.exit_stream();
    harness.disconnect(stream);
    harness.begin(&asked);
    for _ in 0..200 {
        harness.exit_sends(&asked, Frame::data(Bytes::from(vec![b' '; 1_024])));
    }
    harness.exit_sends(&asked, Frame::end());
    assert_eq!(harness.at_exit(&asked), ["end"]);
    harness.end_session(&session, &lifecycle);
    harness.finish();
}

#[test]
fn a_request_of_a_session_on_another_worker_is_handed_over() {
    let mut harness = harness();
    let relay = harness.rig.worker.attach_relay(16);
    let stream = harness.legacy("a.secret", &json!(1), "ping", &json!({}));
    let outputs = harness.rig.outputs(relay);
    let kinds: Vec<_> = outputs.iter().map(|out| out.frame.kind().word()).collect();
    assert_eq!(kinds[0], "begin");
    let to = outputs[0].at.token.0;
    assert_eq!((to >> 16, to & 0xffff), (1, 10), "binding and worker");
    harness.rig.turn(relay, |cx| {
        cx.terminate(outputs[0].at.stream, None, None);
    });
    assert!(harness.response(stream).broken);
    harness.finish();
}

#[test]
fn a_session_of_an_unknown_worker_is_not_found() {
    let mut harness = harness();
    let relay = harness.rig.worker.attach_relay(2);
    let stream = harness.legacy("a.secret", &json!(1), "ping", &json!({}));
    assert!(harness.rig.outputs(relay).is_empty());
    assert_eq!(
        harness.response(stream).status,
        Some(http::StatusCode::NOT_FOUND)
    );
}

#[test]
fn parameter_headers_are_passed_to_the_exit() {
    let mut harness = harness();
    let (session, lifecycle) = harness.session("2025-06-18");
    let body = request(&json!(1), "tools/call", &named());
    for (value, expected) in [("a/b", "a/b"), ("=?base64?w7w=?=", "\u{fc}")] {
        let mut pairs = legacy_headers(&session);
        pairs.push(("mcp-param-topic", value));
        let stream = harness.post(&pairs, &body);
        let asked = harness.exit_stream();
        let McpBeginEx::ToolsCall(call) = &asked.begin else {
            panic!("{asked:?}")
        };
        assert!(!call.headers_required, "not in this revision");
        assert_eq!(call.headers.len(), 1);
        assert_eq!(
            (&*call.headers[0].name, &*call.headers[0].value),
            ("topic", expected)
        );
        harness.refuse(&asked, McpResetKind::HeaderMismatch);
        assert_eq!(harness.response(stream).error(), (400, -32020));
    }
    let mut pairs = legacy_headers(&session);
    pairs.push(("mcp-param-topic", "=?base64?%?="));
    let stream = harness.post(&pairs, &body);
    assert_eq!(harness.response(stream).error(), (400, -32020));
    harness.end_session(&session, &lifecycle);
    harness.finish();
}

#[test]
fn a_result_that_is_being_sent_is_not_resumed_in_its_middle() {
    let mut harness = harness();
    let (session, lifecycle) = harness.session("2025-11-25");
    let params = json!({ "name": "t", "_meta": { "progressToken": 1 } });
    let stream = harness.legacy(&session, &json!(1), "tools/call", &params);
    let asked = harness.exit_stream();
    harness.begin(&asked);
    harness.exit_sends(
        &asked,
        Frame::flush(tidegate_streams::mcp::McpProgress {
            progress: "1".into(),
            ..Default::default()
        }),
    );
    let part = || Frame::data(Bytes::from(vec![b'1'; 40_000]));
    for _ in 0..4 {
        harness.exit_sends(&asked, part());
    }
    assert!(harness.peek(stream).text().contains("\"result\":"));
    let pairs = [
        ("accept", "text/event-stream"),
        ("mcp-session-id", &*session),
        ("last-event-id", "1-1"),
    ];
    let lost = |response: super::Response| {
        assert!(response.ended);
        let [event] = &response.events()[..] else {
            panic!("{}", response.text());
        };
        assert_eq!(event["id"], 1);
        let message = event["error"]["message"].as_str().expect("a message");
        assert!(message.contains("too large to be kept"), "{message}");
    };
    let resumed = harness.http(http::Method::GET, &pairs, "");
    lost(harness.response(resumed));
    // The result still goes to the first connection. When that is lost, the error is what is kept.
    harness.exit_sends(&asked, part());
    assert!(!harness.peek(stream).ended);
    harness.disconnect(stream);
    assert_eq!(harness.at_exit(&asked), ["reset", "abort"]);
    let resumed = harness.http(http::Method::GET, &pairs, "");
    lost(harness.response(resumed));
    harness.end_session(&session, &lifecycle);
    harness.finish();
}
