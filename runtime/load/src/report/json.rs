//! `results.json`: all results in machine-readable form.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::{CellReport, table};
use crate::plan::Settings;

/// A run.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Run {
    /// Version of the file format.
    version: u32,
    tidegate: &'static str,
    /// Start of the run, in seconds since 1970.
    began: u64,
    machine: Machine,
    /// Calls per second on a schedule; absent for a closed loop.
    rate: Option<f64>,
    rounds: usize,
    /// Duration of a round, in seconds.
    duration: f64,
    warm_up: f64,
    workers: u16,
    endpoint: Option<String>,
    pub(super) cells: Vec<CellReport>,
}

/// The machine.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Machine {
    cpu: Option<String>,
    cores: usize,
    kernel: Option<String>,
    /// Load average (1 min) at the start of the run.
    load: Option<String>,
    /// Whether the driver is a release build.
    optimized: bool,
}

impl Machine {
    fn this() -> Self {
        let line = |path: &str| fs::read_to_string(path).ok();
        let trimmed = |text: String| text.trim().to_owned();
        let cpu = line("/proc/cpuinfo").and_then(|text| {
            let name = text.lines().find(|line| line.starts_with("model name"))?;
            Some(name.split_once(':')?.1.trim().to_owned())
        });
        let load = line("/proc/loadavg");
        Self {
            cpu,
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            kernel: line("/proc/sys/kernel/osrelease").map(trimmed),
            load: load.and_then(|load| Some(load.split_whitespace().next()?.to_owned())),
            optimized: !cfg!(debug_assertions),
        }
    }
}

impl Run {
    pub(super) fn new(settings: &Settings) -> Self {
        let began = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            version: 1,
            tidegate: env!("CARGO_PKG_VERSION"),
            began: began.map_or(0, |since| since.as_secs()),
            machine: Machine::this(),
            rate: settings.rate,
            rounds: settings.rounds,
            duration: settings.duration.as_secs_f64(),
            warm_up: settings.warm_up.as_secs_f64(),
            workers: settings.workers,
            endpoint: settings.endpoint.as_ref().map(ToString::to_string),
            cells: Vec::new(),
        }
    }

    pub(super) fn heading(&self) -> String {
        let machine = &self.machine;
        let how = self.rate.map_or_else(
            || "closed loop".to_owned(),
            |rate| format!("{rate} calls/s on a schedule, latency from the scheduled start"),
        );
        let mut heading = format!(
            "tidegate bench {} · {} cores{} · load {} · {} round{} of {} s, interleaved, medians · \
             {how} · {} worker{}",
            self.tidegate,
            machine.cores,
            machine
                .cpu
                .as_ref()
                .map(|cpu| format!(" ({cpu})"))
                .unwrap_or_default(),
            machine.load.as_deref().unwrap_or("?"),
            self.rounds,
            if self.rounds == 1 { "" } else { "s" },
            self.duration,
            self.workers,
            if self.workers == 1 { "" } else { "s" },
        );
        heading = table::wrapped(&heading, "  ");
        if !machine.optimized {
            heading.push_str("\nwarning: debug build; the figures are not meaningful");
        }
        heading
    }
}
