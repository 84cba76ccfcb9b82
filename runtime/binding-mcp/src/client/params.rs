//! The `params` of a request to the server, made of those of the caller.
//!
//! Three things belong to one hop and are replaced: the name or URI, which a binding on the way may have
//! changed in BEGIN alone; what `_meta` says about the sender of a modern request; and the token of
//! progress notifications. Everything else is passed on as received, other members of `_meta` such as
//! `traceparent` included.

use bytes::{Bytes, BytesMut};
use tidegate_json::write::{push_number, push_string};
use tidegate_json::{Document, Duplicate, Kind, Limits, Parts, Value};
use tidegate_streams::mcp::{McpCapabilities, McpLogLevel, McpReset, McpResetKind};

use super::capabilities::of_client;
use super::object::{Object, member};
use crate::jsonrpc::{Era, MODERN, Meta, Subject};

/// Name in `_meta` of who sends a modern request.
const CLIENT_INFO: &str = "io.modelcontextprotocol/clientInfo";

/// What the request needs.
pub(super) struct Request<'a> {
    /// The era of the server.
    pub(super) era: Era,
    /// The subject, which takes precedence over that in the params.
    pub(super) subject: Option<(Subject, &'a str)>,
    /// Token for progress notifications, if the caller asks for them.
    pub(super) token: u64,
    /// The least severe log messages that the caller wants, if its params do not say it.
    pub(super) log_level: Option<McpLogLevel>,
    /// What the caller can be asked for, if its params do not say it.
    pub(super) capabilities: McpCapabilities,
}

/// The params for the server.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) params: Parts,
    /// Whether the caller takes progress notifications.
    pub(super) progress: bool,
    /// Whether the caller can be asked for input by a result.
    pub(super) takes_questions: bool,
}

/// Parses params, unless the parsed document came with them.
pub(super) fn parse(params: Parts, read: Option<Document>) -> Result<Document, McpReset> {
    let params = if params.is_empty() {
        Parts::from(Bytes::from_static(b"{}"))
    } else {
        params
    };
    let read = read.map_or_else(|| Document::parse(params, Limits::default()), Ok);
    let document = read.map_err(|error| invalid(&format!("Invalid JSON in params: {error}.")))?;
    if document.root().kind() == Kind::Object {
        Ok(document)
    } else {
        Err(invalid("params must be an object."))
    }
}

/// The params of a request to the server.
pub(super) fn outgoing(params: &Document, request: &Request<'_>) -> Result<Outgoing, McpReset> {
    let root = params.root();
    let meta = root.get("_meta").map_err(|error| twice(&error))?;
    let subject = match request.subject {
        Some((subject, text)) => {
            let found = root.get(subject.name()).map_err(|error| twice(&error))?;
            let same = found.is_some_and(|found| found.is(text));
            (!same).then_some((subject, text))
        }
        None => None,
    };
    let caller = Caller::of(meta)?;
    let progress = caller.progress;
    let takes_questions = caller.modern || request.capabilities != McpCapabilities::NONE;
    let meta_changes = request.era == Era::Modern || caller.has_hop_members;
    if subject.is_none() && !meta_changes {
        return Ok(Outgoing {
            params: root.parts(),
            progress,
            takes_questions,
        });
    }
    let mut object = Object::of(params.message());
    for (key, value) in root.members() {
        if key.is("_meta") || subject.is_some_and(|(subject, _)| key.is(subject.name())) {
            object.skip();
        } else {
            object.keep(&key, &value);
        }
    }
    if let Some((subject, text)) = subject {
        let mut out = BytesMut::with_capacity(text.len() + 16);
        push_string(&mut out, subject.name());
        out.extend_from_slice(b":");
        push_string(&mut out, text);
        object.add(out.freeze());
    }
    if let Some(meta) = own_meta(params, meta, &caller, request) {
        object.add(member(b"\"_meta\":", meta));
    }
    Ok(Outgoing {
        params: object.finish(),
        progress,
        takes_questions,
    })
}

/// What the caller says about itself in `_meta`.
#[derive(Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts about the caller"
)]
struct Caller<'a> {
    modern: bool,
    progress: bool,
    capabilities: Option<Value<'a>>,
    has_log_level: bool,
    /// Whether there are members that belong to the caller's hop.
    has_hop_members: bool,
}

impl<'a> Caller<'a> {
    fn of(meta: Option<Value<'a>>) -> Result<Self, McpReset> {
        let Some(meta) = meta else {
            return Ok(Self::default());
        };
        let member = |name: &str| meta.get(name).map_err(|error| twice(&error));
        let token = member(Meta::ProgressToken.name())?;
        let mut is_hop = meta.members().map(|(key, _)| key);
        Ok(Self {
            modern: member(Meta::ProtocolVersion.name())?.is_some(),
            has_log_level: member(Meta::LogLevel.name())?.is_some(),
            progress: token.is_some_and(|it| matches!(it.kind(), Kind::String | Kind::Number)),
            capabilities: member(Meta::ClientCapabilities.name())?
                .filter(|it| it.kind() == Kind::Object),
            has_hop_members: is_hop.any(|key| belongs_to_hop(|name| key.is(name), Era::Legacy)),
        })
    }
}

/// Whether a member of `_meta` is about the sender of the message, and not about the operation.
fn belongs_to_hop(is: impl Fn(&str) -> bool, era: Era) -> bool {
    is(Meta::ProtocolVersion.name())
        || is(Meta::ClientCapabilities.name())
        || is(CLIENT_INFO)
        || is(Meta::ProgressToken.name())
        // A legacy server knows no log level of a single request.
        || (era == Era::Legacy && is(Meta::LogLevel.name()))
}

/// `_meta` for the server; `None` if nothing is left in it.
fn own_meta(
    params: &Document,
    meta: Option<Value<'_>>,
    caller: &Caller<'_>,
    request: &Request<'_>,
) -> Option<Parts> {
    let mut object = Object::of(params.message());
    for (key, value) in meta.iter().flat_map(Value::members) {
        if belongs_to_hop(|name| key.is(name), request.era) {
            object.skip();
        } else {
            object.keep(&key, &value);
        }
    }
    if request.era == Era::Modern {
        let stated = caller.capabilities.map(|it| core_capabilities(params, &it));
        let asked = (request.capabilities != McpCapabilities::NONE)
            .then(|| Bytes::from(of_client(request.capabilities)).into());
        let capabilities = stated.or(asked);
        object.add(sender(capabilities));
        if let Some(level) = request.log_level.filter(|_| !caller.has_log_level) {
            let mut out = BytesMut::with_capacity(64);
            push_string(&mut out, Meta::LogLevel.name());
            out.extend_from_slice(b":");
            push_string(&mut out, level.word());
            object.add(out.freeze());
        }
    }
    if caller.progress {
        let mut out = BytesMut::from(&b"\"progressToken\":"[..]);
        push_number(&mut out, request.token);
        object.add(out.freeze());
    }
    (!object.is_empty()).then(|| object.finish())
}

/// What the caller can be asked for, without extensions of the protocol: results of those could not be
/// passed on.
fn core_capabilities(params: &Document, capabilities: &Value<'_>) -> Parts {
    let mut object = Object::of(params.message());
    for (key, value) in capabilities.members() {
        if key.is("extensions") {
            object.skip();
        } else {
            object.keep(&key, &value);
        }
    }
    object.finish()
}

/// The members of `_meta` that a modern request must have.
pub(super) fn sender(capabilities: Option<Parts>) -> Parts {
    let capabilities = capabilities.unwrap_or_else(|| Parts::from(Bytes::from_static(b"{}")));
    let mut out = BytesMut::with_capacity(192);
    push_string(&mut out, Meta::ProtocolVersion.name());
    out.extend_from_slice(b":\"");
    out.extend_from_slice(MODERN.as_bytes());
    out.extend_from_slice(b"\",");
    push_string(&mut out, CLIENT_INFO);
    out.extend_from_slice(b":");
    out.extend_from_slice(client_info().as_bytes());
    out.extend_from_slice(b",");
    push_string(&mut out, Meta::ClientCapabilities.name());
    out.extend_from_slice(b":");
    let mut members = Parts::from(out.freeze());
    capabilities.into_iter().for_each(|part| members.push(part));
    members
}

/// Who the client is, as JSON.
pub(super) const fn client_info() -> &'static str {
    // A version consists of digits, letters, points and signs, which JSON does not escape.
    concat!(
        "{\"name\":\"tidegate\",\"version\":\"",
        env!("CARGO_PKG_VERSION"),
        "\"}"
    )
}

fn twice(error: &Duplicate) -> McpReset {
    invalid(&format!("{error}."))
}

fn invalid(what: &str) -> McpReset {
    McpReset::new(McpResetKind::Invalid, what)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;

    fn sent(params: &str, era: Era, name: Option<&str>) -> String {
        let parts = Parts::from(Bytes::copy_from_slice(params.as_bytes()));
        let document = parse(parts, None).expect("an object");
        let request = Request {
            era,
            subject: name.map(|name| (Subject::Name, name)),
            token: 7,
            log_level: None,
            capabilities: McpCapabilities::NONE,
        };
        let outgoing = outgoing(&document, &request).expect("valid");
        String::from_utf8(outgoing.params.contiguous().to_vec()).expect("text")
    }

    #[test]
    fn params_of_a_legacy_caller_pass_to_a_legacy_server_unchanged() {
        for params in [
            "{}",
            r#"{ "name":"a" , "arguments":{"x":1.0,"x":2} }"#,
            r#"{"name":"a","_meta":{ "traceparent":"00-1", "k":[] }}"#,
        ] {
            let name = params.contains("name").then_some("a");
            assert_eq!(sent(params, Era::Legacy, name), params.trim());
        }
        assert_eq!(sent("", Era::Legacy, None), "{}");
    }

    #[test]
    fn the_name_is_that_of_the_stream() {
        let params = r#"{"name":"kit__a","arguments":{ "b" : 1 }}"#;
        let expected = r#"{"arguments":{ "b" : 1 },"name":"a\"b"}"#;
        assert_eq!(sent(params, Era::Legacy, Some("a\"b")), expected);
        assert_eq!(sent("{}", Era::Legacy, Some("a")), r#"{"name":"a"}"#);
    }

    #[test]
    fn a_modern_server_is_told_who_asks_and_what_the_caller_can_do() {
        let version = env!("CARGO_PKG_VERSION");
        let own = |capabilities: Json| {
            json!({
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientInfo": { "name": "tidegate", "version": version },
                "io.modelcontextprotocol/clientCapabilities": capabilities,
            })
        };
        let read = |text: String| -> Json { serde_json::from_str(&text).expect("JSON") };
        let plain = read(sent(r#"{"name":"a"}"#, Era::Modern, Some("a")));
        assert_eq!(plain, json!({ "name": "a", "_meta": own(json!({})) }));
        let modern = r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",
            "io.modelcontextprotocol/clientInfo":{"name":"c"},"traceparent":"t","progressToken":"mine",
            "io.modelcontextprotocol/clientCapabilities":{"elicitation":{},"extensions":{"x":{}}},
            "io.modelcontextprotocol/logLevel":"info"},"cursor":"c"}"#;
        let mut expected = own(json!({ "elicitation": {} }));
        expected["traceparent"] = json!("t");
        expected["progressToken"] = json!(7);
        expected["io.modelcontextprotocol/logLevel"] = json!("info");
        let passed = read(sent(modern, Era::Modern, None));
        assert_eq!(passed, json!({ "cursor": "c", "_meta": expected }));
        let legacy = read(sent(modern, Era::Legacy, None));
        let expected = json!({ "traceparent": "t", "progressToken": 7 });
        assert_eq!(legacy, json!({ "cursor": "c", "_meta": expected }));
    }

    #[test]
    fn nothing_is_left_of_an_empty_meta() {
        let modern = r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"},"a":1}"#;
        assert_eq!(sent(modern, Era::Legacy, None), r#"{"a":1}"#);
    }

    #[test]
    fn ambiguous_or_invalid_params_are_refused() {
        for params in ["[]", "{", "7"] {
            let parts = Parts::from(Bytes::copy_from_slice(params.as_bytes()));
            let reset = parse(parts, None).expect_err(params);
            assert_eq!(reset.kind, McpResetKind::Invalid);
        }
        let twice = Bytes::from_static(br#"{"name":"a","name":"b"}"#);
        let document = parse(Parts::from(twice), None).expect("an object");
        let request = Request {
            era: Era::Legacy,
            subject: Some((Subject::Name, "a")),
            token: 1,
            log_level: None,
            capabilities: McpCapabilities::NONE,
        };
        let reset = outgoing(&document, &request).expect_err("ambiguous");
        assert_eq!(reset.kind, McpResetKind::Invalid);
    }
}
