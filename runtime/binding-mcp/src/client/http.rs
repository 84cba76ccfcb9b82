//! The heads of requests to the MCP endpoint, and what the heads of its responses mean.

use ::http::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue};
use ::http::{HeaderMap, Method as HttpMethod};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use bytestring::ByteString;
use tidegate_streams::http_stream::{HttpRequest, HttpResponse};
use tidegate_streams::mcp::McpHeader;

/// Header with the id of a legacy session.
pub(super) const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");
const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");

/// Maximum length of a session id, in bytes.
const SESSION_MAX: usize = 4_096;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");
const BOTH: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");

/// What a modern request repeats in headers.
#[derive(Debug, Clone, Default)]
pub(super) struct Mirrored {
    pub(super) method: &'static str,
    /// Name or URI of the subject, if it has one.
    pub(super) name: Option<ByteString>,
    pub(super) params: Vec<McpHeader>,
}

/// Builds the heads of the requests of a session.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heads<'a> {
    pub(super) path: &'a ByteString,
    pub(super) version: Option<&'static str>,
    pub(super) session: Option<&'a HeaderValue>,
}

impl Heads<'_> {
    fn request(&self, method: HttpMethod, accept: HeaderValue, length: i64) -> HttpRequest {
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(ACCEPT, accept);
        if let Some(version) = self.version {
            headers.insert(VERSION, HeaderValue::from_static(version));
        }
        if let Some(session) = self.session {
            headers.insert(SESSION, session.clone());
        }
        HttpRequest {
            method,
            path: self.path.clone(),
            headers,
            content_length: length,
            peer: None,
        }
    }

    /// POST of a message. `mirrored`: what a modern request repeats in headers.
    pub(super) fn post(&self, length: usize, mirrored: Option<&Mirrored>) -> HttpRequest {
        let length = i64::try_from(length).unwrap_or(-1);
        let mut request = self.request(HttpMethod::POST, BOTH, length);
        let headers = &mut request.headers;
        headers.insert(CONTENT_TYPE, JSON);
        if let Some(mirrored) = mirrored {
            headers.insert(METHOD, HeaderValue::from_static(mirrored.method));
            if let Some(name) = &mirrored.name {
                headers.insert(NAME, encoded(name));
            }
            for param in &mirrored.params {
                let name = HeaderName::try_from(format!("mcp-param-{}", &*param.name));
                if let Ok(name) = name {
                    headers.insert(name, encoded(&param.value));
                }
            }
        }
        request
    }

    /// GET of the messages of a session; `after`: those after the event with this id.
    pub(super) fn events(&self, after: Option<&Bytes>) -> HttpRequest {
        let mut request = self.request(HttpMethod::GET, EVENTS, 0);
        if let Some(after) = after.and_then(|it| HeaderValue::from_bytes(it).ok()) {
            request.headers.insert(LAST_EVENT, after);
        }
        request
    }

    /// DELETE of a session.
    pub(super) fn delete(&self) -> HttpRequest {
        self.request(HttpMethod::DELETE, BOTH, 0)
    }
}

/// A text as the value of a header: in the base64 form, unless it is one as it is (2026-07-28, Value
/// Encoding).
fn encoded(text: &str) -> HeaderValue {
    let plain = text.bytes().all(|byte| matches!(byte, 0x20..=0x7e))
        && text.trim() == text
        && !text.starts_with("=?");
    if plain && let Ok(value) = HeaderValue::from_str(text) {
        return value;
    }
    let encoded = format!("=?base64?{}?=", STANDARD.encode(text));
    // Base64 consists of characters that a header may have.
    HeaderValue::from_str(&encoded).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// What the body of a response is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    Json,
    Events,
    Other,
}

/// What the body of a response is, by its type.
pub(super) fn body_of(response: &HttpResponse) -> Body {
    let value = response.headers.get(CONTENT_TYPE);
    let text = value.and_then(|it| it.to_str().ok()).unwrap_or_default();
    let essence = text.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("text/event-stream") {
        Body::Events
    } else if essence.eq_ignore_ascii_case("application/json") || is_json_suffixed(essence) {
        Body::Json
    } else {
        Body::Other
    }
}

fn is_json_suffixed(essence: &str) -> bool {
    let suffix = essence.rsplit_once('+').map(|(_, suffix)| suffix);
    suffix.is_some_and(|suffix| suffix.eq_ignore_ascii_case("json"))
}

/// The session that a response begins. An id that is not as the specification requires begins none.
pub(super) fn session_of(response: &HttpResponse) -> Option<HeaderValue> {
    let id = response.headers.get(SESSION)?;
    let bytes = id.as_bytes();
    let visible = bytes.iter().all(|byte| matches!(byte, 0x21..=0x7e));
    (visible && !bytes.is_empty() && bytes.len() <= SESSION_MAX).then(|| {
        let mut id = id.clone();
        id.set_sensitive(true);
        id
    })
}

#[cfg(test)]
mod tests {
    use ::http::StatusCode;

    use super::*;

    fn response(headers: &[(&'static str, &str)]) -> HttpResponse {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().expect("a header"));
        }
        HttpResponse {
            status: StatusCode::OK,
            headers: map,
            content_length: -1,
        }
    }

    #[test]
    fn a_name_that_is_no_header_value_is_encoded() {
        for (name, value) in [
            ("echo", "echo"),
            ("a b", "a b"),
            ("mqtt://a/ä", "=?base64?bXF0dDovL2Evw6Q=?="),
            (" a", "=?base64?IGE=?="),
            ("=?base64?eA==?=", "=?base64?PT9iYXNlNjQ/ZUE9PT89?="),
            ("a\r\nb", "=?base64?YQ0KYg==?="),
        ] {
            assert_eq!(encoded(name), value, "{name:?}");
        }
    }

    #[test]
    fn a_modern_request_repeats_method_name_and_parameters() {
        let heads = Heads {
            path: &ByteString::from_static("/mcp"),
            version: Some("2026-07-28"),
            session: None,
        };
        let mirrored = Mirrored {
            method: "tools/call",
            name: Some("echo".into()),
            params: vec![McpHeader {
                name: "region".into(),
                value: "eu".into(),
            }],
        };
        let request = heads.post(7, Some(&mirrored));
        let get = |name: &str| {
            request
                .headers
                .get(name)
                .map(|it| it.to_str().expect("text"))
        };
        assert_eq!(get("mcp-method"), Some("tools/call"));
        assert_eq!(get("mcp-name"), Some("echo"));
        assert_eq!(get("mcp-param-region"), Some("eu"));
        assert_eq!(get("mcp-protocol-version"), Some("2026-07-28"));
        assert_eq!(get("mcp-session-id"), None);
        assert_eq!(request.content_length, 7);
    }

    #[test]
    fn the_type_of_a_body_is_read_without_its_parameters() {
        for (value, body) in [
            ("application/json", Body::Json),
            ("Application/JSON; charset=utf-8", Body::Json),
            ("application/problem+json", Body::Json),
            ("text/event-stream;charset=utf-8", Body::Events),
            ("text/html", Body::Other),
        ] {
            assert_eq!(body_of(&response(&[("content-type", value)])), body);
        }
        assert_eq!(body_of(&response(&[])), Body::Other);
    }

    #[test]
    fn a_session_id_is_visible_and_bounded() {
        let of = |id: &str| session_of(&response(&[("mcp-session-id", id)]));
        assert!(of("abc-1").is_some_and(|id| id == "abc-1" && id.is_sensitive()));
        assert_eq!(of("a b"), None);
        assert_eq!(of(&"x".repeat(SESSION_MAX + 1)), None);
        assert_eq!(session_of(&response(&[])), None);
    }
}
