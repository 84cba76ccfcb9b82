//! Implements the methods.

use bytestring::ByteString;
use tidegate_engine::Context;
use tidegate_streams::mcp::{McpBeginEx, McpCapabilities};

use super::McpServer;
use crate::jsonrpc::{Era, Id, Meta, Method, Params, Subject};
use crate::server::calls::{Call, Subject as CallSubject};
use crate::server::capabilities::answer;
use crate::server::client_capabilities;
use crate::server::era;
use crate::server::errors::Refusal;
use crate::server::headers::Mirrored;
use crate::server::initialize;
use crate::server::line::LineWork;
use crate::server::notifications::{Notifications, read_level};
use crate::server::request::{Continuation, NewRequest};
use crate::server::sink::{Owner, Sink};
use crate::server::source::{Source, shown_address};
use crate::server::subscription::Holder;

impl McpServer {
    /// Opens a stream to the exit for a request; returns its key.
    pub(super) fn begin_request(
        &mut self,
        cx: &mut Context<'_>,
        source: &Source<'_>,
        id: &Id,
        era: Era,
        method: Method,
        params: &mut Params,
    ) -> Result<usize, Refusal> {
        self.check_room(source, id)?;
        let subject = match method.subject() {
            Some(subject) => params.subject_text(subject)?,
            None => ByteString::new(),
        };
        let cursor = if method.is_paged() {
            params.cursor()?
        } else {
            None
        };
        let mirrored = match (method, source.headers) {
            (Method::ToolsCall, Some(headers)) => Mirrored::of(headers, era)?,
            _ => Mirrored::default(),
        };
        let session = source.session;
        let level = session.and_then(|session| self.sessions.level(session));
        let notifications = Notifications::of(source.takes_events(), era, params, level)?;
        let capabilities = match method {
            Method::ToolsCall | Method::PromptsGet | Method::ResourcesRead => {
                self.client_capabilities(source, era, params)?
            }
            _ => McpCapabilities::NONE,
        };
        let identity = session.and_then(|session| self.sessions.identity(session));
        let call = Call::begin(cx, method, || CallSubject {
            era: era::word(era),
            ..self.subject(source, params, &subject)
        });
        if era == Era::Modern
            && let Some(state) = params.request_state()?.and_then(|state| state.string())
            && self.requests.is_ours(&state)
        {
            let next = Continuation {
                sink: source.sink,
                id: id.clone(),
                notifications,
                call,
            };
            let asked = (&*subject, &*params);
            let key = self.continue_request(cx, method, asked, &state, next)?;
            self.register(cx, source, id, key);
            return Ok(key);
        }
        let (params, read) = params.take().into_payload();
        let length = i64::try_from(params.len()).unwrap_or(-1);
        let begin = McpBeginEx::of_method(method, identity, subject, length);
        let mut begin = begin.ok_or_else(Refusal::internal)?;
        begin.set_capabilities(capabilities);
        begin.set_log_level(Notifications::stated_level(era, level, &notifications));
        if let Some(place) = begin.cursor_mut() {
            *place = cursor;
        }
        if let McpBeginEx::ToolsCall(call) = &mut begin {
            call.headers = mirrored.headers;
            call.headers_required = mirrored.required;
        }
        let order = NewRequest {
            sink: source.sink,
            id: id.clone(),
            era,
            method,
            session,
            begin,
            params,
            read,
            notifications,
            capabilities,
            call,
        };
        let key = self.requests.open(cx, order)?;
        self.register(cx, source, id, key);
        Ok(key)
    }

    /// Records a running request with its client.
    fn register(&mut self, cx: &mut Context<'_>, source: &Source<'_>, id: &Id, key: usize) {
        self.set_owner(source.sink, Owner::Request(key));
        match (source.sink, source.session) {
            (Sink::Line(line), _) => {
                self.lines
                    .register(line, id.clone(), LineWork::Request(key));
            }
            (sink, Some(session)) => {
                self.sessions.register(session, id.clone(), key);
                if let Sink::Http(http) = sink
                    && source.takes_events()
                {
                    self.http.poll_later(cx, http);
                }
            }
            _ => {}
        }
    }

    /// What the client of a request can be asked for while it runs.
    fn client_capabilities(
        &self,
        source: &Source<'_>,
        era: Era,
        params: &Params,
    ) -> Result<McpCapabilities, Refusal> {
        match (era, source.session) {
            (Era::Modern, _) => match params.meta(Meta::ClientCapabilities)? {
                Some(declared) => client_capabilities::read(&declared),
                None => Ok(McpCapabilities::NONE),
            },
            (Era::Legacy, Some(session)) => Ok(self.sessions.capabilities(session)),
            (Era::Legacy, None) => Ok(McpCapabilities::NONE),
        }
    }

    /// `logging/setLevel`
    pub(super) fn set_level(
        &mut self,
        cx: &mut Context<'_>,
        source: &Source<'_>,
        id: &Id,
        params: &Params,
    ) -> Result<(), Refusal> {
        let session = source.session.ok_or_else(|| Refusal::session_over(cx))?;
        if !self.sessions.has_logs(session) {
            let method = Method::LoggingSetLevel.name();
            return Err(Refusal::unknown_method(method, Era::Legacy));
        }
        let level = read_level(params.get("level")?.as_ref(), "params.level")?;
        self.sessions.set_level(session, level);
        self.answer_with(cx, source.sink, id, b"");
        Ok(())
    }

    /// Checks that one more request may run and that its id is not in use.
    fn check_room(&self, source: &Source<'_>, id: &Id) -> Result<(), Refusal> {
        match (source.sink, source.session) {
            (Sink::Line(line), _) => self.lines.check_room(line, id),
            (_, Some(session)) => self.sessions.check_room(session, id),
            _ => Ok(()),
        }
    }

    /// `notifications/cancelled`: the client cancels a request.
    pub(super) fn cancel(&mut self, cx: &mut Context<'_>, source: &Source<'_>, id: &Id) {
        if let Sink::Line(line) = source.sink {
            match self.lines.work(line, id) {
                Some(LineWork::Request(request)) => return self.cancel_request(cx, request),
                Some(LineWork::Listen(listen)) => return self.cancel_listen(cx, listen),
                None => {}
            }
        }
        let Some(session) = source.session else {
            return;
        };
        if let Some(request) = self.sessions.request(session, id) {
            return self.cancel_request(cx, request);
        }
        // The request may be waiting for a subscription to be confirmed.
        let mut subscriptions = self.sessions.subscriptions(session);
        let found = subscriptions.find_map(|key| {
            let cancelled = self.subscriptions.cancel_wait(key, id)?;
            Some((key, cancelled))
        });
        drop(subscriptions);
        let Some((key, cancelled)) = found else {
            return;
        };
        if let Some(uri) = cancelled.abandoned {
            self.sessions.remove_subscription(session, &uri);
            let closed = self.close_subscription(cx, key);
            debug_assert!(closed.is_empty(), "no other request waits for it");
        }
        self.answer_nothing(cx, cancelled.sink);
    }

    /// `initialize`: answered once the exit has accepted the session.
    pub(super) fn initialize(
        &mut self,
        cx: &mut Context<'_>,
        source: &Source<'_>,
        id: &Id,
        params: &Params,
    ) -> Result<(), Refusal> {
        let sink = source.sink;
        if matches!(sink, Sink::Batch(_)) {
            return Err(Refusal::invalid_request(
                "'initialize' cannot be part of a batch.",
            ));
        }
        if matches!(sink, Sink::Line(_)) && source.session.is_some() {
            return Err(Refusal::invalid_request(
                "A session is already open on this connection.",
            ));
        }
        let requested = initialize::requested(params)?;
        let address = || shown_address(source.peer);
        let key = self
            .sessions
            .open(cx, (sink, id.clone()), requested, address)?;
        if let Sink::Line(line) = sink {
            let takes_batches = self.sessions.takes_batches(key);
            self.lines.begin_session(line, key, takes_batches);
        }
        self.set_owner(sink, Owner::Initialize(key));
        Ok(())
    }

    /// `server/discover`
    pub(super) fn discover(
        &mut self,
        cx: &mut Context<'_>,
        source: &Source<'_>,
        id: &Id,
    ) -> Result<(), Refusal> {
        match self.discovery.known_or_wait(cx, source.sink, id)? {
            Some(capabilities) => {
                let members = answer(capabilities, self.instructions.as_deref());
                self.answer_with(cx, source.sink, id, &members);
            }
            None => self.set_owner(source.sink, Owner::Discover),
        }
        Ok(())
    }

    /// `resources/subscribe`: answered once updates can no longer be missed.
    pub(super) fn subscribe(
        &mut self,
        cx: &mut Context<'_>,
        source: &Source<'_>,
        id: &Id,
        params: &mut Params,
    ) -> Result<(), Refusal> {
        self.check_room(source, id)?;
        let uri = params.subject_text(Subject::Uri)?;
        let session = source.session.ok_or_else(|| Refusal::session_over(cx))?;
        self.subscriptions
            .check_waiting(self.sessions.subscriptions(session))?;
        let key = match self.sessions.subscription(session, &uri) {
            Some(key) => key,
            None => self.open_subscription(cx, source, session, &uri, params)?,
        };
        if self.subscriptions.confirmed_or_wait(key, source.sink, id) {
            self.answer_with(cx, source.sink, id, b"");
        } else {
            self.set_owner(source.sink, Owner::Subscribe(key));
        }
        Ok(())
    }

    fn open_subscription(
        &mut self,
        cx: &mut Context<'_>,
        source: &Source<'_>,
        session: usize,
        uri: &str,
        params: &mut Params,
    ) -> Result<usize, Refusal> {
        self.sessions.check_subscription(session, uri)?;
        self.subscriptions.check_room(uri.len())?;
        let call = Call::begin(cx, Method::ResourcesSubscribe, || CallSubject {
            era: era::word(Era::Legacy),
            ..self.subject(source, params, uri)
        });
        let params = Some(params.take().into_payload().0);
        let identity = self.sessions.identity(session);
        // Copied: the received buffer is larger, and would be kept as long as the subscription.
        let uri = ByteString::from(uri);
        let holder = Holder::Session(session);
        let key = self
            .subscriptions
            .open(cx, holder, call, identity, uri.clone(), params)?;
        self.sessions.subscribe(session, uri, key);
        Ok(key)
    }

    /// `resources/unsubscribe`
    pub(super) fn unsubscribe(
        &mut self,
        cx: &mut Context<'_>,
        source: &Source<'_>,
        id: &Id,
        params: &Params,
    ) -> Result<(), Refusal> {
        let uri = params.subject_text(Subject::Uri)?;
        let session = source.session.ok_or_else(|| Refusal::session_over(cx))?;
        if let Some(subscription) = self.sessions.unsubscribe(session, &uri) {
            let waiting = self.close_subscription(cx, subscription);
            let refusal = Refusal::invalid_request("The subscription was ended in the meantime.");
            self.refuse_all(cx, waiting, &refusal);
        }
        self.answer_with(cx, source.sink, id, b"");
        Ok(())
    }

    /// `subscriptions/listen`: acknowledged once each subscription is confirmed or refused.
    pub(super) fn listen(
        &mut self,
        cx: &mut Context<'_>,
        source: &Source<'_>,
        id: &Id,
        params: &Params,
    ) -> Result<(), Refusal> {
        self.check_room(source, id)?;
        let wanted = self.listens.wanted(params)?;
        let (uris, lists) = (wanted.resources, wanted.lists);
        self.subscriptions
            .check_room(uris.iter().map(|uri| uri.len()).sum())?;
        let sink = source.sink;
        if matches!(sink, Sink::Http(_)) && !source.takes_events() {
            return Err(Refusal::invalid_request(
                "subscriptions/listen is answered by an event stream; accept text/event-stream.",
            ));
        }
        let key = self.listens.begin(sink, id.clone());
        match sink {
            Sink::Http(http) => {
                self.http.set_owner(http, Owner::Listen(key));
                self.http.begin_events(cx, http);
                self.http.keep_open(cx, http);
                self.http.watch_expiry(cx, http);
            }
            Sink::Line(line) => self.lines.register(line, id.clone(), LineWork::Listen(key)),
            Sink::Batch(_) | Sink::Nowhere => {}
        }
        for uri in uris {
            let holder = Holder::Listen(key);
            // Copied: the received buffer is larger, and would be kept as long as the subscription.
            let uri = ByteString::from(&*uri);
            let call = Call::begin(cx, Method::Listen, || CallSubject {
                era: era::word(Era::Modern),
                ..self.subject(source, params, &uri)
            });
            let opened = self
                .subscriptions
                .open(cx, holder, call, None, uri.clone(), None);
            match opened {
                Ok(subscription) => self.listens.insert(key, uri, subscription),
                Err(refusal) => {
                    let reason = refusal.error().message();
                    self.listens.not_requested(key, &uri, reason);
                }
            }
        }
        if !lists.is_empty() {
            self.listens.watch(cx, key, lists);
        }
        let acknowledgement = self.listens.all_requested(key);
        self.acknowledge_listen(cx, key, acknowledgement);
        Ok(())
    }
}
