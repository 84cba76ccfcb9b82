//! A list of all toolkits: asked for in parallel, served without those that fail or are late.

use tidegate_engine::{Context, PendingData, StreamId, TimerId};
use tidegate_json::{Gather, write};
use tidegate_streams::Pooled;
use tidegate_streams::mcp::{McpBeginEx, McpCacheScope, McpEnd, McpReset, McpResetKind};
use tidegate_streams::{Data, EndEx, Frame, ResetEx};

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
            failed: None,
        }
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
                        let route = fetch.route;
                        self.combine(&end);
                        if let Some(next) = next
                            && more < self.pages_max
                        {
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

    /// The list stays fresh as long as its freshest part, and is as private as its most private one.
    fn combine(&mut self, end: &McpEnd) {
        self.end.ttl_ms = match (self.end.ttl_ms, end.ttl_ms) {
            (Some(all), Some(one)) => Some(all.min(one)),
            (all, one) => all.or(one),
        };
        if self.end.cache_scope != Some(McpCacheScope::Private) {
            self.end.cache_scope = end.cache_scope.or(self.end.cache_scope);
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

    /// Whether a toolkit is left out.
    pub(super) fn is_incomplete(&self) -> bool {
        self.fetches.iter().any(|fetch| fetch.failed.is_some())
    }

    /// Answers with what the toolkits gave; refuses if none gave anything.
    pub(super) fn answer(&mut self, cx: &mut Context<'_>) {
        self.answered = true;
        if let Some(timer) = self.timer.take() {
            cx.cancel(timer);
        }
        let failed = |fetch: &Fetch| {
            let toolkit = fetch.prefixes.uri.trim_end_matches('+').to_owned();
            fetch.failed.as_ref().map(|why| format!("{toolkit}: {why}"))
        };
        let failures: Vec<String> = self.fetches.iter().filter_map(failed).collect();
        for failure in &failures {
            tracing::warn!(
                list = self.begin.word(),
                trace = format_args!("{:016x}", cx.trace()),
                "a toolkit is left out of a list: {failure}"
            );
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
