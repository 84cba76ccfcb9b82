//! One accepted mcp stream, the mqtt stream opened for it, and what is going on between them.

use bytestring::ByteString;
use tidegate_engine::{
    BindingId, CallContext, Context, Duration, OpenError, PendingData, StreamId, Time, TimerId,
    Token,
};
use tidegate_streams::mcp::{McpReset, McpResetKind};
use tidegate_streams::mqtt::{MqttEnd, MqttReset, MqttUnsubscribe};
use tidegate_streams::{BeginEx, Data, Frame, Pooled};

use crate::operation::{CallCompleted, Operation, Outcome};
use crate::result::{Answer, Failure};
use crate::work::{Step, Work};

/// The binding's only kind of timer: what it means is up to what is going on.
const DUE: u32 = 1;

/// For how long streams may take to close once nothing else is awaited of them.
const CLOSING: Duration = Duration::from_secs(10);

/// For how long the last messages of a shared subscription are awaited.
const LAST: Duration = Duration::from_secs(1);

/// A stream as this binding sees it, until both halves are over.
#[derive(Debug, Clone, Copy)]
struct Side {
    stream: StreamId,
    /// The half that this binding sends is over.
    sent: bool,
    /// The half that this binding receives is over.
    received: bool,
}

impl Side {
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

/// One exchange.
#[derive(Debug)]
pub(crate) struct Exchange {
    token: Token,
    caller: Option<Side>,
    mqtt: Option<Side>,
    /// The session that the operation belongs to.
    pub(crate) client_id: Option<ByteString>,
    pub(crate) work: Work,
    /// The reply BEGIN, until it is sent.
    begin: Option<Pooled<BeginEx>>,
    reply: PendingData,
    /// The reply END, until what is before it is sent.
    end: Option<Frame>,
    /// How many messages are taken from a shared subscription when that END is sent.
    taken: u32,
    pub(crate) operation: Operation,
    accepted: Time,
    /// How it came out, until that is counted.
    outcome: Option<Outcome>,
    /// It came out somehow.
    completed: bool,
    /// By when the operation must be answered.
    deadline: Option<Time>,
    timer: Option<Due>,
}

/// A timer that is set.
#[derive(Debug)]
struct Due {
    timer: TimerId,
    at: Time,
    /// Since when the binding waits.
    since: Time,
}

impl Exchange {
    /// Takes a stream, with its deadline.
    pub(crate) fn accept(
        cx: &mut Context<'_>,
        stream: StreamId,
        token: Token,
        begin: Pooled<BeginEx>,
        operation: Operation,
        work: Work,
    ) -> Self {
        cx.accept(stream, token);
        Self {
            token,
            caller: Some(Side::new(stream)),
            mqtt: None,
            client_id: None,
            work,
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

    /// Waits for messages for so long, or until the deadline where that is earlier.
    pub(crate) fn wait(&mut self, cx: &mut Context<'_>, within: Duration, reason: &'static str) {
        let after = self.left(cx).map_or(within, |left| within.min(left));
        self.set_timer(cx, after, reason);
    }

    /// How long it is until the deadline.
    fn left(&self, cx: &Context<'_>) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.since(cx.now()))
    }

    /// One that is due at the same time stays set, and so does what it is said to be for.
    fn set_timer(&mut self, cx: &mut Context<'_>, after: Duration, reason: &'static str) {
        let (since, at) = (cx.now(), cx.now() + after);
        if let Some(due) = self.timer.as_mut().filter(|due| due.at == at) {
            due.since = since;
            return;
        }
        self.cancel_timer(cx);
        let timer = cx.timer(after, self.token, DUE, reason);
        self.timer = Some(Due { timer, at, since });
    }

    fn cancel_timer(&mut self, cx: &mut Context<'_>) {
        if let Some(due) = self.timer.take() {
            cx.cancel(due.timer);
        }
    }

    /// Opens the mqtt stream. It is to be answered when the messages are no longer waited for, or by
    /// the deadline of the operation.
    pub(crate) fn open(
        &mut self,
        cx: &mut Context<'_>,
        exit: BindingId,
        begin: impl Into<BeginEx>,
    ) -> Result<(), OpenError> {
        let call = CallContext {
            deadline: self.timer.as_ref().map(|due| due.at).or(self.deadline),
            ..cx.call().clone()
        };
        let stream = cx.open_for(call, exit, begin, self.token)?;
        self.mqtt = Some(Side::new(stream));
        self.flush_publish(cx);
        Ok(())
    }

    /// Whether there is an mqtt stream.
    pub(crate) const fn has_mqtt(&self) -> bool {
        self.mqtt.is_some()
    }

    /// Sends what the mqtt stream has credit for.
    pub(crate) fn flush_publish(&mut self, cx: &mut Context<'_>) {
        if let (Work::Publish(publish), Some(mqtt)) = (&mut self.work, &self.mqtt)
            && publish.flush(cx, mqtt.stream)
        {
            self.end_mqtt(cx);
        }
    }

    /// Sends what the caller has credit for.
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

    /// The mqtt stream's reply half is over, in order.
    pub(crate) fn mqtt_ended(&mut self, cx: &mut Context<'_>) {
        if matches!(&self.work, Work::Publish(_)) && self.mqtt.is_some_and(|mqtt| !mqtt.sent) {
            self.drop_mqtt(cx);
            return;
        }
        // What a receive has is answered now, and what that takes is told with the END.
        if self.taken == 0 && !matches!(&self.work, Work::Receive(_)) {
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
                taken => Frame::end_with(MqttEnd { taken }),
            };
            cx.end(mqtt.stream, end);
            mqtt.sent = true;
        }
    }

    /// Gives the mqtt stream up.
    pub(crate) fn drop_mqtt(&mut self, cx: &mut Context<'_>) {
        if let Some(mqtt) = self.mqtt.take() {
            cx.terminate(mqtt.stream, None, None);
        }
    }

    /// It has come out somehow: operators are told of it once.
    fn complete(&mut self, cx: &mut Context<'_>, outcome: Outcome) {
        if std::mem::replace(&mut self.completed, true) {
            return;
        }
        self.outcome = Some(outcome);
        let is_call = !matches!(self.operation, Operation::List | Operation::Session);
        if is_call && cx.hears::<CallCompleted>() {
            let (topic, qos) = self.work.subject();
            cx.event(&CallCompleted {
                operation: self.operation.word().into(),
                topic,
                qos,
                outcome: outcome.word().into(),
                duration: cx.now().since(self.accepted).as_millis(),
            });
        }
    }

    /// How it came out, when that is news.
    pub(crate) const fn take_outcome(&mut self) -> Option<Outcome> {
        self.outcome.take()
    }

    /// Does what an event leads to.
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
            Step::Enough => self.unsubscribe(cx),
            Step::Answer(answer) => self.answer(cx, answer),
            Step::Refuse(reset) => self.refuse(cx, reset),
            Step::Leave => {
                self.end = Some(Frame::end());
                self.flush_reply(cx);
            }
            Step::Drop => self.cancel(cx),
        }
    }

    /// Has the mqtt stream end behind what is on its way, as long as there is time for that.
    fn unsubscribe(&mut self, cx: &mut Context<'_>) {
        let left = self.left(cx).map_or(LAST, |left| left.min(LAST));
        match &self.mqtt {
            Some(mqtt) if left.as_millis() > 0 => {
                cx.send(mqtt.stream, Frame::flush(MqttUnsubscribe::default()));
                let reason = "the last messages of a shared subscription";
                self.set_timer(cx, left, reason);
            }
            _ => {
                let step = self.work.overdue(0);
                self.apply(cx, step);
            }
        }
    }

    /// The timer is due.
    pub(crate) fn overdue(&mut self, cx: &mut Context<'_>) {
        let Some(due) = self.timer.take() else {
            return;
        };
        if let Some(caller) = &self.caller {
            cx.work_for(caller.stream);
        }
        let answered = matches!(self.work, Work::Answered);
        if answered && self.caller.is_some() && !self.reply.is_empty() {
            let why = "The result was not taken in time.";
            return self.refuse(cx, McpReset::new(McpResetKind::SlowConsumer, why));
        }
        let waited = due.at.since(due.since).as_millis();
        let step = self.work.overdue(waited);
        self.apply(cx, step);
    }

    /// The mqtt stream was refused or lost.
    pub(crate) fn mqtt_failed(&mut self, cx: &mut Context<'_>, reset: Option<MqttReset>) -> Step {
        self.drop_mqtt(cx);
        self.work.failed(&Failure::from(reset))
    }

    pub(crate) fn begin_reply(&mut self, cx: &mut Context<'_>) {
        if let (Some(caller), Some(begin)) = (&self.caller, self.begin.take()) {
            cx.send(caller.stream, Frame::Begin(begin));
        }
        if matches!(self.work, Work::Session(_)) {
            self.complete(cx, Outcome::Ok);
            // That was the answer: what is opened later for the session is not due by then.
            self.deadline = None;
        }
    }

    pub(crate) fn answer(&mut self, cx: &mut Context<'_>, answer: Answer) {
        self.complete(cx, answer.outcome);
        self.work = Work::Answered;
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
        if self.mqtt.is_some() || !self.reply.is_empty() {
            let left = self.left(cx).map_or(CLOSING, |left| left.max(CLOSING));
            let reason = "the streams of an answered call to close";
            self.set_timer(cx, left, reason);
        } else {
            self.cancel_timer(cx);
        }
    }

    /// Refuses the operation. An mqtt stream in order is left in order.
    pub(crate) fn refuse(&mut self, cx: &mut Context<'_>, reset: McpReset) {
        self.complete(cx, Outcome::Error);
        self.taken = 0;
        if self.work.is_settled() {
            self.end_mqtt(cx);
        } else {
            self.drop_mqtt(cx);
        }
        self.work = Work::Answered;
        if let Some(caller) = self.caller.take() {
            cx.terminate(caller.stream, Some(reset.into()), None);
        }
        self.set_timer(cx, CLOSING, "the mqtt stream of a refused call to close");
    }

    /// The caller leaves in order, or is asked to: the reply half ends behind the mqtt stream.
    pub(crate) fn leave(&mut self, cx: &mut Context<'_>) {
        if self.begin.is_some() {
            self.cancel(cx);
            return;
        }
        self.work = Work::Leaving;
        if self.mqtt.is_some() {
            self.end_mqtt(cx);
            self.set_timer(
                cx,
                CLOSING,
                "the mqtt stream of a caller that left to close",
            );
        } else {
            self.apply(cx, Step::Leave);
        }
    }

    /// Nobody waits for it any more: everything is given up.
    pub(crate) fn cancel(&mut self, cx: &mut Context<'_>) {
        self.complete(cx, Outcome::Cancelled);
        if let Some(caller) = self.caller.take() {
            cx.terminate(caller.stream, None, None);
        }
        self.drop_mqtt(cx);
    }

    /// Whether both streams are over; its timer is forgotten then.
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
