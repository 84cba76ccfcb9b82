//! The options of `tidegate bench`, and of the processes that it starts.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// The options of `tidegate bench`.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// Operations: publish, receive, read, updates; or proxy, a call of a tool of another MCP server, and list, a
    /// list of its 100 tools. For these, that server is the baseline, called without anything between. Or reverse, a
    /// request of a device that calls a tool of that server; its baseline is a bridge that does nothing else.
    #[arg(long, value_delimiter = ',', default_value = "publish")]
    pub(crate) operation: Vec<tidegate_load::Operation>,
    /// `QoS` levels of publish: 0, 1, 2.
    #[arg(long, value_delimiter = ',', default_value = "1", value_parser = clap::value_parser!(u8).range(..=2))]
    pub(crate) qos: Vec<u8>,
    /// Numbers of concurrent callers, each with its own connection; for updates, numbers of listeners.
    #[arg(long, value_delimiter = ',', default_value = "1,16,64")]
    pub(crate) concurrency: Vec<usize>,
    /// Payload sizes, such as 100, 10KiB, 1MiB.
    #[arg(long, value_delimiter = ',', default_value = "100")]
    pub(crate) payload: Vec<tidegate_load::Size>,
    /// Open loop: calls per second, with latency measured from the scheduled start. Default: closed loop,
    /// where each caller calls again after each answer.
    #[arg(long, value_name = "CALLS")]
    pub(crate) rate: Option<f64>,
    /// Rounds for each target and combination; medians are reported.
    #[arg(long, default_value_t = 11)]
    pub(crate) rounds: usize,
    /// Duration of a round, in seconds.
    #[arg(long, default_value_t = 1.0, value_name = "SECONDS")]
    pub(crate) duration: f64,
    /// Warm-up of each target before the first round, in seconds.
    #[arg(long, default_value_t = 1.0, value_name = "SECONDS")]
    pub(crate) warm_up: f64,
    /// A running broker, or `embedded`. Default: start mosquitto if installed, else the embedded broker.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) broker: Option<String>,
    /// TLS between gateway and broker, and between floor and broker. Without --broker, mosquitto is started with
    /// certificates that are made for the run.
    #[arg(long)]
    pub(crate) tls: bool,
    /// With --broker and --tls: the certificate of the authority that signs the broker's, in PEM.
    #[arg(long, value_name = "FILE")]
    pub(crate) trust: Option<PathBuf>,
    /// Nagle's algorithm in the started mosquitto (on is its default, `set_tcp_nodelay false`): a small
    /// packet is delayed while another is unacknowledged.
    #[arg(long, value_enum, default_value_t = Nagle::On)]
    pub(crate) nagle: Nagle,
    /// Workers of the started gateway; the floor has one thread.
    #[arg(long, default_value_t = 1)]
    pub(crate) workers: u16,
    /// A running MCP endpoint. Default: start a gateway.
    #[arg(long, value_name = "URL")]
    pub(crate) endpoint: Option<tidegate_load::Url>,
    /// Tool to call. Default: the tool of the operation.
    #[arg(long, value_name = "NAME")]
    pub(crate) tool: Option<String>,
    /// Arguments of the tool, with the placeholders {{topic}}, {{payload}} and {{qos}}.
    #[arg(long, value_name = "JSON")]
    pub(crate) arguments: Option<String>,
    /// YAML file with further targets.
    #[arg(long, value_name = "FILE")]
    pub(crate) targets: Option<PathBuf>,
    /// Do not measure the floor. The server behind proxy and list is always measured.
    #[arg(long)]
    pub(crate) no_floor: bool,
    /// Folder for results.json, HDR logs, plots and the config of the gateway.
    #[arg(long, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
    /// Print the config of the started gateway.
    #[arg(long, short)]
    pub(crate) verbose: bool,
}

/// Values of `--nagle`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Nagle {
    /// The default of mosquitto.
    On,
    /// Packets are sent immediately.
    Off,
    /// Measure both.
    Both,
}

/// The options of the upstream, which `bench` starts as a process of its own.
#[derive(Debug, Args)]
pub(crate) struct BenchUpstream {
    /// Listen address.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub(crate) listen: std::net::SocketAddr,
    /// File with the text that a call is answered with.
    #[arg(long, value_name = "FILE")]
    pub(crate) payload_file: Option<PathBuf>,
    /// Number of tools.
    #[arg(long, default_value_t = 100)]
    pub(crate) tools: usize,
}

/// The options of the floor, which `bench` starts as a process of its own.
#[derive(Debug, Args)]
pub(crate) struct BenchFloor {
    /// Listen address.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub(crate) listen: std::net::SocketAddr,
    /// Broker address.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) broker: String,
    /// The certificate of the authority of a broker with TLS, in PEM.
    #[arg(long, value_name = "FILE")]
    pub(crate) trust: Option<PathBuf>,
    /// Operation: publish, receive, read, updates or reverse.
    #[arg(long, default_value = "publish")]
    pub(crate) operation: tidegate_load::Operation,
    /// `QoS` of publish.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(..=2))]
    pub(crate) qos: u8,
    /// Topic to publish to, topic of the retained message, or topic filter of updates.
    #[arg(long)]
    pub(crate) topic: String,
    /// File with the payload to publish.
    #[arg(long, value_name = "FILE")]
    pub(crate) payload_file: Option<PathBuf>,
    /// Host and port of the upstream, for reverse.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) upstream: Option<String>,
    /// Send TCP acknowledgements to the broker immediately.
    #[arg(long)]
    pub(crate) quickack: bool,
}
