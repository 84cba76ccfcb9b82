//! Refusals, with their status and code.

use proptest::prelude::*;
use serde_json::{Value, json};
use tidegate_streams::mcp::{McpReset, McpResetKind};

use super::{
    BOTH, CAPABILITIES, Harness, VERSION, harness, harness_with, modern_headers, request, with_meta,
};
use crate::server::Options;
use bytes::Bytes;
use http::Method;
use tidegate_streams::Frame;

fn posted(harness: &mut Harness, body: impl Into<Bytes>) -> super::Response {
    let stream = harness.http(Method::POST, &modern_headers("tools/list", ""), body);
    harness.response(stream)
}

#[test]
fn invalid_json_is_a_parse_error() {
    for body in ["", "{", "nonsense", "{\"a\":1}}", "\u{feff}{}", "{'a':1}"] {
        let mut harness = harness();
        let response = posted(&mut harness, body);
        assert_eq!(response.error(), (400, -32700), "{body:?}");
        assert_eq!(response.json()["id"], Value::Null);
        harness.finish();
    }
}

#[test]
fn invalid_json_rpc_is_an_invalid_request() {
    for (body, id) in [
        ("7", json!(null)),
        ("\"x\"", json!(null)),
        ("null", json!(null)),
        ("{}", json!(null)),
        (
            "{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"ping\"}",
            json!(1),
        ),
        ("{\"id\":1,\"method\":\"ping\"}", json!(1)),
        ("{\"jsonrpc\":\"2.0\",\"id\":1}", json!(1)),
        ("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":7}", json!(1)),
        (
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"params\":[]}",
            json!(1),
        ),
        (
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"params\":null}",
            json!(1),
        ),
    ] {
        let mut harness = harness();
        let response = posted(&mut harness, body);
        assert_eq!(response.error(), (400, -32600), "{body}");
        assert_eq!(response.json()["id"], id, "{body}");
        harness.finish();
    }
}

#[test]
fn an_invalid_id_is_refused() {
    let long = format!("\"{}\"", "x".repeat(1_100));
    for id in ["null", "true", "1.5", "1e3", "[]", "{}", &long] {
        let mut harness = harness();
        let body = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"tools/list\"}}");
        let response = posted(&mut harness, body);
        assert_eq!(response.error(), (400, -32600), "{id}");
        assert_eq!(response.json()["id"], Value::Null, "{id}");
        harness.finish();
    }
}

#[test]
fn a_duplicate_member_is_refused() {
    let params = with_meta(json!({ "name": "t" })).to_string();
    let twice = [
        format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"id\":2,\"method\":\"m\",\"params\":{params}}}"),
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"m\",\"m\\u0065thod\":\"n\"}".to_owned(),
        format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{{\"name\":\"u\",{}}}",
            &params[1..]
        ),
    ];
    for (body, code) in twice.into_iter().zip([-32600, -32600, -32602]) {
        let mut harness = harness();
        let stream = harness.http(Method::POST, &modern_headers("tools/call", "t"), body);
        assert_eq!(harness.response(stream).error(), (400, code));
        harness.assert_no_exit_stream();
        harness.finish();
    }
}

#[test]
fn a_missing_or_contradicting_header_is_a_mismatch() {
    let body = request(&json!(1), "tools/call", &with_meta(json!({ "name": "t" })));
    let right = modern_headers("tools/call", "t");
    let without = |name: &str| {
        let pairs = right.iter().filter(|(header, _)| *header != name);
        pairs.copied().collect::<Vec<_>>()
    };
    let with = |name: &'static str, value: &'static str| {
        let mut pairs = without(name);
        pairs.push((name, value));
        pairs
    };
    let twice = [&right[..], &[("mcp-name", "t")]].concat();
    for pairs in [
        without("mcp-protocol-version"),
        without("mcp-method"),
        without("mcp-name"),
        with("mcp-protocol-version", "2025-11-25"),
        with("mcp-method", "tools/list"),
        with("mcp-method", "Tools/Call"),
        with("mcp-name", "u"),
        with("mcp-name", "=?base64?dQ==?="),
        with("mcp-name", "=?base64?dA=?="),
        // Only Mcp-Name may be encoded.
        with("mcp-method", "=?base64?dG9vbHMvY2FsbA==?="),
        twice,
    ] {
        let mut harness = harness();
        let stream = harness.post(&pairs, &body);
        assert_eq!(harness.response(stream).error(), (400, -32020), "{pairs:?}");
        harness.assert_no_exit_stream();
        harness.finish();
    }
}

#[test]
fn a_parameter_header_that_cannot_be_read_is_a_mismatch() {
    let body = request(&json!(1), "tools/call", &with_meta(json!({ "name": "t" })));
    let mut pairs = modern_headers("tools/call", "t");
    pairs.push(("mcp-param-region", "=?base64?%?="));
    let mut harness = harness();
    let stream = harness.post(&pairs, &body);
    assert_eq!(harness.response(stream).error(), (400, -32020));
    harness.assert_no_exit_stream();
    harness.finish();
}

#[test]
fn a_modern_request_without_client_metadata_is_refused() {
    let whole = with_meta(json!({}));
    for (key, value) in [
        (VERSION, None),
        (VERSION, Some(json!(7))),
        (CAPABILITIES, None),
        (CAPABILITIES, Some(json!("all"))),
    ] {
        let mut params = whole.clone();
        let meta = params["_meta"].as_object_mut().expect("an object");
        meta.remove(key);
        if let Some(value) = value {
            meta.insert(key.to_owned(), value);
        }
        let mut harness = harness();
        let pairs = modern_headers("tools/list", "");
        let stream = harness.post(&pairs, &request(&json!(1), "tools/list", &params));
        assert_eq!(harness.response(stream).error(), (400, -32602), "{params}");
        harness.assert_no_exit_stream();
        harness.finish();
    }
}

#[test]
fn an_unsupported_version_is_answered_with_the_supported_ones() {
    let mut params = with_meta(json!({}));
    params["_meta"][VERSION] = json!("1900-01-01");
    let mut bare = params.clone();
    bare["_meta"] = json!({});
    for params in [params, bare] {
        let mut harness = harness();
        let mut pairs = modern_headers("tools/list", "");
        pairs[2] = ("mcp-protocol-version", "1900-01-01");
        let stream = harness.post(&pairs, &request(&json!(1), "tools/list", &params));
        let response = harness.response(stream);
        assert_eq!(response.error(), (400, -32022));
        let supported = ["2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26"];
        assert_eq!(
            response.json()["error"]["data"],
            json!({ "supported": supported, "requested": "1900-01-01" })
        );
        harness.finish();
    }
}

#[test]
fn an_unknown_method_is_not_found_in_the_modern_era_and_an_error_in_the_legacy_one() {
    let mut harness = harness();
    let stream = harness.modern(&json!(1), "no/such", json!({}));
    assert_eq!(harness.response(stream).error(), (404, -32601));
    // Each era has methods that the other lacks.
    let stream = harness.modern(&json!(1), "ping", json!({}));
    assert_eq!(harness.response(stream).error(), (404, -32601));
    let (session, lifecycle) = harness.session("2025-11-25");
    let stream = harness.legacy(&session, &json!(1), "no/such", &json!({}));
    assert_eq!(harness.response(stream).error(), (200, -32601));
    harness.end_session(&session, &lifecycle);
    harness.finish();
}

#[test]
fn a_request_without_its_subject_is_refused() {
    for (method, params) in [
        ("tools/call", json!({})),
        ("tools/call", json!({ "name": 7 })),
        ("prompts/get", json!({ "uri": "x" })),
        ("resources/read", json!({ "name": "x" })),
    ] {
        let mut harness = harness();
        let stream = harness.modern(&json!(1), method, params);
        assert_eq!(harness.response(stream).error(), (400, -32602), "{method}");
        harness.assert_no_exit_stream();
        harness.finish();
    }
}

#[test]
fn unsupported_media_types_are_refused() {
    let body = request(&json!(1), "tools/list", &with_meta(json!({})));
    let types = |content: &'static str, accept: &'static str| {
        let mut pairs = modern_headers("tools/list", "");
        pairs[0].1 = content;
        pairs[1].1 = accept;
        pairs
    };
    for (pairs, status) in [
        (types("text/plain", BOTH), 415),
        (types("", BOTH), 415),
        (types("application/json", "text/html"), 406),
        (types("application/json", "application/xml, image/*"), 406),
        (types("application/json", "text/html, */*; q=0.00"), 406),
    ] {
        let mut harness = harness();
        let stream = harness.post(&pairs, &body);
        let response = harness.response(stream);
        assert_eq!((response.status(), response.ended), (status, true));
        harness.assert_no_exit_stream();
        harness.finish();
    }
    for pairs in [
        types("application/json; charset=utf-8", "*/*"),
        types("Application/JSON", "text/html, application/*;q=0.1"),
        types("application/json", "TEXT/EVENT-STREAM"),
        modern_headers("tools/list", "")[2..].to_vec(),
    ] {
        let mut harness = harness();
        let stream = harness.post(&pairs, &body);
        let asked = harness.exit_stream();
        harness.reply(&asked, "{\"tools\":[]}");
        assert_eq!(harness.response(stream).status(), 200, "{pairs:?}");
        harness.finish();
    }
}

#[test]
fn other_http_methods_are_answered_with_the_allowed_ones() {
    for verb in [Method::PUT, Method::GET, Method::DELETE, Method::HEAD] {
        let mut harness = harness();
        let stream = harness.http(verb, &[("accept", "*/*")], "");
        let response = harness.response(stream);
        assert_eq!((response.status(), response.ended), (405, true));
        assert_eq!(response.header("allow"), "POST, GET, DELETE");
        harness.finish();
    }
}

#[test]
fn an_oversized_message_is_answered_before_the_rest_is_reset() {
    let options = Options {
        max_message_size: 1_000,
        ..Options::default()
    };
    let mut harness = harness_with(options, 1 << 20);
    let stream = harness.http_open(Method::POST, &modern_headers("tools/list", ""));
    for _ in 0..3 {
        let body = Bytes::from(vec![b' '; 600]);
        harness.rig.send(harness.client, stream, Frame::data(body));
    }
    let response = harness.response(stream);
    assert_eq!(response.error(), (400, -32600));
    assert_eq!(response.reset_behind_head, Some(true));
    harness.finish();
}

#[test]
fn each_kind_of_refusal_has_its_code_in_each_era() {
    use McpResetKind as K;
    let call = ("tools/call", json!({ "name": "t" }));
    let read = ("resources/read", json!({ "uri": "u" }));
    let complete = ("completion/complete", json!({}));
    for (kind, (method, params), modern, legacy) in [
        (K::Invalid, &call, (200, -32602), (200, -32602)),
        (K::TooLarge, &call, (200, -32602), (200, -32602)),
        (K::NotFound, &call, (200, -32602), (200, -32602)),
        (K::NotFound, &read, (200, -32602), (200, -32002)),
        (K::NotFound, &complete, (404, -32601), (200, -32601)),
        (K::NotAuthorized, &call, (403, -32603), (403, -32603)),
        (K::HeaderMismatch, &call, (400, -32020), (400, -32020)),
        (K::TimedOut, &call, (200, -32603), (200, -32603)),
        (K::Unavailable, &call, (200, -32603), (200, -32603)),
        (K::SlowConsumer, &call, (200, -32603), (200, -32603)),
        (K::Internal, &call, (200, -32603), (200, -32603)),
        (K::Relayed, &call, (200, -32603), (200, -32603)),
    ] {
        let mut harness = harness();
        let stream = harness.modern(&json!(1), method, params.clone());
        let asked = harness.exit_stream();
        harness.refuse(&asked, kind);
        let response = harness.response(stream);
        assert_eq!(response.error(), modern, "{kind:?} {method}");
        assert_eq!(response.json()["error"]["message"], "So it is.");
        let (session, lifecycle) = harness.session("2025-11-25");
        let stream = harness.legacy(&session, &json!(1), method, params);
        let asked = harness.exit_stream();
        harness.refuse(&asked, kind);
        assert_eq!(
            harness.response(stream).error(),
            legacy,
            "{kind:?} {method}"
        );
        harness.end_session(&session, &lifecycle);
        harness.finish();
    }
}

#[test]
fn a_relayed_error_keeps_its_code_and_data() {
    let mut harness = harness();
    let stream = harness.call(1);
    let asked = harness.exit_stream();
    let reset = McpReset {
        code: Some(-7),
        data: Some(Bytes::from_static(b"{\"a\":[1]}")),
        ..McpReset::new(McpResetKind::Relayed, "\"No\"\n")
    };
    harness.rig.turn(harness.exit, |cx| {
        cx.terminate(asked.stream, Some(reset.into()), None);
    });
    assert_eq!(
        harness.response(stream).json(),
        json!({ "jsonrpc": "2.0", "id": 1,
            "error": { "code": -7, "message": "\"No\"\n", "data": { "a": [1] } } })
    );
    harness.finish();
}

#[test]
fn an_abort_by_the_exit_is_an_internal_error() {
    for begun in [false, true] {
        let mut harness = harness();
        let stream = harness.call(1);
        let asked = harness.exit_stream();
        if begun {
            harness.begin(&asked);
        }
        harness.rig.turn(harness.exit, |cx| {
            cx.terminate(asked.stream, None, None);
        });
        assert_eq!(harness.response(stream).error(), (200, -32603));
        harness.finish();
    }
}

proptest! {
    // For any input: no panic, and exactly one response.
    #[test]
    fn any_body_gets_exactly_one_answer(
        body in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..200),
            proptest::collection::vec(
                prop_oneof![
                    Just("{"), Just("}"), Just("["), Just("]"), Just(","), Just(":"), Just("1"),
                    Just("null"), Just("\"jsonrpc\":\"2.0\""), Just("\"id\":7"), Just("\"x\""),
                    Just("\"method\":\"tools/list\""), Just("\"method\":\"server/discover\""),
                    Just("\"method\":\"initialize\""), Just("\"params\":{"), Just("\"_meta\":{"),
                ],
                0..24,
            ).prop_map(|words| words.concat().into_bytes()),
        ],
        legacy in any::<bool>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut harness = harness();
        let pairs = if legacy {
            vec![("content-type", "application/json"), ("accept", BOTH)]
        } else {
            modern_headers("tools/list", "")
        };
        let stream = harness.http_open(Method::POST, &pairs);
        let body = Bytes::from(body);
        let (head, tail) = (body.slice(..cut.index(body.len() + 1)), body.slice(cut.index(body.len() + 1)..));
        for part in [head, tail] {
            harness.rig.send(harness.client, stream, Frame::data(part));
        }
        harness.rig.send(harness.client, stream, Frame::end());
        for asked in harness.exit_streams() {
            harness.refuse(&asked, McpResetKind::Unavailable);
        }
        let response = harness.response(stream);
        prop_assert!(response.status.is_some() && response.ended && !response.broken);
        if !response.parts.is_empty() {
            prop_assert_eq!(&response.json()["jsonrpc"], "2.0");
        }
        harness.finish();
    }
}
