//! Reports: a table and files after each cell.

mod hdr;
mod json;
mod svg;
mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::LoadError;
use crate::broker::Description;
use crate::measure::{Figures, Tally};
use crate::plan::{Cell, Settings};
use crate::play::Outcome;
use crate::statistics::{Ratios, medians, ratios};
use crate::target::Role;

pub(crate) use table::{broker_line, table};

/// The results of one target in one cell.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TargetReport {
    pub(crate) name: String,
    pub(crate) role: Role,
    /// Time from process start to first response, in milliseconds.
    pub(crate) start: Option<f64>,
    /// Resident bytes before the load.
    pub(crate) idle: Option<u64>,
    /// The first error message.
    pub(crate) first_error: Option<String>,
    /// The median of the rounds.
    pub(crate) median: Figures,
    pub(crate) rounds: Vec<Figures>,
    #[serde(skip)]
    pub(crate) latencies: Vec<Interval>,
}

/// The latencies of a round.
#[derive(Debug)]
pub(crate) struct Interval {
    pub(crate) began: SystemTime,
    pub(crate) duration: Duration,
    pub(crate) histogram: Histogram<u64>,
}

impl TargetReport {
    pub(crate) fn new(name: &str, role: Role, start: Option<Duration>, idle: Option<u64>) -> Self {
        Self {
            name: name.to_owned(),
            role,
            start: start.map(|start| start.as_secs_f64() * 1e3),
            idle,
            first_error: None,
            median: Figures::default(),
            rounds: Vec::new(),
            latencies: Vec::new(),
        }
    }

    /// Adds a round.
    pub(crate) fn add(
        &mut self,
        began: SystemTime,
        duration: Duration,
        figures: Figures,
        tally: Tally,
    ) {
        self.rounds.push(figures);
        self.median = medians(&self.rounds);
        self.latencies.push(Interval {
            began,
            duration,
            histogram: tally.histogram,
        });
        if self.first_error.is_none() {
            self.first_error = tally.first_error;
        }
    }

    pub(crate) fn errors(&self) -> f64 {
        self.rounds.iter().map(|round| round.errors).sum()
    }

    fn calls(&self) -> f64 {
        self.rounds.iter().map(|round| round.calls).sum()
    }

    /// The latencies of all rounds.
    fn merged(&self) -> Histogram<u64> {
        crate::play::merged(self.latencies.iter().map(|interval| &interval.histogram))
    }
}

/// The results of one cell.
#[derive(Debug, Serialize)]
pub(crate) struct CellReport {
    pub(crate) name: String,
    #[serde(flatten)]
    pub(crate) cell: Cell,
    pub(crate) broker: Description,
    pub(crate) targets: Vec<TargetReport>,
    /// Ratios of tidegate to each other target.
    pub(crate) ratios: Vec<Ratios>,
    /// Targets that could not be started, with the reason.
    pub(crate) failed: Vec<(String, String)>,
}

impl CellReport {
    pub(crate) fn new(
        cell: Cell,
        broker: Description,
        targets: Vec<TargetReport>,
        failed: Vec<(String, String)>,
    ) -> Self {
        let name = match broker.nagle {
            Some(nagle) => format!("{cell}-nagle-{}", table::word(nagle)),
            None => cell.to_string(),
        };
        let ours = targets.iter().find(|target| target.role == Role::Ours);
        let others = targets.iter().filter(|target| target.role != Role::Ours);
        let ratios = ours.map_or_else(Vec::new, |ours| {
            others
                .map(|other| ratios(&ours.rounds, &other.name, &other.rounds))
                .collect()
        });
        Self {
            name,
            cell,
            broker,
            targets,
            ratios,
            failed,
        }
    }
}

/// The report of a run and its output folder.
#[derive(Debug)]
pub(crate) struct Report {
    run: json::Run,
    output: Option<PathBuf>,
}

impl Report {
    /// Creates an empty report. The folder is created now, so that an error is found before the run.
    pub(crate) fn new(settings: &Settings) -> Result<Self, LoadError> {
        if let Some(folder) = &settings.output {
            fs::create_dir_all(folder).map_err(|error| unwritten(folder, &error))?;
        }
        Ok(Self {
            run: json::Run::new(settings),
            output: settings.output.clone(),
        })
    }

    /// The heading above the tables.
    pub(crate) fn heading(&self) -> String {
        self.run.heading()
    }

    /// Adds a cell and rewrites the affected files.
    pub(crate) fn add(&mut self, cell: CellReport) -> Result<(), LoadError> {
        if let Some(folder) = &self.output {
            for target in &cell.targets {
                let log = hdr::log(target).map_err(LoadError::Report)?;
                write(
                    &folder.join(format!("{}-{}.hlog", cell.name, target.name)),
                    &log,
                )?;
            }
            let plot = svg::percentiles(&cell);
            write(
                &folder.join(format!("percentiles-{}.svg", cell.name)),
                plot.as_bytes(),
            )?;
        }
        self.run.cells.push(cell);
        if let Some(folder) = &self.output {
            let results = serde_json::to_vec_pretty(&self.run);
            let results = results.map_err(|error| LoadError::Report(error.to_string()))?;
            write(&folder.join("results.json"), &results)?;
        }
        Ok(())
    }

    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counts that are whole and not negative"
    )]
    /// Calls and errors of tidegate: of the cells with too many errors, or of all cells if there are none.
    pub(crate) fn outcome(&self) -> Outcome {
        let targets = self.run.cells.iter().flat_map(|cell| &cell.targets);
        let ours = targets.filter(|target| target.role == Role::Ours);
        let cells = ours.map(|target| Outcome {
            calls: (target.calls() + target.errors()) as u64,
            errors: target.errors() as u64,
        });
        let (failed, passed): (Vec<_>, Vec<_>) = cells.partition(Outcome::is_failure);
        // A failing cell with few calls must not be hidden by a successful one with many.
        let cells = if failed.is_empty() { passed } else { failed };
        let none = Outcome {
            calls: 0,
            errors: 0,
        };
        cells.iter().fold(none, |sum, cell| Outcome {
            calls: sum.calls + cell.calls,
            errors: sum.errors + cell.errors,
        })
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), LoadError> {
    fs::write(path, bytes).map_err(|error| unwritten(path, &error))
}

fn unwritten(path: &Path, error: &std::io::Error) -> LoadError {
    LoadError::Report(format!("{}: {error}", path.display()))
}

#[cfg(test)]
pub(crate) mod tests;
