//! The deadline of a stream: its caller is told who keeps it waiting, what is missing, and whether its
//! message may have been delivered.
//!
//! Only this binding knows: to its caller, a publication that waits for the broker's receive window
//! looks like one that was written and is not acknowledged.

use std::borrow::Cow;

use tidegate_engine::streams::mqtt::MqttDelivery;

use super::connection::{Connection, Phase, Work};
use super::failure::Failure;
use super::publications::Publication;
use super::streams::Kind;
use crate::codec::ReasonCode;

impl Connection {
    /// The stream's deadline has passed. It has none any more once it is accepted.
    pub(super) fn expire(&mut self, w: &mut Work<'_, '_>, key: usize) {
        let Some(stream) = w.streams.get(key) else {
            return;
        };
        let after = w.cx.now().since(stream.opened).as_millis();
        let (missing, delivery) = match &stream.kind {
            Kind::Session(_) => (self.missing("open the session"), MqttDelivery::None),
            Kind::Subscribe(_) => {
                let what = "confirm the subscription (SUBACK)";
                (self.missing(what), MqttDelivery::None)
            }
            Kind::Publish(publication) => (self.unpublished(publication), publication.delivery()),
        };
        let reason = format!("{} {missing} within {after} ms.", self.broker());
        let failure = Failure::new(ReasonCode::UNSPECIFIED_ERROR, reason);
        self.fail(w, key, &failure, delivery);
    }

    /// What the broker has not done.
    fn missing(&self, what: &'static str) -> Cow<'static, str> {
        match self.phase {
            Phase::Ready | Phase::Closing => format!("did not {what}").into(),
            Phase::Down | Phase::Connecting => "did not accept the connection".into(),
        }
    }

    fn unpublished(&self, publication: &Publication) -> Cow<'static, str> {
        let written = publication.delivery() == MqttDelivery::Possible;
        match publication.qos() {
            1 if written => "did not acknowledge the message (PUBACK)".into(),
            2 if written => "did not acknowledge the message (PUBREC, PUBCOMP)".into(),
            1 | 2
                if self.phase == Phase::Ready && self.in_flight >= self.granted.receive_maximum =>
            {
                let most = self.granted.receive_maximum;
                format!("did not acknowledge the messages sent before (Receive Maximum {most})")
                    .into()
            }
            _ => self.missing("take the message"),
        }
    }
}
