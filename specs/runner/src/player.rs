//! Plays a script: stimuli in, reactions compared, the clock moved.

mod call;
mod emitted;
mod reaction;
mod reading;
mod stage;
mod stimulus;

use std::fmt;
use std::path::PathBuf;

use thiserror::Error;
use tidegate_config::Registry;

use crate::captures::Captures;
use crate::factory::Factory;
use crate::script::{Line, Script, Step};
use stage::Stage;

/// How a script is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// In the one order that the engine has.
    #[default]
    Ordered,
    /// Which ready stream goes first is drawn by this seed; what different conversations say may
    /// then come in any order.
    Seeded(u64),
}

/// A script that was played to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Played {
    /// Lines that did something.
    pub steps: usize,
}

/// A script that the binding does not keep.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct Failure {
    /// The script.
    pub path: PathBuf,
    /// The line that failed, from 1; 0 where no line is to blame.
    pub line: usize,
    /// That line.
    pub text: String,
    /// What is wrong.
    pub what: String,
    /// What happened before, the newest last.
    pub trace: Vec<String>,
    /// What came instead, in lines to paste.
    pub instead: Vec<String>,
}

/// How much of what went before is shown.
const TRACE: usize = 12;

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}:{}: {}", self.path.display(), self.line, self.what)?;
        let skipped = self.trace.len().saturating_sub(TRACE);
        for line in self.trace.iter().skip(skipped) {
            writeln!(f, "      {line}")?;
        }
        if !self.text.is_empty() {
            writeln!(f, "  !   {}", self.text.replace('\n', "\n      "))?;
        }
        if !self.instead.is_empty() {
            writeln!(f, "  what came:")?;
            for line in &self.instead {
                writeln!(f, "{line}")?;
            }
        }
        Ok(())
    }
}

/// Plays a script.
pub fn play<F: Factory>(
    script: &Script,
    registry: &Registry<F>,
    mode: Mode,
) -> Result<Played, Box<Failure>> {
    let failed = |stage: Option<&mut Stage>, line: Option<&Line>, what: String| {
        let (trace, instead) = match stage {
            Some(stage) => (std::mem::take(&mut stage.trace), stage.unread()),
            None => Default::default(),
        };
        Box::new(Failure {
            path: script.path.clone(),
            line: line.map_or(0, |line| line.number),
            text: line.map(|line| line.text.clone()).unwrap_or_default(),
            what,
            trace,
            instead,
        })
    };
    let mut stage = Stage::set(script, registry, mode).map_err(|what| failed(None, None, what))?;
    let mut played = Played { steps: 0 };
    let mut at = 0;
    // Where the repeated lines begin, how often they are still to come, and what was captured then.
    let mut repeated = (0, 0, Captures::default());
    while let Some(line) = script.lines.get(at) {
        at += 1;
        let Some(step) = &line.step else { continue };
        match step {
            Step::Repeat(times) => repeated = (at, *times, stage.captures.clone()),
            Step::Again if repeated.1 > 1 => {
                at = repeated.0;
                repeated.1 -= 1;
                stage.captures = repeated.2.clone();
            }
            _ => {}
        }
        played.steps += 1;
        let done = take(&mut stage, step);
        if let Err(what) = done {
            return Err(failed(Some(&mut stage), Some(line), what));
        }
        if matches!(step, Step::Play(_)) {
            stage.trace.push(line.text.clone());
        }
        stage.forget_old_trace();
    }
    let last = script.lines.iter().rfind(|line| line.step.is_some());
    match stage.close() {
        Ok(()) => Ok(played),
        Err(what) => Err(failed(Some(&mut stage), last, what)),
    }
}

/// Takes one step.
fn take(stage: &mut Stage, step: &Step) -> Result<(), String> {
    if let Step::Expect(said) = step {
        return stage.expect(said);
    }
    stage.all_read()?;
    match step {
        Step::Play(said) => stage.stimulate(said)?,
        Step::Advance(duration) => stage.advance(*duration),
        Step::Next => stage.next()?,
        Step::Shutdown => stage.shutdown(),
        Step::Expect(_) | Step::Repeat(_) | Step::Again => {}
    }
    stage.rules_kept()
}

/// What becomes of a reaction when a script is blessed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    /// The line at this place still holds; in front of it these come.
    Holds(usize, Vec<String>),
    /// Behind the line at this place these come.
    Behind(usize, Vec<String>),
}

/// What the stimuli of a script bring about, in order.
pub(crate) fn reactions<F: Factory>(
    script: &Script,
    registry: &Registry<F>,
) -> Result<Vec<Told>, String> {
    if script
        .lines
        .iter()
        .any(|line| matches!(line.step, Some(Step::Repeat(_))))
    {
        return Err("a script that repeats lines is written by hand".to_owned());
    }
    let mut stage = Stage::set(script, registry, Mode::Ordered)?;
    let mut told = Vec::new();
    let mut last = 0;
    for (index, line) in script.lines.iter().enumerate() {
        let Some(step) = &line.step else { continue };
        if let Step::Expect(said) = step {
            // A line that holds keeps its captures and its names.
            if let Some(before) = stage.expect_later(said) {
                told.push(Told::Holds(index, before));
            }
        } else {
            told.push(Told::Behind(last, stage.read_all()));
            take(&mut stage, step).map_err(|what| format!("line {}: {what}", line.number))?;
        }
        last = index;
    }
    told.push(Told::Behind(last, stage.read_all()));
    Ok(told)
}
