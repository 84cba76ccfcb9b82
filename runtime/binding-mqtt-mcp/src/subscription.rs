//! The subscription to requests: one stream for all topic filters, for as long as the worker runs.
//!
//! `mqtt · client` restores it when the connection was lost, and requests refused filters again. If the stream itself fails, it is opened
//! again a second later.
//!
//! A request is acknowledged to the broker when its answer is published, so that the broker keeps it until
//! then: see [`Receipt`].

use std::collections::BTreeSet;

use bytestring::ByteString;
use tidegate_engine::{BindingId, CallContext, Context, Duration, StreamId, TimerId, Token};
use tidegate_streams::mqtt::{
    MqttAcknowledge, MqttBeginEx, MqttFlushEx, MqttMessage, MqttMessages, MqttReset, MqttSubscribe,
    MqttSubscribeFlags, MqttTopicFilter,
};
use tidegate_streams::{AbortEx, BeginEx, FlushEx, Frame, ResetEx};

use crate::events::{FilterGranted, FilterRefused, SubscriptionFailed};

/// The token of its stream.
pub(crate) const SUBSCRIPTION: Token = Token(u32::MAX);
/// The kind of its timer.
pub(crate) const RETRY: u32 = 1;

/// Time before a failed stream is opened again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How the binding subscribes.
#[derive(Debug)]
pub(crate) struct Terms {
    pub(crate) client_id: Option<ByteString>,
    /// The shared subscription that it takes part in.
    pub(crate) group: Option<ByteString>,
    /// Maximum number of requests that are not acknowledged.
    pub(crate) receive_maximum: u16,
    /// Time that the broker keeps them without a connection, in seconds.
    pub(crate) session_expiry: u32,
}

/// A message that the broker keeps until it is acknowledged. One of an earlier stream cannot be: the broker
/// sends that message again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Receipt {
    stream: StreamId,
    number: u64,
}

/// The subscription.
#[derive(Debug)]
pub(crate) struct Subscription {
    exit: BindingId,
    terms: Terms,
    /// The broker keeps unacknowledged requests after the end of the stream.
    keeps: bool,
    filters: Vec<(ByteString, u8)>,
    /// Those that the broker refuses.
    refused: BTreeSet<ByteString>,
    stream: Option<StreamId>,
    /// Our half of the stream has ended.
    ended: bool,
    retry: Option<TimerId>,
    /// The failure was reported, and the stream has not begun since.
    reported: bool,
    messages: MqttMessages,
}

impl Subscription {
    /// A message of more than `bound` bytes is cut to one byte more than that.
    pub(crate) const fn new(
        exit: BindingId,
        terms: Terms,
        filters: Vec<(ByteString, u8)>,
        bound: usize,
    ) -> Self {
        Self {
            exit,
            terms,
            keeps: false,
            filters,
            refused: BTreeSet::new(),
            stream: None,
            ended: false,
            retry: None,
            reported: false,
            messages: MqttMessages::of_at_most(bound),
        }
    }

    /// Opens the stream.
    pub(crate) fn open(&mut self, cx: &mut Context<'_>) {
        self.retry = None;
        if self.stream.is_some() || cx.stopping() {
            return;
        }
        let begin = self.terms.subscribe(&self.filters);
        match cx.open_for(CallContext::default(), self.exit, begin, SUBSCRIPTION) {
            Ok(stream) => {
                self.stream = Some(stream);
                self.ended = false;
            }
            Err(error) => self.failed(cx, &error.to_string()),
        }
    }

    /// A frame of the stream; returns the message that it completes.
    pub(crate) fn on_frame(
        &mut self,
        cx: &mut Context<'_>,
        stream: StreamId,
        frame: Frame,
    ) -> Option<MqttMessage> {
        if self.stream != Some(stream) {
            return None;
        }
        match frame {
            Frame::Begin(begin) => {
                self.reported = false;
                if let BeginEx::Mqtt(MqttBeginEx::Subscribe(begin)) = begin.into_inner() {
                    self.keeps = begin.session_expiry > 0;
                    self.answered(cx, begin.filters);
                }
            }
            Frame::Data(data) => {
                cx.acknowledge(stream, data.payload.len());
                return self.messages.add(data);
            }
            Frame::Flush(flush) => {
                if let FlushEx::Mqtt(MqttFlushEx::Granted(granted)) = *flush {
                    self.answered(cx, granted.filters);
                }
            }
            Frame::End(_) => {
                cx.end(stream, Frame::end());
                self.over(cx, "the broker ended the subscription");
            }
            Frame::Reset(reset) => {
                cx.terminate(stream, None, None);
                self.over(cx, &why(of_reset(reset)));
            }
            Frame::Abort(abort) => {
                let reset = abort.and_then(|abort| match *abort {
                    AbortEx::Mqtt(reset) => Some(reset),
                    _ => None,
                });
                cx.terminate(stream, None, None);
                self.over(cx, &why(reset));
            }
            Frame::Window(_) | Frame::Challenge(_) => {}
        }
        None
    }

    /// The receipt of a message with this number; `None` if the broker needs no acknowledgement.
    pub(crate) fn receipt(&self, number: u64) -> Option<Receipt> {
        let stream = self.stream.filter(|_| number > 0)?;
        Some(Receipt { stream, number })
    }

    /// The binding is done with these messages.
    pub(crate) fn acknowledge(&self, cx: &mut Context<'_>, receipts: &[Receipt]) {
        for receipt in receipts {
            if self.stream == Some(receipt.stream) && !self.ended {
                let number = receipt.number;
                cx.send(receipt.stream, Frame::flush(MqttAcknowledge { number }));
            }
        }
    }

    /// Whether the broker keeps what is not acknowledged for the next gateway with this client identifier.
    pub(crate) const fn keeps(&self) -> bool {
        self.keeps
    }

    /// Reports what the broker refused, and what it grants after that.
    fn answered(&mut self, cx: &mut Context<'_>, filters: Vec<MqttTopicFilter>) {
        for filter in filters {
            if filter.reason_code >= 0x80 {
                self.refused.insert(filter.pattern.clone());
                cx.event(&FilterRefused {
                    filter: filter.pattern,
                    code: filter.reason_code,
                });
            } else if self.refused.remove(&filter.pattern) {
                cx.event(&FilterGranted {
                    filter: filter.pattern,
                });
            }
        }
    }

    /// The stream is over.
    fn over(&mut self, cx: &mut Context<'_>, why: &str) {
        self.stream = None;
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
        let reason = "the next attempt to subscribe to requests";
        self.retry = Some(cx.timer(RETRY_AFTER, SUBSCRIPTION, RETRY, reason));
    }

    /// A handler panicked while it worked for the stream, which the engine has ended.
    pub(crate) fn faulted(&mut self, cx: &mut Context<'_>) {
        self.over(cx, "an internal error in tidegate");
    }

    /// Ends the stream: no further message is a request.
    pub(crate) fn stop(&mut self, cx: &mut Context<'_>) {
        if let Some(retry) = self.retry.take() {
            cx.cancel(retry);
        }
        if let Some(stream) = self.stream
            && !std::mem::replace(&mut self.ended, true)
        {
            cx.end(stream, Frame::end());
        }
    }
}

impl Terms {
    /// The subscription to filters, with the `QoS` of each. Retained messages are not requests, so none is asked
    /// for.
    pub(crate) fn subscribe(&self, filters: &[(ByteString, u8)]) -> MqttSubscribe {
        let filters = filters.iter().zip(1..);
        let filters = filters.map(|((pattern, qos), subscription_id)| MqttTopicFilter {
            subscription_id,
            qos: *qos,
            flags: MqttSubscribeFlags::NO_RETAINED,
            pattern: self.filter(pattern),
            ..MqttTopicFilter::default()
        });
        MqttSubscribe {
            client_id: self.client_id.clone(),
            receive_maximum: self.receive_maximum,
            session_expiry: self.session_expiry,
            // It would raise the QoS of each filter.
            qos: 0,
            filters: filters.collect(),
            ..MqttSubscribe::default()
        }
    }

    /// The filter to subscribe to.
    fn filter(&self, pattern: &ByteString) -> ByteString {
        match &self.group {
            Some(group) => format!("$share/{group}/{pattern}").into(),
            None => pattern.clone(),
        }
    }
}

/// The extension of a RESET of an mqtt stream.
pub(crate) fn of_reset(reset: Option<Box<ResetEx>>) -> Option<MqttReset> {
    reset.and_then(|reset| match *reset {
        ResetEx::Mqtt(reset) => Some(reset),
        _ => None,
    })
}

/// A reason in words.
pub(crate) fn why(reset: Option<MqttReset>) -> String {
    let reason = reset.map(|reset| reset.reason.to_string());
    let reason = reason.filter(|reason| !reason.is_empty());
    reason.unwrap_or_else(|| "the connection to the broker was lost".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tidegate_engine::testing::Rig;
    use tidegate_options::ActionRoute;
    use tidegate_streams::mqtt::MqttGranted;

    use super::*;
    use crate::MqttMcp;

    fn terms(group: Option<&'static str>) -> Terms {
        Terms {
            client_id: None,
            group: group.map(ByteString::from_static),
            receive_maximum: 10,
            session_expiry: 60,
        }
    }

    #[test]
    fn replicas_of_a_group_share_a_subscription() {
        let filter = ByteString::from_static("devices/+/call");
        assert_eq!(terms(None).filter(&filter), filter);
        let shared = terms(Some("planners")).filter(&filter);
        assert_eq!(shared, "$share/planners/devices/+/call");
    }

    #[test]
    fn a_refused_filter_and_its_later_grant_are_events() {
        let when = json!([{ "topic": "a" }, { "topic": "b" }]);
        let route = ActionRoute {
            when: serde_json::from_value(when).expect("conditions"),
            with: serde_json::from_value(json!({ "tool": "x", "answer": { "topic": "c" } }))
                .expect("an action"),
        };
        let options = serde_json::from_value(json!({})).expect("options");
        let mut rig = Rig::new();
        let (mqtt, mcp) = (rig.edge(1 << 20), rig.edge(1 << 20));
        rig.attach(MqttMcp::new(&options, vec![route], mqtt, mcp, None));
        rig.worker.start();
        rig.turn(mqtt, |_| {});
        let stream = rig.outputs(mqtt).first().expect("it subscribes").at.stream;
        let filter = |pattern: &'static str, reason_code| MqttTopicFilter {
            pattern: pattern.into(),
            reason_code,
            ..MqttTopicFilter::default()
        };
        let begin = MqttSubscribe {
            filters: vec![filter("a", 1), filter("b", 0x97)],
            ..MqttSubscribe::default()
        };
        rig.send(mqtt, stream, Frame::begin(begin));
        for filters in [vec![filter("a", 1), filter("b", 1)], vec![filter("b", 1)]] {
            rig.send(mqtt, stream, Frame::flush(MqttGranted { filters }));
        }
        let events = std::iter::from_fn(|| rig.worker.poll_event());
        let events: Vec<String> = events.map(|it| it.message).collect();
        assert_eq!(
            events,
            [
                "the broker refused the subscription to 'b' with reason code 151",
                "the broker grants the subscription to 'b' now"
            ]
        );
    }
}
