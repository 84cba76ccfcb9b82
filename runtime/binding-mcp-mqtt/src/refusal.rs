//! Why a call is refused, as a sentence: the value that was given, what is allowed, and what to do next.

use bytestring::ByteString;
use tidegate_json::{Kind, Value};
use tidegate_options::TopicRequest;
use tidegate_streams::mcp::{McpReset, McpResetKind};
use tidegate_streams::shown;

use crate::policy::CallerPolicy;

/// The reason of events for a topic that no pattern allows.
pub(crate) const NOT_ALLOWED: &str = "not allowed";
/// The reason of events for a topic that a further scope would allow.
pub(crate) const INSUFFICIENT_SCOPE: &str = "insufficient scope";

/// Why a call is refused.
#[derive(Debug, PartialEq)]
pub(crate) enum Refusal {
    /// A tool error: a sentence for the model.
    Tool(String),
    /// A protocol error of the request.
    Reset(McpReset),
    /// The tool does not exist for the caller.
    Unknown,
    /// The caller may not access the topic, or not like this.
    NotAllowed(Box<NotAllowed>),
}

/// What a caller may not do with a topic.
#[derive(Debug, PartialEq)]
pub(crate) struct NotAllowed {
    pub(crate) topic: ByteString,
    /// The option that refuses it: `publish` or `subscribe` with its patterns, `topics` with its rules.
    pub(crate) option: &'static str,
    /// The reason for events.
    pub(crate) reason: &'static str,
    /// How the call is refused.
    pub(crate) refusal: Refusal,
}

impl From<String> for Refusal {
    fn from(sentence: String) -> Self {
        Self::Tool(sentence)
    }
}

/// The refusal of a topic: the scopes that the caller can ask for, or else what it may use.
pub(crate) fn not_allowed(
    policy: CallerPolicy<'_>,
    request: TopicRequest<'_>,
    why: impl FnOnce() -> String,
) -> Refusal {
    let (reason, refusal) = if let Some(scopes) = policy.step_up(request) {
        let reset = McpReset::insufficient_scope(scopes);
        (INSUFFICIENT_SCOPE, Refusal::Reset(reset))
    } else if policy.depends_on_caller() && !policy.allows_any() {
        (NOT_ALLOWED, Refusal::Unknown)
    } else {
        let sentence = format!("{} {}", why(), policy.sentence());
        (NOT_ALLOWED, Refusal::Tool(sentence))
    };
    Refusal::NotAllowed(Box::new(NotAllowed {
        topic: request.text().into(),
        option: policy.option(),
        reason,
        refusal,
    }))
}

/// The refusal of a message by the rules of its topic: `reason` is `qos`, `retain` or `schema`.
pub(crate) fn against_rules(topic: &str, reason: &'static str, sentence: String) -> Refusal {
    Refusal::NotAllowed(Box::new(NotAllowed {
        topic: topic.into(),
        option: "topics",
        reason,
        refusal: Refusal::Tool(sentence),
    }))
}

/// A request that is not valid JSON-RPC.
pub(crate) fn invalid(message: String) -> Refusal {
    Refusal::Reset(McpReset::new(McpResetKind::Invalid, message))
}

/// A value that is no valid topic or topic filter.
pub(crate) fn bad_topic(what: &str, topic: &str, error: impl std::fmt::Display) -> Refusal {
    Refusal::Tool(format!("Invalid {what} '{}': {error}.", shown(topic)))
}

/// An argument that occurs twice.
pub(crate) fn twice(name: &str) -> Refusal {
    format!("'{name}' is given twice; send it once.").into()
}

/// An argument of a wrong type.
pub(crate) fn wrong(name: &str, wanted: &str, given: &Value<'_>) -> Refusal {
    let raw = given.raw();
    let raw = String::from_utf8_lossy(&raw);
    let raw = shown(&raw);
    let (given, next) = match given.kind() {
        Kind::Object => ("the object ", String::new()),
        Kind::Array => ("the array ", String::new()),
        Kind::String => ("the string ", unquoted(given)),
        Kind::Number => ("the number ", String::new()),
        Kind::Bool(_) | Kind::Null => ("", String::new()),
    };
    Refusal::Tool(format!(
        "'{name}' must be {wanted}, not {given}{raw}.{next}"
    ))
}

/// The advice for a number or a boolean that was sent as a string.
fn unquoted(given: &Value<'_>) -> String {
    let text = given.text().unwrap_or_default();
    let is_plain = text.parse::<i64>().is_ok() || matches!(&*text, "true" | "false");
    if is_plain {
        format!(" Send {text} without quotes.")
    } else {
        String::new()
    }
}

/// A payload that is no string.
pub(crate) fn payload_not_string(payload: &Value<'_>) -> Refusal {
    /// A payload up to this size, in bytes, is repeated as the string to send.
    const REPEATED: usize = 100;
    let raw = payload.raw();
    let text = std::str::from_utf8(&raw).unwrap_or_default();
    let example = match payload.kind() {
        _ if text.len() <= REPEATED => text,
        Kind::Object | Kind::Array => "{\"state\":\"on\"}",
        // A number: only it can be as long.
        _ => "22.5",
    };
    let mut quoted = bytes::BytesMut::new();
    tidegate_json::write::push_escaped_bytes(&mut quoted, example.as_bytes());
    let quoted = String::from_utf8_lossy(&quoted);
    let next = match payload.kind() {
        Kind::Object | Kind::Array => format!(" Send JSON as text: \"{quoted}\"."),
        Kind::Null => " Send \"\" for an empty message.".to_owned(),
        _ => format!(" Send \"{quoted}\"."),
    };
    match wrong("payload", "a string", payload) {
        Refusal::Tool(sentence) => Refusal::Tool(sentence + &next),
        refusal => refusal,
    }
}

/// A number out of its range.
pub(crate) fn out_of_range(name: &str, number: &Value<'_>, allowed: &str) -> Refusal {
    let number = number.raw();
    let number = String::from_utf8_lossy(&number);
    format!("'{name}' is {}; use {allowed}.", shown(&number)).into()
}

/// An argument that the tool does not have.
pub(crate) fn unknown_argument(tool: &str, name: &str, known: &[&str]) -> Refusal {
    let nearest = nearest(name, known).map_or_else(String::new, |nearest| {
        format!("; did you mean '{nearest}'?")
    });
    let names: Vec<String> = known.iter().map(|known| format!("'{known}'")).collect();
    format!(
        "Unknown argument '{}' of '{tool}'{}{} Arguments: {}.",
        shown(name),
        nearest,
        if nearest.is_empty() { "." } else { "" },
        names.join(", ")
    )
    .into()
}

/// The known name that is most like `name`, if one is close.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    /// Names longer than this, in bytes, are like none.
    const LONG: usize = 64;
    let name = Some(name).filter(|name| name.len() <= LONG)?.to_lowercase();
    let name: String = name.chars().filter(|it| !matches!(it, '_' | '-')).collect();
    let likeness = |known: &str| strsim::jaro_winkler(&name, &known.to_lowercase());
    let scored = known.iter().map(|known| (likeness(known), *known));
    let best = scored.max_by(|(left, _), (right, _)| left.total_cmp(right))?;
    (best.0 > 0.75).then_some(best.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_argument_is_named() {
        let known = ["topic", "payload", "qos", "retain", "responseTopic"];
        for (name, expected) in [
            ("QoS", Some("qos")),
            ("Topic", Some("topic")),
            ("payloads", Some("payload")),
            ("retained", Some("retain")),
            ("response_topic", Some("responseTopic")),
            ("note", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, &known), expected, "{name}");
        }
        assert_eq!(nearest(&"q".repeat(1_000), &known), None);
    }
}
