//! Runs workers: one thread each, with an event loop of its own, and edges that do the I/O.
//!
//! An edge's task reads from its socket and calls [`Handle::turn`]: the worker takes the frames in
//! and drains its queue, what came out goes to the edges ([`Edge::on_output`]), and each edge that
//! got something writes it, or wakes the task of the socket that it is for ([`Edge::flush`]). So a
//! call crosses every binding in one task, and what the turns of a moment send to a socket can go out
//! in one write.
//!
//! Workers share nothing. A stream that belongs to another worker's session crosses over by the
//! relay, frame by frame, under the credit of both sides.
//!
//! A worker that no longer serves is noticed ([`Engine::worker_ended`]), and a stop is bounded
//! ([`Engine::shutdown`]): neither waits for a thread that does not come back.
#![forbid(unsafe_code)]
#![allow(
    clippy::disallowed_methods,
    reason = "the driver runs workers in real time"
)]

mod assembly;
mod descriptors;
mod engine;
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
pub use handle::{Edge, Handle, Hold};
pub use log::CALLS;
pub use reports::Reports;
pub use watch::{EndReason, Panicked, WorkerEnded, caught};
