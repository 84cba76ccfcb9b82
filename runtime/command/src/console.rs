//! What the command says to the person in front of it: on standard output, and why it failed on
//! standard error.
//!
//! A closed pipe (`tidegate demo | head`) is no failure: what nobody reads is not said. What a command
//! prints once is written at once. A process with workers calls [`detach`] before it says anything:
//! from then on it waits for no reader, and what is not read is dropped beyond a limit.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::outlet::{Gap, Outlet, Report};

/// How long the end of the process waits for a reader to take what was said last.
const FLUSH: Duration = Duration::from_secs(1);

/// Standard output and standard error, each written by a thread.
struct Detached {
    output: Outlet,
    errors: Outlet,
}

static DETACHED: OnceLock<Detached> = OnceLock::new();
/// What is said goes to the log.
static IN_THE_LOG: AtomicBool = AtomicBool::new(false);

/// From now on, what is said is logged instead: nothing but the log's own form reaches a collector.
pub(crate) fn say_in_the_log() {
    IN_THE_LOG.store(true, Ordering::Relaxed);
}

fn is_in_the_log() -> bool {
    IN_THE_LOG.load(Ordering::Relaxed)
}

/// Has standard output and standard error written by threads of their own; standard error, where logs
/// go as well. `report` puts a gap in the log into words.
pub(crate) fn detach(report: Report) -> io::Result<Outlet> {
    if let Some(detached) = DETACHED.get() {
        return Ok(detached.errors.clone());
    }
    let detached = Detached {
        output: Outlet::start("tidegate-output", io::stdout(), Box::new(silence))?,
        errors: Outlet::start("tidegate-log", io::stderr(), report)?,
    };
    Ok(DETACHED.get_or_init(|| detached).errors.clone())
}

fn silence(gap: &Gap) -> String {
    format!("… {} lines were not read in time\n", gap.lines)
}

/// Prints a line on standard output.
pub(crate) fn say(line: impl AsRef<str>) {
    if is_in_the_log() {
        let line = line.as_ref().trim();
        if !line.is_empty() {
            tracing::info!("{line}");
        }
        return;
    }
    let line = format!("{}\n", line.as_ref());
    if let Some(detached) = DETACHED.get() {
        detached.output.push(line.as_bytes());
    } else {
        let mut out = io::stdout().lock();
        let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
    }
}

/// Prints lines on standard error.
pub(crate) fn complain(lines: &str) {
    if let Some(detached) = DETACHED.get() {
        detached.errors.push(lines.as_bytes());
    } else {
        let _ = io::stderr().lock().write_all(lines.as_bytes());
    }
}

/// Has what was said last written before the process ends, as long as somebody reads it.
pub(crate) struct FlushAtEnd;

impl Drop for FlushAtEnd {
    fn drop(&mut self) {
        if let Some(detached) = DETACHED.get() {
            let deadline = Instant::now() + FLUSH;
            detached.output.flush(deadline);
            detached.errors.flush(deadline);
        }
    }
}

fn is_styled() -> bool {
    io::stdout().is_terminal() && !is_in_the_log()
}

/// Text in bold, where standard output is a terminal.
#[cfg(feature = "broker")]
pub(crate) fn strong(text: &str) -> String {
    if is_styled() {
        format!("\x1b[1m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

/// Text that steps back, where standard output is a terminal.
pub(crate) fn faint(text: &str) -> String {
    if is_styled() {
        format!("\x1b[2m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}
