//! The plan of a run: its settings, their checks, and the cells.
//!
//! A cell is one combination of operation, `QoS`, concurrency and payload size. All targets run the same
//! cell in alternating rounds.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::targets::{Peer, Url};

/// Most callers of a cell.
pub const CONCURRENCY_MAX: usize = 4_096;
/// Largest payload, in bytes.
pub const PAYLOAD_MAX: usize = 64 << 20;

/// The measured operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// The tool `publish`.
    Publish,
    /// The tool `receive` with one retained message.
    Receive,
    /// `resources/read` of a retained message.
    Read,
    /// A publication and the resulting update at each of many listeners.
    Updates,
    /// A call of a tool of another MCP server, the upstream.
    Proxy,
    /// `tools/list` of an upstream with 100 tools.
    List,
    /// A request of a device that calls a tool of the upstream, and its answer.
    Reverse,
}

impl Operation {
    /// All of them.
    const ALL: [Self; 7] = [
        Self::Publish,
        Self::Receive,
        Self::Read,
        Self::Updates,
        Self::Proxy,
        Self::List,
        Self::Reverse,
    ];

    /// Whether it is an operation on another MCP server, without a broker.
    pub const fn is_proxied(self) -> bool {
        matches!(self, Self::Proxy | Self::List)
    }

    /// Whether it calls another MCP server.
    pub(crate) const fn has_upstream(self) -> bool {
        matches!(self, Self::Proxy | Self::List | Self::Reverse)
    }

    /// Name on the command line and in reports.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Receive => "receive",
            Self::Read => "read",
            Self::Updates => "updates",
            Self::Proxy => "proxy",
            Self::List => "list",
            Self::Reverse => "reverse",
        }
    }
}

/// An invalid setting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidSetting(pub(crate) String);

impl FromStr for Operation {
    type Err = InvalidSetting;

    fn from_str(text: &str) -> Result<Self, InvalidSetting> {
        Self::ALL
            .into_iter()
            .find(|operation| operation.word() == text)
            .ok_or_else(|| {
                InvalidSetting(format!(
                    "unknown operation '{text}'; valid: publish, receive, read, updates, proxy, list, reverse"
                ))
            })
    }
}

/// A size in bytes: `100`, `10KiB`, `1MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Size(pub usize);

impl FromStr for Size {
    type Err = InvalidSetting;

    fn from_str(text: &str) -> Result<Self, InvalidSetting> {
        let wrong = || {
            InvalidSetting(format!(
                "invalid size '{text}'; use for example 100, 10KiB or 1MiB"
            ))
        };
        let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
        let unit = match text.get(digits.len()..).unwrap_or_default() {
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            _ => return Err(wrong()),
        };
        let count: usize = digits.parse().map_err(|_| wrong())?;
        match count.checked_mul(unit) {
            Some(size) if size <= PAYLOAD_MAX => Ok(Self(size)),
            _ => Err(InvalidSetting(format!(
                "payload size {text} is too large; the maximum is {PAYLOAD_MAX} bytes"
            ))),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            size if size > 0 && size % (1 << 20) == 0 => write!(f, "{}MiB", size >> 20),
            size if size > 0 && size % (1 << 10) == 0 => write!(f, "{}KiB", size >> 10),
            size => write!(f, "{size}B"),
        }
    }
}

/// Nagle's algorithm in the started broker: mosquitto's `set_tcp_nodelay`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Nagle {
    /// The default of mosquitto: a small packet is delayed while another is unacknowledged.
    On,
    /// Packets are sent immediately.
    Off,
}

/// The settings of a run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The operations.
    pub operations: Vec<Operation>,
    /// `QoS` levels of `publish`: 0, 1, 2.
    pub qos: Vec<u8>,
    /// Numbers of concurrent callers.
    pub concurrency: Vec<usize>,
    /// Payload sizes.
    pub payload: Vec<Size>,
    /// Calls per second on a schedule; `None` for a closed loop.
    pub rate: Option<f64>,
    /// Rounds of each target in each cell.
    pub rounds: usize,
    /// Duration of a round.
    pub duration: Duration,
    /// Warm-up of each target in each cell, before the first round.
    pub warm_up: Duration,
    /// A running broker as `host:port`, or `embedded` to start that one.
    pub broker: Option<String>,
    /// Whether the gateway and the floor use TLS towards the broker.
    pub tls: bool,
    /// The certificate of the authority of a given broker with TLS.
    pub trust: Option<PathBuf>,
    /// Nagle's algorithm in the started broker; all cells are run for each value.
    pub nagle: Vec<Nagle>,
    /// Workers of the started gateway.
    pub workers: u16,
    /// A running endpoint, instead of a started gateway.
    pub endpoint: Option<Url>,
    /// Tool; default: that of the operation.
    pub tool: Option<String>,
    /// Arguments with placeholders; default: those of the operation.
    pub arguments: Option<Value>,
    /// Further targets.
    pub peers: Vec<Peer>,
    /// Whether to measure the floor. The upstream is always measured.
    pub floor: bool,
    /// Folder for the results.
    pub output: Option<PathBuf>,
    /// Whether to print the config of the started gateway.
    pub verbose: bool,
}

impl Settings {
    /// Checks all settings.
    pub fn check(&self) -> Result<(), InvalidSetting> {
        let wrong = |what: &str| Err(InvalidSetting(what.to_owned()));
        if self.operations.is_empty() || self.concurrency.is_empty() || self.payload.is_empty() {
            return wrong(
                "nothing to measure: operation, concurrency and payload must not be empty",
            );
        }
        if self.qos.is_empty() || self.qos.iter().any(|qos| *qos > 2) {
            return wrong("invalid QoS; use 0, 1 or 2");
        }
        if self
            .concurrency
            .iter()
            .any(|count| !(1..=CONCURRENCY_MAX).contains(count))
        {
            return Err(InvalidSetting(format!(
                "invalid concurrency; use 1 to {CONCURRENCY_MAX}"
            )));
        }
        if !(1..=1_000).contains(&self.rounds) {
            return wrong("invalid number of rounds; use 1 to 1000");
        }
        let hour = Duration::from_hours(1);
        if self.duration < Duration::from_millis(10) || self.duration > hour || self.warm_up > hour
        {
            return wrong(
                "invalid duration; use 0.01 to 3600 seconds, and a warm-up of at most 3600",
            );
        }
        if self.rate.is_some_and(|rate| !(0.1..=1e6).contains(&rate)) {
            return wrong("invalid rate; use 0.1 to 1000000 calls per second");
        }
        if self.workers == 0 {
            return wrong("invalid number of workers; use at least 1");
        }
        if self.endpoint.is_some() && self.operations.contains(&Operation::Reverse) {
            return wrong("operation 'reverse' needs a gateway of its own; remove --endpoint");
        }
        if self.broker.is_none() && self.nagle.is_empty() {
            return wrong("missing --nagle; use on, off or both");
        }
        self.check_tls()?;
        let mut names = vec![OURS, FLOOR, UPSTREAM];
        for peer in &self.peers {
            if names.contains(&peer.name.as_str()) {
                return Err(InvalidSetting(format!(
                    "duplicate target name '{}'",
                    peer.name
                )));
            }
            names.push(&peer.name);
        }
        Ok(())
    }

    fn check_tls(&self) -> Result<(), InvalidSetting> {
        let why = match (self.tls, self.broker.is_some(), &self.trust) {
            (false, _, Some(_)) => "--trust needs --tls",
            (true, true, None) => {
                "--tls with --broker needs --trust, the certificate of the authority of the broker; the \
                 embedded broker has no TLS"
            }
            (true, false, Some(_)) => {
                "--trust needs --broker; without it a broker with certificates of its own is started"
            }
            (true, ..) if !self.peers.is_empty() => "--targets are measured without --tls only",
            _ => return Ok(()),
        };
        Err(InvalidSetting(why.to_owned()))
    }

    /// The cells, in order of execution.
    pub fn cells(&self) -> Vec<Cell> {
        let mut cells = Vec::new();
        for operation in &self.operations {
            let levels: Vec<Option<u8>> = match operation {
                Operation::Publish => self.qos.iter().copied().map(Some).collect(),
                _ => vec![None],
            };
            // A list has no payload.
            let payloads = match operation {
                Operation::List => self.payload.get(..1).unwrap_or_default(),
                _ => &self.payload,
            };
            for qos in levels {
                for payload in payloads {
                    for concurrency in &self.concurrency {
                        cells.push(Cell {
                            operation: *operation,
                            qos,
                            concurrency: *concurrency,
                            payload: *payload,
                        });
                    }
                }
            }
        }
        cells
    }
}

/// Name of tidegate in reports.
pub(crate) const OURS: &str = "tidegate";
/// Name of the floor in reports.
pub(crate) const FLOOR: &str = "floor";

/// Name of the upstream in reports.
pub(crate) const UPSTREAM: &str = "upstream";

/// One combination to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Cell {
    /// Operation.
    pub operation: Operation,
    /// `QoS`; only for `publish`.
    pub qos: Option<u8>,
    /// Number of callers or listeners.
    pub concurrency: usize,
    /// Payload size in bytes.
    pub payload: Size,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.operation.word())?;
        if let Some(qos) = self.qos {
            write!(f, "-qos{qos}")?;
        }
        write!(f, "-c{}-{}", self.concurrency, self.payload)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn settings() -> Settings {
        Settings {
            operations: vec![Operation::Publish, Operation::Read],
            qos: vec![0, 1],
            concurrency: vec![1, 16],
            payload: vec![Size(100), Size(10 << 10)],
            rate: None,
            rounds: 11,
            duration: Duration::from_secs(1),
            warm_up: Duration::from_secs(1),
            broker: None,
            tls: false,
            trust: None,
            nagle: vec![Nagle::On],
            workers: 1,
            endpoint: None,
            tool: None,
            arguments: None,
            peers: Vec::new(),
            floor: true,
            output: None,
            verbose: false,
        }
    }

    #[test]
    fn sizes_are_parsed_and_printed() {
        for (text, size) in [
            ("100B", 100),
            ("10KiB", 10_240),
            ("1MiB", 1 << 20),
            ("0B", 0),
        ] {
            assert_eq!(text.parse(), Ok(Size(size)));
            assert_eq!(Size(size).to_string(), text);
        }
        assert_eq!("100".parse(), Ok(Size(100)));
        for text in [
            "",
            "KiB",
            "-1",
            "1kb",
            "1.5MiB",
            "65MiB",
            "99999999999999999999MiB",
            "1ä",
        ] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }

    #[test]
    fn only_publish_has_a_cell_for_each_qos() {
        let names: Vec<String> = settings().cells().iter().map(Cell::to_string).collect();
        assert_eq!(
            names,
            [
                "publish-qos0-c1-100B",
                "publish-qos0-c16-100B",
                "publish-qos0-c1-10KiB",
                "publish-qos0-c16-10KiB",
                "publish-qos1-c1-100B",
                "publish-qos1-c16-100B",
                "publish-qos1-c1-10KiB",
                "publish-qos1-c16-10KiB",
                "read-c1-100B",
                "read-c16-100B",
                "read-c1-10KiB",
                "read-c16-10KiB",
            ]
        );
    }

    #[test]
    fn invalid_settings_are_rejected() {
        assert_eq!(settings().check(), Ok(()));
        let faults: [fn(&mut Settings); 11] = [
            |settings| {
                settings.operations = vec![Operation::Reverse];
                settings.endpoint = "http://127.0.0.1:1/mcp".parse().ok();
            },
            |settings| settings.qos = vec![3],
            |settings| settings.concurrency = vec![0],
            |settings| settings.rounds = 0,
            |settings| settings.duration = Duration::ZERO,
            |settings| settings.rate = Some(f64::NAN),
            |settings| settings.workers = 0,
            |settings| settings.operations.clear(),
            |settings| settings.trust = Some("authority.crt".into()),
            |settings| {
                settings.tls = true;
                settings.broker = Some("embedded".to_owned());
            },
            |settings| {
                settings.tls = true;
                settings.trust = Some("authority.crt".into());
            },
        ];
        for fault in faults {
            let mut settings = settings();
            fault(&mut settings);
            assert!(settings.check().is_err(), "{settings:?}");
        }
    }
}
