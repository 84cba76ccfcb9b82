//! Where a message came from.

use super::headers::Headers;
use super::sink::Sink;

/// Where a message came from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caller<'h> {
    /// Where its answer goes.
    pub(super) sink: Sink,
    /// The headers that came with it, over HTTP.
    pub(super) headers: Option<&'h Headers<'h>>,
    /// The legacy session that it belongs to.
    pub(super) session: Option<usize>,
}

impl Caller<'_> {
    pub(super) const fn without_session(&self) -> Self {
        Self {
            session: None,
            ..*self
        }
    }

    /// Whether it names a session that is not here.
    pub(super) fn names_unknown_session(&self) -> bool {
        let named = self.headers.and_then(Headers::session_id);
        named.is_some() && self.session.is_none()
    }

    /// Whether the client takes server-sent events in answer to it.
    pub(super) fn takes_events(&self) -> bool {
        matches!(self.sink, Sink::Http(_))
            && self
                .headers
                .is_some_and(|headers| headers.accepts("text/event-stream"))
    }
}
