//! Requests: what a caller asks for with the BEGIN of its stream, checked.

use bytes::Bytes;
use bytestring::ByteString;
use tidegate_streams::mcp::{
    McpBeginEx, McpReset, McpResetKind, McpResourcesList, McpResourcesRead,
    McpResourcesTemplatesList, McpToolsList,
};
use tidegate_streams::mqtt::topic::TopicFilter;
use tidegate_streams::{BeginEx, Identity, Pooled};

use crate::call::Call;
use crate::operation::Operation;
use crate::settings::Settings;
use crate::uri;

/// A validated request.
#[derive(Debug)]
pub(crate) enum Request {
    Lifecycle,
    List(Pooled<BeginEx>, Bytes),
    Call(Call),
    /// `completion/complete`
    Complete(Call),
    Read {
        uri: ByteString,
        topic: TopicFilter,
    },
    Subscribe {
        uri: ByteString,
        filter: ByteString,
    },
}

impl Request {
    /// The operation that it begins.
    pub(crate) const fn operation(&self) -> Operation {
        match self {
            Self::Lifecycle => Operation::Session,
            Self::List(..) => Operation::List,
            Self::Call(call) | Self::Complete(call) => call.handler.operation,
            Self::Read { .. } => Operation::Read,
            Self::Subscribe { .. } => Operation::Subscribe,
        }
    }

    /// Checks a request of a caller, while there are `sessions` sessions.
    pub(crate) fn read(
        settings: &Settings,
        sessions: usize,
        caller: Option<&Identity>,
        begin: McpBeginEx,
    ) -> Result<Self, McpReset> {
        Ok(match begin {
            McpBeginEx::Lifecycle(_) if sessions >= settings.sessions_max => {
                return Err(McpReset::new(
                    McpResetKind::Unavailable,
                    format!(
                        "Session limit reached ({}, maxSessions); end a session or retry later.",
                        settings.sessions_max
                    ),
                ));
            }
            McpBeginEx::Lifecycle(_) => Self::Lifecycle,
            McpBeginEx::ToolsList(_) => Self::List(
                reply(McpToolsList::default()),
                settings.list(caller, |lists| &lists.tools),
            ),
            McpBeginEx::ResourcesList(_) => Self::List(
                reply(McpResourcesList::default()),
                settings.list(caller, |lists| &lists.resources),
            ),
            McpBeginEx::ResourcesTemplatesList(_) => Self::List(
                reply(McpResourcesTemplatesList::default()),
                settings.list(caller, |lists| &lists.templates),
            ),
            McpBeginEx::ToolsCall(call) => {
                let tool = settings.tool(caller, &call.name);
                let tool = tool.ok_or_else(|| settings.unknown_tool(&call.name, caller))?;
                Self::Call(Call::new(tool, call, settings.params_bound)?)
            }
            McpBeginEx::ResourcesRead(read)
                if let Some(document) = settings.document(caller, &read.uri) =>
            {
                Self::List(reply(McpResourcesRead::default()), document)
            }
            McpBeginEx::ResourcesRead(read) => Self::Read {
                topic: uri::topic_to_read(
                    settings.subscribe.of(caller),
                    &settings.limits,
                    &read.uri,
                )?,
                uri: read.uri,
            },
            McpBeginEx::ResourcesSubscribe(subscribe) => Self::Subscribe {
                filter: uri::filter_to_subscribe(
                    settings.subscribe.of(caller),
                    &settings.limits,
                    &subscribe.uri,
                )?,
                uri: subscribe.uri,
            },
            McpBeginEx::PromptsList(_) | McpBeginEx::PromptsGet(_) => {
                return Err(not_found("Prompts are not supported."));
            }
            McpBeginEx::CompletionComplete(complete) if settings.completes => {
                Self::Complete(Call::completion(&complete, settings.params_bound)?)
            }
            McpBeginEx::CompletionComplete(_) => {
                return Err(not_found("Completion is not supported."));
            }
        })
    }
}

/// A reply BEGIN.
pub(crate) fn reply(begin: impl Into<BeginEx>) -> Pooled<BeginEx> {
    Pooled::new(begin.into())
}

fn not_found(message: impl Into<ByteString>) -> McpReset {
    McpReset::new(McpResetKind::NotFound, message)
}
