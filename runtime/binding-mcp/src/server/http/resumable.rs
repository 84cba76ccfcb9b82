//! Responses that legacy clients can resume, and those that another worker has made.

use tidegate_engine::Context;
use tidegate_json::Parts;
use tidegate_streams::http_stream::HttpResponse;

use super::{Exchanges, POLL};
use crate::server::key::Key;
use crate::server::sink::Owner;

impl Exchanges {
    /// What depends on an exchange.
    pub(in crate::server) fn owner(&self, key: usize) -> Option<Owner> {
        self.all.get(key).map(|exchange| exchange.owner)
    }

    /// Starts the time after which the client is told to come back, if there is one.
    pub(in crate::server) fn poll_later(&mut self, cx: &mut Context<'_>, key: usize) {
        let Some(after) = self.poll_after else {
            return;
        };
        if let Some(exchange) = self.get_mut(key) {
            let token = Key::Http(key).token();
            exchange.poll = Some(cx.timer(after, token, POLL, "mcp_server.poll"));
        }
    }

    /// The session and the stream of events that the client of an exchange can resume.
    pub(in crate::server) fn resumable(&self, key: usize) -> Option<(usize, u64)> {
        self.all.get(key)?.resumable
    }

    /// The client of an exchange can resume its events, as this stream of a session.
    pub(in crate::server) fn set_resumable(&mut self, key: usize, session: usize, stream: u64) {
        if let Some(exchange) = self.get_mut(key) {
            exchange.resumable = Some((session, stream));
        }
    }

    /// Whether the response is a stream of server-sent events, and has begun.
    pub(in crate::server) fn has_events(&self, key: usize) -> bool {
        self.all.get(key).is_some_and(|exchange| exchange.events)
    }

    /// Begins a response that another worker has made.
    pub(in crate::server) fn begin_response(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        response: HttpResponse,
    ) {
        if let Some(exchange) = self.get_mut(key) {
            exchange.begin(cx, response);
        }
    }

    /// Sends text as it is.
    pub(in crate::server) fn push_raw(&mut self, cx: &mut Context<'_>, key: usize, events: Parts) {
        if let Some(exchange) = self.get_mut(key) {
            exchange.push(cx, events);
        }
    }
}
