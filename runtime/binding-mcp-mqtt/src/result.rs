//! Results of operations, and the sentences of tool errors.

use tidegate_json::Parts;
use tidegate_streams::mcp::{McpCacheScope, McpEnd, McpOutcome};
use tidegate_streams::mqtt::{MqttDelivery, MqttReset};

use crate::json_text::JsonText;
use crate::operation::Outcome;

/// The content of the reply half: the `result` object in parts, and its END.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) parts: Parts,
    pub(crate) end: McpEnd,
    /// Number of messages of a shared subscription in the result. They count as taken once the
    /// result is sent.
    pub(crate) taken: u32,
    pub(crate) outcome: Outcome,
}

impl Answer {
    /// A successful result.
    pub(crate) fn ok(parts: Parts) -> Self {
        Self {
            parts,
            end: McpEnd::default(),
            taken: 0,
            outcome: Outcome::Ok,
        }
    }

    /// A successful result that depends on the caller.
    pub(crate) fn private(parts: Parts) -> Self {
        Self {
            end: McpEnd {
                cache_scope: Some(McpCacheScope::Private),
                ..McpEnd::default()
            },
            ..Self::ok(parts)
        }
    }

    /// The result of a read: not cacheable (TTL 0) and private to the caller.
    pub(crate) fn read(parts: Parts) -> Self {
        Self {
            parts,
            end: McpEnd {
                ttl_ms: Some(0),
                cache_scope: Some(McpCacheScope::Private),
                ..McpEnd::default()
            },
            taken: 0,
            outcome: Outcome::Ok,
        }
    }

    /// The same, with `taken` messages of a shared subscription.
    pub(crate) fn taking(self, taken: u32) -> Self {
        Self { taken, ..self }
    }

    /// The same, for a message that may have been delivered.
    pub(crate) fn unconfirmed(self) -> Self {
        Self {
            outcome: Outcome::Unconfirmed,
            ..self
        }
    }

    /// A tool error (`isError`) with a sentence that a model can act on.
    pub(crate) fn tool_error(sentence: &str) -> Self {
        let mut json = JsonText::new();
        json.raw("{\"content\":[{\"type\":\"text\",\"text\":\"");
        json.escaped(sentence.as_bytes());
        json.raw("\"}],\"isError\":true}");
        Self {
            parts: json.into_parts(),
            end: McpEnd {
                outcome: McpOutcome::Error,
                ..McpEnd::default()
            },
            taken: 0,
            outcome: Outcome::Error,
        }
    }
}

/// Why an mqtt stream failed.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The reason, without a full stop.
    pub(crate) why: String,
    /// Whether a message that was sent to the stream may have reached the broker; `None` if the
    /// stream did not report it.
    pub(crate) delivery: Option<MqttDelivery>,
}

impl Failure {
    pub(crate) fn new(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            delivery: None,
        }
    }
}

impl From<Option<MqttReset>> for Failure {
    fn from(reset: Option<MqttReset>) -> Self {
        let Some(reset) = reset else {
            return Self::new("the broker connection was closed without a reason");
        };
        let reason = reset.reason.trim().trim_end_matches('.');
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
            delivery: Some(reset.delivery),
        }
    }
}
