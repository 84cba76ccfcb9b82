//! Results and errors as JSON-RPC responses.

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::json;
use tidegate_json::write::push_string;
use tidegate_json::{Document, Kind, Limits, Parts};
use tidegate_jsonrpc::{
    Error, Id, MODERN, Method, additions, begin_response, code, discovered, error_response,
    response,
};
use tidegate_streams::mcp::{McpCapabilities, McpEnd};
use tidegate_streams::shown;

use super::request::Rpc;
use super::rules::Rules;
use crate::failure::{Failure, Reason};

/// How long a client may keep what the server says of itself, in milliseconds.
pub(crate) const FRESH: u64 = 60_000;

/// The response with the result of an operation. `None` if the result is not a JSON object, or a list of which it is
/// not clear which tools it has.
pub(crate) fn result(
    id: &Id,
    method: Method,
    result: &Bytes,
    end: &McpEnd,
    rules: &Rules,
) -> Option<Bytes> {
    let document = Document::parse(Parts::from(result.clone()), Limits::default()).ok()?;
    let root = document.root();
    if root.kind() != Kind::Object {
        return None;
    }
    let is_empty = root.members().next().is_none();
    let text = if method == Method::ToolsList && rules.restrict_tools() {
        allowed_tools(&document, rules)?
    } else {
        root.bytes()
    };
    let members = text.trim_ascii_end().strip_suffix(b"}")?;
    let mut out = BytesMut::with_capacity(text.len() + 256);
    begin_response(&mut out, id);
    out.put_slice(members);
    if !is_empty {
        out.put_u8(b',');
    }
    additions(&mut out, method, end);
    out.put_slice(b"}}");
    Some(out.freeze())
}

/// A list of tools without those that the route does not allow. `None` if it is not one list.
fn allowed_tools(result: &Document, rules: &Rules) -> Option<Bytes> {
    let root = result.root();
    let tools = root.get("tools").ok().flatten()?;
    if tools.kind() != Kind::Array {
        return None;
    }
    let is_allowed = |tool: &tidegate_json::Value<'_>| {
        let name = tool.get("name").ok().flatten().and_then(|it| it.text());
        name.is_some_and(|name| rules.allow_tool(&name))
    };
    if tools.elements().all(|tool| is_allowed(&tool)) {
        return Some(root.bytes());
    }
    let start = root.range().start;
    let (front, back) = (tools.range().start - start, tools.range().end - start);
    let text = root.bytes();
    let mut out = BytesMut::with_capacity(text.len());
    out.put_slice(text.get(..front)?);
    out.put_u8(b'[');
    for (index, tool) in tools.elements().filter(is_allowed).enumerate() {
        if index > 0 {
            out.put_u8(b',');
        }
        out.put_slice(&tool.raw());
    }
    out.put_u8(b']');
    out.put_slice(text.get(back..)?);
    Some(out.freeze())
}

/// The response to `server/discover`.
pub(crate) fn discover(
    id: &Id,
    capabilities: McpCapabilities,
    instructions: Option<&str>,
) -> Bytes {
    let versions = std::iter::once(MODERN);
    response(id, &discovered(versions, capabilities, instructions, FRESH))
}

/// The result of `server/discover`, as it is retained.
pub(crate) fn announcement(capabilities: McpCapabilities, instructions: Option<&str>) -> Bytes {
    let versions = std::iter::once(MODERN);
    let members = discovered(versions, capabilities, instructions, FRESH);
    let mut out = BytesMut::with_capacity(members.len() + 2);
    out.put_u8(b'{');
    out.put_slice(&members);
    out.put_u8(b'}');
    out.freeze()
}

/// The response of a message that failed.
pub(crate) fn failed(rpc: &Rpc, failure: &Failure) -> Bytes {
    let error = match &rpc.error {
        Some(error) => error.clone(),
        None => Error::new(code_of(failure.reason), failure.message.as_str()),
    };
    let error = if error.data().is_some() {
        error
    } else {
        let data = json!({
            "status": failure.status.word(),
            "reason": failure.reason.word(),
            "executed": failure.executed.word(),
        });
        error.with_data(Some(data.to_string().into()))
    };
    error_response(&rpc.id, &error)
}

/// The error code of a failure that no exit has refused.
const fn code_of(reason: Reason) -> i64 {
    match reason {
        Reason::InvalidPayload => code::PARSE_ERROR,
        Reason::TooLarge
        | Reason::InvalidRequest
        | Reason::CorrelationReused
        | Reason::ReplyTopicRefused => code::INVALID_REQUEST,
        Reason::UnknownTool | Reason::InvalidArguments | Reason::NotAllowed => code::INVALID_PARAMS,
        _ => code::INTERNAL_ERROR,
    }
}

/// The error about an unsupported protocol version.
pub(crate) fn unsupported_version(requested: &str) -> Error {
    let mut data = BytesMut::from(&b"{\"supported\":["[..]);
    push_string(&mut data, MODERN);
    data.put_slice(b"],\"requested\":");
    push_string(&mut data, &shown(requested));
    data.put_u8(b'}');
    let what = "Unsupported protocol version";
    Error::new(code::UNSUPPORTED_PROTOCOL_VERSION, what).with_data(Some(data.freeze()))
}

#[cfg(test)]
mod tests {
    use tidegate_options::Glob;
    use tidegate_streams::mcp::McpOutcome;

    use super::*;

    fn rules(tools: &[&str]) -> Rules {
        let tools = tools.iter().map(|it| Glob::new(it).expect("a glob"));
        Rules::new(Vec::new(), tools.collect())
    }

    fn respond(
        method: Method,
        text: &'static str,
        end: &McpEnd,
        tools: &[&str],
    ) -> Option<serde_json::Value> {
        let text = Bytes::from_static(text.as_bytes());
        let response = result(&Id::number(7), method, &text, end, &rules(tools))?;
        Some(serde_json::from_slice(&response).expect("JSON"))
    }

    #[test]
    fn a_result_gets_the_members_of_the_revision() {
        let end = McpEnd {
            ttl_ms: Some(5),
            ..McpEnd::default()
        };
        let list =
            respond(Method::ResourcesList, "{\"resources\":[]} ", &end, &[]).expect("a result");
        assert_eq!(list["id"], 7);
        assert_eq!(list["result"]["resources"], json!([]));
        assert_eq!(
            (&list["result"]["ttlMs"], &list["result"]["cacheScope"]),
            (&json!(5), &json!("private"))
        );
        let empty = respond(Method::ToolsCall, "{}", &McpEnd::default(), &[]).expect("a result");
        assert_eq!(empty["result"]["resultType"], "complete");
        let asks = McpEnd {
            outcome: McpOutcome::InputRequired,
            meta: true,
            ..McpEnd::default()
        };
        let asks = respond(
            Method::ToolsCall,
            r#"{"requestState":"s","_meta":{}}"#,
            &asks,
            &[],
        );
        let expected = json!({ "requestState": "s", "_meta": {}, "resultType": "input_required" });
        assert_eq!(asks.expect("a result")["result"], expected);
        for text in ["", "[]", "7", "{", "{}x"] {
            assert_eq!(
                respond(Method::ToolsCall, text, &McpEnd::default(), &[]),
                None,
                "{text}"
            );
        }
    }

    #[test]
    fn tools_that_are_not_allowed_are_not_listed() {
        let text = r#"{"a": 1, "tools": [ {"name":"read_a"}, {"name":"open"}, 7, {"name":"read_b"} ] , "nextCursor":"c"}"#;
        let list =
            respond(Method::ToolsList, text, &McpEnd::default(), &["read_*"]).expect("a result");
        assert_eq!(
            list["result"]["tools"],
            json!([{ "name": "read_a" }, { "name": "read_b" }])
        );
        assert_eq!(
            (&list["result"]["a"], &list["result"]["nextCursor"]),
            (&json!(1), &json!("c"))
        );
        for unclear in [
            r#"{"tools":{"name":"open"}}"#,
            r#"{"tools":[],"tools":[{"name":"open"}]}"#,
            "{}",
        ] {
            let list = respond(Method::ToolsList, unclear, &McpEnd::default(), &["x"]);
            assert_eq!(list, None, "{unclear}");
        }
        let none = respond(Method::ToolsList, text, &McpEnd::default(), &["x"]).expect("a result");
        assert_eq!(none["result"]["tools"], json!([]));
    }

    #[test]
    fn each_failure_has_a_code_and_says_whether_anything_was_executed() {
        let failed = |reason, error: Option<Error>| -> serde_json::Value {
            let rpc = Rpc {
                error,
                ..Rpc::unread()
            };
            let response = failed(&rpc, &Failure::rejected(reason, "why"));
            serde_json::from_slice(&response).expect("JSON")
        };
        for (reason, code) in [
            (Reason::InvalidPayload, -32_700),
            (Reason::CorrelationReused, -32_600),
            (Reason::NotAllowed, -32_602),
            (Reason::Busy, -32_603),
            (Reason::TimedOut, -32_603),
        ] {
            let response = failed(reason, None);
            assert_eq!(response["id"], serde_json::Value::Null);
            assert_eq!(response["error"]["code"], code, "{reason:?}");
            assert_eq!(response["error"]["data"]["executed"], "no");
        }
        let other = failed(Reason::InvalidRequest, Some(unsupported_version("1")));
        assert_eq!(other["error"]["code"], -32_022);
        assert_eq!(other["error"]["data"]["supported"], json!([MODERN]));
    }
}
