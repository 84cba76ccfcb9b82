//! The options of `tidegate demo`.

use clap::{Args, ValueEnum};

use super::Logging;

/// The options of `tidegate demo`.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// What is shown.
    #[arg(long, value_enum, default_value_t = Tour::Home)]
    pub(crate) tour: Tour,
    /// Exit after the tour.
    #[arg(long)]
    pub(crate) once: bool,
    /// Port of the MCP endpoint of the tour 'home' on 127.0.0.1; 0 selects a free port. Default: 7114,
    /// with --once a free port.
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// Longest time from a request of the barista robot to its plan, in milliseconds; for machines that are
    /// busy with tests.
    #[arg(long, hide = true, default_value_t = 300)]
    pub(crate) plan_within: u64,
    #[command(flatten)]
    pub(crate) logging: Logging,
}

/// Values of `--tour`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Tour {
    /// An MCP client in a home of simulated devices.
    Home,
    /// A barista robot that calls tools over MQTT. It exits with a failure if anything is not as it must be.
    Barista,
}
