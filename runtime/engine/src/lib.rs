//! The engine: a worker moves typed frames between bindings, synchronously and deterministically.
//!
//! A [`Worker`] owns everything on its thread: the [`Binding`]s, the streams between them, one FIFO
//! of frames, the timers, the clock and the random source. It does no I/O and reads no clock. An
//! *edge* (sockets, standard input, or a scenario) injects frames in a [`Worker::turn`], which
//! drains the queue, and takes the resulting frames with [`Worker::poll_output`]. Time and
//! randomness come from outside, so the same inputs always give the same frames.
//!
//! Guarantees to bindings:
//! - No frame is handled re-entrantly; frames of a half-stream arrive in the order they were sent.
//! - The engine keeps the state of each half-stream in one table ([`HalfState::next`]). An illegal
//!   frame is never delivered, and neither is a frame to an end that is done with its stream.
//! - The engine keeps credit: a DATA beyond the credit is refused and ends the stream.
//! - A panic in a handler ends the streams of its exchange, and nothing else.
#![forbid(unsafe_code)]

mod binding;
mod call;
mod context;
mod counters;
mod credit;
mod delivery;
mod event;
mod fifo;
mod histogram;
mod meter;
mod pending;
mod random;
mod slot;
mod state;
#[expect(clippy::expect_used, reason = "test support")]
pub mod testing;
mod time;
mod timers;
mod worker;

pub use binding::{At, Binding, BindingId, StreamId, Token};
pub use call::CallContext;
pub use context::{Context, OpenError};
pub use counters::Counters;
pub use event::Emitted;
pub use fifo::Fifo;
pub use histogram::Histogram;
pub use meter::{Label, Measure, Measures, Meter, MeterKind};
pub use pending::PendingData;
pub use state::{HalfState, Transition};
pub use tidegate_streams as streams;
pub use time::{Duration, Time, WallTime};
pub use timers::TimerId;
pub use worker::{Limits, Output, Worker};
