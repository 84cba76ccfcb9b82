//! The binding: its routes and running exchanges.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytestring::ByteString;
use slab::Slab;
use tidegate_engine::MeterKind::Counter;
use tidegate_engine::{At, Binding, BindingId, Context, Meter, StreamId, Token};
use tidegate_options::Guarded;
use tidegate_streams::mcp::{McpBeginEx, McpLifecycle, McpReset, McpResetKind};
use tidegate_streams::{BeginEx, Frame, ResetEx, Role};

use super::deadline::ToolkitDeadline;
use super::events::{self, CallRouted};
use super::list::{Fetch, Filter, List, Step};
use super::names::{Kind, Prefixes, key_mut};
use super::options::Options;
use super::relay::Relay;
use super::routing::{Decision, Route, Routing};
use super::session::Session;
use super::splice;
use crate::shown::shown;

#[derive(Debug)]
enum Exchange {
    Relay(Relay),
    List(List),
    Session(Session),
}

/// State of an `mcp · proxy`: routes, exchanges and sessions.
pub struct McpProxy {
    options: Options,
    routing: Arc<Routing>,
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
    /// Operations on one tool, prompt or resource, by the index of their toolkit in the routing.
    by_toolkit: Vec<u64>,
    /// Lists merged from all toolkits.
    lists: u64,
    /// Lists with a toolkit missing or truncated.
    lists_incomplete: u64,
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
            options,
            routing: Arc::new(routing),
            exchanges: Slab::new(),
            sessions: BTreeMap::new(),
            counts,
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
        guarded: Option<Arc<Guarded>>,
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
        let private = self.routing.depends_on_caller();
        entry.insert(Exchange::Relay(Relay::new(
            accepted, opened, prefixes, gathers, result_max, private, guarded,
        )));
    }

    /// Finds the route of an operation on one tool, prompt or resource, and removes the prefix.
    fn item_operation(&mut self, cx: &mut Context<'_>, accepted: StreamId, mut begin: McpBeginEx) {
        let word = begin.word();
        let Some((key, kind)) = key_mut(&mut begin) else {
            let what = format!("Operation {} is not supported.", begin.word());
            refuse(cx, accepted, McpResetKind::NotFound, &what);
            return;
        };
        let routing = Arc::clone(&self.routing);
        let caller = cx.identity().cloned();
        let decision = routing.decide(caller.as_deref(), kind, key);
        if routing.depends_on_caller() {
            events::report(cx, word, key, &decision);
        }
        let (index, route) = match decision {
            Decision::Permitted { upstream, route } => (upstream, route),
            Decision::StepUp { scopes, .. } => {
                let reset = McpReset::insufficient_scope(scopes);
                return cx.terminate(accepted, Some(reset.into()), None);
            }
            Decision::Unknown { .. } => {
                let what = unknown_message(&routing.toolkits(caller.as_deref()), kind, key);
                return refuse(cx, accepted, McpResetKind::NotFound, &what);
            }
        };
        let Some(upstream) = routing.get(index) else {
            return;
        };
        let Some(rest) = key.strip_prefix(&**kind.prefix(&upstream.prefixes)) else {
            return;
        };
        *key = key.slice_ref(rest);
        if let Some(relayed) = self.counts.by_toolkit.get_mut(index) {
            *relayed += 1;
        }
        if !upstream.toolkit.is_empty() {
            cx.event_with(|_| CallRouted {
                toolkit: upstream.toolkit.clone(),
            });
        }
        let session_id = self.hop_identity(cx, begin.session_id().cloned(), index);
        begin.set_session_id(session_id);
        let prefixes = upstream.prefixes.clone();
        let guarded = routing.guarded(route);
        self.relay(cx, accepted, upstream.exit, begin, Some(prefixes), guarded);
    }

    /// The toolkit's session identity for a session of the proxy. If the toolkit's session was
    /// lost, a new one is opened, and this operation is sent without a session.
    fn hop_identity(
        &mut self,
        cx: &mut Context<'_>,
        session_id: Option<ByteString>,
        upstream: usize,
    ) -> Option<ByteString> {
        let key = *self.sessions.get(&session_id?)?;
        let Some(Exchange::Session(session)) = self.exchanges.get_mut(key) else {
            return None;
        };
        let client = session.client;
        let hop = session.hops.get_mut(upstream)?;
        if hop.stream.is_none() {
            let exit = self.routing.get(upstream)?.exit;
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
        let reachable = self.routing.reachable(cx.identity().map(|it| &**it), None);
        let mut session = Session::new(cx, accepted, client, self.routing.len());
        let entry = self.exchanges.vacant_entry();
        let key = entry.key();
        let token = Token::from_index(key);
        cx.accept(accepted, token);
        let deadline = ToolkitDeadline::new(cx, self.options.list_timeout);
        for index in reachable {
            let (Some(hop), Some(upstream)) =
                (session.hops.get_mut(index), self.routing.get(index))
            else {
                continue;
            };
            let begin = McpLifecycle {
                session_id: None,
                capabilities: client,
            };
            let call = deadline.call_context(cx);
            match cx.open_for(call, upstream.exit, begin, token) {
                Ok(stream) => hop.opened(stream),
                Err(error) => hop.fail(cx, &error.to_string()),
            }
        }
        session.timer = Some(cx.timer(deadline.remaining(cx), token, 0, "mcp_proxy.session"));
        self.sessions.insert(session.id.clone(), key);
        // Without a toolkit to wait for, the session is answered now.
        session.settle(cx);
        entry.insert(Exchange::Session(session));
        self.remove_session_if_ended(cx, key);
    }

    fn list(&mut self, cx: &mut Context<'_>, accepted: StreamId, begin: McpBeginEx) {
        let caller = cx.identity().cloned();
        let reachable = self.routing.reachable(caller.as_deref(), Some(&begin));
        let filter = (!self.routing.is_open()).then(|| Filter {
            routing: Arc::clone(&self.routing),
            caller,
        });
        let fetches = reachable.iter().filter_map(|index| {
            let prefixes = self.routing.get(*index)?.prefixes.clone();
            let size_max = self.options.max_result_size;
            Some(Fetch::new(*index, prefixes, filter.clone(), size_max))
        });
        let fetches: Vec<Fetch> = fetches.collect();
        let private = self.routing.depends_on_caller();
        let pages_max = self.options.max_pages;
        let deadline = ToolkitDeadline::new(cx, self.options.list_timeout);
        let mut list = List::new(accepted, begin, fetches, deadline, pages_max, private);
        let key = self.exchanges.vacant_key();
        let token = Token::from_index(key);
        cx.accept(accepted, token);
        list.timer = Some(cx.timer(deadline.remaining(cx), token, 0, "mcp_proxy.list"));
        self.exchanges.insert(Exchange::List(list));
        for upstream in reachable {
            self.fetch(cx, key, upstream, None);
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
        upstream: usize,
        params: Option<bytes::Bytes>,
    ) {
        let exit = self.routing.get(upstream).map(|it| it.exit);
        let (Some(Exchange::List(list)), Some(exit)) = (self.exchanges.get(key), exit) else {
            debug_assert!(false, "a list requests pages of existing toolkits");
            return;
        };
        let (call, mut begin) = (list.deadline.call_context(cx), list.begin.clone());
        begin.set_session_id(self.hop_identity(cx, begin.session_id().cloned(), upstream));
        let opened = cx.open_for(call, exit, BeginEx::Mcp(begin), Token::from_index(key));
        let Some(Exchange::List(list)) = self.exchanges.get_mut(key) else {
            return;
        };
        let Some(fetch) = list
            .fetches
            .iter_mut()
            .find(|fetch| fetch.upstream == upstream)
        else {
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
            Step::NextPage { upstream, params } => {
                self.fetch(cx, key, upstream, Some(params));
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

fn unknown_message(toolkits: &[&str], kind: Kind, key: &str) -> String {
    let (word, key) = (kind.word(), shown(key));
    if toolkits.is_empty() {
        return format!("Unknown {word} '{key}'.");
    }
    let (shape, toolkits) = (kind.shape(), toolkits.join(", "));
    format!("Unknown {word} '{key}'. Its name has the form {shape}; toolkits: {toolkits}.")
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
        } else if let Some((exit, route)) = self.routing.transparent(cx.identity().map(|it| &**it))
        {
            let guarded = self.routing.guarded(route);
            self.relay(cx, stream, exit, begin, None, guarded);
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
