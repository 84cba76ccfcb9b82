//! The MCP messages that the driver sends, prepared for writing, and the check of responses.

use std::collections::BTreeMap;

use bytes::Bytes;
use memchr::memmem::{self, Finder};
use serde_json::{Value, json};

use crate::targets::{MODERN, Url};

/// The first id. All ids have the same number of digits, so that an id is written in place.
pub(crate) const FIRST_ID: u64 = 1_000_000_000;
/// Number of digits of an id.
const ID_DIGITS: usize = 10;
/// Up to this size, the tail of a message is in the same buffer as its front.
const ONE_BUFFER: usize = 16 << 10;

/// A message, and the data of its HTTP headers.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    /// MCP protocol version.
    version: String,
    method: &'static str,
    /// `Mcp-Name`.
    name: Option<String>,
    /// Whether it is a request, with an id and a response.
    asks: bool,
    /// The text after the id.
    tail: Bytes,
}

impl Message {
    /// A request; in the modern era with `_meta`.
    pub(crate) fn request(version: &str, method: &'static str, mut params: Value) -> Self {
        let name = params.get("name").or_else(|| params.get("uri"));
        let name = name.and_then(Value::as_str).map(str::to_owned);
        if version == MODERN
            && let Some(params) = params.as_object_mut()
        {
            params.insert("_meta".to_owned(), meta());
        }
        let tail = format!(r#","method":"{method}","params":{params}}}"#);
        Self {
            version: version.to_owned(),
            method,
            name,
            asks: true,
            tail: tail.into(),
        }
    }

    /// The request that opens a session of the legacy era.
    pub(crate) fn initialize(version: &str) -> Self {
        let client = json!({ "name": "tidegate bench", "version": env!("CARGO_PKG_VERSION") });
        let params =
            json!({ "protocolVersion": version, "capabilities": {}, "clientInfo": client });
        Self {
            name: None,
            ..Self::request(version, "initialize", params)
        }
    }

    /// The `notifications/initialized` after it.
    pub(crate) fn initialized(version: &str) -> Self {
        Self {
            version: version.to_owned(),
            method: "notifications/initialized",
            name: None,
            asks: false,
            tail: Bytes::from_static(br#","method":"notifications/initialized"}"#),
        }
    }

    /// Prepares it as a line for standard input.
    pub(crate) fn line(&self) -> Ready {
        self.ready(Vec::new(), b"\n")
    }

    /// Prepares it as a POST request.
    pub(crate) fn post(
        &self,
        url: &Url,
        headers: &BTreeMap<String, String>,
        session: Option<&str>,
    ) -> Ready {
        let Url { authority, path } = url;
        let length = self.front().len() + self.tail.len();
        let mut head = format!(
            "POST {path} HTTP/1.1\r\nhost: {authority}\r\ncontent-type: application/json\r\n\
             accept: application/json, text/event-stream\r\n"
        );
        let mut field = |name: &str, value: &str| {
            for text in [name, ": ", value, "\r\n"] {
                head.push_str(text);
            }
        };
        if self.method != "initialize" {
            field("mcp-protocol-version", &self.version);
        }
        if self.version == MODERN {
            field("mcp-method", self.method);
            if let Some(name) = &self.name {
                field("mcp-name", name);
            }
        }
        if let Some(session) = session {
            field("mcp-session-id", session);
        }
        for (name, value) in headers {
            field(name, value);
        }
        field("content-length", &length.to_string());
        head.push_str("\r\n");
        self.ready(head.into_bytes(), b"")
    }

    fn front(&self) -> String {
        if self.asks {
            format!(r#"{{"jsonrpc":"2.0","id":{FIRST_ID}"#)
        } else {
            r#"{"jsonrpc":"2.0""#.to_owned()
        }
    }

    fn ready(&self, head: Vec<u8>, end: &[u8]) -> Ready {
        let mut front = head;
        front.extend_from_slice(self.front().as_bytes());
        let id_at = self.asks.then(|| front.len() - ID_DIGITS);
        let mut tail = self.tail.clone();
        if tail.len() <= ONE_BUFFER || !end.is_empty() {
            front.extend_from_slice(&tail);
            front.extend_from_slice(end);
            tail = Bytes::new();
        }
        Ready { front, tail, id_at }
    }
}

fn meta() -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {},
    })
}

/// A prepared message: a buffer of the caller, and a tail shared by all callers.
#[derive(Debug, Clone)]
pub(crate) struct Ready {
    pub(crate) front: Vec<u8>,
    pub(crate) tail: Bytes,
    id_at: Option<usize>,
}

impl Ready {
    /// Sets the id.
    pub(crate) fn number(&mut self, id: u64) {
        let Some(digits) = self
            .id_at
            .and_then(|at| self.front.get_mut(at..at + ID_DIGITS))
        else {
            return;
        };
        let mut left = id;
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + u8::try_from(left % 10).unwrap_or_default();
            left /= 10;
        }
    }
}

/// Recognises successful responses without parsing the JSON completely.
#[derive(Debug, Clone)]
pub(crate) struct Check {
    result: Finder<'static>,
    is_error: Finder<'static>,
    expect: Option<Finder<'static>>,
}

/// Most bytes of an unsuccessful response that are shown.
const SHOWN: usize = 300;

impl Check {
    /// Responses must contain `expect`.
    pub(crate) fn new(expect: Option<&str>) -> Self {
        Self {
            result: Finder::new(b"\"result\"").into_owned(),
            is_error: Finder::new(b"\"isError\"").into_owned(),
            expect: expect.map(|expect| Finder::new(expect.as_bytes()).into_owned()),
        }
    }

    /// Checks a response: JSON or server-sent events.
    pub(crate) fn answer(&self, body: &[u8]) -> Result<(), String> {
        let what = if self.result.find(body).is_none() {
            "response without a result"
        } else if self.is_error.find_iter(body).any(|at| is_true(body, at)) {
            "tool error"
        } else if self
            .expect
            .as_ref()
            .is_some_and(|expect| expect.find(body).is_none())
        {
            "response without the expected text"
        } else {
            return Ok(());
        };
        Err(format!("{what}: {}", shown(body)))
    }
}

/// Whether a failure is permanent: JSON-RPC errors for an invalid request.
pub(crate) fn is_final(failure: &str) -> bool {
    ["-32600", "-32601", "-32602"]
        .iter()
        .any(|code| failure.contains(code))
}

/// An excerpt of a body: the error message if there is one.
pub(crate) fn shown(body: &[u8]) -> String {
    let text = sentence(body);
    let text = text.unwrap_or_else(|| String::from_utf8_lossy(body).trim().to_owned());
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

/// The message of a JSON-RPC or tool error, in JSON or the last server-sent event.
fn sentence(body: &[u8]) -> Option<String> {
    let event = memmem::rfind(body, b"data:").filter(|_| !body.starts_with(b"{"));
    let json = event.and_then(|at| body.get(at + "data:".len()..));
    let value: Value = serde_json::from_slice(json.unwrap_or(body).trim_ascii()).ok()?;
    if let Some(message) = value.pointer("/error/message").and_then(Value::as_str) {
        let code = value.pointer("/error/code").unwrap_or(&Value::Null);
        return Some(format!("{message} (code {code})"));
    }
    let text = value.pointer("/result/content/0/text")?;
    text.as_str().map(str::to_owned)
}

/// Whether the member whose name starts at `at` is `true`.
fn is_true(body: &[u8], at: usize) -> bool {
    let behind = body.get(at + "\"isError\"".len()..).unwrap_or_default();
    let value = behind.trim_ascii_start().strip_prefix(b":");
    value.is_some_and(|value| value.trim_ascii_start().starts_with(b"true"))
}

/// The id of the request that a line responds to; `None` for anything else. Ids of the driver have as many
/// digits as [`FIRST_ID`].
pub(crate) fn answered_id(line: &[u8]) -> Option<u64> {
    memmem::find_iter(line, b"\"id\"").find_map(|at| {
        let behind = line.get(at + "\"id\"".len()..)?.trim_ascii_start();
        let value = behind.strip_prefix(b":")?.trim_ascii_start();
        let digits = value.get(..ID_DIGITS)?;
        if value.get(ID_DIGITS).is_some_and(u8::is_ascii_digit) {
            return None;
        }
        std::str::from_utf8(digits).ok()?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(ready: &Ready) -> String {
        let mut bytes = ready.front.clone();
        bytes.extend_from_slice(&ready.tail);
        String::from_utf8(bytes).expect("text")
    }

    fn url() -> Url {
        "http://a:1/mcp".parse().expect("a URL")
    }

    #[test]
    fn a_post_is_whole_and_numbered_in_place() {
        for size in [0, 100, ONE_BUFFER, 1 << 20] {
            let params = json!({ "name": "publish", "arguments": { "payload": "x".repeat(size) } });
            let message = Message::request(MODERN, "tools/call", params.clone());
            let mut ready = message.post(&url(), &BTreeMap::new(), None);
            ready.number(FIRST_ID + 42);
            let text = text(&ready);
            let (head, body) = text.split_once("\r\n\r\n").expect("a head");
            assert!(
                head.contains(&format!("content-length: {}", body.len())),
                "{head}"
            );
            assert!(
                head.contains("mcp-method: tools/call\r\nmcp-name: publish"),
                "{head}"
            );
            let body: Value = serde_json::from_str(body).expect("JSON");
            assert_eq!(body["id"], FIRST_ID + 42);
            assert_eq!(body["params"]["arguments"], params["arguments"]);
            assert_eq!(body["params"]["_meta"], meta());
        }
    }

    #[test]
    fn the_legacy_era_has_a_session_and_no_meta() {
        let version = "2025-06-18";
        let message = Message::request(version, "tools/call", json!({ "name": "a" }));
        let headers = BTreeMap::from([("x-api-key".to_owned(), "b".to_owned())]);
        let text = text(&message.post(&url(), &headers, Some("s")));
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        assert!(
            head.contains("mcp-session-id: s\r\nx-api-key: b\r\n"),
            "{head}"
        );
        assert!(head.contains("mcp-protocol-version: 2025-06-18") && !head.contains("mcp-method"));
        assert!(!body.contains("_meta"));
        for message in [Message::initialize(version), Message::initialized(version)] {
            let line = message.line();
            let line = line.front.strip_suffix(b"\n").expect("a line");
            let value: Value = serde_json::from_slice(line).expect("JSON");
            assert_eq!(value.get("id").is_some(), value["method"] == "initialize");
        }
    }

    #[test]
    fn only_a_success_is_one() {
        let check = Check::new(Some("21.5"));
        for success in [
            r#"{"id":1,"result":{"content":["21.5"]}}"#,
            "event: message\ndata: {\"result\":{\"isError\":false,\"content\":[\"21.5\"]}}\n\n",
        ] {
            assert_eq!(check.answer(success.as_bytes()), Ok(()), "{success}");
        }
        for failure in [
            "",
            r#"{"error":{"code":1,"message":"21.5"}}"#,
            r#"{"result":{"content":["21.5"],"isError":true}}"#,
            r#"{"result":{"isError" : true,"content":["21.5"]}}"#,
            r#"{"result":{"content":["21"]}}"#,
        ] {
            assert!(check.answer(failure.as_bytes()).is_err(), "{failure}");
        }
    }

    #[test]
    fn an_error_is_shown_in_its_own_words() {
        for (body, words) in [
            (
                r#"{"error":{"code":-32602,"message":"no"}}"#,
                "no (code -32602)",
            ),
            (
                r#"{"result":{"isError":true,"content":[{"type":"text","text":"full"}]}}"#,
                "full",
            ),
            (
                "event: message\ndata: {\"error\":{\"code\":1,\"message\":\"no\"}}\n\n",
                "no (code 1)",
            ),
            (r#"{"result":{}}"#, r#"{"result":{}}"#),
            (" Not Found\n", "Not Found"),
            ("", ""),
        ] {
            assert_eq!(shown(body.as_bytes()), words);
        }
        assert_eq!(shown("ä".repeat(400).as_bytes()).chars().count(), SHOWN + 1);
        assert!(is_final(&shown(
            br#"{"error":{"code":-32602,"message":"no"}}"#
        )));
    }

    #[test]
    fn answers_are_told_by_their_number() {
        for (line, id) in [
            (
                r#"{"jsonrpc":"2.0","id":1000000007,"result":{}}"#,
                Some(1_000_000_007),
            ),
            (
                r#"{"result":{"id":"x"}, "id" : 1000000007}"#,
                Some(1_000_000_007),
            ),
            (r#"{"id":10000000070}"#, None),
            (r#"{"method":"notifications/message"}"#, None),
            (r#"{"id":7}"#, None),
        ] {
            assert_eq!(answered_id(line.as_bytes()), id, "{line}");
        }
    }
}
