//! Approval by a person: how a callee asks the user of its client, and what the answer means.
//!
//! The question is an elicitation without fields (MCP 2026-07-28 and 2025-11-25, "Elicitation"): the user
//! accepts, declines, or does not decide. A callee asks at most once for each operation. Only acceptance is
//! an approval; every other answer has a reason, for the caller and for the audit log.

use std::fmt::Write as _;

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use tidegate_json::write::push_string;
use tidegate_json::{Document, Limits, Parts};

use super::{McpAnswer, McpChallenge, McpResponse};
use crate::Visible;

/// Most characters of a text, such as a payload, that a person is shown. A person approves what is shown
/// whole: refuse what is longer.
pub const APPROVAL_TEXT_MAX: usize = 2_000;
/// Most bytes of binary data that a person is shown, in hexadecimal.
pub const APPROVAL_BYTES_MAX: usize = APPROVAL_TEXT_MAX / 2;

/// The id of the challenge.
const ID: u64 = 1;

/// What a person, or the client, has answered to [`McpApproval::ask`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct McpApproval {
    word: &'static str,
    why: &'static str,
}

impl McpApproval {
    /// The challenge that asks a person. A callee asks only a client with the capability
    /// `CLIENT_ELICITATION_FORM`.
    pub fn ask(question: &str) -> McpChallenge {
        let mut params = BytesMut::with_capacity(question.len() + 96);
        params.extend_from_slice(b"{\"message\":");
        push_string(&mut params, question);
        params.extend_from_slice(
            b",\"mode\":\"form\",\"requestedSchema\":{\"properties\":{},\"type\":\"object\"}}",
        );
        McpChallenge {
            id: ID,
            method: ByteString::from_static("elicitation/create"),
            params: params.freeze(),
            cancelled: false,
        }
    }

    /// What a response says; `None` if it answers another challenge.
    pub fn of(response: McpResponse) -> Option<Self> {
        if response.id != ID {
            return None;
        }
        let (word, why) = match response.answer {
            McpAnswer::Result => match action(response.content).as_deref() {
                Some("accept") => ("approved", "a person approved it"),
                Some("decline") => ("declined", "a person declined it"),
                Some("cancel") => ("cancelled", "the person did not decide"),
                _ => ("failed", "the client's answer cannot be read"),
            },
            McpAnswer::Error => ("failed", "the client answered with an error"),
            McpAnswer::Unsupported => ("unsupported", "the client cannot ask a person"),
            McpAnswer::Expired => ("expired", "nobody approved it in time"),
        };
        Some(Self { word, why })
    }

    /// Whether a person accepted.
    pub fn is_approved(&self) -> bool {
        self.word == "approved"
    }

    /// `approved`, `declined`, `cancelled`, `failed`, `unsupported` or `expired`, as an audit log names it.
    pub const fn word(&self) -> &'static str {
        self.word
    }

    /// The same as a clause without a full stop.
    pub const fn why(&self) -> &'static str {
        self.why
    }
}

/// The `action` of the result of an elicitation.
fn action(content: Bytes) -> Option<ByteString> {
    let content = Document::parse(Parts::from(content), Limits::default()).ok()?;
    content.root().get("action").ok()??.string()
}

/// A payload as a person is shown it, and whether it is all of it: text of at most [`APPROVAL_TEXT_MAX`]
/// characters on one line, or [`APPROVAL_BYTES_MAX`] bytes of other data in hexadecimal.
pub fn approval_payload<'a>(parts: impl Iterator<Item = &'a Bytes>) -> (String, bool) {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend_from_slice(part);
    }
    let Ok(text) = std::str::from_utf8(&bytes) else {
        let mut shown = format!("{} bytes of binary data:", bytes.len());
        for byte in bytes.iter().take(APPROVAL_BYTES_MAX) {
            // Writing to a string does not fail.
            let _ = write!(shown, " {byte:02x}");
        }
        return (shown, bytes.len() <= APPROVAL_BYTES_MAX);
    };
    match text.char_indices().nth(APPROVAL_TEXT_MAX) {
        None => (Visible(text).to_string(), true),
        Some((end, _)) => {
            let start = Visible(text.get(..end).unwrap_or_default());
            (format!("{start}… ({} bytes in total)", bytes.len()), false)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(answer: McpAnswer, content: &'static str) -> McpResponse {
        McpResponse {
            id: ID,
            answer,
            content: content.into(),
            timeout: 0,
        }
    }

    #[test]
    fn a_question_is_a_form_without_fields() {
        let challenge = McpApproval::ask("Open \"it\"?\nNow");
        assert_eq!(challenge.method, "elicitation/create");
        assert_eq!(
            challenge.params,
            r#"{"message":"Open \"it\"?\nNow","mode":"form","requestedSchema":{"properties":{},"type":"object"}}"#
        );
    }

    #[test]
    fn only_acceptance_approves() {
        use McpAnswer::{Error, Expired, Result, Unsupported};
        for (answer, content, word) in [
            (Result, r#"{"action":"accept","content":{}}"#, "approved"),
            (Result, r#"{"action":"decline"}"#, "declined"),
            (Result, r#"{"action":"cancel"}"#, "cancelled"),
            (Result, r#"{"action":"Accept"}"#, "failed"),
            (Result, r#"{"action":true}"#, "failed"),
            (
                Result,
                r#"{"action":"accept","action":"decline"}"#,
                "failed",
            ),
            (Result, "accept", "failed"),
            (Error, r#"{"action":"accept"}"#, "failed"),
            (Unsupported, r#"{"action":"accept"}"#, "unsupported"),
            (Expired, r#"{"action":"accept"}"#, "expired"),
        ] {
            let approval = McpApproval::of(response(answer, content)).expect("the answer");
            assert_eq!(approval.word(), word, "{content}");
            assert_eq!(approval.is_approved(), word == "approved", "{content}");
        }
    }

    #[test]
    fn the_answer_to_another_challenge_is_none() {
        let mut other = response(McpAnswer::Result, r#"{"action":"accept"}"#);
        other.id = ID + 1;
        assert_eq!(McpApproval::of(other), None);
    }

    #[test]
    fn a_payload_is_shown_whole_up_to_the_limit_and_on_one_line() {
        let shown = |payload: Vec<u8>| approval_payload([Bytes::from(payload)].iter());
        assert_eq!(shown(b"a\nb".to_vec()), ("a\\nb".to_owned(), true));
        let hexadecimal = "2 bytes of binary data: 00 ff";
        assert_eq!(shown(vec![0, 0xff]), (hexadecimal.to_owned(), true));
        let long = |count: usize| "ä".repeat(count).into_bytes();
        assert!(shown(long(APPROVAL_TEXT_MAX)).1);
        let (start, whole) = shown(long(APPROVAL_TEXT_MAX + 1));
        assert!(start.ends_with("ä… (4002 bytes in total)"), "{start}");
        assert!(!whole);
        assert!(shown(vec![0xff; APPROVAL_BYTES_MAX]).1);
        assert!(!shown(vec![0xff; APPROVAL_BYTES_MAX + 1]).1);
    }
}
