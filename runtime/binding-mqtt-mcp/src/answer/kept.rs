//! An answer as the queue keeps it: the same message, with times of the wall clock.

use tidegate_engine::Duration;

use super::{Answer, AnswerMessage};
use crate::queue::Clock;
use crate::queue::record::{Message, Octets, pairs, properties};

impl Answer {
    pub(crate) fn kept(&self, clock: Clock) -> Message {
        Message {
            topic: self.topic.to_string(),
            qos: self.qos,
            retain: self.retain,
            payload: Octets::of(&self.payload),
            correlation: self.correlation.as_ref().map(|it| Octets::of(it)),
            properties: pairs(&self.properties),
            trace: pairs(&self.trace),
            expiry: self.expiry.map(Duration::as_millis),
            until: clock.millis(self.until),
            expires: self.expires,
        }
    }

    pub(crate) fn of_kept(message: &Message, clock: Clock) -> Self {
        Self::from(AnswerMessage {
            topic: message.topic.as_str().into(),
            qos: message.qos,
            retain: message.retain,
            payload: message.payload.bytes(),
            correlation: message.correlation.as_ref().map(Octets::bytes),
            properties: properties(&message.properties),
            trace: properties(&message.trace),
            expiry: message.expiry.map(Duration::from_millis),
            until: clock.time(message.until),
            expires: message.expires,
        })
    }
}
