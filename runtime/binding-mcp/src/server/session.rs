//! Legacy sessions: what happens within one, and its end.

use std::collections::BTreeMap;

use ::http::HeaderMap;
use bytestring::ByteString;
use tidegate_engine::{Context, Duration, StreamId, TimerId};
use tidegate_streams::mcp::{McpBeginEx, McpFlushEx, McpLifecycle, McpReset};
use tidegate_streams::{BeginEx, FlushEx, Frame, ResetEx};

use super::binding::{Key, McpServer};
use super::errors::Refusal;
use super::headers;
use super::http::{Caller, Owner};
use super::initialize;
use super::line::UnderWay;
use super::output::Sink;
use super::request::REQUESTS_MAX;
use super::subscription::{Holder, SUBSCRIPTIONS_MAX, Subscriptions, Updates};
use crate::jsonrpc::{Era, Method};
use crate::jsonrpc::{Id, Params, Subject};

/// A session.
#[derive(Debug)]
pub(super) struct Session {
    /// As the client knows it.
    id: ByteString,
    version: &'static str,
    lifecycle: StreamId,
    /// As the exit knows it, once it has answered.
    identity: Option<ByteString>,
    /// Where the answer to `initialize` goes.
    initializing: Option<(Sink, Id)>,
    /// The line that it is of, if it is not of HTTP.
    line: Option<usize>,
    /// The exchange with its event stream.
    events: Option<usize>,
    /// What is under way, by the client's id.
    pub(super) under_way: BTreeMap<Id, UnderWay>,
    pub(super) subscriptions: Subscriptions,
    pub(super) updates: Updates,
    timer: Option<TimerId>,
}

impl Session {
    /// A session that is asked for by `initializing`, and given up at `timer`.
    pub(super) fn new(
        id: ByteString,
        version: &'static str,
        lifecycle: StreamId,
        initializing: (Sink, Id),
        timer: TimerId,
    ) -> Self {
        let line = match initializing.0 {
            Sink::Line(line) => Some(line),
            _ => None,
        };
        Self {
            id,
            version,
            lifecycle,
            identity: None,
            initializing: Some(initializing),
            line,
            events: None,
            under_way: BTreeMap::new(),
            subscriptions: Subscriptions::default(),
            updates: Updates::default(),
            timer: Some(timer),
        }
    }

    /// As the client knows it.
    pub(super) const fn id(&self) -> &ByteString {
        &self.id
    }

    /// The revision that was agreed on.
    pub(super) const fn version(&self) -> &'static str {
        self.version
    }

    /// Where messages of ours go.
    fn sink(&self) -> Sink {
        match (self.line, self.events) {
            (Some(line), _) => Sink::Line(line),
            (None, Some(events)) => Sink::Http(events),
            (None, None) => Sink::Nowhere,
        }
    }

    fn is_idle(&self) -> bool {
        self.under_way.is_empty() && self.events.is_none() && self.line.is_none()
    }
}

impl McpServer {
    /// The worker that owns the session a request belongs to, if that is another one.
    pub(super) fn owner_elsewhere(cx: &Context<'_>, headers: &HeaderMap) -> Option<u16> {
        let id = headers.get(headers::SESSION_ID)?.to_str().ok()?;
        let (worker, _) = id.trim().split_once('.')?;
        let worker = u16::from_str_radix(worker, 16).ok()?;
        (worker != cx.worker()).then_some(worker)
    }

    pub(super) fn identity_of(&self, key: usize) -> Option<ByteString> {
        self.sessions.get(key)?.identity.clone()
    }

    /// Something happened in a session: its time begins anew.
    pub(super) fn touch_session(&mut self, cx: &mut Context<'_>, key: usize) {
        let after = Duration::from_millis(self.options.session_timeout.max(1));
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        if session.line.is_some() || session.initializing.is_some() {
            return;
        }
        if let Some(timer) = session.timer.take() {
            cx.cancel(timer);
        }
        let token = Key::Session(key).token();
        session.timer = Some(cx.timer(after, token, 0, "mcp_server.session"));
    }

    pub(super) fn session_frame(&mut self, cx: &mut Context<'_>, key: usize, frame: Frame) {
        match frame {
            Frame::Begin(begin) => {
                if let BeginEx::Mcp(McpBeginEx::Lifecycle(lifecycle)) = begin.into_inner() {
                    self.session_begun(cx, key, lifecycle);
                }
            }
            Frame::Flush(flush) => {
                if let FlushEx::Mcp(flush) = *flush {
                    self.session_flush(cx, key, &flush);
                }
            }
            Frame::Reset(Some(reset)) => match *reset {
                ResetEx::Mcp(reset) => self.session_lost(cx, key, Some(reset)),
                _ => self.session_lost(cx, key, None),
            },
            Frame::Reset(None) | Frame::Abort(_) | Frame::End(_) => {
                self.session_lost(cx, key, None);
            }
            _ => {}
        }
    }

    fn session_begun(&mut self, cx: &mut Context<'_>, key: usize, begun: McpLifecycle) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        session.identity = begun.session_id;
        if let Some(timer) = session.timer.take() {
            cx.cancel(timer);
        }
        let Some((sink, id)) = session.initializing.take() else {
            return;
        };
        let message = initialize::answer(
            &id,
            session.version,
            begun.capabilities,
            self.options.instructions.as_deref(),
        );
        let session_id = session.id.clone();
        self.touch_session(cx, key);
        self.answer_initialized(cx, sink, &session_id, message);
        self.retire_if_idle(cx, key);
    }

    /// What the exit has to tell, beside updates of resources.
    fn session_flush(&mut self, cx: &mut Context<'_>, key: usize, flush: &McpFlushEx) {
        let what = match flush {
            McpFlushEx::ToolsListChanged(_) => "tools",
            McpFlushEx::PromptsListChanged(_) => "prompts",
            McpFlushEx::ResourcesListChanged(_) => "resources",
            _ => return,
        };
        if let Some(session) = self.sessions.get_mut(key) {
            session.updates.note_list(what);
        }
        self.flush_session_updates(cx, key);
    }

    /// The exit refused the session, or ended it.
    fn session_lost(&mut self, cx: &mut Context<'_>, key: usize, reset: Option<McpReset>) {
        if let Some(session) = self.sessions.get_mut(key)
            && let Some((sink, id)) = session.initializing.take()
        {
            let refusal = reset.map_or_else(Refusal::internal, |reset| {
                Refusal::of_exit(Some(reset), Method::Initialize, Era::Legacy)
            });
            self.refuse(cx, sink, &id, &refusal);
        } else if cx.stopping()
            && let Some(session) = self.sessions.get(key).filter(|it| !it.is_idle())
        {
            // The exit stops too, and ends its part. What is under way is still answered.
            return cx.terminate(session.lifecycle, None, None);
        }
        self.end_session(cx, key);
    }

    pub(super) fn session_timer(&mut self, cx: &mut Context<'_>, key: usize) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        session.timer = None;
        if let Some((sink, id)) = session.initializing.take() {
            let refusal = Refusal::timed_out(self.options.timeout);
            self.refuse(cx, sink, &id, &refusal);
            self.end_session(cx, key);
        } else if session.is_idle() {
            tracing::info!(session = %shown(&session.id), "a session was idle for too long and ends");
            self.retire_session(cx, key);
        } else {
            self.touch_session(cx, key);
        }
    }

    /// Ends a session in order.
    pub(super) fn retire_session(&mut self, cx: &mut Context<'_>, key: usize) {
        if let Some(session) = self.sessions.get(key) {
            cx.end(session.lifecycle, Frame::end());
        }
        self.end_session(cx, key);
    }

    /// Ends a session and everything in it.
    pub(super) fn end_session(&mut self, cx: &mut Context<'_>, key: usize) {
        self.end_subscriptions(cx, key);
        let Some(mut session) = self.sessions.try_remove(key) else {
            return;
        };
        self.session_keys.remove(&session.id);
        cx.terminate(session.lifecycle, None, None);
        if let Some(timer) = session.timer.take() {
            cx.cancel(timer);
        }
        let mut under_way: Vec<UnderWay> = session.under_way.into_values().collect();
        if let Some(line) = session.line.and_then(|line| self.lines.get_mut(line)) {
            line.session = None;
            under_way.extend(line.under_way.values().copied());
        }
        if let Some(events) = session.events.take() {
            self.finish_http(cx, events);
        }
        for under_way in under_way {
            // Modern requests on the same line are not the session's.
            if let UnderWay::Request(request) = under_way
                && self.is_of_session(request, key)
            {
                self.refuse_request(cx, request, &Refusal::session_over(cx));
            }
        }
    }

    /// When the engine stops: what is open ends, and what is in flight is finished first.
    pub(super) fn wind_up_session(&mut self, cx: &mut Context<'_>, key: usize) {
        self.end_subscriptions(cx, key);
        if let Some(session) = self.sessions.get_mut(key)
            && let Some(events) = session.events.take()
        {
            self.finish_http(cx, events);
        }
        self.retire_if_idle(cx, key);
    }

    /// While the engine stops, a session goes with the last thing that was under way in it.
    pub(super) fn retire_if_idle(&mut self, cx: &mut Context<'_>, key: usize) {
        let idle = |session: &Session| session.is_idle() && session.initializing.is_none();
        if cx.stopping() && self.sessions.get(key).is_some_and(idle) {
            self.retire_session(cx, key);
        }
    }

    /// Ends every subscription of a session.
    pub(super) fn end_subscriptions(&mut self, cx: &mut Context<'_>, key: usize) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        for subscription in session.subscriptions.take() {
            if let Some(closed) = self.close_subscription(cx, subscription) {
                for (sink, id) in closed.waiting {
                    self.refuse(cx, sink, &id, &Refusal::session_over(cx));
                }
            }
        }
    }

    /// A client opens the event stream of its session; a newer one takes the place of an older.
    pub(super) fn open_events(&mut self, cx: &mut Context<'_>, key: usize, http: usize) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        if let Some(before) = session.events.replace(http) {
            self.finish_http(cx, before);
        }
        if let Some(exchange) = self.http.get_mut(http) {
            exchange.owner = Owner::Events(key);
            exchange.begin_events(cx);
        }
        self.keep_events_alive(cx, http);
        self.touch_session(cx, key);
        self.flush_session_updates(cx, key);
    }

    /// The event stream of a session broke.
    pub(super) fn events_left(&mut self, cx: &mut Context<'_>, key: usize, http: usize) {
        if let Some(session) = self.sessions.get_mut(key)
            && session.events == Some(http)
        {
            session.events = None;
            self.touch_session(cx, key);
        }
    }

    /// Who began a session has gone before it was answered.
    pub(super) fn initialize_left(&mut self, cx: &mut Context<'_>, key: usize, sink: Sink) {
        if let Some(session) = self.sessions.get(key)
            && session
                .initializing
                .as_ref()
                .is_some_and(|(waiting, _)| *waiting == sink)
        {
            self.end_session(cx, key);
        }
    }

    /// Tells of changes, as far as the client reads.
    pub(super) fn flush_session_updates(&mut self, cx: &mut Context<'_>, key: usize) {
        loop {
            let Some(session) = self.sessions.get(key) else {
                return;
            };
            let sink = session.sink();
            if sink == Sink::Nowhere || self.waiting(sink) > 0 {
                return;
            }
            let next = self
                .sessions
                .get_mut(key)
                .and_then(|session| session.updates.take());
            let Some(change) = next else { return };
            self.notify(cx, sink, change.message(None));
        }
    }

    /// `resources/subscribe`: answered once updates can no longer be missed.
    pub(super) fn subscribe(
        &mut self,
        cx: &mut Context<'_>,
        caller: &Caller<'_>,
        id: &Id,
        params: Params,
    ) -> Result<(), Refusal> {
        self.check_room(caller, id)?;
        let uri = params.subject_text(Subject::Uri)?;
        let key = caller.session.ok_or_else(|| Refusal::session_over(cx))?;
        let session = self
            .sessions
            .get(key)
            .ok_or_else(|| Refusal::session_over(cx))?;
        self.check_waiting(session)?;
        let identity = session.identity.clone();
        let subscription = if let Some(subscription) = session.subscriptions.get(&uri) {
            subscription
        } else {
            self.check_subscriptions(session, &uri)?;
            let params = Some(params.into_payload().0);
            let holder = Holder::Session(key);
            // In memory of its own: the buffer it came in is larger, and would last as long.
            let uri = ByteString::from(&*uri);
            let opened = self.open_subscription(cx, holder, identity, uri.clone(), params)?;
            if let Some(session) = self.sessions.get_mut(key) {
                session.subscriptions.insert(uri, opened);
            }
            opened
        };
        let Some(held) = self.subscriptions.get_mut(subscription) else {
            return Err(Refusal::internal());
        };
        if held.stands {
            self.answer_with(cx, caller.sink, id, b"");
        } else {
            held.waiting.push((caller.sink, id.clone()));
            self.own(caller.sink, Owner::Subscribe(subscription));
        }
        Ok(())
    }

    /// Whether one more request of a session may wait for a subscription to be confirmed.
    fn check_waiting(&self, session: &Session) -> Result<(), Refusal> {
        let waiting = |key| self.subscriptions.get(key).map_or(0, |it| it.waiting.len());
        let waiting: usize = session
            .subscriptions
            .iter()
            .map(|(_, key)| waiting(key))
            .sum();
        if waiting < REQUESTS_MAX {
            return Ok(());
        }
        let what = format!("{REQUESTS_MAX} subscriptions are waited for; wait for one first.");
        Err(Refusal::unavailable(what))
    }

    /// Whether a session may have one more subscription.
    fn check_subscriptions(&self, session: &Session, uri: &str) -> Result<(), Refusal> {
        let held = &session.subscriptions;
        if held.len() >= SUBSCRIPTIONS_MAX {
            let what = format!(
                "The session has {SUBSCRIPTIONS_MAX} subscriptions, the limit; end one first."
            );
            return Err(Refusal::unavailable(what));
        }
        let limit = self.options.max_session_bytes;
        if held.bytes() + uri.len() > limit {
            return Err(Refusal::unavailable(format!(
                "The URIs of a session's subscriptions may have {limit} bytes (maxSessionBytes), and \
                 no room is left for {}; end one first.",
                uri.len()
            )));
        }
        self.check_subscribed(uri.len())
    }

    /// Who asked for a subscription has gone; the subscription itself is the session's.
    pub(super) fn subscribe_left(&mut self, key: usize, sink: Sink) {
        if let Some(subscription) = self.subscriptions.get_mut(key) {
            subscription.waiting.retain(|(waiting, _)| *waiting != sink);
        }
    }

    /// Who asked for a subscription does not want it any more, if it is still waited for.
    pub(super) fn cancel_subscribe(
        &mut self,
        cx: &mut Context<'_>,
        session: Option<usize>,
        id: &Id,
    ) {
        let waits = |key: usize| {
            let waiting = &self.subscriptions.get(key)?.waiting;
            waiting.iter().position(|(_, waiting)| waiting == id)
        };
        let Some(session) = session.and_then(|key| self.sessions.get_mut(key)) else {
            return;
        };
        let mut held = session.subscriptions.iter();
        let Some((key, at)) = held.find_map(|(_, key)| Some((key, waits(key)?))) else {
            return;
        };
        drop(held);
        let Some(subscription) = self.subscriptions.get_mut(key) else {
            return;
        };
        let (sink, _) = subscription.waiting.remove(at);
        if subscription.waiting.is_empty() {
            session.subscriptions.remove(&subscription.uri);
            self.close_subscription(cx, key);
        }
        self.left_unanswered(cx, sink);
    }

    /// `resources/unsubscribe`
    pub(super) fn unsubscribe(
        &mut self,
        cx: &mut Context<'_>,
        caller: &Caller<'_>,
        id: &Id,
        params: &Params,
    ) -> Result<(), Refusal> {
        let uri = params.subject_text(Subject::Uri)?;
        let session = caller.session.and_then(|key| self.sessions.get_mut(key));
        let session = session.ok_or_else(|| Refusal::session_over(cx))?;
        session.updates.forget(&uri);
        if let Some(subscription) = session.subscriptions.remove(&uri)
            && let Some(closed) = self.close_subscription(cx, subscription)
        {
            let refusal = Refusal::invalid_request("The subscription was ended meanwhile.");
            for (sink, id) in closed.waiting {
                self.refuse(cx, sink, &id, &refusal);
            }
        }
        self.answer_with(cx, caller.sink, id, b"");
        Ok(())
    }
}

/// As much of a session's id as a log may tell.
fn shown(id: &str) -> &str {
    id.get(..6).unwrap_or(id)
}
