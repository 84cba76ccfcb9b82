//! Options of `mcp · server`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Options of `mcp · server`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Options {
    /// How long a request may take, in milliseconds; then it is given up and answered as timed out.
    pub timeout: u64,
    /// How long a legacy session may be without a request or an open event stream, in milliseconds.
    pub session_timeout: u64,
    /// How many legacy sessions a worker keeps; one more is refused.
    pub max_sessions: usize,
    /// How often an idle event stream gets a comment that keeps it open, in milliseconds.
    pub keep_alive: u64,
    /// The largest message taken, in bytes.
    pub max_message_size: usize,
    /// What clients are told about the use of this server.
    pub instructions: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            timeout: 60_000,
            session_timeout: 300_000,
            max_sessions: 10_000,
            keep_alive: 15_000,
            max_message_size: 4 * 1024 * 1024,
            instructions: None,
        }
    }
}
