//! Options of `mcp · proxy`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};
use tidegate_options::positive;

use super::pins::PinMode;

/// Options of `mcp · proxy`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Options {
    /// How long a list or a new session waits for a toolkit, in milliseconds. It then continues
    /// without that toolkit, and is told when it answers later.
    #[serde(deserialize_with = "positive")]
    #[schemars(range(min = 1))]
    pub deadline: u64,
    /// The `deadline` of single toolkits, by their name.
    pub deadlines: BTreeMap<String, u64>,
    /// Timeout for a toolkit to answer a list request or open a session, in milliseconds. A request
    /// that is late continues until then, so that the list of a slow toolkit is there when it is
    /// next asked for.
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
    /// Maximum number of elements on a page of a list that a client gets.
    #[serde(deserialize_with = "positive")]
    #[schemars(range(min = 1))]
    pub page_size: usize,
    /// Maximum length of a tool's name with its prefix, in bytes. A longer one is shortened: cut, with
    /// a hash at its end.
    #[serde(deserialize_with = "name_length")]
    #[schemars(range(min = 48))]
    pub max_name_length: usize,
    /// Compares the definition of each tool with the one that was accepted by `tidegate pins accept`.
    /// `warn`: a new or changed definition is reported. `block`: the tool is withheld as well, until
    /// it is accepted.
    pub pins: Option<PinMode>,
    /// File of the accepted definitions, which `tidegate pins accept` writes. The definitions that are
    /// not accepted are in the file beside it that ends with `.waiting.json`.
    pub pins_file: PathBuf,
    /// How long a toolkit's list without `ttlMs` is cached, in milliseconds, unless the toolkit says
    /// earlier that it has changed. 0: not at all.
    pub cache_ttl: u64,
    /// Maximum size of all cached lists of a worker, in bytes. The one used least recently is
    /// removed. 0: none is cached.
    pub max_cache_size: usize,
}

/// The shortest `maxNameLength`: a toolkit's name, the separator, and a hash with its separator.
const NAME_LENGTH_MIN: usize = 48;

fn name_length<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let length = usize::deserialize(deserializer)?;
    if length < NAME_LENGTH_MIN {
        let what = format!("must be at least {NAME_LENGTH_MIN}");
        return Err(de::Error::custom(what));
    }
    Ok(length)
}

impl Options {
    /// How long a list or a new session waits for a toolkit, in milliseconds.
    pub(super) fn deadline_of(&self, toolkit: &str) -> u64 {
        let deadline = self.deadlines.get(toolkit).copied();
        deadline.unwrap_or(self.deadline).min(self.list_timeout)
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            deadline: 3_000,
            deadlines: BTreeMap::new(),
            list_timeout: 10_000,
            max_result_size: 16 * 1024 * 1024,
            max_pages: 100,
            page_size: 1_000,
            max_name_length: 64,
            pins: None,
            pins_file: PathBuf::from("tidegate.pins.json"),
            cache_ttl: 60_000,
            max_cache_size: 64 * 1024 * 1024,
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
        for key in [
            "deadline",
            "listTimeout",
            "maxResultSize",
            "maxPages",
            "pageSize",
        ] {
            let read = |number: u64| serde_json::from_value::<Options>(json!({ key: number }));
            let error = read(0).expect_err(key).to_string();
            assert_eq!(error, "must be at least 1", "{key}");
            assert!(read(1).is_ok(), "{key}");
        }
    }

    #[test]
    fn a_toolkit_may_have_its_own_deadline_within_the_list_timeout() {
        let options = json!({ "deadlines": { "slow": 60_000, "fast": 200 }, "listTimeout": 5_000 });
        let options: Options = serde_json::from_value(options).expect("options");
        let deadlines = ["slow", "fast", "other"].map(|name| options.deadline_of(name));
        assert_eq!(deadlines, [5_000, 200, 3_000]);
    }
}
