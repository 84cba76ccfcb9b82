//! The binding: what is under way, and which part of it a frame is for.

use std::collections::BTreeMap;

use bytes::BytesMut;
use bytestring::ByteString;
use slab::Slab;
use tidegate_engine::{At, Binding, BindingId, Context, StreamId, Token};
use tidegate_streams::http_stream::HttpBeginEx;
use tidegate_streams::{BeginEx, Frame};

use super::batch::Batch;
use super::capabilities::Capabilities;
use super::http::HttpExchange;
use super::line::Line;
use super::listen::Listen;
use super::options::Options;
use super::request::Request;
use super::session::Session;
use super::subscription::Subscription;

/// The binding.
pub struct McpServer {
    pub(super) options: Options,
    pub(super) exit: BindingId,
    pub(super) http: Slab<HttpExchange>,
    pub(super) lines: Slab<Line>,
    pub(super) batches: Slab<Batch>,
    pub(super) requests: Slab<Request>,
    pub(super) sessions: Slab<Session>,
    /// Sessions by the id that clients know.
    pub(super) session_keys: BTreeMap<ByteString, usize>,
    pub(super) listens: Slab<Listen>,
    pub(super) subscriptions: Slab<Subscription>,
    /// Bytes of the URIs of all subscriptions.
    pub(super) subscribed: usize,
    /// Bytes of the results that are held until they are whole.
    pub(super) held: usize,
    pub(super) capabilities: Capabilities,
    /// Where envelopes are written.
    pub(super) text: BytesMut,
}

/// What a token is the key of. Its number stands in the token's upper four bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Http(usize),
    Line(usize),
    Request(usize),
    Session(usize),
    Subscription(usize),
    Listen(usize),
    Batch(usize),
    Capabilities,
}

const SHIFT: u32 = 28;

impl Key {
    pub(super) fn token(self) -> Token {
        let (kind, index) = match self {
            Self::Http(index) => (0, index),
            Self::Line(index) => (1, index),
            Self::Request(index) => (2, index),
            Self::Session(index) => (3, index),
            Self::Subscription(index) => (4, index),
            Self::Listen(index) => (5, index),
            Self::Batch(index) => (6, index),
            Self::Capabilities => (7, 0),
        };
        // A worker has far fewer streams than 2^28.
        Token(kind << SHIFT | u32::try_from(index).unwrap_or(u32::MAX) & ((1 << SHIFT) - 1))
    }

    fn of(token: Token) -> Self {
        let index = (token.0 & ((1 << SHIFT) - 1)) as usize;
        match token.0 >> SHIFT {
            0 => Self::Http(index),
            1 => Self::Line(index),
            2 => Self::Request(index),
            3 => Self::Session(index),
            4 => Self::Subscription(index),
            5 => Self::Listen(index),
            6 => Self::Batch(index),
            _ => Self::Capabilities,
        }
    }
}

impl McpServer {
    /// A server whose operations are carried out by `exit`.
    pub fn new(options: Options, exit: BindingId) -> Self {
        Self {
            options,
            exit,
            http: Slab::new(),
            lines: Slab::new(),
            batches: Slab::new(),
            requests: Slab::new(),
            sessions: Slab::new(),
            session_keys: BTreeMap::new(),
            listens: Slab::new(),
            subscriptions: Slab::new(),
            subscribed: 0,
            held: 0,
            capabilities: Capabilities::default(),
            text: BytesMut::new(),
        }
    }
}

/// What is there now; handling one may take others away.
fn keys<T>(slab: &Slab<T>) -> Vec<usize> {
    slab.iter().map(|(key, _)| key).collect()
}

impl Binding for McpServer {
    fn exchanges(&self) -> usize {
        self.http.len()
            + self.lines.len()
            + self.batches.len()
            + self.requests.len()
            + self.sessions.len()
            + self.listens.len()
            + self.subscriptions.len()
    }

    fn on_begin(&mut self, cx: &mut Context<'_>, stream: StreamId, begin: BeginEx) {
        match begin {
            BeginEx::Http(HttpBeginEx::Request(head)) => self.on_http(cx, stream, head),
            BeginEx::Line(_) => self.on_line(cx, stream),
            _ => {}
        }
    }

    fn on_frame(&mut self, cx: &mut Context<'_>, at: At, frame: Frame) {
        match Key::of(at.token) {
            Key::Http(key) => self.http_frame(cx, key, frame),
            Key::Line(key) => self.line_frame(cx, key, frame),
            Key::Request(key) => self.request_frame(cx, key, frame),
            Key::Session(key) => self.session_frame(cx, key, frame),
            Key::Subscription(key) => self.subscription_frame(cx, key, frame),
            Key::Capabilities => self.capabilities_frame(cx, frame),
            Key::Listen(_) | Key::Batch(_) => {}
        }
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, token: Token, _kind: u32) {
        match Key::of(token) {
            Key::Request(key) => self.request_timer(cx, key),
            Key::Session(key) => self.session_timer(cx, key),
            Key::Subscription(key) => self.subscription_timer(cx, key),
            Key::Http(key) => self.events_timer(cx, key),
            Key::Batch(key) => self.serve_step(cx, key),
            Key::Capabilities => self.capabilities_timer(cx),
            Key::Line(_) | Key::Listen(_) => {}
        }
    }

    fn on_fault(&mut self, cx: &mut Context<'_>, token: Token) {
        match Key::of(token) {
            Key::Http(key) => self.http_left(cx, key),
            Key::Line(key) => self.line_left(cx, key),
            Key::Request(key) => self.fail_request(cx, key),
            Key::Session(key) => self.end_session(cx, key),
            Key::Subscription(key) => self.subscription_lost(cx, key, None),
            Key::Listen(key) => self.end_listen(cx, key),
            Key::Batch(key) => self.batch_faulted(cx, key),
            Key::Capabilities => self.capabilities_lost(cx, None),
        }
    }

    fn on_shutdown(&mut self, cx: &mut Context<'_>) {
        for key in keys(&self.listens) {
            self.end_listen(cx, key);
        }
        for key in keys(&self.sessions) {
            self.wind_up_session(cx, key);
        }
        for key in keys(&self.lines) {
            self.end_line_if_done(cx, key);
        }
    }
}
