//! Runs workers: one thread each, with an event loop of its own, and edges that do the I/O.
//!
//! An edge's task reads from its socket and calls [`Handle::turn`]: the worker takes the frames in
//! and drains its queue, what came out goes to the edges ([`Edge::on_output`]), and each edge that
//! got something writes it ([`Edge::flush`]), all in the same task. So a call crosses every binding
//! without a wake-up, and what one turn sends to a socket goes out in one write.
//!
//! Workers share nothing. A stream that belongs to another worker's session crosses over by the
//! relay, frame by frame, under the credit of both sides.
#![forbid(unsafe_code)]

mod assembly;
mod engine;
mod handle;
mod relay;
#[expect(clippy::expect_used, reason = "a stand-in for tests")]
pub mod testing;
mod thread;

pub use assembly::{Assembly, Stop};
pub use engine::{Engine, ShutdownReport, StartError};
pub use handle::{Edge, Handle, Hold};
