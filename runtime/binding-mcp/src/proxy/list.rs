//! A list of all toolkits: asked for in parallel, served without those that fail or are late.

use tidegate_engine::{Context, PendingData, StreamId, TimerId};
use tidegate_json::{Gather, write};
use tidegate_streams::Pooled;
use tidegate_streams::mcp::{McpBeginEx, McpCacheScope, McpEnd, McpReset, McpResetKind};
use tidegate_streams::{Data, EndEx, Frame, ResetEx};

use super::events::{ListCut, ToolkitLeftOut};
use super::names::Prefixes;
use super::patience::Patience;
use super::splice::{self, Page};

/// What is asked of one toolkit.
#[derive(Debug)]
pub(super) struct Fetch {
    pub(super) route: usize,
    pub(super) prefixes: Prefixes,
    /// The stream of the page that is under way.
    stream: Option<StreamId>,
    result: Gather,
    pages: Vec<Page>,
    /// It has more pages than were asked for.
    cut: bool,
    failed: Option<String>,
}

impl Fetch {
    pub(super) fn new(route: usize, prefixes: Prefixes) -> Self {
        Self {
            route,
            prefixes,
            stream: None,
            result: Gather::new(),
            pages: Vec::new(),
            cut: false,
            failed: None,
        }
    }

    fn toolkit(&self) -> &str {
        self.prefixes.uri.trim_end_matches('+')
    }

    pub(super) const fn asked(&mut self, stream: StreamId) {
        self.stream = Some(stream);
    }

    pub(super) fn fail(&mut self, cx: &mut Context<'_>, why: &str) {
        if let Some(stream) = self.stream.take() {
            cx.terminate(stream, None, None);
        }
        self.failed = Some(why.to_owned());
    }
}

/// What a toolkit's frame has led to.
pub(super) enum Step {
    /// More is to come.
    Wait,
    /// The next page of a toolkit is to be asked for, from this cursor on.
    NextPage { route: usize, params: bytes::Bytes },
    /// Every toolkit has answered or failed.
    Settled,
}

/// A list on its way.
#[derive(Debug)]
pub(super) struct List {
    accepted: StreamId,
    pub(super) begin: McpBeginEx,
    pub(super) fetches: Vec<Fetch>,
    pub(super) patience: Patience,
    pub(super) timer: Option<TimerId>,
    answer: PendingData,
    end: McpEnd,
    answered: bool,
    size_left: usize,
    pages_max: u32,
}

impl List {
    pub(super) fn new(
        accepted: StreamId,
        begin: McpBeginEx,
        fetches: Vec<Fetch>,
        patience: Patience,
        size_max: usize,
        pages_max: u32,
    ) -> Self {
        Self {
            accepted,
            begin,
            fetches,
            patience,
            timer: None,
            answer: PendingData::new(),
            end: McpEnd::default(),
            answered: false,
            size_left: size_max,
            pages_max,
        }
    }

    /// The caller's stream.
    pub(super) const fn accepted(&self) -> StreamId {
        self.accepted
    }

    /// Takes a frame of the caller; whether the list is over.
    pub(super) fn on_caller_frame(&mut self, cx: &mut Context<'_>, frame: Frame) -> bool {
        match frame {
            // A list's params hold a cursor at the most, and this list is always whole.
            Frame::Data(data) => cx.acknowledge(self.accepted, data.payload.len()),
            Frame::Window(_) => self.flush(cx),
            Frame::Abort(_) | Frame::Reset(_) => self.give_up(cx),
            Frame::End(_) if !self.answered => self.give_up(cx),
            _ => {}
        }
        cx.is_over(self.accepted)
    }

    /// Takes a frame of a toolkit.
    pub(super) fn on_toolkit_frame(
        &mut self,
        cx: &mut Context<'_>,
        stream: StreamId,
        frame: Frame,
    ) -> Step {
        let Some(fetch) = self
            .fetches
            .iter_mut()
            .find(|fetch| fetch.stream == Some(stream))
        else {
            return Step::Wait;
        };
        match frame {
            Frame::Data(data) => {
                let length = data.payload.len();
                if length > self.size_left {
                    fetch.fail(cx, "its list is too large");
                } else {
                    self.size_left -= length;
                    fetch.result.push(data.payload);
                    cx.acknowledge(stream, length);
                }
            }
            Frame::End(end) => {
                cx.end(stream, Frame::end());
                fetch.stream = None;
                let end = match end.map(Pooled::into_inner) {
                    Some(EndEx::Mcp(end)) => end,
                    Some(EndEx::Mqtt(_)) | None => McpEnd::default(),
                };
                let result = fetch.result.take();
                match splice::page(&self.begin, result, &fetch.prefixes, self.size_left) {
                    Ok(mut page) => {
                        self.size_left -= page.added;
                        let next = page.next.take();
                        let more = u32::try_from(fetch.pages.len()).unwrap_or(u32::MAX) + 1;
                        fetch.pages.push(page);
                        fetch.cut = next.is_some() && more >= self.pages_max;
                        let route = fetch.route;
                        self.combine(&end);
                        if let Some(next) = next.filter(|_| more < self.pages_max) {
                            return Step::NextPage {
                                route,
                                params: cursor(&next),
                            };
                        }
                    }
                    Err(why) => fetch.fail(cx, why),
                }
            }
            Frame::Reset(reset) => {
                let why = reason(reset.as_deref());
                fetch.fail(cx, &why);
            }
            Frame::Abort(_) => fetch.fail(cx, "it broke off"),
            _ => {}
        }
        self.state()
    }

    /// Whether anybody is still waited for.
    pub(super) fn state(&self) -> Step {
        if self.answered || self.fetches.iter().any(|fetch| fetch.stream.is_some()) {
            Step::Wait
        } else {
            Step::Settled
        }
    }

    /// The list is fresh for as long as the part that is so for the shortest time, and private if one of
    /// its parts is. A part that gives no hint is not fresh, and private.
    fn combine(&mut self, end: &McpEnd) {
        let ttl_ms = end.ttl_ms.unwrap_or(0);
        let scope = end.cache_scope.unwrap_or(McpCacheScope::Private);
        self.end.ttl_ms = Some(self.end.ttl_ms.map_or(ttl_ms, |all| all.min(ttl_ms)));
        if self.end.cache_scope != Some(McpCacheScope::Private) {
            self.end.cache_scope = Some(scope);
        }
    }

    /// Gives up on those that have not answered.
    pub(super) fn late(&mut self, cx: &mut Context<'_>) {
        for fetch in self
            .fetches
            .iter_mut()
            .filter(|fetch| fetch.stream.is_some())
        {
            fetch.fail(cx, "it did not answer in time");
        }
    }

    /// Whether a toolkit, or a part of its list, is left out.
    pub(super) fn is_incomplete(&self) -> bool {
        let incomplete = |fetch: &Fetch| fetch.failed.is_some() || fetch.cut;
        self.fetches.iter().any(incomplete)
    }

    /// Answers with what the toolkits gave; refuses if none gave anything.
    pub(super) fn answer(&mut self, cx: &mut Context<'_>) {
        self.answered = true;
        if let Some(timer) = self.timer.take() {
            cx.cancel(timer);
        }
        let mut failures = Vec::new();
        for fetch in &self.fetches {
            let (toolkit, list) = (fetch.toolkit(), self.begin.word().into());
            if let Some(reason) = &fetch.failed {
                failures.push(format!("{toolkit}: {reason}"));
                cx.event(&ToolkitLeftOut {
                    toolkit: toolkit.into(),
                    list,
                    reason: reason.as_str().into(),
                });
            } else if fetch.cut {
                let pages = self.pages_max;
                let toolkit = toolkit.into();
                cx.event(&ListCut {
                    toolkit,
                    list,
                    pages,
                });
            }
        }
        if !failures.is_empty() {
            // The next one may be whole.
            self.end.ttl_ms = Some(0);
        }
        if failures.len() == self.fetches.len() {
            let message = format!("No toolkit has answered: {}.", failures.join("; "));
            let reset: ResetEx = McpReset::new(McpResetKind::Unavailable, message).into();
            cx.terminate(self.accepted, Some(reset), None);
            return;
        }
        let fetches = self.fetches.iter_mut();
        let pages = fetches.flat_map(|fetch| std::mem::take(&mut fetch.pages));
        let result = splice::merge(&self.begin, pages);
        let mut begin = self.begin.clone();
        begin.set_session_id(None);
        cx.send(self.accepted, Frame::begin(begin));
        for data in Data::of_message(result) {
            self.answer.push(data);
        }
        self.flush(cx);
    }

    fn flush(&mut self, cx: &mut Context<'_>) {
        if self.answered && self.answer.flush(cx, self.accepted) {
            cx.end(self.accepted, Frame::end_with(self.end.clone()));
        }
    }

    /// Ends every stream.
    pub(super) fn give_up(&mut self, cx: &mut Context<'_>) {
        if let Some(timer) = self.timer.take() {
            cx.cancel(timer);
        }
        for fetch in &mut self.fetches {
            fetch.fail(cx, "nobody waits for it");
        }
        cx.terminate(self.accepted, None, None);
    }
}

/// The params that ask for the page behind a cursor.
fn cursor(next: &str) -> bytes::Bytes {
    let mut params = bytes::BytesMut::from(&b"{\"cursor\":"[..]);
    write::push_string(&mut params, next);
    params.extend_from_slice(b"}");
    params.freeze()
}

/// Why a toolkit has refused.
pub(super) fn reason(reset: Option<&ResetEx>) -> String {
    match reset {
        // It becomes part of a sentence that has a full stop of its own.
        Some(ResetEx::Mcp(reset)) if !reset.message.is_empty() => {
            reset.message.trim_end_matches('.').to_owned()
        }
        _ => "it refused".to_owned(),
    }
}
