//! The parts that the definitions of several tools share.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::Described;
use crate::arguments::TIMEOUT_MAX;
use crate::options::{Options, Permissions};

/// Maximum size of the topics in the description of a tool, in bytes.
const TOPICS_MAX: usize = 2 * 1024;

/// What a tool does, and the topics that it may be used for if the config describes any.
pub(crate) fn described(what: &str, about: &Described<'_>, permission: Permissions) -> String {
    let visible = about.catalog.of(about.caller);
    let own = || {
        let visible = visible.iter();
        visible.filter(|it| it.permissions.intersects(permission))
    };
    if own().all(|topic| topic.description().is_none()) {
        return what.to_owned();
    }
    let mut text = String::new();
    let mut left = own().count();
    for topic in own() {
        let line = match topic.description() {
            Some(description) => format!("\n- {}: {}", topic.written, description.trim()),
            None => format!("\n- {}", topic.written),
        };
        if text.len() + line.len() > TOPICS_MAX {
            break;
        }
        text.push_str(&line);
        left -= 1;
    }
    if left > 0 {
        let next = if about.lists_topics {
            "; call list_topics for all of them"
        } else {
            ""
        };
        let _ = write!(text, "\n{left} more{next}.");
    }
    format!("{what}\nTopics:{text}")
}

/// The argument `topic`.
pub(crate) fn topic(options: &Options, description: &str) -> Value {
    let mut topic = json!({ "type": "string", "description": description });
    if options.topic_header
        && let Some(members) = topic.as_object_mut()
    {
        members.insert("x-mcp-header".to_owned(), "Topic".into());
    }
    topic
}

/// The argument `topic` where it is a topic filter.
pub(super) fn filter(options: &Options) -> Value {
    let shared = if options.shared_subscriptions {
        ", and shared subscriptions ($share/GROUP/FILTER), which take messages from the other \
         subscribers of the group"
    } else {
        ""
    };
    let description = format!("MQTT topic filter — supports + and # wildcards{shared}");
    topic(options, &description)
}

/// The argument `qos`.
pub(super) fn qos(options: &Options) -> Value {
    let levels: Vec<u8> = (options.publish_qos.lowest()..=2).collect();
    json!({ "type": "integer", "enum": levels, "default": options.publish_qos.usual() })
}

/// The argument `encoding`.
pub(super) fn encoding() -> Value {
    json!({
        "type": "string",
        "enum": ["text", "base64"],
        "default": "text",
        "description": "Encoding of `payload`; use base64 for binary data",
    })
}

/// The argument `timeout`.
pub(super) fn timeout(options: &Options, what: &str) -> Value {
    json!({
        "type": "integer",
        "description": format!("Time to wait for {what}, in milliseconds"),
        "minimum": 1,
        "maximum": TIMEOUT_MAX,
        "default": options.receive_timeout.get(),
    })
}

/// A message in a result.
pub(super) fn message() -> Value {
    json!({
        "type": "object",
        "properties": {
            "topic": { "type": "string" },
            "payload": { "type": "string" },
            "qos": { "type": "integer", "enum": [0, 1, 2] },
            "retain": { "type": "boolean" },
            "encoding": {
                "type": "string",
                "enum": ["base64"],
                "description": "base64 if the payload is binary; absent if it is text",
            },
            "traceparent": { "type": "string" },
        },
        "required": ["topic", "payload", "qos", "retain"],
    })
}

/// The hints of a tool that subscribes. A shared subscription takes messages from the other subscribers,
/// so it is not read-only.
pub(super) fn subscriber(options: &Options) -> Value {
    if options.shared_subscriptions {
        json!({ "readOnlyHint": false, "destructiveHint": true, "openWorldHint": true })
    } else {
        json!({ "readOnlyHint": true, "openWorldHint": true })
    }
}
