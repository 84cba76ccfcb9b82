//! `subscriptions/listen` (2026-07-28).

use serde_json::{Value, json};
use tidegate_engine::{Duration, StreamId};
use tidegate_streams::Frame;
use tidegate_streams::mcp::{McpBeginEx, McpResetKind};

use super::{
    Asked, House, Response, house, house_with, modern_headers, notification, request, with_meta,
};
use crate::server::Options;

fn params(uris: &[&str]) -> Value {
    json!({ "notifications": { "toolsListChanged": true, "resourceSubscriptions": uris } })
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

/// A `listen` to `uris` that stands.
fn listening(house: &mut House, id: &Value, uris: &[&str]) -> (StreamId, Vec<Asked>) {
    let stream = house.modern(id, "subscriptions/listen", params(uris));
    let asked = house.all_asked();
    for asked in &asked {
        house.begin(asked);
    }
    assert_eq!(house.response(stream).events(), [acknowledged(id, uris)]);
    (stream, asked)
}

#[test]
fn the_acknowledgement_comes_first_once_each_resource_stands() {
    for id in [json!(7), json!("7")] {
        let mut house = house();
        let listen = params(&["b", "a", "b"]);
        let stream = house.modern(&id, "subscriptions/listen", listen);
        let asked = house.all_asked();
        assert_eq!(asked.len(), 2);
        for (asked, uri) in asked.iter().zip(["a", "b"]) {
            let McpBeginEx::ResourcesSubscribe(begin) = &asked.begin else {
                panic!("{asked:?}")
            };
            assert_eq!((&*begin.uri, &begin.session_id), (uri, &None));
            assert_eq!(asked.params(), json!({ "uri": uri }));
        }
        house.begin(&asked[1]);
        house.update(&asked[1], "b");
        let response = house.response(stream);
        assert_eq!(response.header("content-type"), "text/event-stream");
        assert_eq!(response.events(), [] as [Value; 0]);
        house.begin(&asked[0]);
        house.update(&asked[0], "a/x");
        assert_eq!(
            house.response(stream).events(),
            [
                acknowledged(&id, &["a", "b"]),
                updated(&id, "b"),
                updated(&id, "a/x")
            ]
        );
        house.leave(stream);
        assert_eq!(house.at_exit(&asked[0]), ["end", "reset"]);
        assert_eq!(house.at_exit(&asked[1]), ["end", "reset"]);
        house.done();
    }
}

#[test]
fn a_resource_that_cannot_be_had_is_missing_in_the_acknowledgement() {
    let mut house = house();
    let id = json!(1);
    let stream = house.modern(&id, "subscriptions/listen", params(&["a", "b", "c"]));
    let asked = house.all_asked();
    house.refuse(&asked[0], McpResetKind::NotFound);
    house.begin(&asked[2]);
    assert_eq!(house.response(stream).events(), [] as [Value; 0]);
    // One is never confirmed.
    house.rig.advance(Duration::from_millis(60_500));
    let events = house.response(stream).events();
    assert_eq!(events, [acknowledged(&id, &["c"])]);
    assert_eq!(house.at_exit(&asked[1]), ["reset", "abort"]);
    house.leave(stream);
    assert_eq!(house.at_exit(&asked[2]), ["end", "reset"]);
    house.done();
}

#[test]
fn a_listen_to_nothing_is_acknowledged_at_once() {
    for notifications in [
        json!({}),
        json!({ "resourceSubscriptions": [] }),
        json!({ "promptsListChanged": true }),
    ] {
        let mut house = house();
        let id = json!(1);
        let params = json!({ "notifications": notifications });
        let stream = house.modern(&id, "subscriptions/listen", params);
        assert_eq!(house.response(stream).events(), [acknowledged(&id, &[])]);
        house.nothing_asked();
        house.leave(stream);
        house.done();
    }
}

#[test]
fn what_is_no_filter_is_refused() {
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
        let mut house = house();
        let stream = house.modern(&json!(1), "subscriptions/listen", params);
        assert_eq!(house.response(stream).error(), (400, -32602));
        house.nothing_asked();
        house.done();
    }
    let mut house = house();
    let mut pairs = modern_headers("subscriptions/listen", "");
    pairs[1].1 = "application/json";
    let body = request(
        &json!(1),
        "subscriptions/listen",
        &with_meta(params(&["a"])),
    );
    let stream = house.post(&pairs, &body);
    assert_eq!(house.response(stream).error(), (400, -32600));
    house.done();
}

#[test]
fn updates_for_a_client_that_does_not_read_are_told_once() {
    let mut house = house_with(Options::default(), 1_000);
    let id = json!(1);
    let (stream, asked) = listening(&mut house, &id, &["a"]);
    for _ in 0..1_000 {
        house.update(&asked[0], "a");
        house.update(&asked[0], "a/b");
    }
    let mut text = String::new();
    loop {
        let response = house.response(stream);
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
    house.leave(stream);
    assert_eq!(house.at_exit(&asked[0]), ["end", "reset"]);
    house.done();
}

#[test]
fn it_is_kept_open_by_comments() {
    let mut house = house();
    let (stream, asked) = listening(&mut house, &json!(1), &["a"]);
    house.rig.advance(Duration::from_millis(45_000));
    assert_eq!(house.response(stream).text(), ": keep-alive\n\n".repeat(3));
    house.leave(stream);
    assert_eq!(house.at_exit(&asked[0]), ["end", "reset"]);
    house.done();
}

#[test]
fn a_client_that_goes_before_the_acknowledgement_leaves_nothing() {
    let mut house = house();
    let stream = house.modern(&json!(1), "subscriptions/listen", params(&["a", "b"]));
    let asked = house.all_asked();
    house.begin(&asked[0]);
    assert_eq!(house.peek(stream).events(), [] as [Value; 0]);
    house.leave(stream);
    assert_eq!(house.at_exit(&asked[0]), ["end", "reset"]);
    assert_eq!(house.at_exit(&asked[1]), ["reset", "abort"]);
    house.done();
}

#[test]
fn a_resource_that_is_lost_ends_it_with_an_error() {
    type Lose = fn(&mut House, &Asked);
    let lost: [(Lose, i64); 3] = [
        (|house, asked| house.exit_sends(asked, Frame::end()), -32603),
        (
            |house, asked| house.refuse(asked, McpResetKind::SlowConsumer),
            -32603,
        ),
        (
            |house, asked| house.refuse(asked, McpResetKind::NotFound),
            -32602,
        ),
    ];
    for (lose, code) in lost {
        let mut house = house();
        let id = json!(1);
        let (stream, asked) = listening(&mut house, &id, &["a", "b"]);
        lose(&mut house, &asked[0]);
        let response: Response = house.response(stream);
        assert!(response.ended);
        let events = response.events();
        assert_eq!(
            (&events[0]["id"], &events[0]["error"]["code"]),
            (&id, &json!(code))
        );
        assert_eq!(house.at_exit(&asked[1]), ["end", "reset"]);
        house.rig.frames(house.exit, asked[0].stream);
        house.done();
    }
}

#[test]
fn it_ends_in_order_when_the_gateway_stops() {
    let mut house = house();
    let id = json!("x");
    let (stream, asked) = listening(&mut house, &id, &["a"]);
    house.shut_down();
    let response = house.response(stream);
    assert_eq!(
        (response.events(), response.ended),
        (vec![ended(&id)], true)
    );
    assert_eq!(house.at_exit(&asked[0]), ["end", "reset"]);
    house.done();
}

#[test]
fn several_on_a_line_are_told_apart_and_cancelled_by_their_ids() {
    let mut house = house();
    let line = house.line();
    let (one, two) = (json!(1), json!("1"));
    for id in [&one, &two] {
        house.say_modern(line, id, "subscriptions/listen", params(&["a"]));
        let asked = house.asked();
        house.begin(&asked);
        assert_eq!(house.heard(line), [acknowledged(id, &["a"])]);
        house.update(&asked, "a");
        assert_eq!(house.heard(line), [updated(id, "a")]);
        if *id == one {
            let params = json!({ "requestId": id });
            house.say(line, &notification("notifications/cancelled", &params));
            assert_eq!(house.heard(line), [] as [Value; 0]);
        } else {
            // The end of input ends what is still listened to.
            house.rig.send(house.client, line, Frame::end());
            let params = json!({ "requestId": id, "reason": "The subscription has ended." });
            let cancelled = notification("notifications/cancelled", &params);
            assert_eq!(house.heard_last(line), (vec![cancelled, ended(id)], true));
        }
        assert_eq!(house.at_exit(&asked), ["end", "reset"]);
    }
    house.done();
}

#[test]
fn an_id_on_a_line_serves_one_at_a_time() {
    let mut house = house();
    let line = house.line();
    house.say_modern(line, &json!(1), "subscriptions/listen", params(&["a"]));
    let asked = house.asked();
    house.say_modern(line, &json!(1), "subscriptions/listen", params(&["b"]));
    assert_eq!(house.heard(line)[0]["error"]["code"], -32600);
    house.leave(line);
    assert_eq!(house.at_exit(&asked), ["reset", "abort"]);
    house.done();
}
