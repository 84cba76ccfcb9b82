//! What the binding reports of its state, beside the counts of what has happened.

use tidegate_engine::Meter;
use tidegate_engine::MeterKind::Counter;

use crate::proxy::MqttMcp;

impl MqttMcp {
    /// Reports all gauges and counters.
    pub(crate) fn report_to(&self, meter: &mut dyn Meter) {
        meter.gauge("mqtt_mcp.requests.running", self.lanes.running());
        meter.gauge("mqtt_mcp.requests.waiting", self.lanes.waiting());
        meter.gauge("mqtt_mcp.requests.remembered", self.remembered.len());
        meter.gauge("mqtt_mcp.answers.waiting", self.publications.len());
        meter.gauge("mqtt_mcp.listens", self.listens.len());
        let evicted = &self.remembered.evicted;
        for (what, count) in [("answers", evicted.answers), ("requests", evicted.requests)] {
            let labels = [("what", what)];
            meter.record(Counter, "mqtt_mcp.remembered.evicted", &labels, count);
        }
        if let Some(queue) = &self.queue {
            queue.report(meter);
        }
        self.counts.report(meter);
    }
}
