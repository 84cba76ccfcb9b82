//! Metrics of bindings and of the engine, under stable names.
//!
//! A binding reports on request ([`Binding::report`](crate::Binding::report)), so a counter costs
//! it one addition. Names and labels come from the code and the config, never from the wire; this
//! bounds the number of series.

use std::fmt;

use crate::histogram::Histogram;

/// Kind of metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MeterKind {
    /// Only increases, from 0 at the start.
    Counter,
    /// The current value.
    Gauge,
    /// A distribution of durations.
    Histogram,
}

/// Label name and value, distinguishing metrics of the same name.
pub type Label<'a> = (&'static str, &'a str);

/// Receives reported metrics.
///
/// Metrics of the same name and labels, from several workers or from bindings of the same name, are
/// to be added.
pub trait Meter {
    /// Records one metric. `name` consists of lower-case words and dots, e.g.
    /// `mqtt.client.reconnects`.
    fn record(&mut self, kind: MeterKind, name: &'static str, labels: &[Label<'_>], value: u64);

    /// Records a distribution of durations. Its name ends with `duration`.
    fn histogram(&mut self, name: &'static str, labels: &[Label<'_>], histogram: &Histogram);

    /// Records a counter without labels.
    fn counter(&mut self, name: &'static str, value: u64) {
        self.record(MeterKind::Counter, name, &[], value);
    }

    /// Records a gauge without labels.
    fn gauge(&mut self, name: &'static str, value: usize) {
        let value = u64::try_from(value).unwrap_or(u64::MAX);
        self.record(MeterKind::Gauge, name, &[], value);
    }
}

/// One metric of one binding.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Measure {
    /// The binding's name in the config; empty for the engine.
    pub binding: String,
    /// Metric name.
    pub name: &'static str,
    /// Labels.
    pub labels: Vec<(&'static str, Box<str>)>,
    /// Counter, gauge or histogram.
    pub kind: MeterKind,
    /// Current value; of a histogram, the number of measurements.
    pub value: u64,
    /// The distribution, of a histogram.
    pub histogram: Option<Box<Histogram>>,
}

/// Collects metrics and adds those with the same binding, name and labels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Measures {
    binding: String,
    all: Vec<Measure>,
}

impl Measures {
    /// Attributes the following metrics to `binding`.
    pub fn of(&mut self, binding: &str) -> &mut Self {
        binding.clone_into(&mut self.binding);
        self
    }

    /// Adds all metrics of `other`, e.g. those of another worker.
    pub fn add(&mut self, other: Self) {
        for measure in other.all {
            self.put(measure);
        }
    }

    /// The metrics, in the order they were first reported.
    pub fn iter(&self) -> impl Iterator<Item = &Measure> {
        self.all.iter()
    }

    /// Value of a metric without labels; 0 if it was not reported.
    pub fn value(&self, binding: &str, name: &str) -> u64 {
        let found = self
            .all
            .iter()
            .find(|it| it.binding == binding && it.name == name && it.labels.is_empty());
        found.map_or(0, |measure| measure.value)
    }

    /// Value of a metric selected by the value of its only label; 0 if it was not reported.
    pub fn labelled(&self, binding: &str, name: &str, label: &str) -> u64 {
        let found = self.all.iter().find(|it| {
            let labels = it.labels.first().map(|(_, value)| &**value);
            it.binding == binding && it.name == name && labels == Some(label)
        });
        found.map_or(0, |measure| measure.value)
    }

    fn put(&mut self, measure: Measure) {
        let same = |it: &&mut Measure| {
            it.name == measure.name && it.binding == measure.binding && it.labels == measure.labels
        };
        match self.all.iter_mut().find(same) {
            Some(known) => {
                known.value = known.value.saturating_add(measure.value);
                if let (Some(known), Some(more)) = (&mut known.histogram, &measure.histogram) {
                    known.add(more);
                }
            }
            None => self.all.push(measure),
        }
    }
}

/// Formats as `binding/name{label=value,…}=value`; engine metrics have no `binding/` prefix.
impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.binding.is_empty() {
            write!(f, "{}/", self.binding)?;
        }
        f.write_str(self.name)?;
        for (index, (label, value)) in self.labels.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            write!(f, "{before}{label}={value}")?;
        }
        let behind = if self.labels.is_empty() { "" } else { "}" };
        write!(f, "{behind}={}", self.value)
    }
}

/// Formats the counters and gauges other than 0 on one line. Histograms have counters beside them.
impl fmt::Display for Measures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let figures = self
            .all
            .iter()
            .filter(|measure| measure.value > 0 && measure.kind != MeterKind::Histogram);
        for (index, measure) in figures.enumerate() {
            let space = if index == 0 { "" } else { " " };
            write!(f, "{space}{measure}")?;
        }
        Ok(())
    }
}

impl Meter for Measures {
    fn record(&mut self, kind: MeterKind, name: &'static str, labels: &[Label<'_>], value: u64) {
        self.put(Measure {
            binding: self.binding.clone(),
            name,
            labels: owned(labels),
            kind,
            value,
            histogram: None,
        });
    }

    fn histogram(&mut self, name: &'static str, labels: &[Label<'_>], histogram: &Histogram) {
        self.put(Measure {
            binding: self.binding.clone(),
            name,
            labels: owned(labels),
            kind: MeterKind::Histogram,
            value: histogram.count(),
            histogram: Some(Box::new(*histogram)),
        });
    }
}

fn owned(labels: &[Label<'_>]) -> Vec<(&'static str, Box<str>)> {
    let labels = labels.iter();
    labels
        .map(|(name, value)| (*name, (*value).into()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_of_all_workers_are_added_and_labels_keep_them_apart() {
        let report = |sent: u64| {
            let mut worker = Measures::default();
            worker.of("mqtt0").gauge("mqtt.client.connections", 1);
            for (outcome, value) in [("done", sent), ("not_sent", 1)] {
                let labels = [("outcome", outcome)];
                worker.record(MeterKind::Counter, "mqtt.client.publishes", &labels, value);
            }
            worker.of("mqtt1").gauge("mqtt.client.connections", 7);
            worker
        };
        let mut all = report(40);
        all.add(report(2));
        assert_eq!(all.value("mqtt0", "mqtt.client.connections"), 2);
        assert_eq!(all.value("mqtt1", "mqtt.client.connections"), 14);
        assert_eq!(all.value("mqtt0", "mqtt.client.connection"), 0);
        let sent = |outcome| all.labelled("mqtt0", "mqtt.client.publishes", outcome);
        assert_eq!((sent("done"), sent("not_sent"), sent("lost")), (42, 2, 0));
        all.of("").counter("engine.frames", 9);
        all.of("").counter("engine.faults", 0);
        assert_eq!(
            all.to_string(),
            "mqtt0/mqtt.client.connections=2 mqtt0/mqtt.client.publishes{outcome=done}=42 \
             mqtt0/mqtt.client.publishes{outcome=not_sent}=2 mqtt1/mqtt.client.connections=14 \
             engine.frames=9"
        );
    }
}
