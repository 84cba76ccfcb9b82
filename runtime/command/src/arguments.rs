//! The command line.

#[cfg(feature = "bench")]
mod bench;
#[cfg(feature = "broker")]
mod demo;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::log_levels::LogLevels;
#[cfg(feature = "bench")]
pub(crate) use bench::{Bench, BenchFloor, BenchUpstream, Nagle};
#[cfg(feature = "broker")]
pub(crate) use demo::{Demo, Tour};

/// A gateway between AI agents (MCP) and machines (MQTT).
#[derive(Debug, Parser)]
#[command(
    name = "tidegate",
    version,
    arg_required_else_help = true,
    after_help = "Examples:
  tidegate demo                            run a broker, simulated devices and a guided tour
  tidegate start --config plant.yaml       run a gateway
  tidegate validate --config plant.yaml    check a config
  tidegate schema > tidegate.schema.json   write the JSON Schema of the config, for editors"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a gateway until SIGTERM, SIGINT or SIGHUP.
    #[command(after_help = "Signals:
  SIGTERM, SIGINT or SIGHUP stops the gateway: requests in progress may finish within
  shutdownTimeout. A second SIGTERM or SIGINT stops it immediately.

Exit codes:
  0     stopped by a signal or by the end of standard input
  1     failed to start, or a worker failed (see the log)
  128+n stopped immediately by a second signal n: 143 for SIGTERM, 130 for SIGINT

Examples:
  tidegate start --config plant.yaml
  tidegate start --config plant.yaml --log json --log-file tidegate.log
  TIDEGATE_LOG=debug tidegate start --config plant.yaml")]
    Start {
        #[command(flatten)]
        config: ConfigFile,
        #[command(flatten)]
        logging: Logging,
    },
    /// Check a config and report every fault in it, with line and column.
    #[command(after_help = "Exit codes:
  0     the config is valid (possibly with warnings)
  1     the config has faults or cannot be read

Examples:
  tidegate validate --config plant.yaml
  tidegate validate --config plant.yaml --allow-missing-env    in CI, without secrets
  tidegate validate --config plant.yaml --expanded             print the bindings behind each url")]
    Validate {
        #[command(flatten)]
        config: ConfigFile,
        /// Report environment variables that are not set as warnings, and do not check the values
        /// that contain them.
        #[arg(long)]
        allow_missing_env: bool,
        /// Print the config with each `url` replaced by the bindings that it stands for.
        #[arg(long)]
        expanded: bool,
    },
    /// Make an API key for a guard of type apikey.
    ///
    /// Prints the key on standard output, once: only its hash is stored. The line for the config goes to
    /// standard error, or into the config with --config.
    #[command(
        after_help = "The key has the form tg_<id>_<secret>. With --config, the line is added to the keys of the guard, or
to the file that its option 'file' names; comments and formatting are kept. A running gateway reads
its keys at start.

Examples:
  tidegate genkey --identity alice --roles operator
  tidegate genkey --identity agent-7 --expires 90d --config plant.yaml --guard staff > agent-7.key"
    )]
    Genkey(Genkey),
    /// Say what an identity may do with a tool or a topic, and by which rule.
    #[command(
        after_help = "A name with '/', '+' or '#' is a topic or topic filter, any other name a tool. Machines that call tools
through mqtt_mcp · proxy are callers of the guard 'mqtt', or anonymous.

Exit codes:
  0     it is permitted
  1     it is refused, or the config has faults

Examples:
  tidegate explain --config plant.yaml --identity alice --roles operator plant__publish
  tidegate explain --config plant.yaml --identity alice --roles viewer commands/lamp/set
  tidegate explain --config plant.yaml --anonymous status/#
  tidegate explain --config barista.yaml --identity robot --guard mqtt --roles barista crm__get_customer_preferences"
    )]
    Explain(Box<Explain>),
    /// Make a config of the config of another server.
    Import {
        #[command(subcommand)]
        command: Import,
    },
    /// Print the JSON Schema of the config format.
    Schema {
        /// Print the config reference in Markdown instead.
        #[arg(long)]
        markdown: bool,
    },
    /// Run a broker, simulated devices and a gateway, and show what an MCP client does with it.
    #[cfg(feature = "broker")]
    #[command(after_help = "Examples:
  tidegate demo                   run the tour, then keep running for your own MCP client
  tidegate demo --once            run the tour and exit
  tidegate demo --tour barista    a robot that asks agents' tools for a recipe, with outages; exits")]
    Demo(Box<Demo>),
    /// Benchmark an MCP endpoint against a baseline (the floor) and other servers.
    #[cfg(feature = "bench")]
    #[command(after_help = "Examples:
  tidegate bench                                           publish at QoS 1 with 1, 16 and 64 callers
  tidegate bench --qos 0,1,2 --payload 100,10KiB,1MiB      every combination
  tidegate bench --rate 5000 --concurrency 64              open loop; latency from the scheduled start
  tidegate bench --operation receive,read --nagle both     with and without Nagle's algorithm in the broker
  tidegate bench --operation proxy,list                    what the gateway adds in front of another MCP server
  tidegate bench --operation reverse                       requests of machines that call tools
  tidegate bench --endpoint http://127.0.0.1:7114/mcp --broker 127.0.0.1:1883
  tidegate bench --targets peers.yaml --output results     also measure other servers; write JSON, HDR logs, SVG")]
    Bench(Box<Bench>),
    /// The baseline of bench: a bare HTTP handler that makes one MQTT exchange for each call.
    #[cfg(feature = "bench")]
    #[command(hide = true)]
    BenchFloor(BenchFloor),
    /// The baseline of bench for proxied calls: an MCP server that does nothing.
    #[cfg(feature = "bench")]
    #[command(hide = true)]
    BenchUpstream(BenchUpstream),
    /// Check audit files.
    Audit {
        #[command(subcommand)]
        command: Audit,
    },
    /// Show and accept the definitions of tools (option `pins` of mcp · proxy).
    Pins {
        #[command(subcommand)]
        command: Pins,
    },
    /// Run scenarios: scripts that send frames to a binding and check the frames it sends.
    Spec {
        #[command(subcommand)]
        command: Spec,
    },
    /// Print the version.
    Version,
}

/// The options of `tidegate genkey`.
#[derive(Debug, Args)]
pub(crate) struct Genkey {
    /// Whose key it is.
    #[arg(long, value_name = "NAME")]
    pub(crate) identity: String,
    /// What it grants.
    #[arg(long, value_delimiter = ',')]
    pub(crate) roles: Vec<String>,
    /// When it stops being valid: a date (2027-01-31), a time (2027-01-31T08:00:00Z), or a number of
    /// hours, days or weeks from now (12h, 90d, 52w). Default: never.
    #[arg(long, value_name = "WHEN")]
    pub(crate) expires: Option<String>,
    /// Config file (YAML) to add the key to.
    #[arg(long, short = 'c', value_name = "FILE", requires = "guard")]
    pub(crate) config: Option<PathBuf>,
    /// Guard to add the key to. A config without guards gets it.
    #[arg(long, value_name = "GUARD", requires = "config")]
    pub(crate) guard: Option<String>,
}

/// Subcommands of `tidegate import`.
#[derive(Debug, Subcommand)]
pub(crate) enum Import {
    /// Import the config of mcpMQTT (JSON). Warnings go to standard error.
    #[command(after_help = "Examples:
  tidegate import mcpmqtt ~/.config/mcpmqtt/config.json --output mcpmqtt.yaml
  tidegate import mcpmqtt config.json --transport stdio > mcpmqtt.yaml")]
    Mcpmqtt(ImportMcpmqtt),
}

/// The arguments of `tidegate import mcpmqtt`.
#[derive(Debug, Args)]
pub(crate) struct ImportMcpmqtt {
    /// Config of mcpMQTT. Default: ~/.config/mcpmqtt/config.json. If it does not exist, the defaults of
    /// mcpMQTT are imported.
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// New file to write the config to, readable by its owner only. Default: standard output.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// How clients connect, as in mcpMQTT. Default: remotehttp if the config has a `remote_server`, else
    /// stdio.
    #[arg(long, value_enum)]
    pub(crate) transport: Option<McpmqttTransport>,
}

/// Values of `--transport`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum McpmqttTransport {
    /// Standard input and output.
    Stdio,
    /// HTTP on a Unix socket or a TCP port.
    #[value(name = "remotehttp")]
    RemoteHttp,
}

/// Subcommands of `tidegate pins`.
#[derive(Debug, Subcommand)]
pub(crate) enum Pins {
    /// Print the definitions that a gateway has seen and that are not accepted, and what has changed.
    #[command(after_help = "Exit codes:
  0     every definition is accepted
  1     some are not, or a file cannot be read

Examples:
  tidegate pins list --config plant.yaml")]
    List(PinsList),
    /// Accept definitions: all that are not accepted, or those of some tools.
    #[command(after_help = "A running gateway uses them within a second.

Examples:
  tidegate pins accept --config plant.yaml
  tidegate pins accept --config plant.yaml plant__publish plant__read")]
    Accept(PinsAccept),
}

/// The arguments of `tidegate pins list`.
#[derive(Debug, Args)]
pub(crate) struct PinsList {
    #[command(flatten)]
    pub(crate) config: ConfigFile,
}

/// The arguments of `tidegate pins accept`.
#[derive(Debug, Args)]
pub(crate) struct PinsAccept {
    #[command(flatten)]
    pub(crate) config: ConfigFile,
    /// Names of tools as callers see them, in full length, such as `plant__publish`. Default: all.
    #[arg(value_name = "TOOL")]
    pub(crate) tools: Vec<String>,
}

/// Subcommands of `tidegate audit`.
#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// Check the chain of audit files: changed, missing, moved and repeated lines, and the end.
    #[command(after_help = "Exit codes:
  0     nothing contradicts the chain
  1     a file has findings or cannot be read

Examples:
  tidegate audit verify /var/log/tidegate/audit.*jsonl
  tidegate audit verify --sealed audit.jsonl               after a stop
  tidegate audit verify --head SHA256 audit.*jsonl         with a hash noted before")]
    Verify(Verify),
}

/// The arguments of `tidegate audit verify`.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// Files of one chain, in any order.
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Hash of a line that must be there, such as the head that an earlier check printed or that the
    /// log has. Without it, a chain that was rewritten as a whole, or whose end was cut off, is not
    /// found.
    #[arg(long, value_name = "SHA256", value_parser = hash)]
    pub(crate) head: Option<tidegate_audit::Hash>,
    /// Fail if the last file is not sealed, as it is after an orderly stop.
    #[arg(long)]
    pub(crate) sealed: bool,
}

fn hash(text: &str) -> Result<tidegate_audit::Hash, String> {
    tidegate_audit::Hash::parse(text.as_bytes())
        .ok_or_else(|| "a hash has 64 hexadecimal digits, in lower case".to_owned())
}

/// Subcommands of `tidegate spec`.
#[derive(Debug, Subcommand)]
pub(crate) enum Spec {
    /// Run scenarios and report which pass.
    #[command(after_help = "Examples:
  tidegate spec run specs                        every scenario in a folder
  tidegate spec run specs --seeds 20             each also in 20 random orders of concurrent streams
  tidegate spec run --live                       those marked live, over real sockets
  tidegate spec run one.spec --bless             rewrite its reactions from the current behaviour")]
    Run {
        /// Scenario files (*.spec) or folders.
        #[arg(default_value = "specs")]
        paths: Vec<PathBuf>,
        /// Run each scenario this many more times, each with another seed for the order in which ready
        /// streams are served.
        #[arg(long, default_value_t = 0, value_name = "COUNT")]
        seeds: u64,
        /// The first of these seeds, to reproduce a failure.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Run the scenarios marked `live` over real sockets on loopback: callers use the HTTP endpoint,
        /// the exit is an MQTT peer.
        #[arg(long)]
        live: bool,
        /// Rewrite the reactions of the scenarios from the current behaviour; patterns, captures and
        /// comments are kept. Not allowed when CI is set.
        #[arg(long)]
        bless: bool,
    },
    /// Print the fields of every frame and packet, as used in scenarios.
    Fields,
    /// Print a scenario as a sequence chart.
    Show {
        /// Scenario file.
        file: PathBuf,
    },
}

/// The `--config` option.
#[derive(Debug, Args)]
pub(crate) struct ConfigFile {
    /// Config file (YAML).
    #[arg(long = "config", short = 'c', value_name = "FILE")]
    pub(crate) path: PathBuf,
}

/// The options of `tidegate explain`.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    #[command(flatten)]
    pub(crate) config: ConfigFile,
    /// Subject of the identity, as its guard states it.
    #[arg(long, value_name = "NAME", required_unless_present = "anonymous")]
    pub(crate) identity: Option<String>,
    /// A caller without an identity.
    #[arg(long, conflicts_with_all = ["identity", "guard", "roles", "attributes"])]
    pub(crate) anonymous: bool,
    /// The guard of the identity. Default: the only guard that the config refers to.
    #[arg(long)]
    pub(crate) guard: Option<String>,
    /// Roles or scopes of the identity.
    #[arg(long, value_delimiter = ',', value_name = "ROLES")]
    pub(crate) roles: Vec<String>,
    /// An attribute of the identity.
    #[arg(long = "attribute", value_name = "NAME=VALUE")]
    pub(crate) attributes: Vec<String>,
    /// The roles are scopes, which the caller can ask for.
    #[arg(long)]
    pub(crate) step_up: bool,
    /// A tool, or a topic or topic filter.
    #[arg(value_name = "TOOL|TOPIC")]
    pub(crate) subject: String,
    /// Take the name for a topic in any case.
    #[arg(long)]
    pub(crate) topic: bool,
}

/// The logging options. Logging never blocks: lines that standard error or the log file does not accept
/// in time are dropped, and their number is logged.
#[derive(Debug, Args)]
pub(crate) struct Logging {
    /// Log format. Logs go to standard error or to --log-file; lines that cannot be written in time are
    /// dropped and counted.
    /// With `json`, status lines are logged too instead of printed on standard output.
    #[arg(long = "log", value_name = "FORMAT", value_enum, default_value_t = LogForm::Text)]
    pub(crate) form: LogForm,
    /// Log level: off, error, warn, info, debug or trace; also by module
    /// (`info,tidegate::event=debug` for the events of bindings).
    #[arg(
        long = "log-level",
        value_name = "LEVEL",
        env = "TIDEGATE_LOG",
        default_value = "info"
    )]
    pub(crate) levels: LogLevels,
    /// Log each call: trace, client, tool, topic, outcome, duration.
    #[arg(long = "log-calls")]
    pub(crate) calls: bool,
    /// Append logs to this file instead of writing them to standard error. It is created with missing
    /// folders.
    #[arg(long = "log-file", value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Size of the log file in MiB at which it is renamed to FILE.1, and that one to FILE.2.
    #[arg(
        long = "log-file-size",
        value_name = "MIB",
        default_value_t = 16,
        requires = "file",
        value_parser = clap::value_parser!(u64).range(1..=1_048_576)
    )]
    pub(crate) file_size: u64,
    /// Number of renamed log files that are kept; the oldest is deleted.
    #[arg(
        long = "log-files",
        value_name = "COUNT",
        default_value_t = 4,
        requires = "file",
        value_parser = clap::value_parser!(u32).range(1..=10_000)
    )]
    pub(crate) files: u32,
}

/// Format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogForm {
    /// Human-readable text.
    Text,
    /// One JSON object per line.
    Json,
}
