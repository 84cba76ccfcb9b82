//! A test rig for a single binding: edges take the place of its callers and exits, and the test
//! moves the clock.
//!
//! ```
//! use tidegate_engine::testing::Rig;
//! let mut rig = Rig::new();
//! let exit = rig.edge(1 << 20);
//! assert!(rig.outputs(exit).is_empty());
//! ```

use tidegate_streams::{BeginEx, Frame};

use crate::binding::{Binding, BindingId, StreamId, Token};
use crate::call::CallContext;
use crate::context::Context;
use crate::time::{Duration, Time};
use crate::worker::{Limits, Output, Worker};

/// One worker, its clock, and the output frames that the test has not taken.
pub struct Rig {
    /// The worker under test.
    pub worker: Worker,
    now: Time,
    out: Vec<Output>,
}

impl Default for Rig {
    fn default() -> Self {
        Self::new()
    }
}

impl Rig {
    /// A rig with a fixed random seed.
    pub fn new() -> Self {
        Self {
            worker: Worker::new(0, [7; 32], Limits::default()),
            now: Time::START,
            out: vec![],
        }
    }

    /// Adds an edge: a caller or an exit. `window` is the initial credit of streams towards it, in
    /// bytes.
    pub fn edge(&mut self, window: u32) -> BindingId {
        self.worker.attach_edge("edge", window)
    }

    /// Adds the binding under test. Add its exits first.
    pub fn attach(&mut self, binding: impl Binding + 'static) -> BindingId {
        self.worker.attach("binding", Box::new(binding))
    }

    /// Opens a stream from `edge` and drains the queue.
    pub fn open(
        &mut self,
        edge: BindingId,
        target: BindingId,
        begin: impl Into<BeginEx>,
    ) -> StreamId {
        let stream = self.turn(edge, |cx| cx.open(target, begin, Token::default()));
        stream.expect("the rig is below the stream limit")
    }

    /// Opens a stream from `edge` with a deadline `within` from now, and drains the queue.
    pub fn open_within(
        &mut self,
        edge: BindingId,
        target: BindingId,
        begin: impl Into<BeginEx>,
        within: Duration,
    ) -> StreamId {
        let call = CallContext {
            deadline: Some(self.now + within),
            ..CallContext::default()
        };
        let stream = self.turn(edge, |cx| {
            cx.open_for(call, target, begin, Token::default())
        });
        stream.expect("the rig is below the stream limit")
    }

    /// Time left until the deadline of a stream; `None` without a deadline.
    pub fn left(&self, stream: StreamId) -> Option<Duration> {
        let deadline = self.worker.call_of(stream)?.deadline?;
        Some(deadline.since(self.now))
    }

    /// Sends a frame from `edge` and drains the queue.
    pub fn send(&mut self, edge: BindingId, stream: StreamId, frame: Frame) {
        self.turn(edge, |cx| cx.send(stream, frame));
    }

    /// Runs one turn for `edge`.
    pub fn turn<R>(&mut self, edge: BindingId, inject: impl FnOnce(&mut Context<'_>) -> R) -> R {
        let result = self.worker.turn(self.now, edge, inject);
        self.collect();
        result
    }

    /// Advances the clock, stopping at each timer that is due.
    pub fn advance(&mut self, duration: Duration) {
        let until = self.now + duration;
        while let Some((deadline, _)) = self.worker.next_deadline().filter(|(at, _)| *at <= until) {
            self.now = self.now.max(deadline);
            self.worker.tick(self.now);
            self.collect();
        }
        self.now = until;
        self.worker.tick(until);
        self.collect();
    }

    /// Current time of the rig's clock.
    pub const fn now(&self) -> Time {
        self.now
    }

    /// When the next timer is due.
    pub fn next_deadline(&self) -> Option<Time> {
        self.worker.next_deadline().map(|(deadline, _)| deadline)
    }

    /// Takes the frames delivered to `edge`, in order.
    pub fn outputs(&mut self, edge: BindingId) -> Vec<Output> {
        let (taken, kept) = self.out.drain(..).partition(|output| output.edge == edge);
        self.out = kept;
        taken
    }

    /// Takes the frames delivered to `edge` on one stream, in order.
    pub fn frames(&mut self, edge: BindingId, stream: StreamId) -> Vec<Frame> {
        let (taken, kept): (Vec<_>, Vec<_>) = self
            .out
            .drain(..)
            .partition(|output| output.edge == edge && output.at.stream == stream);
        self.out = kept;
        taken.into_iter().map(|output| output.frame).collect()
    }

    /// Asserts that all output was taken, no stream, timer or exchange remains, and no rule was
    /// violated.
    pub fn assert_idle(&mut self) {
        let left: Vec<String> = self
            .out
            .drain(..)
            .map(|out| format!("{:?} {:?}", out.at, out.frame))
            .collect();
        assert!(left.is_empty(), "output frames not taken: {left:#?}");
        let counters = self.worker.counters();
        assert_eq!(
            counters.streams,
            0,
            "streams still open: {:?}",
            self.worker.streams().collect::<Vec<_>>()
        );
        assert_eq!(
            counters.timers,
            0,
            "timers still set: {:?}",
            self.worker.next_deadline()
        );
        assert_eq!(
            counters.exchanges, 0,
            "the binding holds exchanges whose streams have ended"
        );
        assert_eq!(counters.violations, 0, "a binding sent illegal frames");
        assert_eq!(counters.faults, 0, "a handler panicked");
    }

    fn collect(&mut self) {
        while let Some(output) = self.worker.poll_output() {
            self.out.push(output);
        }
    }
}
