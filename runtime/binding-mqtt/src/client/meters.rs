//! The metrics of the binding, under stable names.
//!
//! OpenTelemetry names are used where they exist (`messaging.client.…`).

use tidegate_engine::Meter;
use tidegate_engine::MeterKind::{Counter, Gauge};
use tidegate_engine::streams::mqtt::MqttDelivery;

use super::binding::MqttClient;
use super::connection::Phase;

/// Totals since the start.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Connections that the broker accepted.
    pub(super) accepted: u64,
    /// Connections that could not be opened.
    pub(super) failed: u64,
    /// Connections that were lost after the broker had accepted them.
    pub(super) lost: u64,
    /// Streams that were refused without an attempt to connect.
    pub(super) refused: u64,
    /// Messages written.
    pub(super) sent: u64,
    /// Messages received, without duplicates.
    pub(super) consumed: u64,
    /// Sessions that were resumed, and that had ended, after a loss of their connections.
    pub(super) sessions_resumed: u64,
    pub(super) sessions_ended: u64,
    /// Subscriptions that may have missed messages.
    pub(super) gaps: u64,
    /// Subscriptions ended because the subscriber did not read its messages.
    pub(super) slow_consumers: u64,
    published: u64,
    not_sent: u64,
    unconfirmed: u64,
}

impl Counts {
    /// A publish stream succeeded.
    pub(super) const fn published(&mut self) {
        self.published += 1;
    }

    /// A publish stream was reset.
    pub(super) const fn unpublished(&mut self, delivery: MqttDelivery) {
        match delivery {
            MqttDelivery::None => self.not_sent += 1,
            MqttDelivery::Possible => self.unconfirmed += 1,
        }
    }
}

impl MqttClient {
    pub(super) fn measure(&self, meter: &mut dyn Meter) {
        let in_phases = |phases: &[Phase]| {
            let connections = self.connections.iter();
            let count = connections.filter(|(_, it)| phases.contains(&it.phase));
            u64::try_from(count.count()).unwrap_or(u64::MAX)
        };
        for (state, phases) in [
            ("connecting", &[Phase::Down, Phase::Connecting][..]),
            ("connected", &[Phase::Ready]),
            ("closing", &[Phase::Closing]),
        ] {
            let labels = [("state", state)];
            meter.record(Gauge, "mqtt.client.connections", &labels, in_phases(phases));
        }
        meter.gauge("mqtt.client.streams", self.streams.len());
        let required = self.shared.options.required;
        meter.gauge("mqtt.client.required", usize::from(required));
        let link = &self.shared.link;
        meter.gauge("mqtt.client.down", usize::from(link.is_down()));
        meter.counter("mqtt.client.outages", link.outages());
        let counts = &self.shared.counts;
        for (outcome, value) in [("accepted", counts.accepted), ("failed", counts.failed)] {
            let labels = [("outcome", outcome)];
            meter.record(Counter, "mqtt.client.connects", &labels, value);
        }
        meter.counter("mqtt.client.connections.lost", counts.lost);
        meter.counter("mqtt.client.streams.refused", counts.refused);
        for (outcome, value) in [
            ("resumed", counts.sessions_resumed),
            ("ended", counts.sessions_ended),
        ] {
            let labels = [("outcome", outcome)];
            meter.record(Counter, "mqtt.client.sessions", &labels, value);
        }
        meter.counter("mqtt.client.gaps", counts.gaps);
        meter.counter("mqtt.client.slow_consumers", counts.slow_consumers);
        for (outcome, value) in [
            ("done", counts.published),
            ("not_sent", counts.not_sent),
            ("unconfirmed", counts.unconfirmed),
        ] {
            let labels = [("outcome", outcome)];
            meter.record(Counter, "mqtt.client.publications", &labels, value);
        }
        meter.counter("messaging.client.sent.messages", counts.sent);
        meter.counter("messaging.client.consumed.messages", counts.consumed);
    }
}
