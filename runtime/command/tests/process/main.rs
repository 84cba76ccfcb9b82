//! The process as its operator and its parent see it: standard streams that nobody reads, signals, and
//! file descriptors that run out. Each test runs the real binary and waits for what it does.

#![cfg(target_os = "linux")]
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects"
)]

mod client;
mod demo;
mod descriptors;
mod logs;
mod process;
mod signals;
mod standard_error;
mod standard_output;
mod stdio;
mod validate;
