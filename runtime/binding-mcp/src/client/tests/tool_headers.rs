//! The headers of tools that declare them, towards modern servers over HTTP.

use serde_json::{Value, json};
use tidegate_streams::mcp::{McpHeader, McpResetKind, McpToolsCall, McpToolsList};

use super::harness::{Asked, Setup, setup, tool};

const CALL: &str = r#"{"name":"query","arguments":{"region":"eu","text":"x"}}"#;

/// A tool that declares a header for its region.
fn query(header: &str) -> Value {
    let region = json!({ "type": "string", "x-mcp-header": header });
    json!({ "name": "query", "inputSchema": { "properties": { "region": region } } })
}

fn answer_list(setup: &mut Setup, asked: &Asked, tools: &Value, next: Option<&str>) {
    assert_eq!(asked.method(), "tools/list");
    let mut result =
        json!({ "resultType": "complete", "tools": tools, "ttlMs": 0, "cacheScope": "private" });
    if let Some(next) = next {
        result["nextCursor"] = next.into();
    }
    setup.answer(asked, &result);
}

fn refuse_headers(setup: &mut Setup, asked: &Asked) {
    let error = json!({ "code": -32020, "message": "Mcp-Param-Region is missing" });
    let text = json!({ "jsonrpc": "2.0", "id": asked.body["id"], "error": error }).to_string();
    setup.respond(asked, 400, &[("content-type", "application/json")], &text);
}

fn complete(setup: &mut Setup, asked: &Asked) {
    setup.answer(asked, &json!({ "content": [], "resultType": "complete" }));
}

#[test]
fn a_list_tells_what_the_calls_repeat_in_headers() {
    let mut setup = setup(json!({}));
    let list = setup.open(McpToolsList::default(), "{}");
    setup.modern(&json!({ "tools": {} }));
    let asked = setup.next();
    answer_list(&mut setup, &asked, &json!([query("Region")]), None);
    let expected = json!({ "tools": [query("Region")] }).to_string();
    assert_eq!(setup.result(list).0, expected);

    let call = setup.open(tool("query"), CALL);
    let asked = setup.next();
    assert_eq!(asked.header("mcp-param-region"), Some("eu"));
    assert_eq!(asked.header("mcp-param-text"), None);
    complete(&mut setup, &asked);
    setup.result(call);
    setup.finish();
}

#[test]
fn a_caller_that_has_to_send_the_headers_is_not_helped() {
    let mut setup = setup(json!({}));
    let list = setup.open(McpToolsList::default(), "{}");
    setup.modern(&json!({ "tools": {} }));
    let asked = setup.next();
    answer_list(&mut setup, &asked, &json!([query("Region")]), None);
    setup.result(list);

    let header = |value: &str| McpHeader {
        name: "region".into(),
        value: value.into(),
    };
    for (headers, required, sent) in [
        (vec![], true, None),
        // A header that differs from the argument is the server's to refuse.
        (vec![header("us")], true, Some("us")),
        (vec![header("us")], false, Some("us")),
        (vec![], false, Some("eu")),
    ] {
        let begin = McpToolsCall {
            headers,
            headers_required: required,
            ..tool("query")
        };
        let call = setup.open(begin, CALL);
        let asked = setup.next();
        assert_eq!(asked.header("mcp-param-region"), sent);
        if required {
            refuse_headers(&mut setup, &asked);
            assert_eq!(setup.refusal(call).kind, McpResetKind::HeaderMismatch);
        } else {
            complete(&mut setup, &asked);
            setup.result(call);
        }
    }
    setup.finish();
}

#[test]
fn a_tool_with_an_invalid_declaration_is_left_out() {
    let mut setup = setup(json!({}));
    for first in [true, false] {
        let list = setup.open(McpToolsList::default(), "{}");
        if first {
            setup.modern(&json!({ "tools": {} }));
        }
        let asked = setup.next();
        let tools = json!([{ "name": "a" }, query("My Region"), { "name": "b" }]);
        answer_list(&mut setup, &asked, &tools, None);
        let expected = json!({ "tools": [{ "name": "a" }, { "name": "b" }] }).to_string();
        assert_eq!(setup.result(list).0, expected);
    }
    setup.finish();
}

#[test]
fn headers_that_the_server_misses_are_found_in_its_list() {
    let mut setup = setup(json!({}));
    let call = setup.open(tool("query"), CALL);
    setup.modern(&json!({ "tools": {} }));
    let asked = setup.next();
    assert_eq!(asked.header("mcp-param-region"), None);
    refuse_headers(&mut setup, &asked);
    let list = setup.next();
    assert_eq!(list.header("mcp-method"), Some("tools/list"));
    answer_list(&mut setup, &list, &json!([{ "name": "a" }]), Some("2"));
    let list = setup.next();
    assert_eq!(list.body["params"]["cursor"], "2");
    answer_list(&mut setup, &list, &json!([query("Region")]), Some("3"));
    let again = setup.next();
    assert_eq!(again.header("mcp-param-region"), Some("eu"));
    assert_eq!(
        again.body["params"]["arguments"],
        asked.body["params"]["arguments"]
    );
    // Only once: the next refusal is the caller's.
    refuse_headers(&mut setup, &again);
    assert_eq!(setup.refusal(call).kind, McpResetKind::HeaderMismatch);
    setup.finish();
}

#[test]
fn a_refusal_that_the_list_does_not_explain_is_passed_on() {
    for answered in [true, false] {
        let mut setup = setup(json!({}));
        let call = setup.open(tool("query"), CALL);
        setup.modern(&json!({ "tools": {} }));
        let asked = setup.next();
        refuse_headers(&mut setup, &asked);
        let list = setup.next();
        if answered {
            answer_list(&mut setup, &list, &json!([{ "name": "query" }]), None);
            assert_eq!(setup.refusal(call).kind, McpResetKind::HeaderMismatch);
        } else {
            setup.cancel(call);
            setup.take();
        }
        setup.finish();
    }
}

#[test]
fn a_legacy_server_gets_no_headers() {
    let mut setup = setup(json!({ "era": "legacy" }));
    let list = setup.open(McpToolsList::default(), "{}");
    setup.initialize("s", &json!({ "tools": {} }));
    let asked = setup.next();
    let tools = json!({ "tools": [query("Region"), query("My Region")] });
    setup.answer(&asked, &tools);
    assert_eq!(setup.result(list).0, tools.to_string());
    let call = setup.open(tool("query"), CALL);
    let asked = setup.next();
    assert_eq!(asked.header("mcp-param-region"), None);
    setup.answer(&asked, &json!({ "content": [] }));
    setup.result(call);
    setup.finish();
}
