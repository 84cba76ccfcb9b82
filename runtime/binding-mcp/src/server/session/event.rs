//! Events of a session, and how a session ends.

use bytestring::ByteString;
use tidegate_streams::mcp::{McpCapabilities, McpChallenge, McpReset};

use crate::jsonrpc::Id;
use crate::server::sink::Sink;

/// An event of a session.
#[derive(Debug)]
pub(in crate::server) enum SessionEvent {
    /// The exit has accepted the session: answer `initialize`.
    Begun(Begun),
    /// A list has changed.
    Changed,
    /// The exit asks the client for something.
    Challenged(McpChallenge),
    /// The exit no longer waits for the response to the request with this id.
    Withdrawn(u64),
    /// The exit refused the session or did not answer in time: answer `initialize` with this
    /// refusal and end the session.
    Refused(Sink, Id, McpReset),
    /// The exit has ended or aborted the session: end it.
    Lost(Option<(Sink, Id)>),
    /// The session was idle for too long: end it.
    Expired,
}

/// A caller that names a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum Claimed {
    /// Its owner.
    Same,
    /// Its owner, with other roles or attributes than before.
    OtherRights,
    /// Someone else: the session does not exist for it.
    Other,
}

/// A session that has begun.
#[derive(Debug)]
pub(in crate::server) struct Begun {
    /// Sink and id for the response.
    pub(in crate::server) sink: Sink,
    pub(in crate::server) id: Id,
    /// The public id.
    pub(in crate::server) session_id: ByteString,
    pub(in crate::server) version: &'static str,
    /// The capabilities of the exit.
    pub(in crate::server) capabilities: McpCapabilities,
}

/// A session that has ended and was removed. End what belonged to it.
#[derive(Debug)]
#[must_use]
pub(in crate::server) struct Ended {
    /// The exchange with its event stream.
    pub(in crate::server) events: Option<usize>,
    /// Its line.
    pub(in crate::server) line: Option<usize>,
    /// Its running requests; those on a line are kept by the line.
    pub(in crate::server) requests: Vec<usize>,
    /// Ids of requests to its client that are not answered.
    pub(in crate::server) asked: Vec<u64>,
}

/// The reason a session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum EndedBy {
    /// The client, by DELETE or by ending its channel.
    Client,
    /// The exit, or an error towards it.
    Exit,
    /// The gateway, because it is stopping.
    Gateway,
    /// It expired.
    Time,
}

impl EndedBy {
    /// The word for it in events.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Exit => "exit",
            Self::Gateway => "gateway",
            Self::Time => "time",
        }
    }

    /// Whether the stream to the exit is ended in order.
    pub(super) const fn in_order(self) -> bool {
        !matches!(self, Self::Exit)
    }
}
