//! An exchange: one accepted mcp stream, the mqtt stream opened for it, and the state between them.

use bytestring::ByteString;
use smallvec::SmallVec;
use tidegate_engine::{
    BindingId, CallContext, Context, Duration, OpenError, PendingData, StreamId, Time, TimerId,
    Token,
};
use tidegate_streams::mcp::{
    McpChallenge, McpProgress, McpReset, McpResetKind, McpResourcesUpdated,
};
use tidegate_streams::{BeginEx, Data, DataFlags, FlushEx, Frame, Pooled};

use crate::operation::{CallCompleted, Operation, Outcome};
use crate::publication::Publication;
use crate::registry::DeviceId;
use crate::result::Answer;
use crate::state::State;

/// The kind of timer of exchanges.
pub(crate) const DUE: u32 = 1;

/// Time for the streams of an answered exchange to end before they are terminated.
const CLOSING: Duration = Duration::from_secs(10);

/// A stream, and which of its halves have ended.
#[derive(Debug, Clone, Copy)]
struct TrackedStream {
    stream: StreamId,
    /// The half that this binding sends has ended.
    sent: bool,
    /// The half that this binding receives has ended.
    received: bool,
}

impl TrackedStream {
    const fn new(stream: StreamId) -> Self {
        Self {
            stream,
            sent: false,
            received: false,
        }
    }

    const fn is_over(&self) -> bool {
        self.sent && self.received
    }
}

/// What an operation is about, for its event.
#[derive(Debug, Default)]
pub(crate) struct About {
    pub(crate) device: ByteString,
    pub(crate) command: ByteString,
    pub(crate) topic: ByteString,
    /// What refused a command.
    pub(crate) rule: &'static str,
    /// The published payload, if an audit log wants it.
    pub(crate) payload: Option<bytes::Bytes>,
}

/// An exchange. It is removed when both of its streams have ended.
#[derive(Debug)]
pub(crate) struct Exchange {
    token: Token,
    caller: Option<TrackedStream>,
    mqtt: Option<TrackedStream>,
    /// The message that is being published on the mqtt stream.
    publication: Option<Publication>,
    pub(crate) state: State,
    /// Devices whose messages the exchange waits for.
    pub(crate) watching: SmallVec<[DeviceId; 1]>,
    /// The session that the operation belongs to.
    pub(crate) session: Option<ByteString>,
    pub(crate) about: About,
    /// The reply BEGIN, until it is sent.
    begin: Option<Pooled<BeginEx>>,
    reply: PendingData,
    /// The reply END, until all DATA before it is sent.
    end: Option<Frame>,
    pub(crate) operation: Operation,
    accepted: Time,
    /// The outcome, until it is counted.
    outcome: Option<Outcome>,
    /// An outcome was recorded; later ones are ignored.
    completed: bool,
    /// When the operation must be answered.
    pub(crate) deadline: Option<Time>,
    timer: Option<TimerId>,
}

impl Exchange {
    /// Accepts a stream, with the deadline of its caller.
    pub(crate) fn accept(
        cx: &mut Context<'_>,
        stream: StreamId,
        token: Token,
        begin: impl Into<BeginEx>,
        operation: Operation,
        state: State,
    ) -> Self {
        cx.accept(stream, token);
        Self {
            token,
            caller: Some(TrackedStream::new(stream)),
            mqtt: None,
            publication: None,
            state,
            watching: SmallVec::new(),
            session: None,
            about: About::default(),
            begin: Some(Pooled::new(begin.into())),
            reply: PendingData::new(),
            end: None,
            operation,
            accepted: cx.now(),
            outcome: None,
            completed: false,
            deadline: cx.deadline(),
            timer: None,
        }
    }

    /// `within`, or the time until the deadline if that is shorter.
    pub(crate) fn at_most(&self, cx: &Context<'_>, within: Duration) -> Duration {
        let left = self.deadline.map(|deadline| deadline.since(cx.now()));
        left.map_or(within, |left| within.min(left))
    }

    /// Sets the timer, in place of an earlier one.
    pub(crate) fn wait(&mut self, cx: &mut Context<'_>, within: Duration, reason: &'static str) {
        self.cancel_timer(cx);
        self.timer = Some(cx.timer(within, self.token, DUE, reason));
    }

    fn cancel_timer(&mut self, cx: &mut Context<'_>) {
        if let Some(timer) = self.timer.take() {
            cx.cancel(timer);
        }
    }

    /// Makes the handler work for the caller of this exchange, in place of the one whose frame it
    /// received.
    pub(crate) fn work(&self, cx: &mut Context<'_>) {
        if let Some(caller) = &self.caller {
            cx.work_for(caller.stream);
        }
    }

    /// Opens the mqtt stream, to be answered by `deadline`, and sends the message.
    pub(crate) fn open(
        &mut self,
        cx: &mut Context<'_>,
        exit: BindingId,
        begin: impl Into<BeginEx>,
        publication: Option<Publication>,
        deadline: Time,
    ) -> Result<(), OpenError> {
        let call = CallContext {
            deadline: Some(deadline),
            ..cx.call().clone()
        };
        let stream = cx.open_for(call, exit, begin, self.token)?;
        self.mqtt = Some(TrackedStream::new(stream));
        self.publication = publication;
        self.flush_publication(cx);
        Ok(())
    }

    /// Sends as much of the message as the mqtt stream has credit for.
    pub(crate) fn flush_publication(&mut self, cx: &mut Context<'_>) {
        if let (Some(publication), Some(mqtt)) = (&mut self.publication, &self.mqtt)
            && publication.flush(cx, mqtt.stream)
        {
            self.publication = None;
            self.end_mqtt(cx);
        }
    }

    /// Whether the mqtt stream is open.
    pub(crate) const fn has_mqtt(&self) -> bool {
        self.mqtt.is_some()
    }

    /// Whether the whole message was handed to the mqtt stream.
    pub(crate) const fn is_published(&self) -> bool {
        self.publication.is_none()
    }

    /// Sends as much of the reply as the caller has credit for.
    pub(crate) fn flush_reply(&mut self, cx: &mut Context<'_>) {
        let Some(caller) = &mut self.caller else {
            return;
        };
        if self.reply.flush(cx, caller.stream)
            && let Some(end) = self.end.take()
        {
            cx.end(caller.stream, end);
            caller.sent = true;
        }
    }

    /// The caller has ended its half.
    pub(crate) fn caller_ended(&mut self) {
        if let Some(caller) = &mut self.caller {
            caller.received = true;
        }
    }

    /// Whether the caller can still send something.
    pub(crate) fn is_caller_open(&self) -> bool {
        self.caller.is_some_and(|caller| !caller.received)
    }

    /// Asks the client. Until it answers, the caller decides how long that may take.
    pub(crate) fn ask(&mut self, cx: &mut Context<'_>, challenge: McpChallenge) {
        self.cancel_timer(cx);
        self.deadline = None;
        if let Some(caller) = &self.caller {
            cx.send(caller.stream, Frame::challenge(challenge));
        }
    }

    /// The mqtt stream's reply half ended (END).
    pub(crate) fn mqtt_ended(&mut self, cx: &mut Context<'_>) {
        if self.publication.is_some() {
            return self.drop_mqtt(cx);
        }
        self.end_mqtt(cx);
        if let Some(mqtt) = &mut self.mqtt {
            mqtt.received = true;
        }
        self.mqtt = self.mqtt.filter(|mqtt| !mqtt.is_over());
    }

    /// Ends the mqtt stream.
    pub(crate) fn end_mqtt(&mut self, cx: &mut Context<'_>) {
        if let Some(mqtt) = &mut self.mqtt
            && !mqtt.sent
        {
            cx.end(mqtt.stream, Frame::end());
            mqtt.sent = true;
        }
    }

    /// Terminates the mqtt stream.
    pub(crate) fn drop_mqtt(&mut self, cx: &mut Context<'_>) {
        if let Some(mqtt) = self.mqtt.take() {
            cx.terminate(mqtt.stream, None, None);
        }
    }

    /// Records the outcome and emits the event, once.
    pub(crate) fn complete(&mut self, cx: &mut Context<'_>, outcome: Outcome) {
        if std::mem::replace(&mut self.completed, true) {
            return;
        }
        self.outcome = Some(outcome);
        if self.operation == Operation::Session || !cx.hears::<CallCompleted>() {
            return;
        }
        let duration = self.age(cx);
        let about = &self.about;
        let refused = !about.rule.is_empty();
        let decision = match (refused, about.topic.is_empty()) {
            (true, _) => "refused",
            (false, true) => "",
            (false, false) => "allowed",
        };
        let event = CallCompleted {
            operation: ByteString::from_static(self.operation.word()),
            device: about.device.clone(),
            command: about.command.clone(),
            topic: about.topic.clone(),
            decision: ByteString::from_static(decision),
            rule: ByteString::from_static(about.rule),
            outcome: ByteString::from_static(outcome.word()),
            duration: duration.as_millis(),
            duration_micros: duration.as_micros(),
        };
        cx.event_about(&event, || about.payload.clone().map(|it| vec![it]));
    }

    /// Time since the stream was accepted.
    pub(crate) fn age(&self, cx: &Context<'_>) -> Duration {
        cx.now().since(self.accepted)
    }

    /// The outcome, if it is not counted yet.
    pub(crate) const fn take_outcome(&mut self) -> Option<Outcome> {
        self.outcome.take()
    }

    /// The timer is due. Returns whether the exchange was answered before, and is done.
    pub(crate) fn timer_expired(&mut self, cx: &mut Context<'_>) -> bool {
        self.timer = None;
        match self.state {
            State::Answered if self.caller.is_some() && !self.reply.is_empty() => {
                let why = "The client did not read the result in time.";
                self.refuse(cx, McpReset::new(McpResetKind::SlowConsumer, why));
                true
            }
            State::Session(_) | State::Closing | State::Answered => {
                self.cancel(cx);
                true
            }
            _ => false,
        }
    }

    /// Sends the reply BEGIN, once.
    pub(crate) fn begin_reply(&mut self, cx: &mut Context<'_>) {
        if let (Some(caller), Some(begin)) = (&self.caller, self.begin.take()) {
            cx.send(caller.stream, Frame::Begin(begin));
        }
    }

    /// The reply BEGIN of a session or a subscription, which has no deadline from then on.
    pub(crate) fn confirm(&mut self, cx: &mut Context<'_>) {
        self.complete(cx, Outcome::Ok);
        self.begin_reply(cx);
        self.deadline = None;
        self.cancel_timer(cx);
    }

    /// Sends a notice to the caller.
    fn notify(&mut self, cx: &mut Context<'_>, notice: impl Into<FlushEx>) {
        self.begin_reply(cx);
        if let Some(caller) = self.caller.filter(|caller| !caller.sent) {
            cx.send(caller.stream, Frame::flush(notice));
        }
    }

    /// Tells the caller that the list of something changed, or that a resource was updated.
    pub(crate) fn announce(&mut self, cx: &mut Context<'_>, notice: impl Into<FlushEx>) {
        // A subscription that is not confirmed has nothing to tell.
        if self.begin.is_none() {
            self.notify(cx, notice);
        }
    }

    /// Sends an update of a resource.
    pub(crate) fn update(&mut self, cx: &mut Context<'_>, uri: ByteString) {
        self.announce(cx, McpResourcesUpdated { uri });
    }

    /// Sends progress.
    pub(crate) fn progress(
        &mut self,
        cx: &mut Context<'_>,
        progress: String,
        total: Option<String>,
        message: String,
    ) {
        self.notify(
            cx,
            McpProgress {
                progress: progress.into(),
                total: total.map(Into::into),
                message: Some(message.into()),
            },
        );
    }

    pub(crate) fn answer(&mut self, cx: &mut Context<'_>, answer: Answer) {
        self.complete(cx, answer.outcome);
        self.state = State::Answered;
        if self.publication.is_some() {
            self.drop_mqtt(cx);
        } else {
            self.end_mqtt(cx);
        }
        self.begin_reply(cx);
        if let Some(caller) = &self.caller {
            let data = Data {
                flags: DataFlags::WHOLE,
                payload: answer.json,
                extension: None,
            };
            self.reply.send(cx, caller.stream, data);
        }
        self.end = Some(Frame::end_with(answer.end));
        self.flush_reply(cx);
        if self.mqtt.is_some() || !self.reply.is_empty() {
            let left = self.deadline.map_or(CLOSING, |it| it.since(cx.now()));
            let reason = "the streams of an answered call to close";
            self.wait(cx, left.max(CLOSING), reason);
        } else {
            self.cancel_timer(cx);
        }
    }

    /// Refuses the operation.
    pub(crate) fn refuse(&mut self, cx: &mut Context<'_>, reset: McpReset) {
        self.complete(cx, Outcome::Error);
        self.drop_mqtt(cx);
        self.state = State::Answered;
        if let Some(caller) = self.caller.take() {
            cx.terminate(caller.stream, Some(reset.into()), None);
        }
    }

    /// The caller ended the stream, or the engine is shutting down: ends the reply half.
    pub(crate) fn close(&mut self, cx: &mut Context<'_>) {
        if self.begin.is_some() {
            return self.cancel(cx);
        }
        self.state = State::Closing;
        self.end = Some(Frame::end());
        self.flush_reply(cx);
    }

    /// Cancels the operation: terminates both streams.
    pub(crate) fn cancel(&mut self, cx: &mut Context<'_>) {
        self.complete(cx, Outcome::Cancelled);
        if let Some(caller) = self.caller.take() {
            cx.terminate(caller.stream, None, None);
        }
        self.drop_mqtt(cx);
    }

    /// Whether both streams have ended. Cancels the timer if so.
    pub(crate) fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        self.caller = self.caller.filter(|caller| !caller.is_over());
        self.mqtt = self.mqtt.filter(|mqtt| !mqtt.is_over());
        let over = self.caller.is_none() && self.mqtt.is_none();
        if over {
            self.cancel_timer(cx);
        }
        over
    }
}
