//! Results and the sentences in them.

use tidegate_json::Parts;
use tidegate_streams::mcp::{McpCacheScope, McpEnd, McpOutcome};
use tidegate_streams::mqtt::{MqttDelivery, MqttReset};

use crate::json_text::JsonText;
use crate::operation::Outcome;

/// What the reply half bears: the `result` object in parts, and its END.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) parts: Parts,
    pub(crate) end: McpEnd,
    /// How many messages of a shared subscription it gives: once it is the caller's, they are taken.
    pub(crate) taken: u32,
    pub(crate) outcome: Outcome,
}

impl Answer {
    /// A result as asked for.
    pub(crate) fn ok(parts: Parts) -> Self {
        Self {
            parts,
            end: McpEnd::default(),
            taken: 0,
            outcome: Outcome::Ok,
        }
    }

    /// The result of a read: stale at once, and nobody else's.
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

    /// The same, giving `taken` messages.
    pub(crate) fn giving(self, taken: u32) -> Self {
        Self { taken, ..self }
    }

    /// The same, of a message that may have been delivered.
    pub(crate) fn unconfirmed(self) -> Self {
        Self {
            outcome: Outcome::Unconfirmed,
            ..self
        }
    }

    /// A tool's failure: a sentence that a model can act on.
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
    /// In words, without a full stop.
    pub(crate) why: String,
    /// Whether a message that was handed over may have reached the broker; absent where the stream
    /// did not say.
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
            return Self::new("the connection to the broker ended without a reason");
        };
        let reason = reset.reason.trim().trim_end_matches('.');
        let why = if reason.is_empty() {
            format!("the broker said reason code 0x{:02x}", reset.reason_code)
        } else {
            reason.to_owned()
        };
        Self {
            why,
            delivery: Some(reset.delivery),
        }
    }
}
