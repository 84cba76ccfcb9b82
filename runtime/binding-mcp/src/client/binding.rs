//! The binding: the operations of callers, the connections with the server, and the HTTP requests.

mod calls;
mod continuing;
mod frames;
mod handshakes;
mod links;
mod listening;
mod messages;
mod outcomes;
mod presence;
mod publishing;
mod sending;
mod tool_lists;

use std::collections::BTreeMap;

use bytestring::ByteString;
use slab::Slab;
use tidegate_engine::{At, Binding, BindingId, Context, Meter, StreamId, Time, Token};
use tidegate_streams::mcp::{McpCapabilities, McpReset};
use tidegate_streams::{BeginEx, Frame, ResetEx};

use super::backoff::Backoff;
use super::call::Call;
use super::handshake::Server;
use super::key::Key;
use super::known_tools::KnownTools;
use super::link::Link;
use super::mqtt::{Sent, Wire};
use super::options::Options;
use super::post::Post;

/// Where the server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Behind http streams: `http · client`.
    Http(BindingId),
    /// At the end of a line stream: `stdio · client`.
    Line(BindingId),
    /// Behind a broker: `mqtt · client`.
    Mqtt(BindingId),
}

/// Timers of a [`Key::Call`].
mod call_timer {
    /// A list comes without params.
    pub(super) const PARAMS: u32 = 0;
    /// The deadline of the operation.
    pub(super) const DEADLINE: u32 = 1;
}

/// Timers of a [`Key::Link`].
mod link_timer {
    /// The server does not answer the handshake.
    pub(super) const HANDSHAKE: u32 = 0;
    /// No call has used the session.
    pub(super) const IDLE: u32 = 1;
    /// The stream of messages is opened.
    pub(super) const LISTEN: u32 = 2;
}

/// Timers of a [`Key::Post`].
mod post_timer {
    /// Its end is not waited for any longer.
    pub(super) const END: u32 = 0;
    /// Its stream of events is continued.
    pub(super) const CONTINUE: u32 = 1;
}

/// Timers of [`Key::Wire`].
pub(super) mod wire_timer {
    /// The subscription is opened again.
    pub(in crate::client) const SUBSCRIBE: u32 = 0;
    /// There is no retained message about the server.
    pub(in crate::client) const RETAINED: u32 = 1;
    /// The server, which has said that it is away, did not say anything else.
    pub(in crate::client) const ABSENT: u32 = 2;
    /// Subscriptions are renewed.
    pub(in crate::client) const RENEW: u32 = 3;
}

/// A JSON-RPC request that the server has not answered.
#[derive(Debug)]
struct Request {
    link: usize,
    about: About,
    /// The HTTP request that carries it, over HTTP.
    post: Option<usize>,
    /// The message, over MQTT.
    sent: Option<Box<Sent>>,
}

/// What a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum About {
    Discover,
    Initialize,
    /// An operation of a caller; a subscription of the modern era keeps its request open.
    Call(usize),
    /// The subscription of a caller, in a session that was begun again.
    Again(usize),
    /// `subscriptions/listen` for changed lists.
    Lists,
    /// The list of tools, for a call whose headers the server misses.
    Tools(usize),
}

/// State of an `mcp · client`.
pub struct McpClient {
    exit: Exit,
    options: Options,
    /// The path of the endpoint.
    path: ByteString,
    calls: Slab<Call>,
    links: Slab<Link>,
    posts: Slab<Post>,
    requests: BTreeMap<u64, Request>,
    /// The connections of callers' sessions, by their identity on the callers' hop.
    by_session: BTreeMap<ByteString, usize>,
    /// The connections that calls without a session share, by guard and subject of the caller.
    by_caller: BTreeMap<(Option<(ByteString, ByteString)>, McpCapabilities), usize>,
    /// What was found out about the server, and until when it is fresh.
    known: Option<(Server, Time)>,
    /// What lists have told about tools.
    tools: KnownTools,
    last_id: u64,
    /// What all requests share over MQTT.
    wire: Option<Box<Wire>>,
    /// When a process may be started again.
    backoff: Backoff,
    counts: Counts,
}

/// Counters since the start.
#[derive(Debug, Default)]
struct Counts {
    answered: u64,
    failed: u64,
    sessions: u64,
    reopened: u64,
    invalid: u64,
    notifications: u64,
}

impl McpClient {
    /// Creates a client of the server behind `exit`.
    pub fn new(options: Options, exit: Exit) -> Self {
        let max = options.max_message_size.size();
        let over_mqtt = matches!(exit, Exit::Mqtt(_));
        Self {
            exit,
            wire: over_mqtt.then(|| Box::new(Wire::new(&options.mqtt, max))),
            path: options.path.as_str().into(),
            options,
            calls: Slab::new(),
            links: Slab::new(),
            posts: Slab::new(),
            requests: BTreeMap::new(),
            by_session: BTreeMap::new(),
            by_caller: BTreeMap::new(),
            known: None,
            tools: KnownTools::new(),
            last_id: 0,
            backoff: Backoff::new(),
            counts: Counts {
                answered: 0,
                failed: 0,
                sessions: 0,
                reopened: 0,
                invalid: 0,
                notifications: 0,
            },
        }
    }

    fn message_max(&self) -> usize {
        self.options.max_message_size.size()
    }
}

fn refuse(cx: &mut Context<'_>, stream: StreamId, reset: McpReset) {
    cx.terminate(stream, Some(ResetEx::Mcp(reset)), None);
}

impl Binding for McpClient {
    fn exchanges(&self) -> usize {
        let publications = self.wire.as_ref().map_or(0, |it| it.publications.len());
        self.calls.len() + self.links.len() + self.posts.len() + self.requests.len() + publications
    }

    fn on_start(&mut self, cx: &mut Context<'_>) {
        self.open_wire(cx);
    }

    fn report(&self, meter: &mut dyn Meter) {
        meter.gauge("mcp.client.operations", self.calls.len());
        let sessions = self.links.iter();
        let open = sessions.filter(|(_, link)| link.session.is_some() || link.line.is_some());
        meter.gauge("mcp.client.sessions", open.count());
        meter.counter("mcp.client.sessions.begun", self.counts.sessions);
        meter.counter("mcp.client.sessions.reopened", self.counts.reopened);
        meter.counter("mcp.client.requests.answered", self.counts.answered);
        meter.counter("mcp.client.requests.failed", self.counts.failed);
        meter.counter("mcp.client.messages.invalid", self.counts.invalid);
        meter.counter("mcp.client.notifications", self.counts.notifications);
    }

    fn on_begin(&mut self, cx: &mut Context<'_>, stream: StreamId, begin: BeginEx) {
        if let BeginEx::Mcp(begin) = begin
            && let Err(reset) = self.accept(cx, stream, begin)
        {
            refuse(cx, stream, reset);
        }
    }

    fn on_frame(&mut self, cx: &mut Context<'_>, at: At, frame: Frame) {
        match Key::of(at.token) {
            Key::Call(key) => self.call_frame(cx, key, frame),
            Key::Post(key) => self.post_frame(cx, key, at.stream, frame),
            Key::Link(key) => self.line_frame(cx, key, at.stream, frame),
            Key::Publication(key) => self.publication_frame(cx, key, at.stream, frame),
            Key::Wire => self.wire_frame(cx, at.stream, frame),
        }
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, token: Token, kind: u32) {
        match (Key::of(token), kind) {
            (Key::Call(key), call_timer::PARAMS) => self.no_params(cx, key),
            (Key::Call(key), _) => self.call_expired(cx, key),
            (Key::Link(key), link_timer::HANDSHAKE) => self.handshake_expired(cx, key),
            (Key::Link(key), link_timer::LISTEN) => self.listen(cx, key),
            (Key::Link(key), _) => self.link_idle(cx, key),
            (Key::Post(key), post_timer::CONTINUE) => self.continue_now(cx, key),
            (Key::Post(key), _) => self.post_lost(cx, key, super::refusal::lost()),
            (Key::Publication(_), _) => {}
            (Key::Wire, kind) => self.wire_due(cx, kind),
        }
    }

    /// Ends what would stay open: sessions, subscriptions, and the processes that nobody uses.
    fn on_shutdown(&mut self, cx: &mut Context<'_>) {
        for (_, call) in &self.calls {
            if call.state == super::call::State::Open {
                cx.end(call.accepted, Frame::end());
            }
        }
        let unused = self.links.iter().filter(|(_, link)| link.calls.is_empty());
        let unused: Vec<usize> = unused.map(|(key, _)| key).collect();
        for key in unused {
            self.close_link(cx, key);
        }
        self.close_wire_if_stopped(cx);
    }

    fn on_fault(&mut self, cx: &mut Context<'_>, token: Token) {
        match Key::of(token) {
            Key::Call(key) => self.remove_call(cx, key),
            Key::Post(key) => self.post_lost(cx, key, super::refusal::lost()),
            Key::Link(key) => self.line_lost(cx, key, &super::refusal::lost()),
            Key::Publication(key) => self.publication_lost(cx, key, None),
            Key::Wire => self.wire_lost(cx, "an internal error in tidegate".to_owned()),
        }
    }
}
