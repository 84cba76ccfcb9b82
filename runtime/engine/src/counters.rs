//! What a worker counts.

/// Figures of one worker since it started, and what it holds now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames delivered.
    pub frames: u64,
    /// Streams opened.
    pub opened: u64,
    /// Streams that exist now.
    pub streams: usize,
    /// Exchanges that the bindings keep now.
    pub exchanges: usize,
    /// Timers that are set now.
    pub timers: usize,
    /// Streams refused because the worker had as many as it may.
    pub refused: u64,
    /// Frames that came too late for their stream and were dropped.
    pub dropped: u64,
    /// Frames that broke the rules of streams or of credit: a fault in a binding.
    pub violations: u64,
    /// Handlers that panicked.
    pub faults: u64,
}
