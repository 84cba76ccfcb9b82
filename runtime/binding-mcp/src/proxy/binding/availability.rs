//! Toolkits that do not answer, and their return.

use tidegate_engine::{Context, Token};
use tidegate_streams::BeginEx;
use tidegate_streams::mcp::McpLifecycle;

use super::{Exchange, McpProxy, OF_TOOLKIT, of_toolkit};
use crate::proxy::cache::Key;
use crate::proxy::events::{ToolkitAvailable, ToolkitUnavailable};
use crate::proxy::fetch::{About, Failure};
use crate::proxy::list_kind::ListKind;

impl McpProxy {
    /// A toolkit has failed. It is unavailable if it has not answered.
    pub(super) fn toolkit_failed(
        &mut self,
        cx: &mut Context<'_>,
        upstream: usize,
        failure: &Failure,
    ) {
        let Some(health) = self.health.get_mut(upstream) else {
            return;
        };
        if failure.about != About::Unavailable {
            return;
        }
        if health.failed(cx.now(), &failure.reason) {
            cx.event(&ToolkitUnavailable {
                toolkit: self.routing.label(upstream).into(),
                reason: failure.reason.as_str().into(),
            });
        }
        self.watch(cx, upstream);
    }

    /// While there are sessions, whose callers are to be told of its return, an unavailable toolkit is
    /// asked after each pause. Otherwise a list asks it.
    pub(super) fn watch(&mut self, cx: &mut Context<'_>, upstream: usize) {
        let Some(health) = self.health.get_mut(upstream) else {
            return;
        };
        if let Some(timer) = health.timer.take() {
            cx.cancel(timer);
        }
        if let Some(pause) = health.pause(cx.now())
            && !self.sessions.is_empty()
            && !cx.stopping()
        {
            let token = of_toolkit(upstream);
            health.timer = Some(cx.timer(pause, token, OF_TOOLKIT, "mcp_proxy.toolkit"));
        }
    }

    /// The last session has ended: nobody is to be told.
    pub(super) fn unwatch_all(&mut self, cx: &mut Context<'_>) {
        for health in &mut self.health {
            if let Some(timer) = health.timer.take() {
                cx.cancel(timer);
            }
        }
    }

    /// The pause of an unavailable toolkit is over: it is asked for the tools of a caller that has a
    /// session.
    pub(super) fn pause_over(&mut self, cx: &mut Context<'_>, upstream: usize) {
        let Some(health) = self.health.get_mut(upstream) else {
            return;
        };
        health.timer = None;
        let mut sessions = self.sessions.values().filter_map(|key| {
            let Some(Exchange::Session(session)) = self.exchanges.get(*key) else {
                return None;
            };
            let hop = session.hops.get(upstream)?;
            hop.reachable.then(|| session.call.identity.clone())
        });
        if health.is_due(cx.now())
            && let Some(caller) = sessions.next()
        {
            let kind = ListKind::Tools;
            let key = Key {
                upstream,
                kind,
                caller,
            };
            self.ask(cx, &key);
        }
    }

    /// Finds out whether an unavailable toolkit is back, by a request for a list.
    pub(super) fn ask(&mut self, cx: &mut Context<'_>, key: &Key) {
        let upstream = key.upstream;
        if self.cache.fetch(key).is_some() {
            return;
        }
        let begun = self.begin_fetch(cx, key, None, None);
        let until = match begun.ok().and_then(|fetch| self.exchanges.get(fetch)) {
            Some(Exchange::Fetch(fetch)) => fetch.call.deadline,
            _ => None,
        };
        match (until, self.health.get_mut(upstream)) {
            (Some(until), Some(health)) => health.asked(until),
            _ => self.toolkit_failed(cx, upstream, &Failure::unavailable("no room to ask it")),
        }
    }

    /// A toolkit was not asked, because a limit of the gateway is reached: one that is unavailable is asked
    /// soon.
    pub(super) fn toolkit_not_asked(&mut self, cx: &mut Context<'_>, upstream: usize) {
        if let Some(health) = self.health.get_mut(upstream) {
            health.not_asked(cx.now());
        }
        self.watch(cx, upstream);
    }

    /// A toolkit has answered. If it was unavailable, nothing that was remembered of it stays, and the
    /// callers that may use it are told that lists have changed.
    pub(super) fn toolkit_answered(&mut self, cx: &mut Context<'_>, upstream: usize) {
        let Some(health) = self.health.get_mut(upstream) else {
            return;
        };
        if !health.answered(cx.now()) {
            return;
        }
        if let Some(timer) = health.timer.take() {
            cx.cancel(timer);
        }
        cx.event(&ToolkitAvailable {
            toolkit: self.routing.label(upstream).into(),
        });
        self.cache.invalidate(upstream, None);
        let sessions: Vec<usize> = self.sessions.values().copied().collect();
        for key in sessions {
            self.rejoin(cx, key, upstream);
        }
    }

    /// Opens the toolkit's part of a session again, and tells its caller.
    fn rejoin(&mut self, cx: &mut Context<'_>, key: usize, upstream: usize) {
        let exit = self.routing.get(upstream).map(|it| it.exit);
        let (Some(exit), Some(Exchange::Session(session))) = (exit, self.exchanges.get_mut(key))
        else {
            return;
        };
        if !session.is_open(cx) {
            return;
        }
        let (client, call) = (session.client, session.call.clone());
        let Some(hop) = session.hops.get_mut(upstream).filter(|hop| hop.reachable) else {
            return;
        };
        if hop.stream.is_none() {
            let begin = BeginEx::from(McpLifecycle {
                session_id: None,
                capabilities: client,
            });
            if let Ok(stream) = cx.open_for(call, exit, begin, Token::from_index(key)) {
                hop.opened(stream, None);
            }
        }
        session.lists_changed(cx);
    }
}
