//! The metrics of the edge, under stable names.

use std::cell::Cell;

use tidegate_engine::Meter;
use tidegate_engine::MeterKind::Counter;

/// A counter.
#[derive(Debug, Default)]
pub(crate) struct Count(Cell<u64>);

impl Count {
    pub(crate) fn add(&self, more: usize) {
        let more = u64::try_from(more).unwrap_or(u64::MAX);
        self.0.set(self.0.get().saturating_add(more));
    }
}

/// Totals of a worker since its start.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Connections opened.
    pub(crate) connected: Count,
    /// Connections that could not be opened.
    pub(crate) failed: Count,
    /// Bytes written.
    pub(crate) sent: Count,
    /// Bytes read.
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
