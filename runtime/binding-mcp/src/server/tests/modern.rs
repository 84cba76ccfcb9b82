//! 2026-07-28: requests that stand alone.

use bytes::Bytes;
use http::Method;
use proptest::prelude::*;
use serde_json::json;
use tidegate_engine::Duration;
use tidegate_streams::mcp::{
    McpBeginEx, McpCacheScope, McpCapabilities, McpEnd, McpHeader, McpLifecycle, McpOutcome,
    McpResetKind,
};
use tidegate_streams::{Data, DataEx, Frame, Pooled};

use super::{Harness, harness, harness_with, modern_headers, notification, request, with_meta};
use crate::server::Options;

fn server_info() -> serde_json::Value {
    json!({ "io.modelcontextprotocol/serverInfo":
        { "name": "tidegate", "version": env!("CARGO_PKG_VERSION") } })
}

#[test]
fn each_method_becomes_its_stream() {
    for (method, params, word) in [
        ("tools/list", json!({}), "toolsList"),
        ("tools/call", json!({ "name": "t" }), "toolsCall"),
        ("prompts/list", json!({}), "promptsList"),
        ("prompts/get", json!({ "name": "p" }), "promptsGet"),
        ("resources/list", json!({}), "resourcesList"),
        (
            "resources/templates/list",
            json!({}),
            "resourcesTemplatesList",
        ),
        (
            "resources/read",
            json!({ "uri": "mqtt://a" }),
            "resourcesRead",
        ),
        ("completion/complete", json!({}), "completionComplete"),
    ] {
        let mut harness = harness();
        let stream = harness.modern(&json!(1), method, params.clone());
        let asked = harness.exit_stream();
        assert_eq!(asked.begin.word(), word);
        assert_eq!(asked.begin.session_id(), None, "{word}");
        assert_eq!(asked.within, Some(60_000), "{word}");
        assert!(asked.whole);
        assert_eq!(asked.params(), with_meta(params));
        harness.reply(&asked, "{}");
        assert_eq!(harness.response(stream).status(), 200, "{word}");
        harness.finish();
    }
}

#[test]
fn params_are_passed_on_with_the_parsed_document() {
    for elements in [3, 600] {
        let mut harness = harness();
        let params = json!({ "name": "t", "arguments": { "a": vec![0; elements] } });
        harness.modern(&json!(1), "tools/call", params);
        let frames = harness.rig.outputs(harness.exit).into_iter();
        let data = frames.filter_map(|output| match output.frame {
            Frame::Data(data) => Some(data),
            _ => None,
        });
        let [data] = <[Data; 1]>::try_from(data.collect::<Vec<_>>()).expect("params at once");
        let read = match data.extension.map(Pooled::into_inner) {
            Some(DataEx::Mcp(read)) => read.of(&data.payload),
            _ => None,
        };
        let read = read.expect("the same memory");
        let member = |name: &str| read.root().get(name).unwrap().unwrap();
        assert_eq!(member("name").string(), Some("t".into()));
        let zeros = member("arguments").get("a").unwrap().unwrap();
        assert_eq!(zeros.elements().count(), elements);
    }
}

#[test]
fn a_call_carries_its_name_its_length_and_its_parameter_headers() {
    let mut harness = harness();
    let params = with_meta(json!({ "name": "näme" }));
    let mut pairs = modern_headers("tools/call", "=?base64?bsOkbWU=?=");
    pairs.push(("Mcp-Param-Region", "us-west1"));
    pairs.push(("mcp-param-greeting", "=?base64?SGVsbG8sIOS4lueVjA==?="));
    let stream = harness.post(&pairs, &request(&json!(1), "tools/call", &params));
    let asked = harness.exit_stream();
    let McpBeginEx::ToolsCall(call) = &asked.begin else {
        panic!("{asked:?}")
    };
    let header = |name: &str, value: &str| McpHeader {
        name: name.into(),
        value: value.into(),
    };
    assert_eq!(call.name, "näme");
    assert_eq!(
        call.content_length,
        i64::try_from(params.to_string().len()).expect("short")
    );
    assert!(call.headers_required);
    let mut headers = call.headers.clone();
    headers.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(
        headers,
        [
            header("greeting", "Hello, 世界"),
            header("region", "us-west1")
        ]
    );
    harness.reply(&asked, "{}");
    assert!(harness.response(stream).ended);
    harness.finish();
}

#[test]
fn an_id_is_echoed_as_it_came() {
    for id in [
        "0",
        "-7",
        "12345678901234567890123",
        "\"\"",
        "\"a\\u0000\\\"\\u00e9\"",
        "\"7\"",
    ] {
        let mut harness = harness();
        let params = with_meta(json!({ "name": "t" }));
        let body = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\": {id} ,\"method\":\"tools/call\",\"params\":{params}}}"
        );
        let stream = harness.http(Method::POST, &modern_headers("tools/call", "t"), body);
        let asked = harness.exit_stream();
        harness.reply(&asked, "{}");
        let text = harness.response(stream).text();
        let head = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":");
        assert!(text.starts_with(&head), "{text}");
        harness.finish();
    }
}

#[test]
fn members_may_come_in_any_order() {
    let params = with_meta(json!({ "name": "t" })).to_string();
    let members = [
        "\"jsonrpc\":\"2.0\"".to_owned(),
        "\"id\":1".to_owned(),
        "\"method\":\"tools/call\"".to_owned(),
        format!("\"params\":{params}"),
        "\"extension\":[1,{}]".to_owned(),
    ];
    for first in 0..members.len() {
        let mut order = members.clone();
        order.rotate_left(first);
        let mut harness = harness();
        let body = format!("\n {{ {} }} \n", order.join(" ,\r\n"));
        let stream = harness.http(Method::POST, &modern_headers("tools/call", "t"), body);
        let asked = harness.exit_stream();
        assert_eq!(asked.params.concat(), params.as_bytes());
        harness.reply(&asked, "{}");
        assert_eq!(harness.response(stream).json()["id"], 1);
        harness.finish();
    }
}

#[test]
fn a_result_says_what_it_is() {
    let end = McpEnd {
        ttl_ms: Some(5),
        cache_scope: Some(McpCacheScope::Public),
        ..McpEnd::default()
    };
    for (method, end, added) in [
        ("tools/call", None, json!({})),
        ("tools/call", Some(end.clone()), json!({})),
        (
            "tools/list",
            None,
            json!({ "ttlMs": 0, "cacheScope": "private" }),
        ),
        (
            "tools/list",
            Some(end),
            json!({ "ttlMs": 5, "cacheScope": "public" }),
        ),
    ] {
        let mut harness = harness();
        let stream = harness.modern(&json!("x"), method, json!({ "name": "t" }));
        let asked = harness.exit_stream();
        harness.begin(&asked);
        harness.exit_sends(&asked, Frame::data(Bytes::from_static(b"{\"a\":[1]}")));
        harness.exit_sends(&asked, end.map_or(Frame::end(), Frame::end_with));
        assert_eq!(harness.at_exit(&asked), ["end"]);
        let mut result = json!({ "a": [1], "resultType": "complete", "_meta": server_info() });
        for (key, value) in added.as_object().expect("an object") {
            result[key] = value.clone();
        }
        let response = harness.response(stream);
        let message = json!({ "jsonrpc": "2.0", "id": "x", "result": result });
        assert_eq!(response.json(), message, "{method}");
        harness.finish();
    }
}

#[test]
fn an_input_required_result_is_marked_and_not_cached() {
    let mut harness = harness();
    let stream = harness.modern(&json!(1), "resources/read", json!({ "uri": "u" }));
    let asked = harness.exit_stream();
    harness.begin(&asked);
    harness.exit_sends(
        &asked,
        Frame::data(Bytes::from_static(b"{\"inputRequests\":{}}")),
    );
    let end = McpEnd {
        outcome: McpOutcome::InputRequired,
        ttl_ms: Some(7),
        ..McpEnd::default()
    };
    harness.exit_sends(&asked, Frame::end_with(end));
    assert_eq!(harness.at_exit(&asked), ["end"]);
    let result = json!({
        "inputRequests": {}, "resultType": "input_required", "_meta": server_info()
    });
    assert_eq!(harness.response(stream).json()["result"], result);
    harness.finish();
}

#[test]
fn a_disconnect_cancels_a_request() {
    for begun in [false, true] {
        let mut harness = harness();
        let stream = harness.call(1);
        let asked = harness.exit_stream();
        if begun {
            harness.begin(&asked);
            harness.exit_sends(&asked, Frame::data(Bytes::from_static(b"{")));
        }
        harness.disconnect(stream);
        assert_eq!(harness.at_exit(&asked), ["reset", "abort"]);
        harness.finish();
    }
}

#[test]
fn a_disconnect_before_the_request_is_complete_removes_the_exchange() {
    let mut harness = harness();
    let stream = harness.http_open(Method::POST, &modern_headers("tools/list", ""));
    let body = Bytes::from_static(b"{\"jsonrpc\"");
    harness.rig.send(harness.client, stream, Frame::data(body));
    harness.disconnect(stream);
    harness.assert_no_exit_stream();
    harness.finish();
}

#[test]
fn notifications_and_responses_are_accepted() {
    for body in [
        notification("notifications/whatever", &with_meta(json!({}))),
        notification("notifications/cancelled", &json!({ "requestId": 7 })),
        json!({ "jsonrpc": "2.0", "id": 1, "result": {} }),
        json!({ "jsonrpc": "2.0", "id": 1, "error": { "code": 1, "message": "" } }),
    ] {
        let mut harness = harness();
        let stream = harness.post(&modern_headers("x", ""), &body);
        let response = harness.response(stream);
        assert_eq!((response.status(), response.ended), (202, true), "{body}");
        assert!(response.parts.is_empty());
        harness.finish();
    }
}

#[test]
fn a_modern_request_ignores_the_session_header() {
    let mut harness = harness();
    let (session, lifecycle) = harness.session("2025-11-25");
    for id in [&*session, "0.unknown", "nonsense"] {
        let mut pairs = modern_headers("tools/list", "");
        pairs.push(("mcp-session-id", id));
        let body = request(&json!(1), "tools/list", &with_meta(json!({})));
        let streams = [harness.post(&pairs, &body), harness.post(&pairs, &body)];
        for (stream, asked) in streams.into_iter().zip(harness.exit_streams()) {
            assert_eq!(asked.begin.session_id(), None);
            harness.reply(&asked, "{}");
            let response = harness.response(stream);
            assert_eq!(response.json()["result"]["resultType"], "complete", "{id}");
            assert_eq!(response.header("mcp-session-id"), "");
        }
    }
    harness.end_session(&session, &lifecycle);
    harness.finish();
}

#[test]
fn concurrent_discoveries_send_one_request_to_the_exit() {
    let mut harness = harness();
    let first = harness.modern(&json!(1), "server/discover", json!({}));
    let second = harness.modern(&json!("2"), "server/discover", json!({}));
    let gone = harness.modern(&json!(3), "server/discover", json!({}));
    harness.disconnect(gone);
    let asked = harness.exit_stream();
    let begin = McpLifecycle {
        session_id: Some("s".into()),
        capabilities: McpCapabilities::SERVER_RESOURCES
            .with(McpCapabilities::SERVER_RESOURCES_SUBSCRIBE)
            .with(McpCapabilities::SERVER_TOOLS)
            .with(McpCapabilities::SERVER_TOOLS_LIST_CHANGED)
            .with(McpCapabilities::SERVER_PROMPTS)
            .with(McpCapabilities::SERVER_COMPLETIONS),
    };
    harness.exit_sends(&asked, Frame::begin(begin));
    assert_eq!(harness.at_exit(&asked), ["end", "reset"]);
    let result = harness.response(first).json()["result"].clone();
    let expected = json!({
        "supportedVersions": ["2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26"],
        "capabilities": {
            "tools": { "listChanged": true }, "prompts": {},
            "resources": { "subscribe": true }, "completions": {}
        },
        "resultType": "complete", "ttlMs": 60_000, "cacheScope": "private",
        "_meta": server_info(),
    });
    assert_eq!(result, expected);
    assert_eq!(harness.response(second).json()["id"], "2");
    harness.finish();
}

fn discovered(harness: &mut Harness) {
    let stream = harness.modern(&json!(1), "server/discover", json!({}));
    let asked = harness.exit_stream();
    harness.lifecycle_begun(&asked);
    assert_eq!(harness.at_exit(&asked), ["end", "reset"]);
    assert_eq!(harness.response(stream).status(), 200);
}

#[test]
fn capabilities_are_cached_for_a_minute() {
    let mut harness = harness();
    discovered(&mut harness);
    harness.rig.advance(Duration::from_millis(59_999));
    let stream = harness.modern(&json!(1), "server/discover", json!({}));
    harness.assert_no_exit_stream();
    assert_eq!(harness.response(stream).status(), 200);
    harness.rig.advance(Duration::from_millis(1));
    discovered(&mut harness);
    harness.finish();
}

#[test]
fn a_failed_discovery_is_an_error_and_is_not_cached() {
    let mut harness = harness();
    let stream = harness.modern(&json!(1), "server/discover", json!({}));
    let asked = harness.exit_stream();
    harness.refuse(&asked, McpResetKind::Unavailable);
    assert_eq!(harness.response(stream).error(), (200, -32603));
    let stream = harness.modern(&json!(1), "server/discover", json!({}));
    let asked = harness.exit_stream();
    assert_eq!(asked.within, Some(60_000));
    harness.rig.advance(Duration::from_millis(60_500));
    assert_eq!(harness.response(stream).error(), (200, -32603));
    assert_eq!(harness.at_exit(&asked), ["end", "reset"]);
    discovered(&mut harness);
    harness.finish();
}

#[test]
fn discovery_returns_the_instructions() {
    let options = Options {
        instructions: Some("Be \"kind\".".to_owned()),
        ..Options::default()
    };
    let mut harness = harness_with(options, 1 << 20);
    let stream = harness.modern(&json!(1), "server/discover", json!({}));
    let asked = harness.exit_stream();
    harness.lifecycle_begun(&asked);
    assert_eq!(harness.at_exit(&asked), ["end", "reset"]);
    let response = harness.response(stream).json();
    assert_eq!(response["result"]["instructions"], "Be \"kind\".");
    harness.finish();
}

proptest! {
    // However body and result are split, the same bytes pass.
    #[test]
    fn buffer_boundaries_do_not_change_the_result(
        text in "[ a-z\\\\\"\u{e9}{}]{0,40}",
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..8),
        modern in any::<bool>(),
    ) {
        let mut harness = harness();
        let split = |whole: &Bytes| {
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(whole.len() + 1)).collect();
            at.extend([0, whole.len()]);
            at.sort_unstable();
            at.windows(2).map(|pair| whole.slice(pair[0]..pair[1])).collect::<Vec<_>>()
        };
        let params = json!({ "name": "t", "arguments": { "x": text } });
        let params = if modern { with_meta(params) } else { params };
        let (session, lifecycle) = harness.session("2025-11-25");
        let pairs = if modern {
            modern_headers("tools/call", "t")
        } else {
            super::legacy_headers(&session)
        };
        let stream = harness.http_open(Method::POST, &pairs);
        let body = Bytes::from(request(&json!(1), "tools/call", &params).to_string());
        for part in split(&body) {
            harness.rig.send(harness.client, stream, Frame::data(part));
        }
        harness.rig.send(harness.client, stream, Frame::end());
        let asked = harness.exit_stream();
        prop_assert_eq!(asked.params.concat(), params.to_string().into_bytes());
        harness.begin(&asked);
        let mut result = json!({ "content": [text, { "text": text }], "text": text });
        for part in split(&Bytes::from(result.to_string())) {
            harness.exit_sends(&asked, Frame::data(part));
        }
        harness.exit_sends(&asked, Frame::end());
        prop_assert_eq!(harness.at_exit(&asked), ["end"]);
        if modern {
            result["resultType"] = json!("complete");
            result["_meta"] = server_info();
        }
        prop_assert_eq!(&harness.response(stream).json()["result"], &result);
        harness.end_session(&session, &lifecycle);
        harness.finish();
    }
}
