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
    /// Play scenarios: scripts that say what goes into a binding and what must come out.
    Spec {
        #[command(subcommand)]
        command: Spec,
    },
    /// Print the version.
    Version,
}

/// What to do with scenarios.
#[derive(Debug, Subcommand)]
pub(crate) enum Spec {
    /// Play scenarios and tell which of them hold.
    #[command(after_help = "Examples:
  tidegate spec run specs                        every scenario below a folder
  tidegate spec run specs --seeds 20             each in 20 other orders of what concurrency leaves open
  tidegate spec run --live                       those that can, through real sockets
  tidegate spec run one.spec --bless             write its reactions as they are today")]
    Run {
        /// Scenarios (*.spec), or folders of them.
        #[arg(default_value = "specs")]
        paths: Vec<PathBuf>,
        /// Play each this many times more, every time with another seed for which ready stream goes
        /// first.
        #[arg(long, default_value_t = 0, value_name = "COUNT")]
        seeds: u64,
        /// The first of those seeds, to play a failure again.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Play those that are marked `live` against the wire: their callers through a real HTTP
        /// endpoint, their exit as a real MQTT peer, both on loopback.
        #[arg(long)]
        live: bool,
        /// Write the reactions of the named scenarios as they are today; patterns, captures and
        /// comments stay. Refused where CI is set.
        #[arg(long)]
        bless: bool,
    },
    /// Print every field of every stream, as scenarios name them.
    Fields,
    /// Draw a scenario.
    Show {
        /// The scenario.
        file: PathBuf,
    },
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
