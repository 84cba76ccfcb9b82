//! What is to be measured: the settings of a run, checked, and the cells they make.
//!
//! A cell is one row of a report: an operation at a `QoS`, a concurrency and a payload size. Every
//! target plays the same cell in the same minutes, round by round.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::targets::{Peer, Url};

/// The most callers of a cell.
pub const CONCURRENCY_MAX: usize = 4_096;
/// The largest payload, in bytes.
pub const PAYLOAD_MAX: usize = 64 << 20;

/// What is driven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// The tool `publish`.
    Publish,
    /// The tool `receive`, of one retained message.
    Receive,
    /// `resources/read` of a retained message.
    Read,
    /// A publication, and its update at each of many listeners.
    Updates,
}

impl Operation {
    /// Its word on the command line and in reports.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Receive => "receive",
            Self::Read => "read",
            Self::Updates => "updates",
        }
    }
}

/// A text that does not say what it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(pub(crate) String);

impl FromStr for Operation {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        [Self::Publish, Self::Receive, Self::Read, Self::Updates]
            .into_iter()
            .find(|operation| operation.word() == text)
            .ok_or_else(|| {
                Unreadable(format!(
                    "'{text}' is none of publish, receive, read, updates"
                ))
            })
    }
}

/// A size in bytes: `100`, `10KiB`, `1MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Size(pub usize);

impl FromStr for Size {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        let wrong = || Unreadable(format!("'{text}' is no size; write 100, 10KiB or 1MiB"));
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
            _ => Err(Unreadable(format!(
                "{text} is too much; a payload has at most {PAYLOAD_MAX} bytes"
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

/// How the broker that the driver starts is to send: mosquitto's `set_tcp_nodelay`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Nagle {
    /// As mosquitto does unless it is told otherwise: a small packet waits while another is
    /// unacknowledged.
    On,
    /// Every packet at once.
    Off,
}

/// Everything that a run is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The operations.
    pub operations: Vec<Operation>,
    /// The levels of `publish`: 0, 1, 2.
    pub qos: Vec<u8>,
    /// How many callers at a time.
    pub concurrency: Vec<usize>,
    /// The sizes of the payload.
    pub payload: Vec<Size>,
    /// Calls each second on a schedule; none for a closed loop.
    pub rate: Option<f64>,
    /// How many rounds each target plays of each cell.
    pub rounds: usize,
    /// Of one round.
    pub duration: Duration,
    /// Of each target in each cell, before the first round.
    pub warm_up: Duration,
    /// A broker that is there already, as `host:port`; or `embedded`, to start that one.
    pub broker: Option<String>,
    /// Of the broker that the driver starts; one set of cells for each.
    pub nagle: Vec<Nagle>,
    /// Of the gateway that the driver starts.
    pub workers: u16,
    /// An endpoint that is there already, instead of a gateway that the driver starts.
    pub endpoint: Option<Url>,
    /// The tool, where it is not the operation's.
    pub tool: Option<String>,
    /// Its arguments with placeholders, where they are not the operation's.
    pub arguments: Option<Value>,
    /// Further targets.
    pub peers: Vec<Peer>,
    /// Whether the floor plays.
    pub floor: bool,
    /// Where results are written.
    pub output: Option<PathBuf>,
    /// Whether the config of the gateway that the driver starts is told.
    pub verbose: bool,
}

impl Settings {
    /// Checks what belongs together.
    pub fn check(&self) -> Result<(), Unreadable> {
        let wrong = |what: &str| Err(Unreadable(what.to_owned()));
        if self.operations.is_empty() || self.concurrency.is_empty() || self.payload.is_empty() {
            return wrong("there is nothing to measure");
        }
        if self.qos.is_empty() || self.qos.iter().any(|qos| *qos > 2) {
            return wrong("a QoS is 0, 1 or 2");
        }
        if self
            .concurrency
            .iter()
            .any(|count| !(1..=CONCURRENCY_MAX).contains(count))
        {
            return Err(Unreadable(format!(
                "a concurrency is 1 to {CONCURRENCY_MAX}"
            )));
        }
        if !(1..=1_000).contains(&self.rounds) {
            return wrong("there are 1 to 1000 rounds");
        }
        let hour = Duration::from_hours(1);
        if self.duration < Duration::from_millis(10) || self.duration > hour || self.warm_up > hour
        {
            return wrong("a round takes 0.01 to 3600 seconds");
        }
        if self.rate.is_some_and(|rate| !(0.1..=1e6).contains(&rate)) {
            return wrong("a rate is 0.1 to 1000000 calls a second");
        }
        if self.workers == 0 {
            return wrong("a gateway has at least one worker");
        }
        if self.broker.is_none() && self.nagle.is_empty() {
            return wrong("Nagle's algorithm is on or off");
        }
        let mut names = vec![OURS, FLOOR];
        for peer in &self.peers {
            if names.contains(&peer.name.as_str()) {
                return Err(Unreadable(format!("two targets are named {}", peer.name)));
            }
            names.push(&peer.name);
        }
        Ok(())
    }

    /// The cells, in the order in which they are played.
    pub fn cells(&self) -> Vec<Cell> {
        let mut cells = Vec::new();
        for operation in &self.operations {
            let levels: Vec<Option<u8>> = match operation {
                Operation::Publish => self.qos.iter().copied().map(Some).collect(),
                _ => vec![None],
            };
            for qos in levels {
                for payload in &self.payload {
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

/// What ours is called in reports.
pub(crate) const OURS: &str = "tidegate";
/// What the floor is called in reports.
pub(crate) const FLOOR: &str = "floor";

/// One thing to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Cell {
    /// What is driven.
    pub operation: Operation,
    /// Of `publish` alone.
    pub qos: Option<u8>,
    /// How many callers, or listeners.
    pub concurrency: usize,
    /// Bytes of the payload.
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
    fn sizes_are_read_and_written_alike() {
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
    fn what_cannot_be_measured_is_refused() {
        assert_eq!(settings().check(), Ok(()));
        let faults: [fn(&mut Settings); 7] = [
            |settings| settings.qos = vec![3],
            |settings| settings.concurrency = vec![0],
            |settings| settings.rounds = 0,
            |settings| settings.duration = Duration::ZERO,
            |settings| settings.rate = Some(f64::NAN),
            |settings| settings.workers = 0,
            |settings| settings.operations.clear(),
        ];
        for fault in faults {
            let mut settings = settings();
            fault(&mut settings);
            assert!(settings.check().is_err(), "{settings:?}");
        }
    }
}
