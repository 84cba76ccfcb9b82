//! The headers of a request, and what must agree with its body (2026-07-28, Streamable HTTP).

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
/// What the names of headers begin with that repeat a parameter.
const PARAM: &str = "mcp-param-";
/// How many `Mcp-Param-*` headers are looked at.
const PARAMS_MAX: usize = 64;

/// A field of a request's head.
#[derive(Debug, Clone, Copy, Default)]
struct Field<'h> {
    value: Option<&'h HeaderValue>,
    /// It is there more than once.
    again: bool,
}

impl<'h> Field<'h> {
    fn push(&mut self, value: &'h HeaderValue) {
        self.again = self.value.is_some();
        self.value = self.value.or(Some(value));
    }

    /// Its value as text; the first, where there are several.
    fn text(&self) -> Option<&'h str> {
        self.value?.to_str().ok().map(str::trim)
    }
}

/// The fields of a request's head that are asked for, found in one walk.
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

    /// All of them.
    pub(super) const fn all(&self) -> &'h HeaderMap {
        self.all
    }

    /// The session that the head names.
    pub(super) fn session_id(&self) -> Option<&'h str> {
        self.session_id.text()
    }

    /// The revision that the head names.
    pub(super) fn version(&self) -> Option<&'h str> {
        self.version.text()
    }

    /// Whether the body is JSON, as its type says; a client that says nothing is believed.
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

    /// Whether the client takes a media type; one that says nothing takes all.
    pub(super) fn accepts(&self, media: &str) -> bool {
        match self.accept.value {
            None => true,
            // As nearly every client writes it.
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

/// Whether a media type is in one of the ranges that the client takes.
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

/// Checks the headers that mirror a modern request's body.
pub(super) fn check(
    headers: &Headers<'_>,
    version: &str,
    method: &str,
    served: Option<Method>,
    params: &Params,
) -> Result<(), Refusal> {
    mirror(headers.version, "MCP-Protocol-Version", version, in_ascii)?;
    mirror(headers.method, "Mcp-Method", method, in_ascii)?;
    // A subject is repeated where it names what the method is about; the legacy era alone has others.
    let Some(subject) = served.and_then(Method::subject) else {
        return Ok(());
    };
    match params.subject(subject)?.and_then(|value| value.text()) {
        Some(value) => mirror(headers.name, "Mcp-Name", &value, decoded),
        // That it is missing is told by whoever needs it.
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
        return Err(Refusal::header_mismatch(format!(
            "The header {title} is missing."
        )));
    };
    let agrees = is_verbatim(header, value) || read(header).is_some_and(|header| header == value);
    if agrees && !field.again {
        return Ok(());
    }
    let header = String::from_utf8_lossy(header.as_bytes());
    let (header, value) = (shown(&header), shown(value));
    Err(Refusal::header_mismatch(format!(
        "Header mismatch: {title} is '{header}', and the body says '{value}'."
    )))
}

/// Whether a header repeats a text that needs no encoding there as it is: ASCII that has no white
/// space at its ends and does not look encoded.
fn is_verbatim(header: &HeaderValue, value: &str) -> bool {
    let ends = [value.as_bytes().first(), value.as_bytes().last()];
    header.as_bytes() == value.as_bytes()
        && value.is_ascii()
        && ends.into_iter().flatten().all(u8::is_ascii_graphic)
        && !value.starts_with("=?")
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

/// The `Mcp-Param-*` headers of a call. Whoever owns the tool's schema knows which of them mirror an
/// argument, and refuses one that contradicts it, whatever the era: somebody on the way may have
/// gone by the header.
#[derive(Debug, Default)]
pub(super) struct Mirrored {
    pub(super) headers: Vec<McpHeader>,
    /// Whether the revision obliges the client to send those that the tool asks for.
    pub(super) required: bool,
}

impl Mirrored {
    /// The headers of a call; a value that cannot be read is refused.
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
                let what = format!("The header Mcp-Param-{} cannot be read.", shown(name));
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
