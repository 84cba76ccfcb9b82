//! Destinations of responses.

use ::http::{HeaderName, HeaderValue, StatusCode};

/// Where the response to a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sink {
    /// The response of an HTTP exchange.
    Http(usize),
    /// A line of a line stream.
    Line(usize),
    /// A batch whose responses are being collected.
    Batch(usize),
    /// Nowhere: the client has disconnected, but the request continues.
    Nowhere,
}

/// A header that says what the client can do about a refusal. In a box: most responses have none.
pub(super) type Advice = Box<(HeaderName, HeaderValue)>;

/// The kind of a response.
#[derive(Debug, Default)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    /// The session that `initialize` has begun.
    pub(super) session_id: Option<HeaderValue>,
    /// What the client can do about a refusal: `WWW-Authenticate` or `Retry-After`.
    pub(super) advice: Option<Advice>,
}

/// What depends on an HTTP exchange, and is notified when its client disconnects or reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    None,
    Request(usize),
    Batch(usize),
    Listen(usize),
    /// The event stream of a session.
    Events(usize),
    /// A session that is being opened.
    Initialize(usize),
    /// A subscription that is not confirmed.
    Subscribe(usize),
    /// A `server/discover` waiting for the exit.
    Discover,
    /// A request that another worker answers.
    Forward(usize),
}

/// Bytes queued for a client above which the exit's data is not acknowledged.
pub(super) const UNSENT_MAX: usize = 256 * 1024;
