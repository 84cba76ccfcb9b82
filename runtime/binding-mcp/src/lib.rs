//! MCP bindings: `mcp · server`, which serves clients, and `mcp · proxy`, which combines toolkits.
#![forbid(unsafe_code)]

pub mod jsonrpc;
pub mod proxy;
pub mod server;
mod shown;
