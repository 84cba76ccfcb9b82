//! The trait that option types implement.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::guarded::GuardReference;

/// The `options` of a kind of binding in the config.
pub trait Options: DeserializeOwned + JsonSchema {
    /// Valid settings that are likely mistakes, such as an absent allow list.
    fn warnings(&self) -> Vec<OptionWarning> {
        Vec::new()
    }

    /// The guards that the options refer to, with paths relative to the options. The config reports
    /// those that it does not declare.
    fn guards(&self) -> Vec<GuardReference> {
        Vec::new()
    }
}

/// A valid option that is likely a mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionWarning {
    /// Key of the option.
    pub key: &'static str,
    /// The consequence.
    pub message: String,
    /// How to fix it.
    pub help: String,
}
