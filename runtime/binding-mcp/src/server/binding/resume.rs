//! Event streams that clients of the legacy era resume (2025-11-25, Streamable HTTP, Resumability).
//!
//! Events on the stream of a session, and on that of a request, have ids and are kept for a while. A
//! client that has lost its connection names the last one that it received in a GET, and gets the events
//! of that stream that followed; if the request is still running, its response too.

use ::http::HeaderMap;
use bytes::Bytes;
use tidegate_engine::Context;
use tidegate_json::Parts;

use super::McpServer;
use crate::server::errors::Refusal;
use crate::server::payload::{event_with_id, priming};
use crate::server::request::Closed;
use crate::server::session::{EVENT_MAX, EventId, SESSION_STREAM};
use crate::server::sink::{Owner, Sink};

/// After how long a client is to come back, in milliseconds.
const RETRY_MS: u64 = 1_000;

impl McpServer {
    /// The response to a request becomes a stream of events, which a legacy client can resume.
    pub(super) fn begin_request_events(&mut self, cx: &mut Context<'_>, http: usize, key: usize) {
        if self.http.has_events(http) {
            return;
        }
        if let Some(session) = self.requests.resumable_session(key)
            && let Some(stream) = self.sessions.open_stream(session)
        {
            self.http.set_resumable(http, session, stream);
            self.requests.set_event_stream(key, stream);
        }
        self.http.begin_events(cx, http);
    }

    /// Sends a message as an event, with an id if the client can resume the stream.
    pub(super) fn push_event(&mut self, cx: &mut Context<'_>, http: usize, message: Bytes) {
        let id = self.http.resumable(http).and_then(|(session, stream)| {
            let message = Parts::from(message.clone());
            self.sessions.contains(session).then_some(())?;
            self.sessions.record(session, stream, &message)
        });
        match id {
            Some(id) => {
                let event = event_with_id(&id.text(), Parts::from(message));
                self.http.push_raw(cx, http, event);
            }
            None => self.http.push_event(cx, http, message),
        }
    }

    /// Sends the response of a request as the last event of a stream that the client can resume; whether
    /// it is one.
    pub(super) fn push_last_event(
        &mut self,
        cx: &mut Context<'_>,
        http: usize,
        message: &Parts,
    ) -> bool {
        let Some((session, stream)) = self.http.resumable(http) else {
            return false;
        };
        if !self.http.has_events(http) || !self.sessions.contains(session) {
            return false;
        }
        let Some(id) = self.sessions.record(session, stream, message) else {
            return false;
        };
        let event = event_with_id(&id.text(), message.clone());
        self.http.push_raw(cx, http, event);
        self.http.finish(cx, http);
        true
    }

    /// Keeps a message of a request whose client has lost its connection, until it resumes the stream.
    pub(super) fn keep_event(&mut self, session: Option<usize>, stream: u64, message: &Parts) {
        if let Some(session) = session.filter(|_| stream != SESSION_STREAM)
            && self.sessions.contains(session)
        {
            self.sessions.record(session, stream, message);
        }
    }

    /// Keeps an error in place of the result of a request, which is not kept.
    pub(super) fn keep_loss(&mut self, closed: &Closed) {
        let refusal = Refusal::result_not_kept(EVENT_MAX);
        let message = Parts::from(refusal.message(&closed.id));
        self.keep_event(closed.session, closed.event_stream, &message);
    }

    /// The event that a client has received last, if it resumes a stream.
    pub(super) fn last_event(headers: &HeaderMap) -> Option<EventId> {
        EventId::read(headers.get("last-event-id")?.to_str().ok()?)
    }

    /// Sends the events of a stream that follow the last one that the client has received.
    pub(super) fn replay(
        &mut self,
        cx: &mut Context<'_>,
        http: usize,
        session: usize,
        id: EventId,
    ) {
        for (id, message) in self.sessions.events_after(session, id) {
            let event = event_with_id(&id.text(), message);
            self.http.push_raw(cx, http, event);
        }
    }

    /// GET: continues the response to a request. The stream ends if the request has ended.
    pub(super) fn resume_request(
        &mut self,
        cx: &mut Context<'_>,
        http: usize,
        session: usize,
        id: EventId,
    ) {
        self.http.begin_events(cx, http);
        self.http.set_resumable(http, session, id.stream);
        self.replay(cx, http, session, id);
        self.sessions.touch(cx, session);
        let mut running = self.sessions.running(session).into_iter();
        let request = running.find(|key| self.requests.event_stream(*key) == Some(id.stream));
        let Some(request) = request else {
            return self.http.finish(cx, http);
        };
        if let Some(id) = self.requests.streams(request) {
            // The result goes to the connection before this one as it arrives. What was sent of it is
            // not kept.
            let refusal = Refusal::result_not_kept(EVENT_MAX);
            let message = refusal.message(id);
            self.http.push_event(cx, http, message);
            return self.http.finish(cx, http);
        }
        if let Sink::Http(before) = self.requests.attach(request, http) {
            self.http.finish(cx, before);
        }
        self.http.set_owner(http, Owner::Request(request));
        self.http.keep_open(cx, http);
        self.http.poll_later(cx, http);
    }

    /// The response to a request takes long: its client is told to come back for it.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, http: usize) {
        let Some(Owner::Request(key)) = self.http.owner(http) else {
            return;
        };
        self.begin_request_events(cx, http, key);
        let Some((session, stream)) = self.http.resumable(http) else {
            return;
        };
        if !self.requests.detach(key) || !self.sessions.contains(session) {
            return;
        }
        if let Some(id) = self.sessions.next_event(session, stream) {
            let event = priming(&id.text(), RETRY_MS);
            self.http.push_raw(cx, http, event);
        }
        self.http.finish(cx, http);
    }
}
