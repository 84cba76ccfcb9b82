//! Results: a text, which is also `result` of the structured content.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytestring::ByteString;
use serde::Serialize;
use tidegate_streams::mcp::{McpEnd, McpOutcome};

use crate::json_text::JsonText;
use crate::message::Message;
use crate::operation::Outcome;
use crate::result::Answer;

/// A successful result.
pub(super) fn ok(text: &str) -> Answer {
    Answer::ok(parts(text, "\"}}"))
}

/// A tool error with a text in the form of a result.
pub(super) fn error(text: &str) -> Answer {
    let end = McpEnd {
        outcome: McpOutcome::Error,
        ..McpEnd::default()
    };
    Answer {
        end,
        outcome: Outcome::Error,
        ..Answer::ok(parts(text, "\"},\"isError\":true}"))
    }
}

fn parts(text: &str, end: &str) -> tidegate_json::Parts {
    let mut json = JsonText::new();
    json.raw("{\"content\":[{\"type\":\"text\",\"text\":\"");
    json.escaped(text.as_bytes());
    json.raw("\"}],\"structuredContent\":{\"result\":\"");
    json.escaped(text.as_bytes());
    json.raw(end);
    json.into_parts()
}

/// JSON as mcpMQTT writes it.
pub(super) fn pretty(value: &impl Serialize) -> String {
    // Only maps with keys that are no strings cannot be written.
    serde_json::to_string_pretty(value).unwrap_or_default()
}

/// Size of a JSON text in a result, where it is escaped twice, in bytes.
pub(super) fn size(text: &str) -> usize {
    let escaped = |byte: &u8| matches!(byte, b'"' | b'\\' | b'\n');
    2 * (text.len() + text.as_bytes().iter().filter(|it| escaped(it)).count())
}

/// A payload as text, or as base64 if it is not text.
pub(super) fn payload(message: &Message) -> (String, Option<&'static str>) {
    let bytes = message.payload.concat();
    match String::from_utf8(bytes) {
        Ok(text) => (text, None),
        Err(error) => (STANDARD.encode(error.as_bytes()), Some("base64")),
    }
}

/// The result of `mqtt_publish`.
pub(crate) fn published(topic: &str) -> Answer {
    ok(&format!(
        "Successfully published message to topic '{topic}'"
    ))
}

/// What the result of `mqtt_query` repeats.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) request_topic: ByteString,
    pub(crate) response_topic: ByteString,
    pub(crate) request_payload: String,
}

#[derive(Serialize)]
struct QueryResult<'a> {
    request_topic: &'a str,
    response_topic: &'a str,
    request_payload: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_payload: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    success: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

impl Answered {
    fn result(&self) -> QueryResult<'_> {
        QueryResult {
            request_topic: &self.request_topic,
            response_topic: &self.response_topic,
            request_payload: &self.request_payload,
            response_payload: None,
            encoding: None,
            error: None,
            success: true,
            detail: None,
        }
    }

    /// The result with an answer; `None` if it is larger than `bound` bytes.
    pub(crate) fn with(&self, message: &Message, bound: usize) -> Option<Answer> {
        let (payload, encoding) = payload(message);
        let text = pretty(&QueryResult {
            response_payload: Some(&payload),
            encoding,
            ..self.result()
        });
        (size(&text) <= bound).then(|| ok(&text))
    }

    /// The result without an answer. `detail`: what happened to the request.
    pub(crate) fn without(&self, detail: &str) -> Answer {
        error(&pretty(&QueryResult {
            error: Some("Timeout waiting for response"),
            success: false,
            detail: Some(detail),
            ..self.result()
        }))
    }
}
