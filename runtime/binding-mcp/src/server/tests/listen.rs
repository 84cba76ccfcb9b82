//! `subscriptions/listen` (2026-07-28).

use serde_json::{Value, json};
use tidegate_engine::{Duration, StreamId};
use tidegate_streams::Frame;
use tidegate_streams::mcp::{McpBeginEx, McpResetKind};

use super::{
    ExitStream, Harness, Response, harness, harness_with, modern_headers, notification, request,
    with_meta,
};
use crate::server::Options;

fn params(uris: &[&str]) -> Value {
    json!({ "notifications": { "toolsListChanged": false, "resourceSubscriptions": uris } })
}

fn meta(id: &Value) -> Value {
    json!({ "io.modelcontextprotocol/subscriptionId": id })
}

fn acknowledged(id: &Value, uris: &[&str]) -> Value {
    let honoured = if uris.is_empty() {
        json!({})
    } else {
        json!({ "resourceSubscriptions": uris })
    };
    let params = json!({ "_meta": meta(id), "notifications": honoured });
    notification("notifications/subscriptions/acknowledged", &params)
}

fn updated(id: &Value, uri: &str) -> Value {
    let params = json!({ "_meta": meta(id), "uri": uri });
    notification("notifications/resources/updated", &params)
}

fn ended(id: &Value) -> Value {
    let result = json!({ "resultType": "complete", "_meta": meta(id) });
    json!({ "jsonrpc": "2.0", "id": id, "result": result })
}

/// A confirmed `listen` to `uris`.
fn listening(harness: &mut Harness, id: &Value, uris: &[&str]) -> (StreamId, Vec<ExitStream>) {
    let stream = harness.modern(id, "subscriptions/listen", params(uris));
    let asked = harness.exit_streams();
    for asked in &asked {
        harness.begin(asked);
    }
    assert_eq!(harness.response(stream).events(), [acknowledged(id, uris)]);
    (stream, asked)
}

#[test]
fn the_acknowledgement_follows_the_last_confirmation() {
    for id in [json!(7), json!("7")] {
        let mut harness = harness();
        let listen = params(&["b", "a", "b"]);
        let stream = harness.modern(&id, "subscriptions/listen", listen);
        let asked = harness.exit_streams();
        assert_eq!(asked.len(), 2);
        for (asked, uri) in asked.iter().zip(["a", "b"]) {
            let McpBeginEx::ResourcesSubscribe(begin) = &asked.begin else {
                panic!("{asked:?}")
            };
            assert_eq!((&*begin.uri, &begin.session_id), (uri, &None));
            assert_eq!(asked.params(), json!({ "uri": uri }));
        }
        harness.begin(&asked[1]);
        harness.update(&asked[1], "b");
        let response = harness.response(stream);
        assert_eq!(response.header("content-type"), "text/event-stream");
        assert_eq!(response.events(), [] as [Value; 0]);
        harness.begin(&asked[0]);
        harness.update(&asked[0], "a/x");
        assert_eq!(
            harness.response(stream).events(),
            [
                acknowledged(&id, &["a", "b"]),
                updated(&id, "b"),
                updated(&id, "a/x")
            ]
        );
        harness.disconnect(stream);
        assert_eq!(harness.at_exit(&asked[0]), ["end", "reset"]);
        assert_eq!(harness.at_exit(&asked[1]), ["end", "reset"]);
        harness.finish();
    }
}

#[test]
fn a_refused_resource_is_missing_in_the_acknowledgement() {
    let mut harness = harness();
    let id = json!(1);
    let stream = harness.modern(&id, "subscriptions/listen", params(&["a", "b", "c"]));
    let asked = harness.exit_streams();
    harness.refuse(&asked[0], McpResetKind::NotFound);
    harness.begin(&asked[2]);
    assert_eq!(harness.response(stream).events(), [] as [Value; 0]);
    // One is never confirmed.
    harness.rig.advance(Duration::from_millis(60_500));
    let mut expected = acknowledged(&id, &["c"]);
    expected["params"]["_meta"]["tidegate/refused"] = json!([
        { "uri": "a", "reason": "So it is." },
        { "uri": "b", "reason": "No confirmation within 60000 ms." },
    ]);
    assert_eq!(harness.response(stream).events(), [expected]);
    assert_eq!(harness.at_exit(&asked[1]), ["reset", "abort"]);
    harness.disconnect(stream);
    assert_eq!(harness.at_exit(&asked[2]), ["end", "reset"]);
    harness.finish();
}

#[test]
fn a_listen_to_nothing_is_acknowledged_at_once() {
    for notifications in [
        json!({}),
        json!({ "resourceSubscriptions": [] }),
        json!({ "promptsListChanged": null }),
    ] {
        let mut harness = harness();
        let id = json!(1);
        let params = json!({ "notifications": notifications });
        let stream = harness.modern(&id, "subscriptions/listen", params);
        assert_eq!(harness.response(stream).events(), [acknowledged(&id, &[])]);
        harness.assert_no_exit_stream();
        harness.disconnect(stream);
        harness.finish();
    }
}

#[test]
fn an_invalid_filter_is_refused() {
    let many: Vec<String> = (0..1_001).map(|uri| uri.to_string()).collect();
    let again = vec!["a"; 1_001];
    for params in [
        json!({}),
        json!({ "notifications": [] }),
        json!({ "notifications": { "resourceSubscriptions": "a" } }),
        json!({ "notifications": { "resourceSubscriptions": ["a", 1] } }),
        json!({ "notifications": { "resourceSubscriptions": many } }),
        json!({ "notifications": { "resourceSubscriptions": again } }),
    ] {
        let mut harness = harness();
        let stream = harness.modern(&json!(1), "subscriptions/listen", params);
        assert_eq!(harness.response(stream).error(), (400, -32602));
        harness.assert_no_exit_stream();
        harness.finish();
    }
    let mut harness = harness();
    let mut pairs = modern_headers("subscriptions/listen", "");
    pairs[1].1 = "application/json";
    let body = request(
        &json!(1),
        "subscriptions/listen",
        &with_meta(params(&["a"])),
    );
    let stream = harness.post(&pairs, &body);
    assert_eq!(harness.response(stream).error(), (400, -32600));
    harness.finish();
}

#[test]
fn updates_for_a_client_that_does_not_read_are_coalesced() {
    let mut harness = harness_with(Options::default(), 1_000);
    let id = json!(1);
    let (stream, asked) = listening(&mut harness, &id, &["a"]);
    for _ in 0..1_000 {
        harness.update(&asked[0], "a");
        harness.update(&asked[0], "a/b");
    }
    let mut text = String::new();
    loop {
        let response = harness.response(stream);
        if response.parts.is_empty() {
            break;
        }
        text += &response.text();
    }
    let told = super::events(&text);
    assert!((3..20).contains(&told.len()), "{}", told.len());
    assert_eq!(
        told[told.len() - 2..],
        [updated(&id, "a"), updated(&id, "a/b")]
    );
    harness.disconnect(stream);
    assert_eq!(harness.at_exit(&asked[0]), ["end", "reset"]);
    harness.finish();
}

#[test]
fn it_is_kept_open_by_comments() {
    let mut harness = harness();
    let (stream, asked) = listening(&mut harness, &json!(1), &["a"]);
    harness.rig.advance(Duration::from_millis(45_000));
    assert_eq!(
        harness.response(stream).text(),
        ": keep-alive\n\n".repeat(3)
    );
    harness.disconnect(stream);
    assert_eq!(harness.at_exit(&asked[0]), ["end", "reset"]);
    harness.finish();
}

#[test]
fn a_disconnect_before_the_acknowledgement_removes_the_listen() {
    let mut harness = harness();
    let stream = harness.modern(&json!(1), "subscriptions/listen", params(&["a", "b"]));
    let asked = harness.exit_streams();
    harness.begin(&asked[0]);
    assert_eq!(harness.peek(stream).events(), [] as [Value; 0]);
    harness.disconnect(stream);
    assert_eq!(harness.at_exit(&asked[0]), ["end", "reset"]);
    assert_eq!(harness.at_exit(&asked[1]), ["reset", "abort"]);
    harness.finish();
}

#[test]
fn a_lost_subscription_ends_a_listen_with_an_error() {
    type Lose = fn(&mut Harness, &ExitStream);
    let lost: [(Lose, i64); 3] = [
        (
            |harness, asked| harness.exit_sends(asked, Frame::end()),
            -32603,
        ),
        (
            |harness, asked| harness.refuse(asked, McpResetKind::SlowConsumer),
            -32603,
        ),
        (
            |harness, asked| harness.refuse(asked, McpResetKind::NotFound),
            -32602,
        ),
    ];
    for (lose, code) in lost {
        let mut harness = harness();
        let id = json!(1);
        let (stream, asked) = listening(&mut harness, &id, &["a", "b"]);
        lose(&mut harness, &asked[0]);
        let response: Response = harness.response(stream);
        assert!(response.ended);
        let events = response.events();
        assert_eq!(
            (&events[0]["id"], &events[0]["error"]["code"]),
            (&id, &json!(code))
        );
        assert_eq!(harness.at_exit(&asked[1]), ["end", "reset"]);
        harness.rig.frames(harness.exit, asked[0].stream);
        harness.finish();
    }
}

#[test]
fn it_ends_in_order_when_the_gateway_stops() {
    let mut harness = harness();
    let id = json!("x");
    let (stream, asked) = listening(&mut harness, &id, &["a"]);
    harness.shut_down();
    let response = harness.response(stream);
    assert_eq!(
        (response.events(), response.ended),
        (vec![ended(&id)], true)
    );
    assert_eq!(harness.at_exit(&asked[0]), ["end", "reset"]);
    harness.finish();
}

#[test]
fn listens_on_a_line_are_identified_and_cancelled_by_id() {
    let mut harness = harness();
    let line = harness.line();
    let (one, two) = (json!(1), json!("1"));
    for id in [&one, &two] {
        harness.send_modern_line(line, id, "subscriptions/listen", params(&["a"]));
        let asked = harness.exit_stream();
        harness.begin(&asked);
        assert_eq!(harness.line_messages(line), [acknowledged(id, &["a"])]);
        harness.update(&asked, "a");
        assert_eq!(harness.line_messages(line), [updated(id, "a")]);
        if *id == one {
            let params = json!({ "requestId": id });
            harness.send_line(line, &notification("notifications/cancelled", &params));
            assert_eq!(harness.line_messages(line), [] as [Value; 0]);
        } else {
            // The end of input ends subscriptions.
            harness.rig.send(harness.client, line, Frame::end());
            let params = json!({ "requestId": id, "reason": "The subscription has ended." });
            let cancelled = notification("notifications/cancelled", &params);
            assert_eq!(
                harness.last_line_messages(line),
                (vec![cancelled, ended(id)], true)
            );
        }
        assert_eq!(harness.at_exit(&asked), ["end", "reset"]);
    }
    harness.finish();
}

#[test]
fn an_id_on_a_line_is_used_by_one_request_at_a_time() {
    let mut harness = harness();
    let line = harness.line();
    harness.send_modern_line(line, &json!(1), "subscriptions/listen", params(&["a"]));
    let asked = harness.exit_stream();
    harness.send_modern_line(line, &json!(1), "subscriptions/listen", params(&["b"]));
    assert_eq!(harness.line_messages(line)[0]["error"]["code"], -32600);
    harness.disconnect(line);
    assert_eq!(harness.at_exit(&asked), ["reset", "abort"]);
    harness.finish();
}
