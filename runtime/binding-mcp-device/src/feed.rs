//! The subscription that feeds the cache: one stream for all topic filters, for as long as the worker
//! runs.
//!
//! `mqtt · client` restores the subscription when the connection was lost. If the stream itself fails,
//! it is opened again a second later.

use bytes::Bytes;
use bytestring::ByteString;
use tidegate_engine::{BindingId, CallContext, Context, Duration, StreamId, TimerId, Token};
use tidegate_streams::mqtt::{
    MqttBeginEx, MqttFlushEx, MqttMessage, MqttMessages, MqttSubscribe, MqttSubscribeFlags,
    MqttTopicFilter,
};
use tidegate_streams::{AbortEx, BeginEx, FlushEx, Frame, ResetEx};

use crate::operation::{FilterRefused, SubscriptionFailed};
use crate::result::Failure;

/// The token of the stream that feeds types and announcements, and of timers of the binding itself.
pub(crate) const FEED: Token = Token(u32::MAX);
/// The token of the stream that feeds devices that declare themselves.
pub(crate) const DECLARED: Token = Token(u32::MAX - 1);
/// The kind of its timer.
pub(crate) const RETRY: u32 = 2;

/// Time before a failed stream is opened again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Messages are acknowledged one by one, so that at least once is enough.
const QOS: u8 = 1;

/// The subscription of the cache.
#[derive(Debug)]
pub(crate) struct Feed {
    token: Token,
    exit: BindingId,
    filters: Vec<ByteString>,
    stream: Option<StreamId>,
    /// Our half of the stream has ended.
    ended: bool,
    retry: Option<TimerId>,
    /// The failure was reported, and the stream has not begun since.
    reported: bool,
    /// The broker accepted the subscription.
    begun: bool,
    messages: MqttMessages,
}

/// A whole message.
#[derive(Debug)]
pub(crate) struct FeedMessage {
    pub(crate) topic: ByteString,
    pub(crate) payload: Bytes,
    pub(crate) retained: bool,
}

impl From<MqttMessage> for FeedMessage {
    fn from(message: MqttMessage) -> Self {
        Self {
            retained: message.data.flags.contains(MqttSubscribeFlags::RETAIN),
            topic: message.data.topic,
            payload: message.payload,
        }
    }
}

impl Feed {
    /// A message of more than `bound` bytes is cut to one byte more than that.
    pub(crate) const fn new(
        token: Token,
        exit: BindingId,
        filters: Vec<ByteString>,
        bound: usize,
    ) -> Self {
        Self {
            token,
            exit,
            filters,
            stream: None,
            ended: false,
            retry: None,
            reported: false,
            begun: false,
            messages: MqttMessages::of_at_most(bound),
        }
    }

    /// Whether the broker accepted the subscription.
    pub(crate) const fn is_begun(&self) -> bool {
        self.begun
    }

    /// Opens the stream, unless there is nothing to subscribe to.
    pub(crate) fn open(&mut self, cx: &mut Context<'_>) {
        self.retry = None;
        if self.filters.is_empty() || self.stream.is_some() || cx.stopping() {
            return;
        }
        let filters = self.filters.iter().zip(1..);
        let filters = filters.map(|(pattern, subscription_id)| MqttTopicFilter {
            subscription_id,
            qos: QOS,
            flags: MqttSubscribeFlags::NONE,
            pattern: pattern.clone(),
            ..MqttTopicFilter::default()
        });
        let begin = MqttSubscribe {
            qos: QOS,
            filters: filters.collect(),
            ..MqttSubscribe::default()
        };
        match cx.open_for(CallContext::default(), self.exit, begin, self.token) {
            Ok(stream) => {
                self.stream = Some(stream);
                self.ended = false;
            }
            Err(error) => self.failed(cx, &error.to_string()),
        }
    }

    /// Opens a new stream in place of the one that is open, so that retained messages are sent again.
    pub(crate) fn renew(&mut self, cx: &mut Context<'_>) {
        let before = self.stream.take();
        if let Some(retry) = self.retry.take() {
            cx.cancel(retry);
        }
        self.messages.clear();
        self.open(cx);
        if let Some(before) = before {
            cx.end(before, Frame::end());
        }
    }

    /// Opens the stream now if it waits for its next attempt, so that what a call causes is received.
    pub(crate) fn ensure(&mut self, cx: &mut Context<'_>) {
        if let Some(retry) = self.retry.take() {
            cx.cancel(retry);
            self.open(cx);
        }
    }

    /// A frame of the stream; returns the message that it completes.
    pub(crate) fn on_frame(
        &mut self,
        cx: &mut Context<'_>,
        stream: StreamId,
        frame: Frame,
    ) -> Option<FeedMessage> {
        if self.stream != Some(stream) {
            return Self::on_former(cx, stream, frame);
        }
        match frame {
            Frame::Begin(begin) => self.begun(cx, begin.into_inner()),
            Frame::Data(data) => {
                cx.acknowledge(stream, data.payload.len());
                return self.messages.add(data).map(FeedMessage::from);
            }
            Frame::End(_) => {
                cx.end(stream, Frame::end());
                self.over(cx, "the broker ended the subscription");
            }
            Frame::Reset(reset) => {
                let reset = reset.and_then(|reset| match *reset {
                    ResetEx::Mqtt(reset) => Some(reset),
                    _ => None,
                });
                cx.terminate(stream, None, None);
                self.over(cx, &Failure::from(reset).why);
            }
            Frame::Abort(abort) => {
                let reset = abort.and_then(|abort| match *abort {
                    AbortEx::Mqtt(reset) => Some(reset),
                    _ => None,
                });
                cx.terminate(stream, None, None);
                self.over(cx, &Failure::from(reset).why);
            }
            Frame::Flush(flush) => {
                if let FlushEx::Mqtt(MqttFlushEx::Granted(granted)) = *flush {
                    Self::answered(cx, granted.filters);
                }
            }
            Frame::Window(_) | Frame::Challenge(_) => {}
        }
        None
    }

    /// A frame of a stream that was replaced, and is ending.
    fn on_former(cx: &mut Context<'_>, stream: StreamId, frame: Frame) -> Option<FeedMessage> {
        match frame {
            Frame::Data(data) => cx.acknowledge(stream, data.payload.len()),
            Frame::Reset(_) | Frame::Abort(_) => cx.terminate(stream, None, None),
            _ => {}
        }
        None
    }

    fn begun(&mut self, cx: &mut Context<'_>, begin: BeginEx) {
        self.reported = false;
        self.begun = true;
        if let BeginEx::Mqtt(MqttBeginEx::Subscribe(begin)) = begin {
            Self::answered(cx, begin.filters);
        }
    }

    /// Reports what the broker refused.
    fn answered(cx: &mut Context<'_>, filters: Vec<MqttTopicFilter>) {
        for filter in filters {
            if filter.reason_code >= 0x80 {
                cx.event(&FilterRefused {
                    filter: filter.pattern,
                    code: filter.reason_code,
                });
            }
        }
    }

    /// The stream is over.
    fn over(&mut self, cx: &mut Context<'_>, why: &str) {
        self.stream = None;
        self.begun = false;
        self.messages.clear();
        if !self.ended {
            self.failed(cx, why);
        }
    }

    fn failed(&mut self, cx: &mut Context<'_>, why: &str) {
        if cx.stopping() {
            return;
        }
        if !std::mem::replace(&mut self.reported, true) {
            cx.event(&SubscriptionFailed { reason: why.into() });
        }
        let reason = "the next attempt to subscribe to the devices' topics";
        self.retry = Some(cx.timer(RETRY_AFTER, self.token, RETRY, reason));
    }

    /// A handler panicked while it worked for the stream, which the engine has ended.
    pub(crate) fn faulted(&mut self, cx: &mut Context<'_>) {
        self.over(cx, "an internal error in tidegate");
    }

    /// The engine is shutting down: ends the stream.
    pub(crate) fn stop(&mut self, cx: &mut Context<'_>) {
        if let Some(retry) = self.retry.take() {
            cx.cancel(retry);
        }
        if let Some(stream) = self.stream {
            cx.end(stream, Frame::end());
            self.ended = true;
        }
    }
}
