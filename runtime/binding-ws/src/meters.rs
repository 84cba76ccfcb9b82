//! The metrics of the binding, under stable names.

use tidegate_engine::Meter;
use tidegate_engine::MeterKind::Counter;

/// Totals of a worker since its start.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Handshakes that were completed.
    pub(crate) completed: u64,
    /// Handshakes that failed.
    pub(crate) failed: u64,
}

impl Counts {
    pub(crate) fn report(&self, meter: &mut dyn Meter) {
        for (outcome, count) in [("completed", self.completed), ("failed", self.failed)] {
            let labels = [("outcome", outcome)];
            meter.record(Counter, "ws.client.handshakes", &labels, count);
        }
    }
}
