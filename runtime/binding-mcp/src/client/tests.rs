//! The binding between played callers and a played server.

mod continuing;
mod differential;
mod failures;
mod harness;
mod legacy;
mod modern;
mod mqtt;
mod process;
mod server_asks;
mod tool_headers;
