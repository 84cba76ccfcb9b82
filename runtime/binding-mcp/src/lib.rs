//! MCP: `mcp · server`, which speaks it with clients, and `mcp · proxy`, which puts toolkits together.
#![forbid(unsafe_code)]

pub mod jsonrpc;
pub mod proxy;
pub mod server;
mod shown;
