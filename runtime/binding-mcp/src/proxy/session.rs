//! A session with the caller, and the sessions with the toolkits behind it.
//!
//! It is answered when every toolkit has answered, failed or reached its deadline. While none has
//! answered it waits on, until `listTimeout`.

use bytestring::ByteString;
use tidegate_engine::{CallContext, Context, StreamId, Time, TimerId};
use tidegate_streams::mcp::{
    McpBeginEx, McpCapabilities, McpFlushEx, McpLifecycle, McpPromptsListChanged, McpReset,
    McpResetKind, McpResourcesListChanged, McpToolsListChanged,
};
use tidegate_streams::{BeginEx, ChallengeEx, FlushEx, Frame, ResetEx};

use super::fetch::{About, Failure};
use super::questions::Questions;

/// The session with one toolkit.
#[derive(Debug, Default)]
pub(super) struct Hop {
    /// Whether the caller may use something of the toolkit.
    pub(super) reachable: bool,
    pub(super) stream: Option<StreamId>,
    /// The toolkit's session identity, once it has answered.
    pub(super) id: Option<ByteString>,
    capabilities: McpCapabilities,
    failed: Option<String>,
    /// Until when the session waits for it.
    wait: Option<Time>,
}

/// What a toolkit has done.
#[derive(Debug)]
pub(super) enum HopEvent {
    /// It has begun the session, and has these capabilities.
    Begun(McpCapabilities),
    Failed(Failure),
    /// It has sent a notice.
    Notice(Box<FlushEx>),
}

/// A session with the caller. It ends when all its streams have ended.
#[derive(Debug)]
pub(super) struct Session {
    accepted: StreamId,
    pub(super) id: ByteString,
    pub(super) client: McpCapabilities,
    /// The context of streams opened for it later.
    pub(super) call: CallContext,
    pub(super) hops: Vec<Hop>,
    pub(super) timer: Option<TimerId>,
    /// When it is answered in any case.
    pub(super) until: Time,
    /// What toolkits that do not answer had before.
    pub(super) remembered: McpCapabilities,
    capabilities: McpCapabilities,
    questions: Questions,
    answered: bool,
    /// The caller has ended the session.
    ended: bool,
}

impl Session {
    pub(super) fn new(
        cx: &mut Context<'_>,
        accepted: StreamId,
        client: McpCapabilities,
        routes: usize,
        until: Time,
    ) -> Self {
        let hops = (0..routes).map(|_| Hop::default()).collect();
        Self {
            accepted,
            id: cx.mint_identity(),
            client,
            call: CallContext {
                identity: cx.identity().cloned(),
                ..cx.call().shared()
            },
            hops,
            timer: None,
            until,
            remembered: McpCapabilities::NONE,
            capabilities: McpCapabilities::NONE,
            questions: Questions::default(),
            answered: false,
            ended: false,
        }
    }

    /// Handles a frame of the caller.
    pub(super) fn on_caller_frame(&mut self, cx: &mut Context<'_>, frame: Frame) {
        match frame {
            Frame::Data(data) => cx.acknowledge(self.accepted, data.payload.len()),
            Frame::End(_) => {
                self.ended = true;
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
            Frame::Flush(notice) if matches!(*notice, FlushEx::Mcp(McpFlushEx::Response(_))) => {
                self.pass_answer(cx, *notice);
            }
            // A notice of the client is for all toolkits.
            Frame::Flush(notice) => {
                for stream in self.hops.iter().filter_map(|hop| hop.stream) {
                    if cx.is_sending(stream) {
                        cx.send(stream, Frame::Flush(notice.clone()));
                    }
                }
            }
            Frame::Abort(_) | Frame::Reset(_) => self.abort(cx),
            _ => {}
        }
    }

    /// Handles a frame of a toolkit; returns which it is, and what it has done.
    pub(super) fn on_toolkit_frame(
        &mut self,
        cx: &mut Context<'_>,
        stream: StreamId,
        frame: Frame,
    ) -> Option<(usize, HopEvent)> {
        let mut hops = self.hops.iter_mut().enumerate();
        let (upstream, hop) = hops.find(|(_, hop)| hop.stream == Some(stream))?;
        let event = match frame {
            Frame::Begin(begin) => {
                let BeginEx::Mcp(McpBeginEx::Lifecycle(lifecycle)) = begin.into_inner() else {
                    return None;
                };
                hop.id = lifecycle.session_id;
                hop.capabilities = lifecycle.capabilities;
                hop.failed = None;
                hop.wait = None;
                HopEvent::Begun(hop.capabilities)
            }
            Frame::Data(data) => {
                cx.acknowledge(stream, data.payload.len());
                return None;
            }
            Frame::Flush(flush) => HopEvent::Notice(flush),
            Frame::Challenge(challenge) => {
                self.pass_question(cx, upstream, stream, *challenge);
                return None;
            }
            Frame::End(_) | Frame::Abort(_) | Frame::Reset(_) if self.ended => {
                hop.fail(cx, "session ended by the caller");
                return None;
            }
            Frame::End(_) | Frame::Abort(_) => {
                let had_begun = hop.id.is_some();
                hop.fail(cx, "session ended by the toolkit");
                // One session may end while the toolkit has others.
                HopEvent::Failed(Failure {
                    about: if had_begun {
                        About::Nothing
                    } else {
                        About::Unavailable
                    },
                    reason: "session ended by the toolkit".to_owned(),
                })
            }
            Frame::Reset(reset) => {
                let failure = Failure::of_reset(reset.as_deref());
                hop.fail(cx, &failure.reason);
                HopEvent::Failed(failure)
            }
            Frame::Window(_) => return None,
        };
        if matches!(event, HopEvent::Failed(_)) {
            self.withdraw_questions(cx, upstream);
        }
        Some((upstream, event))
    }

    /// A toolkit asks the client, or no longer waits for its answer.
    fn pass_question(
        &mut self,
        cx: &mut Context<'_>,
        upstream: usize,
        stream: StreamId,
        challenge: ChallengeEx,
    ) {
        let ChallengeEx::Mcp(challenge) = challenge;
        match self.questions.ask(upstream, challenge) {
            Ok(Some(challenge)) => cx.send(self.accepted, Frame::challenge(challenge)),
            Err(answer) if cx.is_sending(stream) => cx.send(stream, Frame::flush(answer)),
            Ok(None) | Err(_) => {}
        }
    }

    /// The client has answered a toolkit.
    fn pass_answer(&mut self, cx: &mut Context<'_>, answer: FlushEx) {
        let FlushEx::Mcp(McpFlushEx::Response(response)) = answer else {
            return;
        };
        let Some((upstream, response)) = self.questions.answered(response) else {
            return;
        };
        let stream = self.hops.get(upstream).and_then(|hop| hop.stream);
        if let Some(stream) = stream.filter(|stream| cx.is_sending(*stream)) {
            cx.send(stream, Frame::flush(response));
        }
    }

    /// A toolkit is gone, and so are its questions.
    fn withdraw_questions(&mut self, cx: &mut Context<'_>, upstream: usize) {
        for challenge in self.questions.withdraw(upstream) {
            if !cx.is_over(self.accepted) {
                cx.send(self.accepted, Frame::challenge(challenge));
            }
        }
    }

    /// Whether the caller has its answer.
    pub(super) const fn is_answered(&self) -> bool {
        self.answered
    }

    /// Whether the caller is told of changes.
    pub(super) fn is_open(&self, cx: &Context<'_>) -> bool {
        self.answered && cx.is_sending(self.accepted)
    }

    /// Passes a toolkit's notice on.
    pub(super) fn notify(&self, cx: &mut Context<'_>, notice: Box<FlushEx>) {
        if self.is_open(cx) {
            cx.send(self.accepted, Frame::Flush(notice));
        }
    }

    /// Tells the caller that all lists may have changed.
    pub(super) fn lists_changed(&self, cx: &mut Context<'_>) {
        type C = McpCapabilities;
        let notices = [
            (
                C::SERVER_TOOLS,
                McpFlushEx::ToolsListChanged(McpToolsListChanged {}),
            ),
            (
                C::SERVER_PROMPTS,
                McpFlushEx::PromptsListChanged(McpPromptsListChanged {}),
            ),
            (
                C::SERVER_RESOURCES,
                McpFlushEx::ResourcesListChanged(McpResourcesListChanged {}),
            ),
        ];
        for (capability, notice) in notices {
            if self.capabilities.contains(capability) {
                self.notify(cx, Box::new(FlushEx::Mcp(notice)));
            }
        }
    }

    /// The end of the next wait.
    pub(super) fn next_wait(&self) -> Option<Time> {
        let waits = self.hops.iter().filter(|hop| hop.is_pending());
        let next = waits.filter_map(|hop| hop.wait).min();
        let any = self.hops.iter().any(Hop::is_pending);
        next.or_else(|| any.then_some(self.until))
    }

    /// Ends the waits that are over; returns the toolkits that are late.
    pub(super) fn end_waits(&mut self, now: Time) -> Vec<usize> {
        let mut late = Vec::new();
        for (upstream, hop) in self.hops.iter_mut().enumerate() {
            if hop.is_pending() && hop.wait.is_some_and(|until| until <= now) {
                hop.wait = None;
                late.push(upstream);
            }
        }
        late
    }

    /// Answers once every toolkit has answered, failed or reached its deadline. While none has answered
    /// it waits on, if one still may.
    pub(super) fn settle(&mut self, cx: &mut Context<'_>) {
        let has_begun = self.hops.iter().any(|hop| hop.id.is_some());
        let is_waited_for = |hop: &Hop| {
            hop.is_pending() && (hop.wait.is_some() || (!has_begun && cx.now() < self.until))
        };
        if !self.answered && !self.hops.iter().any(is_waited_for) {
            self.answer(cx);
        }
    }

    /// Answers with the combined capabilities of the toolkits.
    fn answer(&mut self, cx: &mut Context<'_>) {
        self.cancel_timer(cx);
        if cx.is_over(self.accepted) {
            return;
        }
        self.answered = true;
        let why = self.hops.iter().filter_map(Hop::missing);
        let why: Vec<&str> = why.collect();
        // Without a failure, there is no toolkit that the caller may use: the session is empty.
        if !why.is_empty() && self.hops.iter().all(|hop| hop.id.is_none()) {
            let message = format!("No toolkit available: {}.", why.join("; "));
            let reset: ResetEx = McpReset::new(McpResetKind::Unavailable, message).into();
            cx.terminate(self.accepted, Some(reset), None);
            self.abort(cx);
            return;
        }
        self.capabilities = self.combined(why.is_empty());
        let begin = McpLifecycle {
            session_id: Some(self.id.clone()),
            capabilities: self.capabilities,
        };
        cx.send(self.accepted, Frame::begin(begin));
    }

    /// The capabilities of all toolkits.
    fn combined(&self, is_whole: bool) -> McpCapabilities {
        type C = McpCapabilities;
        let present = self.hops.iter().filter(|hop| hop.id.is_some());
        let mut all = present.fold(C::NONE, |all, hop| all.with(hop.capabilities));
        if !is_whole {
            all = all.with(self.remembered).with(C::SERVER_TOOLS);
        }
        // A toolkit that returns changes the lists.
        for (has, changes) in [
            (C::SERVER_TOOLS, C::SERVER_TOOLS_LIST_CHANGED),
            (C::SERVER_PROMPTS, C::SERVER_PROMPTS_LIST_CHANGED),
            (C::SERVER_RESOURCES, C::SERVER_RESOURCES_LIST_CHANGED),
        ] {
            if all.contains(has) {
                all = all.with(changes);
            }
        }
        all
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
    /// Whether the toolkit has neither answered nor failed.
    const fn is_pending(&self) -> bool {
        self.stream.is_some() && self.id.is_none() && self.failed.is_none()
    }

    /// Why the session does not have the toolkit.
    fn missing(&self) -> Option<&str> {
        let late = self
            .is_pending()
            .then_some("no response within the timeout");
        self.failed.as_deref().or(late)
    }

    /// The session goes on without the toolkit.
    pub(super) fn fail(&mut self, cx: &mut Context<'_>, why: &str) {
        if let Some(stream) = self.stream.take() {
            cx.terminate(stream, None, None);
        }
        self.id = None;
        self.wait = None;
        self.failed = Some(why.to_owned());
    }

    /// A new attempt has been started; the session waits for it until `wait`.
    pub(super) fn opened(&mut self, stream: StreamId, wait: Option<Time>) {
        self.stream = Some(stream);
        self.failed = None;
        self.wait = wait;
    }
}
