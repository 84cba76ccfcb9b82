//! The messages of the server.

use bytes::Bytes;
use tidegate_engine::{Context, Duration};
use tidegate_json::Parts;
use tidegate_streams::mcp::{McpChallenge, McpLog};
use tidegate_streams::{FlushEx, Frame};

use super::frames::parse;
use super::{About, McpClient};
use crate::client::call::{Call, State};
use crate::client::events::MessageInvalid;
use crate::client::link::Owner;
use crate::client::notifications::{self, Notification, Told};
use crate::client::post::Purpose;
use crate::client::refusal::unavailable;
use crate::jsonrpc::{Error, Id, Message, Method, Outcome, Params, code};
use crate::shown::shown;

/// Time without further reports of invalid messages.
const QUIET: Duration = Duration::from_secs(10);
/// Most invalid messages of a process in that time.
const INVALID_MAX: u32 = 1_000;

/// How the id of a response names the request that it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    /// It does.
    Always,
    /// It does, or the response answers the request that it was received for.
    Perhaps,
    /// It is that of the request that the response was received for, unless the server could not read it.
    Itself,
}

impl McpClient {
    /// Handles a message. `via`: the HTTP request in whose response it is.
    pub(super) fn message(
        &mut self,
        cx: &mut Context<'_>,
        link: usize,
        via: Option<usize>,
        message: Parts,
    ) {
        let carrier = via.and_then(|post| self.posts.get(post));
        let of_request = match carrier.map(|post| post.purpose) {
            Some(Purpose::Request(id)) => Some(id),
            _ => None,
        };
        // A server that could not read a request does not know its id.
        let failed = carrier
            .and_then(super::super::post::Post::status)
            .is_some_and(|status| !status.is_success());
        let names = if failed {
            Names::Perhaps
        } else {
            Names::Always
        };
        self.read_message(cx, link, via, of_request, names, message);
    }

    /// Handles a message that belongs to a request, or to none. `names`: whether its id does.
    pub(super) fn read_message(
        &mut self,
        cx: &mut Context<'_>,
        link: usize,
        via: Option<usize>,
        of_request: Option<u64>,
        names: Names,
        message: Parts,
    ) {
        match parse(message) {
            Ok(Message::Response { id, outcome }) => {
                let number = id.as_ref().and_then(number_of);
                let id = match number {
                    _ if names == Names::Itself && id.is_some() && number != of_request => None,
                    Some(number) if self.requests.contains_key(&number) => Some(number),
                    _ if names != Names::Always => of_request,
                    _ => None,
                };
                match id.filter(|id| self.requests.get(id).is_some_and(|it| it.link == link)) {
                    Some(id) => self.answered(cx, id, via, &outcome),
                    // The answer of a request that was cancelled is not worth a report.
                    None if number.is_some_and(|number| number <= self.last_id) => {}
                    None => self.invalid(cx, link, "response to no request"),
                }
            }
            Ok(Message::Notification { method, params }) => {
                self.counts.notifications += 1;
                let told = notifications::read(&method, params);
                self.notification(cx, link, of_request, told);
            }
            Ok(Message::Request { .. }) if names == Names::Itself => {
                self.invalid(
                    cx,
                    link,
                    "request of a server over MQTT, which must not send any",
                );
            }
            Ok(Message::Request { id, method, params }) => {
                self.question(cx, link, of_request, &id, &method, params);
            }
            Err((_, error)) => {
                let reason = shown(error.message()).to_string();
                self.invalid(cx, link, reason.trim_end_matches('.'));
            }
        }
    }

    /// Reports an invalid message, at a bounded rate. A process that sends too many of them is ended.
    pub(super) fn invalid(&mut self, cx: &mut Context<'_>, key: usize, reason: &str) {
        self.counts.invalid += 1;
        let Some(link) = self.links.get_mut(key) else {
            return;
        };
        if cx.now() >= link.quiet_until {
            link.quiet_until = cx.now() + QUIET;
            link.invalid = 0;
            cx.event(&MessageInvalid {
                reason: reason.into(),
            });
        }
        link.invalid += 1;
        if link.invalid > INVALID_MAX && link.line.is_some() {
            let what = "The program writes no MCP messages to its standard output, and was ended.";
            self.end_process(cx, key, &unavailable(what));
        }
    }

    fn notification(
        &mut self,
        cx: &mut Context<'_>,
        link: usize,
        of_request: Option<u64>,
        told: Told,
    ) {
        if let Some(link) = self.links.get_mut(link) {
            link.listening.failures = 0;
        }
        match told.notification {
            Notification::Progress(token, progress) => {
                self.flush_call(cx, link, Some(token), |call| call.progress, progress.into());
            }
            Notification::Log(log) => self.log(cx, link, of_request, log),
            Notification::ListChanged(change) => self.list_changed(cx, link, &change),
            Notification::Updated(uri) => {
                let subscription = told.subscription.or(of_request);
                let by_request = subscription.and_then(|id| self.requests.get(&id));
                match by_request.map(|it| (it.link == link, it.about)) {
                    Some((true, About::Call(call) | About::Again(call))) => {
                        self.update(cx, call, uri);
                    }
                    _ => self.updated(cx, link, &uri),
                }
            }
            Notification::Acknowledged { resources } => {
                let id = told.subscription.or(of_request);
                if let Some(id) = id {
                    self.acknowledged(cx, link, id, resources);
                }
            }
            Notification::Other => {}
        }
    }

    /// Passes a notice on to the operation of a request.
    fn flush_call(
        &mut self,
        cx: &mut Context<'_>,
        link: usize,
        request: Option<u64>,
        wants: impl FnOnce(&Call) -> bool,
        flush: FlushEx,
    ) {
        let request = request.and_then(|id| self.requests.get(&id));
        let request = request.filter(|request| request.link == link);
        if let Some(About::Call(call)) = request.map(|request| request.about)
            && let Some(call) = self.calls.get_mut(call)
            && call.awaits_result()
            && wants(call)
        {
            call.begin_reply(cx);
            cx.send(call.accepted, Frame::Flush(Box::new(flush)));
        }
    }

    /// Passes a log message on to the operation that it is about. A message of a process names none: it is
    /// passed on if a single operation is running, whose caller is anonymous, and left out otherwise,
    /// because it could be about the operation of another caller.
    fn log(&mut self, cx: &mut Context<'_>, link: usize, of_request: Option<u64>, log: McpLog) {
        if of_request.is_some() {
            return self.flush_call(cx, link, of_request, |_| true, log.into());
        }
        let Some(owner) = self.links.get(link).map(|link| &link.owner) else {
            return;
        };
        if !matches!(owner, Owner::Everybody) {
            return;
        }
        let calls = self.calls_of(link).into_iter();
        let mut running = calls.filter(|key| {
            let call = self.calls.get(*key);
            call.is_some_and(|call| call.state == State::Running)
        });
        if let (Some(only), None) = (running.next(), running.next())
            && let Some(call) = self.calls.get_mut(only)
            && call.awaits_result()
        {
            let context = cx.call_of(call.accepted);
            if context.is_some_and(|context| context.identity.is_none()) {
                call.begin_reply(cx);
                cx.send(call.accepted, Frame::flush(log));
            }
        }
    }

    /// Tells the sessions of a connection that a list has changed.
    pub(super) fn list_changed(&mut self, cx: &mut Context<'_>, link: usize, change: &FlushEx) {
        for key in self.calls_of(link) {
            if let Some(call) = self.calls.get(key)
                && call.method.is_none()
                && call.state == State::Open
                && cx.is_sending(call.accepted)
            {
                cx.send(call.accepted, Frame::Flush(Box::new(change.clone())));
            }
        }
    }

    /// Tells the subscribers of a resource, or of what it is a part of, that it has changed.
    fn updated(&mut self, cx: &mut Context<'_>, link: usize, uri: &str) {
        let mut told = Vec::new();
        for key in self.calls_of(link) {
            let Some(call) = self.calls.get_mut(key) else {
                continue;
            };
            if call.method == Some(Method::ResourcesSubscribe)
                && let Some(of) = call.subject()
                && uri.starts_with(&*of)
            {
                told.push((key, of.len() == uri.len()));
            }
        }
        // The resource itself, if anybody subscribed to it; else what it is a part of.
        let exact = told.iter().any(|(_, exact)| *exact);
        for (key, _) in told.into_iter().filter(|(_, is)| *is || !exact) {
            self.update(cx, key, uri.into());
        }
    }

    fn update(&mut self, cx: &mut Context<'_>, key: usize, uri: bytestring::ByteString) {
        if let Some(call) = self.calls.get(key)
            && call.state == State::Open
            && cx.is_sending(call.accepted)
        {
            let flush = notifications::updated(uri);
            cx.send(call.accepted, Frame::Flush(Box::new(flush)));
        }
    }

    /// A request of the server: a question to a caller, or a ping.
    fn question(
        &mut self,
        cx: &mut Context<'_>,
        link: usize,
        of_request: Option<u64>,
        id: &Id,
        method: &str,
        params: Params,
    ) {
        if method == Method::Ping.name() {
            let empty = Bytes::from_static(b"{}");
            return self.send_answer(cx, link, id, b"result", empty);
        }
        let request = of_request.and_then(|id| self.requests.get(&id));
        let about = request.map(|request| request.about);
        let asked = match about {
            Some(About::Call(call)) => Some(call),
            _ => self.asked_on(link),
        };
        let call = asked.and_then(|key| self.calls.get_mut(key));
        let question = call.map(|call| {
            let question = call.ask(id.clone());
            if question.is_some() && call.method.is_some() {
                // The caller takes its time; its answer states the new deadline.
                call.cancel_timer(cx);
            }
            (question, call.accepted)
        });
        match question {
            Some((Some(question), accepted)) => {
                let (params, _) = params.into_payload();
                cx.send(
                    accepted,
                    Frame::challenge(McpChallenge {
                        id: question,
                        method: method.into(),
                        params: params.contiguous(),
                        cancelled: false,
                    }),
                );
            }
            Some((None, _)) => {
                let what = "Too many requests wait for an answer of the client.";
                let error = Error::new(code::INTERNAL_ERROR, what);
                self.send_error(cx, link, id, &error);
            }
            None => {
                let what = format!("Method not found: '{}'.", shown(method));
                let error = Error::new(code::METHOD_NOT_FOUND, what);
                self.send_error(cx, link, id, &error);
            }
        }
    }

    /// Who is asked a question that belongs to no request: the session of the caller, or, of a caller without one, its
    /// only running operation.
    fn asked_on(&self, link: usize) -> Option<usize> {
        let of = self.links.get(link)?;
        let among = |is: fn(&Call) -> bool| {
            let calls = of.calls.iter().copied();
            calls.filter(move |key| self.calls.get(*key).is_some_and(is))
        };
        match of.owner {
            Owner::Session(_) => among(|call| call.method.is_none()).next(),
            Owner::Caller(_) => {
                let mut running = among(Call::awaits_result);
                running.next().filter(|_| running.next().is_none())
            }
            Owner::Everybody => None,
        }
    }

    /// The server has answered a request.
    fn answered(&mut self, cx: &mut Context<'_>, id: u64, via: Option<usize>, outcome: &Outcome) {
        let Some(request) = self.requests.remove(&id) else {
            return;
        };
        let begun = via.and_then(|post| self.posts.get_mut(post)?.begun.take());
        if let Some(post) = request.post {
            self.settle_post(cx, post, via);
        }
        let answer = match outcome {
            Outcome::Result(document) => Ok(document),
            Outcome::Error(error) => Err(error),
        };
        match request.about {
            About::Discover => self.discover_answered(cx, request.link, answer),
            About::Initialize => self.initialize_answered(cx, request.link, answer, begun),
            About::Call(call) => self.call_answered(cx, call, answer),
            About::Again(call) => self.subscribed_again(cx, call, answer),
            About::Lists => self.listening_ended(cx, request.link, answer.is_err(), None),
            About::Tools(call) => self.tools_answered(cx, call, answer),
        }
    }
}

/// The number of an id of our own.
fn number_of(id: &Id) -> Option<u64> {
    std::str::from_utf8(id.text()).ok()?.parse().ok()
}
