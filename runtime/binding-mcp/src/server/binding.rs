//! The binding: dispatches frames and timers to its parts, and acts on the events that they return.
//!
//! The parts have private state and do not call each other: they return events, which are matched
//! here. No function of the binding is re-entered through other functions. A session that ends with
//! the last response on its line would cause that, so it is ended after the handler has returned
//! (`sessions_to_end`).
//!
//! Client side: [`Exchanges`], [`Lines`], [`Batches`]. Exit side: [`Requests`], [`Subscriptions`],
//! [`Discovery`]. Longer-lived than a request: [`Sessions`], [`Listens`].
//!
//! - `messages`: messages of clients, up to the method;
//! - `methods`: the methods;
//! - `refusals`: messages that are refused before they are processed;
//! - `outcomes`: results and events from the exit;
//! - `elsewhere`: requests that another worker answers;
//! - `ends`: disconnected clients and ended sessions;
//! - `answers`: responses to the client;
//! - `inputs`: requests of the exit to the client;
//! - `resume`: event streams that clients resume.

mod answers;
mod elsewhere;
mod ends;
mod inputs;
mod messages;
mod methods;
mod outcomes;
mod refusals;
mod resume;

use tidegate_engine::{At, Binding, BindingId, Context, Meter, StreamId, Token};
use tidegate_streams::http_stream::HttpBeginEx;
use tidegate_streams::{BeginEx, Frame};

use super::batch::Batches;
use super::discovery::Discovery;
use super::errors::Refusal;
use super::expiry::EXPIRY;
use super::forward::{self, Forwards};
use super::http::{Exchanges, POLL};
use super::inputs::Inputs;
use super::key::Key;
use super::limits::Limits;
use super::line::Lines;
use super::listen::Listens;
use super::options::Options;
use super::refused::Refused;
use super::request::Requests;
use super::session::{EndedBy, Sessions};
use super::session_id;
use super::sink::{Owner, Sink};
use super::subscription::Subscriptions;

/// State of an `mcp · server`.
pub struct McpServer {
    instructions: Option<String>,
    http: Exchanges,
    lines: Lines,
    batches: Batches,
    requests: Requests,
    subscriptions: Subscriptions,
    discovery: Discovery,
    sessions: Sessions,
    listens: Listens,
    inputs: Inputs,
    forwards: Forwards,
    limits: Limits,
    /// Sessions whose line has ended in the running handler. They are ended after it.
    sessions_to_end: Vec<usize>,
    /// Number of messages refused before they were processed.
    refused_messages: Refused,
}

impl McpServer {
    /// Creates a server that opens its operations towards `exit`.
    pub fn new(options: Options, exit: BindingId) -> Self {
        Self {
            http: Exchanges::new(&options),
            lines: Lines::new(&options),
            batches: Batches::default(),
            requests: Requests::new(exit, &options),
            subscriptions: Subscriptions::new(exit, &options),
            discovery: Discovery::new(exit, &options),
            sessions: Sessions::new(exit, &options),
            listens: Listens::new(exit, &options),
            inputs: Inputs::default(),
            forwards: Forwards::default(),
            limits: Limits::new(&options),
            sessions_to_end: Vec::new(),
            refused_messages: Refused::default(),
            instructions: options.instructions,
        }
    }
}

impl Binding for McpServer {
    fn exchanges(&self) -> usize {
        self.http.len()
            + self.lines.len()
            + self.batches.len()
            + self.requests.len()
            + self.sessions.len()
            + self.listens.len()
            + self.inputs.len()
            + self.forwards.len()
            + self.subscriptions.len()
    }

    fn report(&self, meter: &mut dyn Meter) {
        meter.gauge("mcp.server.lines", self.lines.len());
        meter.gauge("mcp.server.batches", self.batches.len());
        meter.gauge("mcp.server.listens", self.listens.len());
        meter.gauge("mcp.server.inputs", self.inputs.len());
        meter.counter("mcp.server.requests.limited", self.limits.refused());
        self.refused_messages.report(meter);
        self.requests.report(meter);
        self.subscriptions.report(meter);
        self.sessions.report(meter);
    }

    fn on_begin(&mut self, cx: &mut Context<'_>, stream: StreamId, begin: BeginEx) {
        match begin {
            BeginEx::Http(HttpBeginEx::Request(head)) => {
                // A stopping worker answers by itself: the owner may have stopped already.
                // If a worker has forwarded the request, only that decides: a second opinion could
                // send it back.
                let owner = forward::target(&head.headers)
                    .or_else(|| session_id::owner_elsewhere(cx, &head.headers));
                if !cx.stopping()
                    && let Some(worker) = owner.filter(|worker| *worker != cx.worker())
                    && cx.hand_over(stream, HttpBeginEx::Request(head.clone()).into(), worker)
                {
                    return;
                }
                self.http.accept(cx, stream, head);
            }
            BeginEx::Line(_) if cx.stopping() => cx.terminate(stream, None, None),
            BeginEx::Line(_) => self.lines.accept(cx, stream),
            _ => {}
        }
    }

    fn on_frame(&mut self, cx: &mut Context<'_>, at: At, frame: Frame) {
        match Key::of(at.token) {
            Key::Http(key) => self.http_frame(cx, key, frame),
            Key::Line(key) => self.line_frame(cx, key, frame),
            Key::Request(key) => {
                let event = self.requests.on_frame(cx, key, frame);
                self.request_event(cx, key, event);
            }
            Key::Session(key) => {
                let event = self.sessions.on_frame(cx, key, frame);
                self.session_event(cx, key, event);
            }
            Key::Subscription(key) => {
                let event = self.subscriptions.on_frame(cx, key, frame);
                self.subscription_event(cx, event);
            }
            Key::Capabilities(key) => {
                let event = self.discovery.on_frame(cx, key, frame);
                self.capabilities_event(cx, event);
            }
            Key::Listen(key) => {
                let event = self.listens.on_frame(cx, key, frame);
                self.listen_event(cx, key, event);
            }
            Key::Forward(key) => {
                let event = self.forwards.on_frame(cx, key, frame);
                self.forward_event(cx, key, event);
            }
            Key::Batch(_) => debug_assert!(false, "a batch has no stream"),
        }
        self.end_handler(cx);
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, token: Token, kind: u32) {
        match Key::of(token) {
            Key::Http(key) if kind == EXPIRY => self.http_expired(cx, key),
            Key::Http(key) if kind == POLL => self.poll(cx, key),
            Key::Http(key) => self.http.on_timer(cx, key),
            Key::Batch(key) => {
                // Its client may have disconnected; it is still that client's batch.
                cx.work_with(self.batches.call(key));
                self.serve_step(cx, key);
            }
            Key::Request(key) => {
                let event = self.requests.on_timer(cx, key, kind);
                self.request_event(cx, key, event);
            }
            Key::Session(key) => {
                let event = self.sessions.on_timer(cx, key);
                self.session_event(cx, key, event);
            }
            Key::Subscription(key) => {
                let event = self.subscriptions.on_timer(cx, key);
                self.subscription_event(cx, event);
            }
            Key::Capabilities(key) => {
                let event = self.discovery.on_timer(cx, key);
                self.capabilities_event(cx, event);
            }
            Key::Listen(key) => {
                let event = self.listens.on_timer(cx, key);
                self.listen_event(cx, key, event);
            }
            Key::Line(key) => self.line_expired(cx, key),
            Key::Forward(_) => debug_assert!(false, "a forwarded request has no timer"),
        }
        self.end_handler(cx);
    }

    fn on_fault(&mut self, cx: &mut Context<'_>, token: Token) {
        match Key::of(token) {
            Key::Http(key) => match self.http.abort(cx, key) {
                Some(Owner::Batch(batch)) => self.cut_batch_short(cx, batch),
                Some(owner) => self.http_disconnected(cx, key, owner),
                None => {}
            },
            Key::Line(key) => {
                for batch in self.batches.of(Sink::Line(key)) {
                    self.cut_batch_short(cx, batch);
                }
                if let Some(left) = self.lines.abort(cx, key) {
                    self.line_disconnected(cx, key, left);
                }
            }
            Key::Batch(key) => {
                let done = self.batches.cut_short(cx, key);
                self.batch_done(cx, done);
            }
            Key::Request(key) => self.fail_request(cx, key),
            Key::Session(key) => self.end_session(cx, key, EndedBy::Exit),
            Key::Subscription(key) => {
                let event = self.subscriptions.lose(cx, key, None);
                self.subscription_event(cx, event);
            }
            Key::Capabilities(key) => {
                let event = self.discovery.lose(cx, key, None);
                self.capabilities_event(cx, event);
            }
            Key::Listen(key) => self.fail_listen(cx, key, &Refusal::internal()),
            Key::Forward(key) => self.forwards.close(cx, key),
        }
        self.end_handler(cx);
    }

    fn on_shutdown(&mut self, cx: &mut Context<'_>) {
        // Nobody can repeat a parked request any more.
        for key in self.requests.parked() {
            drop(self.requests.cancel(cx, key));
        }
        for key in self.listens.keys() {
            self.end_listen(cx, key);
        }
        for key in self.sessions.keys() {
            self.stop_session(cx, key);
        }
        for key in self.lines.keys() {
            let ended = self.lines.end_if_done(cx, key);
            self.line_ended(ended);
        }
        self.end_handler(cx);
    }
}

#[cfg(test)]
mod tests;
