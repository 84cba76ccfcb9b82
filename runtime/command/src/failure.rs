//! Errors of the command and how they are printed.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};
use std::path::PathBuf;

use thiserror::Error;
use tidegate_config::LoadError;
use tidegate_driver::StartError;

use crate::console::print_error;

/// The command failed; printed on standard error, exit code 1.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    /// The config cannot be used.
    #[error(transparent)]
    Config(#[from] LoadError),
    /// A guard cannot be made, or refuses the client of standard input.
    #[error(transparent)]
    Guard(#[from] crate::guards::GuardError),
    /// A key cannot be made or stored.
    #[error(transparent)]
    Key(#[from] crate::genkey::KeyFailure),
    /// A config cannot be imported.
    #[error(transparent)]
    Import(#[from] crate::import::ImportError),
    /// The engine cannot start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// An exporter cannot start.
    #[error(transparent)]
    Exporter(#[from] tidegate_audit::StartError),
    /// A type of exporter is registered, and nothing starts it.
    #[error("unknown exporter type '{0}'")]
    ExporterType(String),
    /// An audit file cannot be read.
    #[error(transparent)]
    Verify(#[from] tidegate_audit::VerifyError),
    /// A file of definition pins cannot be used.
    #[error(transparent)]
    PinFile(#[from] crate::pin_files::PinFileError),
    /// There is nothing to list or to accept.
    #[error("no mcp · proxy of this config has pins; set its option 'pins' to warn or block")]
    NoPins,
    /// A tool that is to be accepted does not wait for it.
    #[error(
        "tool '{name}' has no definition that waits to be accepted; 'tidegate pins list' shows those \
         that do"
    )]
    UnknownPin {
        /// Its name.
        name: String,
    },
    /// The embedded broker cannot start.
    #[cfg(feature = "broker")]
    #[error(transparent)]
    Broker(#[from] crate::factory::BrokerError),
    /// The demo's endpoint cannot listen.
    #[cfg(feature = "broker")]
    #[error(
        "cannot listen on {address}: {error}; choose another port with --port, or --port 0 for a free \
         one"
    )]
    DemoPort {
        /// Listen address.
        address: String,
        /// Error of the operating system.
        error: io::Error,
    },
    /// An option of another tour.
    #[cfg(feature = "broker")]
    #[error(
        "--port and --once are for the tour 'home': that of the barista has no endpoint, and ends by \
         itself; remove them"
    )]
    TourOption,
    /// A step of the demo's tour failed.
    #[cfg(feature = "broker")]
    #[error("demo failed: {0}")]
    Tour(#[from] crate::demo::TourError),
    /// A scenario cannot be read.
    #[error("{0}")]
    Script(#[from] tidegate_scenarios::ScriptError),
    /// The identity to explain is unclear.
    #[error("{0}")]
    Identity(String),
    /// A file cannot be read.
    #[error("cannot read {}: {error}", file.display())]
    Unreadable {
        /// Path of the file.
        file: PathBuf,
        /// Error of the operating system.
        error: io::Error,
    },
    /// The log file cannot be opened.
    #[error("cannot open log file {}: {error}", file.display())]
    LogFile {
        /// Path of the file.
        file: PathBuf,
        /// Error of the operating system.
        error: io::Error,
    },
    /// The given paths contain no scenario.
    #[error("no scenarios (*.spec) found in the given paths")]
    NoScenarios,
    /// Scenarios failed.
    #[error("{failed} of {total} scenarios failed")]
    Scenarios {
        /// Number of failed scenarios.
        failed: usize,
        /// Number of scenarios.
        total: usize,
    },
    /// The reactions of a scenario cannot be rewritten.
    #[error("cannot bless {}: {what}", file.display())]
    Bless {
        /// Path of the file.
        file: PathBuf,
        /// Error of the operating system.
        what: String,
    },
    /// A person must review rewritten scenarios.
    #[error("--bless is not allowed when CI is set: review rewritten scenarios by hand")]
    BlessedByCi,
    /// The benchmark failed.
    #[cfg(feature = "bench")]
    #[error(transparent)]
    Load(#[from] tidegate_load::LoadError),
    /// An argument of the benchmark is invalid, or it was interrupted.
    #[cfg(feature = "bench")]
    #[error("{0}")]
    Arguments(String),
    /// Too many calls of the benchmark failed.
    #[cfg(feature = "bench")]
    #[error("{errors} of {calls} calls failed (limit: 1 %)")]
    Calls {
        /// Number of failed calls.
        errors: u64,
        /// Number of calls.
        calls: u64,
    },
    /// A system call failed.
    #[error("{0}")]
    System(#[from] io::Error),
    /// The schema cannot be printed.
    #[error("cannot print the schema: {0}")]
    Schema(#[from] serde_json::Error),
}

impl Failure {
    /// Prints the failure on standard error; on a terminal, config faults include the source lines.
    pub(crate) fn report(&self) {
        let mut text = String::new();
        match self {
            Self::Config(LoadError::Faults(faults)) if io::stderr().is_terminal() => {
                for fault in faults.iter() {
                    // Writing to a String cannot fail.
                    let _ = writeln!(text, "{:?}", miette::Report::new(fault.clone()));
                }
            }
            Self::Config(LoadError::Faults(_)) => text = format!("{self}\n"),
            _ => text = format!("error: {self}\n"),
        }
        print_error(&text);
    }
}
