//! Event streams: the GET of a session's events, and the comments that keep any of them open.

use ::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use tidegate_engine::{Context, Duration};
use tidegate_json::Parts;

use super::binding::{Key, McpServer};
use super::errors::Refusal;
use super::headers::Headers;
use super::output::Sink;
use crate::jsonrpc::Id;

impl McpServer {
    /// A session's events.
    pub(super) fn get(&mut self, cx: &mut Context<'_>, key: usize, headers: &HeaderMap) {
        let sink = Sink::Http(key);
        let headers = Headers::of(headers);
        let Some(id) = headers.session_id.text() else {
            // The modern era has no GET; a legacy one is of a session.
            return self.answer_status(cx, sink, StatusCode::METHOD_NOT_ALLOWED);
        };
        if cx.stopping() {
            return self.refuse(cx, sink, &Id::null(), &Refusal::stopping());
        }
        let Some(session) = self.session_keys.get(id).copied() else {
            return self.answer_status(cx, sink, StatusCode::NOT_FOUND);
        };
        if !headers.accepts("text/event-stream") {
            return self.answer_status(cx, sink, StatusCode::NOT_ACCEPTABLE);
        }
        self.open_events(cx, session, key);
    }

    /// Keeps an event stream open while nothing happens on it.
    pub(super) fn keep_events_alive(&mut self, cx: &mut Context<'_>, key: usize) {
        let after = Duration::from_millis(self.options.keep_alive.max(1));
        if let Some(exchange) = self.http.get_mut(key) {
            let token = Key::Http(key).token();
            exchange.keep_alive = Some(cx.timer(after, token, 0, "mcp_server.keep_alive"));
        }
    }

    pub(super) fn events_timer(&mut self, cx: &mut Context<'_>, key: usize) {
        let Some(exchange) = self.http.get_mut(key) else {
            return;
        };
        exchange.keep_alive = None;
        if exchange.finished {
            return;
        }
        // A client that does not read needs no comment to keep what it does not read.
        if exchange.out.is_empty() {
            exchange.push(cx, Parts::from(Bytes::from_static(b": keep-alive\n\n")));
        }
        self.keep_events_alive(cx, key);
    }
}
