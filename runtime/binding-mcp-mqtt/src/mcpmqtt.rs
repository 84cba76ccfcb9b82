//! `compatibility: mcpmqtt`: the tools and resources of mcpMQTT, for clients that are configured for it.
//!
//! Names, arguments, defaults and results are those of mcpMQTT; what does not work there works here: filters
//! with wildcards, queries, several messages and binary payloads. Errors are tool errors (`isError`). Topics are
//! decided by the same policy as those of the other tools.

mod arguments;
mod collect;
mod resources;
mod result;
mod tools;

use schemars::JsonSchema;
use serde::Deserialize;

pub(crate) use collect::Collect;
pub(crate) use resources::{ALLOWED, Documents, EXAMPLES};
pub(crate) use result::{Answered, published};
pub(crate) use tools::TOOLS;

/// The server whose tools and resources are offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Compatibility {
    /// mcpMQTT
    Mcpmqtt,
}
