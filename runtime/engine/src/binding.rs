//! What a binding is to the engine: a state machine that is handed frames and timers.

use std::fmt;

use tidegate_streams::{BeginEx, Frame, Role};

use crate::context::Context;
use crate::meter::Meter;

/// Names a binding within a worker; the same on every worker of an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BindingId(pub(crate) u16);

impl BindingId {
    /// The name of a place. A config has far fewer bindings than 2^16: the loader limits them.
    pub(crate) fn of(index: usize) -> Self {
        Self(u16::try_from(index).unwrap_or(u16::MAX))
    }

    /// Its place in the order of attachment.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A binding's own key for one of its exchanges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Token(pub u32);

impl Token {
    /// The key as an index of a slab.
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The key for an index of a slab. Streams are bounded far below 2^32.
    #[allow(
        clippy::cast_possible_truncation,
        reason = "a worker has far fewer exchanges"
    )]
    pub const fn from_index(index: usize) -> Self {
        Self(index as u32)
    }
}

/// Names a stream. A name is never used again for another stream.
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

/// Where a frame arrives: the stream, which end of it this binding is, and the binding's key for the
/// exchange it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At {
    /// The stream.
    pub stream: StreamId,
    /// Which end of it this binding is.
    pub role: Role,
    /// The binding's key, as given to [`Context::accept`] or [`Context::open`].
    pub token: Token,
}

/// A state machine between streams.
///
/// A handler takes what it is given, changes its own state and sends frames through the context. It
/// never blocks, reads no clock and draws no random number but through the context.
pub trait Binding {
    /// Credit that every stream towards this binding starts with, on the half that this binding
    /// receives, in bytes: it spares the first WINDOW. More is granted by [`Context::acknowledge`]
    /// and [`Context::grant`].
    fn window(&self) -> u32 {
        64 * 1024
    }

    /// How many exchanges, sessions and connections it keeps: whatever must be gone when its streams
    /// are. Each thing counts once.
    fn exchanges(&self) -> usize;

    /// Tells what it counts and holds, beside its exchanges, under names that stay.
    fn report(&self, _meter: &mut dyn Meter) {}

    /// Once, before any stream.
    fn on_start(&mut self, _cx: &mut Context<'_>) {}

    /// A stream is opened towards this binding. To take it, call [`Context::accept`]; a stream that
    /// is neither accepted nor terminated when this returns is reset.
    fn on_begin(&mut self, cx: &mut Context<'_>, stream: StreamId, begin: BeginEx);

    /// A frame has arrived.
    fn on_frame(&mut self, cx: &mut Context<'_>, at: At, frame: Frame);

    /// A timer is due. `kind` is what was given to [`Context::timer`].
    fn on_timer(&mut self, _cx: &mut Context<'_>, _token: Token, _kind: u32) {}

    /// A handler has panicked while it worked for `token`. Its streams have been ended and its
    /// timers forgotten; the binding must forget the exchange, and give up the session or connection
    /// whose state the handler was changing.
    fn on_fault(&mut self, cx: &mut Context<'_>, token: Token);

    /// The engine is about to stop: end what would stay open for ever, take nothing new, and let
    /// what is under way come to its end.
    fn on_shutdown(&mut self, _cx: &mut Context<'_>) {}
}
