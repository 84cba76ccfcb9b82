//! The binding: its routes and running exchanges.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytestring::ByteString;
use slab::Slab;
use tidegate_engine::MeterKind::{Counter, Gauge};
use tidegate_engine::{At, Binding, Context, Duration, Meter, StreamId, Token};
use tidegate_streams::mcp::{McpBeginEx, McpReset, McpResetKind};
use tidegate_streams::{BeginEx, Frame, ResetEx};

use super::cache::Cache;
use super::deferred::Deferred;
use super::events::DeadlineUnused;
use super::fetch::Fetch;
use super::health::Health;
use super::list::List;
use super::list_kind::ListKind;
use super::listing::Cleaned;
use super::options::Options;
use super::pins::Pins;
use super::relay::Relay;
use super::routing::{Route, Routing};
use super::session::Session;

mod availability;
mod deferral;
mod definitions;
mod fetches;
mod lists;
mod names;
mod operations;
mod sessions;

use definitions::Pinned;

/// Timers of exchanges.
const OF_EXCHANGE: u32 = 0;
/// The timer of a toolkit that is unavailable; its token is [`of_toolkit`].
const OF_TOOLKIT: u32 = 1;

/// The timer that [`McpProxy::pins_changed`] sets; it belongs to no exchange.
const OF_PINS: u32 = 2;

/// The token of a toolkit's timer. It is that of no exchange, so that a fault while it is handled ends
/// none.
fn of_toolkit(upstream: usize) -> Token {
    let index = u32::try_from(upstream).unwrap_or(u32::MAX);
    Token(u32::MAX - index)
}

#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "nearly all exchanges are relays, and a box would cost each call an allocation"
)]
enum Exchange {
    Relay(Relay),
    List(Box<List>),
    Fetch(Box<Fetch>),
    Session(Box<Session>),
    Deferred(Box<Deferred>),
}

/// State of an `mcp · proxy`: routes, exchanges, sessions, and what is known about the toolkits.
pub struct McpProxy {
    options: Options,
    routing: Arc<Routing>,
    exchanges: Slab<Exchange>,
    /// Sessions by their identity.
    sessions: BTreeMap<ByteString, usize>,
    cache: Cache,
    /// Of each toolkit, by its index in the routing.
    health: Vec<Health>,
    pinned: Option<Pinned>,
    /// What was reported of texts that were cleaned.
    cleaned: BTreeMap<(usize, ListKind), Cleaned>,
    counts: Counts,
}

/// Counters since the start.
#[derive(Debug, Default)]
struct Counts {
    /// Operations passed on to one toolkit.
    relayed: u64,
    /// Operations on one tool, prompt or resource, by the index of their toolkit in the routing.
    by_toolkit: Vec<u64>,
    /// Lists merged from all toolkits.
    lists: u64,
    /// Lists with a toolkit missing or truncated.
    lists_incomplete: u64,
    /// Lists of toolkits that were requested, and those that were cached.
    fetched: u64,
    cached: u64,
}

impl McpProxy {
    /// Creates a proxy with these routes.
    pub fn new(options: Options, routes: Vec<Route>) -> Self {
        let routing = Routing::new(routes);
        let counts = Counts {
            by_toolkit: vec![0; routing.len()],
            ..Counts::default()
        };
        Self {
            cache: Cache::new(options.max_cache_size),
            options,
            health: (0..routing.len()).map(|_| Health::default()).collect(),
            routing: Arc::new(routing),
            exchanges: Slab::new(),
            sessions: BTreeMap::new(),
            pinned: None,
            cleaned: BTreeMap::new(),
            counts,
        }
    }

    /// The definitions of tools are compared with these pins, if the options say so.
    #[must_use]
    pub fn with_pins(mut self, pins: Arc<Pins>) -> Self {
        let toolkits = self.routing.len();
        let mode = self.options.pins;
        self.pinned = mode.map(|mode| Pinned::new(mode, pins, toolkits));
        self
    }

    /// Other definitions are accepted: the callers that have a session are told in the next turn. For the
    /// edge that replaces them, in a turn of the binding.
    pub fn pins_changed(cx: &mut Context<'_>) {
        let token = Token(u32::MAX);
        cx.timer(Duration::ZERO, token, OF_PINS, "mcp_proxy.pins");
    }

    /// Adds an exchange; returns its key.
    fn insert(&mut self, exchange: Exchange) -> usize {
        self.exchanges.insert(exchange)
    }
}

fn refuse(cx: &mut Context<'_>, stream: StreamId, kind: McpResetKind, why: &str) {
    let reset: ResetEx = McpReset::new(kind, why).into();
    cx.terminate(stream, Some(reset), None);
}

impl Binding for McpProxy {
    fn exchanges(&self) -> usize {
        self.exchanges.len() + self.sessions.len()
    }

    fn report(&self, meter: &mut dyn Meter) {
        meter.gauge("mcp.proxy.sessions", self.sessions.len());
        meter.counter("mcp.proxy.operations", self.counts.relayed);
        for (toolkit, count) in self.routing.by_name(&self.counts.by_toolkit) {
            let labels = [("toolkit", toolkit)];
            meter.record(Counter, "mcp.proxy.toolkit.operations", &labels, count);
        }
        let unavailable = self
            .health
            .iter()
            .map(|it| u64::from(it.unavailable().is_some()));
        let unavailable: Vec<u64> = unavailable.collect();
        for (toolkit, count) in self.routing.by_name(&unavailable) {
            let labels = [("toolkit", toolkit)];
            meter.record(Gauge, "mcp.proxy.toolkit.unavailable", &labels, count);
        }
        meter.counter("mcp.proxy.lists", self.counts.lists);
        meter.counter("mcp.proxy.lists.incomplete", self.counts.lists_incomplete);
        meter.counter("mcp.proxy.toolkit.lists.requested", self.counts.fetched);
        meter.counter("mcp.proxy.toolkit.lists.cached", self.counts.cached);
        meter.gauge("mcp.proxy.cache.bytes", self.cache.size());
    }

    fn on_start(&mut self, cx: &mut Context<'_>) {
        let names = self.routing.by_name(&self.counts.by_toolkit);
        for toolkit in self.options.deadlines.keys() {
            if cx.worker() == 0 && !names.contains_key(&**toolkit) {
                let toolkit = toolkit.as_str().into();
                cx.event(&DeadlineUnused { toolkit });
            }
        }
    }

    fn on_begin(&mut self, cx: &mut Context<'_>, stream: StreamId, begin: BeginEx) {
        let BeginEx::Mcp(begin) = begin else { return };
        if cx.stopping() {
            refuse(
                cx,
                stream,
                McpResetKind::Busy,
                "The gateway is stopping; retry later.",
            );
        } else if let Some((exit, route)) = self.routing.transparent(cx.identity().map(|it| &**it))
        {
            let guarded = self.routing.guarded(route);
            self.relay(cx, stream, exit, begin, None, guarded);
        } else if let McpBeginEx::Lifecycle(lifecycle) = &begin {
            self.lifecycle(cx, stream, lifecycle);
        } else if let Some(kind) = ListKind::of(&begin) {
            self.list(cx, stream, kind, begin);
        } else if matches!(begin, McpBeginEx::CompletionComplete(_)) {
            self.completion(cx, stream, begin);
        } else if matches!(begin, McpBeginEx::ToolsCall(_)) {
            self.tool_call(cx, stream, begin);
        } else {
            self.item_operation(cx, stream, begin);
        }
    }

    fn on_frame(&mut self, cx: &mut Context<'_>, at: At, frame: Frame) {
        let key = at.token.index();
        match self.exchanges.get_mut(key) {
            Some(Exchange::Relay(relay)) => {
                let over = relay.on_frame(cx, at, frame);
                if over {
                    self.exchanges.remove(key);
                }
            }
            Some(Exchange::List(_)) => self.list_frame(cx, key, frame),
            Some(Exchange::Fetch(_)) => self.fetch_frame(cx, at, frame),
            Some(Exchange::Session(_)) => self.session_frame(cx, at, frame),
            Some(Exchange::Deferred(_)) => self.deferred_frame(cx, key, frame),
            None => {}
        }
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, token: Token, kind: u32) {
        match kind {
            OF_TOOLKIT => return self.pause_over(cx, (u32::MAX - token.0) as usize),
            OF_PINS => return self.tell_of_pins(cx),
            _ => {}
        }
        match self.exchanges.get_mut(token.index()) {
            Some(Exchange::List(_)) => self.list_timer(cx, token.index()),
            Some(Exchange::Fetch(_)) => self.fetch_timer(cx, token.index()),
            Some(Exchange::Session(_)) => self.session_timer(cx, token.index()),
            Some(Exchange::Relay(_) | Exchange::Deferred(_)) | None => {}
        }
    }

    /// Lists that wait are answered in time without the toolkits that are late. Operations passed on are
    /// answered by their toolkits.
    fn on_shutdown(&mut self, cx: &mut Context<'_>) {
        self.limit_lists_to_stop(cx);
        for health in &mut self.health {
            if let Some(timer) = health.timer.take() {
                cx.cancel(timer);
            }
        }
    }

    fn on_fault(&mut self, cx: &mut Context<'_>, token: Token) {
        let key = token.index();
        match self.exchanges.try_remove(key) {
            Some(Exchange::Relay(relay)) => relay.abort(cx),
            Some(Exchange::List(mut list)) => {
                list.abort(cx);
                self.release_fetches(cx, key, &list, true);
            }
            Some(Exchange::Fetch(fetch)) => self.fetch_failed_internally(cx, key, *fetch),
            Some(Exchange::Session(mut session)) => {
                self.sessions.remove(&session.id);
                session.abort(cx);
            }
            Some(Exchange::Deferred(deferred)) => {
                cx.terminate(deferred.accepted, None, None);
                self.release_deferred(cx, key, &deferred);
            }
            None => {}
        }
    }
}
