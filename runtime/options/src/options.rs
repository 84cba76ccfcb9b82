//! The options of a kind of binding.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

/// The options of a kind of binding, as the config states them.
pub trait Options: DeserializeOwned + JsonSchema {
    /// What is valid and yet likely to be a mistake, such as an option that leaves everything open.
    fn warnings(&self) -> Vec<OptionWarning> {
        Vec::new()
    }
}

/// Something about an option that is worth a look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionWarning {
    /// The option's key.
    pub key: &'static str,
    /// What it leads to.
    pub message: String,
    /// What to write instead.
    pub help: String,
}
