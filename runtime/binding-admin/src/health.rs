//! Whether the gateway is alive, and whether it is ready for calls.

use std::fmt;

use tidegate_driver::WorkerReports;
use tidegate_engine::Measures;

/// The result of a check: what is wrong, in sentences for people.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Health {
    problems: Vec<String>,
}

impl Health {
    /// Whether all workers answer.
    pub(crate) fn of(workers: &WorkerReports) -> Self {
        let silent = workers.silent.iter();
        Self {
            problems: silent
                .map(|worker| format!("worker {worker} does not answer"))
                .collect(),
        }
    }

    pub(crate) const fn is_good(&self) -> bool {
        self.problems.is_empty()
    }
}

/// `ok`, or one problem on each line.
impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_good() {
            return f.write_str("ok\n");
        }
        self.problems
            .iter()
            .try_for_each(|problem| writeln!(f, "{problem}"))
    }
}

/// Whether calls can be served.
pub(crate) fn ready(workers: &WorkerReports, stopping: bool) -> Health {
    let mut health = Health::of(workers);
    if stopping {
        health.problems.push("the gateway is stopping".to_owned());
    }
    for broker in unconnected(&workers.measures) {
        health
            .problems
            .push(format!("required broker of '{broker}' is not connected"));
    }
    health
}

/// The `mqtt · client` bindings whose broker is required and has not accepted a connection, or whose
/// last connection failed.
fn unconnected(measures: &Measures) -> Vec<&str> {
    let required = measures
        .iter()
        .filter(|measure| measure.name == "mqtt.client.required" && measure.value > 0);
    let is_unconnected = |binding: &&str| {
        let connects = "mqtt.client.connects";
        measures.value(binding, "mqtt.client.down") > 0
            || measures.labelled(binding, connects, "accepted") == 0
    };
    required
        .map(|measure| measure.binding.as_str())
        .filter(is_unconnected)
        .collect()
}

#[cfg(test)]
mod tests {
    use tidegate_engine::{Meter as _, MeterKind};

    use super::*;

    fn workers(silent: &[u16], required: usize, accepted: u64, down: usize) -> WorkerReports {
        let mut measures = Measures::default();
        let client = measures.of("mqtt0");
        client.gauge("mqtt.client.required", required);
        client.gauge("mqtt.client.down", down);
        let labels = [("outcome", "accepted")];
        client.record(
            MeterKind::Counter,
            "mqtt.client.connects",
            &labels,
            accepted,
        );
        WorkerReports {
            measures,
            count: 2,
            silent: silent.to_vec(),
        }
    }

    #[test]
    fn required_brokers_workers_and_the_stop_decide() {
        let broker = "required broker of 'mqtt0' is not connected\n";
        for (silent, required, accepted, down, expected) in [
            (&[][..], 1, 1, 0, "ok\n"),
            (&[], 0, 0, 1, "ok\n"),
            (&[], 1, 0, 0, broker),
            (&[], 1, 3, 1, broker),
            (&[1], 0, 0, 0, "worker 1 does not answer\n"),
        ] {
            let workers = workers(silent, required, accepted, down);
            assert_eq!(ready(&workers, false).to_string(), expected);
        }
        let workers = workers(&[], 1, 1, 0);
        assert_eq!(
            ready(&workers, true).to_string(),
            "the gateway is stopping\n"
        );
        assert!(Health::of(&workers).is_good(), "alive while it is stopping");
    }
}
