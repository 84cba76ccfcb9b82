//! Options of `stdio · client`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};
use tidegate_options::{Bounded, positive};

/// Options of `stdio · client`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Options {
    /// The program: a path, or a name that is looked up in `PATH`.
    #[serde(deserialize_with = "command")]
    #[schemars(example = &"mcp-server-files")]
    pub command: String,
    /// Its arguments.
    #[serde(default)]
    pub args: Vec<String>,
    /// Variables of its environment, in addition to PATH, HOME, USER, LOGNAME, SHELL, LANG, TERM, TZ and
    /// TMPDIR of the gateway. Others of the gateway are not passed on.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Directory that it runs in. Absent: that of the gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_directory: Option<PathBuf>,
    /// Maximum length of a line of its output, in bytes.
    #[serde(default = "max_line_size", deserialize_with = "positive")]
    #[schemars(range(min = 1))]
    pub max_line_size: usize,
    /// How long a process is waited for after the end of its input, and again after SIGTERM, in
    /// milliseconds.
    #[serde(default = "stop_timeout")]
    pub stop_timeout: Bounded<1, 60_000>,
}

const fn max_line_size() -> usize {
    16 * 1024 * 1024
}

const fn stop_timeout() -> Bounded<1, 60_000> {
    Bounded::of(2_000)
}

impl tidegate_options::Options for Options {}

fn command<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let command = String::deserialize(deserializer)?;
    if command.is_empty() || command.contains('\0') {
        return Err(de::Error::custom(
            "no program; use its name or path, and 'args' for arguments",
        ));
    }
    Ok(command)
}
