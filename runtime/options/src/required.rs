//! Something that the config can demand, and does not demand unless it says so.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What has to be done: an option of this type is `required` or absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub enum Required {
    /// Always.
    Required,
}
