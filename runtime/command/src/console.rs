//! Output of the command: status lines on standard output, failures on standard error.
//!
//! A closed pipe (`tidegate demo | head`) is not an error. By default, lines are written synchronously.
//! A process with workers calls [`detach`] first: from then on writing never blocks, and lines that are
//! not read are dropped beyond a limit.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::background_writer::{BackgroundWriter, Gap, Report};
use crate::log_file::LogFile;

/// How long the process waits at its end for the last lines to be written.
const FLUSH: Duration = Duration::from_secs(1);

/// Standard output and standard error, each written by its own thread.
struct Detached {
    output: BackgroundWriter,
    errors: BackgroundWriter,
}

static DETACHED: OnceLock<Detached> = OnceLock::new();
/// The log file, if there is one.
static LOG_FILE: OnceLock<BackgroundWriter> = OnceLock::new();
/// Whether [`print_line`] logs instead of printing.
static REDIRECTED: AtomicBool = AtomicBool::new(false);

/// Redirects [`print_line`] to the log, so that all output has the log format.
pub(crate) fn redirect_to_log() {
    REDIRECTED.store(true, Ordering::Relaxed);
}

fn is_redirected() -> bool {
    REDIRECTED.load(Ordering::Relaxed)
}

/// Starts the threads that write standard output and standard error, and returns the writer of
/// standard error for logs. `report` formats the line for dropped log lines.
pub(crate) fn detach(report: Report) -> io::Result<BackgroundWriter> {
    if let Some(detached) = DETACHED.get() {
        return Ok(detached.errors.clone());
    }
    let detached = Detached {
        output: BackgroundWriter::start("tidegate-output", io::stdout(), Box::new(dropped_lines))?,
        errors: BackgroundWriter::start("tidegate-log", io::stderr(), report)?,
    };
    Ok(DETACHED.get_or_init(|| detached).errors.clone())
}

/// Starts the thread that writes the log file. `report` formats the line for dropped log lines.
pub(crate) fn detach_log_file(file: LogFile, report: Report) -> io::Result<BackgroundWriter> {
    let writer = BackgroundWriter::write_to("tidegate-log-file", file, report)?;
    Ok(LOG_FILE.get_or_init(|| writer).clone())
}

fn dropped_lines(gap: &Gap) -> String {
    format!(
        "… {} lines dropped: standard output was not read in time\n",
        gap.lines
    )
}

/// Prints a line on standard output.
pub(crate) fn print_line(line: impl AsRef<str>) {
    if is_redirected() {
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
pub(crate) fn print_error(lines: &str) {
    if let Some(detached) = DETACHED.get() {
        detached.errors.push(lines.as_bytes());
    } else {
        let _ = io::stderr().lock().write_all(lines.as_bytes());
    }
}

/// Waits on drop until the last lines are written, for at most [`FLUSH`].
pub(crate) struct FlushAtEnd;

impl Drop for FlushAtEnd {
    fn drop(&mut self) {
        if let Some(detached) = DETACHED.get() {
            let deadline = Instant::now() + FLUSH;
            detached.output.flush(deadline);
            // The log file may report a failure on standard error.
            if let Some(file) = LOG_FILE.get() {
                file.flush(deadline);
            }
            detached.errors.flush(deadline);
        }
    }
}

fn is_styled() -> bool {
    io::stdout().is_terminal() && !is_redirected()
}

/// Bold text if standard output is a terminal.
#[cfg(feature = "broker")]
pub(crate) fn bold(text: &str) -> String {
    if is_styled() {
        format!("\x1b[1m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

/// Dimmed text if standard output is a terminal.
pub(crate) fn dim(text: &str) -> String {
    if is_styled() {
        format!("\x1b[2m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}
