//! `publish`: one message on a publish stream, answered when the stream confirms it.

use bytes::Bytes;
use bytestring::ByteString;
use tidegate_engine::{Context, Fifo, PendingData, StreamId};
use tidegate_json::Parts;
use tidegate_streams::mqtt::{
    MqttDelivery, MqttPayloadFormat, MqttPublishData, MqttPublishFlags, MqttUserProperty,
};
use tidegate_streams::shown;
use tidegate_streams::{Data, DataFlags, Frame};

use crate::mcpmqtt;
use crate::published::{self, Acknowledgement};
use crate::result::{Answer, Failure};
use crate::state::Step;
use crate::tools::PublishArguments;

/// The metadata that the first part of a message carries.
#[derive(Debug)]
struct FirstPart {
    qos: u8,
    flags: MqttPublishFlags,
    expiry: Option<u32>,
    format: MqttPayloadFormat,
    /// What few messages have.
    more: Option<Box<More>>,
}

/// The metadata that few messages have.
#[derive(Debug, Default)]
struct More {
    /// Where an answer is expected, and the Correlation Data that it should have.
    answer: Option<(ByteString, Bytes)>,
    /// User properties.
    properties: Vec<MqttUserProperty>,
}

/// A message that is being published.
#[derive(Debug)]
pub(crate) struct Publish {
    pub(crate) topic: ByteString,
    pub(crate) qos: u8,
    /// The metadata of the INIT frame, until that frame is sent.
    first: Option<FirstPart>,
    /// The payload that is not in a frame yet.
    parts: Fifo<Bytes>,
    pending: PendingData,
    sent: bool,
    /// The whole payload, if an audit log wants it.
    pub(crate) audited: Option<Box<Parts>>,
    /// The result is that of mcpMQTT.
    pub(crate) is_mcpmqtt: bool,
}

impl Publish {
    /// `expiry` is the Message Expiry Interval in seconds; it does not apply to a retained message.
    pub(crate) fn new(arguments: PublishArguments, expiry: Option<u32>) -> Self {
        let flags = arguments.flags();
        let expiry = expiry.filter(|_| !arguments.retain);
        let mut parts = Fifo::new();
        for part in arguments.payload {
            parts.push_back(part);
        }
        Self {
            topic: arguments.topic,
            qos: arguments.qos,
            first: Some(FirstPart {
                qos: arguments.qos,
                flags,
                expiry,
                format: arguments.format,
                more: None,
            }),
            parts,
            pending: PendingData::new(),
            sent: false,
            audited: None,
            is_mcpmqtt: false,
        }
    }

    /// Asks for an answer: before anything is sent. `needs_correlation`: only the correlation data tells
    /// it from others, so the request requires MQTT 5.
    pub(crate) fn expect_answer(
        &mut self,
        topic: ByteString,
        correlation: Bytes,
        needs_correlation: bool,
    ) {
        if let Some(first) = &mut self.first {
            let optional = MqttPublishFlags::ANSWER_PROPERTIES_OPTIONAL;
            first.flags = first.flags.with_if(optional, !needs_correlation);
            first.more.get_or_insert_default().answer = Some((topic, correlation));
        }
    }

    /// Adds user properties: before anything is sent.
    pub(crate) fn add_properties(&mut self, properties: Vec<MqttUserProperty>) {
        if let Some(first) = &mut self.first
            && !properties.is_empty()
        {
            first.more.get_or_insert_default().properties = properties;
        }
    }

    /// Whether the broker is to retain the message. Before anything is sent.
    pub(crate) fn is_retained(&self) -> bool {
        let first = self.first.as_ref();
        first.is_some_and(|first| first.flags.contains(MqttPublishFlags::RETAIN))
    }

    /// Where the answer is wanted. Before anything is sent.
    pub(crate) fn response_topic(&self) -> Option<&ByteString> {
        let answer = self.first.as_ref()?.more.as_ref()?.answer.as_ref();
        answer.map(|(topic, _)| topic)
    }

    /// The payload. Before anything is sent.
    pub(crate) fn payload(&self) -> impl Iterator<Item = &Bytes> {
        self.parts.iter()
    }

    /// Whether the whole message was sent to the stream.
    pub(crate) const fn is_sent(&self) -> bool {
        self.sent
    }

    /// Sends as much as the credit allows. Returns whether the whole message is sent.
    pub(crate) fn flush(&mut self, cx: &mut Context<'_>, stream: StreamId) -> bool {
        let credit = cx.credit(stream);
        if credit == 0 && self.parts.front().is_some_and(|head| !head.is_empty()) {
            return false;
        }
        if let Some(first) = self.first.take() {
            self.send_first(cx, stream, first, credit);
        }
        self.sent = self.pending.flush(cx, stream);
        self.sent
    }

    /// Sends the INIT frame and queues the others. The credit determines the size of the first part,
    /// so the deferred length is known only here.
    fn send_first(
        &mut self,
        cx: &mut Context<'_>,
        stream: StreamId,
        first: FirstPart,
        credit: usize,
    ) {
        let mut head = self.parts.pop_front().unwrap_or_default();
        let cut = (head.len() > credit).then(|| head.split_off(credit));
        let deferred: usize = cut.iter().chain(self.parts.iter()).map(Bytes::len).sum();
        let (answer, properties) = match first.more {
            Some(more) => (more.answer, more.properties),
            None => (None, Vec::new()),
        };
        let (response_topic, correlation) = answer.unzip();
        let extension = MqttPublishData {
            deferred: u32::try_from(deferred).unwrap_or(u32::MAX),
            qos: first.qos,
            flags: first.flags,
            expiry_interval: first.expiry.map_or(-1, i64::from),
            format: first.format,
            response_topic,
            correlation,
            properties,
            ..MqttPublishData::default()
        };
        let flags = DataFlags::of(true, deferred == 0);
        cx.send(stream, Frame::data_with(flags, head, extension));
        let mut next = cut.or_else(|| self.parts.pop_front());
        while let Some(payload) = next {
            next = self.parts.pop_front();
            self.pending.push(Data {
                flags: DataFlags::of(false, next.is_none()),
                payload,
                extension: None,
            });
        }
    }

    /// The stream ended (END).
    pub(crate) fn ended(&self, acknowledgement: Acknowledgement) -> Step {
        if self.sent && self.is_mcpmqtt {
            Step::Answer(mcpmqtt::published(&self.topic))
        } else if self.sent {
            let result = published::result(self.qos, acknowledgement);
            Step::Answer(Answer::ok(Parts::from(result)))
        } else {
            self.failed(&Failure::new(
                "the stream to the broker ended before the message was sent",
            ))
        }
    }

    /// The stream was reset, aborted or not opened.
    pub(crate) fn failed(&self, failure: &Failure) -> Step {
        let topic = shown(&self.topic);
        let why = &failure.why;
        // `mqtt · client` does not deliver a message of which the stream did not send all parts.
        let delivery = match failure.delivery {
            _ if !self.sent => MqttDelivery::None,
            Some(delivery) => delivery,
            None => MqttDelivery::Possible,
        };
        Step::Answer(match delivery {
            MqttDelivery::None => Answer::tool_error(&format!(
                "The message to '{topic}' was not published: {why}. It was not delivered."
            )),
            MqttDelivery::Possible => Answer::tool_error(&format!(
                "Publishing to '{topic}' was not confirmed: {why}. The message may have been \
                 delivered; check before publishing it again."
            ))
            .unconfirmed(),
        })
    }
}
