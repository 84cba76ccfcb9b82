//! An answer on its way to the broker: a publish stream, opened again after a failure of the connection until
//! the answer expires or `remember` is over. A message that the broker refuses is tried [`REFUSALS_MAX`] times,
//! or once if the reason will not change: it must not hold up the requests that wait for its place.

use bytestring::ByteString;
use tidegate_engine::{
    BindingId, CallContext, Context, Duration, PendingData, StreamId, Time, TimerId, Token,
};
use tidegate_streams::mqtt::MqttReset;
use tidegate_streams::{Data, DataFlags, Frame};

use crate::answer::Answer;
use crate::queue::Id;
use crate::subscription::{Receipt, of_reset, why};

/// The kind of its timer.
pub(crate) const PUBLISH: u32 = 3;

/// Time before a failed stream is opened again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Number of attempts with a message that the broker refuses.
const REFUSALS_MAX: u64 = 3;
/// Time after its deadline in which the exit says why it failed.
const GRACE: Duration = Duration::from_millis(200);

/// An answer that is being published.
#[derive(Debug)]
pub(crate) struct Publication {
    answer: Answer,
    /// When it is given up.
    end: Time,
    token: Token,
    pub(crate) of: Of,
    /// What is acknowledged with it.
    pub(crate) receipts: Vec<Receipt>,
    /// Where its request is in the queue.
    pub(crate) stored: Option<Id>,
    /// It waits until the queue has stored it.
    pub(crate) held: bool,
    /// The device whose place it has, without an exchange.
    pub(crate) place: Option<ByteString>,
    pub(crate) context: CallContext,
    stream: Option<StreamId>,
    progress: Progress,
    pending: PendingData,
    timer: Option<TimerId>,
    /// Number of failed attempts.
    pub(crate) failures: u64,
    /// Number of those in which the broker refused the message.
    refusals: u64,
    /// The message is larger than the broker takes.
    pub(crate) is_too_large: bool,
}

/// How much of the message is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Nothing,
    /// The first frame.
    Begun,
    /// All.
    Sent,
}

/// What a publication is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    /// This exchange, which waits for it.
    Exchange(usize),
    /// A request that waited, and failed.
    Waited,
    /// Not an answer.
    Notice(Notice),
    /// No request that runs or waited.
    Nothing,
}

/// What a message tells that is not an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Notice {
    /// Something of the running request of this exchange, which has this trace.
    Call(usize, u64),
    /// Something of this `subscriptions/listen`, which has this trace.
    Listen(usize, u64),
    /// What the server is.
    Discovery,
}

/// How a publication ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Published {
    /// The broker acknowledged the answer as its `QoS` requires.
    Acknowledged,
    /// It expired, or the broker refuses it; the reason.
    Lost(String),
}

impl Publication {
    pub(crate) const fn new(
        answer: Answer,
        end: Time,
        token: Token,
        of: Of,
        receipts: Vec<Receipt>,
        context: CallContext,
    ) -> Self {
        Self {
            answer,
            end,
            token,
            of,
            receipts,
            stored: None,
            held: false,
            place: None,
            context,
            stream: None,
            progress: Progress::Nothing,
            pending: PendingData::new(),
            timer: None,
            failures: 0,
            refusals: 0,
            is_too_large: false,
        }
    }

    /// The exchange that waits for it.
    pub(crate) const fn exchange(&self) -> Option<usize> {
        match self.of {
            Of::Exchange(index) => Some(index),
            _ => None,
        }
    }

    pub(crate) const fn answer(&self) -> &Answer {
        &self.answer
    }

    /// Opens the stream, unless the answer has expired.
    pub(crate) fn open(&mut self, cx: &mut Context<'_>, exit: BindingId) -> Option<Published> {
        let now = cx.now();
        if self.end <= now {
            return Some(Published::Lost("it has expired".to_owned()));
        }
        // The answer is the gateway's own message: the identity of the device is not that of a client
        // of the broker.
        let context = CallContext {
            trace: self.context.trace,
            identity: None,
            deadline: Some(self.end),
        };
        match cx.open_for(context, exit, self.answer.begin(), self.token) {
            Ok(stream) => {
                self.stream = Some(stream);
                self.progress = Progress::Nothing;
                let after = self.end.since(now) + GRACE;
                self.set_timer(cx, after, "the expiry of an answer");
                self.flush(cx);
                None
            }
            Err(error) => self.failed(cx, &error.to_string(), true),
        }
    }

    /// Whether it was given up for its place, long before the answer expires.
    pub(crate) fn is_late(&self, now: Time) -> bool {
        now + RETRY_AFTER >= self.end && self.answer.until > now + RETRY_AFTER
    }

    /// A frame of the stream.
    pub(crate) fn on_frame(
        &mut self,
        cx: &mut Context<'_>,
        stream: StreamId,
        frame: Frame,
    ) -> Option<Published> {
        if self.stream != Some(stream) {
            return None;
        }
        match frame {
            Frame::End(_) if self.progress == Progress::Sent => {
                self.close(cx);
                Some(Published::Acknowledged)
            }
            Frame::Reset(reset) => self.lost(cx, of_reset(reset)),
            Frame::End(_) | Frame::Abort(_) => self.lost(cx, None),
            Frame::Window(_) => {
                self.flush(cx);
                None
            }
            Frame::Data(data) => {
                cx.acknowledge(stream, data.payload.len());
                None
            }
            Frame::Begin(_) | Frame::Flush(_) | Frame::Challenge(_) => None,
        }
    }

    /// The timer is due: it is time for the next attempt, or the exit has not answered by the deadline.
    pub(crate) fn on_timer(&mut self, cx: &mut Context<'_>, exit: BindingId) -> Option<Published> {
        self.timer = None;
        if self.stream.is_none() {
            return self.open(cx, exit);
        }
        self.close(cx);
        Some(Published::Lost(
            "the broker did not acknowledge it in time".to_owned(),
        ))
    }

    fn lost(&mut self, cx: &mut Context<'_>, reset: Option<MqttReset>) -> Option<Published> {
        self.close(cx);
        let refused = reset.as_ref().filter(|it| it.refused);
        self.refusals += u64::from(refused.is_some());
        let is_final = refused.is_some_and(|it| is_final(it.reason_code));
        self.is_too_large = refused.is_some_and(|it| it.reason_code == PACKET_TOO_LARGE);
        let may_succeed = !is_final && self.refusals < REFUSALS_MAX;
        self.failed(cx, &why(reset), may_succeed)
    }

    fn failed(&mut self, cx: &mut Context<'_>, why: &str, may_succeed: bool) -> Option<Published> {
        if !may_succeed || cx.now() + RETRY_AFTER >= self.end || cx.stopping() {
            return Some(Published::Lost(why.to_owned()));
        }
        self.failures += 1;
        self.set_timer(cx, RETRY_AFTER, "the next attempt to publish an answer");
        None
    }

    /// Is done with the stream and the timer.
    pub(crate) fn close(&mut self, cx: &mut Context<'_>) {
        if let Some(timer) = self.timer.take() {
            cx.cancel(timer);
        }
        if let Some(stream) = self.stream.take() {
            cx.terminate(stream, None, None);
        }
        self.pending.clear();
    }

    fn set_timer(&mut self, cx: &mut Context<'_>, after: Duration, reason: &'static str) {
        if let Some(timer) = self.timer.take() {
            cx.cancel(timer);
        }
        self.timer = Some(cx.timer(after, self.token, PUBLISH, reason));
    }

    /// Sends as much as the credit allows.
    fn flush(&mut self, cx: &mut Context<'_>) {
        let Some(stream) = self.stream.filter(|_| self.progress != Progress::Sent) else {
            return;
        };
        if self.progress == Progress::Nothing {
            let credit = cx.credit(stream);
            let (mut data, mut head) = self.answer.message(cx.now());
            if credit == 0 && !head.is_empty() {
                return;
            }
            let rest = head.split_off(credit.min(head.len()));
            data.deferred = u32::try_from(rest.len()).unwrap_or(u32::MAX);
            let whole = rest.is_empty();
            cx.send(
                stream,
                Frame::data_with(DataFlags::of(true, whole), head, data),
            );
            self.progress = Progress::Begun;
            if !whole {
                let flags = DataFlags::of(false, true);
                self.pending.push(Data::part(flags, rest));
            }
        }
        if self.pending.flush(cx, stream) {
            self.progress = Progress::Sent;
            cx.end(stream, Frame::end());
        }
    }
}

/// Reason code: the message is larger than the broker takes (MQTT 5.0, 2.4).
const PACKET_TOO_LARGE: u8 = 0x95;

/// Whether a message that was refused with this reason code is refused each time (MQTT 5.0, 2.4).
const fn is_final(code: u8) -> bool {
    const MALFORMED_PACKET: u8 = 0x81;
    const PROTOCOL_ERROR: u8 = 0x82;
    const IMPLEMENTATION_SPECIFIC_ERROR: u8 = 0x83;
    const NOT_AUTHORIZED: u8 = 0x87;
    const TOPIC_NAME_INVALID: u8 = 0x90;
    const PAYLOAD_FORMAT_INVALID: u8 = 0x99;
    const RETAIN_NOT_SUPPORTED: u8 = 0x9a;
    const QOS_NOT_SUPPORTED: u8 = 0x9b;
    matches!(
        code,
        MALFORMED_PACKET
            | PROTOCOL_ERROR
            | IMPLEMENTATION_SPECIFIC_ERROR
            | NOT_AUTHORIZED
            | TOPIC_NAME_INVALID
            | PACKET_TOO_LARGE
            | PAYLOAD_FORMAT_INVALID
            | RETAIN_NOT_SUPPORTED
            | QOS_NOT_SUPPORTED
    )
}
