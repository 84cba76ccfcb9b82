//! What the edge counts and holds, under names that stay.

use std::cell::Cell;

use tidegate_engine::Meter;
use tidegate_engine::MeterKind::Counter;

/// A figure that only grows.
#[derive(Debug, Default)]
pub(crate) struct Count(Cell<u64>);

impl Count {
    pub(crate) fn add(&self, more: usize) {
        let more = u64::try_from(more).unwrap_or(u64::MAX);
        self.0.set(self.0.get().saturating_add(more));
    }
}

/// What has happened so far on a worker.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Connections that came up.
    pub(crate) connected: Count,
    /// Connections that could not be had.
    pub(crate) failed: Count,
    /// Bytes.
    pub(crate) sent: Count,
    /// Bytes.
    pub(crate) received: Count,
}

impl Counts {
    pub(crate) fn report(&self, connections: usize, meter: &mut dyn Meter) {
        meter.gauge("tcp.client.connections", connections);
        for (name, label, value, count) in [
            (
                "tcp.client.connects",
                "outcome",
                "connected",
                &self.connected,
            ),
            ("tcp.client.connects", "outcome", "failed", &self.failed),
            ("tcp.client.bytes", "direction", "sent", &self.sent),
            ("tcp.client.bytes", "direction", "received", &self.received),
        ] {
            meter.record(Counter, name, &[(label, value)], count.0.get());
        }
    }
}
