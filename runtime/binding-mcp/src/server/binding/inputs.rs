//! Asks clients for what the exit wants of them: sampling, elicitation, roots.

use bytes::{Bytes, BytesMut};
use tidegate_engine::Context;
use tidegate_json::{Kind, Parts};
use tidegate_streams::mcp::{McpAnswer, McpChallenge, McpResponse};

use super::McpServer;
use crate::jsonrpc::{Error, Id, Method, Outcome, Params, begin_notification, code, request};
use crate::server::challenge;
use crate::server::errors::Refusal;
use crate::server::inputs::Asker;
use crate::server::request::Continuation;
use crate::server::seal::Bound;
use crate::server::sink::{Sink, UNSENT_MAX};
use crate::server::source::Source;

impl McpServer {
    /// The exit asks the legacy client of a request.
    pub(super) fn ask(&mut self, cx: &mut Context<'_>, key: usize, challenges: Vec<u64>) {
        for challenge in challenges {
            self.ask_client(cx, key, challenge);
        }
    }

    fn ask_client(&mut self, cx: &mut Context<'_>, key: usize, challenge: u64) {
        // The first of several may have ended the request.
        let Some(asked) = self.requests.challenge(key, challenge) else {
            return;
        };
        let asked = asked.clone();
        let channel = self.requests.channel(key);
        let channel =
            channel.and_then(|(sink, session)| self.channel(cx, Some(key), sink, session));
        let Some((sink, session)) = channel else {
            let why = "there is no event stream to the client";
            let response = challenge::unsupported(challenge, &asked.method, why);
            let event = self.requests.answered(cx, key, response);
            return self.request_event(cx, key, event);
        };
        let id = self.inputs.open(Asker::Request(key), challenge, session);
        self.requests.asked(key, challenge, id);
        self.notify(cx, sink, message(id, &asked));
    }

    /// The channel of a request, or the event stream of its session, if the client reads it.
    fn channel(
        &mut self,
        cx: &mut Context<'_>,
        request: Option<usize>,
        sink: Sink,
        session: usize,
    ) -> Option<(Sink, usize)> {
        if !self.sessions.contains(session) {
            return None;
        }
        let own = sink != Sink::Nowhere;
        let sink = if own {
            sink
        } else {
            self.sessions.sink(session)
        };
        if sink == Sink::Nowhere || self.waiting(sink) > UNSENT_MAX {
            return None;
        }
        if let (Sink::Http(http), Some(key), true) = (sink, request, own) {
            self.begin_request_events(cx, http, key);
        }
        Some((sink, session))
    }

    /// The exit asks the client of a session, outside of a request.
    pub(super) fn ask_session(
        &mut self,
        cx: &mut Context<'_>,
        session: usize,
        asked: &McpChallenge,
    ) {
        let Some((sink, _)) = self.channel(cx, None, Sink::Nowhere, session) else {
            let why = "there is no event stream to the client";
            let response = challenge::unsupported(asked.id, &asked.method, why);
            return self.sessions.answer(cx, session, response);
        };
        let id = self.inputs.open(Asker::Session(session), asked.id, session);
        self.sessions.asked(session, asked.id, id);
        self.notify(cx, sink, message(id, asked));
    }

    /// A client responds to a request of a server. A response to anything else is ignored.
    pub(super) fn client_answered(
        &mut self,
        cx: &mut Context<'_>,
        source: &Source<'_>,
        id: Option<&Id>,
        outcome: Outcome,
    ) {
        let Some((session, id)) = source.session.zip(id) else {
            return;
        };
        if !self.sessions.contains(session) {
            return;
        }
        self.sessions.touch(cx, session);
        let Some(asked) = self.inputs.answered(id, session) else {
            return;
        };
        let (answer, content) = answer(outcome);
        let response = McpResponse {
            id: asked.challenge,
            answer,
            content,
            timeout: 0,
        };
        match asked.asker {
            Asker::Request(key) => {
                let event = self.requests.answered(cx, key, response);
                self.request_event(cx, key, event);
            }
            Asker::Session(session) => self.sessions.answer(cx, session, response),
        }
    }

    /// Tells clients which requests are not waited for any more.
    pub(super) fn withdraw_inputs(&mut self, cx: &mut Context<'_>) {
        for id in self.requests.take_withdrawn() {
            self.withdraw_input(cx, id);
        }
    }

    /// Tells a client that its response to a request is not waited for any more.
    pub(super) fn withdraw_input(&mut self, cx: &mut Context<'_>, id: u64) {
        let Some(asked) = self.inputs.remove(id) else {
            return;
        };
        let session = asked.session;
        if !self.sessions.contains(session) {
            return;
        }
        let channel = match asked.asker {
            Asker::Request(key) => self.requests.channel(key),
            Asker::Session(_) => None,
        };
        let sink = match channel {
            Some((sink, of)) if of == session && sink != Sink::Nowhere => sink,
            _ => self.sessions.sink(session),
        };
        if sink != Sink::Nowhere && self.waiting(sink) <= UNSENT_MAX {
            self.notify(cx, sink, cancelled(id));
        }
    }

    /// Whether a modern request continues one that is parked here, or claims to.
    pub(super) fn continues(&self, params: &Params) -> bool {
        let state = params.request_state().ok().flatten();
        let state = state.and_then(|state| state.string());
        state.is_some_and(|state| self.requests.is_ours(&state))
    }

    /// Continues a parked request that a modern client repeats.
    pub(super) fn continue_request(
        &mut self,
        cx: &mut Context<'_>,
        method: Method,
        (subject, params): (&str, &Params),
        state: &str,
        next: Continuation,
    ) -> Result<usize, Refusal> {
        let caller = cx.identity().cloned();
        let arguments = match params.get("arguments")? {
            Some(arguments) => arguments.bytes(),
            None => Bytes::new(),
        };
        let bound = Bound {
            caller: caller.as_deref(),
            method,
            subject,
            arguments: &arguments,
        };
        let key = self.requests.unseal(cx, &bound, state)?;
        let responses = params.get("inputResponses")?;
        self.requests.resume(cx, key, next, responses.as_ref())?;
        Ok(key)
    }
}

/// The answer of a client.
fn answer(outcome: Outcome) -> (McpAnswer, Bytes) {
    match outcome {
        Outcome::Result(result) if result.root().kind() == Kind::Object => {
            (McpAnswer::Result, result.root().bytes())
        }
        Outcome::Result(_) => {
            let what = "The client's result is not an object.";
            (
                McpAnswer::Error,
                written(&Error::new(code::INTERNAL_ERROR, what)),
            )
        }
        Outcome::Error(error) => (McpAnswer::Error, written(&error)),
    }
}

fn written(error: &Error) -> Bytes {
    let mut content = BytesMut::with_capacity(128);
    error.write(&mut content);
    content.freeze()
}

/// The request to a legacy client.
fn message(id: u64, asked: &McpChallenge) -> Bytes {
    let params = if asked.params.is_empty() {
        Bytes::from_static(b"{}")
    } else {
        asked.params.clone()
    };
    request(&Id::number(id), &asked.method, Parts::from(params)).contiguous()
}

/// The notification that a request to a client is not waited for any more.
fn cancelled(id: u64) -> Bytes {
    let mut out = begin_notification("notifications/cancelled");
    out.extend_from_slice(b"{\"requestId\":");
    out.extend_from_slice(Id::number(id).text());
    out.extend_from_slice(b"}}");
    out.freeze()
}
