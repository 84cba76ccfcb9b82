//! Tests of tidegate with the official Rust MCP SDK (`rmcp`) and mosquitto live in `tests/`.
//!
//! They have a crate of their own so that no other build waits for the SDK.
#![forbid(unsafe_code)]
