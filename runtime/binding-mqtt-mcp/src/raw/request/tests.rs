use serde_json::{Value, json};
use tidegate_options::Glob;

use super::*;

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01";

fn rules() -> Rules {
    let glob = |text: &str| Glob::new(text).expect("a glob");
    let methods = ["tools/*", "resources/*", "subscriptions/listen"];
    Rules::new(methods.map(glob).into(), vec![glob("read_*")])
}

fn meta() -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    })
}

fn request(method: &str, mut params: Value) -> Value {
    if params.get("_meta").is_none() {
        params["_meta"] = meta();
    }
    json!({ "jsonrpc": "2.0", "id": "a", "method": method, "params": params })
}

fn property(key: &str, value: &str) -> MqttUserProperty {
    MqttUserProperty {
        key: key.into(),
        value: value.into(),
    }
}

fn read_with(
    message: &str,
    properties: &[MqttUserProperty],
    trace: &[MqttUserProperty],
) -> (Rpc, Result<(), Failure>) {
    let asked = |rpc: &mut Rpc| match read(Parts::from(Bytes::copy_from_slice(message.as_bytes())))
    {
        Ok(Message::Request { id, method, params }) => {
            rpc.id = id;
            let asked = Asked {
                method: &method,
                params,
                properties,
            };
            let work = asked.work(&rules(), trace, rpc);
            rpc.work = work.map_err(|(reason, error)| refused(rpc, reason, error))?;
            Ok(())
        }
        other => panic!("{other:?}"),
    };
    let mut rpc = Rpc::unread();
    let result = asked(&mut rpc);
    (rpc, result)
}

#[track_caller]
fn refuses(message: &Value, properties: &[MqttUserProperty], expected: i64) {
    let (rpc, result) = read_with(&message.to_string(), properties, &[]);
    result.expect_err("refused");
    assert_eq!(rpc.error.expect("an error").code(), expected, "{message}");
}

#[test]
fn a_request_of_the_revision_is_an_operation_with_its_params_as_received() {
    let text = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{ "name":"read_a", "arguments":{"n":1e400}, "_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"progressToken":"p","io.modelcontextprotocol/logLevel":"info"}}}"#;
    let properties = vec![
        property("mcp-protocol-version", "2026-07-28"),
        property("mcp-method", "tools/call"),
        property("mcp-name", "read_a"),
        property("other", "x"),
    ];
    let (rpc, result) = read_with(text, &properties, &[]);
    result.expect("valid");
    assert_eq!(
        (rpc.id.text(), rpc.level),
        (&b"7"[..], Some(McpLogLevel::Info))
    );
    assert_eq!(rpc.progress.as_deref(), Some(&b"\"p\""[..]));
    let Work::Operation(operation) = rpc.work else {
        panic!("an operation")
    };
    let params = text.split_once("\"params\":").expect("params").1;
    assert_eq!(
        operation.params,
        params.strip_suffix('}').expect("an object")
    );
}

#[test]
fn the_trace_of_the_properties_goes_into_the_payload_unless_it_has_one() {
    let of = |message: &Value| {
        let (rpc, _) = read_with(&message.to_string(), &[], &[property("traceparent", TRACE)]);
        let Work::Operation(operation) = rpc.work else {
            panic!("an operation")
        };
        let params: Value = serde_json::from_slice(&operation.params).expect("JSON");
        params["_meta"].clone()
    };
    let without = of(&request("tools/list", json!({})));
    assert_eq!(without["traceparent"], TRACE);
    assert_eq!(
        without["io.modelcontextprotocol/clientCapabilities"],
        json!({})
    );
    let mut own = meta();
    own["traceparent"] = json!("own");
    assert_eq!(
        of(&request("tools/list", json!({ "_meta": own })))["traceparent"],
        "own"
    );
}

#[test]
fn what_contradicts_the_payload_is_a_mismatch() {
    let call = request("tools/call", json!({ "name": "read_a" }));
    for (key, value) in [
        ("mcp-protocol-version", "2025-11-25"),
        ("mcp-method", "tools/list"),
        ("mcp-name", "read_b"),
        ("mcp-name", "read_a "),
    ] {
        refuses(&call, &[property(key, value)], code::HEADER_MISMATCH);
    }
}

#[test]
fn each_fault_has_its_code() {
    let with_meta = |meta: Value| request("tools/list", json!({ "_meta": meta }));
    let mut other = meta();
    other["io.modelcontextprotocol/protocolVersion"] = json!("2030-01-01");
    let mut level = meta();
    level["io.modelcontextprotocol/logLevel"] = json!("loud");
    for (message, expected) in [
        (request("tool/call", json!({})), code::METHOD_NOT_FOUND),
        (request("ping", json!({})), code::METHOD_NOT_FOUND),
        (
            json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {} }),
            code::METHOD_NOT_FOUND,
        ),
        (request("prompts/list", json!({})), code::METHOD_NOT_FOUND),
        (
            json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" }),
            code::INVALID_PARAMS,
        ),
        (
            with_meta(json!({ "io.modelcontextprotocol/protocolVersion": "2026-07-28" })),
            code::INVALID_PARAMS,
        ),
        (with_meta(other), code::UNSUPPORTED_PROTOCOL_VERSION),
        (with_meta(level), code::INVALID_PARAMS),
        (
            request("tools/call", json!({ "name": "open_valve" })),
            code::INVALID_PARAMS,
        ),
        (
            request("tools/call", json!({ "name": 7 })),
            code::INVALID_PARAMS,
        ),
        (
            request("tools/list", json!({ "cursor": 7 })),
            code::INVALID_PARAMS,
        ),
        (
            request("subscriptions/listen", json!({})),
            code::INVALID_PARAMS,
        ),
        (
            request(
                "subscriptions/listen",
                json!({ "notifications": { "toolsListChanged": 1 } }),
            ),
            code::INVALID_PARAMS,
        ),
        (
            request(
                "subscriptions/listen",
                json!({ "notifications": { "resourceSubscriptions": vec!["a"; 101] } }),
            ),
            code::INVALID_PARAMS,
        ),
    ] {
        refuses(&message, &[], expected);
    }
}

#[test]
fn a_listen_names_lists_and_resources() {
    let wanted = json!({ "notifications": {
        "toolsListChanged": true, "promptsListChanged": true, "resourcesListChanged": false, "resourceSubscriptions": ["b", "a", "b"],
    } });
    let (rpc, result) = read_with(
        &request("subscriptions/listen", wanted).to_string(),
        &[],
        &[],
    );
    result.expect("valid");
    let Work::Listen(wanted) = rpc.work else {
        panic!("a listen")
    };
    // `prompts/list` is not allowed here.
    assert_eq!(wanted.lists, [List::Tools]);
    assert_eq!(
        wanted.resources.iter().map(|it| &**it).collect::<Vec<_>>(),
        ["a", "b"]
    );
}
