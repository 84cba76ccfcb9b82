//! Options of `mcp · proxy`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tidegate_options::positive;

/// Options of `mcp · proxy`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Options {
    /// Timeout for a toolkit to answer a list request or open a session, in milliseconds. The list
    /// or session then continues without that toolkit.
    #[serde(deserialize_with = "positive")]
    #[schemars(range(min = 1))]
    pub list_timeout: u64,
    /// Maximum size of a toolkit's list, or of a result that needs prefixes, in bytes. A larger one
    /// is refused.
    #[serde(deserialize_with = "positive")]
    #[schemars(range(min = 1))]
    pub max_result_size: usize,
    /// Maximum number of pages read of a toolkit's list.
    #[serde(deserialize_with = "positive")]
    #[schemars(range(min = 1))]
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

impl tidegate_options::Options for Options {}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Options;

    #[test]
    fn zero_is_refused() {
        for key in ["listTimeout", "maxResultSize", "maxPages"] {
            let read = |number: u64| serde_json::from_value::<Options>(json!({ key: number }));
            let error = read(0).expect_err(key).to_string();
            assert_eq!(error, "must be at least 1", "{key}");
            assert!(read(1).is_ok(), "{key}");
        }
    }
}
