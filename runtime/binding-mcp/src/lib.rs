//! MCP bindings: `mcp · server`, which serves clients, `mcp · proxy`, which combines toolkits, and `mcp · client`,
//! which calls servers.
#![forbid(unsafe_code)]

pub mod client;
#[cfg(test)]
mod generated;
pub mod proxy;
pub mod server;
mod shown;

pub use tidegate_jsonrpc as jsonrpc;
