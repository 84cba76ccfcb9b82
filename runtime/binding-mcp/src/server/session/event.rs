//! What comes of a session, and how one ends.

use bytestring::ByteString;
use tidegate_streams::mcp::{McpCapabilities, McpReset};

use crate::jsonrpc::Id;
use crate::server::sink::Sink;

/// What comes of a session.
#[derive(Debug)]
pub(in crate::server) enum SessionEvent {
    /// The exit has begun its part: `initialize` is to be answered.
    Begun(Begun),
    /// A list has changed.
    Changed,
    /// The exit refused the session, or did not answer in time, and `initialize` is to be answered so.
    /// The session is to be ended.
    Refused(Sink, Id, McpReset),
    /// The exit has ended the session, or its stream broke off. The session is to be ended.
    Lost(Option<(Sink, Id)>),
    /// It was idle for too long. The session is to be ended.
    Expired,
}

/// A session that has begun.
#[derive(Debug)]
pub(in crate::server) struct Begun {
    /// Where the answer goes, and its id.
    pub(in crate::server) sink: Sink,
    pub(in crate::server) id: Id,
    /// As the client is to know it.
    pub(in crate::server) session_id: ByteString,
    pub(in crate::server) version: &'static str,
    /// What the exit can do.
    pub(in crate::server) capabilities: McpCapabilities,
}

/// A session that is over, and removed. What belonged to it is to be ended.
#[derive(Debug)]
#[must_use]
pub(in crate::server) struct Ended {
    /// The exchange with its event stream.
    pub(in crate::server) events: Option<usize>,
    /// The line that it was of.
    pub(in crate::server) line: Option<usize>,
    /// The requests that were under way in it; those on a line are known there.
    pub(in crate::server) requests: Vec<usize>,
}

/// Who ends a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum EndedBy {
    /// The client, by DELETE or as its channel ends.
    Client,
    /// The exit, or a fault towards it.
    Exit,
    /// The gateway, as it stops.
    Gateway,
    /// Nobody: it was idle for too long.
    Time,
}

impl EndedBy {
    /// Whether the exit is told that the session ends in order.
    pub(super) const fn in_order(self) -> bool {
        !matches!(self, Self::Exit)
    }
}
