//! The result of a command, as callers see it.

use bytestring::ByteString;
use serde::Serialize;
use serde_json::Value;
use tidegate_device::Command;

use crate::operation::Outcome;
use crate::result::Answer;
use crate::schema::Violation;
use crate::view::{ValueView, is_false};

/// The result of a command.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    outcome: &'static str,
    device: ByteStringText,
    command: String,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) before: Option<ValueView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) after: Option<ValueView>,
    /// The device took the command, as it says itself.
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) accepted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) duration_ms: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    violations: Vec<Violation>,
    /// The schema of the arguments, if they are invalid.
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<Value>,
}

/// Text that serde writes as a string.
#[derive(Debug, Clone)]
struct ByteStringText(ByteString);

impl Serialize for ByteStringText {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl Report {
    /// A result without states.
    pub(crate) fn new(
        outcome: &'static str,
        device: &ByteString,
        command: &str,
        message: String,
    ) -> Self {
        Self {
            outcome,
            device: ByteStringText(device.clone()),
            command: command.to_owned(),
            message,
            before: None,
            after: None,
            accepted: false,
            duration_ms: None,
            violations: Vec::new(),
            schema: None,
        }
    }

    /// A command that was not sent.
    pub(crate) fn not_sent(device: &ByteString, command: &str, why: &str) -> Self {
        let message = format!("'{command}' was not sent to '{device}': {why}");
        Self::new("notSent", device, command, message)
    }

    /// Arguments that do not match their schema.
    pub(crate) fn invalid(
        device: &ByteString,
        command: &Command,
        violations: Vec<Violation>,
    ) -> Self {
        /// Most bytes of a schema in a result.
        const SCHEMA_MAX: usize = 2 * 1024;
        let list = violations.iter().map(|it| {
            let at = if it.pointer.is_empty() {
                String::new()
            } else {
                format!("{}: ", it.pointer)
            };
            match &it.allowed {
                Some(allowed) => format!("{at}{}; allowed: {allowed}", it.message),
                None => format!("{at}{}", it.message),
            }
        });
        let list: Vec<String> = list.collect();
        let why = format!("invalid arguments: {}.", list.join("; "));
        let schema = &command.arguments;
        Self {
            violations,
            schema: (schema.to_string().len() <= SCHEMA_MAX).then(|| Value::clone(schema)),
            ..Self::not_sent(device, &command.name, &why)
        }
    }

    /// The answer to the call.
    pub(crate) fn answer(&self, outcome: Outcome, failed: bool) -> Answer {
        let answer = if failed {
            Answer::failed(self)
        } else {
            Answer::structured(self)
        };
        answer.counted_as(outcome)
    }

    /// The answer of a command that was not sent.
    pub(crate) fn refusal(&self) -> Answer {
        self.answer(Outcome::NotSent, true)
    }
}
