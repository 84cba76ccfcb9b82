//! Why the command failed, for the person who gave it.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};
use std::path::PathBuf;

use thiserror::Error;
use tidegate_config::LoadError;
use tidegate_driver::StartError;

use crate::console::complain;

/// The command failed.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    /// The config cannot be used.
    #[error(transparent)]
    Config(#[from] LoadError),
    /// The engine cannot start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The embedded broker cannot start.
    #[cfg(feature = "broker")]
    #[error(transparent)]
    Broker(#[from] crate::factory::BrokerError),
    /// The demo's endpoint cannot listen.
    #[cfg(feature = "broker")]
    #[error(
        "cannot listen on {address}: {error}; use another port with --port, or any free one with \
         --port 0"
    )]
    DemoPort {
        /// Where.
        address: std::net::SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// A step of the demo's tour failed.
    #[cfg(feature = "broker")]
    #[error("the tour failed: {0}")]
    Tour(#[from] crate::demo::TourError),
    /// A scenario cannot be read.
    #[error("{0}")]
    Script(#[from] tidegate_scenarios::ScriptError),
    /// A file cannot be read.
    #[error("{} cannot be read: {error}", file.display())]
    Unreadable {
        /// Which.
        file: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The paths that were named contain no scenario.
    #[error("no scenarios (*.spec) found")]
    NoScenarios,
    /// Scenarios failed.
    #[error("{failed} of {total} scenarios failed")]
    Scenarios {
        /// How many.
        failed: usize,
        /// Of how many.
        total: usize,
    },
    /// A scenario's reactions cannot be written anew.
    #[error("{} cannot be blessed: {what}", file.display())]
    Bless {
        /// Which.
        file: PathBuf,
        /// Why.
        what: String,
    },
    /// A blessing is a person's to give.
    #[error("--bless is refused where CI is set: whoever changes a scenario reads the change")]
    BlessedByCi,
    /// A run of the load did not come to its end.
    #[cfg(feature = "bench")]
    #[error(transparent)]
    Load(#[from] tidegate_load::LoadError),
    /// What the load is told is not understood.
    #[cfg(feature = "bench")]
    #[error("{0}")]
    Told(String),
    /// The load's calls failed.
    #[cfg(feature = "bench")]
    #[error("{errors} of {calls} calls failed, which is more than one in a hundred")]
    Calls {
        /// How many.
        errors: u64,
        /// Of how many.
        calls: u64,
    },
    /// The operating system refused.
    #[error("{0}")]
    System(#[from] io::Error),
    /// The schema cannot be printed.
    #[error("the schema cannot be printed: {0}")]
    Schema(#[from] serde_json::Error),
}

impl Failure {
    /// Tells it on standard error: a config's faults with the lines they stand in, on a terminal.
    pub(crate) fn report(&self) {
        let mut told = String::new();
        match self {
            Self::Config(LoadError::Faults(faults)) if io::stderr().is_terminal() => {
                for fault in faults.iter() {
                    // A string takes all that is written into it.
                    let _ = writeln!(told, "{:?}", miette::Report::new(fault.clone()));
                }
            }
            Self::Config(LoadError::Faults(_)) => told = format!("{self}\n"),
            _ => told = format!("error: {self}\n"),
        }
        complain(&told);
    }
}
