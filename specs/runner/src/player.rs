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
use crate::difference::Difference;
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
    /// The line that failed, from 1; 0 where no line is to blame. Of a line that goes on in others, the
    /// one in which the difference is.
    pub line: usize,
    /// That line, with those in which it goes on.
    pub text: String,
    /// Where in the text the difference is, in bytes, if it is at a field or at the payload.
    pub place: Option<usize>,
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
            self.mark(f)?;
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

impl Failure {
    /// The line, and a `^` beneath what differs.
    fn mark(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut margin = "  !   ";
        let mut start = 0;
        for line in self.text.split('\n') {
            writeln!(f, "{margin}{line}")?;
            margin = "      ";
            let within = self.place.and_then(|place| place.checked_sub(start));
            if let Some(before) = within.and_then(|at| line.get(..at)) {
                let width = before.chars().count();
                writeln!(f, "{margin}{:width$}^", "")?;
            }
            start += line.len() + 1;
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
    let failed = |stage: Option<&mut Stage>, line: Option<&Line>, difference: Difference| {
        let (trace, instead) = match stage {
            Some(stage) => (std::mem::take(&mut stage.trace), stage.unread()),
            None => Default::default(),
        };
        let text = line.map(|line| line.text.clone()).unwrap_or_default();
        let place = difference.offset_in(&text);
        let before = place
            .and_then(|place| text.get(..place))
            .unwrap_or_default();
        let line = line.map_or(0, |line| line.number + before.matches('\n').count());
        Box::new(Failure {
            path: script.path.clone(),
            line,
            text,
            place,
            what: difference.to_string(),
            trace,
            instead,
        })
    };
    let mut stage =
        Stage::set(script, registry, mode).map_err(|what| failed(None, None, what.into()))?;
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
        if let Err(difference) = done {
            return Err(failed(Some(&mut stage), Some(line), difference));
        }
        if matches!(step, Step::Play(_)) {
            stage.trace.push(line.text.clone());
        }
        stage.forget_old_trace();
    }
    let last = script.lines.iter().rfind(|line| line.step.is_some());
    match stage.close() {
        Ok(()) => Ok(played),
        Err(what) => Err(failed(Some(&mut stage), last, what.into())),
    }
}

/// Takes one step.
fn take(stage: &mut Stage, step: &Step) -> Result<(), Difference> {
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
    Ok(stage.rules_kept()?)
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
