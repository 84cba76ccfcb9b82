//! What an operation does, step by step.

use std::collections::VecDeque;

use serde_json::{Map, Value, json};
use tidegate_streams::mcp::{McpAnswer, McpCapabilities, McpHeader, McpReset};

/// An operation, as it was asked for.
#[derive(Debug)]
pub(crate) struct Call {
    /// The `params`.
    pub(crate) params: Value,
    /// What the client can be asked for.
    pub(crate) capabilities: McpCapabilities,
    /// `Mcp-Param-*` headers, and whether they are required.
    pub(crate) headers: Vec<McpHeader>,
    pub(crate) headers_required: bool,
    /// What the client has answered, in the order in which it was asked.
    pub(crate) answers: Vec<Answer>,
}

/// An answer of the client.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) how: McpAnswer,
    pub(crate) content: Value,
}

/// A list whose changes are told.
#[derive(Debug, Clone, Copy)]
pub(crate) enum List {
    Tools,
    Prompts,
}

/// A step.
#[derive(Debug)]
pub(crate) enum Step {
    /// A log message.
    Log(&'static str),
    /// Progress of 100.
    Progress(u64),
    /// 50 ms.
    Pause,
    /// Asks the client, with a method and `params`, for everything at once.
    Ask(Vec<(&'static str, Value)>),
    /// A list has changed.
    Changed(List),
    /// The end.
    Reply(fn(&Call) -> Reply),
}

/// The end of an operation.
#[derive(Debug)]
pub(crate) enum Reply {
    Result(Value),
    /// A result with `isError`.
    Error(Value),
    InputRequired(Value),
    Refused(McpReset),
}

/// The steps of an operation.
pub(crate) type Plan = VecDeque<Step>;

/// A plan of one step.
pub(crate) fn reply(reply: fn(&Call) -> Reply) -> Plan {
    Plan::from([Step::Reply(reply)])
}

impl Call {
    /// A member of `arguments`, as text.
    pub(crate) fn argument(&self, name: &str) -> &str {
        self.params["arguments"][name].as_str().unwrap_or_default()
    }

    /// The `inputResponses`.
    pub(crate) fn inputs(&self) -> &Map<String, Value> {
        static NONE: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
        self.params["inputResponses"].as_object().unwrap_or(&NONE)
    }
}

/// The result of a tool with one text.
pub(crate) fn text(text: impl Into<String>) -> Value {
    json!({ "content": [{ "type": "text", "text": text.into() }] })
}
