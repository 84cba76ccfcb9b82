//! `publish`: one message on a publish stream, answered when the stream says it is safe.

use bytes::Bytes;
use bytestring::ByteString;
use tidegate_engine::{Context, Fifo, PendingData, StreamId};
use tidegate_json::Parts;
use tidegate_streams::mqtt::{
    MqttDelivery, MqttPayloadFormat, MqttPublish, MqttPublishData, MqttPublishFlags,
};
use tidegate_streams::shown;
use tidegate_streams::{Data, DataFlags, Frame};

use crate::result::{Answer, Failure};
use crate::work::Step;

/// What is to be published: the arguments, checked.
#[derive(Debug)]
pub(crate) struct Publication {
    pub(crate) topic: ByteString,
    /// The payload in parts, none of them empty.
    pub(crate) payload: Parts,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) format: MqttPayloadFormat,
}

impl Publication {
    fn flags(&self) -> MqttPublishFlags {
        if self.retain {
            MqttPublishFlags::RETAIN
        } else {
            MqttPublishFlags::NONE
        }
    }

    /// The BEGIN of its stream.
    pub(crate) fn begin(&self, client_id: Option<ByteString>) -> MqttPublish {
        MqttPublish {
            client_id,
            topic: self.topic.clone(),
            flags: self.flags(),
            qos: self.qos,
        }
    }
}

/// What is said of a message with its first part.
#[derive(Debug)]
struct First {
    qos: u8,
    flags: MqttPublishFlags,
    expiry: Option<u32>,
    format: MqttPayloadFormat,
}

/// A message on its way.
#[derive(Debug)]
pub(crate) struct Publish {
    pub(crate) topic: ByteString,
    pub(crate) qos: u8,
    /// What the INIT frame says of the message, until that is sent.
    first: Option<First>,
    /// What follows the INIT frame, until that is sent.
    parts: Fifo<Bytes>,
    pending: PendingData,
    sent: bool,
}

impl Publish {
    /// A message that expires after `expiry` seconds, unless it is retained.
    pub(crate) fn new(publication: Publication, expiry: Option<u32>) -> Self {
        let flags = publication.flags();
        let expiry = expiry.filter(|_| !publication.retain);
        let mut parts = Fifo::new();
        for part in publication.payload {
            parts.push_back(part);
        }
        Self {
            topic: publication.topic,
            qos: publication.qos,
            first: Some(First {
                qos: publication.qos,
                flags,
                expiry,
                format: publication.format,
            }),
            parts,
            pending: PendingData::new(),
            sent: false,
        }
    }

    /// Sends what the credit allows; whether all is sent and the half may END.
    pub(crate) fn flush(&mut self, cx: &mut Context<'_>, stream: StreamId) -> bool {
        let credit = cx.credit(stream);
        if credit == 0 && self.parts.front().is_some_and(|head| !head.is_empty()) {
            return false;
        }
        if let Some(first) = self.first.take() {
            self.send_first(cx, stream, &first, credit);
        }
        self.sent = self.pending.flush(cx, stream);
        self.sent
    }

    /// Sends the INIT frame and queues the others. What is deferred is known only here, as the
    /// credit cuts the first part.
    fn send_first(&mut self, cx: &mut Context<'_>, stream: StreamId, first: &First, credit: usize) {
        let mut head = self.parts.pop_front().unwrap_or_default();
        let cut = (head.len() > credit).then(|| head.split_off(credit));
        let deferred: usize = cut.iter().chain(self.parts.iter()).map(Bytes::len).sum();
        let extension = MqttPublishData {
            deferred: u32::try_from(deferred).unwrap_or(u32::MAX),
            qos: first.qos,
            flags: first.flags,
            expiry_interval: first.expiry.map_or(-1, i64::from),
            format: first.format,
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

    /// The stream ended in order.
    pub(crate) fn ended(&self) -> Step {
        if self.sent {
            Step::Answer(Answer::ok(Parts::from(Bytes::from_static(
                b"{\"content\":[]}",
            ))))
        } else {
            self.failed(&Failure::new("the stream to the broker ended too early"))
        }
    }

    /// The stream failed.
    pub(crate) fn failed(&self, failure: &Failure) -> Step {
        let topic = shown(&self.topic);
        let why = &failure.why;
        // A message that was not handed over whole cannot have left.
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
                 delivered; check before you publish it again."
            ))
            .unconfirmed(),
        })
    }
}
