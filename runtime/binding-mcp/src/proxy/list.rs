//! A list of all toolkits: requested in parallel, and served without those that fail or are late.

use std::sync::Arc;

use tidegate_engine::{Context, PendingData, StreamId, TimerId};
use tidegate_json::{Gather, write};
use tidegate_streams::Pooled;
use tidegate_streams::mcp::{McpBeginEx, McpCacheScope, McpEnd, McpReset, McpResetKind};
use tidegate_streams::{Data, EndEx, Frame, Identity, ResetEx};

use super::deadline::ToolkitDeadline;
use super::events::{ListCut, ToolkitLeftOut};
use super::names::{Kind, Prefixes};
use super::routing::Routing;
use super::splice::{self, Page};

/// For whom a list is, and what it may contain.
#[derive(Debug, Clone)]
pub(super) struct Filter {
    pub(super) routing: Arc<Routing>,
    pub(super) caller: Option<Arc<Identity>>,
}

/// The request to one toolkit.
#[derive(Debug)]
pub(super) struct Fetch {
    /// The toolkit, as an index into the routing.
    pub(super) upstream: usize,
    pub(super) prefixes: Prefixes,
    /// Decides which elements are offered; `None`: all.
    filter: Option<Filter>,
    /// The stream of the page being received.
    stream: Option<StreamId>,
    result: Gather,
    pages: Vec<Page>,
    /// What its pages may still take, with their prefixes, in bytes.
    size_left: usize,
    /// The toolkit has more pages than `maxPages`.
    cut: bool,
    failed: Option<String>,
}

impl Fetch {
    /// `size_max`: maximum size of the toolkit's list, in bytes.
    pub(super) fn new(
        upstream: usize,
        prefixes: Prefixes,
        filter: Option<Filter>,
        size_max: usize,
    ) -> Self {
        Self {
            upstream,
            prefixes,
            filter,
            stream: None,
            result: Gather::new(),
            pages: Vec::new(),
            size_left: size_max,
            cut: false,
            failed: None,
        }
    }

    fn toolkit(&self) -> &str {
        match self.prefixes.uri.trim_end_matches('+') {
            "" => "exit",
            toolkit => toolkit,
        }
    }

    fn offers(&self, list: &McpBeginEx, name: &str) -> bool {
        let Some((filter, kind)) = self.filter.as_ref().zip(Kind::listed(list)) else {
            return true;
        };
        let caller = filter.caller.as_deref();
        filter.routing.offers(caller, self.upstream, kind, name)
    }

    pub(super) const fn opened(&mut self, stream: StreamId) {
        self.stream = Some(stream);
    }

    pub(super) fn fail(&mut self, cx: &mut Context<'_>, why: &str) {
        if let Some(stream) = self.stream.take() {
            cx.terminate(stream, None, None);
        }
        self.failed = Some(why.to_owned());
    }
}

/// Result of handling a toolkit's frame.
pub(super) enum Step {
    /// More frames are expected.
    Wait,
    /// Request the next page of a toolkit, from this cursor.
    NextPage {
        upstream: usize,
        params: bytes::Bytes,
    },
    /// Every toolkit has answered or failed.
    Complete,
}

/// A list being collected.
#[derive(Debug)]
pub(super) struct List {
    accepted: StreamId,
    pub(super) begin: McpBeginEx,
    pub(super) fetches: Vec<Fetch>,
    pub(super) deadline: ToolkitDeadline,
    pub(super) timer: Option<TimerId>,
    answer: PendingData,
    end: McpEnd,
    answered: bool,
    pages_max: u32,
}

impl List {
    /// `private`: what it contains depends on the caller.
    pub(super) fn new(
        accepted: StreamId,
        begin: McpBeginEx,
        fetches: Vec<Fetch>,
        deadline: ToolkitDeadline,
        pages_max: u32,
        private: bool,
    ) -> Self {
        Self {
            accepted,
            begin,
            fetches,
            deadline,
            timer: None,
            answer: PendingData::new(),
            end: McpEnd {
                cache_scope: private.then_some(McpCacheScope::Private),
                ..McpEnd::default()
            },
            answered: false,
            pages_max,
        }
    }

    /// The caller's stream.
    pub(super) const fn accepted(&self) -> StreamId {
        self.accepted
    }

    /// Handles a frame of the caller; returns whether the list has ended.
    pub(super) fn on_caller_frame(&mut self, cx: &mut Context<'_>, frame: Frame) -> bool {
        match frame {
            // The params of a list contain at most a cursor, and this list is not paginated.
            Frame::Data(data) => cx.acknowledge(self.accepted, data.payload.len()),
            Frame::Window(_) => self.flush(cx),
            Frame::Abort(_) | Frame::Reset(_) => self.abort(cx),
            Frame::End(_) if !self.answered => self.abort(cx),
            _ => {}
        }
        cx.is_over(self.accepted)
    }

    /// Handles a frame of a toolkit.
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
                if length > fetch.size_left {
                    fetch.fail(cx, "list larger than maxResultSize");
                } else {
                    fetch.size_left -= length;
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
                let offers = |name: &str| fetch.offers(&self.begin, name);
                let (prefixes, room) = (&fetch.prefixes, fetch.size_left);
                match splice::page(&self.begin, result, prefixes, room, &offers) {
                    Ok(mut page) => {
                        fetch.size_left -= page.added;
                        let next = page.next.take();
                        let more = u32::try_from(fetch.pages.len()).unwrap_or(u32::MAX) + 1;
                        fetch.pages.push(page);
                        fetch.cut = next.is_some() && more >= self.pages_max;
                        let upstream = fetch.upstream;
                        self.combine(&end);
                        if let Some(next) = next.filter(|_| more < self.pages_max) {
                            return Step::NextPage {
                                upstream,
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
            Frame::Abort(_) => fetch.fail(cx, "stream aborted"),
            _ => {}
        }
        self.state()
    }

    /// Whether a toolkit's answer is still missing.
    pub(super) fn state(&self) -> Step {
        if self.answered || self.fetches.iter().any(|fetch| fetch.stream.is_some()) {
            Step::Wait
        } else {
            Step::Complete
        }
    }

    /// Merges cache hints: the shortest time to live applies, and the list is private if one of its
    /// parts is. A part without hints counts as stale and private.
    fn combine(&mut self, end: &McpEnd) {
        let ttl_ms = end.ttl_ms.unwrap_or(0);
        let scope = end.cache_scope.unwrap_or(McpCacheScope::Private);
        self.end.ttl_ms = Some(self.end.ttl_ms.map_or(ttl_ms, |all| all.min(ttl_ms)));
        if self.end.cache_scope != Some(McpCacheScope::Private) {
            self.end.cache_scope = Some(scope);
        }
    }

    /// Fails the requests that have not been answered.
    pub(super) fn time_out(&mut self, cx: &mut Context<'_>) {
        for fetch in self
            .fetches
            .iter_mut()
            .filter(|fetch| fetch.stream.is_some())
        {
            fetch.fail(cx, "no response within the timeout");
        }
    }

    /// Whether a toolkit or some of its pages are missing.
    pub(super) fn is_incomplete(&self) -> bool {
        let incomplete = |fetch: &Fetch| fetch.failed.is_some() || fetch.cut;
        self.fetches.iter().any(incomplete)
    }

    /// Answers with the merged list; refuses if every toolkit failed.
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
            // The next attempt may succeed, so do not let the client cache this list.
            self.end.ttl_ms = Some(0);
        }
        if !failures.is_empty() && failures.len() == self.fetches.len() {
            let message = format!("No toolkit responded: {}.", failures.join("; "));
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
    pub(super) fn abort(&mut self, cx: &mut Context<'_>) {
        if let Some(timer) = self.timer.take() {
            cx.cancel(timer);
        }
        for fetch in &mut self.fetches {
            fetch.fail(cx, "caller closed the stream");
        }
        cx.terminate(self.accepted, None, None);
    }
}

/// The params that request the page at a cursor.
fn cursor(next: &str) -> bytes::Bytes {
    let mut params = bytes::BytesMut::from(&b"{\"cursor\":"[..]);
    write::push_string(&mut params, next);
    params.extend_from_slice(b"}");
    params.freeze()
}

/// Reason of a toolkit's reset, as a part of a sentence.
pub(super) fn reason(reset: Option<&ResetEx>) -> String {
    match reset {
        // The sentence around it has its own full stop.
        Some(ResetEx::Mcp(reset)) if !reset.message.is_empty() => {
            reset.message.trim_end_matches('.').to_owned()
        }
        _ => "request refused".to_owned(),
    }
}
