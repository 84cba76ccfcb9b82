//! Options of `mcp · proxy`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Options of `mcp · proxy`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Options {
    /// How long a list or a new session waits for a toolkit, in milliseconds.
    pub list_timeout: u64,
    /// The largest result that is gathered from a toolkit, for a list or to rewrite it, in bytes.
    pub max_result_size: usize,
    /// How many pages of a toolkit's list are asked for.
    pub max_pages: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            list_timeout: 10_000,
            max_result_size: 16 * 1024 * 1024,
            max_pages: 100,
        }
    }
}
