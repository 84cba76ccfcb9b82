//! Parked requests: operations of modern clients that wait for input.
//!
//! The client has its result, `input_required`, and the operation goes on without a client until the
//! client repeats the request with `inputResponses` and the `requestState` that names it. The state is
//! valid once, for the same caller and the same operation. At the limits of parked requests the exit is
//! told that the client cannot be asked. A parked request still counts as running for its caller; the
//! one that continues it takes its place.

use bytes::{Bytes, BytesMut};
use tidegate_engine::Context;
use tidegate_json::write::{push_number, push_string};
use tidegate_json::{Document, Kind, Limits, Parts, Value};
use tidegate_streams::mcp::{McpAnswer, McpEnd, McpOutcome, McpResponse};

use super::asking::{Asking, COLLECT, INPUT, Open};
use super::{Closed, Request, RequestEvent, Requests};
use crate::jsonrpc::{Id, additions, begin_response};
use crate::server::calls::Call;
use crate::server::challenge;
use crate::server::errors::Refusal;
use crate::server::events::CallOutcome;
use crate::server::notifications::Notifications;
use crate::server::seal::{Bound, State};
use crate::server::sink::Sink;

/// Most parked requests of a worker.
const PARKED_MAX: usize = 1_000;
/// Maximum size of the `params` of all of them, in bytes.
pub(super) const PARKED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A request that continues a parked one.
#[derive(Debug)]
pub(in crate::server) struct Continuation {
    pub(in crate::server) sink: Sink,
    pub(in crate::server) id: Id,
    pub(in crate::server) notifications: Notifications,
    pub(in crate::server) call: Call,
}

impl Requests {
    /// Keys of the parked requests.
    pub(in crate::server) fn parked(&self) -> Vec<usize> {
        let parked = self.all.iter().filter(|(_, request)| request.is_parked());
        parked.map(|(key, _)| key).collect()
    }

    /// The challenges of the turn are collected: the client is told what is asked for.
    pub(super) fn park(&mut self, cx: &mut Context<'_>, key: usize) -> Option<RequestEvent> {
        let request = self.all.get_mut(key)?;
        request.timer = None;
        cx.work_for(request.stream);
        let length = request.asking.as_ref()?.params.len();
        if self.parked >= PARKED_MAX {
            self.ask_nobody(cx, key, "too many operations wait for their clients");
            return None;
        }
        if self.parked_bytes + length > PARKED_BYTES_MAX {
            let why = "the operations that wait for their clients are too large together";
            self.ask_nobody(cx, key, why);
            return None;
        }
        let secret = secret(cx);
        let latest = cx.now() + self.input_timeout;
        let expires = *request.asking.as_mut()?.expires.get_or_insert(latest);
        let state = State {
            request: u32::try_from(key).unwrap_or(u32::MAX),
            secret,
            expires,
        };
        let caller = cx.identity().cloned();
        let method = request.method;
        let asking = request.asking.as_mut()?;
        let subject = asking.subject();
        let arguments = asking.arguments();
        let bound = Bound {
            caller: caller.as_deref(),
            method,
            subject: &subject,
            arguments: &arguments,
        };
        let Some(state) = self.seal.seal(cx, &bound, state) else {
            self.ask_nobody(cx, key, "internal error of the gateway");
            return None;
        };
        asking.parked = Some(secret);
        let mut message = BytesMut::with_capacity(512);
        begin_response(&mut message, &request.id);
        message.extend_from_slice(b"{");
        write_requests(&mut message, &asking.open);
        message.extend_from_slice(b",\"requestState\":");
        push_string(&mut message, &state);
        message.extend_from_slice(b",");
        let end = McpEnd {
            outcome: McpOutcome::InputRequired,
            ..McpEnd::default()
        };
        additions(&mut message, method, &end);
        message.extend_from_slice(b"}}");
        let closed = Closed {
            sink: std::mem::replace(&mut request.sink, Sink::Nowhere),
            id: request.id.clone(),
            session: request.session,
            streaming: false,
            event_stream: 0,
        };
        let next = request.call.next(cx);
        let call = std::mem::replace(&mut request.call, next);
        let unacknowledged = std::mem::take(&mut request.unacknowledged);
        cx.acknowledge(request.stream, unacknowledged);
        self.parked += 1;
        self.parked_bytes += length;
        self.calls
            .complete(cx, call, CallOutcome::InputRequired, None);
        self.set_timer(cx, key, expires.since(cx.now()), INPUT);
        Some(RequestEvent::Answered(
            closed,
            Parts::from(message.freeze()),
        ))
    }

    /// A request with `params` of this length is not parked any more.
    pub(super) const fn unparked(&mut self, length: usize) {
        self.parked = self.parked.saturating_sub(1);
        self.parked_bytes = self.parked_bytes.saturating_sub(length);
    }

    /// The client cannot be asked: the exit is told.
    fn ask_nobody(&mut self, cx: &mut Context<'_>, key: usize, why: &str) {
        let timeout = self.timeout.as_millis();
        let Some(request) = self.get_mut(key) else {
            return;
        };
        let (stream, asking) = (request.stream, request.asking.as_mut());
        let open = asking.map_or_else(Vec::new, |asking| std::mem::take(&mut asking.open));
        for Open { challenge, .. } in open {
            let mut answer = challenge::unsupported(challenge.id, &challenge.method, why);
            answer.timeout = timeout;
            challenge::answer(cx, stream, answer);
        }
        self.continue_with_deadline(cx, key);
    }

    /// Whether a state was made by this worker; else it is the server's.
    pub(in crate::server) fn is_ours(&self, state: &str) -> bool {
        self.seal.is_ours(state)
    }

    /// The parked request that a state names, if it is valid for what the client asks for. Call
    /// [`Self::resume`].
    pub(in crate::server) fn unseal(
        &mut self,
        cx: &mut Context<'_>,
        bound: &Bound<'_>,
        state: &str,
    ) -> Result<usize, Refusal> {
        let state = self.seal.open(cx, bound, state);
        let state = state.ok_or_else(Refusal::invalid_state)?;
        let key = state.request as usize;
        let asking = self.all.get(key).and_then(|it| it.asking.as_ref());
        if asking.and_then(|asking| asking.parked) != Some(state.secret) {
            return Err(Refusal::used_state());
        }
        Ok(key)
    }

    /// Continues a parked request with the answers of its client. What has no answer is asked for again.
    pub(in crate::server) fn resume(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        next: Continuation,
        responses: Option<&Value<'_>>,
    ) -> Result<(), Refusal> {
        let timeout = self.timeout.as_millis();
        let Some(request) = self.all.get_mut(key) else {
            return Err(Refusal::internal());
        };
        let Some(asking) = &mut request.asking else {
            return Err(Refusal::internal());
        };
        let answers = answers(&asking.open, responses)?;
        if asking.parked.take().is_some() {
            self.parked = self.parked.saturating_sub(1);
            self.parked_bytes = self.parked_bytes.saturating_sub(asking.params.len());
        }
        asking.open.retain(|open| {
            let mut answered = answers.iter();
            !answered.any(|(id, _)| *id == open.challenge.id)
        });
        let missing = !asking.open.is_empty();
        request.sink = next.sink;
        request.id = next.id;
        request.notifications = next.notifications;
        let stream = request.stream;
        request.call = next.call;
        if let Some(call) = cx.call_of(stream) {
            // What the exit reports has the trace of the operation.
            request.call.set_context(call);
        }
        for (id, content) in answers {
            let response = McpResponse {
                id,
                answer: McpAnswer::Result,
                content,
                timeout,
            };
            challenge::answer(cx, stream, response);
        }
        if missing {
            self.set_timer(cx, key, tidegate_engine::Duration::from_millis(0), COLLECT);
        } else {
            self.continue_with_deadline(cx, key);
        }
        Ok(())
    }
}

impl Request {
    /// Whether it has no client until one repeats it.
    pub(super) fn is_parked(&self) -> bool {
        let asking = self.asking.as_ref();
        asking.is_some_and(|asking| asking.parked.is_some())
    }
}

impl Asking {
    /// Name or URI of the operation's subject.
    fn subject(&mut self) -> String {
        let subject = self.begin.subject_mut();
        subject.map_or_else(String::new, |subject| subject.to_string())
    }

    /// The `arguments` of the operation.
    fn arguments(&self) -> Bytes {
        let params = Document::parse(self.params.clone(), Limits::default());
        params.map_or_else(|_| Bytes::new(), |params| arguments_of(&params.root()))
    }
}

/// The `arguments` of an operation, as received.
fn arguments_of(params: &Value<'_>) -> Bytes {
    let arguments = params.get("arguments").ok().flatten();
    arguments.map_or_else(Bytes::new, |arguments| arguments.bytes())
}

/// The member `inputRequests` (2026-07-28). The exit's id of each is its key.
fn write_requests(out: &mut BytesMut, open: &[Open]) {
    out.extend_from_slice(b"\"inputRequests\":{");
    for (index, Open { challenge, .. }) in open.iter().enumerate() {
        out.extend_from_slice(if index > 0 { b",\"" } else { b"\"" });
        push_number(out, challenge.id);
        out.extend_from_slice(b"\":{\"method\":");
        push_string(out, &challenge.method);
        if !challenge.params.is_empty() {
            out.extend_from_slice(b",\"params\":");
            out.extend_from_slice(&challenge.params);
        }
        out.extend_from_slice(b"}");
    }
    out.extend_from_slice(b"}");
}

/// The answers among the `inputResponses`, by the exit's id. Others are ignored.
fn answers(open: &[Open], responses: Option<&Value<'_>>) -> Result<Vec<(u64, Bytes)>, Refusal> {
    let Some(responses) = responses else {
        return Ok(Vec::new());
    };
    let invalid = |what: &str| Refusal::invalid_params(format!("params.inputResponses {what}."));
    if responses.kind() != Kind::Object {
        return Err(invalid("must be an object"));
    }
    let mut answers = Vec::with_capacity(open.len());
    for Open { challenge, .. } in open {
        let response = responses.get(&challenge.id.to_string());
        let response = response.map_err(|_| invalid("has a duplicate member"))?;
        let Some(response) = response else { continue };
        if response.kind() != Kind::Object {
            return Err(invalid("must contain objects"));
        }
        answers.push((challenge.id, response.bytes()));
    }
    Ok(answers)
}

fn secret(cx: &mut Context<'_>) -> u64 {
    let mut bytes = [0; 8];
    cx.random(&mut bytes);
    u64::from_be_bytes(bytes)
}
