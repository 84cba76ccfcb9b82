//! Messages that are large, or come in very small pieces.

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use tidegate_engine::StreamId;
use tidegate_streams::{DataFlags, Frame};

use super::{House, house, legacy_headers, modern_headers, request, with_meta};

/// A request whose body comes in parts, as the credit of a stream asks for.
pub(super) fn post(house: &mut House, pairs: &[(&str, &str)], body: &Value) -> StreamId {
    post_in(house, pairs, body, 16 * 1024)
}

fn post_in(house: &mut House, pairs: &[(&str, &str)], body: &Value, size: usize) -> StreamId {
    let stream = house.http_open(Method::POST, pairs);
    let mut body = Bytes::from(body.to_string());
    while !body.is_empty() {
        let part = body.split_to(body.len().min(size));
        house.rig.send(house.client, stream, Frame::data(part));
    }
    house.rig.send(house.client, stream, Frame::end());
    stream
}

#[test]
fn a_uri_that_no_topic_can_be_as_long_as_is_refused() {
    let mut house = house();
    let (session, lifecycle) = house.session("2025-11-25");
    let uri = "a".repeat(65_535 + 1_024 + 1);
    let params = json!({ "uri": uri });
    for method in [
        "resources/subscribe",
        "resources/unsubscribe",
        "resources/read",
    ] {
        let body = request(&json!(1), method, &params);
        let stream = post(&mut house, &legacy_headers(&session), &body);
        let response = house.response(stream);
        assert_eq!(response.error(), (400, -32602), "{method}");
        let sentence = "params.uri exceeds 66559 bytes.";
        assert_eq!(response.json()["error"]["message"], sentence);
    }
    let filter = json!({ "notifications": { "resourceSubscriptions": [uri] } });
    let body = request(&json!(1), "subscriptions/listen", &with_meta(filter));
    let pairs = modern_headers("subscriptions/listen", "");
    let stream = post(&mut house, &pairs, &body);
    assert_eq!(house.response(stream).error(), (400, -32602));
    house.nothing_asked();
    house.end_session(&session, &lifecycle);
    house.done();
}

#[test]
fn what_a_client_says_at_length_is_not_repeated_at_length() {
    let long = "x".repeat(50_000);
    let mut house = house();
    let named = with_meta(json!({ "name": long }));
    let versioned = json!({ "_meta": {
        super::VERSION: long, super::CAPABILITIES: {},
    } });
    let version = modern_headers("tools/list", "");
    let version = [
        &version[..2],
        &[("mcp-protocol-version", &*long), version[3]],
    ]
    .concat();
    for (pairs, method, params) in [
        (modern_headers(&long, ""), &*long, with_meta(json!({}))),
        (modern_headers("tools/call", "t"), "tools/call", named),
        (
            modern_headers("tools/list", ""),
            &*long,
            with_meta(json!({})),
        ),
        (version, "tools/list", versioned),
    ] {
        let stream = post(&mut house, &pairs, &request(&json!(1), method, &params));
        let response = house.response(stream);
        let code = response.json()["error"]["code"].clone();
        assert!(response.body().len() < 1_000, "{code}");
    }
    let token = json!({ "name": "t", "_meta": { "progressToken": "x".repeat(1_025) } });
    let stream = house.modern(&json!(1), "tools/call", token);
    assert_eq!(house.response(stream).error(), (400, -32602));
    house.nothing_asked();
    house.done();
}

#[test]
fn a_message_in_very_small_pieces_is_passed_on_in_large_ones() {
    let mut house = house();
    let arguments = json!({ "a": "x".repeat(20_000), "b": vec![1; 2_000] });
    let params = with_meta(json!({ "name": "t", "arguments": arguments }));
    let body = request(&json!(1), "tools/call", &params);
    let pairs = modern_headers("tools/call", "t");
    let stream = post_in(&mut house, &pairs, &body, 1);
    let asked = house.asked();
    assert_eq!(asked.params(), params);
    assert!(asked.params.len() < 100, "{}", asked.params.len());
    house.reply(&asked, "{}");
    assert_eq!(house.response(stream).status(), 200);
    let line = house.line();
    let text = body.to_string();
    for at in 0..text.len() {
        let flags = DataFlags::of(at == 0, at + 1 == text.len());
        let part = Bytes::copy_from_slice(&text.as_bytes()[at..=at]);
        house.rig.send(house.client, line, Frame::part(flags, part));
    }
    let asked = house.asked();
    assert_eq!(asked.params(), params);
    assert!(asked.params.len() < 100, "{}", asked.params.len());
    house.begin(&asked);
    // So is a result, where it is held until it is whole.
    for at in 0..10_000_usize {
        let text = match at {
            0 => "{\"a\":\"",
            9_999 => "\"}",
            _ => "x",
        };
        let flags = DataFlags::of(at == 0, at == 9_999);
        house.exit_sends(
            &asked,
            Frame::part(flags, Bytes::from_static(text.as_bytes())),
        );
    }
    house.exit_sends(&asked, Frame::end());
    let frames = house.rig.frames(house.client, line);
    assert!(frames.len() < 100, "{}", frames.len());
    assert_eq!(house.at_exit(&asked), ["end"]);
    house.end_line(line);
    house.done();
}
