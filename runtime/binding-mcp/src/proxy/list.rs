//! A list of a caller: the lists of all toolkits that it may use, without those that fail or are late.

use std::sync::Arc;

use smallvec::SmallVec;
use tidegate_engine::{Context, PendingData, StreamId, Time, TimerId};
use tidegate_streams::mcp::{McpBeginEx, McpCacheScope, McpEnd, McpReset, McpResetKind};
use tidegate_streams::{Data, Frame, Identity, ResetEx};

use super::cache::Kept;
use super::cursor::Cursor;
use super::deadline::ToolkitDeadline;
use super::list_kind::ListKind;
use super::page::{self, Element, Section};
use super::routing::Routing;

/// The part of a toolkit.
#[derive(Debug)]
pub(super) struct Part {
    /// The toolkit, as an index into the routing.
    pub(super) upstream: usize,
    pub(super) state: PartState,
}

#[derive(Debug)]
pub(super) enum PartState {
    /// It is requested by the fetch with this key.
    Waiting(usize),
    Listed(Kept),
    /// The toolkit is left out, for this reason.
    Missing(String),
}

/// A list of a caller.
#[derive(Debug)]
pub(super) struct List {
    accepted: StreamId,
    begin: McpBeginEx,
    pub(super) kind: ListKind,
    cursor: Option<Cursor>,
    pub(super) caller: Option<Arc<Identity>>,
    pub(super) parts: SmallVec<[Part; 4]>,
    /// When the caller is answered without the toolkits that are late.
    pub(super) deadline: ToolkitDeadline,
    pub(super) timer: Option<TimerId>,
    answer: PendingData,
    end: McpEnd,
    answered: bool,
}

impl List {
    pub(super) fn new(
        accepted: StreamId,
        begin: McpBeginEx,
        kind: ListKind,
        cursor: Option<Cursor>,
        caller: Option<Arc<Identity>>,
        deadline: ToolkitDeadline,
    ) -> Self {
        Self {
            accepted,
            begin,
            kind,
            cursor,
            caller,
            parts: SmallVec::new(),
            deadline,
            timer: None,
            answer: PendingData::new(),
            end: McpEnd::default(),
            answered: false,
        }
    }

    /// The caller's stream.
    pub(super) const fn accepted(&self) -> StreamId {
        self.accepted
    }

    /// Handles a frame of the caller; returns whether the caller has cancelled.
    pub(super) fn on_caller_frame(&mut self, cx: &mut Context<'_>, frame: Frame) -> bool {
        match frame {
            // The cursor is in BEGIN.
            Frame::Data(data) => cx.acknowledge(self.accepted, data.payload.len()),
            Frame::Window(_) => self.flush(cx),
            Frame::Abort(_) | Frame::Reset(_) => return true,
            Frame::End(_) if !self.answered => return true,
            _ => {}
        }
        false
    }

    /// Whether every toolkit has answered or is left out, and the caller is not answered yet.
    pub(super) fn is_complete(&self) -> bool {
        let is_waiting = |part: &Part| matches!(part.state, PartState::Waiting(_));
        !self.answered && !self.parts.iter().any(is_waiting)
    }

    /// Sets the parts that wait for a fetch.
    pub(super) fn resolve(&mut self, fetch: usize, state: impl Fn() -> PartState) {
        for part in &mut self.parts {
            if matches!(part.state, PartState::Waiting(waiting) if waiting == fetch) {
                part.state = state();
            }
        }
    }

    /// The fetches that it waits for.
    pub(super) fn fetches(&self) -> impl Iterator<Item = usize> {
        self.parts.iter().filter_map(|part| match part.state {
            PartState::Waiting(fetch) => Some(fetch),
            _ => None,
        })
    }

    /// Whether a toolkit or some of its pages are missing.
    pub(super) fn is_incomplete(&self) -> bool {
        self.parts.iter().any(|part| match &part.state {
            PartState::Listed(kept) => kept.cut,
            PartState::Waiting(_) | PartState::Missing(_) => true,
        })
    }

    /// Answers with a page of the merged list; refuses if every toolkit is missing.
    /// `is_withheld` says it of a tool by its toolkit and its name there; `None`: none is.
    pub(super) fn answer(
        &mut self,
        cx: &mut Context<'_>,
        routing: &Routing,
        page_size: usize,
        is_withheld: Option<&page::Offers<'_>>,
    ) {
        self.answered = true;
        self.cancel_timer(cx);
        let missing = self.parts.iter().filter_map(|part| match &part.state {
            PartState::Missing(reason) => {
                Some(format!("{}: {reason}", routing.label(part.upstream)))
            }
            _ => None,
        });
        let missing: Vec<String> = missing.collect();
        if !missing.is_empty() && missing.len() == self.parts.len() {
            let message = format!("No toolkit responded: {}.", missing.join("; "));
            return self.refuse(cx, McpResetKind::Unavailable, &message);
        }
        let caller = self.caller.clone();
        let offers = |it: Element<'_>| {
            let is_withheld = is_withheld.is_some_and(|withheld| withheld(it));
            let kind = self.kind.lists();
            !is_withheld && routing.offers(caller.as_deref(), it.upstream, kind, it.key)
        };
        let offers: Option<&page::Offers<'_>> = if routing.is_open() && is_withheld.is_none() {
            None
        } else {
            Some(&offers)
        };
        let sections = self.parts.iter().map(|part| Section {
            upstream: part.upstream,
            toolkit: routing.get(part.upstream).map_or("", |it| &it.toolkit),
            listing: match &part.state {
                PartState::Listed(kept) => Some(&kept.listing),
                _ => None,
            },
        });
        let sections: SmallVec<[Section<'_>; 4]> = sections.collect();
        let page = page::page(self.kind, &sections, self.cursor, page_size, offers);
        drop(sections);
        let Ok(page) = page else {
            let message = "The list has changed since this cursor was given; request the list again, without a cursor.";
            return self.refuse(cx, McpResetKind::Invalid, message);
        };
        self.hints(cx.now(), routing.depends_on_caller(), missing.is_empty());
        self.parts.clear();
        let mut begin = self.begin.clone();
        begin.set_session_id(None);
        if let Some(cursor) = begin.cursor_mut() {
            *cursor = None;
        }
        cx.send(self.accepted, Frame::begin(begin));
        for data in Data::of_message(page) {
            self.answer.push(data);
        }
        self.flush(cx);
    }

    /// The cache hints for the client: what is left of the shortest time to live, and private if one
    /// part is. A part without hints counts as stale and private.
    fn hints(&mut self, now: Time, private: bool, is_whole: bool) {
        let listed = self.parts.iter().filter_map(|part| match &part.state {
            PartState::Listed(kept) => Some(kept),
            _ => None,
        });
        for kept in listed {
            let left = kept
                .hints
                .ttl_ms
                .map_or(0, |_| kept.until.since(now).as_millis());
            self.end.ttl_ms = Some(self.end.ttl_ms.map_or(left, |all| all.min(left)));
            if self.end.cache_scope != Some(McpCacheScope::Private) {
                self.end.cache_scope = Some(kept.hints.scope);
            }
        }
        if private {
            self.end.cache_scope = Some(McpCacheScope::Private);
        }
        if !is_whole {
            // The next attempt may succeed, so do not let the client cache this list.
            self.end.ttl_ms = Some(0);
        }
    }

    fn refuse(&mut self, cx: &mut Context<'_>, kind: McpResetKind, message: &str) {
        let reset: ResetEx = McpReset::new(kind, message).into();
        cx.terminate(self.accepted, Some(reset), None);
    }

    fn flush(&mut self, cx: &mut Context<'_>) {
        if self.answered && self.answer.flush(cx, self.accepted) {
            cx.end(self.accepted, Frame::end_with(self.end.clone()));
        }
    }

    fn cancel_timer(&mut self, cx: &mut Context<'_>) {
        if let Some(timer) = self.timer.take() {
            cx.cancel(timer);
        }
    }

    /// Ends the caller's stream.
    pub(super) fn abort(&mut self, cx: &mut Context<'_>) {
        self.cancel_timer(cx);
        cx.terminate(self.accepted, None, None);
    }
}
