//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// A gateway between AI agents (MCP) and machines (MQTT).
#[derive(Debug, Parser)]
#[command(
    name = "tidegate",
    version,
    arg_required_else_help = true,
    after_help = "Examples:
  tidegate demo                            broker, simulated devices and a tour, nothing to install
  tidegate start --config plant.yaml       run the gateway of a config
  tidegate validate --config plant.yaml    every fault of a config, with line and column
  tidegate schema > tidegate.schema.json   the config's JSON Schema, for an editor"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the gateway that a config declares, until SIGTERM or SIGINT.
    #[command(after_help = "Examples:
  tidegate start --config plant.yaml
  tidegate start --config plant.yaml --log json 2> tidegate.log
  TIDEGATE_LOG=debug tidegate start --config plant.yaml")]
    Start {
        #[command(flatten)]
        config: ConfigFile,
        #[command(flatten)]
        logging: Logging,
    },
    /// Check a config and report every fault in it.
    Validate {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Print the JSON Schema of the config.
    Schema,
    /// Run a broker, simulated devices and a gateway, and walk through it as an agent would.
    #[cfg(feature = "broker")]
    #[command(after_help = "Examples:
  tidegate demo            take the tour, then stay up for an MCP client of yours
  tidegate demo --once     take the tour and exit")]
    Demo {
        /// Exit after the tour instead of staying up.
        #[arg(long)]
        once: bool,
        /// The MCP endpoint's port on 127.0.0.1; 0 takes any free one.
        #[arg(long, default_value_t = 7114)]
        port: u16,
        #[command(flatten)]
        logging: Logging,
    },
    /// Print the version.
    Version,
}

/// Which config.
#[derive(Debug, Args)]
pub(crate) struct ConfigFile {
    /// The config, in YAML.
    #[arg(long = "config", short = 'c', value_name = "FILE")]
    pub(crate) path: PathBuf,
}

/// How to log. Logs go to standard error.
#[derive(Debug, Args)]
pub(crate) struct Logging {
    /// The form of log lines.
    #[arg(long = "log", value_name = "FORM", value_enum, default_value_t = LogForm::Text)]
    pub(crate) form: LogForm,
    /// What to log: error, warn, info, debug or trace, for all or by module
    /// (`info,tidegate_binding_mqtt=debug`).
    #[arg(
        long = "log-level",
        value_name = "LEVEL",
        env = "TIDEGATE_LOG",
        default_value = "info"
    )]
    pub(crate) level: String,
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogForm {
    /// For people.
    Text,
    /// One JSON object a line, for collectors.
    Json,
}
