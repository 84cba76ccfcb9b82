//! Finding out what a server speaks: `server/discover` and `initialize`.

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use tidegate_json::write::push_string;
use tidegate_json::{Document, Kind, Parts};
use tidegate_streams::mcp::McpCapabilities;

use super::capabilities;
use super::params::{client_info, sender};
use crate::jsonrpc::{Era, Error, Id, LEGACY, MODERN, Method, code, request};
use crate::shown::shown;

/// What is known of a server.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Server {
    pub(super) era: Era,
    /// The revision that is spoken with it.
    pub(super) version: &'static str,
    pub(super) capabilities: McpCapabilities,
    /// Its name and version, as it states them, shortened; empty if it does not.
    pub(super) name: ByteString,
    /// How long the answer stays fresh, in milliseconds.
    pub(super) ttl: u64,
}

/// What the answer to `server/discover` means.
#[derive(Debug, PartialEq)]
pub(super) enum Discovered {
    Modern(Server),
    /// It knows `initialize`, or nothing else is known of it.
    Legacy,
    /// It has refused the request because of its version, although it supports that.
    Again,
    /// It supports no revision that is supported here.
    Unsupported(String),
}

/// How long the answer of a server is used that does not say it, in milliseconds.
const TTL_DEFAULT: u64 = 60_000;
/// Longest time that an answer is used, in milliseconds.
const TTL_MAX: u64 = 3_600_000;

/// The request `server/discover`.
pub(super) fn discover(id: u64) -> Parts {
    let mut params = Parts::from(Bytes::from_static(b"{\"_meta\":{"));
    sender(None).into_iter().for_each(|part| params.push(part));
    params.push(Bytes::from_static(b"}}"));
    request(&Id::number(id), Method::Discover.name(), params)
}

/// The request `initialize`.
pub(super) fn initialize(id: u64, client: McpCapabilities) -> Parts {
    let newest = LEGACY.first().copied().unwrap_or_default();
    let params = format!(
        "{{\"protocolVersion\":\"{newest}\",\"capabilities\":{},\"clientInfo\":{}}}",
        capabilities::of_client(client),
        client_info()
    );
    let params = Parts::from(Bytes::from(params));
    request(&Id::number(id), Method::Initialize.name(), params)
}

/// Reads the result of `server/discover`.
pub(super) fn discovered(result: &Document) -> Discovered {
    let root = result.root();
    let member = |name: &str| root.get(name).ok().flatten();
    let Some(versions) = member("supportedVersions").filter(|it| it.kind() == Kind::Array) else {
        // A server that answers everything with something.
        return Discovered::Legacy;
    };
    let supports = |version: &str| versions.elements().any(|it| it.is(version));
    if supports(MODERN) {
        let meta = member("_meta");
        let info = meta.and_then(|it| it.get("io.modelcontextprotocol/serverInfo").ok()?);
        let ttl = member("ttlMs").and_then(|it| it.as_u64());
        return Discovered::Modern(Server {
            era: Era::Modern,
            version: MODERN,
            capabilities: capabilities::of_server(member("capabilities")),
            name: name_of(info.or_else(|| member("serverInfo"))),
            ttl: ttl.unwrap_or(TTL_DEFAULT).min(TTL_MAX),
        });
    }
    if LEGACY.iter().any(|version| supports(version)) {
        return Discovered::Legacy;
    }
    let offered = versions.elements().filter_map(|it| it.string()).take(8);
    let offered: Vec<String> = offered.map(|it| shown(&it).to_string()).collect();
    Discovered::Unsupported(offered.join(", "))
}

/// What an error of `server/discover` means: only an error of the modern era says anything about it.
pub(super) fn not_discovered(error: &Error) -> Discovered {
    if error.code() != code::UNSUPPORTED_PROTOCOL_VERSION {
        return Discovered::Legacy;
    }
    let supported = error.data().and_then(|data| {
        let data = Document::parse(Parts::from(data.clone()), tidegate_json::Limits::default());
        let data = data.ok()?;
        let supported = data.root().get("supported").ok()??;
        let words = supported.elements().filter_map(|it| it.string()).take(8);
        Some(words.map(|it| it.to_string()).collect::<Vec<_>>())
    });
    match supported {
        Some(supported) if supported.iter().any(|it| it == MODERN) => Discovered::Again,
        Some(supported) if !supported.iter().any(|it| LEGACY.contains(&it.as_str())) => {
            let shown: Vec<String> = supported.iter().map(|it| shown(it).to_string()).collect();
            Discovered::Unsupported(shown.join(", "))
        }
        _ => Discovered::Legacy,
    }
}

/// Reads the result of `initialize`. The error says what is wrong with it.
pub(super) fn initialized(result: &Document) -> Result<Server, String> {
    let root = result.root();
    let member = |name: &str| root.get(name).ok().flatten();
    let version = member("protocolVersion").and_then(|it| it.string());
    let Some(version) = version else {
        return Err("its answer to initialize has no protocolVersion".to_owned());
    };
    let known = LEGACY.iter().find(|known| version == **known).copied();
    let Some(known) = known else {
        return Err(format!(
            "it speaks the protocol version '{}', which is not supported",
            shown(&version)
        ));
    };
    Ok(Server {
        era: Era::Legacy,
        version: known,
        capabilities: capabilities::of_server(member("capabilities")),
        name: name_of(member("serverInfo")),
        ttl: TTL_MAX,
    })
}

fn name_of(info: Option<tidegate_json::Value<'_>>) -> ByteString {
    let Some(info) = info else {
        return ByteString::new();
    };
    let text = |name: &str| info.get(name).ok().flatten().and_then(|it| it.string());
    let mut name = text("name").map_or_else(String::new, |it| shown(&it).to_string());
    if let Some(version) = text("version").filter(|it| !it.is_empty()) {
        name.push(' ');
        name.push_str(&shown(&version));
    }
    name.into()
}

/// The params of `subscriptions/listen`, with the members of `notifications`.
pub(super) fn listen(notifications: &[u8]) -> Parts {
    let mut out = BytesMut::from(&b"{\"notifications\":{"[..]);
    out.extend_from_slice(notifications);
    out.extend_from_slice(b"},\"_meta\":{");
    let mut params = Parts::from(out.freeze());
    sender(None).into_iter().for_each(|part| params.push(part));
    params.push(Bytes::from_static(b"}}"));
    params
}

/// The members of `notifications` for the lists that a server says it announces changes of.
pub(super) fn list_changes(capabilities: McpCapabilities) -> Vec<u8> {
    type C = McpCapabilities;
    let all = [
        ("toolsListChanged", C::SERVER_TOOLS_LIST_CHANGED),
        ("promptsListChanged", C::SERVER_PROMPTS_LIST_CHANGED),
        ("resourcesListChanged", C::SERVER_RESOURCES_LIST_CHANGED),
    ];
    let offered = all.iter().filter(|(_, it)| capabilities.contains(*it));
    let members: Vec<String> = offered
        .map(|(name, _)| format!("\"{name}\":true"))
        .collect();
    members.join(",").into_bytes()
}

/// The member of `notifications` for the updates of a resource.
pub(super) fn updates_of(uri: &str) -> Bytes {
    let mut out = BytesMut::from(&b"\"resourceSubscriptions\":["[..]);
    push_string(&mut out, uri);
    out.extend_from_slice(b"]");
    out.freeze()
}

#[cfg(test)]
mod tests {
    use tidegate_json::Limits;

    use super::*;

    fn document(text: &str) -> Document {
        let parts = Parts::from(Bytes::copy_from_slice(text.as_bytes()));
        Document::parse(parts, Limits::default()).expect("JSON")
    }

    #[test]
    fn a_server_that_supports_the_modern_revision_is_modern() {
        let answer = r#"{"supportedVersions":["2025-11-25","2026-07-28"],"capabilities":{"tools":{}},
            "ttlMs":99999999999,"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s","version":"1"}}}"#;
        let Discovered::Modern(server) = discovered(&document(answer)) else {
            panic!("modern")
        };
        assert_eq!((&*server.name, server.ttl), ("s 1", TTL_MAX));
        assert_eq!(server.capabilities, McpCapabilities::SERVER_TOOLS);
    }

    #[test]
    fn every_other_answer_is_that_of_a_legacy_server() {
        for answer in [
            "{}",
            r#"{"supportedVersions":7}"#,
            r#"{"supportedVersions":["2025-06-18"]}"#,
        ] {
            assert_eq!(discovered(&document(answer)), Discovered::Legacy);
        }
        for code in [-32601, -32600, -32000, -32602, 0] {
            let error = Error::new(code, "?");
            assert_eq!(not_discovered(&error), Discovered::Legacy);
        }
    }

    #[test]
    fn a_server_without_a_common_revision_is_named() {
        let answer = document(r#"{"supportedVersions":["2030-01-01"]}"#);
        let expected = Discovered::Unsupported("2030-01-01".to_owned());
        assert_eq!(discovered(&answer), expected);
        let of = |supported: &str| {
            let data = Bytes::from(format!("{{\"supported\":{supported}}}"));
            let error = Error::new(code::UNSUPPORTED_PROTOCOL_VERSION, "?");
            not_discovered(&error.with_data(Some(data)))
        };
        assert_eq!(of(r#"["2030-01-01"]"#), expected);
        assert_eq!(of(r#"["2025-11-25"]"#), Discovered::Legacy);
        assert_eq!(of(r#"["2025-11-25","2026-07-28"]"#), Discovered::Again);
    }

    #[test]
    fn the_revision_of_a_session_is_one_that_is_supported() {
        let server = initialized(&document(
            r#"{"protocolVersion":"2025-06-18","capabilities":{},"serverInfo":{"name":"s"}}"#,
        ));
        assert_eq!(server.expect("valid").version, "2025-06-18");
        for (answer, why) in [
            ("{}", "no protocolVersion"),
            (r#"{"protocolVersion":"2024-01-01"}"#, "2024-01-01"),
        ] {
            let error = initialized(&document(answer)).expect_err(answer);
            assert!(error.contains(why), "{error}");
        }
    }
}
