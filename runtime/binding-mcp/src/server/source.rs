//! The source of a message.

use std::net::SocketAddr;

use bytestring::ByteString;

use super::headers::Headers;
use super::sink::Sink;

/// The source of a message: where it came from, and where its response goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'h> {
    /// Where the response goes.
    pub(super) sink: Sink,
    /// The request headers, over HTTP.
    pub(super) headers: Option<&'h Headers<'h>>,
    /// Address and port of the client, if they are known.
    pub(super) peer: Option<SocketAddr>,
    /// The legacy session it belongs to.
    pub(super) session: Option<usize>,
}

impl Source<'_> {
    pub(super) const fn without_session(&self) -> Self {
        Self {
            session: None,
            ..*self
        }
    }

    /// Whether it names an unknown session.
    pub(super) fn names_unknown_session(&self) -> bool {
        let named = self.headers.and_then(Headers::session_id);
        named.is_some() && self.session.is_none()
    }

    /// Whether the client accepts server-sent events as the response.
    pub(super) fn takes_events(&self) -> bool {
        matches!(self.sink, Sink::Http(_))
            && self
                .headers
                .is_some_and(|headers| headers.accepts("text/event-stream"))
    }
}

/// Address and port of a client, for events; empty where there is none.
pub(super) fn shown_address(peer: Option<SocketAddr>) -> ByteString {
    let address = peer.map(|address| address.to_string().into());
    address.unwrap_or_default()
}
