//! Modern servers over HTTP.

use serde_json::json;
use tidegate_engine::Duration;
use tidegate_streams::Frame;
use tidegate_streams::mcp::{
    McpCacheScope, McpCapabilities, McpLifecycle, McpLogLevel, McpOutcome, McpResetKind,
    McpResourcesRead, McpResourcesSubscribe, McpToolsCall,
};

use super::harness::{setup, tool};

#[test]
fn a_call_repeats_its_method_and_name_in_headers() {
    let mut setup = setup(json!({}));
    let call = setup.open(tool("größe"), r#"{"name":"größe","arguments":{}}"#);
    setup.modern(&json!({ "tools": {} }));
    let asked = setup.next();
    assert_eq!(asked.header("mcp-protocol-version"), Some("2026-07-28"));
    assert_eq!(asked.header("mcp-method"), Some("tools/call"));
    assert_eq!(asked.header("mcp-name"), Some("=?base64?Z3LDtsOfZQ==?="));
    let meta = &asked.body["params"]["_meta"];
    assert_eq!(
        meta["io.modelcontextprotocol/protocolVersion"],
        "2026-07-28"
    );
    assert_eq!(
        meta["io.modelcontextprotocol/clientInfo"]["name"],
        "tidegate"
    );
    setup.answer(&asked, &json!({ "content": [], "resultType": "complete" }));
    assert_eq!(setup.result(call).0, r#"{"content":[]}"#);
    // What was found out is remembered.
    let call = setup.open(tool("a"), r#"{"name":"a"}"#);
    let asked = setup.next();
    assert_eq!(asked.method(), "tools/call");
    setup.answer(&asked, &json!({ "content": [], "resultType": "complete" }));
    setup.result(call);
    setup.finish();
}

#[test]
fn cache_hints_are_told_in_the_end() {
    let mut setup = setup(json!({}));
    let begin = McpResourcesRead {
        uri: "a:b".into(),
        ..McpResourcesRead::default()
    };
    let call = setup.open(begin, r#"{"uri":"a:b"}"#);
    setup.modern(&json!({ "resources": {} }));
    let asked = setup.next();
    assert_eq!(asked.header("mcp-name"), Some("a:b"));
    let result =
        json!({ "resultType": "complete", "contents": [], "ttlMs": 5, "cacheScope": "public" });
    setup.answer(&asked, &result);
    let (text, end) = setup.result(call);
    assert_eq!(text, r#"{"contents":[]}"#);
    assert_eq!(
        (end.ttl_ms, end.cache_scope),
        (Some(5), Some(McpCacheScope::Public))
    );
    setup.finish();
}

#[test]
fn a_question_in_a_result_reaches_callers_that_can_be_asked() {
    let modern = r#"{"name":"a","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",
        "io.modelcontextprotocol/clientCapabilities":{"elicitation":{}}}}"#;
    let legacy = r#"{"name":"a"}"#;
    let none = McpCapabilities::NONE;
    for (params, capabilities, passes) in [
        (modern, none, true),
        (legacy, McpCapabilities::CLIENT_ELICITATION, true),
        (legacy, none, false),
    ] {
        let mut setup = setup(json!({}));
        let begin = McpToolsCall {
            capabilities,
            ..tool("a")
        };
        let call = setup.open(begin, params);
        setup.modern(&json!({ "tools": {} }));
        let asked = setup.next();
        let told = &asked.body["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"];
        let expected = if passes {
            json!({ "elicitation": {} })
        } else {
            json!({})
        };
        assert_eq!(told, &expected);
        setup.answer(
            &asked,
            &json!({ "resultType": "input_required", "requestState": "s" }),
        );
        if passes {
            let (text, end) = setup.result(call);
            assert_eq!(text, r#"{"requestState":"s"}"#);
            assert_eq!(end.outcome, McpOutcome::InputRequired);
        } else {
            assert_eq!(setup.refusal(call).kind, McpResetKind::Unavailable);
        }
        setup.finish();
    }
}

#[test]
fn a_session_listens_for_changed_lists() {
    let mut setup = setup(json!({}));
    let stream = setup.open(McpLifecycle::default(), "");
    setup.modern(&json!({ "tools": { "listChanged": true } }));
    assert!(matches!(&setup.frames(stream)[..], [Frame::Begin(_)]));
    setup.rig.advance(Duration::from_millis(1));
    let listen = setup.next();
    assert_eq!(listen.method(), "subscriptions/listen");
    let wanted = &listen.body["params"]["notifications"];
    assert_eq!(wanted, &json!({ "toolsListChanged": true }));
    setup.begin(&listen, 200, &[("content-type", "text/event-stream")]);
    let id = &listen.body["id"];
    let params =
        json!({ "_meta": { "io.modelcontextprotocol/subscriptionId": id }, "notifications": {} });
    for method in ["subscriptions/acknowledged", "tools/list_changed"] {
        let method = format!("notifications/{method}");
        let message = json!({ "jsonrpc": "2.0", "method": method, "params": params });
        setup.data(&listen, &format!("data: {message}\n\n"));
    }
    assert!(matches!(&setup.frames(stream)[..], [Frame::Flush(_)]));
    setup.rig.send(setup.caller, stream, Frame::end());
    setup.frames(stream);
    assert_eq!(setup.take(), [listen.stream]);
    setup.finish();
}

#[test]
fn a_subscription_is_open_as_long_as_its_request() {
    let mut setup = setup(json!({}));
    let begin = McpResourcesSubscribe {
        uri: "a:b".into(),
        ..McpResourcesSubscribe::default()
    };
    let stream = setup.open(begin, r#"{"uri":"a:b"}"#);
    setup.modern(&json!({ "resources": { "subscribe": true } }));
    let listen = setup.next();
    let wanted = &listen.body["params"]["notifications"];
    assert_eq!(wanted, &json!({ "resourceSubscriptions": ["a:b"] }));
    assert!(setup.frames(stream).is_empty(), "not confirmed yet");
    setup.begin(&listen, 200, &[("content-type", "text/event-stream")]);
    let told = |method: &str, params: serde_json::Value| {
        let method = format!("notifications/{method}");
        format!(
            "data: {}\n\n",
            json!({ "jsonrpc": "2.0", "method": method, "params": params })
        )
    };
    let accepted = json!({ "notifications": { "resourceSubscriptions": ["a:b"] } });
    setup.data(&listen, &told("subscriptions/acknowledged", accepted));
    setup.data(&listen, &told("resources/updated", json!({ "uri": "a:b" })));
    let frames = setup.frames(stream);
    assert!(
        matches!(&frames[..], [Frame::Begin(_), Frame::Flush(_)]),
        "{frames:?}"
    );
    // The server ends it.
    setup.end(&listen);
    assert_eq!(setup.refusal(stream).kind, McpResetKind::Unavailable);
    setup.finish();
}

#[test]
fn a_request_states_the_log_messages_that_its_caller_wants() {
    let own = r#"{"name":"a","_meta":{"io.modelcontextprotocol/logLevel":"error"}}"#;
    let mut setup = setup(json!({}));
    for (level, params, told) in [
        (None, r#"{"name":"a"}"#, json!(null)),
        (Some(McpLogLevel::Info), r#"{"name":"a"}"#, json!("info")),
        (Some(McpLogLevel::Error), own, json!("error")),
    ] {
        let begin = McpToolsCall {
            log_level: level,
            ..tool("a")
        };
        let call = setup.open(begin, params);
        if told == json!(null) {
            setup.modern(&json!({ "tools": {} }));
        }
        let asked = setup.next();
        let meta = &asked.body["params"]["_meta"];
        assert_eq!(meta["io.modelcontextprotocol/logLevel"], told);
        setup.answer(&asked, &json!({ "content": [], "resultType": "complete" }));
        setup.result(call);
    }
    setup.finish();
}
