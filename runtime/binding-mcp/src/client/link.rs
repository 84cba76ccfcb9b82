//! A connection with the server in the sense of MCP: a legacy session, the process on a line stream, or no
//! more than what is known of a modern server.

use std::collections::BTreeSet;
use std::sync::Arc;

use ::http::HeaderValue;
use bytes::Bytes;
use bytestring::ByteString;
use tidegate_engine::{Context, PendingData, StreamId, Time, TimerId};
use tidegate_json::Parts;
use tidegate_streams::mcp::{McpCapabilities, McpLogLevel};
use tidegate_streams::{Data, Identity};

use super::handshake::Server;

/// Most bytes that wait for a process that does not read its input.
pub(super) const UNREAD_MAX: usize = 16 * 1024 * 1024;

/// Whose connection it is.
#[derive(Debug, Clone)]
pub(super) enum Owner {
    /// The session of a caller, with the identity that it has on the caller's hop.
    Session(ByteString),
    /// All calls of a caller without a session.
    Caller(Option<Arc<Identity>>),
    /// All callers: it is a process.
    Everybody,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing was sent yet.
    Closed,
    /// `server/discover` was sent.
    Discovering,
    /// `initialize` was sent.
    Initializing,
    /// Requests can be sent.
    Ready,
}

/// The stream of the messages of a legacy session, or a `subscriptions/listen` for changed lists.
#[derive(Debug, Default)]
pub(super) struct Listening {
    /// The HTTP request, over HTTP.
    pub(super) post: Option<usize>,
    /// The request, in the modern era.
    pub(super) request: Option<u64>,
    /// The server has no such stream.
    pub(super) refused: bool,
    /// Where it is continued.
    pub(super) after: Option<Bytes>,
    /// How often it has failed without a message in between.
    pub(super) failures: u32,
    pub(super) timer: Option<TimerId>,
}

/// A connection with the server.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) owner: Owner,
    pub(super) phase: Phase,
    /// What is known of the server, once it is ready.
    pub(super) server: Option<Server>,
    /// The id of the legacy session over HTTP.
    pub(super) session: Option<HeaderValue>,
    /// The least severe log messages that a legacy server was asked for.
    pub(super) log_level: Option<McpLogLevel>,
    /// What the callers can be asked for.
    pub(super) client: McpCapabilities,
    /// The calls that use it; those that wait for it are among them.
    pub(super) calls: BTreeSet<usize>,
    /// The caller has ended its session, or has other rights.
    pub(super) closing: bool,
    /// The running request of the handshake.
    pub(super) handshake: Option<u64>,
    /// `server/discover` was sent again, after the server had refused the version.
    pub(super) discovers_again: bool,
    /// A `server/discover` that was not answered in time, and may be answered later.
    pub(super) probe: Option<u64>,
    pub(super) listening: Listening,
    /// Limits the handshake, or the time without a call.
    pub(super) timer: Option<TimerId>,
    pub(super) line: Option<Line>,
    /// Until then, invalid messages are not reported.
    pub(super) quiet_until: Time,
    /// Number of invalid messages since the last report.
    pub(super) invalid: u32,
}

/// The line stream to a process.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) stream: StreamId,
    pub(super) out: PendingData,
    /// The message being received.
    pub(super) received: tidegate_json::Gather,
    /// The message being received is too large and skipped.
    pub(super) skipping: bool,
}

impl Link {
    pub(super) fn new(owner: Owner, client: McpCapabilities) -> Self {
        Self {
            owner,
            phase: Phase::Closed,
            server: None,
            session: None,
            log_level: None,
            client,
            calls: BTreeSet::new(),
            closing: false,
            handshake: None,
            discovers_again: false,
            probe: None,
            listening: Listening::default(),
            timer: None,
            line: None,
            quiet_until: Time::START,
            invalid: 0,
        }
    }

    /// Whether calls without a session of this caller may use it.
    pub(super) fn is_shared_by(&self, caller: Option<&Arc<Identity>>) -> bool {
        match (&self.owner, caller) {
            (Owner::Everybody, _) | (Owner::Caller(None), None) => true,
            (Owner::Caller(Some(owner)), Some(caller)) => {
                owner.is_same_subject(caller) && owner.has_same_rights(caller)
            }
            _ => false,
        }
    }

    pub(super) fn cancel_timer(&mut self, cx: &mut Context<'_>) {
        if let Some(timer) = self.timer.take() {
            cx.cancel(timer);
        }
    }
}

impl Line {
    pub(super) fn new(stream: StreamId) -> Self {
        Self {
            stream,
            out: PendingData::new(),
            received: tidegate_json::Gather::new(),
            skipping: false,
        }
    }

    /// Sends a message as far as the process reads.
    pub(super) fn send(&mut self, cx: &mut Context<'_>, message: Parts) {
        for data in Data::of_message(message) {
            self.out.push(data);
        }
        self.out.flush(cx, self.stream);
    }
}
