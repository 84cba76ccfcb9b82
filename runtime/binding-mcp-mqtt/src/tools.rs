//! The tools: a table of their names, what `tools/list` says of them, and the code that starts a call.

pub(crate) mod description;
mod list_topics;
mod publish;
mod query;
mod read;
mod receive;

use bytes::Bytes;
use bytestring::ByteString;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use tidegate_engine::{Context, Duration};
use tidegate_streams::{BeginEx, Identity};

use crate::call::{Params, TopicHeader};
use crate::catalog::Catalog;
use crate::client_id::OwnClientId;
use crate::mcpmqtt::{self, Compatibility};
use crate::operation::Operation;
use crate::options::Options;
use crate::policy::CallerPolicy;
use crate::refusal::Refusal;
use crate::result::Answer;
use crate::seen::Seen;
use crate::settings::Settings;
use crate::state::State;

pub(crate) use publish::PublishArguments;
pub(crate) use receive::{ReceiveArguments, default_limit};

/// A tool, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Tool {
    /// Publishes a message.
    Publish,
    /// Collects messages.
    Receive,
    /// Waits for one message.
    Read,
    /// Publishes a request and waits for its answer.
    Query,
    /// Lists the topics with their meaning.
    ListTopics,
}

/// A line of the table.
#[derive(Debug)]
pub(crate) struct Definition {
    pub(crate) tool: Tool,
    pub(crate) name: &'static str,
    pub(crate) operation: Operation,
    /// The definition in `tools/list`, without the name.
    pub(crate) describe: fn(&Described<'_>) -> Value,
    /// Checks the arguments of a call and starts it.
    pub(crate) start: Start,
}

impl Definition {
    /// What a call of it does.
    pub(crate) const fn handler(&self) -> Handler {
        Handler {
            name: self.name,
            operation: self.operation,
            start: self.start,
        }
    }
}

/// What is done with complete params: a tool, or another operation with params.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Handler {
    /// The name of the tool or the method.
    pub(crate) name: &'static str,
    pub(crate) operation: Operation,
    pub(crate) start: Start,
}

/// Checks the params and starts the operation.
pub(crate) type Start =
    fn(&mut Context<'_>, Params, &mut Invocation<'_>) -> Result<Started, Refusal>;

/// The tools, in the order of `tools/list`.
static TOOLS: [Definition; 5] = [
    Definition {
        tool: Tool::Publish,
        name: "publish",
        operation: Operation::Publish,
        describe: publish::describe,
        start: publish::start,
    },
    Definition {
        tool: Tool::Receive,
        name: "receive",
        operation: Operation::Receive,
        describe: receive::describe,
        start: receive::start,
    },
    Definition {
        tool: Tool::Read,
        name: "read",
        operation: Operation::Read,
        describe: read::describe,
        start: read::start,
    },
    Definition {
        tool: Tool::Query,
        name: "query",
        operation: Operation::Query,
        describe: query::describe,
        start: query::start,
    },
    Definition {
        tool: Tool::ListTopics,
        name: "list_topics",
        operation: Operation::ListTopics,
        describe: list_topics::describe,
        start: list_topics::start,
    },
];

/// What the definitions in `tools/list` are made of, for one caller.
pub(crate) struct Described<'a> {
    pub(crate) options: &'a Options,
    pub(crate) catalog: &'a Catalog,
    pub(crate) caller: Option<&'a Identity>,
    /// Whether the caller has `list_topics`.
    pub(crate) lists_topics: bool,
}

/// A call whose params are complete.
pub(crate) struct Invocation<'a> {
    /// The name of the tool.
    pub(crate) tool: &'static str,
    pub(crate) header: &'a TopicHeader,
    pub(crate) settings: &'a Settings,
    pub(crate) caller: Option<&'a Identity>,
    /// The session of the call.
    pub(crate) client_id: Option<ByteString>,
    /// The client identifier of queries without a session.
    pub(crate) own: &'a mut OwnClientId,
    pub(crate) seen: &'a Seen,
}

/// What a call begins with.
#[allow(
    clippy::large_enum_variant,
    reason = "nearly every call opens a stream: a box for each would cost more"
)]
pub(crate) enum Started {
    /// An mqtt stream.
    Stream(Opening),
    /// An answer.
    Answered(Answer),
}

/// The mqtt stream that a call opens.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) state: State,
    pub(crate) begin: BeginEx,
    pub(crate) client_id: Option<ByteString>,
    /// How long the call waits for messages, and for which ones.
    pub(crate) wait: Option<(Duration, &'static str)>,
}

impl Tool {
    /// Whether a caller may use it, with what it may publish and subscribe to.
    fn is_for(
        self,
        publish: CallerPolicy<'_>,
        subscribe: CallerPolicy<'_>,
        replies: bool,
        usable: fn(CallerPolicy<'_>) -> bool,
    ) -> bool {
        match self {
            Self::Publish => usable(publish),
            Self::Receive | Self::Read => usable(subscribe),
            Self::Query => usable(publish) && (replies || usable(subscribe)),
            Self::ListTopics => usable(publish) || usable(subscribe),
        }
    }
}

/// The tools that the options select.
#[derive(Debug)]
pub(crate) struct Tools(Vec<&'static Definition>);

impl Tools {
    pub(crate) fn new(options: &Options) -> Self {
        let table: &'static [Definition] = match options.compatibility {
            Some(Compatibility::Mcpmqtt) => &mcpmqtt::TOOLS,
            None => &TOOLS,
        };
        let selected = options.tools.as_deref();
        let is_selected = |it: &&Definition| selected.is_none_or(|tools| tools.contains(&it.tool));
        Self(table.iter().filter(is_selected).collect())
    }

    /// The tool with a name.
    pub(crate) fn named(&self, name: &str) -> Option<&'static Definition> {
        self.0.iter().copied().find(|it| it.name == name)
    }

    /// The tool of an operation.
    pub(crate) fn of_operation(&self, operation: &str) -> Option<&'static Definition> {
        let mut tools = self.0.iter().copied();
        tools.find(|it| it.operation.word() == operation)
    }

    /// The tools that a caller may use.
    pub(crate) fn of<'a>(
        &'a self,
        publish: CallerPolicy<'a>,
        subscribe: CallerPolicy<'a>,
        replies: bool,
    ) -> impl Iterator<Item = &'static Definition> {
        let tools = self.0.iter().copied();
        tools.filter(move |it| it.tool.is_for(publish, subscribe, replies, allows_any))
    }

    /// The result of `tools/list`.
    pub(crate) fn list(own: &[&'static Definition], described: &Described<'_>) -> Bytes {
        let tools = own.iter().map(|definition| {
            let mut tool = (definition.describe)(described);
            if let Some(members) = tool.as_object_mut() {
                members.insert("name".to_owned(), definition.name.into());
            }
            tool
        });
        let tools: Vec<Value> = tools.collect();
        Bytes::from(json!({ "tools": tools }).to_string())
    }
}

fn allows_any(policy: CallerPolicy<'_>) -> bool {
    policy.allows_any()
}

/// Which scopes a call needs depends on its topic.
fn could_allow_any(policy: CallerPolicy<'_>) -> bool {
    policy.allows_any() || policy.could_step_up()
}

/// Whether a caller may use a tool, or could with further scopes.
pub(crate) fn exists(
    tool: Tool,
    publish: CallerPolicy<'_>,
    subscribe: CallerPolicy<'_>,
    replies: bool,
) -> bool {
    tool.is_for(publish, subscribe, replies, could_allow_any)
}
