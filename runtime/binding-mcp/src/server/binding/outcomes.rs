//! Handles what the exit sends for requests, sessions and subscriptions.

use ::http::HeaderValue;
use bytes::Bytes;
use bytestring::ByteString;
use tidegate_engine::Context;
use tidegate_json::Parts;

use super::McpServer;
use crate::jsonrpc::{Era, Id, Method};
use crate::server::calls::Call;
use crate::server::capabilities::{CapabilitiesEvent, answer};
use crate::server::errors::Refusal;
use crate::server::events::{
    CallOutcome, SubscriptionLost, SubscriptionRefused, SubscriptionsRefused,
};
use crate::server::initialize;
use crate::server::listen::{Acknowledgement, ListenEvent, Refusals};
use crate::server::request::{Closed, RequestEvent, ResultPart};
use crate::server::session::{Begun, EVENT_MAX, EndedBy, SessionEvent};
use crate::server::session_id::shown;
use crate::server::sink::{Head, Owner, Sink, UNSENT_MAX};
use crate::server::subscription::{Holder, Lost, SubscriptionEvent};

/// Requests.
impl McpServer {
    pub(super) fn request_event(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        event: Option<RequestEvent>,
    ) {
        match event {
            None => {}
            Some(RequestEvent::Answered(closed, message)) => {
                self.request_closed(cx, &closed);
                if closed.sink == Sink::Nowhere && message.len() > EVENT_MAX {
                    self.keep_loss(&closed);
                } else if closed.sink == Sink::Nowhere {
                    self.keep_event(closed.session, closed.event_stream, &message);
                }
                self.answer(cx, closed.sink, Head::default(), message);
            }
            Some(RequestEvent::Failed(closed, refusal)) => {
                self.request_closed(cx, &closed);
                self.answer_failed(cx, &closed, &refusal);
            }
            Some(RequestEvent::Part(part)) => self.pass_part(cx, key, part),
            Some(RequestEvent::LastPart(closed, rest)) => {
                self.request_closed(cx, &closed);
                if let Sink::Http(http) = closed.sink {
                    self.http.push_result(cx, http, rest);
                    self.http.end_result(cx, http);
                }
            }
            Some(RequestEvent::Held { sink, length }) => self.hold_part(cx, key, sink, length),
            Some(RequestEvent::Notification(sink, message)) => {
                self.pass_notification(cx, key, sink, message);
            }
            Some(RequestEvent::Ask(challenges)) => self.ask(cx, key, challenges),
            Some(RequestEvent::Withdrawn(id)) => self.withdraw_input(cx, id),
        }
    }

    fn pass_notification(&mut self, cx: &mut Context<'_>, key: usize, sink: Sink, message: Bytes) {
        if sink == Sink::Nowhere {
            let session = self.requests.resumable_session(key);
            let stream = self.requests.event_stream(key).unwrap_or_default();
            return self.keep_event(session, stream, &Parts::from(message));
        }
        // Notifications are dropped for a client that does not read, so that they do not
        // accumulate.
        if self.waiting(sink) > UNSENT_MAX {
            return;
        }
        if let Sink::Http(http) = sink {
            self.begin_request_events(cx, http, key);
        }
        self.notify(cx, sink, message);
    }

    fn pass_part(&mut self, cx: &mut Context<'_>, key: usize, part: ResultPart) {
        if let Some(head) = part.head {
            self.http.begin_result(cx, part.http, head);
        }
        self.http.push_result(cx, part.http, part.parts);
        let waiting = self.http.waiting(part.http);
        self.requests.passed(cx, key, part.length, waiting);
    }

    fn hold_part(&mut self, cx: &mut Context<'_>, key: usize, sink: Sink, length: usize) {
        let of_batch = match sink {
            Sink::Batch(batch) => Some(self.batches.received(batch, length)),
            _ => None,
        };
        let elsewhere = self.batches.held();
        let failed = self.requests.hold(cx, key, length, of_batch, elsewhere);
        if let Some(RequestEvent::Failed(closed, refusal)) = failed {
            self.request_closed(cx, &closed);
            self.answer_failed(cx, &closed, &refusal);
        }
    }

    /// A request has ended: its id is free, and its session's idle time starts again.
    pub(super) fn request_closed(&mut self, cx: &mut Context<'_>, closed: &Closed) {
        self.release_client(closed);
        let Some(session) = closed.session else {
            return;
        };
        if !matches!(closed.sink, Sink::Line(_)) {
            self.sessions.unregister(session, &closed.id);
        }
        self.sessions.touch(cx, session);
        self.end_session_if_idle(cx, session);
    }

    /// Removes what depends on the client of the request.
    pub(super) fn release_client(&mut self, closed: &Closed) {
        match closed.sink {
            Sink::Line(line) => self.lines.unregister(line, &closed.id),
            sink => self.set_owner(sink, Owner::None),
        }
    }

    pub(super) fn answer_failed(
        &mut self,
        cx: &mut Context<'_>,
        closed: &Closed,
        refusal: &Refusal,
    ) {
        match closed.sink {
            // A result that has begun cannot become an error: abort the response.
            Sink::Http(http) if closed.streaming => {
                self.http.abort(cx, http);
            }
            Sink::Nowhere => {
                let message = Parts::from(refusal.message(&closed.id));
                self.keep_event(closed.session, closed.event_stream, &message);
            }
            sink => self.refuse(cx, sink, &closed.id, refusal),
        }
    }

    /// The response to a request is aborted.
    pub(super) fn fail_request(&mut self, cx: &mut Context<'_>, key: usize) {
        let failed = self.requests.fail(cx, key, Refusal::internal());
        self.request_event(cx, key, failed);
    }

    /// Ends a request that the client has cancelled, without a response.
    pub(super) fn cancel_request(&mut self, cx: &mut Context<'_>, key: usize) {
        let Some(closed) = self.requests.cancel(cx, key) else {
            return;
        };
        self.request_closed(cx, &closed);
        match closed.sink {
            Sink::Http(http) if closed.streaming => {
                self.http.abort(cx, http);
            }
            sink => self.answer_nothing(cx, sink),
        }
    }
}

/// Sessions and capabilities.
impl McpServer {
    pub(super) fn session_event(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        event: Option<SessionEvent>,
    ) {
        match event {
            None => {}
            Some(SessionEvent::Begun(begun)) => self.session_begun(cx, key, &begun),
            Some(SessionEvent::Changed) => self.send_session_updates(cx, key),
            Some(SessionEvent::Challenged(asked)) => self.ask_session(cx, key, &asked),
            Some(SessionEvent::Withdrawn(id)) => self.withdraw_input(cx, id),
            Some(SessionEvent::Refused(sink, id, reset)) => {
                let refusal = Refusal::of_exit(Some(reset), Method::Initialize, Era::Legacy);
                self.refuse_initialize(cx, key, (sink, id), &refusal);
                self.end_session(cx, key, EndedBy::Exit);
            }
            Some(SessionEvent::Lost(initializing)) => {
                if let Some(waiting) = initializing {
                    self.refuse_initialize(cx, key, waiting, &Refusal::internal());
                }
                self.end_session(cx, key, EndedBy::Exit);
            }
            Some(SessionEvent::Expired) => self.end_session(cx, key, EndedBy::Time),
        }
    }

    fn session_begun(&mut self, cx: &mut Context<'_>, key: usize, begun: &Begun) {
        let message = initialize::answer(
            &begun.id,
            begun.version,
            begun.capabilities,
            self.instructions.as_deref(),
        );
        let over_http = matches!(begun.sink, Sink::Http(_));
        let session_id = HeaderValue::from_str(&begun.session_id).ok();
        let head = Head {
            session_id: session_id.filter(|_| over_http),
            ..Head::default()
        };
        self.answer(cx, begun.sink, head, Parts::from(message));
        self.end_session_if_idle(cx, key);
    }

    pub(super) fn capabilities_event(
        &mut self,
        cx: &mut Context<'_>,
        event: Option<CapabilitiesEvent>,
    ) {
        match event {
            None => {}
            Some(CapabilitiesEvent::Known(capabilities, waiting)) => {
                let members = answer(capabilities, self.instructions.as_deref());
                for (sink, id) in waiting {
                    self.answer_with(cx, sink, &id, &members);
                }
            }
            Some(CapabilitiesEvent::Lost(reset, waiting)) => {
                let refusal = Refusal::of_exit(reset, Method::Discover, Era::Modern);
                self.refuse_all(cx, waiting, &refusal);
            }
        }
    }
}

/// Subscriptions and change notifications.
impl McpServer {
    pub(super) fn subscription_event(
        &mut self,
        cx: &mut Context<'_>,
        event: Option<SubscriptionEvent>,
    ) {
        match event {
            None => {}
            Some(SubscriptionEvent::Confirmed {
                holder,
                waiting,
                call,
            }) => {
                self.call_ended(cx, call, CallOutcome::Ok, None);
                self.subscription_confirmed(cx, holder, waiting);
            }
            Some(SubscriptionEvent::Updated {
                holder: Holder::Session(session),
                subscribed,
                changed,
            }) => {
                self.sessions.note(session, &subscribed, changed);
                self.send_session_updates(cx, session);
            }
            Some(SubscriptionEvent::Updated {
                holder: Holder::Listen(listen),
                subscribed,
                changed,
            }) => {
                self.listens.note(listen, &subscribed, changed);
                self.send_listen_updates(cx, listen);
            }
            Some(SubscriptionEvent::Lost(lost)) => self.subscription_lost(cx, lost),
        }
    }

    /// What a `listen` is told about lists.
    pub(super) fn listen_event(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        event: Option<ListenEvent>,
    ) {
        match event {
            None => {}
            Some(ListenEvent::Settled(acknowledgement)) => {
                self.acknowledge_listen(cx, key, acknowledgement);
            }
            Some(ListenEvent::Changed) => self.send_listen_updates(cx, key),
            Some(ListenEvent::Lost(reset)) => {
                let refusal = Refusal::of_exit(reset, Method::Listen, Era::Modern);
                self.fail_listen(cx, key, &refusal);
            }
        }
    }

    fn subscription_confirmed(
        &mut self,
        cx: &mut Context<'_>,
        holder: Holder,
        waiting: Vec<(Sink, Id)>,
    ) {
        for (sink, id) in waiting {
            self.answer_with(cx, sink, &id, b"");
        }
        if let Holder::Listen(listen) = holder {
            let acknowledgement = self.listens.confirmed(listen);
            self.acknowledge_listen(cx, listen, acknowledgement);
        }
    }

    /// Records the outcome of a call, if there was one.
    pub(super) fn call_ended(
        &mut self,
        cx: &mut Context<'_>,
        call: Option<Call>,
        outcome: CallOutcome,
        code: Option<i64>,
    ) {
        if let Some(call) = call {
            self.requests.complete(cx, call, outcome, code);
        }
    }

    fn subscription_lost(&mut self, cx: &mut Context<'_>, lost: Lost) {
        let era = match lost.holder {
            Holder::Session(_) => Era::Legacy,
            Holder::Listen(_) => Era::Modern,
        };
        let refusal = Refusal::of_exit(lost.reset, Method::ResourcesSubscribe, era);
        let outcome = refusal.outcome();
        self.call_ended(cx, lost.call, outcome, Some(refusal.error().code()));
        match lost.holder {
            Holder::Session(session) => {
                self.sessions.remove_subscription(session, &lost.uri);
                self.refuse_all(cx, lost.waiting, &refusal);
                if lost.confirmed {
                    let session = self.sessions.id(session);
                    cx.event(&SubscriptionLost {
                        uri: lost.uri,
                        session: session.map(|id| shown(id)).unwrap_or_default(),
                        reason: refusal.error().message().into(),
                    });
                } else {
                    subscription_refused(cx, &lost.uri, refusal.error().message());
                }
            }
            Holder::Listen(listen) if lost.confirmed => {
                self.listens.lost(listen, &lost.uri);
                self.fail_listen(cx, listen, &refusal);
            }
            Holder::Listen(listen) => {
                let reason = refusal.error().message();
                let acknowledgement = self.listens.refused(listen, &lost.uri, reason);
                self.acknowledge_listen(cx, listen, acknowledgement);
            }
        }
    }

    /// Sends the acknowledgement of a `listen`, when it is due.
    pub(super) fn acknowledge_listen(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        acknowledgement: Option<Acknowledgement>,
    ) {
        if let Some(Acknowledgement {
            sink,
            message,
            refusals,
        }) = acknowledgement
        {
            subscriptions_refused(cx, refusals);
            self.notify(cx, sink, message);
            self.send_listen_updates(cx, key);
        }
    }

    /// Sends pending updates to the client of a session, as far as it reads.
    pub(super) fn send_session_updates(&mut self, cx: &mut Context<'_>, key: usize) {
        let sink = self.sessions.sink(key);
        while sink != Sink::Nowhere && self.waiting(sink) == 0 {
            let Some(change) = self.sessions.next_update(key) else {
                return;
            };
            self.notify(cx, sink, change.message(None));
        }
    }

    /// Sends pending updates to the client of a `listen`, as far as it reads.
    pub(super) fn send_listen_updates(&mut self, cx: &mut Context<'_>, key: usize) {
        let Some(sink) = self.listens.sink(key) else {
            return;
        };
        while self.waiting(sink) == 0 {
            let Some(message) = self.listens.next_update(key) else {
                return;
            };
            self.notify(cx, sink, message);
        }
    }
}

/// Reports that a subscription is refused.
fn subscription_refused(cx: &mut Context<'_>, uri: &str, reason: &str) {
    cx.event_with(|_| SubscriptionRefused {
        // It may be as long as a whole body.
        uri: ByteString::from(&*tidegate_streams::shown(uri)),
        reason: reason.into(),
    });
}

/// Reports the refused subscriptions of a `listen`: one event for all of them.
pub(super) fn subscriptions_refused(cx: &mut Context<'_>, refusals: Option<Refusals>) {
    let Some(refusals) = refusals else {
        return;
    };
    if let (1, [uri]) = (refusals.count, &refusals.uris[..]) {
        return subscription_refused(cx, uri, &refusals.reason);
    }
    cx.event_with(|_| {
        let uris = refusals.uris.iter();
        let uris: Vec<_> = uris
            .map(|uri| format!("'{}'", tidegate_streams::shown(uri)))
            .collect();
        let more = refusals.count.saturating_sub(uris.len());
        let more = (more > 0).then(|| format!(" and {more} more"));
        SubscriptionsRefused {
            count: u64::try_from(refusals.count).unwrap_or(u64::MAX),
            uris: format!("{}{}", uris.join(", "), more.unwrap_or_default()).into(),
            reason: refusals.reason.into(),
        }
    });
}
