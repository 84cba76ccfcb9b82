//! The result of the server, as a caller of either era can be given it.
//!
//! What the modern revision adds to results is about one hop, and `mcp · server` adds it for its own
//! caller: the outcome and the cache hints go into END, and `resultType`, `ttlMs`, `cacheScope` and who the
//! server is are taken out. Every other byte is passed on, except that of tools that are invalid.

use tidegate_json::{Document, Kind, Parts, Value};
use tidegate_streams::mcp::{McpCacheScope, McpEnd, McpOutcome};

use super::object::{Object, member};
use crate::jsonrpc::Method;

/// Name in `_meta` of who the server is.
const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";

/// The members that are read, or taken out.
const PICKED: [&str; 5] = ["resultType", "ttlMs", "cacheScope", "_meta", "isError"];
const RESULT_TYPE: usize = 0;
const TTL_MS: usize = 1;
const CACHE_SCOPE: usize = 2;
const META: usize = 3;
const IS_ERROR: usize = 4;

/// A result, and what is known about it.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) result: Parts,
    pub(super) end: McpEnd,
}

/// Reads a result. `tools`: what replaces the list of tools in it. The error says what is wrong with the result, as
/// a part of a sentence.
pub(super) fn incoming(
    result: &Document,
    method: Method,
    tools: Option<Parts>,
) -> Result<Incoming, &'static str> {
    let root = result.root();
    if root.kind() != Kind::Object {
        return Err("its result is not an object");
    }
    let picked = root.pick(&PICKED);
    if picked.duplicate().is_some() {
        return Err("its result has a member twice");
    }
    let member_at = |which: usize| picked.get(result, which).ok().flatten();
    let outcome = match member_at(RESULT_TYPE) {
        Some(word) if word.is("input_required") => McpOutcome::InputRequired,
        Some(word) if !word.is("complete") => return Err("its result is of an unknown type"),
        _ => {
            let failed = member_at(IS_ERROR).and_then(|it| it.as_bool()) == Some(true);
            if method == Method::ToolsCall && failed {
                McpOutcome::Error
            } else {
                McpOutcome::Ok
            }
        }
    };
    let meta = member_at(META);
    let names_server = meta.is_some_and(|meta| !matches!(meta.get(SERVER_INFO), Ok(None)));
    let scope = member_at(CACHE_SCOPE);
    let end = McpEnd {
        outcome,
        ttl_ms: member_at(TTL_MS).and_then(|it| it.as_u64()),
        cache_scope: scope.map(|scope| {
            if scope.is(McpCacheScope::Public.word()) {
                McpCacheScope::Public
            } else {
                McpCacheScope::Private
            }
        }),
        meta: meta.is_some(),
    };
    let hop = [RESULT_TYPE, TTL_MS, CACHE_SCOPE];
    let has_hop = names_server || hop.iter().any(|which| member_at(*which).is_some());
    if !has_hop && tools.is_none() {
        return Ok(Incoming {
            result: root.parts(),
            end,
        });
    }
    Ok(without_hop(result, end, names_server, tools))
}

/// Takes out what belongs to the hop. `names_server`: `_meta` says who the server is.
fn without_hop(
    result: &Document,
    mut end: McpEnd,
    names_server: bool,
    mut tools: Option<Parts>,
) -> Incoming {
    let mut object = Object::of(result.message());
    let mut meta = None;
    for (key, value) in result.root().members() {
        if key.is("resultType") || key.is("ttlMs") || key.is("cacheScope") {
            object.skip();
        } else if names_server && key.is("_meta") && value.kind() == Kind::Object {
            object.skip();
            meta = Some(value);
        } else if key.is("tools")
            && let Some(tools) = tools.take()
        {
            object.add(member(b"\"tools\":", tools));
        } else {
            object.keep(&key, &value);
        }
    }
    match meta.map(|meta| without_server(result, &meta)) {
        Some(Some(meta)) => object.add(member(b"\"_meta\":", meta)),
        Some(None) => end.meta = false,
        None => {}
    }
    Incoming {
        result: object.finish(),
        end,
    }
}

/// `_meta` without who the server is; `None` if nothing is left.
fn without_server(result: &Document, meta: &Value<'_>) -> Option<Parts> {
    let mut object = Object::of(result.message());
    for (key, value) in meta.members() {
        if key.is(SERVER_INFO) {
            object.skip();
        } else {
            object.keep(&key, &value);
        }
    }
    (!object.is_empty()).then(|| object.finish())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tidegate_json::Limits;

    use super::*;

    fn read(text: &str, method: Method) -> Result<(String, McpEnd), &'static str> {
        let parts = Parts::from(Bytes::copy_from_slice(text.as_bytes()));
        let document = Document::parse(parts, Limits::default()).expect("JSON");
        let incoming = incoming(&document, method, None)?;
        let text = String::from_utf8(incoming.result.contiguous().to_vec()).expect("text");
        Ok((text, incoming.end))
    }

    #[test]
    fn a_result_without_members_of_a_hop_is_passed_on_unchanged() {
        for text in [
            "{}",
            r#"{ "tools" : [ {"name":"a","inputSchema":{"$ref":"a", "b":1e3}} ] }"#,
            r#"{"a":1,"_meta":{"x": {"y":1}},"b":"\u0041"}"#,
        ] {
            let (passed, end) = read(text, Method::ToolsList).expect("valid");
            assert_eq!(passed, text);
            assert_eq!(end.meta, text.contains("_meta"));
        }
    }

    #[test]
    fn members_of_a_hop_are_taken_out_and_told_in_the_end() {
        let text = r#"{"resultType":"complete","tools":[ 1 ], "x":2,"ttlMs":5,"cacheScope":"public","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s"}}}"#;
        let (passed, end) = read(text, Method::ToolsList).expect("valid");
        assert_eq!(passed, r#"{"tools":[ 1 ], "x":2}"#);
        let expected = McpEnd {
            ttl_ms: Some(5),
            cache_scope: Some(McpCacheScope::Public),
            ..McpEnd::default()
        };
        assert_eq!(end, expected);
        // `_meta` without the server stays as it is.
        let text = r#"{"_meta":{ "a" : 1 },"ttlMs":5}"#;
        let (passed, end) = read(text, Method::ToolsList).expect("valid");
        assert_eq!(passed, r#"{"_meta":{ "a" : 1 }}"#);
        assert!(end.meta);
        let text = r#"{"resultType":"input_required","requestState":"s","_meta":{"a":1,"io.modelcontextprotocol/serverInfo":{},"b":2}}"#;
        let (passed, end) = read(text, Method::ToolsCall).expect("valid");
        assert_eq!(passed, r#"{"requestState":"s","_meta":{"a":1,"b":2}}"#);
        assert_eq!((end.outcome, end.meta), (McpOutcome::InputRequired, true));
    }

    #[test]
    fn a_list_of_tools_can_be_replaced() {
        for (text, expected) in [
            (
                r#"{"a": 1,"tools":[1,2] ,"b" :2}"#,
                r#"{"a": 1,"tools":[1],"b" :2}"#,
            ),
            (r#"{"tools":[1,2],"ttlMs":5}"#, r#"{"tools":[1]}"#),
        ] {
            let document = Document::parse(Parts::from(Bytes::from(text)), Limits::default());
            let tools = Parts::from(Bytes::from_static(b"[1]"));
            let incoming = incoming(&document.expect("JSON"), Method::ToolsList, Some(tools));
            let passed = incoming.expect("valid").result.contiguous();
            assert_eq!(passed, expected);
        }
    }

    #[test]
    fn the_outcome_of_a_tool_is_told() {
        let outcome = |text, method| read(text, method).expect("valid").1.outcome;
        let failed = r#"{"content":[],"isError":true}"#;
        assert_eq!(outcome(failed, Method::ToolsCall), McpOutcome::Error);
        assert_eq!(outcome(failed, Method::PromptsGet), McpOutcome::Ok);
        let done = r#"{"content":[],"isError":false}"#;
        assert_eq!(outcome(done, Method::ToolsCall), McpOutcome::Ok);
    }

    #[test]
    fn what_is_no_result_is_refused() {
        for (text, why) in [
            ("[]", "not an object"),
            (r#"{"resultType":"task"}"#, "unknown type"),
            (r#"{"isError":true,"isError":false}"#, "twice"),
        ] {
            let error = read(text, Method::ToolsCall).expect_err(text);
            assert!(error.contains(why), "{error}");
        }
    }
}
