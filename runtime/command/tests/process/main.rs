//! Tests of the real binary: blocked or closed standard streams, signals, exhausted file descriptors. Each
//! test waits for events, never for a time.

#![cfg(target_os = "linux")]
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects"
)]

mod admin;
mod audit;
mod client;
mod demo;
mod descriptors;
mod explain;
mod import;
mod keys;
mod logs;
mod process;
mod signals;
mod standard_error;
mod standard_output;
mod stdio;
mod validate;
