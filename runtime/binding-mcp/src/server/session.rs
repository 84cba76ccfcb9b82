//! Legacy sessions, from `initialize` to their end.
//!
//! Owns the sessions: the stream each keeps open to the exit, its ids (for the client and for the
//! exit), its idle time, its subscriptions and running requests, and the updates queued for its
//! client. Returns events as [`SessionEvent`]. A session ends in three steps, because what belongs
//! to it is ended in between: [`Sessions::end_lifecycle`], [`Sessions::take_subscriptions`], and
//! [`Sessions::remove`], which returns the rest as [`Ended`].

mod asking;
mod event;
mod replay;
mod updates;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytestring::ByteString;
use slab::Slab;
use tidegate_engine::{BindingId, Context, Duration, Meter, StreamId, TimerId};
use tidegate_streams::mcp::{
    McpBeginEx, McpCapabilities, McpLifecycle, McpLogLevel, McpReset, McpResetKind,
};
use tidegate_streams::{BeginEx, ChallengeEx, FlushEx, Frame, Identity, ResetEx};

use super::calls::Client;
use super::deadline::{self, SLACK};
use super::errors::Refusal;
use super::events::{SessionBegun, SessionEnded, SessionExpired};
use super::initialize::Requested;
use super::key::Key;
use super::options::Options;
use super::running::Running;
use super::session_id::{self, shown};
use super::sink::Sink;
use super::updates::{Subscribed, Updates};
use crate::jsonrpc::notification::List;
use crate::jsonrpc::{BATCHING, Id};
pub(super) use event::{Begun, Claimed, Ended, EndedBy, SessionEvent};
use replay::Replay;
pub(super) use replay::{EVENT_MAX, EventId, SESSION_STREAM};

/// The legacy sessions of a worker.
#[derive(Debug)]
pub(super) struct Sessions {
    exit: BindingId,
    timeout: Duration,
    idle_timeout: Duration,
    max: usize,
    max_bytes: usize,
    all: Slab<Session>,
    /// By public id.
    by_id: BTreeMap<ByteString, usize>,
    /// Number of sessions begun.
    begun: u64,
    /// Number of sessions expired.
    expired: u64,
    /// Bytes of events that are kept for clients that resume.
    replayable: usize,
}

#[derive(Debug)]
struct Session {
    /// The public id, known to the client.
    id: ByteString,
    version: &'static str,
    client: Client,
    /// What the client can be asked for.
    capabilities: McpCapabilities,
    /// The least severe log messages that it wants, if it has said so.
    level: Option<McpLogLevel>,
    /// Whether the exit has log messages.
    logs: bool,
    lifecycle: StreamId,
    /// The exit has accepted the session.
    begun: bool,
    /// The exit's id of the session, once accepted.
    identity: Option<ByteString>,
    /// Address and port of the client that began it, until an event has them.
    address: ByteString,
    /// Whose session it is; `None`: that of an anonymous caller. Its rights are those of the latest
    /// request.
    owner: Option<Arc<Identity>>,
    /// Where the response to `initialize` goes, until it is sent.
    initializing: Option<(Sink, Id)>,
    /// The line it belongs to, unless it is over HTTP.
    line: Option<usize>,
    /// The exchange with its event stream.
    events: Option<usize>,
    /// The requests running over HTTP and in batches.
    running: Running<usize>,
    subscribed: Subscribed,
    updates: Updates,
    /// What the exit asks its client for outside of a request: the exit's id and the id of the request.
    asked: Vec<(u64, u64)>,
    /// The events that were sent last.
    replay: Replay,
    timer: Option<TimerId>,
}

impl Session {
    fn is_idle(&self) -> bool {
        self.running.is_empty() && self.events.is_none() && self.line.is_none()
    }

    fn lose(&mut self, cx: &mut Context<'_>, reset: Option<McpReset>) -> Option<SessionEvent> {
        if let Some((sink, id)) = self.initializing.take() {
            return Some(match reset {
                Some(reset) => SessionEvent::Refused(sink, id, reset),
                None => SessionEvent::Lost(Some((sink, id))),
            });
        }
        if cx.stopping() && !self.is_idle() {
            // The exit is stopping as well and ends its half. Running requests are still answered.
            cx.terminate(self.lifecycle, None, None);
            return None;
        }
        Some(SessionEvent::Lost(None))
    }
}

impl Sessions {
    pub(super) fn new(exit: BindingId, options: &Options) -> Self {
        Self {
            exit,
            timeout: Duration::from_millis(options.timeout),
            idle_timeout: Duration::from_millis(options.session_timeout.max(1)),
            max: options.max_sessions,
            max_bytes: options.max_session_bytes,
            all: Slab::new(),
            by_id: BTreeMap::new(),
            begun: 0,
            expired: 0,
            replayable: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn report(&self, meter: &mut dyn Meter) {
        meter.gauge("mcp.server.sessions", self.all.len());
        meter.gauge("mcp.server.sessions.replayable.bytes", self.replayable);
        meter.counter("mcp.server.sessions.begun", self.begun);
        meter.counter("mcp.server.sessions.expired", self.expired);
    }

    /// Keys of the current sessions; handling one may remove it.
    pub(super) fn keys(&self) -> Vec<usize> {
        self.all.iter().map(|(key, _)| key).collect()
    }

    fn get(&self, key: usize) -> Option<&Session> {
        let session = self.all.get(key);
        debug_assert!(session.is_some(), "no session {key}");
        session
    }

    fn get_mut(&mut self, key: usize) -> Option<&mut Session> {
        let session = self.all.get_mut(key);
        debug_assert!(session.is_some(), "no session {key}");
        session
    }

    /// Requests a session from the exit. `sink` waits for it.
    pub(super) fn open(
        &mut self,
        cx: &mut Context<'_>,
        (sink, id): (Sink, Id),
        requested: Requested,
        address: impl FnOnce() -> ByteString,
    ) -> Result<usize, Refusal> {
        if self.all.len() >= self.max {
            let what = format!("Session limit reached ({}); end a session first.", self.max);
            return Err(Refusal::unavailable(what));
        }
        let session_id = session_id::mint(cx);
        let entry = self.all.vacant_entry();
        let (key, token) = (entry.key(), Key::Session(entry.key()).token());
        let begin = McpLifecycle {
            session_id: None,
            capabilities: requested.capabilities,
        };
        let opened = cx.open_for(deadline::within(cx, self.timeout), self.exit, begin, token);
        let lifecycle = opened.map_err(Refusal::no_room)?;
        let within = self.timeout + SLACK;
        entry.insert(Session {
            id: session_id.clone(),
            version: requested.version,
            client: requested.client,
            capabilities: requested.capabilities,
            level: None,
            logs: false,
            lifecycle,
            begun: false,
            identity: None,
            address: if cx.hears::<SessionBegun>() {
                address()
            } else {
                ByteString::new()
            },
            owner: cx.identity().cloned(),
            line: match sink {
                Sink::Line(line) => Some(line),
                _ => None,
            },
            initializing: Some((sink, id)),
            events: None,
            running: Running::new(),
            subscribed: Subscribed::default(),
            updates: Updates::default(),
            asked: Vec::new(),
            replay: Replay::default(),
            timer: Some(cx.timer(within, token, 0, "mcp_server.initialize")),
        });
        self.by_id.insert(session_id, key);
        Ok(key)
    }

    /// Whether a session belongs to a caller, who may come with other rights.
    pub(super) fn identify(&mut self, key: usize, caller: Option<&Arc<Identity>>) -> Claimed {
        let Some(session) = self.get_mut(key) else {
            return Claimed::Other;
        };
        match (&session.owner, caller) {
            (None, None) => Claimed::Same,
            (Some(owner), Some(caller)) if owner.is_same_subject(caller) => {
                let same = owner.has_same_rights(caller);
                session.owner = Some(Arc::clone(caller));
                if same {
                    Claimed::Same
                } else {
                    Claimed::OtherRights
                }
            }
            _ => Claimed::Other,
        }
    }

    /// The session with a public id, whoever owns it.
    pub(super) fn find(&self, id: &str) -> Option<usize> {
        self.by_id.get(id).copied()
    }

    /// The public id.
    pub(super) fn id(&self, key: usize) -> Option<&ByteString> {
        self.get(key).map(|session| &session.id)
    }

    /// Its client.
    pub(super) fn client(&self, key: usize) -> Option<Client> {
        self.get(key).map(|session| session.client.clone())
    }

    /// The exit's id of the session.
    pub(super) fn identity(&self, key: usize) -> Option<ByteString> {
        self.get(key)?.identity.clone()
    }

    /// What its client can be asked for.
    pub(super) fn capabilities(&self, key: usize) -> McpCapabilities {
        self.get(key)
            .map_or(McpCapabilities::NONE, |session| session.capabilities)
    }

    /// Whether the exit has log messages.
    pub(super) fn has_logs(&self, key: usize) -> bool {
        self.get(key).is_some_and(|session| session.logs)
    }

    /// The least severe log messages that its client wants, if it has said so.
    pub(super) fn level(&self, key: usize) -> Option<McpLogLevel> {
        self.get(key)?.level
    }

    /// Sets the least severe log messages that its client wants.
    pub(super) fn set_level(&mut self, key: usize, level: McpLogLevel) {
        if let Some(session) = self.get_mut(key) {
            session.level = Some(level);
        }
    }

    /// Whether the session supports batches: only one revision does.
    pub(super) fn takes_batches(&self, key: usize) -> bool {
        self.get(key)
            .is_some_and(|session| session.version == BATCHING)
    }

    /// Restarts the idle time of a session.
    pub(super) fn touch(&mut self, cx: &mut Context<'_>, key: usize) {
        let after = self.idle_timeout;
        let Some(session) = self.get_mut(key) else {
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

    pub(super) fn on_frame(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        frame: Frame,
    ) -> Option<SessionEvent> {
        let session = self.get_mut(key)?;
        match frame {
            Frame::Begin(begin) => match begin.into_inner() {
                BeginEx::Mcp(McpBeginEx::Lifecycle(lifecycle)) => self.begin(cx, key, lifecycle),
                _ => None,
            },
            Frame::Flush(flush) => {
                let FlushEx::Mcp(flush) = *flush else {
                    return None;
                };
                session.updates.note_list(List::changed(&flush)?);
                Some(SessionEvent::Changed)
            }
            Frame::Challenge(challenge) => {
                let ChallengeEx::Mcp(challenge) = *challenge;
                session.challenged(cx, challenge)
            }
            Frame::Reset(reset) => match reset.map(|reset| *reset) {
                Some(ResetEx::Mcp(reset)) => session.lose(cx, Some(reset)),
                _ => session.lose(cx, None),
            },
            Frame::Abort(_) | Frame::End(_) => session.lose(cx, None),
            Frame::Data(_) | Frame::Window(_) => None,
        }
    }

    fn begin(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        begun: McpLifecycle,
    ) -> Option<SessionEvent> {
        let session = self.get_mut(key)?;
        session.begun = true;
        let logging = McpCapabilities::SERVER_LOGGING;
        session.logs = begun.capabilities.contains(logging);
        session.identity = begun.session_id;
        if let Some(timer) = session.timer.take() {
            cx.cancel(timer);
        }
        let (sink, id) = session.initializing.take()?;
        let (session_id, version) = (session.id.clone(), session.version);
        let address = std::mem::take(&mut session.address);
        cx.event_with(|_| SessionBegun {
            session: shown(&session.id),
            version: ByteString::from_static(version),
            client: session.client.name.clone(),
            client_version: session.client.version.clone(),
            address,
        });
        self.begun += 1;
        self.touch(cx, key);
        Some(SessionEvent::Begun(Begun {
            sink,
            id,
            session_id,
            version,
            capabilities: begun.capabilities,
        }))
    }

    pub(super) fn on_timer(&mut self, cx: &mut Context<'_>, key: usize) -> Option<SessionEvent> {
        let timeout = self.timeout;
        let session = self.get_mut(key)?;
        session.timer = None;
        if let Some((sink, id)) = session.initializing.take() {
            let message = format!("No response within {} ms.", timeout.as_millis());
            let reset = McpReset::new(McpResetKind::TimedOut, message);
            return Some(SessionEvent::Refused(sink, id, reset));
        }
        if session.is_idle() {
            return Some(SessionEvent::Expired);
        }
        self.touch(cx, key);
        None
    }

    /// Whether `sink` waits for the session to begin.
    pub(super) fn is_awaited_by(&self, key: usize, sink: Sink) -> bool {
        let initializing = self.get(key).and_then(|it| it.initializing.as_ref());
        initializing.is_some_and(|(waiting, _)| *waiting == sink)
    }

    /// Whether a session has no running or waiting request.
    pub(super) fn is_idle(&self, key: usize) -> bool {
        self.get(key)
            .is_some_and(|session| session.is_idle() && session.initializing.is_none())
    }
}

/// End of a session.
impl Sessions {
    /// Begins the end of a session. Ends the stream to the exit, unless the exit has ended it.
    pub(super) fn end_lifecycle(&mut self, cx: &mut Context<'_>, key: usize, by: EndedBy) {
        let Some(session) = self.get(key) else {
            return;
        };
        if by.in_order() {
            cx.end(session.lifecycle, Frame::end());
        }
        if !session.begun {
            return;
        }
        let (name, client) = (shown(&session.id), session.client.name.clone());
        // Whatever ends it, the event is about its owner.
        let handler = cx.call().clone();
        let mut call = cx.call_of(session.lifecycle).cloned();
        if let Some(call) = &mut call {
            call.identity.clone_from(&session.owner);
        }
        cx.work_with(call.unwrap_or_else(|| handler.clone()));
        match by {
            EndedBy::Time => {
                self.expired += 1;
                cx.event(&SessionExpired {
                    session: name,
                    client,
                    idle: self.idle_timeout.as_millis(),
                });
            }
            by => cx.event(&SessionEnded {
                session: name,
                client,
                by: ByteString::from_static(by.word()),
            }),
        }
        cx.work_with(handler);
    }

    /// Removes and returns its subscriptions.
    pub(super) fn take_subscriptions(&mut self, key: usize) -> Vec<usize> {
        self.get_mut(key)
            .map_or_else(Vec::new, |session| session.subscribed.take().collect())
    }

    /// Removes a session, if it exists.
    pub(super) fn remove(&mut self, cx: &mut Context<'_>, key: usize) -> Option<Ended> {
        let mut session = self.all.try_remove(key)?;
        debug_assert_eq!(
            session.subscribed.len(),
            0,
            "its subscriptions have been removed"
        );
        self.by_id.remove(&session.id);
        self.replayable = self.replayable.saturating_sub(session.replay.clear());
        cx.terminate(session.lifecycle, None, None);
        if let Some(timer) = session.timer.take() {
            cx.cancel(timer);
        }
        Some(Ended {
            events: session.events,
            line: session.line,
            requests: session.running.iter().collect(),
            asked: session.asked.iter().map(|(_, id)| *id).collect(),
        })
    }

    /// Whether the session exists: it may have ended with its last response.
    pub(super) fn contains(&self, key: usize) -> bool {
        self.all.contains(key)
    }

    /// The line of the session has ended.
    pub(super) fn detach_line(&mut self, key: usize) {
        if let Some(session) = self.get_mut(key) {
            session.line = None;
        }
    }
}

/// Running requests of a session.
impl Sessions {
    /// Checks that one more request may run and that its id is not in use.
    pub(super) fn check_room(&self, key: usize, id: &Id) -> Result<(), Refusal> {
        self.get(key)
            .map_or(Ok(()), |session| session.running.check_room(id))
    }

    pub(super) fn register(&mut self, key: usize, id: Id, request: usize) {
        if let Some(session) = self.get_mut(key) {
            session.running.insert(id, request);
        }
    }

    pub(super) fn unregister(&mut self, key: usize, id: &Id) {
        if let Some(session) = self.get_mut(key) {
            session.running.remove(id);
        }
    }

    /// The running request with an id.
    pub(super) fn request(&self, key: usize, id: &Id) -> Option<usize> {
        self.get(key)?.running.get(id)
    }
}

#[cfg(test)]
mod tests;
