//! Results of operations, as JSON.

use bytes::{Bytes, BytesMut};
use serde::Serialize;
use tidegate_device::Text;
use tidegate_json::write::push_string;
use tidegate_streams::mcp::{McpCacheScope, McpEnd, McpOutcome};
use tidegate_streams::mqtt::{MqttDelivery, MqttReset};

use crate::operation::Outcome;

/// The content of the reply half: the `result` object and its END.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) json: Bytes,
    pub(crate) end: McpEnd,
    pub(crate) outcome: Outcome,
}

impl Answer {
    /// A result that is JSON already.
    pub(crate) const fn ok(json: Bytes, end: McpEnd) -> Self {
        Self {
            json,
            end,
            outcome: Outcome::Ok,
        }
    }

    /// The result of a tool: structured content, and the same as text for clients that read only that.
    pub(crate) fn structured(content: &impl Serialize) -> Self {
        let text = serde_json::to_string(content).unwrap_or_else(|_| "{}".to_owned());
        Self::ok(wrapped(&text, Some(&text), false), McpEnd::default())
    }

    /// The same as an error of the tool.
    pub(crate) fn failed(content: &impl Serialize) -> Self {
        let text = serde_json::to_string(content).unwrap_or_else(|_| "{}".to_owned());
        Self::error(wrapped(&text, Some(&text), true))
    }

    /// A tool error with a sentence that a model can act on.
    pub(crate) fn tool_error(sentence: &str) -> Self {
        Self::error(wrapped(sentence, None, true))
    }

    fn error(json: Bytes) -> Self {
        let end = McpEnd {
            outcome: McpOutcome::Error,
            ..McpEnd::default()
        };
        Self {
            json,
            end,
            outcome: Outcome::Error,
        }
    }

    /// The same, with another outcome for operators.
    pub(crate) fn counted_as(self, outcome: Outcome) -> Self {
        Self { outcome, ..self }
    }
}

/// The END of a list or read that depends on the caller or on devices.
pub(crate) fn uncached() -> McpEnd {
    McpEnd {
        ttl_ms: Some(0),
        cache_scope: Some(McpCacheScope::Private),
        ..McpEnd::default()
    }
}

fn wrapped(text: &str, structured: Option<&str>, error: bool) -> Bytes {
    let mut json = BytesMut::with_capacity(2 * text.len() + 96);
    json.extend_from_slice(b"{\"content\":[{\"type\":\"text\",\"text\":");
    push_string(&mut json, text);
    json.extend_from_slice(b"}]");
    if let Some(structured) = structured {
        json.extend_from_slice(b",\"structuredContent\":");
        json.extend_from_slice(structured.as_bytes());
    }
    if error {
        json.extend_from_slice(b",\"isError\":true");
    }
    json.extend_from_slice(b"}");
    json.freeze()
}

/// Why an mqtt stream failed.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    /// The reason, without a full stop.
    pub(crate) why: String,
    /// Whether a message that was sent to the stream may have reached the broker.
    pub(crate) delivery: MqttDelivery,
}

impl From<Option<MqttReset>> for Failure {
    fn from(reset: Option<MqttReset>) -> Self {
        let Some(reset) = reset else {
            return Self {
                why: "the broker connection was closed without a reason".to_owned(),
                delivery: MqttDelivery::Possible,
            };
        };
        // A broker may give a reason of 64 KiB.
        let reason = Text::new(&reset.reason);
        let reason = reason.as_str().trim_end_matches('.');
        let why = if reason.is_empty() {
            format!(
                "the broker answered with reason code 0x{:02x}",
                reset.reason_code
            )
        } else {
            reason.to_owned()
        };
        Self {
            why,
            delivery: reset.delivery,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_of_the_broker_is_one_line_of_bounded_length() {
        let reset = |reason: &str| MqttReset {
            reason: reason.into(),
            reason_code: 0x87,
            ..MqttReset::default()
        };
        let why = |reason: &str| Failure::from(Some(reset(reason))).why;
        assert_eq!(why("not\nallowed. "), "not allowed");
        assert_eq!(why(""), "the broker answered with reason code 0x87");
        assert_eq!(why(&"x".repeat(60_000)).len(), 256);
    }
}
