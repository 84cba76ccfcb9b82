//! HTTP exchanges: receives requests and sends responses.
//!
//! Owns the http streams and the data queued for each. Returns what a request needs as
//! [`HttpEvent`]. What depends on an exchange is recorded as its [`Owner`], which is returned with
//! the events that concern it. An exchange is removed once both halves of its stream have ended.

use std::net::SocketAddr;

use ::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use ::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use bytes::Bytes;
use slab::Slab;
use tidegate_engine::{Context, Duration, PendingData, StreamId, TimerId};
use tidegate_json::{Gather, Parts};
use tidegate_streams::http_stream::{HttpBeginEx, HttpRequest, HttpResponse};
use tidegate_streams::{Data, Frame};

use super::expiry;
use super::headers::SESSION_ID;
use super::key::Key;
use super::options::Options;
use super::payload::{EVENT_BEGINS, EVENT_ENDS, event, one_line};
use super::sink::{Head, Owner};

/// An event of an exchange.
#[derive(Debug)]
pub(super) enum HttpEvent {
    /// The body begins like a batch. Call [`Exchanges::read_on`] or [`Exchanges::read_no_further`].
    BatchBegins(HttpRequest),
    /// The body exceeds the limit. Call [`Exchanges::read_no_further`] after responding.
    TooLarge,
    /// The request is complete.
    Request(HttpRequest, Parts),
    /// The client has received a part of the response.
    Drained(Owner),
    /// The client has disconnected. The exchange is removed.
    Disconnected(Owner),
}

/// Kind of the timer after which a client is told to come back for its response.
pub(super) const POLL: u32 = 2;

/// The HTTP exchanges of a worker.
#[derive(Debug)]
pub(super) struct Exchanges {
    all: Slab<Exchange>,
    max_message_size: usize,
    keep_alive: Duration,
    /// How long a legacy client waits for a response before it is told to come back for it.
    poll_after: Option<Duration>,
}

#[derive(Debug)]
struct Exchange {
    stream: StreamId,
    /// Address and port of the client, if they are known.
    peer: Option<SocketAddr>,
    /// Present until the request is complete.
    head: Option<HttpRequest>,
    body: Gather,
    owner: Owner,
    out: PendingData,
    /// The response head has been sent.
    begun: bool,
    /// The response is a stream of server-sent events.
    events: bool,
    /// The session and the stream of events of which the client can resume.
    resumable: Option<(usize, u64)>,
    /// The response is complete; END is sent once the queue is empty.
    finished: bool,
    /// The timer of the next keep-alive comment.
    keep_alive: Option<TimerId>,
    /// The timer of the expiry of the caller's identity.
    expiry: Option<TimerId>,
    /// The timer after which the client is told to come back.
    poll: Option<TimerId>,
    /// Empty header fields, whose memory is used for the response.
    blank: HeaderMap,
}

impl Exchange {
    fn receive(&mut self, cx: &mut Context<'_>, data: Data, limit: usize) -> Option<HttpEvent> {
        // Discard the rest of a request that has been answered.
        self.head.as_ref()?;
        let length = data.payload.len();
        let begins_batch = self.body.is_empty() && data.payload.starts_with(b"[");
        if self.body.len() + length > limit {
            return Some(HttpEvent::TooLarge);
        }
        self.body.push(data.payload);
        cx.acknowledge(self.stream, length);
        if begins_batch {
            return self.head.take().map(HttpEvent::BatchBegins);
        }
        None
    }

    /// Sends the response head.
    fn begin(&mut self, cx: &mut Context<'_>, response: HttpResponse) {
        if !self.begun {
            self.begun = true;
            cx.send(self.stream, Frame::begin(HttpBeginEx::Response(response)));
        }
    }

    /// Sends a piece of the response, or queues it without credit.
    fn push(&mut self, cx: &mut Context<'_>, piece: Parts) {
        for data in Data::of_message(piece) {
            self.out.send(cx, self.stream, data);
        }
    }

    fn flush(&mut self, cx: &mut Context<'_>) {
        if self.out.flush(cx, self.stream) && self.finished {
            cx.end(self.stream, Frame::end());
        }
    }

    fn cancel_timers(&mut self, cx: &mut Context<'_>) {
        for timer in [self.keep_alive.take(), self.expiry.take(), self.poll.take()] {
            timer.map(|timer| cx.cancel(timer));
        }
    }

    /// The head of a JSON response, in the memory of the request's.
    fn json_headers(&mut self) -> HeaderMap {
        let mut headers = std::mem::take(&mut self.blank);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers
    }
}

impl Exchanges {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            all: Slab::new(),
            max_message_size: options.max_message_size,
            keep_alive: Duration::from_millis(options.keep_alive.max(1)),
            poll_after: options
                .poll_after
                .map(|after| Duration::from_millis(after.get())),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Address and port of the client, if they are known.
    pub(super) fn peer(&self, key: usize) -> Option<SocketAddr> {
        self.all.get(key)?.peer
    }

    fn get_mut(&mut self, key: usize) -> Option<&mut Exchange> {
        let exchange = self.all.get_mut(key);
        debug_assert!(exchange.is_some(), "no exchange {key}");
        exchange
    }

    pub(super) fn accept(&mut self, cx: &mut Context<'_>, stream: StreamId, head: HttpRequest) {
        let key = self.all.insert(Exchange {
            stream,
            peer: head.peer,
            head: Some(head),
            body: Gather::new(),
            owner: Owner::None,
            out: PendingData::new(),
            begun: false,
            events: false,
            resumable: None,
            finished: false,
            keep_alive: None,
            expiry: None,
            poll: None,
            blank: HeaderMap::new(),
        });
        cx.accept(stream, Key::Http(key).token());
    }

    pub(super) fn on_frame(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        frame: Frame,
    ) -> Option<HttpEvent> {
        let limit = self.max_message_size;
        let exchange = self.get_mut(key)?;
        match frame {
            Frame::Data(data) => exchange.receive(cx, data, limit),
            Frame::End(_) => {
                let head = exchange.head.take();
                let request = head.map(|head| HttpEvent::Request(head, exchange.body.take()));
                self.remove_if_over(cx, key);
                request
            }
            Frame::Window(_) => {
                exchange.flush(cx);
                let owner = exchange.owner;
                self.remove_if_over(cx, key);
                (owner != Owner::None).then_some(HttpEvent::Drained(owner))
            }
            Frame::Abort(_) | Frame::Reset(_) => self.abort(cx, key).map(HttpEvent::Disconnected),
            _ => None,
        }
    }

    /// Sends a keep-alive comment on an idle event stream.
    pub(super) fn on_timer(&mut self, cx: &mut Context<'_>, key: usize) {
        let Some(exchange) = self.get_mut(key) else {
            return;
        };
        exchange.keep_alive = None;
        if exchange.finished {
            return;
        }
        // A client that does not read needs no keep-alive.
        if exchange.out.is_empty() {
            exchange.push(cx, Parts::from(Bytes::from_static(b": keep-alive\n\n")));
        }
        self.keep_open(cx, key);
    }

    /// Removes an exchange in any state; returns its owner.
    pub(super) fn abort(&mut self, cx: &mut Context<'_>, key: usize) -> Option<Owner> {
        let mut exchange = self.all.try_remove(key)?;
        cx.terminate(exchange.stream, None, None);
        exchange.cancel_timers(cx);
        Some(exchange.owner)
    }

    fn remove_if_over(&mut self, cx: &mut Context<'_>, key: usize) {
        if let Some(exchange) = self.all.get(key)
            && cx.is_over(exchange.stream)
        {
            self.abort(cx, key);
        }
    }

    /// Sets the owner of an exchange.
    pub(super) fn set_owner(&mut self, key: usize, owner: Owner) {
        if let Some(exchange) = self.get_mut(key) {
            exchange.owner = owner;
        }
    }

    /// The batch is accepted: read the rest of the body.
    pub(super) fn read_on(&mut self, key: usize, head: HttpRequest) {
        if let Some(exchange) = self.get_mut(key) {
            exchange.head = Some(head);
        }
    }

    /// Resets the rest of a request. Call it after responding: the edge treats a reset before the
    /// response as no response.
    pub(super) fn read_no_further(&mut self, cx: &mut Context<'_>, key: usize) {
        if let Some(exchange) = self.get_mut(key) {
            exchange.head = None;
            exchange.body = Gather::new();
            cx.reset(exchange.stream, None);
        }
        self.remove_if_over(cx, key);
    }

    /// Reuses the memory of the request's header fields for the response, unless its head has been
    /// sent.
    pub(super) fn reuse(&mut self, key: usize, mut headers: HeaderMap) {
        if let Some(exchange) = self.all.get_mut(key).filter(|exchange| !exchange.begun) {
            headers.clear();
            exchange.blank = headers;
        }
    }

    /// Sends a complete message; on an event stream, it is the last event.
    pub(super) fn respond(&mut self, cx: &mut Context<'_>, key: usize, head: Head, message: Parts) {
        let Some(exchange) = self.get_mut(key) else {
            return;
        };
        if exchange.events {
            exchange.push(cx, event(message));
            return self.finish(cx, key);
        }
        let mut headers = exchange.json_headers();
        if let Some(session_id) = head.session_id {
            headers.insert(SESSION_ID, session_id);
        }
        if let Some(advice) = head.advice {
            let (name, value) = *advice;
            headers.insert(name, value);
        }
        let response = HttpResponse {
            status: head.status,
            headers,
            content_length: i64::try_from(message.len()).unwrap_or(-1),
        };
        exchange.begin(cx, response);
        exchange.push(cx, message);
        self.finish(cx, key);
    }

    /// Responds without a body.
    pub(super) fn respond_status(&mut self, cx: &mut Context<'_>, key: usize, status: StatusCode) {
        let Some(exchange) = self.get_mut(key) else {
            return;
        };
        let mut headers = HeaderMap::new();
        if status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, HeaderValue::from_static("POST, GET, DELETE"));
        }
        let response = HttpResponse {
            status,
            headers,
            content_length: 0,
        };
        exchange.begin(cx, response);
        self.finish(cx, key);
    }

    /// Responds without a message: 202, or the end of the event stream.
    pub(super) fn respond_empty(&mut self, cx: &mut Context<'_>, key: usize) {
        match self.get_mut(key) {
            Some(exchange) if exchange.events => self.finish(cx, key),
            Some(_) => self.respond_status(cx, key, StatusCode::ACCEPTED),
            None => {}
        }
    }

    /// What depends on an exchange.
    pub(super) fn owner(&self, key: usize) -> Option<Owner> {
        self.all.get(key).map(|exchange| exchange.owner)
    }

    /// Starts the time after which the client is told to come back, if there is one.
    pub(super) fn poll_later(&mut self, cx: &mut Context<'_>, key: usize) {
        let Some(after) = self.poll_after else {
            return;
        };
        if let Some(exchange) = self.get_mut(key) {
            let token = Key::Http(key).token();
            exchange.poll = Some(cx.timer(after, token, POLL, "mcp_server.poll"));
        }
    }

    /// The session and the stream of events that the client of an exchange can resume.
    pub(super) fn resumable(&self, key: usize) -> Option<(usize, u64)> {
        self.all.get(key)?.resumable
    }

    /// The client of an exchange can resume its events, as this stream of a session.
    pub(super) fn set_resumable(&mut self, key: usize, session: usize, stream: u64) {
        if let Some(exchange) = self.get_mut(key) {
            exchange.resumable = Some((session, stream));
        }
    }

    /// Whether the response is a stream of server-sent events, and has begun.
    pub(super) fn has_events(&self, key: usize) -> bool {
        self.all.get(key).is_some_and(|exchange| exchange.events)
    }

    /// Sends events as they are.
    pub(super) fn push_raw(&mut self, cx: &mut Context<'_>, key: usize, events: Parts) {
        if let Some(exchange) = self.get_mut(key) {
            exchange.push(cx, events);
        }
    }

    /// Begins a response of server-sent events.
    pub(super) fn begin_events(&mut self, cx: &mut Context<'_>, key: usize) {
        if let Some(exchange) = self.get_mut(key) {
            exchange.events = true;
            exchange.begin(cx, event_stream());
        }
    }

    /// Starts keep-alive comments on an event stream.
    pub(super) fn keep_open(&mut self, cx: &mut Context<'_>, key: usize) {
        let after = self.keep_alive;
        if let Some(exchange) = self.get_mut(key) {
            let token = Key::Http(key).token();
            exchange.keep_alive = Some(cx.timer(after, token, 0, "mcp_server.keep_alive"));
        }
    }

    /// Sets a timer for the expiry of the caller's identity.
    pub(super) fn watch_expiry(&mut self, cx: &mut Context<'_>, key: usize) {
        let timer = expiry::timer(cx, Key::Http(key).token());
        if let Some(exchange) = self.get_mut(key) {
            exchange.expiry = timer;
        }
    }

    /// The timer is due: returns what depends on the exchange, if the identity has expired. The wall
    /// clock may have been set back, which sets the timer again.
    pub(super) fn on_expiry(&mut self, cx: &mut Context<'_>, key: usize) -> Option<Owner> {
        let exchange = self.get_mut(key)?;
        exchange.expiry = None;
        let owner = exchange.owner;
        cx.work_for(exchange.stream);
        if expiry::has_expired(cx) {
            return Some(owner);
        }
        self.watch_expiry(cx, key);
        None
    }

    /// Ends an event stream that is not answered by a message, with a comment that says why.
    pub(super) fn finish_expired(&mut self, cx: &mut Context<'_>, key: usize) {
        if let Some(exchange) = self.get_mut(key) {
            let comment = Bytes::from_static(b": credentials expired\n\n");
            exchange.push(cx, Parts::from(comment));
        }
        self.finish(cx, key);
    }

    /// Sends a message as an event.
    pub(super) fn push_event(&mut self, cx: &mut Context<'_>, key: usize, message: Bytes) {
        if let Some(exchange) = self.get_mut(key) {
            exchange.push(cx, event(Parts::from(message)));
        }
    }

    /// Begins a response of unknown length, or an event on an event stream. `head` precedes the
    /// result.
    pub(super) fn begin_result(&mut self, cx: &mut Context<'_>, key: usize, head: Bytes) {
        let Some(exchange) = self.get_mut(key) else {
            return;
        };
        let mut front = Parts::new();
        if exchange.events {
            front.push(EVENT_BEGINS);
        } else {
            let response = HttpResponse {
                status: StatusCode::OK,
                headers: exchange.json_headers(),
                content_length: -1,
            };
            exchange.begin(cx, response);
        }
        front.push(head);
        exchange.push(cx, front);
    }

    /// Sends a piece of the result; within an event it must not contain line ends.
    pub(super) fn push_result(&mut self, cx: &mut Context<'_>, key: usize, piece: Parts) {
        let Some(exchange) = self.get_mut(key) else {
            return;
        };
        if exchange.events {
            exchange.push(cx, piece.into_iter().map(one_line).collect());
        } else {
            exchange.push(cx, piece);
        }
    }

    /// The result is complete.
    pub(super) fn end_result(&mut self, cx: &mut Context<'_>, key: usize) {
        if let Some(exchange) = self.get_mut(key)
            && exchange.events
        {
            exchange.push(cx, Parts::from(EVENT_ENDS));
        }
        self.finish(cx, key);
    }

    /// Ends the response after the queued data, and clears the owner.
    pub(super) fn finish(&mut self, cx: &mut Context<'_>, key: usize) {
        if let Some(exchange) = self.get_mut(key) {
            exchange.owner = Owner::None;
            exchange.finished = true;
            exchange.cancel_timers(cx);
            exchange.flush(cx);
        }
        self.remove_if_over(cx, key);
    }

    /// Queued bytes.
    pub(super) fn waiting(&self, key: usize) -> usize {
        let exchange = self.all.get(key);
        debug_assert!(exchange.is_some(), "no exchange {key}");
        exchange.map_or(0, |exchange| exchange.out.len())
    }
}

/// The head of an event stream.
fn event_stream() -> HttpResponse {
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    let buffering = HeaderName::from_static("x-accel-buffering");
    headers.insert(buffering, HeaderValue::from_static("no"));
    HttpResponse {
        status: StatusCode::OK,
        headers,
        content_length: -1,
    }
}

#[cfg(test)]
mod tests;
