//! Counters of a worker.

/// Counters since the worker started, and gauges of its current state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames delivered.
    pub frames: u64,
    /// Streams opened.
    pub opened: u64,
    /// Streams that are open now.
    pub streams: usize,
    /// Exchanges the bindings hold now.
    pub exchanges: usize,
    /// Timers set now.
    pub timers: usize,
    /// Streams refused because of the worker's stream limit.
    pub refused: u64,
    /// Frames dropped because their half or stream had already ended.
    pub dropped: u64,
    /// Frames that were illegal or exceeded the credit: bugs of a binding.
    pub violations: u64,
    /// Handlers that panicked.
    pub faults: u64,
}
