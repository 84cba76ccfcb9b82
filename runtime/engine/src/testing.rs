//! A rig for tests of one binding: edges stand where its callers and its exit would be, and the
//! clock moves when the test says so.
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

/// One worker, its clock, and the frames that have come out and were not yet looked at.
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
    /// A rig whose random numbers are always the same.
    pub fn new() -> Self {
        Self {
            worker: Worker::new(0, [7; 32], Limits::default()),
            now: Time::START,
            out: vec![],
        }
    }

    /// Adds an edge: a caller, or an exit. Streams towards it start with `window` bytes of credit.
    pub fn edge(&mut self, window: u32) -> BindingId {
        self.worker.attach_edge("edge", window)
    }

    /// Adds the binding under test, behind its exits.
    pub fn attach(&mut self, binding: impl Binding + 'static) -> BindingId {
        self.worker.attach("binding", Box::new(binding))
    }

    /// Opens a stream from `edge` and drains.
    pub fn open(
        &mut self,
        edge: BindingId,
        target: BindingId,
        begin: impl Into<BeginEx>,
    ) -> StreamId {
        let stream = self.turn(edge, |cx| cx.open(target, begin, Token::default()));
        stream.expect("the rig is below the limit of streams")
    }

    /// Opens a stream from `edge` that is to be answered within so long, and drains.
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
        stream.expect("the rig is below the limit of streams")
    }

    /// How long it is until the deadline that a stream carries.
    pub fn left(&self, stream: StreamId) -> Option<Duration> {
        let deadline = self.worker.call_of(stream)?.deadline?;
        Some(deadline.since(self.now))
    }

    /// Sends a frame from `edge` and drains.
    pub fn send(&mut self, edge: BindingId, stream: StreamId, frame: Frame) {
        self.turn(edge, |cx| cx.send(stream, frame));
    }

    /// One turn in the name of `edge`.
    pub fn turn<R>(&mut self, edge: BindingId, inject: impl FnOnce(&mut Context<'_>) -> R) -> R {
        let result = self.worker.turn(self.now, edge, inject);
        self.collect();
        result
    }

    /// Moves the clock through each timer that is due by then.
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

    /// The time of the rig's clock.
    pub const fn now(&self) -> Time {
        self.now
    }

    /// Takes the frames that have come out at `edge`, in order.
    pub fn outputs(&mut self, edge: BindingId) -> Vec<Output> {
        let (taken, kept) = self.out.drain(..).partition(|output| output.edge == edge);
        self.out = kept;
        taken
    }

    /// Takes the frames that have come out at `edge` on one stream, in order.
    pub fn frames(&mut self, edge: BindingId, stream: StreamId) -> Vec<Frame> {
        let (taken, kept): (Vec<_>, Vec<_>) = self
            .out
            .drain(..)
            .partition(|output| output.edge == edge && output.at.stream == stream);
        self.out = kept;
        taken.into_iter().map(|output| output.frame).collect()
    }

    /// Checks that nothing is left: no frame unseen, no stream, no timer, no broken rule.
    pub fn assert_idle(&mut self) {
        let left: Vec<String> = self
            .out
            .drain(..)
            .map(|out| format!("{:?} {:?}", out.at, out.frame))
            .collect();
        assert!(left.is_empty(), "frames were not looked at: {left:#?}");
        let counters = self.worker.counters();
        assert_eq!(
            counters.streams,
            0,
            "streams are left: {:?}",
            self.worker.streams().collect::<Vec<_>>()
        );
        assert_eq!(
            counters.timers,
            0,
            "timers are left: {:?}",
            self.worker.next_deadline()
        );
        assert_eq!(
            counters.exchanges, 0,
            "the binding keeps exchanges whose streams are gone"
        );
        assert_eq!(counters.violations, 0, "the rules of streams were broken");
        assert_eq!(counters.faults, 0, "a handler panicked");
    }

    fn collect(&mut self) {
        while let Some(output) = self.worker.poll_output() {
            self.out.push(output);
        }
    }
}
