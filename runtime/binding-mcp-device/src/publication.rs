//! One message for a publish stream, sent as its credit allows.

use bytes::Bytes;
use bytestring::ByteString;
use tidegate_engine::{Context, PendingData, StreamId};
use tidegate_streams::mqtt::{MqttPayloadFormat, MqttPublish, MqttPublishData, MqttPublishFlags};
use tidegate_streams::{Data, DataFlags, Frame};

/// A message to publish.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) topic: ByteString,
    pub(crate) payload: Bytes,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    /// Message Expiry Interval, in seconds.
    pub(crate) expiry: Option<u32>,
}

/// A message that is being sent to a publish stream.
#[derive(Debug)]
pub(crate) struct Publication {
    /// The message, until its first frame is sent.
    message: Option<Message>,
    pending: PendingData,
}

impl Message {
    fn flags(&self) -> MqttPublishFlags {
        if self.retain {
            MqttPublishFlags::RETAIN
        } else {
            MqttPublishFlags::NONE
        }
    }

    /// The BEGIN of the publish stream.
    pub(crate) fn begin(&self) -> MqttPublish {
        MqttPublish {
            client_id: None,
            topic: self.topic.clone(),
            flags: self.flags(),
            qos: self.qos,
        }
    }
}

impl Publication {
    pub(crate) const fn new(message: Message) -> Self {
        Self {
            message: Some(message),
            pending: PendingData::new(),
        }
    }

    /// Sends as much as the credit allows. Returns whether the whole message is sent.
    pub(crate) fn flush(&mut self, cx: &mut Context<'_>, stream: StreamId) -> bool {
        let credit = cx.credit(stream);
        if let Some(message) = self
            .message
            .take_if(|it| credit > 0 || it.payload.is_empty())
        {
            self.send_first(cx, stream, message, credit);
        }
        self.message.is_none() && self.pending.flush(cx, stream)
    }

    /// Sends the first frame, which says how much follows, and queues the rest.
    fn send_first(
        &mut self,
        cx: &mut Context<'_>,
        stream: StreamId,
        message: Message,
        credit: usize,
    ) {
        let (flags, mut head) = (message.flags(), message.payload);
        let rest = head.split_off(credit.min(head.len()));
        let extension = MqttPublishData {
            deferred: u32::try_from(rest.len()).unwrap_or(u32::MAX),
            qos: message.qos,
            flags,
            expiry_interval: message.expiry.map_or(-1, i64::from),
            format: MqttPayloadFormat::Text,
            ..MqttPublishData::default()
        };
        let whole = rest.is_empty();
        cx.send(
            stream,
            Frame::data_with(DataFlags::of(true, whole), head, extension),
        );
        if !whole {
            self.pending.push(Data {
                flags: DataFlags::of(false, true),
                payload: rest,
                extension: None,
            });
        }
    }
}
