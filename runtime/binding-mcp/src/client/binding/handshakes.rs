//! From a connection without anything to one that is ready for requests.

use tidegate_engine::{Context, Duration};
use tidegate_json::Document;
use tidegate_streams::line::LineBegin;
use tidegate_streams::mcp::{McpReset, McpResetKind};

use super::{About, Exit, McpClient, link_timer};
use crate::client::call::State;
use crate::client::events::{ServerFound, ServerUnavailable, SessionReopened};
use crate::client::handshake::{
    Discovered, Server, discover, discovered, initialize, initialized, not_discovered,
};
use crate::client::http::Mirrored;
use crate::client::key::Key;
use crate::client::link::{Line, Phase};
use crate::client::options::EraChoice;
use crate::client::refusal::{busy, lost, unavailable};
use crate::jsonrpc::{Era, Error, Method};

impl McpClient {
    /// Begins the handshake of a connection, unless it has begun.
    pub(super) fn open_link(&mut self, cx: &mut Context<'_>, key: usize) {
        let known = self.known.as_ref().filter(|(_, until)| cx.now() < *until);
        let known = known.map(|(server, _)| server.clone());
        let Some(link) = self.links.get_mut(key) else {
            return;
        };
        if link.phase != Phase::Closed {
            return;
        }
        if let Exit::Mqtt(_) = self.exit {
            return self.open_mqtt_link(cx, key);
        }
        if let (Exit::Line(exit), true) = (self.exit, link.line.is_none()) {
            if let Some((wait, reason)) = self.backoff.wait(cx.now()) {
                let seconds = wait.as_micros().div_ceil(1_000_000);
                let what = format!(
                    "The MCP server was ended: {reason}. It is started again in {seconds} s at the earliest."
                );
                return self.refuse_link(cx, key, &unavailable(what));
            }
            let (token, context) = (Key::Link(key).token(), cx.call().shared());
            if let Ok(stream) = cx.open_for(context, exit, LineBegin {}, token) {
                link.line = Some(Line::new(stream));
            } else {
                let reset = busy("Stream limit reached; retry later.");
                return self.link_failed(cx, key, &reset);
            }
        }
        match (self.options.era, known) {
            (EraChoice::Auto | EraChoice::Modern, Some(server)) if server.era == Era::Modern => {
                self.link_ready(cx, key, server);
            }
            (EraChoice::Legacy, _) | (EraChoice::Auto, Some(_)) => self.initialize(cx, key),
            (EraChoice::Auto | EraChoice::Modern, _) => self.discover(cx, key),
        }
    }

    fn discover(&mut self, cx: &mut Context<'_>, key: usize) {
        let probes = matches!(self.exit, Exit::Line(_)) && self.options.era == EraChoice::Auto;
        let within = if probes {
            self.options.probe_timeout.get()
        } else {
            self.options.handshake_timeout.get()
        };
        self.begin_phase(cx, key, Phase::Discovering, within);
        let mirrored = Mirrored {
            method: Method::Discover.name(),
            ..Mirrored::default()
        };
        let context = cx.call().shared();
        let sent = self.request(cx, key, About::Discover, Some(&mirrored), context, discover);
        self.handshake_sent(cx, key, sent);
    }

    fn initialize(&mut self, cx: &mut Context<'_>, key: usize) {
        let within = self.options.handshake_timeout.get();
        self.begin_phase(cx, key, Phase::Initializing, within);
        let Some(link) = self.links.get_mut(key) else {
            return;
        };
        link.session = None;
        link.log_level = None;
        let client = link.client;
        let context = cx.call().shared();
        let message = |id| initialize(id, client);
        let sent = self.request(cx, key, About::Initialize, None, context, message);
        self.handshake_sent(cx, key, sent);
    }

    pub(super) fn begin_phase(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        phase: Phase,
        within: u64,
    ) {
        if let Some(link) = self.links.get_mut(key) {
            link.cancel_timer(cx);
            link.phase = phase;
            let (after, token) = (Duration::from_millis(within), Key::Link(key).token());
            let kind = link_timer::HANDSHAKE;
            link.timer = Some(cx.timer(after, token, kind, "mcp_client.handshake"));
        }
    }

    fn handshake_sent(&mut self, cx: &mut Context<'_>, key: usize, sent: Result<u64, McpReset>) {
        match sent {
            Ok(id) => {
                if let Some(link) = self.links.get_mut(key) {
                    link.handshake = Some(id);
                }
            }
            Err(reset) => self.link_failed(cx, key, &reset),
        }
    }

    /// The server has not answered the handshake in time.
    pub(super) fn handshake_expired(&mut self, cx: &mut Context<'_>, key: usize) {
        let Some(link) = self.links.get_mut(key) else {
            return;
        };
        link.timer = None;
        let (phase, request) = (link.phase, link.handshake.take());
        let probes = matches!(self.exit, Exit::Line(_)) && self.options.era == EraChoice::Auto;
        if phase == Phase::Discovering && probes {
            // A legacy process may be silent about a method that it does not know. One that only starts slowly
            // answers later, and may then accept no session any more.
            link.probe = request;
            return self.initialize(cx, key);
        }
        if let Some(request) = request {
            self.cancel_request(cx, request);
        }
        let millis = self.options.handshake_timeout.get();
        let what = format!("The MCP server did not answer within {millis} ms (handshakeTimeout).");
        let reset = McpReset::new(McpResetKind::TimedOut, what);
        self.link_failed(cx, key, &reset);
    }

    /// The answer to `server/discover`.
    pub(super) fn discover_answered(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        answer: Result<&Document, &Error>,
    ) {
        let found = match answer {
            Ok(result) => discovered(result),
            Err(error) => not_discovered(error),
        };
        if self.links.get(key).is_some_and(|link| link.probe.is_some()) {
            return self.discovered_late(cx, key, found);
        }
        self.end_handshake(key);
        match (found, self.options.era) {
            (Discovered::Modern(server), _) => {
                self.found(cx, &server);
                self.link_ready(cx, key, server);
            }
            (Discovered::Again, _) => self.discover_again(cx, key),
            (Discovered::Legacy, EraChoice::Modern) => {
                let what = "The MCP server does not support 2026-07-28; set 'era' to auto.";
                self.link_failed(cx, key, &unavailable(what));
            }
            (Discovered::Legacy, _) => self.initialize(cx, key),
            (Discovered::Unsupported(versions), _) => {
                let what = format!(
                    "The MCP server supports no protocol version that the gateway does: {versions}."
                );
                self.link_failed(cx, key, &unavailable(what));
            }
        }
    }

    /// The server refuses the version of `server/discover`, and says that it supports it: it is asked once more
    /// (2026-07-28, Versioning, Protocol Version Negotiation).
    fn discover_again(&mut self, cx: &mut Context<'_>, key: usize) {
        let Some(link) = self.links.get_mut(key) else {
            return;
        };
        if std::mem::replace(&mut link.discovers_again, true) {
            let what = "The MCP server refuses the protocol version 2026-07-28, which it says it supports.";
            return self.link_failed(cx, key, &unavailable(what));
        }
        self.discover(cx, key);
    }

    /// The answer to `server/discover` has come after a session was asked for.
    fn discovered_late(&mut self, cx: &mut Context<'_>, key: usize, found: Discovered) {
        let Some(link) = self.links.get_mut(key) else {
            return;
        };
        link.probe = None;
        if let (Discovered::Modern(server), Phase::Initializing) = (found, link.phase) {
            // The answer to `initialize`, probably a refusal, does not matter any more.
            if let Some(initialize) = link.handshake.take() {
                self.requests.remove(&initialize);
            }
            self.found(cx, &server);
            self.link_ready(cx, key, server);
        }
    }

    /// There is no answer to `server/discover`, for a reason that says nothing about the era unless
    /// `may_be_legacy`.
    pub(super) fn discover_failed(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        may_be_legacy: bool,
        reset: &McpReset,
    ) {
        self.end_handshake(key);
        if may_be_legacy && self.options.era == EraChoice::Auto {
            self.initialize(cx, key);
        } else {
            self.link_failed(cx, key, reset);
        }
    }

    /// The answer to `initialize`. `session`: the session that it begins, over HTTP.
    pub(super) fn initialize_answered(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        answer: Result<&Document, &Error>,
        session: Option<::http::HeaderValue>,
    ) {
        self.end_handshake(key);
        let server = match answer {
            Ok(result) => initialized(result).map_err(|why| format!("MCP server unusable: {why}.")),
            Err(error) => {
                self.known = None;
                let message = crate::shown::shown(error.message());
                Err(format!("The MCP server refuses a session: {message}"))
            }
        };
        match server {
            Ok(server) => {
                self.counts.sessions += 1;
                self.found(cx, &server);
                if let Some(link) = self.links.get_mut(key) {
                    link.session = session;
                    // What follows is sent in the session.
                    link.phase = Phase::Ready;
                    link.server = Some(server.clone());
                }
                self.notify(cx, key, "notifications/initialized", b"{}");
                self.link_ready(cx, key, server);
            }
            Err(what) => self.link_failed(cx, key, &unavailable(what)),
        }
    }

    fn end_handshake(&mut self, key: usize) {
        if let Some(link) = self.links.get_mut(key) {
            link.handshake = None;
        }
    }

    /// Remembers what was found out about the server.
    pub(super) fn found(&mut self, cx: &mut Context<'_>, server: &Server) {
        let same = self.known.as_ref().is_some_and(|(known, _)| {
            (known.era, known.version, &known.name) == (server.era, server.version, &server.name)
        });
        if !same {
            cx.event(&ServerFound {
                server: server.name.clone(),
                era: match server.era {
                    Era::Modern => "modern".into(),
                    Era::Legacy => "legacy".into(),
                },
                version: server.version.into(),
            });
        }
        let fresh = match server.era {
            // The capabilities may change, and are asked for again.
            Era::Modern => Duration::from_millis(server.ttl.max(1)),
            Era::Legacy => Duration::from_secs(3_600),
        };
        self.known = Some((server.clone(), cx.now() + fresh));
    }

    /// Sends what waits for the connection.
    pub(super) fn link_ready(&mut self, cx: &mut Context<'_>, key: usize, server: Server) {
        let Some(link) = self.links.get_mut(key) else {
            return;
        };
        link.cancel_timer(cx);
        link.phase = Phase::Ready;
        link.discovers_again = false;
        link.server = Some(server);
        if link.line.is_some() {
            self.backoff.ready(cx.now());
        }
        for call in self.calls_of(key) {
            match self.calls.get(call).map(|call| call.state) {
                Some(State::Waiting) => self.dispatch(cx, call),
                Some(State::Open) => self.subscribe_again(cx, call),
                _ => {}
            }
        }
        self.release_link(cx, key);
    }

    /// Requests a subscription again, in a session that was begun again.
    fn subscribe_again(&mut self, cx: &mut Context<'_>, key: usize) {
        let is_session = self.calls.get(key).is_none_or(|call| call.method.is_none());
        if is_session {
            if let Some(call) = self.calls.get(key) {
                self.want_listening(cx, call.link);
            }
        } else if let Err(reset) = self.subscribe(cx, key, About::Again(key)) {
            self.refuse_call(cx, key, reset);
        }
    }

    /// The connection could not be made: refuses what waits for it, and ends the process, which may answer
    /// when it is started again.
    pub(super) fn link_failed(&mut self, cx: &mut Context<'_>, key: usize, reset: &McpReset) {
        if reset.kind != McpResetKind::Busy {
            cx.event(&ServerUnavailable {
                reason: reset.message.clone(),
            });
        }
        self.refuse_link(cx, key, reset);
    }

    /// Refuses what waits for a connection that cannot be made now.
    pub(super) fn refuse_link(&mut self, cx: &mut Context<'_>, key: usize, reset: &McpReset) {
        let Some(link) = self.links.get_mut(key) else {
            return;
        };
        link.cancel_timer(cx);
        link.phase = Phase::Closed;
        link.session = None;
        link.handshake = None;
        link.discovers_again = false;
        if let Some(probe) = link.probe.take() {
            self.requests.remove(&probe);
        }
        if let Some(line) = link.line.take() {
            self.backoff.failed(cx.now(), &reset.message);
            cx.terminate(line.stream, None, None);
        }
        for call in self.calls_of(key) {
            self.refuse_call(cx, call, reset.clone());
        }
        self.close_link(cx, key);
    }

    /// The server does not know the session of a request any more.
    pub(super) fn session_expired(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        about: About,
        session: Option<&::http::HeaderValue>,
    ) {
        let Some(link) = self.links.get_mut(key) else {
            return;
        };
        let is_current = link.session.as_ref() == session && link.phase == Phase::Ready;
        if is_current {
            self.counts.reopened += 1;
            cx.event(&SessionReopened {});
            self.stop_listening(cx, key);
            if let Some(link) = self.links.get_mut(key) {
                link.phase = Phase::Closed;
                link.session = None;
            }
        }
        let (About::Call(call_key) | About::Again(call_key) | About::Tools(call_key)) = about
        else {
            return;
        };
        let Some(call) = self.calls.get_mut(call_key) else {
            return;
        };
        call.request = None;
        if call.repeated || about == About::Again(call_key) {
            let what = "The session with the MCP server has expired, and the new one too.";
            self.refuse_call(cx, call_key, unavailable(what));
            return self.end_session_of(cx, key);
        }
        call.repeated = true;
        call.state = State::Waiting;
        self.prepare(cx, call_key);
    }

    /// Ends the session of the caller, which is to begin a new one.
    fn end_session_of(&mut self, cx: &mut Context<'_>, key: usize) {
        for call in self.calls_of(key) {
            let is_session = self
                .calls
                .get(call)
                .is_some_and(|call| call.method.is_none());
            if is_session {
                self.refuse_call(cx, call, lost());
            }
        }
    }
}
