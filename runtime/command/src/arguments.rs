//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::log_levels::LogLevels;

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
    /// Run the gateway that a config declares, until SIGTERM, SIGINT or SIGHUP.
    #[command(after_help = "Signals:
  SIGTERM, SIGINT or SIGHUP stops the gateway: requests under way may finish within
  shutdownTimeout. A second SIGTERM or SIGINT stops it at once.

Exit codes:
  0     stopped by a signal or by the end of standard input
  1     cannot start, or a worker failed (the log tells which and why)
  128+n stopped at once by a second signal n: 143 for SIGTERM, 130 for SIGINT

Examples:
  tidegate start --config plant.yaml
  tidegate start --config plant.yaml --log json 2> tidegate.log
  TIDEGATE_LOG=debug tidegate start --config plant.yaml")]
    Start {
        #[command(flatten)]
        config: ConfigFile,
        #[command(flatten)]
        logging: Logging,
    },
    /// Check a config and report every fault in it, with line and column.
    #[command(after_help = "Exit codes:
  0     the config is valid; warnings may have been printed
  1     the config has faults, or cannot be read

Examples:
  tidegate validate --config plant.yaml
  tidegate validate --config plant.yaml --allow-missing-env    in CI, without its secrets")]
    Validate {
        #[command(flatten)]
        config: ConfigFile,
        /// Warn of environment variables that are not set, and do not check the values that they
        /// stand for.
        #[arg(long)]
        allow_missing_env: bool,
    },
    /// Print the JSON Schema of the config.
    Schema {
        /// Print a reference of every option in Markdown instead.
        #[arg(long)]
        markdown: bool,
    },
    /// Run a broker, simulated devices and a gateway, and walk through it as an agent would.
    #[cfg(feature = "broker")]
    #[command(after_help = "Examples:
  tidegate demo            take the tour, then stay up for an MCP client of yours
  tidegate demo --once     take the tour and exit")]
    Demo {
        /// Exit after the tour instead of staying up.
        #[arg(long)]
        once: bool,
        /// The MCP endpoint's port on 127.0.0.1; 0 takes any free one. Default: 7114, or any free one
        /// with --once.
        #[arg(long)]
        port: Option<u16>,
        #[command(flatten)]
        logging: Logging,
    },
    /// Measure an MCP endpoint, the floor beneath it and its peers, in turns.
    #[cfg(feature = "bench")]
    #[command(after_help = "Examples:
  tidegate bench                                           publish at QoS 1 by 1, 16, 64 callers
  tidegate bench --qos 0,1,2 --payload 100,10KiB,1MiB      each with each
  tidegate bench --rate 5000 --concurrency 64              on a schedule, latency from the intended start
  tidegate bench --operation receive,read --nagle both     with and without the broker's delay
  tidegate bench --endpoint http://127.0.0.1:7114/mcp --broker 127.0.0.1:1883
  tidegate bench --targets peers.yaml --output results     peers in the same rounds; JSON, HDR logs, SVG")]
    Bench(Box<Bench>),
    /// The floor: an HTTP exchange and an MQTT exchange with nothing between them.
    #[cfg(feature = "bench")]
    #[command(hide = true)]
    BenchFloor(BenchFloor),
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

/// How to log. Logs go to standard error. Nothing waits for it: lines that it does not take in time are
/// dropped, and the log tells how many.
#[derive(Debug, Args)]
pub(crate) struct Logging {
    /// The form of log lines. They go to standard error; lines that are not read in time are dropped
    /// and counted. With `json`, what would be printed on standard output is logged as well.
    #[arg(long = "log", value_name = "FORM", value_enum, default_value_t = LogForm::Text)]
    pub(crate) form: LogForm,
    /// What to log: off, error, warn, info, debug or trace, for all or by module
    /// (`info,tidegate_binding_mqtt=debug`).
    #[arg(
        long = "log-level",
        value_name = "LEVEL",
        env = "TIDEGATE_LOG",
        default_value = "info"
    )]
    pub(crate) levels: LogLevels,
    /// Log a line for each call: its trace, client, tool, topic, outcome and duration.
    #[arg(long = "log-calls")]
    pub(crate) calls: bool,
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogForm {
    /// For people.
    Text,
    /// One JSON object a line, for collectors.
    Json,
}

/// What to measure.
#[cfg(feature = "bench")]
#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// What to drive: publish, receive, read, updates.
    #[arg(long, value_delimiter = ',', default_value = "publish")]
    pub(crate) operation: Vec<tidegate_load::Operation>,
    /// At which `QoS`: 0, 1, 2. Of publish alone.
    #[arg(long, value_delimiter = ',', default_value = "1", value_parser = clap::value_parser!(u8).range(..=2))]
    pub(crate) qos: Vec<u8>,
    /// How many callers at a time, each with a connection; of updates, how many listeners.
    #[arg(long, value_delimiter = ',', default_value = "1,16,64")]
    pub(crate) concurrency: Vec<usize>,
    /// The size of the payload: 100, 10KiB, 1MiB.
    #[arg(long, value_delimiter = ',', default_value = "100")]
    pub(crate) payload: Vec<tidegate_load::Size>,
    /// Calls a second on a schedule, with the latency from the intended start; otherwise each caller
    /// calls again when it is answered.
    #[arg(long, value_name = "CALLS")]
    pub(crate) rate: Option<f64>,
    /// Rounds of each target in each cell; medians of them are told.
    #[arg(long, default_value_t = 11)]
    pub(crate) rounds: usize,
    /// Seconds of a round.
    #[arg(long, default_value_t = 1.0, value_name = "SECONDS")]
    pub(crate) duration: f64,
    /// Seconds of load on each target in each cell before the first round.
    #[arg(long, default_value_t = 1.0, value_name = "SECONDS")]
    pub(crate) warm_up: f64,
    /// A broker that is running, or `embedded`; otherwise mosquitto is started where it is installed,
    /// and the embedded one where it is not.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) broker: Option<String>,
    /// Nagle's algorithm in the mosquitto that is started (`set_tcp_nodelay false` is its default):
    /// a small packet waits while another is unacknowledged.
    #[arg(long, value_enum, default_value_t = Nagle::On)]
    pub(crate) nagle: Nagle,
    /// Workers of the gateway that is started; the floor has one thread.
    #[arg(long, default_value_t = 1)]
    pub(crate) workers: u16,
    /// An MCP endpoint that is running, instead of a gateway that is started.
    #[arg(long, value_name = "URL")]
    pub(crate) endpoint: Option<tidegate_load::Url>,
    /// The tool that is called, where it is not the operation's own.
    #[arg(long, value_name = "NAME")]
    pub(crate) tool: Option<String>,
    /// Its arguments, with {{topic}}, {{payload}} and {{qos}} where they belong.
    #[arg(long, value_name = "JSON")]
    pub(crate) arguments: Option<String>,
    /// Further targets, in YAML.
    #[arg(long, value_name = "FILE")]
    pub(crate) targets: Option<PathBuf>,
    /// Leave the floor out.
    #[arg(long)]
    pub(crate) no_floor: bool,
    /// Where to write results.json, an HDR log for each cell and target, a plot for each cell, and the
    /// gateway's config.
    #[arg(long, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
    /// Print the config of the gateway that is started.
    #[arg(long, short)]
    pub(crate) verbose: bool,
}

/// Nagle's algorithm.
#[cfg(feature = "bench")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Nagle {
    /// As mosquitto does by itself.
    On,
    /// Every packet at once.
    Off,
    /// First the one, then the other.
    Both,
}

/// The floor of a run.
#[cfg(feature = "bench")]
#[derive(Debug, Args)]
pub(crate) struct BenchFloor {
    /// Where it listens.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub(crate) listen: std::net::SocketAddr,
    /// The broker.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) broker: String,
    /// publish, receive or read.
    #[arg(long, default_value = "publish")]
    pub(crate) operation: tidegate_load::Operation,
    /// The `QoS`, of publish.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(..=2))]
    pub(crate) qos: u8,
    /// Where it publishes, or the retained message lies.
    #[arg(long)]
    pub(crate) topic: String,
    /// What it publishes.
    #[arg(long, value_name = "FILE")]
    pub(crate) payload_file: Option<PathBuf>,
    /// Acknowledge what the broker sends at once.
    #[arg(long)]
    pub(crate) quickack: bool,
}
