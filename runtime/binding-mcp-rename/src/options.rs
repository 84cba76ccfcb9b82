//! Options of `mcp_rename · proxy`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tidegate_options::{OptionWarning, positive};

use crate::names::Names;

/// Options of `mcp_rename · proxy`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Options {
    /// Tools to rename: each key is a tool of the exit, its value the name that callers see. Other
    /// tools keep their names.
    #[schemars(extend("examples" = [{ "publish": "send_command" }]))]
    pub tools: Names,
    /// Largest list of tools that is rewritten, in bytes. A larger one is refused.
    #[serde(deserialize_with = "positive")]
    #[schemars(range(min = 1))]
    pub max_list_size: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            tools: Names::default(),
            max_list_size: 4 * 1024 * 1024,
        }
    }
}

impl tidegate_options::Options for Options {
    fn warnings(&self) -> Vec<OptionWarning> {
        if self.tools != Names::default() {
            return Vec::new();
        }
        vec![OptionWarning {
            key: "tools",
            message: "no tool is renamed".to_owned(),
            help: "name the tools: { publish: send_command }".to_owned(),
        }]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tidegate_options::Options as _;

    use super::Options;

    #[test]
    fn a_list_must_have_room() {
        let read = |size: u64| serde_json::from_value::<Options>(json!({ "maxListSize": size }));
        assert_eq!(
            read(0).expect_err("no room").to_string(),
            "must be at least 1"
        );
        assert_eq!(read(1).expect("room").max_list_size, 1);
    }

    #[test]
    fn a_map_without_tools_is_warned_of() {
        assert_eq!(Options::default().warnings().len(), 1);
        let options = json!({ "tools": { "publish": "send" } });
        let options: Options = serde_json::from_value(options).expect("valid");
        assert_eq!(options.warnings(), []);
    }
}
