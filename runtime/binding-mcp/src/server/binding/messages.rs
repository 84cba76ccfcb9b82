//! Handles messages of clients, from frames up to the method.

use std::net::SocketAddr;

use ::http::{HeaderMap, Method as Verb, StatusCode};
use tidegate_engine::Context;
use tidegate_json::Parts;
use tidegate_streams::Frame;
use tidegate_streams::http_stream::HttpRequest;

use super::McpServer;
use crate::jsonrpc::{
    BATCHING, Era, Id, Message, Method, Params, Unreadable, is_answered, is_batch, read, read_batch,
};
use crate::server::batch::Item;
use crate::server::era::{self, Claim};
use crate::server::errors::Refusal;
use crate::server::expiry;
use crate::server::headers::Headers;
use crate::server::http::HttpEvent;
use crate::server::line::LineEvent;
use crate::server::session::{Claimed, EndedBy, SESSION_STREAM};
use crate::server::sink::{Owner, Sink};
use crate::server::source::Source;

/// HTTP.
impl McpServer {
    pub(super) fn http_frame(&mut self, cx: &mut Context<'_>, key: usize, frame: Frame) {
        match self.http.on_frame(cx, key, frame) {
            None => {}
            Some(HttpEvent::Request(head, body)) => self.serve_http(cx, key, head, body),
            Some(HttpEvent::BatchBegins(head)) => self.screen_batch(cx, key, head),
            Some(HttpEvent::TooLarge) => {
                let refusal = Refusal::invalid_request("Message too large.");
                self.refuse_message(cx, Sink::Http(key), &Id::null(), &refusal);
                self.http.read_no_further(cx, key);
            }
            Some(HttpEvent::Drained(owner)) => self.http_drained(cx, key, owner),
            Some(HttpEvent::Disconnected(owner)) => self.http_disconnected(cx, key, owner),
        }
    }

    fn serve_http(&mut self, cx: &mut Context<'_>, key: usize, head: HttpRequest, body: Parts) {
        match head.method {
            Verb::POST => {
                self.serve_post(cx, key, &head, body);
                self.http.reuse(key, head.headers);
            }
            Verb::GET => self.open_events(cx, key, &head.headers),
            Verb::DELETE => self.delete_session(cx, key, &head.headers),
            _ => self.refuse_http(cx, key, StatusCode::METHOD_NOT_ALLOWED, "use POST"),
        }
    }

    fn serve_post(&mut self, cx: &mut Context<'_>, key: usize, head: &HttpRequest, body: Parts) {
        let headers = &Headers::of(&head.headers);
        let Some(source) = self.admit(cx, key, headers, head.peer) else {
            return;
        };
        if is_batch(&body) {
            return self.serve_batch(cx, &source, body);
        }
        let message = read(body);
        // Modern requests ignore sessions. For legacy requests, check the session first: an unknown
        // one must be reported so that the client begins a new one.
        if !source.names_unknown_session() || era::is_modern(&message) {
            self.serve(cx, &source, message);
        } else if let Ok(Message::Request { id, method, params }) = message {
            let asked = (&*method, &params);
            self.refuse_request(cx, &source, &id, asked, &Refusal::session_over(cx));
        } else {
            self.refuse_unknown_session(cx, source.sink);
        }
    }

    /// The session with a public id, if it belongs to the caller. To anyone else it does not exist.
    ///
    /// The caller may come with other rights than before: then its subscriptions are requested again, so
    /// that the exit decides anew.
    fn own_session(&mut self, cx: &mut Context<'_>, id: &str) -> Option<usize> {
        let session = self.sessions.find(id)?;
        match self.sessions.identify(session, cx.identity()) {
            Claimed::Other => None,
            Claimed::Same => Some(session),
            Claimed::OtherRights => {
                for key in self.sessions.subscriptions(session).collect::<Vec<_>>() {
                    let event = self.subscriptions.renew(cx, key);
                    self.subscription_event(cx, event);
                }
                Some(session)
            }
        }
    }

    /// The source of a request, if its content types are acceptable.
    fn admit<'h>(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        headers: &'h Headers<'h>,
        peer: Option<SocketAddr>,
    ) -> Option<Source<'h>> {
        if !headers.is_json() {
            let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            self.refuse_http(cx, key, status, "Content-Type is not application/json");
            return None;
        }
        if !headers.accepts("application/json") && !headers.accepts("text/event-stream") {
            let why = "Accept has neither application/json nor text/event-stream";
            self.refuse_http(cx, key, StatusCode::NOT_ACCEPTABLE, why);
            return None;
        }
        let session = headers.session_id();
        Some(Source {
            sink: Sink::Http(key),
            headers: Some(headers),
            peer,
            session: session.and_then(|id| self.own_session(cx, id)),
        })
    }

    /// The body begins like a batch: if batches are not supported here, stop reading it.
    fn screen_batch(&mut self, cx: &mut Context<'_>, key: usize, head: HttpRequest) {
        if head.method == Verb::POST {
            let headers = &Headers::of(&head.headers);
            let source = self.admit(cx, key, headers, head.peer);
            if !source.is_some_and(|source| self.check_batch(cx, &source)) {
                return self.http.read_no_further(cx, key);
            }
        }
        self.http.read_on(key, head);
    }

    /// GET: opens the event stream of a session, and replaces the previous one.
    fn open_events(&mut self, cx: &mut Context<'_>, key: usize, headers: &HeaderMap) {
        let headers = Headers::of(headers);
        let Some(id) = headers.session_id() else {
            // The modern era has no GET; a legacy GET belongs to a session.
            let status = StatusCode::METHOD_NOT_ALLOWED;
            return self.refuse_http(cx, key, status, "GET without a session");
        };
        if cx.stopping() {
            return self.refuse_message(cx, Sink::Http(key), &Id::null(), &Refusal::stopping());
        }
        let Some(session) = self.own_session(cx, id) else {
            return self.refuse_unknown_session(cx, Sink::Http(key));
        };
        if !headers.accepts("text/event-stream") {
            let why = "Accept does not have text/event-stream";
            return self.refuse_http(cx, key, StatusCode::NOT_ACCEPTABLE, why);
        }
        let last = Self::last_event(headers.all());
        if let Some(last) = last.filter(|last| last.stream != SESSION_STREAM) {
            return self.resume_request(cx, key, session, last);
        }
        if let Some(before) = self.sessions.open_events(session, key) {
            self.http.finish(cx, before);
        }
        self.http.set_owner(key, Owner::Events(session));
        self.http.begin_events(cx, key);
        self.http.set_resumable(key, session, SESSION_STREAM);
        if let Some(last) = last {
            self.replay(cx, key, session, last);
        }
        self.http.keep_open(cx, key);
        self.http.watch_expiry(cx, key);
        self.sessions.touch(cx, session);
        self.send_session_updates(cx, session);
    }

    /// DELETE: the client ends its session.
    fn delete_session(&mut self, cx: &mut Context<'_>, key: usize, headers: &HeaderMap) {
        let headers = Headers::of(headers);
        let Some(id) = headers.session_id() else {
            let status = StatusCode::METHOD_NOT_ALLOWED;
            return self.refuse_http(cx, key, status, "DELETE without a session");
        };
        match self.own_session(cx, id) {
            Some(session) => {
                self.end_session(cx, session, EndedBy::Client);
                self.http.respond_status(cx, key, StatusCode::OK);
            }
            None => self.refuse_unknown_session(cx, Sink::Http(key)),
        }
    }
}

/// Lines.
impl McpServer {
    pub(super) fn line_frame(&mut self, cx: &mut Context<'_>, key: usize, frame: Frame) {
        match self.lines.on_frame(cx, key, frame) {
            None => {}
            Some(LineEvent::Message(message)) => self.serve_line(cx, key, message),
            Some(LineEvent::BatchRefused) => self.refuse_batch(cx, Sink::Line(key)),
            Some(LineEvent::Refused(refusal)) => {
                self.refuse_message(cx, Sink::Line(key), &Id::null(), &refusal);
            }
            Some(LineEvent::Drained(dependents)) => self.line_drained(cx, key, dependents),
            Some(LineEvent::InputEnded(dependents)) => {
                self.line_input_ended(cx, key, dependents);
            }
            Some(LineEvent::Disconnected(left)) => return self.line_disconnected(cx, key, left),
        }
        self.lines.take_more(cx, key);
    }

    fn serve_line(&mut self, cx: &mut Context<'_>, key: usize, message: Parts) {
        let source = Source {
            sink: Sink::Line(key),
            headers: None,
            peer: None,
            session: self.lines.session(key),
        };
        if is_batch(&message) {
            self.lines.expect_answer(key);
            return self.serve_batch(cx, &source, message);
        }
        let message = read(message);
        if is_answered(&message) {
            self.lines.expect_answer(key);
        }
        self.serve(cx, &source, message);
    }
}

/// Batches.
impl McpServer {
    /// Whether batches are supported in this session; if not, the batch is refused whatever it
    /// contains.
    fn check_batch(&mut self, cx: &mut Context<'_>, source: &Source<'_>) -> bool {
        if source.names_unknown_session() {
            self.refuse_unknown_session(cx, source.sink);
            return false;
        }
        let session = source.session;
        if session.is_some_and(|session| self.sessions.takes_batches(session)) {
            return true;
        }
        self.refuse_batch(cx, source.sink);
        false
    }

    fn refuse_batch(&mut self, cx: &mut Context<'_>, sink: Sink) {
        let refusal = Refusal::invalid_request(format!(
            "Batches are only supported in sessions of {BATCHING}; send one message at a time."
        ));
        self.refuse_message(cx, sink, &Id::null(), &refusal);
    }

    /// Starts processing a batch, if it is accepted.
    fn serve_batch(&mut self, cx: &mut Context<'_>, source: &Source<'_>, body: Parts) {
        if !self.check_batch(cx, source) {
            return;
        }
        let session = source.session.and_then(|key| self.sessions.id(key));
        let Some(session) = session.cloned() else {
            return debug_assert!(false, "batches exist only in sessions");
        };
        let messages = match read_batch(body) {
            Ok(messages) => messages,
            Err(error) => return self.refuse_message(cx, source.sink, &Id::null(), &error.into()),
        };
        let key = self
            .batches
            .begin(source, messages, session, cx.call().clone());
        self.set_owner(source.sink, Owner::Batch(key));
        self.serve_step(cx, key);
    }

    /// Processes the messages of one step of a batch.
    pub(super) fn serve_step(&mut self, cx: &mut Context<'_>, key: usize) {
        while let Some(item) = self.batches.next(key) {
            self.serve_item(cx, key, item);
        }
        let done = self.batches.end_step(cx, key);
        self.batch_done(cx, done);
    }

    fn serve_item(&mut self, cx: &mut Context<'_>, key: usize, item: Item) {
        let message = read(item.message);
        if is_answered(&message) {
            self.batches.expect_answer(key);
        }
        let headers = item.headers.as_deref().map(Headers::of);
        let source = Source {
            sink: Sink::Batch(key),
            headers: headers.as_ref(),
            peer: item.peer,
            session: self.own_session(cx, &item.session),
        };
        match message {
            // The session has ended in the meantime.
            Ok(Message::Request { id, method, params }) if source.session.is_none() => {
                let asked = (&*method, &params);
                self.refuse_request(cx, &source, &id, asked, &Refusal::session_over(cx));
            }
            Ok(_) if source.session.is_none() => {}
            message => self.serve(cx, &source, message),
        }
    }
}

/// Messages.
impl McpServer {
    /// Processes a message from any source.
    fn serve(
        &mut self,
        cx: &mut Context<'_>,
        source: &Source<'_>,
        message: Result<Message, Unreadable>,
    ) {
        match message {
            Ok(Message::Request {
                id,
                method,
                mut params,
            }) => {
                if let Err(refusal) = self.serve_request(cx, source, &id, &method, &mut params) {
                    self.refuse_request(cx, source, &id, (&*method, &params), &refusal);
                }
            }
            Ok(Message::Notification { method, params }) => {
                self.serve_notification(cx, source, &method, &params);
                self.answer_status(cx, source.sink, StatusCode::ACCEPTED);
            }
            Ok(Message::Response { id, outcome }) => {
                self.client_answered(cx, source, id.as_ref(), outcome);
                self.answer_status(cx, source.sink, StatusCode::ACCEPTED);
            }
            Err((id, error)) => self.refuse_message(cx, source.sink, &id, &error.into()),
        }
    }

    /// Takes `params` as late as it can: a refusal says what was asked for.
    fn serve_request(
        &mut self,
        cx: &mut Context<'_>,
        source: &Source<'_>,
        id: &Id,
        name: &str,
        params: &mut Params,
    ) -> Result<(), Refusal> {
        if cx.stopping() {
            return Err(Refusal::stopping());
        }
        if expiry::has_expired(cx) {
            return Err(Refusal::expired());
        }
        if let Some(reason) = cx.calls_refused() {
            return Err(Refusal::unavailable(reason));
        }
        let claim = era::of(source, name, params)?;
        let era = claim.era();
        let method = Method::of(name, era);
        let stateless;
        let source = match claim {
            Claim::Modern(version) => {
                era::check_modern(source, name, method, version.as_deref(), params)?;
                // Modern requests stand alone, even if the same client has a session.
                stateless = source.without_session();
                &stateless
            }
            Claim::Legacy => {
                era::check_legacy(source, name)?;
                source
            }
        };
        let method = method.ok_or_else(|| Refusal::unknown_method(name, era))?;
        if let Some(session) = source.session {
            self.sessions.touch(cx, session);
        }
        let in_flight = if method == Method::Ping {
            None
        } else {
            let continues = era == Era::Modern && self.continues(params);
            self.limits.admit(cx, source.peer, continues)?
        };
        match method {
            Method::Initialize => self.initialize(cx, source, id, params),
            Method::Ping => {
                self.answer_with(cx, source.sink, id, b"");
                Ok(())
            }
            Method::Discover => self.discover(cx, source, id),
            Method::Listen => self.listen(cx, source, id, params),
            Method::LoggingSetLevel => self.set_level(cx, source, id, params),
            Method::ResourcesSubscribe => self.subscribe(cx, source, id, params),
            Method::ResourcesUnsubscribe => self.unsubscribe(cx, source, id, params),
            _ if era == Era::Modern
                && let Some(worker) = Self::worker_elsewhere(cx, source, params)? =>
            {
                self.forward(cx, source, params, worker)
            }
            _ => {
                let request = self.begin_request(cx, source, id, era, method, params)?;
                if let Some(in_flight) = in_flight {
                    self.requests.keep(request, in_flight);
                }
                Ok(())
            }
        }
    }

    fn serve_notification(
        &mut self,
        cx: &mut Context<'_>,
        source: &Source<'_>,
        method: &str,
        params: &Params,
    ) {
        if method == "notifications/cancelled"
            && let Some(id) = params.request_id()
        {
            self.cancel(cx, source, &id);
        }
        if let Some(session) = source.session
            && self.sessions.contains(session)
        {
            self.sessions.touch(cx, session);
            if method == "notifications/roots/list_changed" {
                self.sessions.roots_changed(cx, session);
            }
        }
    }
}
