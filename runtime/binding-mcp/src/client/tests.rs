//! The binding between played callers and a played server.

mod differential;
mod failures;
mod harness;
mod legacy;
mod modern;
mod process;
mod server_asks;
