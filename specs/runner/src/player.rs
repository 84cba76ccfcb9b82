//! Plays a script: sends stimuli, compares reactions, advances the clock.

mod call;
mod emitted;
mod harness;
mod reaction;
mod reading;
mod stimulus;

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use thiserror::Error;
use tidegate_config::Registry;

use crate::captures::Captures;
use crate::difference::Difference;
use crate::factory::Factory;
use crate::script::{Line, Script, Step};
use harness::Harness;

/// How a script is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// In the deterministic order of the engine.
    #[default]
    Ordered,
    /// Ready streams are served in an order drawn from this seed; frames of different conversations may
    /// then arrive in any order.
    Seeded(u64),
}

/// A script that passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Played {
    /// Number of executed steps, repeated ones included.
    pub steps: usize,
}

/// A script that failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct Failure {
    /// Path of the script.
    pub path: PathBuf,
    /// The failed line, from 1; 0 if no line applies. For continued lines, the line of the difference.
    pub line: usize,
    /// The text of the line, including continuation lines.
    pub text: String,
    /// Byte offset of the difference in the text, if it is in a field or the payload.
    pub offset: Option<usize>,
    /// The difference.
    pub what: String,
    /// The preceding events, the latest last.
    pub trace: Vec<String>,
    /// The actual frames, as lines of a script.
    pub instead: Vec<String>,
}

/// Number of preceding events shown.
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
            writeln!(f, "  actual:")?;
            for line in &self.instead {
                writeln!(f, "{line}")?;
            }
        }
        Ok(())
    }
}

impl Failure {
    /// Prints the line with a `^` below the difference.
    fn mark(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut margin = "  !   ";
        let mut start = 0;
        for line in self.text.split('\n') {
            writeln!(f, "{margin}{line}")?;
            margin = "      ";
            let within = self.offset.and_then(|offset| offset.checked_sub(start));
            if let Some(before) = within.and_then(|at| line.get(..at)) {
                let width = before.chars().count();
                writeln!(f, "{margin}{:width$}^", "")?;
            }
            start += line.len() + 1;
        }
        Ok(())
    }
}

/// The lines that are repeated.
#[derive(Debug, Default)]
struct Repeated {
    start: usize,
    /// Number of times that they are still to be executed.
    left: u64,
    /// What was known before them. Each time they begin with that: their own conversations are new ones.
    captures: Captures,
    conversations: BTreeSet<(usize, u32)>,
}

/// Plays a script.
pub fn play<F: Factory>(
    script: &Script,
    registry: &Registry<F>,
    mode: Mode,
) -> Result<Played, Box<Failure>> {
    let failed = |harness: Option<&mut Harness>, line: Option<&Line>, difference: Difference| {
        let (trace, instead) = match harness {
            Some(harness) => (std::mem::take(&mut harness.trace), harness.remaining()),
            None => Default::default(),
        };
        let text = line.map(|line| line.text.clone()).unwrap_or_default();
        let offset = difference.offset_in(&text);
        let before = offset
            .and_then(|offset| text.get(..offset))
            .unwrap_or_default();
        let line = line.map_or(0, |line| line.number + before.matches('\n').count());
        Box::new(Failure {
            path: script.path.clone(),
            line,
            text,
            offset,
            what: difference.to_string(),
            trace,
            instead,
        })
    };
    let mut harness =
        Harness::new(script, registry, mode).map_err(|what| failed(None, None, what.into()))?;
    let mut played = Played { steps: 0 };
    let mut at = 0;
    let mut repeated = Repeated::default();
    while let Some(line) = script.lines.get(at) {
        at += 1;
        let Some(step) = &line.step else { continue };
        match step {
            Step::Repeat(times) => {
                repeated = Repeated {
                    start: at,
                    left: *times,
                    captures: harness.captures.clone(),
                    conversations: harness.conversations.keys().copied().collect(),
                };
            }
            Step::Again if repeated.left > 1 => {
                at = repeated.start;
                repeated.left -= 1;
                harness.captures = repeated.captures.clone();
                let known = |key: &_| repeated.conversations.contains(key);
                harness.conversations.retain(|key, _| known(key));
            }
            _ => {}
        }
        played.steps += 1;
        let done = execute(&mut harness, step);
        if let Err(difference) = done {
            return Err(failed(Some(&mut harness), Some(line), difference));
        }
        if matches!(step, Step::Play(_)) {
            harness.trace.push(line.text.clone());
        }
        harness.trim_trace();
    }
    let last = script.lines.iter().rfind(|line| line.step.is_some());
    match harness.close() {
        Ok(()) => Ok(played),
        Err(what) => Err(failed(Some(&mut harness), last, what.into())),
    }
}

/// Executes one step.
fn execute(harness: &mut Harness, step: &Step) -> Result<(), Difference> {
    match step {
        Step::Expect(statement) => return harness.expect(statement),
        Step::Event(event) => return Ok(harness.has_emitted(event)?),
        _ => harness.all_compared()?,
    }
    match step {
        Step::Play(statement) => harness.stimulate(statement)?,
        Step::Advance(duration) => harness.advance(*duration),
        Step::Next => harness.next()?,
        Step::Shutdown => harness.shutdown(),
        Step::Expect(_) | Step::Event(_) | Step::Repeat(_) | Step::Again => {}
    }
    Ok(harness.no_violations()?)
}

/// A change to the reactions when a script is blessed. Lines are indices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Blessing {
    /// The line still matches; these lines are inserted before it.
    Keep(usize, Vec<String>),
    /// These lines are inserted after the line.
    InsertAfter(usize, Vec<String>),
}

/// Runs the stimuli of a script and collects the changes to its reactions.
pub(crate) fn reactions<F: Factory>(
    script: &Script,
    registry: &Registry<F>,
) -> Result<Vec<Blessing>, String> {
    if script
        .lines
        .iter()
        .any(|line| matches!(line.step, Some(Step::Repeat(_))))
    {
        return Err("scripts with 'repeat' cannot be blessed; edit it by hand".to_owned());
    }
    let mut harness = Harness::new(script, registry, Mode::Ordered)?;
    let mut blessings = Vec::new();
    let mut last = 0;
    for (index, line) in script.lines.iter().enumerate() {
        let Some(step) = &line.step else { continue };
        if let Step::Expect(statement) = step {
            // A matching line keeps its captures.
            if let Some(before) = harness.expect_later(statement) {
                blessings.push(Blessing::Keep(index, before));
            }
        } else {
            blessings.push(Blessing::InsertAfter(last, harness.read_all()));
            execute(&mut harness, step).map_err(|what| format!("line {}: {what}", line.number))?;
        }
        last = index;
    }
    blessings.push(Blessing::InsertAfter(last, harness.read_all()));
    Ok(blessings)
}
