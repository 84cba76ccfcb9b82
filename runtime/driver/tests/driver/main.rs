//! Tests of the driver with real threads, and probes or small bindings around it.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::similar_names,
    reason = "test code"
)]

mod bindings;
mod carried;
mod ending;
mod engine;
mod reports;
