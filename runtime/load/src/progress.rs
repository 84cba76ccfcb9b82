//! The bar that moves while a run does, on standard error, where that is a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::plan::{Cell, Settings};

/// The bar.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    cell: String,
}

impl Progress {
    /// A bar for so many cells; what targets each has is found out on the way, so that a cell is a
    /// step of the bar for each target that may play.
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

    /// A cell begins.
    pub(crate) fn cell(&mut self, cell: &Cell) {
        self.cell = cell.to_string();
    }

    /// A target is being started.
    pub(crate) fn starting(&self, name: &str) {
        self.bar
            .set_message(format!("{}: starting {name}", self.cell));
    }

    /// A target's turn begins.
    pub(crate) fn step(&self, name: &str) {
        self.bar.set_message(format!("{}: {name}", self.cell));
        self.bar.inc(1);
    }

    /// Says something while the bar stands aside.
    pub(crate) fn suspend(&self, say: impl FnOnce()) {
        self.bar.suspend(say);
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
