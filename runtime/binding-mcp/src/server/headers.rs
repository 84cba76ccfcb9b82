//! The headers of a request, and what must agree with its body (2026-07-28, Streamable HTTP).

use ::http::header::{ACCEPT, CONTENT_TYPE};
use std::borrow::Cow;

use ::http::{HeaderMap, HeaderName, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tidegate_streams::mcp::McpHeader;

use super::envelope::Params;
use super::errors::Refusal;
use super::methods::Method;

const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
pub(super) const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");
const PARAM: &str = "mcp-param-";
/// How many `Mcp-Param-*` headers are looked at.
const PARAMS_MAX: usize = 64;

/// A header's value as text.
pub(super) fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// The revision that a request's head names.
pub(super) fn version(headers: &HeaderMap) -> Option<&str> {
    text(headers, &PROTOCOL_VERSION)
}

/// Whether a body is JSON, as its type says; a client that says nothing is believed.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_none_or(|media| {
        if media == "application/json" {
            return true;
        }
        let media = media.to_str().unwrap_or_default();
        let media = media.split(';').next().unwrap_or_default().trim();
        media.eq_ignore_ascii_case("application/json")
    })
}

/// Whether the client takes a media type; one that says nothing takes all.
pub(super) fn accepts(headers: &HeaderMap, media: &str) -> bool {
    let mut values = headers.get_all(ACCEPT).iter().peekable();
    match values.peek() {
        None => return true,
        // As nearly every client writes it.
        Some(value) if *value == "application/json, text/event-stream" => {
            if matches!(media, "application/json" | "text/event-stream") {
                return true;
            }
        }
        Some(_) => {}
    }
    let group = media.split('/').next().unwrap_or_default();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|range| {
            let mut parts = range.split(';').map(str::trim);
            let range = parts.next().unwrap_or_default();
            if parts.any(is_refused) {
                return false;
            }
            range == "*/*"
                || range.eq_ignore_ascii_case(media)
                || range
                    .strip_suffix("/*")
                    .is_some_and(|range| range.eq_ignore_ascii_case(group))
        })
}

/// Whether a parameter of a media range is a weight of 0: not acceptable (RFC 9110, 12.4.2).
fn is_refused(parameter: &str) -> bool {
    let weight = parameter
        .strip_prefix("q=")
        .or_else(|| parameter.strip_prefix("Q="));
    weight.is_some_and(|weight| weight.bytes().all(|byte| matches!(byte, b'0' | b'.')))
}

/// Checks the headers that mirror a modern request's body.
pub(super) fn check(
    headers: &HeaderMap,
    version: &str,
    method: &str,
    served: Option<Method>,
    params: &Params,
) -> Result<(), Refusal> {
    let title = "MCP-Protocol-Version";
    mirror(headers, title, &PROTOCOL_VERSION, version, in_ascii)?;
    mirror(headers, "Mcp-Method", &METHOD, method, in_ascii)?;
    let key = match served {
        Some(Method::ToolsCall | Method::PromptsGet) => "name",
        Some(Method::ResourcesRead) => "uri",
        _ => return Ok(()),
    };
    match params.string(key)? {
        Some(value) => mirror(headers, "Mcp-Name", &NAME, &value, decoded),
        // That it is missing is told by whoever needs it.
        None => Ok(()),
    }
}

fn mirror(
    headers: &HeaderMap,
    title: &str,
    name: &HeaderName,
    value: &str,
    read: fn(&HeaderValue) -> Option<Cow<'_, str>>,
) -> Result<(), Refusal> {
    let mut all = headers.get_all(name).iter();
    let Some(header) = all.next() else {
        return Err(Refusal::header_mismatch(format!(
            "The header {title} is missing."
        )));
    };
    let agrees = is_verbatim(header, value) || read(header).is_some_and(|header| header == value);
    if agrees && all.next().is_none() {
        return Ok(());
    }
    let header = String::from_utf8_lossy(header.as_bytes()).into_owned();
    Err(Refusal::header_mismatch(format!(
        "Header mismatch: {title} is '{header}', and the body says '{value}'."
    )))
}

/// Whether a header repeats a text that needs no encoding there as it is.
fn is_verbatim(header: &HeaderValue, value: &str) -> bool {
    header.as_bytes() == value.as_bytes()
        && !value.starts_with("=?")
        && value.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A header's value, which is plain ASCII.
fn plain(value: &HeaderValue) -> Option<&str> {
    Some(value.to_str().ok()?.trim_matches([' ', '\t']))
}

fn in_ascii(value: &HeaderValue) -> Option<Cow<'_, str>> {
    plain(value).map(Cow::Borrowed)
}

/// The value of a header that may also be written `=?base64?…?=`.
fn decoded(value: &HeaderValue) -> Option<Cow<'_, str>> {
    let text = plain(value)?;
    match text
        .strip_prefix("=?base64?")
        .and_then(|text| text.strip_suffix("?="))
    {
        Some(encoded) => {
            let text = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
            Some(Cow::Owned(text))
        }
        None => Some(Cow::Borrowed(text)),
    }
}

/// The `Mcp-Param-*` headers; a value that cannot be read is refused.
pub(super) fn params(headers: &HeaderMap) -> Result<Vec<McpHeader>, Refusal> {
    let mut found = Vec::new();
    for (name, value) in headers {
        let Some(name) = name.as_str().strip_prefix(PARAM) else {
            continue;
        };
        let value = decoded(value).ok_or_else(|| {
            Refusal::header_mismatch(format!("The header Mcp-Param-{name} cannot be read."))
        })?;
        if found.len() == PARAMS_MAX {
            let what = format!("More than {PARAMS_MAX} Mcp-Param headers.");
            return Err(Refusal::header_mismatch(what));
        }
        found.push(McpHeader {
            name: name.into(),
            value: value.into_owned().into(),
        });
    }
    Ok(found)
}
