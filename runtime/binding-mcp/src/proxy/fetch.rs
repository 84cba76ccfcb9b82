//! The request for a toolkit's list, for all callers of equal rights that ask for it meanwhile.
//!
//! Callers wait for it until the deadline of the toolkit. Then it is *late*: it continues without
//! callers until `listTimeout`, so that the list of a slow toolkit is there when it is next asked for.

use bytestring::ByteString;
use smallvec::SmallVec;
use tidegate_engine::{CallContext, Context, StreamId, TimerId};
use tidegate_json::Gather;
use tidegate_streams::mcp::{McpBeginEx, McpCacheScope, McpEnd, McpReset, McpResetKind};
use tidegate_streams::{EndEx, Frame, Pooled, ResetEx};

use super::cache::{Hints, Key};
use super::listing::{Collected, Collector, Rules};

/// The JSON-RPC error code of a method that a server does not have.
const METHOD_NOT_FOUND: i64 = -32_601;

/// The cache hints for the list of a toolkit that does not have the method.
const WITHOUT_METHOD: Hints = Hints {
    ttl_ms: Some(60_000),
    scope: McpCacheScope::Public,
};

/// A request for a toolkit's list.
#[derive(Debug)]
pub(super) struct Fetch {
    pub(super) key: Key,
    /// The context of its streams.
    pub(super) call: CallContext,
    /// The toolkit's session.
    pub(super) session: Option<ByteString>,
    /// The stream of the page being received.
    pub(super) stream: Option<StreamId>,
    result: Gather,
    collector: Collector,
    /// What its pages may still take, with their prefixes, in bytes.
    size_left: usize,
    pages: u32,
    pages_max: u32,
    hints: Option<Hints>,
    /// The lists of callers that wait for it.
    pub(super) waiting: SmallVec<[usize; 4]>,
    pub(super) timer: Option<TimerId>,
    /// Its callers have stopped waiting.
    pub(super) late: bool,
    /// The list has changed since it was requested.
    pub(super) changed: bool,
}

/// Result of handling a toolkit's frame.
pub(super) enum Step {
    /// More frames are expected.
    Wait,
    /// The page at this cursor is to be requested.
    NextPage(ByteString),
    /// It has ended.
    Ended(Outcome),
}

/// How a request ended.
pub(super) enum Outcome {
    Listed {
        collected: Collected,
        hints: Hints,
        /// The toolkit has more pages than `maxPages`.
        cut: bool,
    },
    Failed(Failure),
}

/// Why a request failed.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) reason: String,
    pub(super) about: About,
}

/// What a failure says about the toolkit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum About {
    /// It did not answer.
    Unavailable,
    /// It has answered, with what cannot be used.
    Unusable,
    /// Nothing: it was not asked, because a limit of the gateway is reached.
    Nothing,
}

impl Failure {
    pub(super) fn unavailable(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            about: About::Unavailable,
        }
    }

    pub(super) fn unusable(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            about: About::Unusable,
        }
    }

    /// What a toolkit's reset means.
    pub(super) fn of_reset(reset: Option<&ResetEx>) -> Self {
        let about = match reset {
            Some(ResetEx::Mcp(reset)) => match reset.kind {
                McpResetKind::Unavailable | McpResetKind::TimedOut => About::Unavailable,
                McpResetKind::Busy => About::Nothing,
                _ => About::Unusable,
            },
            _ => About::Unavailable,
        };
        Self {
            reason: reason(reset),
            about,
        }
    }
}

impl Fetch {
    /// `size_max`: maximum size of the list, in bytes.
    pub(super) fn new(
        key: Key,
        call: CallContext,
        rules: Rules,
        size_max: usize,
        pages_max: u32,
    ) -> Self {
        Self {
            call,
            session: None,
            stream: None,
            result: Gather::new(),
            collector: Collector::new(key.kind, rules),
            key,
            size_left: size_max,
            pages: 0,
            pages_max,
            hints: None,
            waiting: SmallVec::new(),
            timer: None,
            late: false,
            changed: false,
        }
    }

    /// The operation that requests a page.
    pub(super) fn begin(&self, page: Option<ByteString>) -> McpBeginEx {
        let mut begin = self.key.kind.begin();
        begin.set_session_id(self.session.clone());
        if let Some(cursor) = begin.cursor_mut() {
            *cursor = page;
        }
        begin
    }

    /// Handles a frame of the toolkit.
    pub(super) fn on_frame(
        &mut self,
        cx: &mut Context<'_>,
        stream: StreamId,
        frame: Frame,
    ) -> Step {
        // A late frame of an earlier page, or one of an aborted stream.
        if self.stream != Some(stream) {
            return Step::Wait;
        }
        match frame {
            Frame::Data(data) => {
                let length = data.payload.len();
                let Some(left) = self.size_left.checked_sub(length) else {
                    return self.fail(cx, Failure::unusable("list larger than maxResultSize"));
                };
                self.size_left = left;
                self.result.push(data.payload);
                cx.acknowledge(stream, length);
                Step::Wait
            }
            Frame::End(end) => {
                cx.end(stream, Frame::end());
                self.stream = None;
                let end = match end.map(Pooled::into_inner) {
                    Some(EndEx::Mcp(end)) => end,
                    Some(EndEx::Mqtt(_)) | None => McpEnd::default(),
                };
                self.page_ended(cx, &end)
            }
            Frame::Reset(reset) if is_unknown_method(reset.as_deref()) => {
                self.close(cx);
                // It has nothing of this kind, and no hints of its own.
                self.hints = Some(WITHOUT_METHOD);
                Step::Ended(self.listed(false))
            }
            Frame::Reset(reset) => self.fail(cx, Failure::of_reset(reset.as_deref())),
            Frame::Abort(_) => self.fail(cx, Failure::unavailable("stream aborted")),
            _ => Step::Wait,
        }
    }

    fn page_ended(&mut self, cx: &mut Context<'_>, end: &McpEnd) -> Step {
        let result = self.result.take();
        let page = match self.collector.add(result, self.size_left) {
            Ok(page) => page,
            Err(why) => return self.fail(cx, Failure::unusable(why)),
        };
        self.size_left -= page.added;
        self.pages += 1;
        self.combine(end);
        match page.next {
            Some(next) if self.pages < self.pages_max => Step::NextPage(next),
            next => Step::Ended(self.listed(next.is_some())),
        }
    }

    /// Combines the cache hints of its pages: the shortest time to live applies, and the list is private
    /// if one of its pages is.
    fn combine(&mut self, end: &McpEnd) {
        let of_page = Hints {
            ttl_ms: end.ttl_ms,
            scope: end.cache_scope.unwrap_or(McpCacheScope::Private),
        };
        self.hints = Some(match self.hints {
            None => of_page,
            Some(hints) => Hints {
                ttl_ms: hints.ttl_ms.min(of_page.ttl_ms),
                scope: match hints.scope {
                    McpCacheScope::Private => McpCacheScope::Private,
                    McpCacheScope::Public => of_page.scope,
                },
            },
        });
    }

    fn listed(&mut self, cut: bool) -> Outcome {
        let hints = self.hints.unwrap_or(Hints {
            ttl_ms: None,
            scope: McpCacheScope::Private,
        });
        Outcome::Listed {
            collected: self.collector.take(),
            hints,
            cut,
        }
    }

    fn fail(&mut self, cx: &mut Context<'_>, failure: Failure) -> Step {
        self.close(cx);
        Step::Ended(Outcome::Failed(failure))
    }

    /// Ends its stream and its timer.
    pub(super) fn close(&mut self, cx: &mut Context<'_>) {
        if let Some(stream) = self.stream.take() {
            cx.terminate(stream, None, None);
        }
        if let Some(timer) = self.timer.take() {
            cx.cancel(timer);
        }
    }
}

/// Whether a toolkit says that it does not have the method: it has none of what would be listed.
fn is_unknown_method(reset: Option<&ResetEx>) -> bool {
    match reset {
        Some(ResetEx::Mcp(McpReset { kind, code, .. })) => {
            *kind == McpResetKind::NotFound
                || (*kind == McpResetKind::Relayed && *code == Some(METHOD_NOT_FOUND))
        }
        _ => false,
    }
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
