//! The binding: its routes and running exchanges.

use std::collections::BTreeMap;

use bytestring::ByteString;
use slab::Slab;
use tidegate_engine::MeterKind::Counter;
use tidegate_engine::{At, Binding, BindingId, Context, Meter, StreamId, Token};
use tidegate_streams::mcp::{McpBeginEx, McpLifecycle, McpReset, McpResetKind};
use tidegate_streams::{BeginEx, Frame, ResetEx, Role};

use super::deadline::ToolkitDeadline;
use super::events::CallRouted;
use super::list::{Fetch, List, Step};
use super::names::{Kind, Prefixes, key_mut};
use super::options::Options;
use super::relay::Relay;
use super::session::Session;
use super::splice;
use crate::shown::shown;

/// A route to a toolkit.
#[derive(Debug, Clone)]
pub struct Route {
    /// Name of the toolkit; absent: the route receives every operation unchanged.
    pub toolkit: Option<ByteString>,
    /// The binding that serves the toolkit.
    pub exit: BindingId,
}

#[derive(Debug)]
enum Exchange {
    Relay(Relay),
    List(List),
    Session(Session),
}

struct Prefixed {
    exit: BindingId,
    toolkit: ByteString,
    prefixes: Prefixes,
    /// Operations passed on to it.
    relayed: u64,
}

/// State of an `mcp · proxy`: routes, exchanges and sessions.
pub struct McpProxy {
    options: Options,
    /// The only exit of a transparent proxy.
    transparent: Option<BindingId>,
    routes: Vec<Prefixed>,
    exchanges: Slab<Exchange>,
    /// Sessions by their identity.
    sessions: BTreeMap<ByteString, usize>,
    counts: Counts,
}

/// Counters since the start.
#[derive(Debug, Default)]
struct Counts {
    /// Operations passed on to one toolkit.
    relayed: u64,
    /// Lists merged from all toolkits.
    lists: u64,
    /// Lists with a toolkit missing or truncated.
    lists_incomplete: u64,
}

impl McpProxy {
    /// Creates a proxy with these routes. A route without a toolkit makes the proxy transparent.
    pub fn new(options: Options, routes: Vec<Route>) -> Self {
        let transparent = routes.iter().find(|route| route.toolkit.is_none());
        let transparent = transparent.map(|route| route.exit);
        let prefixed = routes.into_iter().filter_map(|route| {
            let toolkit = route.toolkit?;
            Some(Prefixed {
                exit: route.exit,
                prefixes: Prefixes::of(&toolkit),
                toolkit,
                relayed: 0,
            })
        });
        Self {
            options,
            transparent,
            routes: prefixed.collect(),
            exchanges: Slab::new(),
            sessions: BTreeMap::new(),
            counts: Counts::default(),
        }
    }

    /// Passes a stream on to one exit.
    fn relay(
        &mut self,
        cx: &mut Context<'_>,
        accepted: StreamId,
        exit: BindingId,
        begin: McpBeginEx,
        prefixes: Option<Prefixes>,
    ) {
        let gathers = matches!(
            begin,
            McpBeginEx::ToolsCall(_) | McpBeginEx::PromptsGet(_) | McpBeginEx::ResourcesRead(_)
        );
        let entry = self.exchanges.vacant_entry();
        let token = Token::from_index(entry.key());
        let Ok(opened) = cx.open(exit, BeginEx::Mcp(begin), token) else {
            refuse(
                cx,
                accepted,
                McpResetKind::Unavailable,
                "Stream limit reached; retry later.",
            );
            return;
        };
        self.counts.relayed += 1;
        cx.accept(accepted, token);
        let result_max = self.options.max_result_size;
        entry.insert(Exchange::Relay(Relay::new(
            accepted, opened, prefixes, gathers, result_max,
        )));
    }

    /// Finds the route of an operation on one tool, prompt or resource, and removes the prefix.
    fn item_operation(&mut self, cx: &mut Context<'_>, accepted: StreamId, mut begin: McpBeginEx) {
        let Some((key, kind)) = key_mut(&mut begin) else {
            let what = format!("Operation {} is not supported.", begin.word());
            refuse(cx, accepted, McpResetKind::NotFound, &what);
            return;
        };
        let found = self
            .routes
            .iter()
            .position(|route| key.starts_with(&**kind.prefix(&route.prefixes)));
        let Some(index) = found else {
            let what = self.unknown_message(kind, key);
            refuse(cx, accepted, McpResetKind::NotFound, &what);
            return;
        };
        let Some(route) = self.routes.get_mut(index) else {
            return;
        };
        route.relayed += 1;
        let Some(rest) = key.strip_prefix(&**kind.prefix(&route.prefixes)) else {
            return;
        };
        *key = key.slice_ref(rest);
        let (exit, prefixes) = (route.exit, route.prefixes.clone());
        if cx.hears::<CallRouted>() {
            cx.event(&CallRouted {
                toolkit: route.toolkit.clone(),
            });
        }
        let session_id = self.hop_identity(cx, begin.session_id().cloned(), index);
        begin.set_session_id(session_id);
        self.relay(cx, accepted, exit, begin, Some(prefixes));
    }

    fn unknown_message(&self, kind: Kind, key: &str) -> String {
        let toolkits: Vec<&str> = self.routes.iter().map(|route| &*route.toolkit).collect();
        format!(
            "Unknown {} '{}'. Its name has the form {}; toolkits: {}.",
            kind.word(),
            shown(key),
            kind.shape(),
            toolkits.join(", ")
        )
    }

    /// The toolkit's session identity for a session of the proxy. If the toolkit's session was
    /// lost, a new one is opened, and this operation is sent without a session.
    fn hop_identity(
        &mut self,
        cx: &mut Context<'_>,
        session_id: Option<ByteString>,
        route: usize,
    ) -> Option<ByteString> {
        let key = *self.sessions.get(&session_id?)?;
        let Some(Exchange::Session(session)) = self.exchanges.get_mut(key) else {
            return None;
        };
        let client = session.client;
        let hop = session.hops.get_mut(route)?;
        if hop.stream.is_none() {
            let exit = self.routes.get(route)?.exit;
            let begin = McpLifecycle {
                session_id: None,
                capabilities: client,
            };
            if let Ok(stream) = cx.open(exit, begin, Token::from_index(key)) {
                hop.opened(stream);
            }
        }
        hop.id.clone()
    }

    fn lifecycle(&mut self, cx: &mut Context<'_>, accepted: StreamId, begin: &McpLifecycle) {
        let client = begin.capabilities;
        let mut session = Session::new(cx, accepted, client, self.routes.len());
        let entry = self.exchanges.vacant_entry();
        let token = Token::from_index(entry.key());
        cx.accept(accepted, token);
        let deadline = ToolkitDeadline::new(cx, self.options.list_timeout);
        for (hop, route) in session.hops.iter_mut().zip(&self.routes) {
            let begin = McpLifecycle {
                session_id: None,
                capabilities: client,
            };
            let call = deadline.call_context(cx);
            if let Ok(stream) = cx.open_for(call, route.exit, begin, token) {
                hop.opened(stream);
            }
        }
        session.timer = Some(cx.timer(deadline.remaining(cx), token, 0, "mcp_proxy.session"));
        self.sessions.insert(session.id.clone(), entry.key());
        entry.insert(Exchange::Session(session));
    }

    fn list(&mut self, cx: &mut Context<'_>, accepted: StreamId, begin: McpBeginEx) {
        let fetches: Vec<Fetch> = self
            .routes
            .iter()
            .enumerate()
            .map(|(index, route)| Fetch::new(index, route.prefixes.clone()))
            .collect();
        let (size, pages) = (self.options.max_result_size, self.options.max_pages);
        let deadline = ToolkitDeadline::new(cx, self.options.list_timeout);
        let mut list = List::new(accepted, begin, fetches, deadline, size, pages);
        let key = self.exchanges.vacant_key();
        let token = Token::from_index(key);
        cx.accept(accepted, token);
        list.timer = Some(cx.timer(deadline.remaining(cx), token, 0, "mcp_proxy.list"));
        self.exchanges.insert(Exchange::List(list));
        for route in 0..self.routes.len() {
            self.fetch(cx, key, route, None);
        }
        if let Some(Exchange::List(list)) = self.exchanges.get(key)
            && matches!(list.state(), Step::Complete)
        {
            self.answer_list(cx, key);
        }
    }

    /// Requests a page of a list from a toolkit.
    fn fetch(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        route: usize,
        params: Option<bytes::Bytes>,
    ) {
        let (Some(Exchange::List(list)), Some(exit)) =
            (self.exchanges.get(key), self.routes.get(route))
        else {
            debug_assert!(false, "a list requests pages of existing routes");
            return;
        };
        let (exit, call, mut begin) = (
            exit.exit,
            list.deadline.call_context(cx),
            list.begin.clone(),
        );
        begin.set_session_id(self.hop_identity(cx, begin.session_id().cloned(), route));
        let opened = cx.open_for(call, exit, BeginEx::Mcp(begin), Token::from_index(key));
        let Some(Exchange::List(list)) = self.exchanges.get_mut(key) else {
            return;
        };
        let Some(fetch) = list.fetches.iter_mut().find(|fetch| fetch.route == route) else {
            return;
        };
        match opened {
            Ok(stream) => {
                if let Some(params) = params {
                    cx.send_whole(stream, params);
                }
                fetch.opened(stream);
            }
            Err(error) => fetch.fail(cx, &error.to_string()),
        }
    }

    fn answer_list(&mut self, cx: &mut Context<'_>, key: usize) {
        if let Some(Exchange::List(list)) = self.exchanges.get_mut(key) {
            list.answer(cx);
            self.counts.lists += 1;
            self.counts.lists_incomplete += u64::from(list.is_incomplete());
            if cx.is_over(list.accepted()) {
                self.exchanges.remove(key);
            }
        }
    }

    fn list_frame(&mut self, cx: &mut Context<'_>, at: At, frame: Frame) {
        let key = at.token.index();
        let Some(Exchange::List(list)) = self.exchanges.get_mut(key) else {
            return;
        };
        if at.role == Role::Callee {
            if list.on_caller_frame(cx, frame) {
                self.exchanges.remove(key);
            }
            return;
        }
        match list.on_toolkit_frame(cx, at.stream, frame) {
            Step::Wait => {}
            Step::NextPage { route, params } => {
                self.fetch(cx, key, route, Some(params));
                // If the page could not be requested, the list may now be complete.
                if let Some(Exchange::List(list)) = self.exchanges.get(key)
                    && matches!(list.state(), Step::Complete)
                {
                    self.answer_list(cx, key);
                }
            }
            Step::Complete => self.answer_list(cx, key),
        }
    }

    fn session_frame(&mut self, cx: &mut Context<'_>, at: At, frame: Frame) {
        let key = at.token.index();
        let Some(Exchange::Session(session)) = self.exchanges.get_mut(key) else {
            return;
        };
        match at.role {
            Role::Callee => session.on_caller_frame(cx, frame),
            Role::Caller => session.on_toolkit_frame(cx, at.stream, frame),
        }
        self.remove_session_if_ended(cx, key);
    }

    fn remove_session_if_ended(&mut self, cx: &Context<'_>, key: usize) {
        if let Some(Exchange::Session(session)) = self.exchanges.get(key)
            && session.is_over(cx)
        {
            self.sessions.remove(&session.id);
            self.exchanges.remove(key);
        }
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
        for route in &self.routes {
            let labels = [("toolkit", &*route.toolkit)];
            meter.record(
                Counter,
                "mcp.proxy.toolkit.operations",
                &labels,
                route.relayed,
            );
        }
        meter.counter("mcp.proxy.lists", self.counts.lists);
        meter.counter("mcp.proxy.lists.incomplete", self.counts.lists_incomplete);
    }

    fn on_begin(&mut self, cx: &mut Context<'_>, stream: StreamId, begin: BeginEx) {
        let BeginEx::Mcp(begin) = begin else { return };
        if cx.stopping() {
            refuse(
                cx,
                stream,
                McpResetKind::Unavailable,
                "The gateway is stopping; retry later.",
            );
        } else if let Some(exit) = self.transparent {
            self.relay(cx, stream, exit, begin, None);
        } else if let McpBeginEx::Lifecycle(lifecycle) = &begin {
            self.lifecycle(cx, stream, lifecycle);
        } else if splice::is_list(&begin) {
            self.list(cx, stream, begin);
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
            Some(Exchange::List(_)) => self.list_frame(cx, at, frame),
            Some(Exchange::Session(_)) => self.session_frame(cx, at, frame),
            None => {}
        }
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, token: Token, _kind: u32) {
        match self.exchanges.get_mut(token.index()) {
            Some(Exchange::List(list)) => {
                list.timer = None;
                list.time_out(cx);
                self.answer_list(cx, token.index());
            }
            Some(Exchange::Session(session)) => {
                session.timer = None;
                session.answer(cx);
                self.remove_session_if_ended(cx, token.index());
            }
            _ => {}
        }
    }

    /// Shortens the deadline of waiting lists, so that they are answered in time without the
    /// toolkits that are late. Operations passed on are answered by their toolkits.
    fn on_shutdown(&mut self, cx: &mut Context<'_>) {
        for (key, exchange) in &mut self.exchanges {
            if let Exchange::List(list) = exchange
                && let Some(timer) = list.timer.take()
            {
                cx.cancel(timer);
                list.deadline.limit_to_stop(cx);
                let left = list.deadline.remaining(cx);
                list.timer = Some(cx.timer(left, Token::from_index(key), 0, "mcp_proxy.list"));
            }
        }
    }

    fn on_fault(&mut self, cx: &mut Context<'_>, token: Token) {
        match self.exchanges.try_remove(token.index()) {
            Some(Exchange::Relay(relay)) => relay.abort(cx),
            Some(Exchange::List(mut list)) => list.abort(cx),
            Some(Exchange::Session(mut session)) => {
                self.sessions.remove(&session.id);
                session.abort(cx);
            }
            None => {}
        }
    }
}
