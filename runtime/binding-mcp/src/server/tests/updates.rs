//! Updates of resources and of lists in a legacy session.

use serde_json::{Value, json};
use tidegate_engine::Duration;
use tidegate_streams::Frame;
use tidegate_streams::mcp::{McpResetKind, McpToolsListChanged};

use super::{Asked, House, house, house_with};
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

#[test]
fn as_many_requests_of_a_session_may_wait_for_subscriptions_as_may_be_under_way() {
    let mut house = house();
    let (session, lifecycle) = house.session("2025-11-25");
    let mut waiting = Vec::new();
    for id in 0..256 {
        // Two for each.
        let params = json!({ "uri": (id / 2).to_string() });
        waiting.push(house.legacy(&session, &json!(id), "resources/subscribe", &params));
    }
    let asked = house.all_asked();
    assert_eq!(asked.len(), 128);
    for uri in ["0", "one more"] {
        let params = json!({ "uri": uri });
        let stream = house.legacy(&session, &json!("n"), "resources/subscribe", &params);
        assert_eq!(house.response(stream).error(), (503, -32603));
    }
    for asked in &asked {
        house.begin(asked);
    }
    for stream in waiting {
        assert_eq!(house.response(stream).status(), 200);
    }
    house.end_session(&session, &lifecycle);
    for asked in &asked {
        assert_eq!(house.at_exit(asked), ["end", "reset"]);
    }
    house.done();
}

/// A subscribe within a session: its response where it was refused, what was asked for otherwise.
fn subscribed(house: &mut House, session: &str, uri: &str) -> Result<Asked, Box<super::Response>> {
    let params = json!({ "uri": uri });
    let stream = house.legacy(session, &json!(uri), "resources/subscribe", &params);
    match house.all_asked().pop() {
        Some(asked) => {
            house.begin(&asked);
            assert_eq!(house.response(stream).status(), 200);
            Ok(asked)
        }
        None => Err(Box::new(house.response(stream))),
    }
}

fn limits(max_session_bytes: usize, max_subscription_bytes: usize) -> Options {
    Options {
        max_session_bytes,
        max_subscription_bytes,
        ..Options::default()
    }
}

#[test]
fn the_uris_of_a_session_are_bounded_in_bytes() {
    let mut house = house_with(limits(100, 1_000), 1 << 20);
    let (session, lifecycle) = house.session("2025-11-25");
    let (a, b) = ("a".repeat(60), "b".repeat(40));
    let first = subscribed(&mut house, &session, &a).expect("60 of 100");
    let second = subscribed(&mut house, &session, &b).expect("100 of 100");
    let refused = subscribed(&mut house, &session, "c").expect_err("101 of 100");
    assert_eq!(refused.error(), (503, -32603));
    assert_eq!(
        refused.json()["error"]["message"],
        "The URIs of a session's subscriptions may have 100 bytes (maxSessionBytes), and no room is \
         left for 1; end one first."
    );
    // The same once more takes no room, and one that is given up makes some.
    let params = json!({ "uri": a });
    let again = house.legacy(&session, &json!(1), "resources/subscribe", &params);
    assert_eq!(house.response(again).status(), 200);
    let ended = house.legacy(&session, &json!(2), "resources/unsubscribe", &params);
    assert_eq!(house.response(ended).status(), 200);
    assert_eq!(house.at_exit(&first), ["end", "reset"]);
    let third = subscribed(&mut house, &session, "c").expect("41 of 100");
    // Another session has room of its own.
    let (other, its) = house.session("2025-11-25");
    let fourth = subscribed(&mut house, &other, &a).expect("60 of 100");
    house.end_session(&session, &lifecycle);
    house.end_session(&other, &its);
    for asked in [&second, &third, &fourth] {
        assert_eq!(house.at_exit(asked), ["end", "reset"]);
    }
    house.done();
}

#[test]
fn the_uris_of_a_worker_are_bounded_in_bytes() {
    let mut house = house_with(limits(100, 150), 1 << 20);
    let (session, lifecycle) = house.session("2025-11-25");
    let (other, its) = house.session("2025-11-25");
    let name = "a".repeat(90);
    let asked = subscribed(&mut house, &session, &name).expect("90 of 150");
    let refused = subscribed(&mut house, &other, &name).expect_err("180 of 150");
    assert_eq!(refused.error(), (503, -32603));
    assert_eq!(
        refused.json()["error"]["message"],
        "The URIs of all subscriptions may have 150 bytes (maxSubscriptionBytes), and no room is \
         left for 90; retry later."
    );
    let params = json!({ "notifications": { "resourceSubscriptions": [name] } });
    let stream = house.modern(&json!(1), "subscriptions/listen", params.clone());
    assert_eq!(house.response(stream).error(), (503, -32603));
    house.end_session(&session, &lifecycle);
    assert_eq!(house.at_exit(&asked), ["end", "reset"]);
    // Now there is room.
    let stream = house.modern(&json!(1), "subscriptions/listen", params);
    let asked = house.asked();
    assert!(subscribed(&mut house, &other, &name).is_err());
    assert_eq!(house.peek(stream).status(), 200);
    house.leave(stream);
    assert_eq!(house.at_exit(&asked), ["reset", "abort"]);
    let asked = subscribed(&mut house, &other, &name).expect("90 of 150");
    house.end_session(&other, &its);
    assert_eq!(house.at_exit(&asked), ["end", "reset"]);
    house.done();
}

#[test]
fn updates_of_parts_are_bounded_and_none_is_lost() {
    let mut house = house_with(limits(10, 1_000), 1 << 20);
    let (session, lifecycle) = house.session("2025-11-25");
    let asked = house.subscribe(&session, "a");
    // An exit may name the part that has changed.
    for part in ["a/1", "a/2", "a/3", "a/4", "a/5", "a"] {
        house.update(&asked, part);
    }
    let events = house.get(&session);
    let told: Vec<Value> = ["a", "a/1", "a/2", "a/3"].map(told).into();
    assert_eq!(house.response(events).events(), told);
    house.update(&asked, "a/4");
    assert_eq!(
        house.response(events).events().len(),
        1,
        "there is room again"
    );
    house.end_session(&session, &lifecycle);
    assert_eq!(house.at_exit(&asked), ["end", "reset"]);
    assert!(house.response(events).ended);
    house.done();
}
