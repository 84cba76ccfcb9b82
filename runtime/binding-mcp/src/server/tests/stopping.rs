//! The gateway stops: what is open ends in order, what is under way is answered, nothing begins.

use http::Method;
use serde_json::json;
use tidegate_streams::Frame;
use tidegate_streams::line::LineBegin;

use super::{house, legacy_headers, notification, request};

const STOPPING: &str = "The gateway is stopping; retry later.";

#[test]
fn requests_under_way_are_answered_and_new_ones_refused() {
    let mut house = house();
    let stream = house.call(1);
    let asked = house.asked();
    house.shut_down();
    assert_eq!(house.peek(stream).status, None);
    for (method, params) in [
        ("tools/list", json!({})),
        ("server/discover", json!({})),
        ("subscriptions/listen", json!({ "notifications": {} })),
    ] {
        let refused = house.modern(&json!(2), method, params);
        assert_eq!(house.response(refused).error(), (503, -32603), "{method}");
    }
    let params = json!({ "protocolVersion": "2025-11-25" });
    let body = request(&json!(3), "initialize", &params);
    let refused = house.post(&legacy_headers("")[..2], &body);
    assert_eq!(house.response(refused).error(), (503, -32603));
    house.reply(&asked, "{}");
    assert_eq!(house.response(stream).status(), 200);
    house.done();
}

#[test]
fn an_idle_session_ends_at_once_and_a_busy_one_with_its_last_answer() {
    let mut house = house();
    let (_, idle) = house.session("2025-11-25");
    let (busy, lifecycle) = house.session("2025-11-25");
    let events = house.get(&busy);
    let subscription = house.subscribe(&busy, "a");
    let params = json!({ "name": "t" });
    let stream = house.legacy(&busy, &json!(1), "tools/call", &params);
    let asked = house.asked();
    house.shut_down();
    assert_eq!(house.at_exit(&idle), ["end", "reset"]);
    assert_eq!(house.at_exit(&subscription), ["end", "reset"]);
    assert!(house.response(events).ended);
    assert!(house.at_exit(&lifecycle).is_empty());
    let told = house.tell(&busy, "notifications/whatever", &json!({}));
    assert_eq!(told.status(), 202);
    // An event stream would keep the session.
    let again = house.get(&busy);
    assert_eq!(house.response(again).status(), 503);
    house.reply(&asked, "{}");
    assert_eq!(house.response(stream).status(), 200);
    assert_eq!(house.at_exit(&lifecycle), ["end", "reset"]);
    house.done();
}

#[test]
fn a_client_whose_session_has_ended_is_told_that_the_gateway_stops() {
    let mut house = house();
    // As if there were another worker, whose sessions they are.
    let relay = house.rig.worker.attach_relay(2);
    let (session, lifecycle) = house.session("2025-11-25");
    house.shut_down();
    assert_eq!(house.at_exit(&lifecycle), ["end", "reset"]);
    let call = request(&json!(7), "tools/call", &json!({ "name": "t" }));
    let told = notification("notifications/initialized", &json!({}));
    for session in [&*session, "1.of-another-worker"] {
        for (body, id) in [
            (&call, json!(7)),
            (&told, json!(null)),
            (&json!([call]), json!(null)),
        ] {
            let stream = house.post(&legacy_headers(session), body);
            let response = house.response(stream);
            assert_eq!(response.error(), (503, -32603), "{body}");
            assert_eq!(response.json()["error"]["message"], STOPPING);
            assert_eq!(response.json()["id"], id);
        }
        let pairs = [("accept", "text/event-stream"), ("mcp-session-id", session)];
        for verb in [Method::GET, Method::DELETE] {
            let stream = house.http(verb, &pairs, "");
            assert_eq!(house.response(stream).error(), (503, -32603));
        }
    }
    assert!(house.rig.outputs(relay).is_empty());
    house.done();
}

#[test]
fn a_subscription_that_is_not_confirmed_is_answered_as_the_gateway_stops() {
    let mut house = house();
    let (session, lifecycle) = house.session("2025-11-25");
    let params = json!({ "uri": "a" });
    let stream = house.legacy(&session, &json!(1), "resources/subscribe", &params);
    let asked = house.asked();
    house.shut_down();
    let response = house.response(stream);
    assert_eq!(response.error(), (503, -32603));
    assert_eq!(response.json()["error"]["message"], STOPPING);
    assert_eq!(house.at_exit(&asked), ["reset", "abort"]);
    assert_eq!(house.at_exit(&lifecycle), ["end", "reset"]);
    house.done();
}

#[test]
fn a_call_is_answered_though_the_exit_ends_its_session_while_it_stops() {
    let mut house = house();
    let (session, lifecycle) = house.session("2025-11-25");
    let params = json!({ "name": "t" });
    let stream = house.legacy(&session, &json!(1), "tools/call", &params);
    let asked = house.asked();
    house.shut_down();
    house.exit_sends(&lifecycle, Frame::end());
    assert_eq!(house.at_exit(&lifecycle), ["abort"]);
    assert_eq!(house.peek(stream).status, None);
    house.reply(&asked, "{}");
    assert_eq!(house.response(stream).status(), 200);
    house.done();
}

#[test]
fn a_session_that_begins_is_answered_and_ends() {
    let mut house = house();
    let params = json!({ "protocolVersion": "2025-11-25" });
    let body = request(&json!(0), "initialize", &params);
    let stream = house.post(&legacy_headers("")[..2], &body);
    let lifecycle = house.asked();
    house.shut_down();
    house.lifecycle_begun(&lifecycle);
    assert_eq!(house.response(stream).status(), 200);
    assert_eq!(house.at_exit(&lifecycle), ["end", "reset"]);
    house.done();
}

#[test]
fn a_line_ends_with_its_last_answer() {
    let mut house = house();
    let idle = house.line();
    let line = house.line();
    let lifecycle = house.line_session(line, "2025-11-25");
    let params = json!({ "name": "t" });
    house.say(line, &request(&json!(1), "tools/call", &params));
    let asked = house.asked();
    house.shut_down();
    assert_eq!(house.heard_last(idle), (vec![], true));
    house.say(line, &request(&json!(2), "tools/call", &params));
    assert_eq!(house.heard(line)[0]["error"]["code"], -32603);
    house.say(line, &notification("notifications/whatever", &json!({})));
    house.reply(&asked, "{}");
    let (heard, ended) = house.heard_last(line);
    assert_eq!((&heard[0]["id"], ended), (&json!(1), true));
    assert_eq!(house.at_exit(&lifecycle), ["end", "reset"]);
    house.done();
}

#[test]
fn a_line_that_begins_is_refused() {
    let mut house = house();
    house.shut_down();
    let line = house.rig.open(house.client, house.server, LineBegin {});
    let frames = house.rig.frames(house.client, line);
    assert_eq!(frames, [Frame::reset(), Frame::abort()]);
    house.done();
}

#[test]
fn a_listen_on_a_line_is_torn_down_by_name_and_answered() {
    let mut house = house();
    let line = house.line();
    let params = json!({ "notifications": { "resourceSubscriptions": ["a"] } });
    house.say_modern(line, &json!("l"), "subscriptions/listen", params);
    let asked = house.asked();
    house.begin(&asked);
    house.heard(line);
    house.shut_down();
    let (heard, ended) = house.heard_last(line);
    assert_eq!(heard[0]["method"], "notifications/cancelled");
    assert_eq!(heard[0]["params"]["requestId"], "l");
    assert_eq!((&heard[1]["id"], ended), (&json!("l"), true));
    assert_eq!(house.at_exit(&asked), ["end", "reset"]);
    house.done();
}
