//! The driver with real threads, and probes or small bindings in place of everything else.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::similar_names,
    reason = "these are tests, of callers and callees"
)]

mod bindings;
mod carried;
mod ending;
mod engine;
mod reports;
