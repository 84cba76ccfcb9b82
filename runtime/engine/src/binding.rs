//! The [`Binding`] trait: a state machine driven by frames and timers.

use std::fmt;

use tidegate_streams::{BeginEx, Frame, Role};

use crate::context::Context;
use crate::meter::Meter;

/// Identifies a binding within a worker; the same on every worker of an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BindingId(pub(crate) u16);

impl BindingId {
    /// The id of the binding at `index` in the order of attachment. The config loader keeps the
    /// number of bindings far below 2^16.
    pub(crate) fn of(index: usize) -> Self {
        Self(u16::try_from(index).unwrap_or(u16::MAX))
    }

    /// Index in the order of attachment.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A binding's own key for one of its exchanges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Token(pub u32);

impl Token {
    /// The key as a slab index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The key for a slab index. The stream limit keeps indices far below 2^32.
    #[allow(
        clippy::cast_possible_truncation,
        reason = "a worker has far fewer exchanges"
    )]
    pub const fn from_index(index: usize) -> Self {
        Self(index as u32)
    }
}

/// Identifies a stream. Ids are never reused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}

/// Destination of a delivered frame: the stream, this binding's end of it, and the binding's key
/// for the exchange that the stream belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At {
    /// The stream.
    pub stream: StreamId,
    /// Which end of the stream this binding is.
    pub role: Role,
    /// The key given to [`Context::accept`] or [`Context::open`].
    pub token: Token,
}

/// A state machine between streams.
///
/// Handlers change the binding's own state and send frames through the [`Context`]. They never
/// block, and get the time and random numbers from the context only.
pub trait Binding {
    /// Initial credit, in bytes, of every stream opened towards this binding, on the half that the
    /// binding receives. It saves the first WINDOW. [`Context::acknowledge`] and [`Context::grant`]
    /// extend it.
    fn window(&self) -> u32 {
        64 * 1024
    }

    /// Number of exchanges, sessions and connections the binding holds: everything that must be
    /// dropped once its streams have ended. Count each item once.
    fn exchanges(&self) -> usize;

    /// Reports the binding's counters and gauges, apart from its exchanges, under stable names.
    fn report(&self, _meter: &mut dyn Meter) {}

    /// Called once, before any stream is opened.
    fn on_start(&mut self, _cx: &mut Context<'_>) {}

    /// A stream is opened towards this binding. Call [`Context::accept`] to accept it. A stream
    /// that is neither accepted nor terminated when this returns is reset.
    fn on_begin(&mut self, cx: &mut Context<'_>, stream: StreamId, begin: BeginEx);

    /// A frame is delivered.
    fn on_frame(&mut self, cx: &mut Context<'_>, at: At, frame: Frame);

    /// A timer is due. `kind` is the value given to [`Context::timer`].
    fn on_timer(&mut self, _cx: &mut Context<'_>, _token: Token, _kind: u32) {}

    /// A handler panicked while working for `token`. The engine has already ended the exchange's
    /// streams and cancelled its timers. The binding must remove the exchange, and close the
    /// session or connection whose state the handler was changing.
    fn on_fault(&mut self, cx: &mut Context<'_>, token: Token);

    /// The engine is stopping: end the streams that would stay open indefinitely, refuse new ones,
    /// and let running exchanges finish.
    fn on_shutdown(&mut self, _cx: &mut Context<'_>) {}
}
