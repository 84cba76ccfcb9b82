//! The progress bar on standard error, if it is a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::plan::{Cell, Settings};

/// Progress of a run.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    cell: String,
}

impl Progress {
    /// A bar for `cells` cells. The targets of a cell are not known in advance, so every possible target
    /// counts.
    pub(crate) fn new(settings: &Settings, cells: usize) -> Self {
        let targets = 1 + usize::from(settings.floor) + settings.peers.len();
        let steps = cells * targets * (settings.rounds + 1);
        let bar = ProgressBar::with_draw_target(Some(steps as u64), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{bar:30} {percent:>3} %  {elapsed}  {msg}");
        if let Ok(style) = style {
            bar.set_style(style);
        }
        Self {
            bar,
            cell: String::new(),
        }
    }

    /// Sets the current cell.
    pub(crate) fn cell(&mut self, cell: &Cell) {
        self.cell = cell.to_string();
    }

    /// Shows that a target is being started.
    pub(crate) fn starting(&self, name: &str) {
        self.bar
            .set_message(format!("{}: starting {name}", self.cell));
    }

    /// Advances the bar for the turn of a target.
    pub(crate) fn step(&self, name: &str) {
        self.bar.set_message(format!("{}: {name}", self.cell));
        self.bar.inc(1);
    }

    /// Calls `print` while the bar is hidden.
    pub(crate) fn suspend(&self, print: impl FnOnce()) {
        self.bar.suspend(print);
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
