//! Lists of callers.

use std::sync::Arc;

use bytestring::ByteString;
use tidegate_engine::{Context, StreamId, Token};
use tidegate_streams::Frame;
use tidegate_streams::mcp::{McpBeginEx, McpResetKind};

use super::definitions::is_accepted;
use super::{Exchange, McpProxy, OF_EXCHANGE, refuse};
use crate::proxy::cache::Key;
use crate::proxy::cursor::Cursor;
use crate::proxy::deadline::ToolkitDeadline;
use crate::proxy::events::ToolkitLeftOut;
use crate::proxy::list::{List, Part, PartState};
use crate::proxy::list_kind::ListKind;
use crate::proxy::page::{Element, Offers};

const LATE: &str = "no response within the timeout";

impl McpProxy {
    pub(super) fn list(
        &mut self,
        cx: &mut Context<'_>,
        accepted: StreamId,
        kind: ListKind,
        mut begin: McpBeginEx,
    ) {
        let cursor = begin.cursor_mut().and_then(|cursor| cursor.as_deref());
        let Ok(cursor) = cursor
            .map(|text| Cursor::decode(text, kind).ok_or(()))
            .transpose()
        else {
            let message = "Invalid cursor; use the nextCursor of a page of this list, or none for the first page.";
            return refuse(cx, accepted, McpResetKind::Invalid, message);
        };
        let caller = cx.identity().cloned();
        let reachable = self
            .routing
            .reachable(caller.as_deref(), Some(kind.lists()));
        // A caller without a deadline waits for its toolkits' deadlines.
        let deadline = ToolkitDeadline::new(cx, u64::MAX);
        let session = begin.session_id().cloned();
        let list = List::new(accepted, begin, kind, cursor, caller.clone(), deadline);
        let key = self.insert(Exchange::List(Box::new(list)));
        let token = Token::from_index(key);
        cx.accept(accepted, token);
        let of_list = |upstream: usize| Key {
            upstream,
            kind,
            caller: caller.clone(),
        };
        let now = cx.now();
        // With nothing else to show, the caller waits for toolkits that may be back.
        let waits = reachable.iter().all(|upstream| {
            let health = self.health.get(*upstream);
            let is_unavailable = health.is_some_and(|it| it.unavailable().is_some());
            is_unavailable && self.cache.get(&of_list(*upstream), now).is_none()
        });
        for upstream in reachable {
            let of_list = of_list(upstream);
            let state = self.part(cx, key, &of_list, session.clone(), waits);
            if let Some(Exchange::List(list)) = self.exchanges.get_mut(key) {
                list.parts.push(Part { upstream, state });
            }
        }
        if let Some(Exchange::List(list)) = self.exchanges.get_mut(key)
            && !list.is_complete()
            && cx.deadline().is_some()
        {
            let left = list.deadline.remaining(cx);
            list.timer = Some(cx.timer(left, token, OF_EXCHANGE, "mcp_proxy.list"));
        }
        self.settle_list(cx, key);
    }

    /// The part of a toolkit in a list: from the cache, or by a request that may be under way already.
    fn part(
        &mut self,
        cx: &mut Context<'_>,
        list: usize,
        key: &Key,
        session: Option<ByteString>,
        waits: bool,
    ) -> PartState {
        if let Some(kept) = self.cache.get(key, cx.now()) {
            self.counts.cached += 1;
            return PartState::Listed(kept);
        }
        let health = self.health.get(key.upstream);
        let unavailable = health.and_then(|it| it.unavailable()).map(str::to_owned);
        if let Some(reason) = unavailable.filter(|_| !waits) {
            if health.is_some_and(|it| it.is_due(cx.now())) {
                self.ask(cx, key);
            }
            return PartState::Missing(reason);
        }
        if let Some(under_way) = self.cache.fetch(key)
            && let Some(Exchange::Fetch(fetch)) = self.exchanges.get_mut(under_way)
        {
            fetch.waiting.push(list);
            return PartState::Waiting(under_way);
        }
        match self.begin_fetch(cx, key, session, Some(list)) {
            Ok(fetch) => PartState::Waiting(fetch),
            Err(failure) => PartState::Missing(failure.reason),
        }
    }

    pub(super) fn list_frame(&mut self, cx: &mut Context<'_>, key: usize, frame: Frame) {
        let Some(Exchange::List(list)) = self.exchanges.get_mut(key) else {
            return;
        };
        let cancelled = list.on_caller_frame(cx, frame);
        if cancelled && let Some(Exchange::List(mut list)) = self.exchanges.try_remove(key) {
            self.release_fetches(cx, key, &list, true);
            list.abort(cx);
        } else {
            self.remove_list_if_over(cx, key);
        }
    }

    /// The caller's deadline has come: it is answered without the toolkits that are late.
    pub(super) fn list_timer(&mut self, cx: &mut Context<'_>, key: usize) {
        let Some(Exchange::List(list)) = self.exchanges.get_mut(key) else {
            return;
        };
        list.timer = None;
        cx.work_for(list.accepted());
        let fetches: Vec<usize> = list.fetches().collect();
        let (kind, routing) = (list.kind, Arc::clone(&self.routing));
        let mut late = Vec::new();
        for part in &mut list.parts {
            if matches!(part.state, PartState::Waiting(_)) {
                part.state = PartState::Missing(LATE.to_owned());
                late.push(part.upstream);
            }
        }
        for upstream in late {
            cx.event(&ToolkitLeftOut {
                toolkit: routing.label(upstream).into(),
                list: kind.begin().word().into(),
                reason: LATE.into(),
            });
        }
        let ends = cx.stopping();
        for fetch in fetches {
            self.leave(cx, fetch, key, ends);
        }
        self.settle_list(cx, key);
    }

    /// Answers a list that has all it waits for. Once one toolkit has answered, it does not wait for
    /// those that are late.
    pub(super) fn settle_list(&mut self, cx: &mut Context<'_>, key: usize) {
        let Some(Exchange::List(list)) = self.exchanges.get(key) else {
            return;
        };
        let has_one = list
            .parts
            .iter()
            .any(|it| matches!(it.state, PartState::Listed(_)));
        if has_one {
            let is_late = |fetch: &usize| {
                let fetch = self.exchanges.get(*fetch);
                matches!(fetch, Some(Exchange::Fetch(fetch)) if fetch.late)
            };
            let late: Vec<usize> = list.fetches().filter(is_late).collect();
            for fetch in late {
                self.leave_late(cx, fetch, key);
            }
        }
        let (routing, size) = (Arc::clone(&self.routing), self.options.page_size);
        if let Some(Exchange::List(list)) = self.exchanges.get_mut(key)
            && list.is_complete()
        {
            self.counts.lists += 1;
            self.counts.lists_incomplete += u64::from(list.is_incomplete());
            let pinned = self.pinned.as_ref().filter(|it| it.blocks());
            let accepted = pinned
                .filter(|_| list.kind == ListKind::Tools)
                .map(|pinned| pinned.pins.accepted());
            // What the caller is shown decides, not what another caller was shown since.
            let is_withheld = accepted.as_deref().map(|accepted| {
                |element: Element<'_>| {
                    let to = routing.get(element.upstream);
                    to.is_none_or(|to| !is_accepted(accepted, &to.toolkit, &element))
                }
            });
            let is_withheld = is_withheld.as_ref().map(|it| it as &Offers<'_>);
            list.answer(cx, &routing, size, is_withheld);
            self.remove_list_if_over(cx, key);
        }
    }

    /// A list goes on without a fetch that is late.
    fn leave_late(&mut self, cx: &mut Context<'_>, fetch: usize, key: usize) {
        let Some(Exchange::List(list)) = self.exchanges.get_mut(key) else {
            return;
        };
        let upstream = list.parts.iter().find_map(|part| match part.state {
            PartState::Waiting(waiting) if waiting == fetch => Some(part.upstream),
            _ => None,
        });
        list.resolve(fetch, || PartState::Missing(LATE.to_owned()));
        let word = list.kind.begin().word();
        if let Some(upstream) = upstream {
            cx.event(&ToolkitLeftOut {
                toolkit: self.routing.label(upstream).into(),
                list: word.into(),
                reason: LATE.into(),
            });
        }
        self.leave(cx, fetch, key, false);
    }

    /// A list does not wait for its fetches any more. `ends`: those that nobody else waits for end.
    pub(super) fn release_fetches(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        list: &List,
        ends: bool,
    ) {
        let fetches: Vec<usize> = list.fetches().collect();
        for fetch in fetches {
            self.leave(cx, fetch, key, ends);
        }
    }

    fn remove_list_if_over(&mut self, cx: &Context<'_>, key: usize) {
        if let Some(Exchange::List(list)) = self.exchanges.get(key)
            && cx.is_over(list.accepted())
        {
            self.exchanges.remove(key);
        }
    }

    /// The engine is stopping: lists that wait are answered by the stop deadline.
    pub(super) fn limit_lists_to_stop(&mut self, cx: &mut Context<'_>) {
        for (key, exchange) in &mut self.exchanges {
            if let Exchange::List(list) = exchange
                && list.fetches().next().is_some()
            {
                if let Some(timer) = list.timer.take() {
                    cx.cancel(timer);
                }
                list.deadline.limit_to_stop(cx);
                let left = list.deadline.remaining(cx);
                let token = Token::from_index(key);
                list.timer = Some(cx.timer(left, token, OF_EXCHANGE, "mcp_proxy.list"));
            }
        }
    }
}
