//! Ends what depends on a client, a session or a `listen`.

use tidegate_engine::Context;

use super::McpServer;
use super::outcomes::subscriptions_refused;
use crate::jsonrpc::Id;
use crate::jsonrpc::notification::ended;
use crate::server::errors::Refusal;
use crate::server::events::CallOutcome;
use crate::server::line::{Dependents, Disconnected, LineWork};
use crate::server::listen;
use crate::server::request::RequestEvent;
use crate::server::session::EndedBy;
use crate::server::sink::{Owner, Sink};
use crate::server::subscription::Waiting;

/// Clients that read again, or disconnect.
impl McpServer {
    /// The client of an exchange has received data.
    pub(super) fn http_drained(&mut self, cx: &mut Context<'_>, key: usize, owner: Owner) {
        match owner {
            Owner::Request(request) => {
                let waiting = self.http.waiting(key);
                self.requests.drained(cx, request, waiting);
            }
            Owner::Forward(forward) => {
                let waiting = self.http.waiting(key);
                self.forwards.passed(cx, forward, 0, waiting);
            }
            Owner::Listen(listen) => self.send_listen_updates(cx, listen),
            Owner::Events(session) => self.send_session_updates(cx, session),
            _ => {}
        }
    }

    /// The client of an exchange has disconnected: end what depends on it.
    pub(super) fn http_disconnected(&mut self, cx: &mut Context<'_>, key: usize, owner: Owner) {
        let sink = Sink::Http(key);
        match owner {
            Owner::Request(request) => {
                if let Some(closed) = self.requests.client_disconnected(cx, request) {
                    // If it comes back, it is told.
                    self.keep_loss(&closed);
                    self.request_closed(cx, &closed);
                }
            }
            Owner::Batch(batch) => self.batches.detach(batch),
            Owner::Listen(listen) => self.drop_listen(cx, listen),
            Owner::Events(session) => {
                if self.sessions.end_events(session, key) {
                    self.sessions.touch(cx, session);
                }
            }
            Owner::Initialize(session) => {
                if self.sessions.is_awaited_by(session, sink) {
                    self.end_session(cx, session, EndedBy::Exit);
                }
            }
            Owner::Subscribe(subscription) => {
                self.subscriptions.client_disconnected(subscription, sink);
            }
            Owner::Discover => self.discovery.client_disconnected(sink),
            Owner::Forward(forward) => self.forwards.close(cx, forward),
            Owner::None => {}
        }
    }

    /// The client of a line has received data.
    pub(super) fn line_drained(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        dependents: Dependents,
    ) {
        for listen in dependents.listens {
            self.send_listen_updates(cx, listen);
        }
        if let Some(session) = dependents.session {
            self.send_session_updates(cx, session);
        }
        let ended = self.lines.end_if_done(cx, key);
        self.line_ended(ended);
    }

    /// End of input on a line: running requests are still answered, and subscriptions end.
    pub(super) fn line_input_ended(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        dependents: Dependents,
    ) {
        for listen in dependents.listens {
            self.end_listen(cx, listen);
        }
        if let Some(session) = dependents.session {
            self.end_subscriptions(cx, session);
        }
        let ended = self.lines.end_if_done(cx, key);
        self.line_ended(ended);
    }

    /// A line was aborted: end everything on it.
    pub(super) fn line_disconnected(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        disconnected: Disconnected,
    ) {
        let sink = Sink::Line(key);
        self.discovery.client_disconnected(sink);
        for batch in self.batches.of(sink) {
            self.batches.detach(batch);
        }
        for work in disconnected.running {
            match work {
                LineWork::Request(request) => drop(self.requests.cancel(cx, request)),
                LineWork::Listen(listen) => self.drop_listen(cx, listen),
            }
        }
        if let Some(session) = disconnected.session {
            for subscription in self.sessions.subscriptions(session) {
                self.subscriptions.client_disconnected(subscription, sink);
            }
            self.sessions.detach_line(session);
            self.end_session(cx, session, EndedBy::Client);
        }
    }

    /// A handler panicked on a client's message: stop processing its batch.
    pub(super) fn cut_batch_short(&mut self, cx: &mut Context<'_>, batch: usize) {
        self.batches.detach(batch);
        let done = self.batches.cut_short(cx, batch);
        self.batch_done(cx, done);
    }
}

/// Expired identities.
impl McpServer {
    /// The identity of an exchange's client has expired: end what is open for it.
    pub(super) fn http_expired(&mut self, cx: &mut Context<'_>, key: usize) {
        match self.http.on_expiry(cx, key) {
            Some(Owner::Listen(listen)) => self.fail_listen(cx, listen, &Refusal::expired()),
            Some(Owner::Events(session)) => {
                if self.sessions.end_events(session, key) {
                    self.sessions.touch(cx, session);
                }
                self.http.finish_expired(cx, key);
            }
            _ => {}
        }
    }

    /// The identity of a line's client has expired: its subscriptions end, and its requests will be
    /// refused.
    pub(super) fn line_expired(&mut self, cx: &mut Context<'_>, key: usize) {
        let Some(dependents) = self.lines.on_expiry(cx, key) else {
            return;
        };
        for listen in dependents.listens {
            self.fail_listen(cx, listen, &Refusal::expired());
        }
        if let Some(session) = dependents.session {
            self.end_subscriptions(cx, session);
        }
    }
}

/// Ended sessions.
impl McpServer {
    /// Ends a session and everything in it.
    pub(super) fn end_session(&mut self, cx: &mut Context<'_>, key: usize, by: EndedBy) {
        if !self.sessions.contains(key) {
            return;
        }
        self.sessions.end_lifecycle(cx, key, by);
        self.end_subscriptions(cx, key);
        let Some(ended) = self.sessions.remove(cx, key) else {
            return;
        };
        if let Some(events) = ended.events {
            self.http.finish(cx, events);
        }
        for id in ended.asked {
            self.inputs.remove(id);
        }
        let mut requests = ended.requests;
        if let Some(line) = ended.line {
            let all = self.lines.end_session(line).into_iter();
            // Modern requests on the same line do not belong to the session.
            requests.extend(all.filter(|request| self.requests.is_of_session(*request, key)));
        }
        for request in requests {
            let failed = self.requests.fail(cx, request, Refusal::session_over(cx));
            if let Some(RequestEvent::Failed(closed, refusal)) = failed {
                self.release_client(&closed);
                self.answer_failed(cx, &closed, &refusal);
            }
        }
    }

    /// Ends a subscription; returns the requests that waited for it.
    #[must_use]
    pub(super) fn close_subscription(&mut self, cx: &mut Context<'_>, key: usize) -> Waiting {
        let closed = self.subscriptions.close(cx, key);
        self.call_ended(cx, closed.call, CallOutcome::Cancelled, None);
        closed.waiting
    }

    /// Ends every subscription of a session.
    fn end_subscriptions(&mut self, cx: &mut Context<'_>, key: usize) {
        for subscription in self.sessions.take_subscriptions(key) {
            let waiting = self.close_subscription(cx, subscription);
            if !waiting.is_empty() {
                self.refuse_all(cx, waiting, &Refusal::session_over(cx));
            }
        }
    }

    /// Ends the sessions whose line has ended in the handler, and what its requests asked for.
    pub(super) fn end_handler(&mut self, cx: &mut Context<'_>) {
        self.withdraw_inputs(cx);
        while let Some(session) = self.sessions_to_end.pop() {
            self.end_session(cx, session, EndedBy::Client);
            self.withdraw_inputs(cx);
        }
    }

    /// The engine is stopping: end idle sessions and subscriptions now, and the others after their
    /// running requests.
    pub(super) fn stop_session(&mut self, cx: &mut Context<'_>, key: usize) {
        self.end_subscriptions(cx, key);
        if let Some(events) = self.sessions.take_events(key) {
            self.http.finish(cx, events);
        }
        self.end_session_if_idle(cx, key);
    }

    /// While the engine is stopping, a session ends with its last running request.
    pub(super) fn end_session_if_idle(&mut self, cx: &mut Context<'_>, key: usize) {
        if cx.stopping() && self.sessions.is_idle(key) {
            self.end_session(cx, key, EndedBy::Gateway);
        }
    }
}

/// Ended `listen` requests.
impl McpServer {
    /// Ends a `listen` in order.
    pub(super) fn end_listen(&mut self, cx: &mut Context<'_>, key: usize) {
        let Some((sink, id)) = self.close_listen(cx, key) else {
            return;
        };
        if let Sink::Line(_) = sink {
            // On a shared channel, only this notification shows that the subscription has ended.
            self.notify(cx, sink, listen::cancelled(&id));
        }
        self.answer_with(cx, sink, &id, &ended(&id));
    }

    /// Ends a `listen` because one of its subscriptions was lost.
    pub(super) fn fail_listen(&mut self, cx: &mut Context<'_>, key: usize, refusal: &Refusal) {
        if let Some((sink, id)) = self.close_listen(cx, key) {
            self.refuse(cx, sink, &id, refusal);
        }
    }

    /// The client cancelled a `listen`.
    pub(super) fn cancel_listen(&mut self, cx: &mut Context<'_>, key: usize) {
        if let Some((sink, _)) = self.close_listen(cx, key) {
            self.answer_nothing(cx, sink);
        }
    }

    /// The client of a `listen` has disconnected.
    fn drop_listen(&mut self, cx: &mut Context<'_>, key: usize) {
        if let Some(closed) = self.listens.close(cx, key) {
            subscriptions_refused(cx, closed.refusals);
            self.close_subscriptions(cx, closed.subscriptions);
        }
    }

    fn close_listen(&mut self, cx: &mut Context<'_>, key: usize) -> Option<(Sink, Id)> {
        let closed = self.listens.close(cx, key)?;
        subscriptions_refused(cx, closed.refusals);
        self.close_subscriptions(cx, closed.subscriptions);
        match closed.sink {
            Sink::Line(line) => self.lines.unregister(line, &closed.id),
            sink => self.set_owner(sink, Owner::None),
        }
        Some((closed.sink, closed.id))
    }

    /// Ends the subscriptions of a `listen`.
    fn close_subscriptions(&mut self, cx: &mut Context<'_>, subscriptions: Vec<usize>) {
        for subscription in subscriptions {
            let waiting = self.close_subscription(cx, subscription);
            debug_assert!(waiting.is_empty(), "a listen has no waiting requests");
        }
    }
}
