//! Updates of resources and lists in a legacy session.

use serde_json::{Value, json};
use tidegate_engine::Duration;
use tidegate_streams::Frame;
use tidegate_streams::mcp::{McpResetKind, McpToolsListChanged};

use super::{ExitStream, Harness, harness, harness_with};
use crate::server::Options;

fn updated(uri: &str) -> Value {
    json!({ "jsonrpc": "2.0", "method": "notifications/resources/updated", "params": { "uri": uri } })
}

#[test]
fn updates_are_sent_on_the_event_stream_until_unsubscribed() {
    let mut harness = harness();
    let (session, lifecycle) = harness.session("2025-11-25");
    let events = harness.get(&session);
    let subscription = harness.subscribe(&session, "a");
    harness.update(&subscription, "a");
    harness.update(&subscription, "a");
    assert_eq!(
        harness.response(events).events(),
        [updated("a"), updated("a")]
    );
    // Subscribing again returns the same subscription.
    let again = harness.legacy(
        &session,
        &json!(2),
        "resources/subscribe",
        &json!({ "uri": "a" }),
    );
    assert_eq!(harness.response(again).status(), 200);
    harness.assert_no_exit_stream();
    for _ in 0..2 {
        let params = json!({ "uri": "a" });
        let stream = harness.legacy(&session, &json!(3), "resources/unsubscribe", &params);
        assert_eq!(harness.response(stream).json()["result"], json!({}));
    }
    assert_eq!(harness.at_exit(&subscription), ["end", "reset"]);
    harness.end_session(&session, &lifecycle);
    assert!(harness.response(events).ended);
    harness.finish();
}

#[test]
fn updates_are_queued_and_coalesced_without_an_event_stream() {
    let mut harness = harness();
    let (session, lifecycle) = harness.session("2025-11-25");
    let subscription = harness.subscribe(&session, "a");
    for uri in ["a", "a/b", "a", "a"] {
        harness.update(&subscription, uri);
    }
    let events = harness.get(&session);
    assert_eq!(
        harness.response(events).events(),
        [updated("a"), updated("a/b")]
    );
    let delete = harness.http(http::Method::DELETE, &[("mcp-session-id", &session)], "");
    assert_eq!(harness.response(delete).status(), 200);
    assert_eq!(harness.at_exit(&subscription), ["end", "reset"]);
    assert_eq!(harness.at_exit(&lifecycle), ["end", "reset"]);
    assert!(harness.response(events).ended);
    harness.finish();
}

#[test]
fn updates_for_a_client_that_does_not_read_are_coalesced() {
    let mut harness = harness_with(Options::default(), 1_000);
    let (session, lifecycle) = harness.session("2025-11-25");
    let subscription = harness.subscribe(&session, "a");
    let events = harness.get(&session);
    for _ in 0..10_000 {
        harness.update(&subscription, "a");
    }
    let mut text = String::new();
    loop {
        let response = harness.response(events);
        if response.parts.is_empty() {
            break;
        }
        text += &response.text();
    }
    let count = super::events(&text).len();
    assert!((2..20).contains(&count), "{count}");
    harness.disconnect(events);
    harness.end_session(&session, &lifecycle);
    assert_eq!(harness.at_exit(&subscription), ["end", "reset"]);
    harness.finish();
}

#[test]
fn changes_of_lists_wait_while_no_event_stream_is_open() {
    let mut harness = harness();
    let (session, lifecycle) = harness.session("2025-11-25");
    for _ in 0..3 {
        harness.exit_sends(&lifecycle, Frame::flush(McpToolsListChanged {}));
    }
    let events = harness.get(&session);
    let changed = json!({ "jsonrpc": "2.0", "method": "notifications/tools/list_changed" });
    assert_eq!(harness.response(events).events(), [changed]);
    harness.end_session(&session, &lifecycle);
    assert!(harness.response(events).ended);
    harness.finish();
}

#[test]
fn a_subscription_that_is_refused_or_not_confirmed_is_an_error() {
    let mut harness = harness();
    let (session, lifecycle) = harness.session("2025-11-25");
    let params = json!({ "uri": "a" });
    let stream = harness.legacy(&session, &json!(1), "resources/subscribe", &params);
    let gone = harness.legacy(&session, &json!(2), "resources/subscribe", &params);
    let asked = harness.exit_stream();
    harness.disconnect(gone);
    harness.refuse(&asked, McpResetKind::NotFound);
    assert_eq!(harness.response(stream).error(), (200, -32002));
    let stream = harness.legacy(&session, &json!(3), "resources/subscribe", &params);
    let asked = harness.exit_stream();
    harness.rig.advance(Duration::from_millis(60_500));
    assert_eq!(harness.response(stream).error(), (200, -32603));
    assert_eq!(harness.at_exit(&asked), ["reset", "abort"]);
    let stream = harness.legacy(&session, &json!(4), "resources/subscribe", &json!({}));
    assert_eq!(harness.response(stream).error(), (400, -32602));
    harness.end_session(&session, &lifecycle);
    harness.finish();
}

#[test]
fn a_session_has_1000_subscriptions() {
    let mut harness = harness();
    let (session, lifecycle) = harness.session("2025-11-25");
    for uri in 0..1_000 {
        harness.subscribe(&session, &uri.to_string());
    }
    let params = json!({ "uri": "one more" });
    let stream = harness.legacy(&session, &json!(1), "resources/subscribe", &params);
    assert_eq!(harness.response(stream).error(), (503, -32603));
    harness.assert_no_exit_stream();
    harness.end_session(&session, &lifecycle);
    assert_eq!(harness.rig.outputs(harness.exit).len(), 2_000);
    harness.finish();
}

#[test]
fn a_lost_subscription_can_be_requested_again() {
    let mut harness = harness();
    let (session, lifecycle) = harness.session("2025-11-25");
    let subscription = harness.subscribe(&session, "a");
    harness.exit_sends(&subscription, Frame::end());
    assert_eq!(harness.at_exit(&subscription), ["end"]);
    let subscription = harness.subscribe(&session, "a");
    harness.end_session(&session, &lifecycle);
    assert_eq!(harness.at_exit(&subscription), ["end", "reset"]);
    harness.finish();
}

#[test]
fn an_unsubscribe_answers_pending_subscribes() {
    let mut harness = harness();
    let (session, lifecycle) = harness.session("2025-11-25");
    let params = json!({ "uri": "a" });
    let waiting = harness.legacy(&session, &json!(1), "resources/subscribe", &params);
    let asked = harness.exit_stream();
    let stream = harness.legacy(&session, &json!(2), "resources/unsubscribe", &params);
    assert_eq!(harness.response(stream).status(), 200);
    assert_eq!(harness.response(waiting).error(), (400, -32600));
    assert_eq!(harness.at_exit(&asked), ["reset", "abort"]);
    harness.end_session(&session, &lifecycle);
    harness.finish();
}

#[test]
fn a_subscription_cancelled_before_confirmation_is_aborted() {
    let mut harness = harness();
    let (session, lifecycle) = harness.session("2025-11-25");
    let params = json!({ "uri": "a" });
    let first = harness.legacy(&session, &json!(1), "resources/subscribe", &params);
    let second = harness.legacy(&session, &json!(2), "resources/subscribe", &params);
    let asked = harness.exit_stream();
    for (id, stream, frames) in [(1, first, &[][..]), (2, second, &["reset", "abort"][..])] {
        let params = json!({ "requestId": id });
        harness.notify(&session, "notifications/cancelled", &params);
        assert_eq!(harness.response(stream).status(), 202);
        assert_eq!(harness.at_exit(&asked), frames);
    }
    let subscription = harness.subscribe(&session, "a");
    harness.end_session(&session, &lifecycle);
    assert_eq!(harness.at_exit(&subscription), ["end", "reset"]);
    harness.finish();
}

#[test]
fn a_queued_update_is_removed_with_its_subscription() {
    let mut harness = harness();
    let (session, lifecycle) = harness.session("2025-11-25");
    let subscription = harness.subscribe(&session, "a");
    harness.update(&subscription, "a");
    let params = json!({ "uri": "a" });
    let stream = harness.legacy(&session, &json!(3), "resources/unsubscribe", &params);
    assert_eq!(harness.response(stream).status(), 200);
    assert_eq!(harness.at_exit(&subscription), ["end", "reset"]);
    let events = harness.get(&session);
    assert!(harness.response(events).events().is_empty());
    harness.end_session(&session, &lifecycle);
    assert!(harness.response(events).ended);
    harness.finish();
}

#[test]
fn pending_subscription_requests_of_a_session_are_limited() {
    let mut harness = harness();
    let (session, lifecycle) = harness.session("2025-11-25");
    let mut waiting = Vec::new();
    for id in 0..256 {
        // Two for each.
        let params = json!({ "uri": (id / 2).to_string() });
        waiting.push(harness.legacy(&session, &json!(id), "resources/subscribe", &params));
    }
    let asked = harness.exit_streams();
    assert_eq!(asked.len(), 128);
    for uri in ["0", "one more"] {
        let params = json!({ "uri": uri });
        let stream = harness.legacy(&session, &json!("n"), "resources/subscribe", &params);
        assert_eq!(harness.response(stream).error(), (503, -32603));
    }
    for asked in &asked {
        harness.begin(asked);
    }
    for stream in waiting {
        assert_eq!(harness.response(stream).status(), 200);
    }
    harness.end_session(&session, &lifecycle);
    for asked in &asked {
        assert_eq!(harness.at_exit(asked), ["end", "reset"]);
    }
    harness.finish();
}

/// A subscribe within a session: the response if it was refused, the exit's stream otherwise.
fn subscribed(
    harness: &mut Harness,
    session: &str,
    uri: &str,
) -> Result<ExitStream, Box<super::Response>> {
    let params = json!({ "uri": uri });
    let stream = harness.legacy(session, &json!(uri), "resources/subscribe", &params);
    match harness.exit_streams().pop() {
        Some(asked) => {
            harness.begin(&asked);
            assert_eq!(harness.response(stream).status(), 200);
            Ok(asked)
        }
        None => Err(Box::new(harness.response(stream))),
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
    let mut harness = harness_with(limits(100, 1_000), 1 << 20);
    let (session, lifecycle) = harness.session("2025-11-25");
    let (a, b) = ("a".repeat(60), "b".repeat(40));
    let first = subscribed(&mut harness, &session, &a).expect("60 of 100");
    let second = subscribed(&mut harness, &session, &b).expect("100 of 100");
    let refused = subscribed(&mut harness, &session, "c").expect_err("101 of 100");
    assert_eq!(refused.error(), (503, -32603));
    assert_eq!(
        refused.json()["error"]["message"],
        "Subscribing to this URI (1 bytes) would exceed the session's limit of 100 bytes \
         (maxSessionBytes); unsubscribe first."
    );
    // Subscribing again needs no space, and unsubscribing frees some.
    let params = json!({ "uri": a });
    let again = harness.legacy(&session, &json!(1), "resources/subscribe", &params);
    assert_eq!(harness.response(again).status(), 200);
    let ended = harness.legacy(&session, &json!(2), "resources/unsubscribe", &params);
    assert_eq!(harness.response(ended).status(), 200);
    assert_eq!(harness.at_exit(&first), ["end", "reset"]);
    let third = subscribed(&mut harness, &session, "c").expect("41 of 100");
    // Another session has its own limit.
    let (other, its) = harness.session("2025-11-25");
    let fourth = subscribed(&mut harness, &other, &a).expect("60 of 100");
    harness.end_session(&session, &lifecycle);
    harness.end_session(&other, &its);
    for asked in [&second, &third, &fourth] {
        assert_eq!(harness.at_exit(asked), ["end", "reset"]);
    }
    harness.finish();
}

#[test]
fn the_uris_of_a_worker_are_bounded_in_bytes() {
    let mut harness = harness_with(limits(100, 150), 1 << 20);
    let (session, lifecycle) = harness.session("2025-11-25");
    let (other, its) = harness.session("2025-11-25");
    let name = "a".repeat(90);
    let asked = subscribed(&mut harness, &session, &name).expect("90 of 150");
    let refused = subscribed(&mut harness, &other, &name).expect_err("180 of 150");
    assert_eq!(refused.error(), (503, -32603));
    assert_eq!(
        refused.json()["error"]["message"],
        "Subscribing to 90 more bytes of URIs would exceed the limit of 150 bytes \
         (maxSubscriptionBytes); retry later."
    );
    let params = json!({ "notifications": { "resourceSubscriptions": [name] } });
    let stream = harness.modern(&json!(1), "subscriptions/listen", params.clone());
    assert_eq!(harness.response(stream).error(), (503, -32603));
    harness.end_session(&session, &lifecycle);
    assert_eq!(harness.at_exit(&asked), ["end", "reset"]);
    // Now there is space.
    let stream = harness.modern(&json!(1), "subscriptions/listen", params);
    let asked = harness.exit_stream();
    assert!(subscribed(&mut harness, &other, &name).is_err());
    assert_eq!(harness.peek(stream).status(), 200);
    harness.disconnect(stream);
    assert_eq!(harness.at_exit(&asked), ["reset", "abort"]);
    let asked = subscribed(&mut harness, &other, &name).expect("90 of 150");
    harness.end_session(&other, &its);
    assert_eq!(harness.at_exit(&asked), ["end", "reset"]);
    harness.finish();
}

#[test]
fn updates_of_parts_are_bounded_and_none_is_lost() {
    let mut harness = harness_with(limits(10, 1_000), 1 << 20);
    let (session, lifecycle) = harness.session("2025-11-25");
    let asked = harness.subscribe(&session, "a");
    // An exit may name the part that has changed.
    for part in ["a/1", "a/2", "a/3", "a/4", "a/5", "a"] {
        harness.update(&asked, part);
    }
    let events = harness.get(&session);
    let expected: Vec<Value> = ["a", "a/1", "a/2", "a/3"].map(updated).into();
    assert_eq!(harness.response(events).events(), expected);
    harness.update(&asked, "a/4");
    assert_eq!(
        harness.response(events).events().len(),
        1,
        "there is space again"
    );
    harness.end_session(&session, &lifecycle);
    assert_eq!(harness.at_exit(&asked), ["end", "reset"]);
    assert!(harness.response(events).ended);
    harness.finish();
}
