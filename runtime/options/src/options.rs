//! The trait that option types implement.

use std::path::PathBuf;

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

    /// Valid options that must not be combined. A config with one is refused.
    fn conflicts(&self) -> Vec<OptionConflict> {
        Vec::new()
    }

    /// The files that no other binding may have. A config in which two bindings have the same one is refused.
    fn own_files(&self) -> Vec<OwnFile> {
        Vec::new()
    }
}

/// A file that only one binding may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnFile {
    /// Key of the option.
    pub key: &'static str,
    /// Its path.
    pub path: PathBuf,
}

/// A valid option that must not be combined with others, or needs another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionConflict {
    /// Key of the option.
    pub key: &'static str,
    /// What is wrong, and why.
    pub message: String,
    /// How to fix it.
    pub help: String,
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
