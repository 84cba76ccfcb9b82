//! Messages that are large, or arrive in very small pieces.

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use tidegate_engine::StreamId;
use tidegate_streams::{DataFlags, Frame};

use super::{Harness, harness, legacy_headers, modern_headers, request, with_meta};

/// A request whose body arrives in parts, as the credit allows.
pub(super) fn post(harness: &mut Harness, pairs: &[(&str, &str)], body: &Value) -> StreamId {
    post_in(harness, pairs, body, 16 * 1024)
}

fn post_in(harness: &mut Harness, pairs: &[(&str, &str)], body: &Value, size: usize) -> StreamId {
    let stream = harness.http_open(Method::POST, pairs);
    let mut body = Bytes::from(body.to_string());
    while !body.is_empty() {
        let part = body.split_to(body.len().min(size));
        harness.rig.send(harness.client, stream, Frame::data(part));
    }
    harness.rig.send(harness.client, stream, Frame::end());
    stream
}

#[test]
fn a_uri_longer_than_any_topic_is_refused() {
    let mut harness = harness();
    let (session, lifecycle) = harness.session("2025-11-25");
    let uri = "a".repeat(65_535 + 1_024 + 1);
    let params = json!({ "uri": uri });
    for method in [
        "resources/subscribe",
        "resources/unsubscribe",
        "resources/read",
    ] {
        let body = request(&json!(1), method, &params);
        let stream = post(&mut harness, &legacy_headers(&session), &body);
        let response = harness.response(stream);
        assert_eq!(response.error(), (400, -32602), "{method}");
        let sentence = "params.uri exceeds 66559 bytes.";
        assert_eq!(response.json()["error"]["message"], sentence);
    }
    let filter = json!({ "notifications": { "resourceSubscriptions": [uri] } });
    let body = request(&json!(1), "subscriptions/listen", &with_meta(filter));
    let pairs = modern_headers("subscriptions/listen", "");
    let stream = post(&mut harness, &pairs, &body);
    assert_eq!(harness.response(stream).error(), (400, -32602));
    harness.assert_no_exit_stream();
    harness.end_session(&session, &lifecycle);
    harness.finish();
}

#[test]
fn long_client_texts_are_shortened_in_errors() {
    let long = "x".repeat(50_000);
    let mut harness = harness();
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
        let stream = post(&mut harness, &pairs, &request(&json!(1), method, &params));
        let response = harness.response(stream);
        let code = response.json()["error"]["code"].clone();
        assert!(response.body().len() < 1_000, "{code}");
    }
    let token = json!({ "name": "t", "_meta": { "progressToken": "x".repeat(1_025) } });
    let stream = harness.modern(&json!(1), "tools/call", token);
    assert_eq!(harness.response(stream).error(), (400, -32602));
    harness.assert_no_exit_stream();
    harness.finish();
}

#[test]
fn small_pieces_of_a_message_are_merged() {
    let mut harness = harness();
    let arguments = json!({ "a": "x".repeat(20_000), "b": vec![1; 2_000] });
    let params = with_meta(json!({ "name": "t", "arguments": arguments }));
    let body = request(&json!(1), "tools/call", &params);
    let pairs = modern_headers("tools/call", "t");
    let stream = post_in(&mut harness, &pairs, &body, 1);
    let asked = harness.exit_stream();
    assert_eq!(asked.params(), params);
    assert!(asked.params.len() < 100, "{}", asked.params.len());
    harness.reply(&asked, "{}");
    assert_eq!(harness.response(stream).status(), 200);
    let line = harness.line();
    let text = body.to_string();
    for at in 0..text.len() {
        let flags = DataFlags::of(at == 0, at + 1 == text.len());
        let part = Bytes::copy_from_slice(&text.as_bytes()[at..=at]);
        harness
            .rig
            .send(harness.client, line, Frame::part(flags, part));
    }
    let asked = harness.exit_stream();
    assert_eq!(asked.params(), params);
    assert!(asked.params.len() < 100, "{}", asked.params.len());
    harness.begin(&asked);
    // So is a result that is buffered until it is complete.
    for at in 0..10_000_usize {
        let text = match at {
            0 => "{\"a\":\"",
            9_999 => "\"}",
            _ => "x",
        };
        let flags = DataFlags::of(at == 0, at == 9_999);
        harness.exit_sends(
            &asked,
            Frame::part(flags, Bytes::from_static(text.as_bytes())),
        );
    }
    harness.exit_sends(&asked, Frame::end());
    let frames = harness.rig.frames(harness.client, line);
    assert!(frames.len() < 100, "{}", frames.len());
    assert_eq!(harness.at_exit(&asked), ["end"]);
    harness.end_line(line);
    harness.finish();
}
