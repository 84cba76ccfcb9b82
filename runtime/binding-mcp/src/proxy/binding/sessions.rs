//! Sessions of callers.

use bytestring::ByteString;
use tidegate_engine::{At, Context, Duration, StreamId, Token};
use tidegate_streams::mcp::{McpFlushEx, McpLifecycle};
use tidegate_streams::{FlushEx, Frame, Role};

use super::{Exchange, McpProxy, OF_EXCHANGE};
use crate::proxy::deadline::ToolkitDeadline;
use crate::proxy::fetch::Failure;
use crate::proxy::list_kind::ListKind;
use crate::proxy::session::{HopEvent, Session};

impl McpProxy {
    /// The toolkit's session identity for a session of the proxy. If the toolkit's session was
    /// lost, a new one is opened, and this operation is sent without a session.
    pub(super) fn hop_identity(
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
                hop.opened(stream, None);
            }
        }
        hop.id.clone()
    }

    pub(super) fn lifecycle(
        &mut self,
        cx: &mut Context<'_>,
        accepted: StreamId,
        begin: &McpLifecycle,
    ) {
        let client = begin.capabilities;
        let reachable = self.routing.reachable(cx.identity().map(|it| &**it), None);
        let deadline = ToolkitDeadline::new(cx, self.options.list_timeout);
        let until = cx.now() + deadline.remaining(cx);
        let session = Session::new(cx, accepted, client, self.routing.len(), until);
        self.sessions
            .insert(session.id.clone(), self.exchanges.vacant_key());
        let key = self.insert(Exchange::Session(Box::new(session)));
        cx.accept(accepted, Token::from_index(key));
        let is_unavailable = |it: &usize| {
            self.health
                .get(*it)
                .is_some_and(|it| it.unavailable().is_some())
        };
        // With nothing else to offer, the caller waits for toolkits that may be back.
        let waits = reachable.iter().all(is_unavailable);
        for upstream in reachable {
            self.join(cx, key, upstream, deadline, waits);
        }
        for upstream in 0..self.health.len() {
            self.watch(cx, upstream);
        }
        self.settle_session(cx, key);
    }

    /// Opens a toolkit's part of a new session, unless the toolkit is unavailable.
    fn join(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        upstream: usize,
        deadline: ToolkitDeadline,
        waits: bool,
    ) {
        let (Some(Exchange::Session(session)), Some(to), Some(health)) = (
            self.exchanges.get_mut(key),
            self.routing.get(upstream),
            self.health.get(upstream),
        ) else {
            return;
        };
        let (client, until) = (session.client, session.until);
        let remembered = health.capabilities.unwrap_or_default();
        session.remembered = session.remembered.with(remembered);
        let Some(hop) = session.hops.get_mut(upstream) else {
            return;
        };
        hop.reachable = true;
        if let Some(reason) = health.unavailable().filter(|_| !waits) {
            return hop.fail(cx, reason);
        }
        let begin = McpLifecycle {
            session_id: None,
            capabilities: client,
        };
        let call = deadline.call_context(cx);
        match cx.open_for(call, to.exit, begin, Token::from_index(key)) {
            Ok(stream) => {
                let own = Duration::from_millis(self.options.deadline_of(&to.toolkit));
                let is_shorter = self.options.deadline_of(&to.toolkit) < self.options.list_timeout;
                let wait = is_shorter.then(|| cx.now() + own);
                hop.opened(stream, Some(wait.map_or(until, |wait| wait.min(until))));
            }
            Err(error) => hop.fail(cx, &error.to_string()),
        }
    }

    /// Answers a session that has all it waits for, and sets the timer for the next wait otherwise.
    fn settle_session(&mut self, cx: &mut Context<'_>, key: usize) {
        let Some(Exchange::Session(session)) = self.exchanges.get_mut(key) else {
            return;
        };
        session.settle(cx);
        if session.timer.is_none()
            && !session.is_answered()
            && let Some(next) = session.next_wait()
        {
            let left = next.since(cx.now());
            let token = Token::from_index(key);
            session.timer = Some(cx.timer(left, token, OF_EXCHANGE, "mcp_proxy.session"));
        }
        self.remove_session_if_ended(cx, key);
    }

    pub(super) fn session_timer(&mut self, cx: &mut Context<'_>, key: usize) {
        let Some(Exchange::Session(session)) = self.exchanges.get_mut(key) else {
            return;
        };
        session.timer = None;
        let late = session.end_waits(cx.now());
        for upstream in late {
            let failure = Failure::unavailable("no response within its deadline");
            self.toolkit_failed(cx, upstream, &failure);
        }
        self.settle_session(cx, key);
    }

    pub(super) fn session_frame(&mut self, cx: &mut Context<'_>, at: At, frame: Frame) {
        let key = at.token.index();
        let Some(Exchange::Session(session)) = self.exchanges.get_mut(key) else {
            return;
        };
        match at.role {
            Role::Callee => session.on_caller_frame(cx, frame),
            Role::Caller => {
                if let Some((upstream, event)) = session.on_toolkit_frame(cx, at.stream, frame) {
                    self.hop_event(cx, key, upstream, event);
                }
            }
        }
        self.settle_session(cx, key);
    }

    fn hop_event(&mut self, cx: &mut Context<'_>, key: usize, upstream: usize, event: HopEvent) {
        match event {
            HopEvent::Begun(capabilities) => {
                if let Some(health) = self.health.get_mut(upstream) {
                    health.capabilities = Some(capabilities);
                }
                self.toolkit_answered(cx, upstream);
            }
            HopEvent::Failed(failure) => self.toolkit_failed(cx, upstream, &failure),
            HopEvent::Notice(notice) => {
                self.note_change(upstream, &notice);
                if let Some(Exchange::Session(session)) = self.exchanges.get(key) {
                    session.notify(cx, notice);
                }
            }
        }
    }

    /// Removes the lists of a toolkit that have changed.
    fn note_change(&mut self, upstream: usize, notice: &FlushEx) {
        let FlushEx::Mcp(notice) = notice else {
            return;
        };
        let changed: &[ListKind] = match notice {
            McpFlushEx::ToolsListChanged(_) => &[ListKind::Tools],
            McpFlushEx::PromptsListChanged(_) => &[ListKind::Prompts],
            McpFlushEx::ResourcesListChanged(_) => &[ListKind::Resources, ListKind::Templates],
            _ => &[],
        };
        for kind in changed {
            self.cache.invalidate(upstream, Some(*kind));
            // What is under way may be the list from before.
            for fetch in self.cache.fetches(upstream, Some(*kind)) {
                if let Some(Exchange::Fetch(fetch)) = self.exchanges.get_mut(fetch) {
                    fetch.changed = true;
                }
            }
        }
    }

    fn remove_session_if_ended(&mut self, cx: &mut Context<'_>, key: usize) {
        if let Some(Exchange::Session(session)) = self.exchanges.get(key)
            && session.is_over(cx)
        {
            self.sessions.remove(&session.id);
            self.exchanges.remove(key);
            if self.sessions.is_empty() {
                self.unwatch_all(cx);
            }
        }
    }
}
