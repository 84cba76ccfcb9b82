//! A session with the caller, and the sessions with the toolkits behind it.

use bytestring::ByteString;
use tidegate_engine::{Context, StreamId, TimerId};
use tidegate_streams::mcp::{McpBeginEx, McpCapabilities, McpLifecycle, McpReset, McpResetKind};
use tidegate_streams::{BeginEx, FlushEx, Frame, ResetEx};

use super::list::reason;

/// The session with one toolkit.
#[derive(Debug, Default)]
pub(super) struct Hop {
    pub(super) stream: Option<StreamId>,
    /// The toolkit's session identity, once it has answered.
    pub(super) id: Option<ByteString>,
    capabilities: McpCapabilities,
    failed: Option<String>,
}

/// A session with the caller. It ends when all its streams have ended.
#[derive(Debug)]
pub(super) struct Session {
    accepted: StreamId,
    pub(super) id: ByteString,
    pub(super) client: McpCapabilities,
    pub(super) hops: Vec<Hop>,
    pub(super) timer: Option<TimerId>,
    answered: bool,
}

impl Session {
    pub(super) fn new(
        cx: &mut Context<'_>,
        accepted: StreamId,
        client: McpCapabilities,
        routes: usize,
    ) -> Self {
        let hops = (0..routes).map(|_| Hop::default()).collect();
        Self {
            accepted,
            id: cx.mint_identity(),
            client,
            hops,
            timer: None,
            answered: false,
        }
    }

    /// Handles a frame of the caller.
    pub(super) fn on_caller_frame(&mut self, cx: &mut Context<'_>, frame: Frame) {
        match frame {
            Frame::Data(data) => cx.acknowledge(self.accepted, data.payload.len()),
            Frame::End(_) => {
                for hop in &mut self.hops {
                    hop.id = None;
                    if let Some(stream) = hop.stream {
                        cx.end(stream, Frame::end());
                    }
                }
                if self.answered {
                    cx.end(self.accepted, Frame::end());
                } else {
                    cx.terminate(self.accepted, None, None);
                }
                self.cancel_timer(cx);
            }
            Frame::Abort(_) | Frame::Reset(_) => self.abort(cx),
            _ => {}
        }
    }

    /// Handles a frame of a toolkit.
    pub(super) fn on_toolkit_frame(
        &mut self,
        cx: &mut Context<'_>,
        stream: StreamId,
        frame: Frame,
    ) {
        let Some(hop) = self.hops.iter_mut().find(|hop| hop.stream == Some(stream)) else {
            return;
        };
        match frame {
            Frame::Begin(begin) => {
                if let BeginEx::Mcp(McpBeginEx::Lifecycle(lifecycle)) = begin.into_inner() {
                    hop.id = lifecycle.session_id;
                    hop.capabilities = lifecycle.capabilities;
                }
            }
            Frame::Data(data) => cx.acknowledge(stream, data.payload.len()),
            Frame::Flush(flush) if self.answered => self.pass_flush(cx, flush),
            Frame::End(_) | Frame::Abort(_) => hop.fail(cx, "session ended by the toolkit"),
            Frame::Reset(reset) => {
                let why = reason(reset.as_deref());
                hop.fail(cx, &why);
            }
            _ => {}
        }
        self.settle(cx);
    }

    fn pass_flush(&self, cx: &mut Context<'_>, flush: Box<FlushEx>) {
        if cx.is_sending(self.accepted) {
            cx.send(self.accepted, Frame::Flush(flush));
        }
    }

    /// Answers once every toolkit has answered or failed.
    pub(super) fn settle(&mut self, cx: &mut Context<'_>) {
        let is_pending =
            |hop: &Hop| hop.stream.is_some() && hop.id.is_none() && hop.failed.is_none();
        if !self.answered && !self.hops.iter().any(is_pending) {
            self.answer(cx);
        }
    }

    /// Answers with the combined capabilities of the toolkits that have answered.
    pub(super) fn answer(&mut self, cx: &mut Context<'_>) {
        self.cancel_timer(cx);
        if self.answered || cx.is_over(self.accepted) {
            return;
        }
        self.answered = true;
        let why = self.hops.iter().filter_map(|hop| hop.failed.as_deref());
        let why: Vec<&str> = why.collect();
        // Without a failure, there is no toolkit that the caller may use: the session is empty.
        if !why.is_empty() && self.hops.iter().all(|hop| hop.id.is_none()) {
            let message = format!("No toolkit available: {}.", why.join("; "));
            let reset: ResetEx = McpReset::new(McpResetKind::Unavailable, message).into();
            cx.terminate(self.accepted, Some(reset), None);
            self.abort(cx);
            return;
        }
        let none = McpCapabilities::NONE;
        let all = self
            .hops
            .iter()
            .fold(none, |all, hop| all.with(hop.capabilities));
        let session_id = Some(self.id.clone());
        cx.send(
            self.accepted,
            Frame::begin(McpLifecycle {
                session_id,
                capabilities: all,
            }),
        );
    }

    fn cancel_timer(&mut self, cx: &mut Context<'_>) {
        if let Some(timer) = self.timer.take() {
            cx.cancel(timer);
        }
    }

    /// Whether all streams of the session have ended.
    pub(super) fn is_over(&self, cx: &Context<'_>) -> bool {
        let hop_over = |hop: &Hop| hop.stream.is_none_or(|stream| cx.is_over(stream));
        cx.is_over(self.accepted) && self.hops.iter().all(hop_over)
    }

    /// Ends every stream.
    pub(super) fn abort(&mut self, cx: &mut Context<'_>) {
        self.cancel_timer(cx);
        for hop in &mut self.hops {
            hop.fail(cx, "caller closed the session");
        }
        cx.terminate(self.accepted, None, None);
    }
}

impl Hop {
    pub(super) fn fail(&mut self, cx: &mut Context<'_>, why: &str) {
        if let Some(stream) = self.stream.take() {
            cx.terminate(stream, None, None);
        }
        self.id = None;
        self.failed = Some(why.to_owned());
    }

    /// A new attempt has been started.
    pub(super) fn opened(&mut self, stream: StreamId) {
        self.stream = Some(stream);
        self.failed = None;
    }
}
