//! The result of a round: latencies, failures, and resource usage of the server.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::process::Usage;

/// Largest recorded latency, in nanoseconds.
const LATENCY_MAX: u64 = 120_000_000_000;
/// Significant digits of recorded latencies.
const DIGITS: u8 = 3;

/// The calls of a round.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Latencies of successful and unserved calls, in nanoseconds.
    pub(crate) histogram: Histogram<u64>,
    pub(crate) errors: u64,
    pub(crate) first_error: Option<String>,
    /// Calls that were due but not made.
    pub(crate) unserved: u64,
    /// Successful calls per second.
    pub(crate) rate: f64,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            histogram: histogram(),
            errors: 0,
            first_error: None,
            unserved: 0,
            rate: 0.0,
        }
    }
}

/// An empty histogram of latencies in nanoseconds.
#[allow(clippy::expect_used, reason = "the bounds are constants, and legal")]
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(LATENCY_MAX, DIGITS).expect("legal bounds")
}

impl Tally {
    pub(crate) fn record(&mut self, latency: Duration, outcome: Result<(), String>) {
        match outcome {
            Ok(()) => self.histogram.saturating_record(nanoseconds(latency)),
            Err(error) => {
                self.errors += 1;
                self.first_error.get_or_insert(error);
            }
        }
    }

    /// Records a call that was due but not made.
    pub(crate) fn unserved(&mut self, waited: Duration) {
        self.unserved += 1;
        self.histogram.saturating_record(nanoseconds(waited));
    }

    /// Number of successful calls.
    pub(crate) fn calls(&self) -> u64 {
        self.histogram.len() - self.unserved
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(LATENCY_MAX)
}

/// The figures of a round, or the medians of many. Times are in microseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Figures {
    pub(crate) calls: f64,
    pub(crate) errors: f64,
    pub(crate) unserved: f64,
    /// Successful calls per second.
    pub(crate) rate: f64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    #[serde(rename = "p99.9")]
    pub(crate) p999: f64,
    pub(crate) max: f64,
    /// Processor time of the server per call.
    pub(crate) cpu: Option<f64>,
    pub(crate) cpu_user: Option<f64>,
    pub(crate) cpu_system: Option<f64>,
    /// Processor time of the driver per call.
    pub(crate) driver_cpu: Option<f64>,
    /// Resident bytes at the end.
    pub(crate) resident: Option<f64>,
}

#[allow(
    clippy::cast_precision_loss,
    reason = "figures are printed with a few digits"
)]
pub(crate) const fn figure(count: u64) -> f64 {
    count as f64
}

impl Figures {
    /// The figures of a round, with the processor time of server and driver.
    pub(crate) fn of(
        tally: &Tally,
        server: Option<Usage>,
        driver: Option<Usage>,
        resident: Option<u64>,
    ) -> Self {
        let at = |quantile| figure(tally.histogram.value_at_quantile(quantile)) / 1e3;
        // Failed calls use processor time too.
        let calls = figure(tally.calls() + tally.errors).max(1.0);
        let each = |nanoseconds: u64| figure(nanoseconds) / 1e3 / calls;
        Self {
            calls: figure(tally.calls()),
            errors: figure(tally.errors),
            unserved: figure(tally.unserved),
            rate: tally.rate,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: figure(tally.histogram.max()) / 1e3,
            cpu: server.map(|usage| each(usage.cpu)),
            cpu_user: server.map(|usage| each(usage.user)),
            cpu_system: server.map(|usage| each(usage.system)),
            driver_cpu: driver.map(|usage| each(usage.cpu)),
            resident: resident.map(figure),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_of_what_was_recorded() {
        let mut tally = Tally::default();
        for micros in 1..=1_000 {
            tally.record(Duration::from_micros(micros), Ok(()));
        }
        tally.record(Duration::from_secs(5), Err("no".to_owned()));
        let used = Usage {
            cpu: 10_010_000,
            user: 0,
            system: 0,
        };
        let figures = Figures::of(&tally, Some(used), None, Some(7));
        let near = |value: f64, wanted: f64| (value / wanted - 1.0).abs() < 0.002;
        assert!(
            near(figures.p50, 500.0) && near(figures.p90, 900.0),
            "{figures:?}"
        );
        assert!(
            near(figures.p999, 999.0) && near(figures.max, 1_000.0),
            "{figures:?}"
        );
        assert_eq!((figures.calls, figures.errors), (1_000.0, 1.0));
        assert!(near(figures.cpu.expect("known"), 10.0), "{figures:?}");
        assert_eq!((figures.driver_cpu, figures.resident), (None, Some(7.0)));
    }

    #[test]
    fn a_latency_beyond_all_is_kept_as_the_longest() {
        let mut tally = Tally::default();
        tally.record(Duration::from_secs(1_000), Ok(()));
        tally.unserved(Duration::from_secs(1));
        assert_eq!((tally.calls(), tally.unserved), (1, 1));
        assert!(tally.histogram.max() >= LATENCY_MAX);
    }

    #[test]
    fn a_round_without_calls_has_figures_too() {
        let figures = Figures::of(&Tally::default(), None, None, None);
        assert!(figures.p50.abs() < f64::EPSILON && figures.cpu.is_none());
    }
}
