//! Logs to standard error or to a file, as text or JSON, written by a separate thread so that logging never
//! blocks.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal as _};
use std::panic::PanicHookInfo;
use std::path::Path;

use serde_json::json;
use tracing::Subscriber;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::SubscriberExt as _;

use crate::arguments::{LogForm, Logging};
use crate::background_writer::{BackgroundWriter, Gap};
use crate::console;
use crate::failure::Failure;
use crate::log_file::{LogFile, Rotation};

const MIB: u64 = 1024 * 1024;

/// Installs the log subscriber and the panic hook of the process.
pub(crate) fn start(logging: &Logging) -> Result<(), Failure> {
    let levels = logging.levels.clone();
    let levels = if logging.calls {
        levels.with_calls()
    } else {
        levels
    };
    let form = logging.form;
    let ansi = io::stderr().is_terminal() && logging.file.is_none();
    let errors = console::detach(Box::new(move |gap| {
        gap_line(gap, &Destination::StandardError, form, ansi)
    }))?;
    let writer = match &logging.file {
        Some(path) => log_file(path, logging)?,
        None => errors,
    };
    let subscriber = subscriber(form, ansi, levels.into_targets(), writer);
    // Keep a subscriber that is already installed.
    let _ = tracing::subscriber::set_global_default(subscriber);
    if form == LogForm::Json {
        console::redirect_to_log();
    }
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// Opens the log file and starts the thread that writes it. Standard error says when writing it fails:
/// the file cannot.
fn log_file(path: &Path, logging: &Logging) -> Result<BackgroundWriter, Failure> {
    let name = path.display().to_string();
    let rotation = Rotation {
        size: logging.file_size.saturating_mul(MIB),
        files: logging.files,
    };
    let failed = format!("cannot write log file {name}");
    let notice = move |error: &io::Error| {
        let line = format!(
            "{failed}: {error}; log lines are dropped and counted until it can be written\n"
        );
        console::print_error(&line);
    };
    let file =
        LogFile::open(path, rotation, Box::new(notice)).map_err(|error| Failure::LogFile {
            file: path.to_owned(),
            error,
        })?;
    let (destination, form) = (Destination::File(name), logging.form);
    let report = move |gap: &Gap| gap_line(gap, &destination, form, false);
    Ok(console::detach_log_file(file, Box::new(report))?)
}

/// Where log lines go.
enum Destination {
    StandardError,
    /// A file with this path.
    File(String),
}

fn subscriber<W>(
    form: LogForm,
    ansi: bool,
    levels: Targets,
    writer: W,
) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // Internal errors would be written to standard error synchronously, which blocks and may panic.
    let lines = fmt::layer()
        .with_ansi(ansi)
        .log_internal_errors(false)
        .with_writer(writer);
    let registry = tracing_subscriber::registry().with(levels);
    match form {
        LogForm::Text => Box::new(registry.with(lines)),
        LogForm::Json => Box::new(registry.with(lines.json())),
    }
}

/// The log line for dropped lines, formatted by hand: the writer inserts it between formatted lines.
fn gap_line(gap: &Gap, destination: &Destination, form: LogForm, ansi: bool) -> String {
    let mut timestamp = String::new();
    // Without a time the field stays empty.
    let _ = SystemTime.format_time(&mut Writer::new(&mut timestamp));
    let lines = gap.lines;
    let why = match (&gap.error, destination) {
        (Some(error), Destination::StandardError) => {
            format!("cannot write to standard error: {error}")
        }
        (Some(error), Destination::File(name)) => format!("cannot write to {name}: {error}"),
        (None, Destination::StandardError) => "standard error was not read in time".to_owned(),
        (None, Destination::File(name)) => format!("{name} was not written in time"),
    };
    let message = format!("{lines} log lines dropped: {why}");
    match form {
        LogForm::Text if ansi => {
            let target = module_path!();
            format!(
                "\x1b[2m{timestamp}\x1b[0m \x1b[33m WARN\x1b[0m \x1b[2m{target}\x1b[0m\x1b[2m:\x1b[0m \
                 {message}\n"
            )
        }
        LogForm::Text => format!("{timestamp}  WARN {}: {message}\n", module_path!()),
        LogForm::Json => {
            let line = json!({
                "timestamp": timestamp,
                "level": "WARN",
                "fields": { "message": message, "lines_dropped": lines },
                "target": module_path!(),
            });
            format!("{line}\n")
        }
    }
}

/// Panic hook: logs the panic instead of writing to standard error, which may block. The code that
/// catches the panic logs its consequences.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let message = panic.payload_as_str().unwrap_or("(no message)");
    let location = panic.location().map(tracing::field::display);
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("(unnamed)");
    // Captured only if RUST_BACKTRACE is set.
    let backtrace = Backtrace::capture();
    let captured = backtrace.status() == BacktraceStatus::Captured;
    let backtrace = captured.then(|| tracing::field::display(backtrace));
    tracing::error!(location, thread, backtrace, "panic: {message}");
}

/// The formatter writes each event as one line in one call.
impl<'a> MakeWriter<'a> for BackgroundWriter {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self)
    }
}

/// Queues each written line.
pub(crate) struct Line<'a>(&'a BackgroundWriter);

impl io::Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::Value;
    use tracing::Level;

    use super::*;

    /// A log in memory.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The log output of `run`.
    fn logged(form: LogForm, ansi: bool, run: impl FnOnce()) -> String {
        let log = Log::default();
        let writer = log.clone();
        let all = Targets::new().with_default(Level::TRACE);
        let subscriber = subscriber(form, ansi, all, move || writer.clone());
        tracing::subscriber::with_default(subscriber, run);
        let log = log.0.lock().expect("no panic").clone();
        String::from_utf8(log).expect("text")
    }

    fn gap() -> Gap {
        Gap {
            lines: 3,
            error: None,
        }
    }

    const MESSAGE: &str = "3 log lines dropped: standard error was not read in time";

    #[test]
    fn the_line_for_dropped_lines_has_the_format_of_an_event() {
        for ansi in [false, true] {
            let target = "tidegate::logging";
            let event = logged(
                LogForm::Text,
                ansi,
                || tracing::warn!(target: "tidegate::logging", "{MESSAGE}"),
            );
            assert!(event.contains(target), "{event}");
            let line = gap_line(&gap(), &Destination::StandardError, LogForm::Text, ansi);
            // Equal except for the digits of the timestamp.
            let same = |(one, other): (char, char)| {
                one == other || one.is_ascii_digit() && other.is_ascii_digit()
            };
            assert_eq!(event.len(), line.len(), "{event}{line}");
            assert!(event.chars().zip(line.chars()).all(same), "{event}{line}");
        }
        let event = logged(LogForm::Json, false, || {
            tracing::warn!(lines_dropped = 3_u64, "{MESSAGE}");
        });
        let parsed = |line: &str| {
            let mut line: Value = serde_json::from_str(line).expect("JSON");
            line["timestamp"].take();
            line
        };
        let (mut event, line) = (
            parsed(&event),
            parsed(&gap_line(
                &gap(),
                &Destination::StandardError,
                LogForm::Json,
                false,
            )),
        );
        event["target"] = line["target"].clone();
        assert_eq!(event, line);
    }

    #[test]
    fn the_line_for_dropped_lines_contains_the_write_error() {
        let gap = Gap {
            lines: 3,
            error: Some(io::ErrorKind::StorageFull.into()),
        };
        for (destination, expected) in [
            (
                Destination::StandardError,
                "cannot write to standard error: no storage space\n",
            ),
            (
                Destination::File("gate.log".to_owned()),
                "cannot write to gate.log: no storage space\n",
            ),
        ] {
            let line = gap_line(&gap, &destination, LogForm::Text, false);
            assert!(line.ends_with(expected), "{line}");
        }
    }

    #[test]
    fn a_panic_is_logged_with_its_location() {
        let former = std::panic::take_hook();
        std::panic::set_hook(Box::new(log_panic));
        let log = logged(LogForm::Json, false, || {
            let caught = std::panic::catch_unwind(|| panic!("on {}", "purpose"));
            assert!(caught.is_err());
        });
        std::panic::set_hook(former);
        let line: Value = serde_json::from_str(&log).expect("one line of JSON");
        assert_eq!(line["level"], "ERROR");
        assert_eq!(line["fields"]["message"], "panic: on purpose");
        let location = line["fields"]["location"].as_str().expect("a location");
        assert!(location.contains("logging.rs:"), "{location}");
        assert!(line["fields"]["thread"].is_string(), "{line}");
    }
}
