//! Request headers, and their consistency with the body (2026-07-28, Streamable HTTP).

use std::borrow::Cow;

use ::http::header::ACCEPT;
use ::http::{HeaderMap, HeaderName, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tidegate_streams::mcp::McpHeader;

use super::errors::Refusal;
use crate::jsonrpc::Params;
use crate::jsonrpc::{Era, Method};
use crate::shown::shown;

pub(super) const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
/// Prefix of headers that repeat a parameter.
const PARAM: &str = "mcp-param-";
/// Maximum number of `Mcp-Param-*` headers.
const PARAMS_MAX: usize = 64;

/// A header field.
#[derive(Debug, Clone, Copy, Default)]
struct Field<'h> {
    value: Option<&'h HeaderValue>,
    /// Present more than once.
    again: bool,
}

impl<'h> Field<'h> {
    fn push(&mut self, value: &'h HeaderValue) {
        self.again = self.value.is_some();
        self.value = self.value.or(Some(value));
    }

    /// The value as text; the first value if there are several.
    fn text(&self) -> Option<&'h str> {
        self.value?.to_str().ok().map(str::trim)
    }
}

/// The header fields used here, found in one pass.
#[derive(Debug, Clone, Copy)]
pub(super) struct Headers<'h> {
    all: &'h HeaderMap,
    accept: Field<'h>,
    content_type: Field<'h>,
    version: Field<'h>,
    session_id: Field<'h>,
    method: Field<'h>,
    name: Field<'h>,
    /// Whether there are `Mcp-Param-*` headers.
    params: bool,
}

impl<'h> Headers<'h> {
    pub(super) fn of(all: &'h HeaderMap) -> Self {
        let mut headers = Self {
            all,
            accept: Field::default(),
            content_type: Field::default(),
            version: Field::default(),
            session_id: Field::default(),
            method: Field::default(),
            name: Field::default(),
            params: false,
        };
        for (name, value) in all {
            let field = match name.as_str() {
                "accept" => &mut headers.accept,
                "content-type" => &mut headers.content_type,
                "mcp-protocol-version" => &mut headers.version,
                "mcp-session-id" => &mut headers.session_id,
                "mcp-method" => &mut headers.method,
                "mcp-name" => &mut headers.name,
                name => {
                    headers.params |= name.starts_with(PARAM);
                    continue;
                }
            };
            field.push(value);
        }
        headers
    }

    /// All header fields.
    pub(super) const fn all(&self) -> &'h HeaderMap {
        self.all
    }

    /// The session named by the headers.
    pub(super) fn session_id(&self) -> Option<&'h str> {
        self.session_id.text()
    }

    /// The protocol version named by the headers.
    pub(super) fn version(&self) -> Option<&'h str> {
        self.version.text()
    }

    /// Whether the content type is JSON; a missing content type counts as JSON.
    pub(super) fn is_json(&self) -> bool {
        self.content_type.value.is_none_or(|media| {
            if media == "application/json" {
                return true;
            }
            let media = media.to_str().unwrap_or_default();
            let media = media.split(';').next().unwrap_or_default().trim();
            media.eq_ignore_ascii_case("application/json")
        })
    }

    /// Whether the client accepts a media type; a missing `Accept` accepts all.
    pub(super) fn accepts(&self, media: &str) -> bool {
        match self.accept.value {
            None => true,
            // Fast path: the form used by nearly every client.
            Some(value)
                if value == "application/json, text/event-stream"
                    && matches!(media, "application/json" | "text/event-stream") =>
            {
                true
            }
            Some(_) => in_ranges(self.all, media),
        }
    }
}

/// Whether one of the accepted media ranges contains a media type.
fn in_ranges(headers: &HeaderMap, media: &str) -> bool {
    let group = media.split('/').next().unwrap_or_default();
    headers
        .get_all(ACCEPT)
        .iter()
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

/// Checks the headers that repeat members of a modern request.
pub(super) fn check(
    headers: &Headers<'_>,
    version: &str,
    method: &str,
    served: Option<Method>,
    params: &Params,
) -> Result<(), Refusal> {
    mirror(headers.version, "MCP-Protocol-Version", version, in_ascii)?;
    mirror(headers.method, "Mcp-Method", method, in_ascii)?;
    // The header repeats the subject of the method. Methods that exist only in the legacy era have
    // none.
    let Some(subject) = served.and_then(Method::subject) else {
        return Ok(());
    };
    match params.subject(subject)?.and_then(|value| value.text()) {
        Some(value) => mirror(headers.name, "Mcp-Name", &value, decoded),
        // A missing subject is reported by the method.
        None => Ok(()),
    }
}

fn mirror(
    field: Field<'_>,
    title: &str,
    value: &str,
    read: fn(&HeaderValue) -> Option<Cow<'_, str>>,
) -> Result<(), Refusal> {
    let Some(header) = field.value else {
        return Err(Refusal::header_mismatch(format!("Missing header {title}.")));
    };
    let agrees = read(header).is_some_and(|header| header == value);
    if agrees && !field.again {
        return Ok(());
    }
    let header = String::from_utf8_lossy(header.as_bytes());
    let (header, value) = (shown(&header), shown(value));
    Err(Refusal::header_mismatch(format!(
        "Header mismatch: {title} is '{header}', but the body has '{value}'."
    )))
}

/// A header value in plain ASCII.
fn plain(value: &HeaderValue) -> Option<&str> {
    value.to_str().ok().map(str::trim_ascii)
}

fn in_ascii(value: &HeaderValue) -> Option<Cow<'_, str>> {
    plain(value).map(Cow::Borrowed)
}

/// A header value that may be encoded as `=?base64?…?=`.
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

/// The `Mcp-Param-*` headers of a call. The binding that owns the tool's schema knows which of them
/// repeat an argument, and refuses a mismatch in any era: an intermediary may have acted on the
/// header.
#[derive(Debug, Default)]
pub(super) struct Mirrored {
    pub(super) headers: Vec<McpHeader>,
    /// Whether the revision requires the client to send the headers that the tool declares.
    pub(super) required: bool,
}

impl Mirrored {
    /// The headers of a call; an unreadable value is refused.
    pub(super) fn of(headers: &Headers<'_>, era: Era) -> Result<Self, Refusal> {
        let mut mirrored = Self {
            headers: Vec::new(),
            required: era == Era::Modern,
        };
        if headers.params {
            mirrored.read(headers.all)?;
        }
        Ok(mirrored)
    }

    fn read(&mut self, headers: &HeaderMap) -> Result<(), Refusal> {
        for (name, value) in headers {
            let Some(name) = name.as_str().strip_prefix(PARAM) else {
                continue;
            };
            let value = decoded(value).ok_or_else(|| {
                let what = format!("Invalid value in header Mcp-Param-{}.", shown(name));
                Refusal::header_mismatch(what)
            })?;
            if self.headers.len() == PARAMS_MAX {
                let what = format!("More than {PARAMS_MAX} Mcp-Param headers.");
                return Err(Refusal::header_mismatch(what));
            }
            self.headers.push(McpHeader {
                name: name.into(),
                value: value.into_owned().into(),
            });
        }
        Ok(())
    }
}
