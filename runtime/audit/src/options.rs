//! The options of an `audit` exporter.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tidegate_options::{Bounded, OptionWarning};

use crate::record::PayloadRule;
use crate::redact::JsonPath;
use crate::rotation::Rotation;

/// When written lines are forced to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Sync {
    /// Never, only at rotation and at the stop: a crash of the machine loses what its operating
    /// system had not written.
    Never,
    /// At most once a second.
    Interval,
    /// After each write. A write has all lines that were queued in the meantime.
    Always,
}

/// What happens while records cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OnFailure {
    /// Calls go on. Lost records are counted, the log says so, and a line reports the gap when writing
    /// works again.
    Drop,
    /// New calls are refused with a reason. Records of running calls are kept in the queue.
    Refuse,
}

/// Options of an `audit` exporter.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Options {
    /// The file that is written, in an existing folder. A full file is renamed:
    /// `audit.000000000001.jsonl` is the one whose first line has number 1. After a restart the file
    /// is continued.
    #[schemars(extend("examples" = ["/var/log/tidegate/audit.jsonl"]))]
    pub path: PathBuf,
    /// Size in bytes at which the file is rotated.
    #[serde(default = "max_file_size")]
    pub max_file_size: Bounded<4_096, 1_099_511_627_776>,
    /// Age in seconds at which the file is rotated, counted from its first line; 0: at no age.
    #[serde(default = "max_file_age")]
    pub max_file_age: u64,
    /// Number of rotated files that are kept; the oldest are deleted. Absent: all are kept, so the
    /// disk must be watched.
    #[serde(default)]
    pub max_files: Option<Bounded<1, 1_000_000>>,
    /// When lines are forced to the disk (`fsync`).
    #[serde(default = "sync")]
    pub sync: Sync,
    /// What happens while records cannot be written, as on a full disk.
    #[serde(default = "on_failure")]
    pub on_failure: OnFailure,
    /// Memory for records that wait to be written, in bytes. A record whose payload has no room is
    /// queued without it, and one that has no room itself is dropped and counted; with
    /// `onFailure: refuse`, new calls are refused from half of it on.
    #[serde(default = "queue_size")]
    pub queue_size: Bounded<65_536, 1_073_741_824>,
    /// Whether lines have the text of a message that was published, read or received, beside its size and
    /// SHA-256. A line about several messages has none.
    #[serde(default)]
    pub payload: bool,
    /// Largest payload in bytes whose text is recorded; of a larger one, the line has size and
    /// SHA-256.
    #[serde(default = "max_payload")]
    pub max_payload: Bounded<1, 1_048_576>,
    /// Values that are replaced in recorded payloads: paths such as `$.pin`, `$.users[*].password` or
    /// `$..token`. With paths, only payloads of JSON are recorded.
    #[serde(default)]
    pub redact: Vec<JsonPath>,
}

const fn max_file_size() -> Bounded<4_096, 1_099_511_627_776> {
    Bounded::of(64 * 1024 * 1024)
}

const fn max_file_age() -> u64 {
    86_400
}

const fn sync() -> Sync {
    Sync::Interval
}

const fn on_failure() -> OnFailure {
    OnFailure::Drop
}

const fn queue_size() -> Bounded<65_536, 1_073_741_824> {
    Bounded::of(16 * 1024 * 1024)
}

const fn max_payload() -> Bounded<1, 1_048_576> {
    Bounded::of(4_096)
}

impl Options {
    /// Options with their defaults.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            max_file_size: max_file_size(),
            max_file_age: max_file_age(),
            max_files: None,
            sync: sync(),
            on_failure: on_failure(),
            queue_size: queue_size(),
            payload: false,
            max_payload: max_payload(),
            redact: Vec::new(),
        }
    }

    pub(crate) fn rotation(&self) -> Rotation {
        Rotation {
            size: self.max_file_size.get(),
            age: self.max_file_age.saturating_mul(1_000_000),
        }
    }

    pub(crate) fn payload_rule(&self) -> PayloadRule {
        PayloadRule {
            text_max: if self.payload {
                self.max_payload.size()
            } else {
                0
            },
            redact: self.redact.clone(),
        }
    }
}

impl tidegate_options::Options for Options {
    fn warnings(&self) -> Vec<OptionWarning> {
        let mut warnings = Vec::new();
        if !self.redact.is_empty() && !self.payload {
            warnings.push(OptionWarning {
                key: "redact",
                message: "'redact' has no effect: payloads are not recorded".to_owned(),
                help: "set 'payload: true', or remove it".to_owned(),
            });
        }
        warnings
    }
}
