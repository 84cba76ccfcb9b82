//! An operation relayed to one toolkit, frame by frame.

use std::sync::Arc;

use tidegate_engine::{At, Context, PendingData, StreamId};
use tidegate_json::Gather;
use tidegate_options::Guarded;
use tidegate_streams::mcp::{McpCacheScope, McpFlushEx, McpReset, McpResetKind};
use tidegate_streams::{AbortEx, BeginEx, Data, EndEx, FlushEx, Frame, ResetEx, Role};

use super::names::Prefixes;
use super::splice;

/// Queued DATA of one direction, and the END after it.
#[derive(Debug, Default)]
struct Direction {
    data: PendingData,
    end: Option<Frame>,
}

impl Direction {
    /// Sends what the credit allows; returns the number of bytes sent.
    fn flush(&mut self, cx: &mut Context<'_>, to: StreamId) -> usize {
        let before = self.data.len();
        if self.data.flush(cx, to)
            && let Some(end) = self.end.take()
        {
            cx.end(to, end);
        }
        before - self.data.len()
    }
}

/// A relayed operation.
#[derive(Debug)]
pub(super) struct Relay {
    accepted: StreamId,
    opened: StreamId,
    forward: Direction,
    back: Direction,
    /// Prefixes for names and URIs in the result; absent in a transparent proxy.
    prefixes: Option<Prefixes>,
    /// The result, while it is buffered to insert prefixes.
    gathered: Option<Gather>,
    result_max: usize,
    /// The result is for this caller only, whatever the toolkit says.
    private: bool,
    /// Whom the route permits.
    guarded: Option<Arc<Guarded>>,
}

impl Relay {
    pub(super) fn new(
        accepted: StreamId,
        opened: StreamId,
        prefixes: Option<Prefixes>,
        gathers: bool,
        result_max: usize,
        private: bool,
        guarded: Option<Arc<Guarded>>,
    ) -> Self {
        let has_prefix = prefixes.as_ref().is_some_and(|it| !it.is_empty());
        Self {
            accepted,
            opened,
            forward: Direction::default(),
            back: Direction::default(),
            gathered: (gathers && has_prefix).then(Gather::new),
            prefixes,
            result_max,
            private,
            guarded,
        }
    }

    /// Handles a frame of either stream; returns whether the operation has ended.
    pub(super) fn on_frame(&mut self, cx: &mut Context<'_>, at: At, frame: Frame) -> bool {
        match at.role {
            Role::Callee => self.on_caller_frame(cx, frame),
            Role::Caller => self.on_toolkit_frame(cx, frame),
        }
        cx.is_over(self.accepted) && cx.is_over(self.opened)
    }

    fn on_caller_frame(&mut self, cx: &mut Context<'_>, frame: Frame) {
        match frame {
            Frame::Data(data) => {
                let length = data.payload.len();
                self.forward.data.push(data);
                let sent = self.forward.flush(cx, self.opened);
                // Queued data is acknowledged when it is sent, so the caller is limited to the
                // toolkit's pace.
                cx.acknowledge(self.accepted, sent.min(length));
            }
            end @ Frame::End(_) => {
                self.forward.end = Some(end);
                self.forward.flush(cx, self.opened);
            }
            Frame::Window(_) => {
                let sent = self.back.flush(cx, self.accepted);
                if self.gathered.is_none() {
                    cx.acknowledge(self.opened, sent);
                }
            }
            Frame::Flush(flush) => cx.send(self.opened, Frame::Flush(flush)),
            Frame::Abort(abort) => self.cancel(cx, abort.map(|abort| *abort)),
            Frame::Reset(_) => self.cancel(cx, None),
            Frame::Begin(_) | Frame::Challenge(_) => {}
        }
    }

    /// The caller has cancelled.
    fn cancel(&mut self, cx: &mut Context<'_>, abort: Option<AbortEx>) {
        cx.terminate(self.opened, None, abort);
        cx.terminate(self.accepted, None, None);
    }

    fn on_toolkit_frame(&mut self, cx: &mut Context<'_>, frame: Frame) {
        match frame {
            Frame::Begin(begin) => {
                let mut begin = begin.into_inner();
                if self.prefixes.is_some()
                    && let BeginEx::Mcp(mcp) = &mut begin
                {
                    // The toolkit's session identity must not reach the caller.
                    mcp.set_session_id(None);
                }
                cx.send(self.accepted, Frame::begin(begin));
            }
            Frame::Data(data) => self.result(cx, data),
            mut end @ Frame::End(_) => {
                self.finish_gathering(cx);
                self.restrict(&mut end);
                self.back.end = Some(end);
                let sent = self.back.flush(cx, self.accepted);
                if self.prefixes.is_none() {
                    cx.acknowledge(self.opened, sent);
                }
            }
            Frame::Window(_) => {
                let sent = self.forward.flush(cx, self.opened);
                cx.acknowledge(self.accepted, sent);
            }
            Frame::Flush(mut flush) => {
                self.prefix(&mut flush);
                cx.send(self.accepted, Frame::Flush(flush));
            }
            Frame::Challenge(challenge) => cx.send(self.accepted, Frame::Challenge(challenge)),
            Frame::Reset(reset) => {
                let reset = reset.map(|reset| self.refusal(cx, *reset));
                cx.terminate(self.accepted, reset, None);
                cx.terminate(self.opened, None, None);
            }
            Frame::Abort(abort) => {
                cx.terminate(self.accepted, None, abort.map(|abort| *abort));
                cx.terminate(self.opened, None, None);
            }
        }
    }

    /// A refusal of the toolkit, as the caller is told: where it names scopes, with those of the route, and where it
    /// names a resource, with its prefix.
    fn refusal(&self, cx: &Context<'_>, mut reset: ResetEx) -> ResetEx {
        if let ResetEx::Mcp(reset) = &mut reset
            && let (Some(prefixes), Some(data)) = (&self.prefixes, &reset.data)
            && matches!(reset.kind, McpResetKind::NotFound | McpResetKind::Invalid)
        {
            reset.data = Some(splice::prefix_uri(data, prefixes));
        }
        let roles = self.guarded.as_deref().zip(cx.identity());
        match (reset, roles.and_then(|(it, caller)| it.roles(caller))) {
            (ResetEx::Mcp(reset), Some(scopes)) => reset.with_scopes_of_the_way(scopes).into(),
            (reset, _) => reset,
        }
    }

    fn result(&mut self, cx: &mut Context<'_>, data: Data) {
        let length = data.payload.len();
        let Some(gathered) = &mut self.gathered else {
            self.back.data.push(data);
            let sent = self.back.flush(cx, self.accepted);
            cx.acknowledge(self.opened, sent);
            return;
        };
        gathered.push(data.payload);
        if gathered.len() > self.result_max {
            return self.refuse_too_large(cx);
        }
        cx.acknowledge(self.opened, length);
    }

    fn refuse_too_large(&mut self, cx: &mut Context<'_>) {
        let message = format!(
            "The result exceeds {} bytes (maxResultSize).",
            self.result_max
        );
        let reset: ResetEx = McpReset::new(McpResetKind::TooLarge, message).into();
        cx.terminate(self.accepted, Some(reset), None);
        cx.terminate(self.opened, None, None);
    }

    fn finish_gathering(&mut self, cx: &mut Context<'_>) {
        let (Some(gathered), Some(prefixes)) = (&mut self.gathered, &self.prefixes) else {
            return;
        };
        // Stop buffering, so that nothing is acknowledged twice.
        let gathered = gathered.take();
        let Some(result) = splice::prefix_uris(gathered, prefixes, self.result_max) else {
            return self.refuse_too_large(cx);
        };
        for data in Data::of_message(result) {
            self.back.data.push(data);
        }
        self.back.flush(cx, self.accepted);
    }

    /// Keeps caches from giving the result to other callers.
    fn restrict(&self, end: &mut Frame) {
        if self.private
            && let Frame::End(Some(end)) = end
            && let EndEx::Mcp(end) = &mut **end
            && end.cache_scope.is_some()
        {
            end.cache_scope = Some(McpCacheScope::Private);
        }
    }

    fn prefix(&self, flush: &mut FlushEx) {
        if let (FlushEx::Mcp(McpFlushEx::ResourcesUpdated(updated)), Some(prefixes)) =
            (flush, &self.prefixes)
        {
            updated.uri = format!("{}{}", prefixes.uri, updated.uri).into();
        }
    }

    /// Ends both streams.
    pub(super) fn abort(&self, cx: &mut Context<'_>) {
        cx.terminate(self.accepted, None, None);
        cx.terminate(self.opened, None, None);
    }
}
