//! 2025-11-25, 2025-06-18, 2025-03-26: sessions over HTTP.

use bytes::Bytes;
use serde_json::{Value, json};
use tidegate_engine::{Duration, StreamId};
use tidegate_streams::Frame;
use tidegate_streams::mcp::{McpBeginEx, McpCapabilities, McpResetKind, McpToolsListChanged};

use super::{Asked, House, house, house_with, legacy_headers, request};
use crate::server::Options;

fn initialize(house: &mut House, params: &Value) -> StreamId {
    let body = request(&json!("i"), "initialize", params);
    house.post(&legacy_headers("")[..2], &body)
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
        let mut house = house();
        let stream = initialize(&mut house, &json!({ "protocolVersion": asked }));
        let lifecycle = house.asked();
        house.lifecycle_begun(&lifecycle);
        let response = house.response(stream);
        let info = json!({ "name": "tidegate", "version": env!("CARGO_PKG_VERSION") });
        assert_eq!(
            response.json(),
            json!({ "jsonrpc": "2.0", "id": "i", "result": {
                "protocolVersion": agreed, "capabilities": { "tools": {} }, "serverInfo": info
            } })
        );
        let session = response.header("mcp-session-id").to_owned();
        assert!(session.is_ascii() && session.len() >= 22, "{session}");
        house.end_session(&session, &lifecycle);
        house.done();
    }
}

#[test]
fn what_the_client_can_do_is_told_to_the_exit() {
    type C = McpCapabilities;
    for (told, known) in [
        (json!({}), C::NONE),
        (
            json!({ "roots": { "listChanged": true }, "sampling": {} }),
            C::CLIENT_ROOTS.with(C::CLIENT_SAMPLING),
        ),
        (
            json!({ "elicitation": { "form": {}, "url": {} } }),
            C::CLIENT_ELICITATION
                .with(C::CLIENT_ELICITATION_FORM)
                .with(C::CLIENT_ELICITATION_URL),
        ),
        (json!({ "roots": true, "sampling": null }), C::NONE),
    ] {
        let mut house = house();
        let params = json!({ "protocolVersion": "2025-11-25", "capabilities": told });
        let stream = initialize(&mut house, &params);
        let lifecycle = house.asked();
        let McpBeginEx::Lifecycle(begin) = &lifecycle.begin else {
            panic!("{lifecycle:?}")
        };
        assert_eq!((begin.capabilities, &begin.session_id), (known, &None));
        house.refuse(&lifecycle, McpResetKind::Unavailable);
        assert_eq!(house.response(stream).error(), (200, -32603));
        house.done();
    }
}

#[test]
fn initialize_without_a_revision_is_refused() {
    let mut house = house();
    let stream = initialize(&mut house, &json!({ "protocolVersion": 7 }));
    assert_eq!(house.response(stream).error(), (400, -32602));
    house.nothing_asked();
    house.done();
}

#[test]
fn initialize_that_is_not_answered_in_time_leaves_no_session() {
    let mut house = house();
    let stream = initialize(&mut house, &json!({ "protocolVersion": "2025-11-25" }));
    let lifecycle = house.asked();
    assert_eq!(lifecycle.within, Some(60_000));
    house.rig.advance(Duration::from_millis(60_500));
    assert_eq!(house.response(stream).error(), (200, -32603));
    assert_eq!(house.at_exit(&lifecycle), ["reset", "abort"]);
    house.done();
}

#[test]
fn a_client_that_goes_before_initialize_is_answered_leaves_no_session() {
    let mut house = house();
    let stream = initialize(&mut house, &json!({ "protocolVersion": "2025-11-25" }));
    let lifecycle = house.asked();
    house.leave(stream);
    assert_eq!(house.at_exit(&lifecycle), ["reset", "abort"]);
    house.done();
}

#[test]
fn one_session_more_than_may_be_is_refused() {
    let options = Options {
        max_sessions: 1,
        ..Options::default()
    };
    let mut house = house_with(options, 1 << 20);
    let (session, lifecycle) = house.session("2025-11-25");
    let stream = initialize(&mut house, &json!({ "protocolVersion": "2025-11-25" }));
    assert_eq!(house.response(stream).error(), (503, -32603));
    house.end_session(&session, &lifecycle);
    let (session, lifecycle) = house.session("2025-11-25");
    house.end_session(&session, &lifecycle);
    house.done();
}

#[test]
fn a_session_that_is_not_known_is_not_found() {
    let mut house = house();
    for session in ["0.unknown", "7.other-worker", "nonsense"] {
        let stream = house.legacy(session, &json!(1), "tools/list", &json!({}));
        assert_eq!(house.response(stream).error(), (404, -32001));
        let response = house.tell(session, "notifications/initialized", &json!({}));
        assert_eq!(response.status(), 404);
        let stream = house.get(session);
        assert_eq!(house.response(stream).status(), 404);
        let pairs = [("mcp-session-id", session)];
        let stream = house.http(http::Method::DELETE, &pairs, "");
        assert_eq!(house.response(stream).status(), 404);
    }
    house.nothing_asked();
    house.done();
}

#[test]
fn a_legacy_request_needs_a_session_and_a_legacy_revision() {
    let mut house = house();
    let body = request(&json!(1), "tools/list", &json!({}));
    let stream = house.post(&legacy_headers("")[..2], &body);
    assert_eq!(house.response(stream).error(), (400, -32600));
    let (session, lifecycle) = house.session("2025-11-25");
    for (version, status) in [
        ("2025-11-25", 200),
        ("2025-03-26", 200),
        ("1900-01-01", 400),
        ("2026-07-28", 400),
    ] {
        let mut pairs = legacy_headers(&session);
        pairs.push(("mcp-protocol-version", version));
        let stream = house.post(&pairs, &request(&json!(1), "ping", &json!({})));
        assert_eq!(house.response(stream).status(), status, "{version}");
    }
    house.end_session(&session, &lifecycle);
    house.done();
}

#[test]
fn a_legacy_result_is_passed_as_it_is() {
    let mut house = house();
    let (session, lifecycle) = house.session("2025-06-18");
    let ready = house.tell(&session, "notifications/initialized", &json!({}));
    assert_eq!((ready.status(), ready.parts.len()), (202, 0));
    let stream = house.legacy(&session, &json!(1), "tools/call", &named());
    let asked = house.asked();
    assert_eq!(asked.begin.session_id().map(|id| &**id), Some("s-1"));
    let McpBeginEx::ToolsCall(call) = &asked.begin else {
        panic!("{asked:?}")
    };
    assert!(!call.headers_required);
    house.reply(&asked, "{ \"content\": [] }");
    assert_eq!(
        house.response(stream).text(),
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{ \"content\": [] }}"
    );
    let stream = house.legacy(&session, &json!(2), "ping", &json!({}));
    let pong = json!({ "jsonrpc": "2.0", "id": 2, "result": {} });
    assert_eq!(house.response(stream).json(), pong);
    house.end_session(&session, &lifecycle);
    house.done();
}

#[test]
fn a_request_is_cancelled_by_its_id_and_only_within_its_session() {
    let mut house = house();
    let (one, first) = house.session("2025-11-25");
    let (other, second) = house.session("2025-11-25");
    let stream = house.legacy(&one, &json!(1), "tools/call", &named());
    let asked = house.asked();
    for (session, id) in [(&other, json!(1)), (&one, json!("1")), (&one, json!(2))] {
        let params = json!({ "requestId": id });
        let told = house.tell(session, "notifications/cancelled", &params);
        assert_eq!(told.status(), 202);
        assert!(house.at_exit(&asked).is_empty());
    }
    let params = json!({ "requestId": 1 });
    house.tell(&one, "notifications/cancelled", &params);
    assert_eq!(house.at_exit(&asked), ["reset", "abort"]);
    // HTTP has its response, and there is no message in it.
    let response = house.response(stream);
    assert_eq!((response.status(), response.ended), (202, true));
    assert!(response.parts.is_empty());
    house.end_session(&one, &first);
    house.end_session(&other, &second);
    house.done();
}

#[test]
fn a_cancelled_request_with_events_ends_without_an_answer() {
    let mut house = house();
    let (session, lifecycle) = house.session("2025-11-25");
    let params = json!({ "name": "t", "_meta": { "progressToken": 1 } });
    let stream = house.legacy(&session, &json!(1), "tools/call", &params);
    let asked = house.asked();
    house.begin(&asked);
    house.exit_sends(
        &asked,
        Frame::flush(tidegate_streams::mcp::McpProgress {
            progress: "1".into(),
            ..Default::default()
        }),
    );
    house.tell(
        &session,
        "notifications/cancelled",
        &json!({ "requestId": 1 }),
    );
    assert_eq!(house.at_exit(&asked), ["reset", "abort"]);
    let response = house.response(stream);
    assert!(response.ended && response.events().len() == 1);
    house.end_session(&session, &lifecycle);
    house.done();
}

#[test]
fn a_client_that_disconnects_does_not_cancel() {
    let mut house = house();
    let (session, lifecycle) = house.session("2025-11-25");
    let stream = house.legacy(&session, &json!(1), "tools/call", &named());
    let asked = house.asked();
    house.leave(stream);
    assert!(house.at_exit(&asked).is_empty());
    house.reply(&asked, "{}");
    house.end_session(&session, &lifecycle);
    house.done();
}

#[test]
fn an_id_serves_one_request_at_a_time() {
    let mut house = house();
    let (session, lifecycle) = house.session("2025-11-25");
    let first = house.legacy(&session, &json!(1), "tools/call", &named());
    let asked = house.asked();
    let second = house.legacy(&session, &json!(1), "tools/list", &json!({}));
    assert_eq!(house.response(second).error(), (400, -32600));
    house.reply(&asked, "{}");
    assert_eq!(house.response(first).status(), 200);
    let again = house.legacy(&session, &json!(1), "tools/list", &json!({}));
    let asked = house.asked();
    house.reply(&asked, "{}");
    assert_eq!(house.response(again).status(), 200);
    house.end_session(&session, &lifecycle);
    house.done();
}

#[test]
fn a_session_has_256_requests_at_a_time() {
    let mut house = house();
    let (session, lifecycle) = house.session("2025-11-25");
    let streams: Vec<StreamId> = (0..256)
        .map(|id| house.legacy(&session, &json!(id), "tools/call", &named()))
        .collect();
    assert_eq!(house.all_asked().len(), 256);
    let one_more = house.legacy(&session, &json!(256), "tools/call", &named());
    assert_eq!(house.response(one_more).error(), (503, -32603));
    // The end of the session answers them all.
    let delete = house.http(http::Method::DELETE, &[("mcp-session-id", &session)], "");
    assert_eq!(house.response(delete).status(), 200);
    assert_eq!(house.at_exit(&lifecycle), ["end", "reset"]);
    for stream in streams {
        assert_eq!(house.response(stream).error(), (404, -32001));
    }
    assert_eq!(house.rig.outputs(house.exit).len(), 512);
    house.done();
}

#[test]
fn a_session_without_a_request_ends_after_its_time() {
    let mut house = house();
    let (session, lifecycle) = house.session("2025-11-25");
    // A request begins the time anew, and while one is under way it does not pass.
    house.rig.advance(minutes(4));
    let stream = house.legacy(&session, &json!(1), "ping", &json!({}));
    assert_eq!(house.response(stream).status(), 200);
    house.rig.advance(minutes(4));
    assert!(house.at_exit(&lifecycle).is_empty());
    house.rig.advance(minutes(1));
    assert_eq!(house.at_exit(&lifecycle), ["end", "reset"]);
    let stream = house.legacy(&session, &json!(1), "ping", &json!({}));
    assert_eq!(house.response(stream).error(), (404, -32001));
    house.done();
}

#[test]
fn an_open_event_stream_keeps_its_session_and_is_kept_open() {
    let mut house = house();
    let (session, lifecycle) = house.session("2025-11-25");
    let events = house.get(&session);
    house.rig.advance(minutes(60));
    assert!(house.at_exit(&lifecycle).is_empty());
    let response = house.response(events);
    assert_eq!(response.header("content-type"), "text/event-stream");
    assert_eq!(response.header("x-accel-buffering"), "no");
    // Four a minute.
    assert_eq!(response.text(), ": keep-alive\n\n".repeat(240));
    house.leave(events);
    house.rig.advance(minutes(4));
    assert!(house.at_exit(&lifecycle).is_empty());
    house.rig.advance(minutes(1));
    assert_eq!(house.at_exit(&lifecycle), ["end", "reset"]);
    house.done();
}

#[test]
fn an_event_stream_must_be_acceptable() {
    let mut house = house();
    let (session, lifecycle) = house.session("2025-11-25");
    let pairs = [
        ("accept", "application/json"),
        ("mcp-session-id", &*session),
    ];
    let stream = house.http(http::Method::GET, &pairs, "");
    assert_eq!(house.response(stream).status(), 406);
    house.end_session(&session, &lifecycle);
    house.done();
}

#[test]
fn a_newer_event_stream_takes_the_place_of_an_older() {
    let mut house = house();
    let (session, lifecycle) = house.session("2025-11-25");
    let older = house.get(&session);
    let newer = house.get(&session);
    assert!(house.response(older).ended);
    house.exit_sends(&lifecycle, Frame::flush(McpToolsListChanged {}));
    let changed = json!({ "jsonrpc": "2.0", "method": "notifications/tools/list_changed" });
    assert_eq!(house.response(newer).events(), [changed]);
    house.end_session(&session, &lifecycle);
    assert!(house.response(newer).ended);
    house.done();
}

#[test]
fn a_session_ends_with_what_the_exit_keeps_of_it() {
    let ways: [fn(&mut House, &Asked); 2] = [
        |house, asked| house.exit_sends(asked, Frame::end()),
        |house, asked| house.refuse(asked, McpResetKind::Unavailable),
    ];
    for way in ways {
        let mut house = house();
        let (session, lifecycle) = house.session("2025-11-25");
        let events = house.get(&session);
        let subscription = house.subscribe(&session, "a");
        let call = house.legacy(&session, &json!(1), "tools/call", &named());
        let asked = house.asked();
        way(&mut house, &lifecycle);
        assert!(house.response(events).ended);
        assert_eq!(house.response(call).error(), (404, -32001));
        assert_eq!(house.at_exit(&subscription), ["end", "reset"]);
        assert_eq!(house.at_exit(&asked), ["reset", "abort"]);
        house.rig.frames(house.exit, lifecycle.stream);
        let stream = house.legacy(&session, &json!(1), "ping", &json!({}));
        assert_eq!(house.response(stream).error(), (404, -32001));
        house.done();
    }
}

#[test]
fn a_result_that_nobody_waits_for_is_taken_to_its_end() {
    let mut house = house();
    let (session, lifecycle) = house.session("2025-11-25");
    let stream = house.legacy(&session, &json!(1), "tools/call", &named());
    let asked = house.asked();
    house.leave(stream);
    house.begin(&asked);
    for _ in 0..200 {
        house.exit_sends(&asked, Frame::data(Bytes::from(vec![b' '; 1_024])));
    }
    house.exit_sends(&asked, Frame::end());
    assert_eq!(house.at_exit(&asked), ["end"]);
    house.end_session(&session, &lifecycle);
    house.done();
}

#[test]
fn a_request_of_a_session_on_another_worker_is_handed_over() {
    let mut house = house();
    let relay = house.rig.worker.attach_relay(16);
    let stream = house.legacy("a.secret", &json!(1), "ping", &json!({}));
    let outputs = house.rig.outputs(relay);
    let kinds: Vec<_> = outputs.iter().map(|out| out.frame.kind().word()).collect();
    assert_eq!(kinds[0], "begin");
    let to = outputs[0].at.token.0;
    assert_eq!((to >> 16, to & 0xffff), (1, 10), "binding and worker");
    house.rig.turn(relay, |cx| {
        cx.terminate(outputs[0].at.stream, None, None);
    });
    assert!(house.response(stream).broken);
    house.done();
}

#[test]
fn a_session_on_a_worker_that_is_not_there_is_not_known() {
    let mut house = house();
    let relay = house.rig.worker.attach_relay(2);
    let stream = house.legacy("a.secret", &json!(1), "ping", &json!({}));
    assert!(house.rig.outputs(relay).is_empty());
    assert_eq!(
        house.response(stream).status,
        Some(http::StatusCode::NOT_FOUND)
    );
}

#[test]
fn parameter_headers_of_a_call_go_to_whoever_owns_the_tool() {
    let mut house = house();
    let (session, lifecycle) = house.session("2025-06-18");
    let body = request(&json!(1), "tools/call", &named());
    for (value, expected) in [("a/b", "a/b"), ("=?base64?w7w=?=", "\u{fc}")] {
        let mut pairs = legacy_headers(&session);
        pairs.push(("mcp-param-topic", value));
        let stream = house.post(&pairs, &body);
        let asked = house.asked();
        let McpBeginEx::ToolsCall(call) = &asked.begin else {
            panic!("{asked:?}")
        };
        assert!(!call.headers_required, "this revision knows none");
        assert_eq!(call.headers.len(), 1);
        assert_eq!(
            (&*call.headers[0].name, &*call.headers[0].value),
            ("topic", expected)
        );
        house.refuse(&asked, McpResetKind::HeaderMismatch);
        assert_eq!(house.response(stream).error(), (400, -32020));
    }
    let mut pairs = legacy_headers(&session);
    pairs.push(("mcp-param-topic", "=?base64?%?="));
    let stream = house.post(&pairs, &body);
    assert_eq!(house.response(stream).error(), (400, -32020));
    house.end_session(&session, &lifecycle);
    house.done();
}
