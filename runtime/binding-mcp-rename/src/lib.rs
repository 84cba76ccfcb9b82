//! `mcp_rename · proxy`: mcp streams in, mcp streams out, with other names for the tools.
//!
//! The binding changes the name in `tools/call` and the names in `tools/list`; every other frame
//! passes as it is. It is the smallest binding of the tree, and CONTRIBUTING.md goes through it file
//! by file. What it promises:
//! - A caller sees one name for each tool: the new one where there is one. The old name is not offered.
//! - What waits for credit waits here, and the sender gets credit as it leaves. A list is gathered up
//!   to `maxListSize`; a larger one is refused.
#![forbid(unsafe_code)]

mod exchange;
mod list;
mod names;
mod options;
mod proxy;
#[cfg(test)]
mod tests;

pub use names::Names;
pub use options::Options;
pub use proxy::McpRename;
