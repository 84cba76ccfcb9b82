//! The driver with real threads, and probes or small bindings in place of everything else.
#![expect(clippy::expect_used, clippy::panic, reason = "these are tests")]

mod bindings;
mod carried;
mod engine;
