//! Updates of resources and of lists in a legacy session.

use serde_json::{Value, json};
use tidegate_engine::Duration;
use tidegate_streams::Frame;
use tidegate_streams::mcp::{McpResetKind, McpToolsListChanged};

use super::{house, house_with};
use crate::server::Options;

fn told(uri: &str) -> Value {
    json!({ "jsonrpc": "2.0", "method": "notifications/resources/updated", "params": { "uri": uri } })
}

#[test]
fn updates_come_on_the_event_stream_until_unsubscribed() {
    let mut house = house();
    let (session, lifecycle) = house.session("2025-11-25");
    let events = house.get(&session);
    let subscription = house.subscribe(&session, "a");
    house.update(&subscription, "a");
    house.update(&subscription, "a");
    assert_eq!(house.response(events).events(), [told("a"), told("a")]);
    // Once more is the same subscription.
    let again = house.legacy(
        &session,
        &json!(2),
        "resources/subscribe",
        &json!({ "uri": "a" }),
    );
    assert_eq!(house.response(again).status(), 200);
    house.nothing_asked();
    for _ in 0..2 {
        let params = json!({ "uri": "a" });
        let stream = house.legacy(&session, &json!(3), "resources/unsubscribe", &params);
        assert_eq!(house.response(stream).json()["result"], json!({}));
    }
    assert_eq!(house.at_exit(&subscription), ["end", "reset"]);
    house.end_session(&session, &lifecycle);
    assert!(house.response(events).ended);
    house.done();
}

#[test]
fn updates_wait_while_no_event_stream_is_open_and_are_told_once() {
    let mut house = house();
    let (session, lifecycle) = house.session("2025-11-25");
    let subscription = house.subscribe(&session, "a");
    for uri in ["a", "a/b", "a", "a"] {
        house.update(&subscription, uri);
    }
    let events = house.get(&session);
    assert_eq!(house.response(events).events(), [told("a"), told("a/b")]);
    let delete = house.http(http::Method::DELETE, &[("mcp-session-id", &session)], "");
    assert_eq!(house.response(delete).status(), 200);
    assert_eq!(house.at_exit(&subscription), ["end", "reset"]);
    assert_eq!(house.at_exit(&lifecycle), ["end", "reset"]);
    assert!(house.response(events).ended);
    house.done();
}

#[test]
fn updates_for_a_client_that_does_not_read_are_told_once() {
    let mut house = house_with(Options::default(), 1_000);
    let (session, lifecycle) = house.session("2025-11-25");
    let subscription = house.subscribe(&session, "a");
    let events = house.get(&session);
    for _ in 0..10_000 {
        house.update(&subscription, "a");
    }
    let mut text = String::new();
    loop {
        let response = house.response(events);
        if response.parts.is_empty() {
            break;
        }
        text += &response.text();
    }
    let count = super::events(&text).len();
    assert!((2..20).contains(&count), "{count}");
    house.leave(events);
    house.end_session(&session, &lifecycle);
    assert_eq!(house.at_exit(&subscription), ["end", "reset"]);
    house.done();
}

#[test]
fn changes_of_lists_wait_while_no_event_stream_is_open() {
    let mut house = house();
    let (session, lifecycle) = house.session("2025-11-25");
    for _ in 0..3 {
        house.exit_sends(&lifecycle, Frame::flush(McpToolsListChanged {}));
    }
    let events = house.get(&session);
    let changed = json!({ "jsonrpc": "2.0", "method": "notifications/tools/list_changed" });
    assert_eq!(house.response(events).events(), [changed]);
    house.end_session(&session, &lifecycle);
    assert!(house.response(events).ended);
    house.done();
}

#[test]
fn a_subscription_that_is_refused_or_not_confirmed_is_an_error() {
    let mut house = house();
    let (session, lifecycle) = house.session("2025-11-25");
    let params = json!({ "uri": "a" });
    let stream = house.legacy(&session, &json!(1), "resources/subscribe", &params);
    let gone = house.legacy(&session, &json!(2), "resources/subscribe", &params);
    let asked = house.asked();
    house.leave(gone);
    house.refuse(&asked, McpResetKind::NotFound);
    assert_eq!(house.response(stream).error(), (200, -32002));
    let stream = house.legacy(&session, &json!(3), "resources/subscribe", &params);
    let asked = house.asked();
    house.rig.advance(Duration::from_millis(60_500));
    assert_eq!(house.response(stream).error(), (200, -32603));
    assert_eq!(house.at_exit(&asked), ["reset", "abort"]);
    let stream = house.legacy(&session, &json!(4), "resources/subscribe", &json!({}));
    assert_eq!(house.response(stream).error(), (400, -32602));
    house.end_session(&session, &lifecycle);
    house.done();
}

#[test]
fn a_session_has_1000_subscriptions() {
    let mut house = house();
    let (session, lifecycle) = house.session("2025-11-25");
    for uri in 0..1_000 {
        house.subscribe(&session, &uri.to_string());
    }
    let params = json!({ "uri": "one more" });
    let stream = house.legacy(&session, &json!(1), "resources/subscribe", &params);
    assert_eq!(house.response(stream).error(), (503, -32603));
    house.nothing_asked();
    house.end_session(&session, &lifecycle);
    assert_eq!(house.rig.outputs(house.exit).len(), 2_000);
    house.done();
}

#[test]
fn a_subscription_of_a_session_that_is_lost_may_be_asked_for_again() {
    let mut house = house();
    let (session, lifecycle) = house.session("2025-11-25");
    let subscription = house.subscribe(&session, "a");
    house.exit_sends(&subscription, Frame::end());
    assert_eq!(house.at_exit(&subscription), ["end"]);
    let subscription = house.subscribe(&session, "a");
    house.end_session(&session, &lifecycle);
    assert_eq!(house.at_exit(&subscription), ["end", "reset"]);
    house.done();
}

#[test]
fn an_unsubscribe_answers_who_still_waits_for_the_subscription() {
    let mut house = house();
    let (session, lifecycle) = house.session("2025-11-25");
    let params = json!({ "uri": "a" });
    let waiting = house.legacy(&session, &json!(1), "resources/subscribe", &params);
    let asked = house.asked();
    let stream = house.legacy(&session, &json!(2), "resources/unsubscribe", &params);
    assert_eq!(house.response(stream).status(), 200);
    assert_eq!(house.response(waiting).error(), (400, -32600));
    assert_eq!(house.at_exit(&asked), ["reset", "abort"]);
    house.end_session(&session, &lifecycle);
    house.done();
}

#[test]
fn a_subscription_that_is_cancelled_before_it_stands_is_given_up() {
    let mut house = house();
    let (session, lifecycle) = house.session("2025-11-25");
    let params = json!({ "uri": "a" });
    let first = house.legacy(&session, &json!(1), "resources/subscribe", &params);
    let second = house.legacy(&session, &json!(2), "resources/subscribe", &params);
    let asked = house.asked();
    for (id, stream, frames) in [(1, first, &[][..]), (2, second, &["reset", "abort"][..])] {
        let params = json!({ "requestId": id });
        house.tell(&session, "notifications/cancelled", &params);
        assert_eq!(house.response(stream).status(), 202);
        assert_eq!(house.at_exit(&asked), frames);
    }
    let subscription = house.subscribe(&session, "a");
    house.end_session(&session, &lifecycle);
    assert_eq!(house.at_exit(&subscription), ["end", "reset"]);
    house.done();
}

#[test]
fn an_update_that_waits_goes_with_its_subscription() {
    let mut house = house();
    let (session, lifecycle) = house.session("2025-11-25");
    let subscription = house.subscribe(&session, "a");
    house.update(&subscription, "a");
    let params = json!({ "uri": "a" });
    let stream = house.legacy(&session, &json!(3), "resources/unsubscribe", &params);
    assert_eq!(house.response(stream).status(), 200);
    assert_eq!(house.at_exit(&subscription), ["end", "reset"]);
    let events = house.get(&session);
    assert!(house.response(events).events().is_empty());
    house.end_session(&session, &lifecycle);
    assert!(house.response(events).ended);
    house.done();
}
