//! Where answers go.

use ::http::{HeaderValue, StatusCode};

/// Where the answer to a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sink {
    /// The response of an HTTP exchange.
    Http(usize),
    /// A line of a line stream.
    Line(usize),
    /// A batch that is put together.
    Batch(usize),
    /// Nobody: the client has gone, and the request goes on.
    Nowhere,
}

/// What an answer is, beside its text.
#[derive(Debug, Default)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    /// The session that `initialize` has begun.
    pub(super) session_id: Option<HeaderValue>,
}

/// What depends on an HTTP exchange, and is told when its client goes or reads on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    None,
    Request(usize),
    Batch(usize),
    Listen(usize),
    /// The event stream of a session.
    Events(usize),
    /// A session that begins.
    Initialize(usize),
    /// A subscription that is not confirmed.
    Subscribe(usize),
    /// `server/discover`, while the exit is asked.
    Discover,
}

/// How much may wait for a client before a result's sender is held back.
pub(super) const UNSENT_MAX: usize = 256 * 1024;
