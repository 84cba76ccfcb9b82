//! What a request asks of its client, from the challenge of the exit to the answer.
//!
//! A legacy client is asked on the channel of the request, which goes on. A modern client gets what
//! is asked as the result `input_required` (`parked`).

use bytes::Bytes;
use tidegate_engine::{Context, Duration, Time};
use tidegate_json::{Document, Limits, Parts};
use tidegate_streams::mcp::{
    CHALLENGES_MAX, McpBeginEx, McpCapabilities, McpChallenge, McpResponse, capability_to_ask,
};

use super::repeat::Round;
use super::{RequestEvent, Requests};
use crate::jsonrpc::Era;
use crate::server::challenge;
use crate::server::deadline::SLACK;
use crate::server::errors::Refusal;
use crate::server::key::Key;
use crate::server::sink::Sink;

/// Kind of the timer of a request that waits for its client.
pub(super) const INPUT: u32 = 1;
/// Kind of the timer that ends the turn in which challenges are collected.
pub(super) const COLLECT: u32 = 2;

/// What a request needs to ask its client, and what it has asked.
#[derive(Debug)]
pub(super) struct Asking {
    /// What the client can be asked for.
    pub(super) capabilities: McpCapabilities,
    /// The operation, to ask for it again.
    pub(super) begin: McpBeginEx,
    /// Its `params`.
    pub(super) params: Parts,
    /// What is not answered.
    pub(super) open: Vec<Open>,
    /// The secret of a parked request.
    pub(super) parked: Option<u64>,
    /// When the client must have answered: since it was asked first, however often it is asked again.
    pub(super) expires: Option<Time>,
    /// The input that the operation ended with, for a legacy client.
    pub(super) round: Option<Round>,
    /// Number of times that the operation has ended with it.
    pub(super) rounds: usize,
}

/// Something the client is asked for.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) challenge: McpChallenge,
    /// Id of the request to a legacy client, once it is sent.
    pub(super) asked: Option<u64>,
}

impl Asking {
    pub(super) const fn new(
        capabilities: McpCapabilities,
        begin: McpBeginEx,
        params: Parts,
    ) -> Self {
        Self {
            capabilities,
            begin,
            params,
            open: Vec::new(),
            parked: None,
            expires: None,
            round: None,
            rounds: 0,
        }
    }

    /// Checks that the client can be asked; else returns why not.
    pub(super) fn check(&self, challenge: &McpChallenge) -> Result<(), &'static str> {
        if self.open.len() >= CHALLENGES_MAX {
            return Err("too many requests to the client are open");
        }
        let needed = capability_to_ask(&challenge.method, has_mode_url(&challenge.params));
        let needed = needed.ok_or("servers do not ask clients for this")?;
        if !self.capabilities.contains(needed) {
            return Err("the client has not declared this capability");
        }
        Ok(())
    }

    /// Adds what the client is asked for.
    pub(super) fn push(&mut self, challenge: McpChallenge) {
        self.open.push(Open {
            challenge,
            asked: None,
        });
    }

    /// Removes and returns what was asked with an id of the exit.
    pub(super) fn remove(&mut self, id: u64) -> Option<Open> {
        let at = self.open.iter().position(|open| open.challenge.id == id)?;
        Some(self.open.remove(at))
    }
}

/// Whether an elicitation has the mode `url`.
fn has_mode_url(params: &Bytes) -> bool {
    if params.is_empty() {
        return false;
    }
    let params = Document::parse(Parts::from(params.clone()), Limits::default());
    params.is_ok_and(|params| {
        let mode = params.root().get("mode").ok().flatten();
        mode.is_some_and(|mode| mode.is("url"))
    })
}

/// Challenges of the exit.
impl Requests {
    /// The exit asks the client for something, or no longer waits for it.
    pub(super) fn challenged(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        challenge: McpChallenge,
    ) -> Option<RequestEvent> {
        if challenge.cancelled {
            return self.withdrawn(cx, key, challenge.id);
        }
        let request = self.get_mut(key)?;
        let (stream, streaming) = (request.stream, request.streaming);
        let Some(asking) = &mut request.asking else {
            let why = "the client has not declared this capability";
            let answer = challenge::unsupported(challenge.id, &challenge.method, why);
            challenge::answer(cx, stream, answer);
            return None;
        };
        let checked = match request.era {
            Era::Modern if streaming => Err("its result has begun"),
            _ => asking.check(&challenge),
        };
        if let Err(why) = checked {
            let answer = challenge::unsupported(challenge.id, &challenge.method, why);
            challenge::answer(cx, stream, answer);
            return None;
        }
        // While it is parked, its client is asked when it comes back.
        let first = asking.open.is_empty() && asking.parked.is_none();
        let id = challenge.id;
        asking.push(challenge);
        match request.era {
            Era::Legacy => {
                self.wait_for_client(cx, key);
                Some(RequestEvent::Ask(vec![id]))
            }
            Era::Modern => {
                if first {
                    // What is asked for in the same turn is asked for together.
                    self.set_timer(cx, key, Duration::from_millis(0), COLLECT);
                }
                None
            }
        }
    }

    /// The exit no longer waits for an answer.
    fn withdrawn(&mut self, cx: &mut Context<'_>, key: usize, id: u64) -> Option<RequestEvent> {
        let request = self.get_mut(key)?;
        let asking = request.asking.as_mut()?;
        let open = asking.remove(id)?;
        let done = asking.open.is_empty() && asking.parked.is_none();
        if done {
            self.continue_with_deadline(cx, key);
        }
        open.asked.map(RequestEvent::Withdrawn)
    }

    /// A request to the legacy client was sent, with this id.
    pub(in crate::server) fn asked(&mut self, key: usize, challenge: u64, id: u64) {
        let asking = self.get_mut(key).and_then(|it| it.asking.as_mut());
        if let Some(asking) = asking {
            let mut open = asking.open.iter_mut();
            if let Some(open) = open.find(|open| open.challenge.id == challenge) {
                open.asked = Some(id);
            }
        }
    }

    /// What the client is asked for with an id of the exit.
    pub(in crate::server) fn challenge(&self, key: usize, id: u64) -> Option<&McpChallenge> {
        let asking = self.all.get(key)?.asking.as_ref()?;
        let mut open = asking.open.iter();
        open.find(|open| open.challenge.id == id)
            .map(|open| &open.challenge)
    }

    /// Where a legacy client can be asked: the channel of the request, if it can carry a request, and
    /// the session.
    pub(in crate::server) fn channel(&self, key: usize) -> Option<(Sink, usize)> {
        let request = self.all.get(key)?;
        let sink = match request.sink {
            Sink::Http(_) if request.streaming || !request.notifications.takes_events() => {
                Sink::Nowhere
            }
            Sink::Batch(_) => Sink::Nowhere,
            sink => sink,
        };
        Some((sink, request.session?))
    }

    /// The client has answered, or cannot be asked.
    pub(in crate::server) fn answered(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        mut response: McpResponse,
    ) -> Option<RequestEvent> {
        let timeout = self.timeout.as_millis();
        let request = self.get_mut(key)?;
        let asking = request.asking.as_mut()?;
        let open = asking.remove(response.id)?;
        if asking.round.is_some() {
            return self.input(cx, key, &open.challenge, response);
        }
        let done = asking.open.is_empty();
        response.timeout = timeout;
        challenge::answer(cx, request.stream, response);
        if done {
            self.continue_with_deadline(cx, key);
        }
        None
    }

    /// The client has not answered in time: the exit is told.
    pub(super) fn input_expired(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
    ) -> Option<RequestEvent> {
        let (waited, timeout) = (self.input_timeout, self.timeout.as_millis());
        let request = self.get_mut(key)?;
        request.timer = None;
        cx.work_for(request.stream);
        let stream = request.stream;
        let asking = request.asking.as_mut()?;
        let was_parked = asking.parked.take().map(|_| asking.params.len());
        let open = std::mem::take(&mut asking.open);
        if asking.round.take().is_some() {
            self.withdrawn.extend(open.iter().filter_map(|it| it.asked));
            let refusal = Refusal::input_expired(waited.as_millis());
            return self.fail(cx, key, refusal);
        }
        if let Some(length) = was_parked {
            self.unparked(length);
        }
        for open in &open {
            let mut answer = challenge::expired(open.challenge.id, waited);
            answer.timeout = timeout;
            challenge::answer(cx, stream, answer);
        }
        self.withdrawn.extend(open.iter().filter_map(|it| it.asked));
        self.continue_with_deadline(cx, key);
        None
    }

    /// The request waits for its client, without a deadline.
    pub(super) fn wait_for_client(&mut self, cx: &mut Context<'_>, key: usize) {
        self.set_timer(cx, key, self.input_timeout, INPUT);
    }

    /// The request waits for the exit again.
    pub(super) fn continue_with_deadline(&mut self, cx: &mut Context<'_>, key: usize) {
        if let Some(asking) = self.get_mut(key).and_then(|it| it.asking.as_mut()) {
            asking.expires = None;
        }
        self.set_timer(cx, key, self.timeout + SLACK, 0);
    }

    pub(super) fn set_timer(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        after: Duration,
        kind: u32,
    ) {
        let Some(request) = self.get_mut(key) else {
            return;
        };
        if let Some(timer) = request.timer.take() {
            cx.cancel(timer);
        }
        let reason = match kind {
            INPUT => "mcp_server.input",
            COLLECT => "mcp_server.collect",
            _ => "mcp_server.request",
        };
        request.timer = Some(cx.timer(after, Key::Request(key).token(), kind, reason));
    }
}
