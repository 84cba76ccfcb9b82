//! Messages that expire (MQTT 5.0, 3.3.2.3.3): a late command can be worse than a lost one, so the time that a
//! message waits here counts too. One that has expired is not sent, and not sent again.

use tidegate_engine::Duration;
use tidegate_engine::streams::DataEx;
use tidegate_engine::streams::mqtt::MqttDataEx;

use super::failure::Failure;
use super::publications::{Message, metadata};
use crate::codec::ReasonCode;

impl Message {
    /// How long the message is valid, if it expires. An interval of 0 is left to the broker.
    pub(super) fn lifetime(&self) -> Option<Duration> {
        let seconds = metadata(self.extension.as_ref())?.expiry_interval;
        let seconds = u64::try_from(seconds).ok().filter(|it| *it > 0);
        seconds.map(Duration::from_secs)
    }

    /// Shortens the expiry interval by the time that the message waited to be sent. Returns whether it is
    /// still valid.
    pub(super) fn age(&mut self, waited: Duration) -> bool {
        let Some(lifetime) = self.lifetime() else {
            return true;
        };
        if let Some(DataEx::Mqtt(MqttDataEx::Publish(metadata))) = self.extension.as_deref_mut() {
            let seconds = i64::try_from(waited.as_millis() / 1_000).unwrap_or(i64::MAX);
            metadata.expiry_interval = metadata.expiry_interval.saturating_sub(seconds);
        }
        waited < lifetime
    }
}

/// The failure of a message that was not sent in time.
pub(super) fn expired(waited: Duration) -> Failure {
    let seconds = waited.as_millis() / 1_000;
    let reason = format!("The message expired: it waited {seconds} s for the broker.");
    Failure::new(ReasonCode::UNSPECIFIED_ERROR, reason)
}
