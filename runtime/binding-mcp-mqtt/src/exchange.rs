//! An exchange: one accepted mcp stream, the mqtt stream opened for it (two for a query), and the state
//! between them.

use bytestring::ByteString;
use tidegate_engine::{
    BindingId, CallContext, Context, Duration, OpenError, PendingData, StreamId, Time, TimerId,
    Token,
};
use tidegate_streams::mcp::{McpChallenge, McpReset, McpResetKind};
use tidegate_streams::mqtt::{MqttEnd, MqttPublish, MqttReset, MqttUnsubscribe};
use tidegate_streams::{BeginEx, Data, Frame, Pooled};

use crate::operation::{CallCompleted, Operation, Outcome, QueryAnswered};
use crate::result::{Answer, Failure};
use crate::state::{State, Step};
use crate::tracked_stream::TrackedStream;

/// The binding's only kind of timer. Its meaning depends on the state of the exchange.
const DUE: u32 = 1;

/// Time for the streams of an answered exchange to end before they are terminated.
const CLOSING: Duration = Duration::from_secs(10);

/// Time for the last messages of a shared subscription to arrive after UNSUBSCRIBE.
const LAST_MESSAGES: Duration = Duration::from_secs(1);

/// An exchange. It is removed when all of its streams have ended.
#[derive(Debug)]
pub(crate) struct Exchange {
    token: Token,
    exit: BindingId,
    caller: Option<TrackedStream>,
    mqtt: Option<TrackedStream>,
    /// The publish stream of a query.
    request: Option<TrackedStream>,
    /// The session that the operation belongs to.
    pub(crate) client_id: Option<ByteString>,
    pub(crate) state: State,
    /// The reply BEGIN, until it is sent.
    begin: Option<Pooled<BeginEx>>,
    reply: PendingData,
    /// The reply END, until all DATA before it is sent.
    end: Option<Frame>,
    /// Number of messages to report as taken from a shared subscription when that END is sent.
    taken: u32,
    pub(crate) operation: Operation,
    accepted: Time,
    /// The outcome, until it is counted.
    outcome: Option<Outcome>,
    /// An outcome was recorded; later ones are ignored.
    completed: bool,
    /// When the operation must be answered.
    deadline: Option<Time>,
    timer: Option<ArmedTimer>,
}

/// A timer that is set.
#[derive(Debug)]
struct ArmedTimer {
    timer: TimerId,
    at: Time,
    /// When the wait began.
    since: Time,
}

impl Exchange {
    /// Accepts a stream, with the deadline of its caller. Its mqtt streams are opened to `exit`.
    pub(crate) fn accept(
        cx: &mut Context<'_>,
        stream: StreamId,
        (token, exit): (Token, BindingId),
        begin: Pooled<BeginEx>,
        operation: Operation,
        state: State,
    ) -> Self {
        cx.accept(stream, token);
        Self {
            token,
            exit,
            caller: Some(TrackedStream::new(stream)),
            mqtt: None,
            request: None,
            client_id: None,
            state,
            begin: Some(begin),
            reply: PendingData::new(),
            end: None,
            taken: 0,
            operation,
            accepted: cx.now(),
            outcome: None,
            completed: false,
            deadline: cx.deadline(),
            timer: None,
        }
    }

    /// Waits for messages for `within`, or until the deadline if that is earlier.
    pub(crate) fn wait(&mut self, cx: &mut Context<'_>, within: Duration, reason: &'static str) {
        let after = self.time_left(cx).map_or(within, |left| within.min(left));
        self.set_timer(cx, after, reason);
    }

    /// Time until the deadline.
    fn time_left(&self, cx: &Context<'_>) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.since(cx.now()))
    }

    /// Sets the timer, in place of an earlier one.
    fn set_timer(&mut self, cx: &mut Context<'_>, after: Duration, reason: &'static str) {
        let (since, at) = (cx.now(), cx.now() + after);
        self.cancel_timer(cx);
        let timer = cx.timer(after, self.token, DUE, reason);
        self.timer = Some(ArmedTimer { timer, at, since });
    }

    fn cancel_timer(&mut self, cx: &mut Context<'_>) {
        if let Some(armed) = self.timer.take() {
            cx.cancel(armed.timer);
        }
    }

    /// Opens the mqtt stream. Its deadline is the end of the wait for messages, or else the deadline of
    /// the operation.
    pub(crate) fn open(
        &mut self,
        cx: &mut Context<'_>,
        begin: impl Into<BeginEx>,
    ) -> Result<(), OpenError> {
        let stream = self.open_stream(cx, begin)?;
        self.mqtt = Some(TrackedStream::new(stream));
        self.flush_publish(cx);
        Ok(())
    }

    fn open_stream(
        &self,
        cx: &mut Context<'_>,
        begin: impl Into<BeginEx>,
    ) -> Result<StreamId, OpenError> {
        let call = CallContext {
            deadline: self.timer.as_ref().map(|armed| armed.at).or(self.deadline),
            ..cx.call().clone()
        };
        cx.open_for(call, self.exit, begin, self.token)
    }

    /// Opens the publish stream of a query and sends its request.
    fn publish_request(&mut self, cx: &mut Context<'_>, begin: MqttPublish) {
        match self.open_stream(cx, begin) {
            Ok(stream) => {
                self.request = Some(TrackedStream::new(stream));
                self.flush_request(cx);
            }
            Err(error) => {
                let step = self.state.request_failed(&Failure::new(error.to_string()));
                self.apply(cx, step);
            }
        }
    }

    /// Sends as much of the request of a query as its stream has credit for.
    pub(crate) fn flush_request(&mut self, cx: &mut Context<'_>) {
        if let (State::Query(query), Some(request)) = (&mut self.state, &mut self.request)
            && !request.sent
            && query.request.flush(cx, request.stream)
        {
            cx.end(request.stream, Frame::end());
            request.sent = true;
        }
    }

    /// Whether a stream is the publish stream of the query.
    pub(crate) fn is_request(&self, stream: StreamId) -> bool {
        self.request.is_some_and(|request| request.stream == stream)
    }

    /// The publish stream's reply half ended (END).
    pub(crate) fn request_ended(&mut self, cx: &mut Context<'_>) {
        match &mut self.request {
            Some(request) if request.sent => request.received = true,
            _ => self.drop_request(cx),
        }
    }

    /// The publish stream was reset or aborted.
    pub(crate) fn request_failed(
        &mut self,
        cx: &mut Context<'_>,
        reset: Option<MqttReset>,
    ) -> Step {
        self.drop_request(cx);
        self.state.request_failed(&Failure::from(reset))
    }

    /// Terminates the publish stream of a query.
    fn drop_request(&mut self, cx: &mut Context<'_>) {
        if let Some(request) = self.request.take() {
            cx.terminate(request.stream, None, None);
        }
    }

    /// Whether there is an mqtt stream.
    pub(crate) const fn has_mqtt(&self) -> bool {
        self.mqtt.is_some()
    }

    /// Sends as much of the message as the mqtt stream has credit for.
    pub(crate) fn flush_publish(&mut self, cx: &mut Context<'_>) {
        if let (State::Publish(publish), Some(mqtt)) = (&mut self.state, &self.mqtt)
            && publish.flush(cx, mqtt.stream)
        {
            self.end_mqtt(cx);
        }
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
            if self.taken > 0 {
                self.end_mqtt(cx);
            }
        }
    }

    /// The caller has ended its half.
    pub(crate) fn caller_ended(&mut self) {
        if let Some(caller) = &mut self.caller {
            caller.received = true;
        }
    }

    /// The mqtt stream's reply half ended (END).
    pub(crate) fn mqtt_ended(&mut self, cx: &mut Context<'_>) {
        if matches!(&self.state, State::Publish(_)) && self.mqtt.is_some_and(|mqtt| !mqtt.sent) {
            self.drop_mqtt(cx);
            return;
        }
        // A receive is answered now; its END to the mqtt stream reports how many messages it took.
        if self.taken == 0 && !matches!(&self.state, State::Receive(_)) {
            self.end_mqtt(cx);
        }
        if let Some(mqtt) = &mut self.mqtt {
            mqtt.received = true;
        }
        self.mqtt = self.mqtt.filter(|mqtt| !mqtt.is_over());
    }

    fn end_mqtt(&mut self, cx: &mut Context<'_>) {
        if let Some(mqtt) = &mut self.mqtt
            && !mqtt.sent
        {
            let end = match self.taken {
                0 => Frame::end(),
                taken => Frame::end_with(MqttEnd {
                    taken,
                    ..MqttEnd::default()
                }),
            };
            cx.end(mqtt.stream, end);
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
    fn complete(&mut self, cx: &mut Context<'_>, outcome: Outcome) {
        if std::mem::replace(&mut self.completed, true) {
            return;
        }
        self.outcome = Some(outcome);
        let is_call = !matches!(self.operation, Operation::List | Operation::Session);
        if !is_call {
            return;
        }
        self.report_answer(cx);
        if cx.hears::<CallCompleted>() {
            let event = self.completed_event(cx, outcome);
            let state = &mut self.state;
            cx.event_about(&event, || state.take_payload(outcome == Outcome::Ok));
        } else {
            cx.count_event::<CallCompleted>();
        }
    }

    /// Puts the answer of a query on record: the call itself has the payload of its request.
    fn report_answer(&mut self, cx: &mut Context<'_>) {
        if let State::Query(query) = &mut self.state
            && let Some(payload) = query.audited.take().and_then(|it| it.into_payload())
        {
            let topic = query.request.topic.clone();
            cx.event_about(&QueryAnswered { topic }, || Some(payload));
        }
    }

    fn completed_event(&self, cx: &Context<'_>, outcome: Outcome) -> CallCompleted {
        let (topic, qos) = self.state.subject();
        let refused_by = self.state.refused_by();
        let duration = self.age(cx);
        let messages = match outcome {
            Outcome::Ok => self.state.messages(),
            _ => 0,
        };
        let outcome = match (self.operation, outcome) {
            (Operation::Publish, Outcome::Error) => "not_sent",
            _ => outcome.word(),
        };
        CallCompleted {
            operation: ByteString::from_static(self.operation.word()),
            topic,
            qos,
            messages,
            decision: ByteString::from_static(refused_by.map_or("", |_| "refused")),
            rule: ByteString::from_static(refused_by.unwrap_or_default()),
            outcome: ByteString::from_static(outcome),
            duration: duration.as_millis(),
            duration_micros: duration.as_micros(),
        }
    }

    /// Time since the stream was accepted.
    pub(crate) fn age(&self, cx: &Context<'_>) -> Duration {
        cx.now().since(self.accepted)
    }

    /// The outcome, if it is not counted yet.
    pub(crate) const fn take_outcome(&mut self) -> Option<Outcome> {
        self.outcome.take()
    }

    /// Performs a step.
    pub(crate) fn apply(&mut self, cx: &mut Context<'_>, step: Step) {
        match step {
            Step::Wait => {}
            Step::Begin => {
                self.complete(cx, Outcome::Ok);
                self.cancel_timer(cx);
                self.begin_reply(cx);
            }
            Step::Update(update) => {
                if let Some(caller) = self.caller.filter(|caller| !caller.sent) {
                    cx.send(caller.stream, Frame::flush(update));
                }
            }
            Step::Unsubscribe => self.unsubscribe(cx),
            Step::Publish(begin) => self.publish_request(cx, begin),
            Step::Ask(challenge) => self.ask(cx, challenge),
            Step::Answer(answer) => self.answer(cx, answer),
            Step::Refuse(reset) => self.refuse(cx, reset),
            Step::EndReply => {
                self.end = Some(Frame::end());
                self.flush_reply(cx);
            }
            Step::Abort => self.cancel(cx),
        }
    }

    /// Asks the client. Nobody else is waited for until it answers.
    fn ask(&mut self, cx: &mut Context<'_>, challenge: McpChallenge) {
        // Terminated: nothing of it may come later, when there is another one.
        self.drop_mqtt(cx);
        self.cancel_timer(cx);
        if let Some(caller) = &self.caller {
            cx.send(caller.stream, Frame::challenge(challenge));
        }
    }

    /// Continues after an answer of the client, with a new deadline.
    pub(crate) fn resume(&mut self, deadline: Option<Time>) {
        self.deadline = deadline;
    }

    /// Asks the mqtt stream to end after the messages in flight, if there is time left to wait for them.
    fn unsubscribe(&mut self, cx: &mut Context<'_>) {
        let left = self
            .time_left(cx)
            .map_or(LAST_MESSAGES, |left| left.min(LAST_MESSAGES));
        match &self.mqtt {
            Some(mqtt) if left.as_millis() > 0 => {
                cx.send(mqtt.stream, Frame::flush(MqttUnsubscribe::default()));
                let reason = "the last messages of a shared subscription";
                self.set_timer(cx, left, reason);
            }
            _ => {
                let step = self.state.expired(0);
                self.apply(cx, step);
            }
        }
    }

    /// The timer is due.
    pub(crate) fn timer_expired(&mut self, cx: &mut Context<'_>) {
        let Some(armed) = self.timer.take() else {
            return;
        };
        if let Some(caller) = &self.caller {
            cx.work_for(caller.stream);
        }
        let answered = matches!(self.state, State::Answered);
        if answered && self.caller.is_some() && !self.reply.is_empty() {
            let why = "The client did not read the result in time.";
            return self.refuse(cx, McpReset::new(McpResetKind::SlowConsumer, why));
        }
        let waited = armed.at.since(armed.since).as_millis();
        let step = self.state.expired(waited);
        self.apply(cx, step);
    }

    /// The mqtt stream was reset or aborted.
    pub(crate) fn mqtt_failed(&mut self, cx: &mut Context<'_>, reset: Option<MqttReset>) -> Step {
        self.drop_mqtt(cx);
        self.state.failed(&Failure::from(reset))
    }

    pub(crate) fn begin_reply(&mut self, cx: &mut Context<'_>) {
        if let (Some(caller), Some(begin)) = (&self.caller, self.begin.take()) {
            cx.send(caller.stream, Frame::Begin(begin));
        }
        if matches!(self.state, State::Session(_)) {
            self.complete(cx, Outcome::Ok);
            // The reply BEGIN answers the request, so its deadline does not apply to streams that
            // are opened later for the session.
            self.deadline = None;
        }
    }

    pub(crate) fn answer(&mut self, cx: &mut Context<'_>, answer: Answer) {
        self.complete(cx, answer.outcome);
        self.state = State::Answered;
        self.taken = answer.taken;
        if self.taken == 0 {
            self.end_mqtt(cx);
        }
        self.begin_reply(cx);
        if let Some(caller) = &self.caller {
            for data in Data::of_message(answer.parts) {
                self.reply.send(cx, caller.stream, data);
            }
        }
        self.end = Some(Frame::end_with(answer.end));
        self.flush_reply(cx);
        // A request that the broker has not acknowledged yet is not cancelled.
        if self.request.is_some_and(|request| !request.sent) {
            self.drop_request(cx);
        }
        if self.mqtt.is_some() || self.request.is_some() || !self.reply.is_empty() {
            let left = self.time_left(cx).map_or(CLOSING, |left| left.max(CLOSING));
            let reason = "the streams of an answered call to close";
            self.set_timer(cx, left, reason);
        } else {
            self.cancel_timer(cx);
        }
    }

    /// Refuses the operation. A confirmed mqtt stream is ended, another one terminated.
    pub(crate) fn refuse(&mut self, cx: &mut Context<'_>, reset: McpReset) {
        self.complete(cx, Outcome::Error);
        self.taken = 0;
        if self.state.is_confirmed() {
            self.end_mqtt(cx);
        } else {
            self.drop_mqtt(cx);
        }
        self.state = State::Answered;
        if let Some(caller) = self.caller.take() {
            cx.terminate(caller.stream, Some(reset.into()), None);
        }
        self.set_timer(cx, CLOSING, "the mqtt stream of a refused call to close");
    }

    /// The caller ended the stream, or the engine is shutting down: the reply half ends after the mqtt
    /// stream.
    pub(crate) fn close(&mut self, cx: &mut Context<'_>) {
        if self.begin.is_some() {
            self.cancel(cx);
            return;
        }
        self.state = State::Closing;
        if self.mqtt.is_some() {
            self.end_mqtt(cx);
            self.set_timer(
                cx,
                CLOSING,
                "the mqtt stream of an ended subscription or session to close",
            );
        } else {
            self.apply(cx, Step::EndReply);
        }
    }

    /// Cancels the operation: terminates both streams.
    pub(crate) fn cancel(&mut self, cx: &mut Context<'_>) {
        self.complete(cx, Outcome::Cancelled);
        if let Some(caller) = self.caller.take() {
            cx.terminate(caller.stream, None, None);
        }
        self.drop_mqtt(cx);
        self.drop_request(cx);
    }

    /// Whether all streams have ended. Cancels the timer if so.
    pub(crate) fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        self.caller = self.caller.filter(|caller| !caller.is_over());
        self.mqtt = self.mqtt.filter(|mqtt| !mqtt.is_over());
        self.request = self.request.filter(|request| !request.is_over());
        let over = self.caller.is_none() && self.mqtt.is_none() && self.request.is_none();
        if over {
            self.cancel_timer(cx);
        }
        over
    }
}
