//! Deadlines of streams: the error says what the broker has not done, and whether the message may
//! have been delivered.
//!
//! Only this binding knows: a caller cannot tell a publication that waits for the broker's receive
//! window from one that was written and not acknowledged.

use std::borrow::Cow;

use tidegate_engine::streams::mqtt::MqttDelivery;

use super::connection::{Connection, Env, Phase};
use super::failure::Failure;
use super::publications::Publication;
use super::streams::Kind;
use crate::codec::ReasonCode;

impl Connection {
    /// The deadline of a stream expired. Accepted streams have none.
    pub(super) fn expire(&mut self, env: &mut Env<'_, '_>, key: usize) {
        let Some(stream) = env.streams.get(key) else {
            return;
        };
        let after = env.cx.now().since(stream.opened).as_millis();
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
        self.fail(env, key, &failure, delivery);
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
                if self.phase == Phase::Ready
                    && self.session.in_flight >= self.granted.receive_maximum =>
            {
                let most = self.granted.receive_maximum;
                format!("did not acknowledge the earlier messages (Receive Maximum {most})").into()
            }
            _ => self.missing("accept the message"),
        }
    }
}
