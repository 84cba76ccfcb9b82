//! The gateway stops: idle streams end in order, running requests are answered, new ones are
//! refused.

use http::Method;
use serde_json::json;
use tidegate_streams::Frame;
use tidegate_streams::line::LineBegin;

use super::{harness, legacy_headers, notification, request};

const STOPPING: &str = "The gateway is stopping; retry later.";

#[test]
fn running_requests_are_answered_and_new_ones_refused() {
    let mut harness = harness();
    let stream = harness.call(1);
    let asked = harness.exit_stream();
    harness.shut_down();
    assert_eq!(harness.peek(stream).status, None);
    for (method, params) in [
        ("tools/list", json!({})),
        ("server/discover", json!({})),
        ("subscriptions/listen", json!({ "notifications": {} })),
    ] {
        let refused = harness.modern(&json!(2), method, params);
        assert_eq!(harness.response(refused).error(), (503, -32603), "{method}");
    }
    let params = json!({ "protocolVersion": "2025-11-25" });
    let body = request(&json!(3), "initialize", &params);
    let refused = harness.post(&legacy_headers("")[..2], &body);
    assert_eq!(harness.response(refused).error(), (503, -32603));
    harness.reply(&asked, "{}");
    assert_eq!(harness.response(stream).status(), 200);
    harness.finish();
}

#[test]
fn an_idle_session_ends_at_once_and_a_busy_one_with_its_last_answer() {
    let mut harness = harness();
    let (_, idle) = harness.session("2025-11-25");
    let (busy, lifecycle) = harness.session("2025-11-25");
    let events = harness.get(&busy);
    let subscription = harness.subscribe(&busy, "a");
    let params = json!({ "name": "t" });
    let stream = harness.legacy(&busy, &json!(1), "tools/call", &params);
    let asked = harness.exit_stream();
    harness.shut_down();
    assert_eq!(harness.at_exit(&idle), ["end", "reset"]);
    assert_eq!(harness.at_exit(&subscription), ["end", "reset"]);
    assert!(harness.response(events).ended);
    assert!(harness.at_exit(&lifecycle).is_empty());
    let told = harness.notify(&busy, "notifications/whatever", &json!({}));
    assert_eq!(told.status(), 202);
    // An event stream would keep the session open.
    let again = harness.get(&busy);
    assert_eq!(harness.response(again).status(), 503);
    harness.reply(&asked, "{}");
    assert_eq!(harness.response(stream).status(), 200);
    assert_eq!(harness.at_exit(&lifecycle), ["end", "reset"]);
    harness.finish();
}

#[test]
fn a_client_of_an_ended_session_is_answered_that_the_gateway_is_stopping() {
    let mut harness = harness();
    // As if another worker owned the sessions.
    let relay = harness.rig.worker.attach_relay(2);
    let (session, lifecycle) = harness.session("2025-11-25");
    harness.shut_down();
    assert_eq!(harness.at_exit(&lifecycle), ["end", "reset"]);
    let call = request(&json!(7), "tools/call", &json!({ "name": "t" }));
    let told = notification("notifications/initialized", &json!({}));
    for session in [&*session, "1.of-another-worker"] {
        for (body, id) in [
            (&call, json!(7)),
            (&told, json!(null)),
            (&json!([call]), json!(null)),
        ] {
            let stream = harness.post(&legacy_headers(session), body);
            let response = harness.response(stream);
            assert_eq!(response.error(), (503, -32603), "{body}");
            assert_eq!(response.json()["error"]["message"], STOPPING);
            assert_eq!(response.json()["id"], id);
        }
        let pairs = [("accept", "text/event-stream"), ("mcp-session-id", session)];
        for verb in [Method::GET, Method::DELETE] {
            let stream = harness.http(verb, &pairs, "");
            assert_eq!(harness.response(stream).error(), (503, -32603));
        }
    }
    assert!(harness.rig.outputs(relay).is_empty());
    harness.finish();
}

#[test]
fn an_unconfirmed_subscription_is_answered_during_a_stop() {
    let mut harness = harness();
    let (session, lifecycle) = harness.session("2025-11-25");
    let params = json!({ "uri": "a" });
    let stream = harness.legacy(&session, &json!(1), "resources/subscribe", &params);
    let asked = harness.exit_stream();
    harness.shut_down();
    let response = harness.response(stream);
    assert_eq!(response.error(), (503, -32603));
    assert_eq!(response.json()["error"]["message"], STOPPING);
    assert_eq!(harness.at_exit(&asked), ["reset", "abort"]);
    assert_eq!(harness.at_exit(&lifecycle), ["end", "reset"]);
    harness.finish();
}

#[test]
fn a_call_is_answered_after_the_exit_ends_its_session_during_a_stop() {
    let mut harness = harness();
    let (session, lifecycle) = harness.session("2025-11-25");
    let params = json!({ "name": "t" });
    let stream = harness.legacy(&session, &json!(1), "tools/call", &params);
    let asked = harness.exit_stream();
    harness.shut_down();
    harness.exit_sends(&lifecycle, Frame::end());
    assert_eq!(harness.at_exit(&lifecycle), ["abort"]);
    assert_eq!(harness.peek(stream).status, None);
    harness.reply(&asked, "{}");
    assert_eq!(harness.response(stream).status(), 200);
    harness.finish();
}

#[test]
fn a_session_begun_during_a_stop_is_answered_and_ended() {
    let mut harness = harness();
    let params = json!({ "protocolVersion": "2025-11-25" });
    let body = request(&json!(0), "initialize", &params);
    let stream = harness.post(&legacy_headers("")[..2], &body);
    let lifecycle = harness.exit_stream();
    harness.shut_down();
    harness.lifecycle_begun(&lifecycle);
    assert_eq!(harness.response(stream).status(), 200);
    assert_eq!(harness.at_exit(&lifecycle), ["end", "reset"]);
    harness.finish();
}

#[test]
fn a_line_ends_with_its_last_answer() {
    let mut harness = harness();
    let idle = harness.line();
    let line = harness.line();
    let lifecycle = harness.line_session(line, "2025-11-25");
    let params = json!({ "name": "t" });
    harness.send_line(line, &request(&json!(1), "tools/call", &params));
    let asked = harness.exit_stream();
    harness.shut_down();
    assert_eq!(harness.last_line_messages(idle), (vec![], true));
    harness.send_line(line, &request(&json!(2), "tools/call", &params));
    assert_eq!(harness.line_messages(line)[0]["error"]["code"], -32603);
    harness.send_line(line, &notification("notifications/whatever", &json!({})));
    harness.reply(&asked, "{}");
    let (messages, ended) = harness.last_line_messages(line);
    assert_eq!((&messages[0]["id"], ended), (&json!(1), true));
    assert_eq!(harness.at_exit(&lifecycle), ["end", "reset"]);
    harness.finish();
}

#[test]
fn a_line_opened_during_a_stop_is_refused() {
    let mut harness = harness();
    harness.shut_down();
    let line = harness
        .rig
        .open(harness.client, harness.server, LineBegin {});
    let frames = harness.rig.frames(harness.client, line);
    assert_eq!(frames, [Frame::reset(), Frame::abort()]);
    harness.finish();
}

#[test]
fn a_listen_on_a_line_is_ended_with_a_notification_and_a_response() {
    let mut harness = harness();
    let line = harness.line();
    let params = json!({ "notifications": { "resourceSubscriptions": ["a"] } });
    harness.send_modern_line(line, &json!("l"), "subscriptions/listen", params);
    let asked = harness.exit_stream();
    harness.begin(&asked);
    harness.line_messages(line);
    harness.shut_down();
    let (messages, ended) = harness.last_line_messages(line);
    assert_eq!(messages[0]["method"], "notifications/cancelled");
    assert_eq!(messages[0]["params"]["requestId"], "l");
    assert_eq!((&messages[1]["id"], ended), (&json!("l"), true));
    assert_eq!(harness.at_exit(&asked), ["end", "reset"]);
    harness.finish();
}

#[test]
fn requests_are_refused_while_they_cannot_be_recorded() {
    let mut harness = harness();
    let running = harness.call(1);
    let asked = harness.exit_stream();
    harness.refuse_calls(Some("No record."));
    for method in ["tools/list", "server/discover"] {
        let refused = harness.modern(&json!(2), method, json!({}));
        let response = harness.response(refused);
        assert!(
            response.text().contains("No record."),
            "{method}: {}",
            response.text()
        );
        assert_eq!(response.error(), (503, -32603), "{method}");
    }
    harness.reply(&asked, "{}");
    assert_eq!(harness.response(running).status(), 200, "it began before");
    harness.refuse_calls(None);
    let stream = harness.call(3);
    let asked = harness.exit_stream();
    harness.reply(&asked, "{}");
    assert_eq!(harness.response(stream).status(), 200);
    harness.finish();
}
