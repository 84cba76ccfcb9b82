//! The queue of messages for one subscriber.

use bytes::Bytes;
use tidegate_engine::streams::mqtt::{MqttDataEx, MqttSubscribeData};
use tidegate_engine::streams::{Data, DataEx, DataFlags, Frame, Pooled};
use tidegate_engine::{Context, Fifo, StreamId};

/// Size of the bookkeeping of a queued message, in bytes.
const OVERHEAD: usize = 64;

/// A queued message.
#[derive(Debug)]
struct Delivery {
    /// The metadata, until the first part is sent.
    extension: Option<Pooled<DataEx>>,
    parts: Fifo<Bytes>,
    /// Bytes of payload that are not sent yet.
    left: usize,
    weight: usize,
}

/// The messages queued for one subscriber, in order of arrival.
#[derive(Debug, Default)]
pub(super) struct Deliveries {
    queue: Fifo<Delivery>,
    weight: usize,
}

impl Deliveries {
    /// Whether a bound of the queue is reached. The message that is being sent does not count towards the
    /// bytes: a reader of one that is larger than the bound is not a slow one.
    pub(super) fn is_full(&self, messages: usize, bytes: usize) -> bool {
        let front = self.queue.front();
        let sending = front.filter(|_| self.is_within_a_message());
        let sending = sending.map_or(0, |front| front.weight);
        self.queue.len() >= messages || self.weight - sending >= bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether a message was sent in part.
    pub(super) fn is_within_a_message(&self) -> bool {
        self.queue
            .front()
            .is_some_and(|front| front.extension.is_none())
    }

    /// Appends a message. Its parts are shared, not copied.
    pub(super) fn push(&mut self, extension: MqttSubscribeData, parts: &[Bytes]) {
        let left = parts.iter().map(Bytes::len).sum::<usize>();
        let weight = left + weight_of(&extension);
        self.weight += weight;
        let mut shared = Fifo::new();
        for part in parts.iter().filter(|part| !part.is_empty()) {
            shared.push_back(part.clone());
        }
        self.queue.push_back(Delivery {
            extension: Some(Pooled::new(extension.into())),
            parts: shared,
            left,
            weight,
        });
    }

    /// Sends as much as the credit allows.
    pub(super) fn flush(&mut self, cx: &mut Context<'_>, stream: StreamId) {
        while let Some(front) = self.queue.front_mut() {
            if !front.send(cx, stream) {
                return;
            }
            let done = self.queue.pop_front();
            self.weight -= done.map_or(0, |done| done.weight);
        }
    }
}

impl Delivery {
    /// Returns whether the whole message was sent.
    fn send(&mut self, cx: &mut Context<'_>, stream: StreamId) -> bool {
        loop {
            let credit = cx.credit(stream);
            let Some(part) = self.parts.front_mut() else {
                // A message without payload needs no credit.
                if let Some(extension) = self.extension.take() {
                    cx.send(
                        stream,
                        Frame::Data(Data {
                            flags: DataFlags::WHOLE,
                            payload: Bytes::new(),
                            extension: Some(extension),
                        }),
                    );
                }
                return true;
            };
            if credit == 0 {
                return false;
            }
            let payload = part.split_to(part.len().min(credit));
            if part.is_empty() {
                self.parts.pop_front();
            }
            self.left -= payload.len();
            let flags = DataFlags::of(self.extension.is_some(), self.left == 0);
            let mut extension = self.extension.take();
            if let Some(DataEx::Mqtt(MqttDataEx::Subscribe(message))) = extension.as_deref_mut() {
                message.deferred = u32::try_from(self.left).unwrap_or(u32::MAX);
            }
            let data = Data {
                flags,
                payload,
                extension,
            };
            cx.send(stream, Frame::Data(data));
            if self.left == 0 {
                return true;
            }
        }
    }
}

fn weight_of(extension: &MqttSubscribeData) -> usize {
    let properties = extension.properties.iter();
    OVERHEAD
        + extension.topic.len()
        + extension.correlation.as_ref().map_or(0, Bytes::len)
        + properties
            .map(|property| property.key.len() + property.value.len() + OVERHEAD)
            .sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_message_that_is_being_sent_does_not_fill_the_queue() {
        let part = [Bytes::from_static(&[0; 1_000])];
        let mut deliveries = Deliveries::default();
        deliveries.push(MqttSubscribeData::default(), &part);
        assert!(deliveries.is_full(10, 500), "nothing of it is sent");
        if let Some(front) = deliveries.queue.front_mut() {
            front.extension = None;
        }
        assert!(!deliveries.is_full(10, 500), "it is being sent");
        assert!(deliveries.is_full(1, 500), "it counts as a message");
        deliveries.push(MqttSubscribeData::default(), &part);
        assert!(deliveries.is_full(10, 500), "another one waits");
    }
}
