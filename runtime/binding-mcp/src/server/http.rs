//! HTTP exchanges: a POST with a message, a GET for a session's events, a DELETE of a session.

use ::http::{HeaderMap, HeaderValue, Method as Verb, StatusCode};
use bytes::Bytes;
use tidegate_engine::{Context, PendingData, StreamId, TimerId};
use tidegate_json::{Gather, Parts};
use tidegate_streams::Frame;
use tidegate_streams::http_stream::{HttpBeginEx, HttpRequest, HttpResponse};

use super::binding::{Key, McpServer};
use super::era;
use super::errors::Refusal;
use super::headers::Headers;
use super::output::{Head, Sink, event_stream, frames, one_line};
use crate::jsonrpc::{self as envelope, Id, Message, Params, Unreadable};
use crate::jsonrpc::{Era, Method};

/// What depends on an exchange, and is told when its client goes.
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
    /// What the exit can do is asked for.
    Discover,
}

/// An exchange.
#[derive(Debug)]
pub(super) struct HttpExchange {
    stream: StreamId,
    head: Option<HttpRequest>,
    body: Gather,
    pub(super) owner: Owner,
    pub(super) out: PendingData,
    /// The response's head has gone out.
    begun: bool,
    /// The response is server-sent events.
    events: bool,
    /// The response is whole; its END is due when nothing of it waits.
    pub(super) finished: bool,
    /// When the next comment of an event stream is due.
    pub(super) keep_alive: Option<TimerId>,
    /// No header fields, and room for those of the answer.
    pub(super) blank: HeaderMap,
}

/// Where a message came from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caller<'h> {
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
        let named = self.headers.and_then(|headers| headers.session_id.text());
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

impl HttpExchange {
    /// Whether the response is server-sent events that are under way.
    pub(super) const fn is_streaming(&self) -> bool {
        self.events
    }

    /// Sends the response's head.
    pub(super) fn begin(&mut self, cx: &mut Context<'_>, response: HttpResponse) {
        if !self.begun {
            self.begun = true;
            cx.send(self.stream, Frame::begin(HttpBeginEx::Response(response)));
        }
    }

    /// Begins a response of server-sent events.
    pub(super) fn begin_events(&mut self, cx: &mut Context<'_>) {
        self.events = true;
        self.begin(cx, event_stream());
    }

    /// Sends a piece of the response, as far as there is credit.
    pub(super) fn push(&mut self, cx: &mut Context<'_>, piece: Parts) {
        for data in frames(piece) {
            self.out.send(cx, self.stream, data);
        }
    }

    /// Sends a piece of a result; within an event it must be one line.
    pub(super) fn push_part(&mut self, cx: &mut Context<'_>, piece: Parts) {
        if self.events {
            self.push(cx, piece.into_iter().map(one_line).collect());
        } else {
            self.push(cx, piece);
        }
    }

    /// Ends the response behind what waits of it.
    fn finish(&mut self, cx: &mut Context<'_>) {
        self.finished = true;
        if let Some(timer) = self.keep_alive.take() {
            cx.cancel(timer);
        }
        self.flush(cx);
    }

    fn flush(&mut self, cx: &mut Context<'_>) {
        if self.out.flush(cx, self.stream) && self.finished {
            cx.end(self.stream, Frame::end());
        }
    }

    /// Breaks the response off.
    fn break_off(&mut self, cx: &mut Context<'_>) {
        cx.terminate(self.stream, None, None);
    }
}

impl McpServer {
    pub(super) fn on_http(&mut self, cx: &mut Context<'_>, stream: StreamId, head: HttpRequest) {
        // A worker that stops answers by itself: the owner may have come to rest already.
        if !cx.stopping()
            && let Some(worker) = Self::owner_elsewhere(cx, &head.headers)
            && cx.hand_over(stream, HttpBeginEx::Request(head.clone()).into(), worker)
        {
            return;
        }
        let key = self.http.insert(HttpExchange {
            stream,
            head: Some(head),
            body: Gather::new(),
            owner: Owner::None,
            out: PendingData::new(),
            begun: false,
            events: false,
            finished: false,
            keep_alive: None,
            blank: HeaderMap::new(),
        });
        cx.accept(stream, Key::Http(key).token());
    }

    pub(super) fn http_frame(&mut self, cx: &mut Context<'_>, key: usize, frame: Frame) {
        let Some(exchange) = self.http.get_mut(key) else {
            return;
        };
        match frame {
            Frame::Data(data) => {
                let length = data.payload.len();
                let begins_batch = exchange.body.is_empty() && data.payload.starts_with(b"[");
                if exchange.body.len() + length > self.options.max_message_size {
                    let refusal = Refusal::invalid_request("The message is too large.");
                    self.refuse(cx, Sink::Http(key), &Id::null(), &refusal);
                    self.read_no_further(cx, key);
                } else {
                    exchange.body.push(data.payload);
                    cx.acknowledge(exchange.stream, length);
                    if begins_batch {
                        self.screen_batch(cx, key);
                    }
                }
            }
            Frame::End(_) => self.request_is_whole(cx, key),
            Frame::Window(_) => {
                exchange.flush(cx);
                match exchange.owner {
                    Owner::Request(request) => self.sink_drained(cx, request),
                    Owner::Listen(listen) => self.flush_listen_updates(cx, listen),
                    Owner::Events(session) => self.flush_session_updates(cx, session),
                    _ => {}
                }
            }
            Frame::Abort(_) | Frame::Reset(_) => self.http_left(cx, key),
            _ => {}
        }
        self.forget_http_if_over(cx, key);
    }

    /// The client has gone, or will not be answered any more.
    pub(super) fn http_left(&mut self, cx: &mut Context<'_>, key: usize) {
        let Some(exchange) = self.http.get_mut(key) else {
            return;
        };
        exchange.break_off(cx);
        if let Some(timer) = exchange.keep_alive.take() {
            cx.cancel(timer);
        }
        match std::mem::replace(&mut exchange.owner, Owner::None) {
            Owner::Request(request) => self.client_left(cx, request),
            Owner::Listen(listen) => self.listen_left(cx, listen),
            Owner::Batch(batch) => self.batch_left(batch, Sink::Http(key)),
            Owner::Events(session) => self.events_left(cx, session, key),
            Owner::Initialize(session) => self.initialize_left(cx, session, Sink::Http(key)),
            Owner::Subscribe(subscription) => self.subscribe_left(subscription, Sink::Http(key)),
            Owner::Discover => self.discover_left(Sink::Http(key)),
            Owner::None => {}
        }
        self.http.try_remove(key);
    }

    /// Notes who is to be told when the client goes.
    pub(super) fn own(&mut self, sink: Sink, owner: Owner) {
        if let Sink::Http(key) = sink
            && let Some(exchange) = self.http.get_mut(key)
        {
            exchange.owner = owner;
        }
    }

    pub(super) fn forget_http_if_over(&mut self, cx: &mut Context<'_>, key: usize) {
        if let Some(exchange) = self.http.get(key)
            && cx.is_over(exchange.stream)
        {
            self.http_left(cx, key);
        }
    }

    fn request_is_whole(&mut self, cx: &mut Context<'_>, key: usize) {
        let Some(exchange) = self.http.get_mut(key) else {
            return;
        };
        let Some(head) = exchange.head.take() else {
            return;
        };
        let body = exchange.body.take();
        match head.method {
            Verb::POST => self.post(cx, key, head.headers, body),
            Verb::GET => self.get(cx, key, &head.headers),
            Verb::DELETE => self.delete(cx, key, &head.headers),
            _ => self.answer_status(cx, Sink::Http(key), StatusCode::METHOD_NOT_ALLOWED),
        }
    }

    fn post(&mut self, cx: &mut Context<'_>, key: usize, mut headers: HeaderMap, body: Parts) {
        self.serve_post(cx, key, &headers, body);
        // The answer's head will have its fields in the memory in which the request's were.
        if let Some(exchange) = self.http.get_mut(key).filter(|exchange| !exchange.begun) {
            headers.clear();
            exchange.blank = headers;
        }
    }

    fn serve_post(&mut self, cx: &mut Context<'_>, key: usize, headers: &HeaderMap, body: Parts) {
        let headers = &Headers::of(headers);
        let Some(caller) = self.admit(cx, key, headers) else {
            return;
        };
        if envelope::is_batch(&body) {
            if self.check_batch(cx, &caller) {
                self.serve_batch(cx, &caller, body);
            }
            return;
        }
        let message = envelope::read(body);
        // The modern era has no sessions, and what is said of one means nothing there. In the other
        // one, the session is the first thing that must be right: the client is to begin a new one.
        if !caller.names_unknown_session() || era::is_modern(&message) {
            self.serve(cx, &caller, message);
        } else if let Ok(Message::Request { id, .. }) = message {
            self.refuse(cx, caller.sink, &id, &Refusal::session_over(cx));
        } else {
            self.answer_unknown_session(cx, caller.sink);
        }
    }

    /// Who asks, if what is to be read and what the answer may be are of the right types.
    fn admit<'h>(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        headers: &'h Headers<'h>,
    ) -> Option<Caller<'h>> {
        let sink = Sink::Http(key);
        if !headers.is_json() {
            self.answer_status(cx, sink, StatusCode::UNSUPPORTED_MEDIA_TYPE);
            return None;
        }
        if !headers.accepts("application/json") && !headers.accepts("text/event-stream") {
            self.answer_status(cx, sink, StatusCode::NOT_ACCEPTABLE);
            return None;
        }
        let session = headers.session_id.text();
        let session = session.and_then(|id| self.session_keys.get(id).copied());
        Some(Caller {
            sink,
            headers: Some(headers),
            session,
        })
    }

    /// A body begins as a batch does: where none is taken, nothing more of it is read.
    fn screen_batch(&mut self, cx: &mut Context<'_>, key: usize) {
        let head = self.http.get_mut(key).and_then(|it| it.head.take());
        let Some(head) = head else { return };
        if head.method == Verb::POST {
            let headers = &Headers::of(&head.headers);
            let caller = self.admit(cx, key, headers);
            if !caller.is_some_and(|caller| self.check_batch(cx, &caller)) {
                return self.read_no_further(cx, key);
            }
        }
        if let Some(exchange) = self.http.get_mut(key) {
            exchange.head = Some(head);
        }
    }

    /// A request has been answered before all of it was read. Behind the answer: to an edge, a
    /// request that is refused before it is one without an answer.
    fn read_no_further(&mut self, cx: &mut Context<'_>, key: usize) {
        if let Some(exchange) = self.http.get_mut(key) {
            exchange.head = None;
            exchange.body = Gather::new();
            cx.reset(exchange.stream, None);
        }
    }

    /// Answers what is no request and names a session that is not here.
    pub(super) fn answer_unknown_session(&mut self, cx: &mut Context<'_>, sink: Sink) {
        if cx.stopping() {
            self.refuse(cx, sink, &Id::null(), &Refusal::stopping());
        } else {
            self.answer_status(cx, sink, StatusCode::NOT_FOUND);
        }
    }

    /// Serves one message, from wherever it came.
    pub(super) fn serve(
        &mut self,
        cx: &mut Context<'_>,
        caller: &Caller<'_>,
        message: Result<Message, Unreadable>,
    ) {
        match message {
            Ok(Message::Request { id, method, params }) => {
                if let Err(refusal) = self.serve_request(cx, caller, &id, &method, params) {
                    self.refuse(cx, caller.sink, &id, &refusal);
                }
            }
            Ok(Message::Notification { method, params }) => {
                self.serve_notification(cx, caller, &method, &params);
                self.answer_status(cx, caller.sink, StatusCode::ACCEPTED);
            }
            Ok(Message::Response { .. }) => {
                self.answer_status(cx, caller.sink, StatusCode::ACCEPTED)
            }
            Err((id, error)) => self.refuse(cx, caller.sink, &id, &error.into()),
        }
    }

    fn serve_request(
        &mut self,
        cx: &mut Context<'_>,
        caller: &Caller<'_>,
        id: &Id,
        name: &str,
        params: Params,
    ) -> Result<(), Refusal> {
        if cx.stopping() {
            return Err(Refusal::stopping());
        }
        let era = era::of(caller, name, &params)?;
        let method = Method::of(name, era);
        let stateless;
        let caller = if era == Era::Modern {
            era::check_modern(caller, name, method, &params)?;
            // A modern request stands alone, whatever session the same client has.
            stateless = caller.without_session();
            &stateless
        } else {
            era::check_legacy(caller, name)?;
            caller
        };
        let method = method.ok_or_else(|| Refusal::unknown_method(name, era))?;
        if let Some(session) = caller.session {
            self.touch_session(cx, session);
        }
        match method {
            Method::Initialize => self.initialize(cx, caller, id, &params),
            Method::Ping => {
                self.answer_with(cx, caller.sink, id, b"");
                Ok(())
            }
            Method::Discover => self.discover(cx, caller, id),
            Method::Listen => self.listen(cx, caller, id, &params),
            Method::ResourcesSubscribe => self.subscribe(cx, caller, id, params),
            Method::ResourcesUnsubscribe => self.unsubscribe(cx, caller, id, &params),
            _ => self.begin_request(cx, caller, id, era, method, params),
        }
    }

    fn serve_notification(
        &mut self,
        cx: &mut Context<'_>,
        caller: &Caller<'_>,
        method: &str,
        params: &Params,
    ) {
        if method == "notifications/cancelled"
            && let Some(id) = params.request_id()
        {
            self.cancel(cx, caller, &id);
        }
        if let Some(session) = caller.session {
            self.touch_session(cx, session);
        }
    }

    fn delete(&mut self, cx: &mut Context<'_>, key: usize, headers: &HeaderMap) {
        let sink = Sink::Http(key);
        let headers = Headers::of(headers);
        let Some(id) = headers.session_id.text() else {
            return self.answer_status(cx, sink, StatusCode::METHOD_NOT_ALLOWED);
        };
        match self.session_keys.get(id).copied() {
            Some(session) => {
                self.retire_session(cx, session);
                self.answer_status(cx, sink, StatusCode::OK);
            }
            None => self.answer_unknown_session(cx, sink),
        }
    }

    /// Breaks a response off that cannot be brought to its end.
    pub(super) fn break_http_off(&mut self, cx: &mut Context<'_>, key: usize) {
        if let Some(exchange) = self.http.get_mut(key) {
            exchange.break_off(cx);
        }
        self.forget_http_if_over(cx, key);
    }

    /// Ends a response in order; nobody is to be told any more when the client goes.
    pub(super) fn finish_http(&mut self, cx: &mut Context<'_>, key: usize) {
        if let Some(exchange) = self.http.get_mut(key) {
            exchange.owner = Owner::None;
            exchange.finish(cx);
        }
        self.forget_http_if_over(cx, key);
    }
}

impl McpServer {
    /// The answer to `initialize`, with the session's id.
    pub(super) fn answer_initialized(
        &mut self,
        cx: &mut Context<'_>,
        sink: Sink,
        session_id: &str,
        message: Bytes,
    ) {
        let over_http = matches!(sink, Sink::Http(_));
        let session_id = HeaderValue::from_str(session_id).ok().filter(|_| over_http);
        let head = Head {
            status: StatusCode::OK,
            session_id,
        };
        self.answer(cx, sink, head, Parts::from(message));
    }
}
