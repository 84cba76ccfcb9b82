//! Runs workers: one thread each, with its own event loop, and edges that do the I/O.
//!
//! An edge's task reads from its socket and calls [`Handle::turn`]: the worker takes the frames and
//! drains its queue, the output is delivered to the edges ([`Edge::on_output`]), and each edge that
//! received frames writes them or wakes the task of the socket ([`Edge::flush`]). So a call crosses
//! every binding in one task, and the output of several turns can go to a socket in one write.
//!
//! Workers share no state. A stream that belongs to a session of another worker is carried over by
//! the relay, frame by frame, under the credit of both sides.
//!
//! A failed worker is detected ([`Engine::worker_ended`]), and shutdown takes a bounded time
//! ([`Engine::shutdown`]): neither waits for a thread that hangs.
#![forbid(unsafe_code)]
#![allow(
    clippy::disallowed_methods,
    reason = "the driver runs workers in real time"
)]

mod assembly;
mod descriptors;
mod engine;
mod export;
mod handle;
mod log;
mod relay;
mod reports;
#[expect(clippy::expect_used, reason = "a stand-in for tests")]
pub mod testing;
mod thread;
mod watch;

pub use assembly::{Assembly, Stop};
pub use descriptors::{Descriptors, is_exhaustion};
pub use engine::{Cut, Engine, ShutdownReport, StartError};
pub use export::Export;
pub use handle::{Edge, Handle, Hold};
pub use log::CALLS;
pub use reports::{Reports, WorkerReports};
pub use watch::{EndReason, Panicked, WorkerEnded, caught};
