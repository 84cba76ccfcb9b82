//! A stream with its two halves.

use tidegate_engine::StreamId;

/// A stream, and which of its halves have ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TrackedStream {
    pub(crate) stream: StreamId,
    /// The half that this binding sends has ended.
    pub(crate) sent: bool,
    /// The half that this binding receives has ended.
    pub(crate) received: bool,
}

impl TrackedStream {
    /// A stream that has been opened.
    pub(crate) const fn new(stream: StreamId) -> Self {
        Self {
            stream,
            sent: false,
            received: false,
        }
    }

    /// Whether both halves have ended.
    pub(crate) const fn is_over(&self) -> bool {
        self.sent && self.received
    }
}
