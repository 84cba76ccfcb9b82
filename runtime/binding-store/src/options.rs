//! Options of `store · file`.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tidegate_options::{Bounded, OwnFile};

/// Options of `store · file`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Options {
    /// The file. It is created, readable by the user of the gateway alone; its folder must exist. Each
    /// gateway needs a file of its own, on a disk of its machine.
    #[schemars(extend("examples" = ["/var/lib/tidegate/store.queue"]))]
    pub path: PathBuf,
    /// Maximum size of what is kept in it, in bytes. A request that would exceed it is answered as `busy`.
    /// All of it is read into memory at the start. The file itself is larger.
    #[serde(default = "max_size")]
    pub max_size: Bounded<65_536, 17_179_869_184>,
}

const fn max_size() -> Bounded<65_536, 17_179_869_184> {
    Bounded::of(64 << 20)
}

impl tidegate_options::Options for Options {
    fn own_files(&self) -> Vec<OwnFile> {
        vec![OwnFile {
            key: "path",
            path: self.path.clone(),
        }]
    }
}
