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

use super::{House, house, house_with, modern_headers, notification, request, with_meta};
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
        let mut house = house();
        let stream = house.modern(&json!(1), method, params.clone());
        let asked = house.asked();
        assert_eq!(asked.begin.word(), word);
        assert_eq!(asked.begin.session_id(), None, "{word}");
        assert_eq!(asked.within, Some(60_000), "{word}");
        assert!(asked.whole);
        assert_eq!(asked.params(), with_meta(params));
        house.reply(&asked, "{}");
        assert_eq!(house.response(stream).status(), 200, "{word}");
        house.done();
    }
}

#[test]
fn params_go_with_what_was_read_in_them() {
    for elements in [3, 600] {
        let mut house = house();
        let params = json!({ "name": "t", "arguments": { "a": vec![0; elements] } });
        house.modern(&json!(1), "tools/call", params);
        let frames = house.rig.outputs(house.exit).into_iter();
        let data = frames.filter_map(|output| match output.frame {
            Frame::Data(data) => Some(data),
            _ => None,
        });
        let [data] = <[Data; 1]>::try_from(data.collect::<Vec<_>>()).expect("params at once");
        let read = match data.extension.map(Pooled::into_inner) {
            Some(DataEx::Mcp(read)) => read.of(&data.payload),
            _ => None,
        };
        let read = read.expect("the very text");
        let member = |name: &str| read.root().get(name).unwrap().unwrap();
        assert_eq!(member("name").string(), Some("t".into()));
        let zeros = member("arguments").get("a").unwrap().unwrap();
        assert_eq!(zeros.elements().count(), elements);
    }
}

#[test]
fn a_call_carries_its_name_its_length_and_its_parameter_headers() {
    let mut house = house();
    let params = with_meta(json!({ "name": "näme" }));
    let mut pairs = modern_headers("tools/call", "=?base64?bsOkbWU=?=");
    pairs.push(("Mcp-Param-Region", "us-west1"));
    pairs.push(("mcp-param-greeting", "=?base64?SGVsbG8sIOS4lueVjA==?="));
    let stream = house.post(&pairs, &request(&json!(1), "tools/call", &params));
    let asked = house.asked();
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
    house.reply(&asked, "{}");
    assert!(house.response(stream).ended);
    house.done();
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
        let mut house = house();
        let params = with_meta(json!({ "name": "t" }));
        let body = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\": {id} ,\"method\":\"tools/call\",\"params\":{params}}}"
        );
        let stream = house.http(Method::POST, &modern_headers("tools/call", "t"), body);
        let asked = house.asked();
        house.reply(&asked, "{}");
        let text = house.response(stream).text();
        let head = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":");
        assert!(text.starts_with(&head), "{text}");
        house.done();
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
        let mut house = house();
        let body = format!("\n {{ {} }} \n", order.join(" ,\r\n"));
        let stream = house.http(Method::POST, &modern_headers("tools/call", "t"), body);
        let asked = house.asked();
        assert_eq!(asked.params.concat(), params.as_bytes());
        house.reply(&asked, "{}");
        assert_eq!(house.response(stream).json()["id"], 1);
        house.done();
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
        let mut house = house();
        let stream = house.modern(&json!("x"), method, json!({ "name": "t" }));
        let asked = house.asked();
        house.begin(&asked);
        house.exit_sends(&asked, Frame::data(Bytes::from_static(b"{\"a\":[1]}")));
        house.exit_sends(&asked, end.map_or(Frame::end(), Frame::end_with));
        assert_eq!(house.at_exit(&asked), ["end"]);
        let mut result = json!({ "a": [1], "resultType": "complete", "_meta": server_info() });
        for (key, value) in added.as_object().expect("an object") {
            result[key] = value.clone();
        }
        let response = house.response(stream);
        let message = json!({ "jsonrpc": "2.0", "id": "x", "result": result });
        assert_eq!(response.json(), message, "{method}");
        house.done();
    }
}

#[test]
fn a_result_that_wants_input_first_says_so_and_is_not_cached() {
    let mut house = house();
    let stream = house.modern(&json!(1), "resources/read", json!({ "uri": "u" }));
    let asked = house.asked();
    house.begin(&asked);
    house.exit_sends(
        &asked,
        Frame::data(Bytes::from_static(b"{\"inputRequests\":{}}")),
    );
    let end = McpEnd {
        outcome: McpOutcome::InputRequired,
        ttl_ms: Some(7),
        ..McpEnd::default()
    };
    house.exit_sends(&asked, Frame::end_with(end));
    assert_eq!(house.at_exit(&asked), ["end"]);
    let result = json!({
        "inputRequests": {}, "resultType": "input_required", "_meta": server_info()
    });
    assert_eq!(house.response(stream).json()["result"], result);
    house.done();
}

#[test]
fn a_client_that_goes_cancels_its_request() {
    for begun in [false, true] {
        let mut house = house();
        let stream = house.call(1);
        let asked = house.asked();
        if begun {
            house.begin(&asked);
            house.exit_sends(&asked, Frame::data(Bytes::from_static(b"{")));
        }
        house.leave(stream);
        assert_eq!(house.at_exit(&asked), ["reset", "abort"]);
        house.done();
    }
}

#[test]
fn a_client_that_goes_before_its_request_is_whole_leaves_nothing() {
    let mut house = house();
    let stream = house.http_open(Method::POST, &modern_headers("tools/list", ""));
    let body = Bytes::from_static(b"{\"jsonrpc\"");
    house.rig.send(house.client, stream, Frame::data(body));
    house.leave(stream);
    house.nothing_asked();
    house.done();
}

#[test]
fn a_notification_is_accepted_and_an_answer_too() {
    for body in [
        notification("notifications/whatever", &with_meta(json!({}))),
        notification("notifications/cancelled", &json!({ "requestId": 7 })),
        json!({ "jsonrpc": "2.0", "id": 1, "result": {} }),
        json!({ "jsonrpc": "2.0", "id": 1, "error": { "code": 1, "message": "" } }),
    ] {
        let mut house = house();
        let stream = house.post(&modern_headers("x", ""), &body);
        let response = house.response(stream);
        assert_eq!((response.status(), response.ended), (202, true), "{body}");
        assert!(response.parts.is_empty());
        house.done();
    }
}

#[test]
fn a_modern_request_has_no_session_whatever_its_header_says() {
    let mut house = house();
    let (session, lifecycle) = house.session("2025-11-25");
    for id in [&*session, "0.unknown", "nonsense"] {
        let mut pairs = modern_headers("tools/list", "");
        pairs.push(("mcp-session-id", id));
        let body = request(&json!(1), "tools/list", &with_meta(json!({})));
        let streams = [house.post(&pairs, &body), house.post(&pairs, &body)];
        for (stream, asked) in streams.into_iter().zip(house.all_asked()) {
            assert_eq!(asked.begin.session_id(), None);
            house.reply(&asked, "{}");
            let response = house.response(stream);
            assert_eq!(response.json()["result"]["resultType"], "complete", "{id}");
            assert_eq!(response.header("mcp-session-id"), "");
        }
    }
    house.end_session(&session, &lifecycle);
    house.done();
}

#[test]
fn discovery_asks_the_exit_once_for_all_who_wait() {
    let mut house = house();
    let first = house.modern(&json!(1), "server/discover", json!({}));
    let second = house.modern(&json!("2"), "server/discover", json!({}));
    let gone = house.modern(&json!(3), "server/discover", json!({}));
    house.leave(gone);
    let asked = house.asked();
    let begin = McpLifecycle {
        session_id: Some("s".into()),
        capabilities: McpCapabilities::SERVER_RESOURCES
            .with(McpCapabilities::SERVER_RESOURCES_SUBSCRIBE)
            .with(McpCapabilities::SERVER_TOOLS)
            .with(McpCapabilities::SERVER_TOOLS_LIST_CHANGED)
            .with(McpCapabilities::SERVER_PROMPTS)
            .with(McpCapabilities::SERVER_COMPLETIONS),
    };
    house.exit_sends(&asked, Frame::begin(begin));
    assert_eq!(house.at_exit(&asked), ["end", "reset"]);
    let result = house.response(first).json()["result"].clone();
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
    assert_eq!(house.response(second).json()["id"], "2");
    house.done();
}

fn discovered(house: &mut House) {
    let stream = house.modern(&json!(1), "server/discover", json!({}));
    let asked = house.asked();
    house.lifecycle_begun(&asked);
    assert_eq!(house.at_exit(&asked), ["end", "reset"]);
    assert_eq!(house.response(stream).status(), 200);
}

#[test]
fn what_was_discovered_is_kept_for_a_minute() {
    let mut house = house();
    discovered(&mut house);
    house.rig.advance(Duration::from_millis(59_999));
    let stream = house.modern(&json!(1), "server/discover", json!({}));
    house.nothing_asked();
    assert_eq!(house.response(stream).status(), 200);
    house.rig.advance(Duration::from_millis(1));
    discovered(&mut house);
    house.done();
}

#[test]
fn a_discovery_that_is_refused_or_not_answered_is_an_error_and_is_not_kept() {
    let mut house = house();
    let stream = house.modern(&json!(1), "server/discover", json!({}));
    let asked = house.asked();
    house.refuse(&asked, McpResetKind::Unavailable);
    assert_eq!(house.response(stream).error(), (200, -32603));
    let stream = house.modern(&json!(1), "server/discover", json!({}));
    let asked = house.asked();
    assert_eq!(asked.within, Some(60_000));
    house.rig.advance(Duration::from_millis(60_500));
    assert_eq!(house.response(stream).error(), (200, -32603));
    assert_eq!(house.at_exit(&asked), ["end", "reset"]);
    discovered(&mut house);
    house.done();
}

#[test]
fn instructions_are_told_to_who_discovers() {
    let options = Options {
        instructions: Some("Be \"kind\".".to_owned()),
        ..Options::default()
    };
    let mut house = house_with(options, 1 << 20);
    let stream = house.modern(&json!(1), "server/discover", json!({}));
    let asked = house.asked();
    house.lifecycle_begun(&asked);
    assert_eq!(house.at_exit(&asked), ["end", "reset"]);
    let response = house.response(stream).json();
    assert_eq!(response["result"]["instructions"], "Be \"kind\".");
    house.done();
}

proptest! {
    // However body and result are split, the same bytes pass.
    #[test]
    fn splits_of_body_and_result_change_nothing(
        text in "[ a-z\\\\\"\u{e9}{}]{0,40}",
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..8),
        modern in any::<bool>(),
    ) {
        let mut house = house();
        let split = |whole: &Bytes| {
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(whole.len() + 1)).collect();
            at.extend([0, whole.len()]);
            at.sort_unstable();
            at.windows(2).map(|pair| whole.slice(pair[0]..pair[1])).collect::<Vec<_>>()
        };
        let params = json!({ "name": "t", "arguments": { "x": text } });
        let params = if modern { with_meta(params) } else { params };
        let (session, lifecycle) = house.session("2025-11-25");
        let pairs = if modern {
            modern_headers("tools/call", "t")
        } else {
            super::legacy_headers(&session)
        };
        let stream = house.http_open(Method::POST, &pairs);
        let body = Bytes::from(request(&json!(1), "tools/call", &params).to_string());
        for part in split(&body) {
            house.rig.send(house.client, stream, Frame::data(part));
        }
        house.rig.send(house.client, stream, Frame::end());
        let asked = house.asked();
        prop_assert_eq!(asked.params.concat(), params.to_string().into_bytes());
        house.begin(&asked);
        let mut result = json!({ "content": [text, { "text": text }], "text": text });
        for part in split(&Bytes::from(result.to_string())) {
            house.exit_sends(&asked, Frame::data(part));
        }
        house.exit_sends(&asked, Frame::end());
        prop_assert_eq!(house.at_exit(&asked), ["end"]);
        if modern {
            result["resultType"] = json!("complete");
            result["_meta"] = server_info();
        }
        prop_assert_eq!(&house.response(stream).json()["result"], &result);
        house.end_session(&session, &lifecycle);
        house.done();
    }
}
