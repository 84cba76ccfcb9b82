//! The resources: the topics that a caller may use, and examples of them.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::catalog::Visible;

pub(crate) const ALLOWED: &str = "mcpmqtt://topics/allowed";
pub(crate) const EXAMPLES: &str = "mcpmqtt://topics/examples";

/// Results of the list operations and of `resources/read`.
#[derive(Debug)]
pub(crate) struct Documents {
    /// `resources/list`
    pub(crate) list: Bytes,
    /// `resources/templates/list`
    pub(crate) templates: Bytes,
    /// The content of [`ALLOWED`].
    pub(crate) allowed: Bytes,
    /// The content of [`EXAMPLES`].
    pub(crate) examples: Bytes,
}

impl Documents {
    pub(crate) fn new(visible: &[Visible<'_>]) -> Self {
        let list = json!({ "resources": [
            {
                "uri": ALLOWED,
                "name": "get_allowed_topics",
                "description": "Topics that can be used, with permissions and descriptions",
                "mimeType": "application/json",
            },
            {
                "uri": EXAMPLES,
                "name": "get_topic_examples",
                "description": "How to use topic patterns with wildcards",
                "mimeType": "application/json",
            },
        ] });
        let topics: Vec<Value> = visible.iter().map(topic).collect();
        let examples: Vec<Value> = visible.iter().map(with_examples).collect();
        let examples = json!({
            "examples": examples,
            "wildcard_info": {
                "+": "Single-level wildcard: matches one topic level",
                "#": "Multi-level wildcard: matches any number of levels, must be last",
            },
        });
        Self {
            list: bytes(&list),
            templates: bytes(&json!({ "resourceTemplates": [] })),
            allowed: contents(ALLOWED, &json!({ "topics": topics })),
            examples: contents(EXAMPLES, &examples),
        }
    }
}

fn bytes(value: &Value) -> Bytes {
    Bytes::from(value.to_string())
}

fn contents(uri: &str, value: &Value) -> Bytes {
    let text = super::result::pretty(value);
    let content = json!({ "uri": uri, "mimeType": "application/json", "text": text });
    bytes(&json!({ "contents": [content] }))
}

fn topic(visible: &Visible<'_>) -> Value {
    let permissions = [
        (visible.permissions.subscribe, "read"),
        (visible.permissions.publish, "write"),
    ];
    let permissions = permissions.iter().filter(|(permitted, _)| *permitted);
    let permissions: Vec<&str> = permissions.map(|(_, word)| *word).collect();
    json!({
        "pattern": visible.filter.as_str(),
        "permissions": permissions,
        "description": visible.description().unwrap_or("No description provided"),
    })
}

fn with_examples(visible: &Visible<'_>) -> Value {
    let pattern = visible.filter.as_str();
    let example: Vec<&str> = pattern
        .split('/')
        .map(|level| match level {
            "+" => "example",
            "#" => "subtopic/data",
            level => level,
        })
        .collect();
    let usage = match (pattern.contains('+'), pattern.contains('#')) {
        (true, true) => {
            format!("Matches '{pattern}': 'example' for +, and 'subtopic/data' for #")
        }
        (true, false) => format!("Matches '{pattern}': 'example' for +"),
        (false, true) => format!("Matches '{pattern}': 'subtopic/data' for #"),
        (false, false) => format!("Exact topic match for '{pattern}'"),
    };
    let mut topic = topic(visible);
    if let Some(members) = topic.as_object_mut() {
        let example = json!([{ "topic": example.join("/"), "usage": usage }]);
        members.insert("examples".to_owned(), example);
    }
    topic
}
