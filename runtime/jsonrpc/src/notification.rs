//! The notifications of a server.

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use tidegate_json::write::push_string;
use tidegate_json::{Document, Limits, Parts};
use tidegate_streams::mcp::{McpCapabilities, McpFlushEx, McpLog, McpLogLevel, McpProgress};

use super::id::Id;
use super::write::begin_notification;

/// Whether a log message is of this level or more severe; one without a level always is.
pub fn is_from(log: &McpLog, least: McpLogLevel) -> bool {
    Document::parse(Parts::from(log.params.clone()), Limits::default())
        .ok()
        .and_then(|params| McpLogLevel::of(&params.root().get("level").ok()??.string()?))
        .is_none_or(|level| level.is_from(least))
}

/// The notification of a log message.
pub fn log(log: &McpLog) -> Bytes {
    let mut out = begin_notification("notifications/message");
    out.extend_from_slice(&log.params);
    out.extend_from_slice(b"}");
    out.freeze()
}

/// The notification of progress. `token`: the token that the request gave, as JSON.
pub fn progress(token: &Bytes, progress: &McpProgress) -> Bytes {
    let mut out = begin_notification("notifications/progress");
    out.extend_from_slice(b"{\"progressToken\":");
    out.extend_from_slice(token);
    out.extend_from_slice(b",\"progress\":");
    out.extend_from_slice(progress.progress.as_bytes());
    if let Some(total) = &progress.total {
        out.extend_from_slice(b",\"total\":");
        out.extend_from_slice(total.as_bytes());
    }
    if let Some(message) = &progress.message {
        out.extend_from_slice(b",\"message\":");
        push_string(&mut out, message);
    }
    out.extend_from_slice(b"}}");
    out.freeze()
}

/// The lists whose changes a client can be notified of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum List {
    /// The list of prompts.
    Prompts,
    /// The list of resources.
    Resources,
    /// The list of tools.
    Tools,
}

impl List {
    /// Every list.
    pub const ALL: [Self; 3] = [Self::Prompts, Self::Resources, Self::Tools];

    /// The list named in a change notification of the exit, if it is one.
    pub const fn changed(flush: &McpFlushEx) -> Option<Self> {
        match flush {
            McpFlushEx::ToolsListChanged(_) => Some(Self::Tools),
            McpFlushEx::PromptsListChanged(_) => Some(Self::Prompts),
            McpFlushEx::ResourcesListChanged(_) => Some(Self::Resources),
            _ => None,
        }
    }

    /// The member of a `listen` that asks for its changes.
    pub const fn member(self) -> &'static str {
        match self {
            Self::Prompts => "promptsListChanged",
            Self::Resources => "resourcesListChanged",
            Self::Tools => "toolsListChanged",
        }
    }

    /// The capability of a server that tells its changes.
    pub const fn capability(self) -> McpCapabilities {
        match self {
            Self::Prompts => McpCapabilities::SERVER_PROMPTS_LIST_CHANGED,
            Self::Resources => McpCapabilities::SERVER_RESOURCES_LIST_CHANGED,
            Self::Tools => McpCapabilities::SERVER_TOOLS_LIST_CHANGED,
        }
    }

    const fn method(self) -> &'static str {
        match self {
            Self::Prompts => "notifications/prompts/list_changed",
            Self::Resources => "notifications/resources/list_changed",
            Self::Tools => "notifications/tools/list_changed",
        }
    }

    /// The notification of a change; `subscription` is the id of the `listen` that requested it.
    pub fn changed_message(self, subscription: Option<&Id>) -> Bytes {
        let Some(id) = subscription else {
            let method = self.method();
            return format!("{{\"jsonrpc\":\"2.0\",\"method\":\"{method}\"}}").into();
        };
        let mut out = begin_notification(self.method());
        out.extend_from_slice(b"{");
        push_subscription(&mut out, id);
        out.extend_from_slice(b"}}");
        out.freeze()
    }
}

/// The notification that a resource was updated; `subscription` is the id of the `listen` that requested it.
pub fn updated(uri: &str, subscription: Option<&Id>) -> Bytes {
    let mut out = begin_notification("notifications/resources/updated");
    out.extend_from_slice(b"{");
    if let Some(id) = subscription {
        push_subscription(&mut out, id);
        out.extend_from_slice(b",");
    }
    out.extend_from_slice(b"\"uri\":");
    push_string(&mut out, uri);
    out.extend_from_slice(b"}}");
    out.freeze()
}

/// The member `_meta` that names a `listen`.
fn push_subscription(out: &mut BytesMut, id: &Id) {
    out.extend_from_slice(b"\"_meta\":{\"io.modelcontextprotocol/subscriptionId\":");
    out.extend_from_slice(id.text());
    out.extend_from_slice(b"}");
}

/// A subscription that was refused.
#[derive(Debug)]
pub struct Refused {
    /// The resource.
    pub uri: ByteString,
    /// Why, in words.
    pub reason: String,
}

/// The notification with which a `listen` begins: what it is told of. MCP only leaves refused subscriptions out;
/// `tidegate/refused` says which they are and why.
pub fn acknowledged<'a>(
    id: &Id,
    lists: &[List],
    uris: impl ExactSizeIterator<Item = &'a ByteString>,
    refused: &[Refused],
) -> Bytes {
    let mut out = begin_notification("notifications/subscriptions/acknowledged");
    out.extend_from_slice(b"{\"_meta\":{\"io.modelcontextprotocol/subscriptionId\":");
    out.extend_from_slice(id.text());
    for (index, Refused { uri, reason }) in refused.iter().enumerate() {
        let before: &[u8] = if index > 0 {
            b","
        } else {
            b",\"tidegate/refused\":["
        };
        out.extend_from_slice(before);
        out.extend_from_slice(b"{\"uri\":");
        push_string(&mut out, uri);
        out.extend_from_slice(b",\"reason\":");
        push_string(&mut out, reason);
        out.extend_from_slice(b"}");
    }
    if !refused.is_empty() {
        out.extend_from_slice(b"]");
    }
    out.extend_from_slice(b"},\"notifications\":{");
    for (index, list) in lists.iter().enumerate() {
        out.extend_from_slice(if index > 0 { b",\"" } else { b"\"" });
        out.extend_from_slice(list.member().as_bytes());
        out.extend_from_slice(b"\":true");
    }
    if uris.len() > 0 {
        if !lists.is_empty() {
            out.extend_from_slice(b",");
        }
        out.extend_from_slice(b"\"resourceSubscriptions\":[");
        for (index, uri) in uris.enumerate() {
            if index > 0 {
                out.extend_from_slice(b",");
            }
            push_string(&mut out, uri);
        }
        out.extend_from_slice(b"]");
    }
    out.extend_from_slice(b"}}}");
    out.freeze()
}

/// The members of the result of a `listen` that ended in order.
pub fn ended(id: &Id) -> BytesMut {
    let mut members = BytesMut::with_capacity(128);
    members.extend_from_slice(
        b"\"resultType\":\"complete\",\"_meta\":{\"io.modelcontextprotocol/subscriptionId\":",
    );
    members.extend_from_slice(id.text());
    members.extend_from_slice(b"}");
    members
}
