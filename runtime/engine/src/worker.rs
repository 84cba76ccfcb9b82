//! The worker: all state of one thread, and its turns.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tidegate_streams::{Frame, Protocol, ResetEx, Severity};

use crate::binding::{At, Binding, BindingId, StreamId, Token};
use crate::call::CallContext;
use crate::context::{Context, Core};
use crate::counters::Counters;
use crate::event::{Emitted, Events};
use crate::meter::{Measures, Meter as _, MeterKind};
use crate::random::Random;
use crate::slot::Slots;
use crate::time::{Duration, Time, WallTime};
use crate::timers::Timers;

/// Limits of a worker.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Streams open at a time; a further one is refused. Default 65,536.
    pub streams: usize,
    /// Frames delivered per turn; the rest waits for the next turn. Default 65,536.
    pub frames_per_turn: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            streams: 65_536,
            frames_per_turn: 65_536,
        }
    }
}

/// A frame delivered to an edge.
#[derive(Debug)]
pub struct Output {
    /// The edge.
    pub edge: BindingId,
    /// Stream, role and token.
    pub at: At,
    /// The frame.
    pub frame: Frame,
}

/// Which exchange ends if a handler panics.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Blame {
    /// The handler works for no exchange.
    Nobody,
    Exchange(Token),
    /// The one that has accepted this stream, if any.
    Opening(StreamId),
}

pub(crate) enum Node {
    Binding(Box<dyn Binding>),
    Edge,
}

/// The part of the engine that runs on one thread. See the crate documentation for its guarantees.
pub struct Worker {
    pub(crate) core: Core,
    pub(crate) nodes: Vec<Node>,
    pub(crate) outputs: VecDeque<Output>,
    pub(crate) limits: Limits,
    /// Randomises the delivery order, if a test enables it.
    pub(crate) order: Option<Random>,
}

impl Worker {
    /// Creates a worker without bindings. All random numbers follow from `seed`.
    pub fn new(worker: u16, seed: [u8; 32], limits: Limits) -> Self {
        let core = Core {
            now: Time::START,
            epoch: WallTime::default(),
            slots: Slots::default(),
            queue: VecDeque::new(),
            timers: Timers::default(),
            random: Random::seeded(seed),
            counters: Counters::default(),
            events: Events::default(),
            names: Vec::new(),
            windows: Vec::new(),
            relay: None,
            workers: 1,
            streams_max: limits.streams,
            worker,
            stopping: false,
            calls_refused: None,
            stop_deadline: None,
        };
        Self {
            core,
            nodes: Vec::new(),
            outputs: VecDeque::new(),
            limits,
            order: None,
        }
    }

    /// Randomises which stream's frames are delivered next, for tests that no binding relies on an
    /// order which concurrency leaves undefined. Frames to one end of a stream keep their order.
    pub fn reorder(&mut self, seed: u64) {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        self.order = Some(Random::seeded(bytes));
    }

    /// Sets the wall clock, which may change while the worker runs: it shows `wall` at `now`.
    pub fn set_wall_clock(&mut self, now: Time, wall: WallTime) {
        let since_start = now.since(Time::START).as_micros();
        let epoch = wall.unix_micros().saturating_sub(since_start);
        self.core.epoch = WallTime::from_unix_micros(epoch);
    }

    /// Attaches a binding under its name in the config. Attach its exits first.
    pub fn attach(&mut self, name: &str, binding: Box<dyn Binding>) -> BindingId {
        let window = binding.window();
        self.attach_node(name, Node::Binding(binding), window)
    }

    /// Attaches an edge under its name in the config; its frames come out of
    /// [`Worker::poll_output`]. `window` is the initial credit of streams towards it, in bytes.
    pub fn attach_edge(&mut self, name: &str, window: u32) -> BindingId {
        self.attach_node(name, Node::Edge, window)
    }

    /// Attaches the edge that carries streams to other workers; see [`Context::hand_over`]. The
    /// token of such a stream holds the target binding's index above 16 bits of worker number.
    /// `workers` is the number of workers.
    pub fn attach_relay(&mut self, workers: u16) -> BindingId {
        let relay = self.attach_edge("relay", 0);
        self.core.relay = Some(relay);
        self.core.workers = workers;
        relay
    }

    fn attach_node(&mut self, name: &str, node: Node, window: u32) -> BindingId {
        let id = BindingId::of(self.nodes.len());
        self.nodes.push(node);
        self.core.names.push(name.into());
        self.core.windows.push(window);
        id
    }

    /// Name of a binding or an edge in the config.
    pub fn name(&self, binding: BindingId) -> &str {
        self.core.name(binding)
    }

    /// Call context of a stream; `None` if the stream has ended.
    pub fn call_of(&self, stream: StreamId) -> Option<&CallContext> {
        self.core.slots.get(stream).map(|slot| &slot.call)
    }

    /// Number of this worker, from 0.
    pub const fn number(&self) -> u16 {
        self.core.worker
    }

    /// Records only events of at least this severity. Default `Info`.
    pub const fn listen_from(&mut self, severity: Severity) {
        self.core.events.from = severity;
    }

    /// Also records events with these ids, at any severity.
    pub const fn listen_to(&mut self, ids: &'static [&'static str]) {
        self.core.events.also = ids;
    }

    /// Also records audited events, at any severity, with the identity of the caller.
    pub const fn listen_to_audited(&mut self) {
        self.core.events.audited = true;
    }

    /// Lets bindings at the edge of the gateway refuse new calls, with this reason, or accept them.
    pub const fn refuse_calls(&mut self, reason: Option<&'static str>) {
        self.core.calls_refused = reason;
    }

    /// Takes the next recorded event. Call it after each turn: the queue is bounded, and events
    /// beyond the limit are dropped and counted.
    pub fn poll_event(&mut self) -> Option<Emitted> {
        self.core.events.take()
    }

    /// Number of audited events dropped since the last call, because the queue was full.
    pub const fn take_lost_events(&mut self) -> u64 {
        self.core.events.take_lost()
    }

    /// The binding at an index in the order of attachment, if any.
    pub fn binding_at(&self, index: usize) -> Option<BindingId> {
        (index < self.nodes.len()).then_some(BindingId(u16::try_from(index).ok()?))
    }

    /// The binding or edge with this name in the config, if any.
    pub fn named(&self, name: &str) -> Option<BindingId> {
        let index = self.core.names.iter().position(|it| &**it == name)?;
        self.binding_at(index)
    }

    /// Calls `on_start` of every binding, in order of attachment.
    pub fn start(&mut self) {
        for index in 0..self.nodes.len() {
            self.dispatch(
                BindingId::of(index),
                CallContext::default(),
                Blame::Nobody,
                |binding, cx| {
                    binding.on_start(cx);
                },
            );
        }
        self.drain();
    }

    /// Stops like [`Worker::shutdown`], with a time limit. Running calls must be answered within
    /// nine tenths of it; the last tenth is for writing the answers.
    pub fn shutdown_within(&mut self, now: Time, within: Duration) {
        let answers = Duration::from_micros(within.as_micros() / 10 * 9);
        self.core.stop_deadline = Some(now + answers);
        self.shutdown(now);
    }

    /// Calls `on_shutdown` of every binding, those nearest to the callers first.
    pub fn shutdown(&mut self, now: Time) {
        self.advance(now);
        self.core.stopping = true;
        for index in (0..self.nodes.len()).rev() {
            self.dispatch(
                BindingId::of(index),
                CallContext::default(),
                Blame::Nobody,
                |binding, cx| {
                    binding.on_shutdown(cx);
                },
            );
        }
        self.drain();
    }

    /// Runs one turn: advances the clock, fires due timers in order of deadline, lets `inject` send
    /// the edge's frames, and drains the queue, up to [`Limits::frames_per_turn`].
    pub fn turn<R>(
        &mut self,
        now: Time,
        edge: BindingId,
        inject: impl FnOnce(&mut Context<'_>) -> R,
    ) -> R {
        self.advance(now);
        self.fire_timers();
        let result = inject(&mut Context {
            core: &mut self.core,
            binding: edge,
            call: CallContext::default(),
        });
        self.drain();
        result
    }

    /// Marks `bytes` received by an edge as consumed, like [`Context::acknowledge`]. Returns
    /// whether a turn is needed: most of the time no WINDOW is due.
    pub fn acknowledge(&mut self, edge: BindingId, stream: StreamId, bytes: usize) -> bool {
        let mut cx = Context {
            core: &mut self.core,
            binding: edge,
            call: CallContext::default(),
        };
        cx.acknowledge(stream, bytes);
        !self.is_idle()
    }

    /// Runs a turn without a frame: only the clock advances.
    pub fn tick(&mut self, now: Time) {
        self.advance(now);
        self.fire_timers();
        self.drain();
    }

    /// Takes the next frame delivered to an edge.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Time and reason of the next timer. After a turn that left the worker idle it is never in the
    /// past; if it is the time of that turn, another turn is due as soon as the edges have run.
    pub fn next_deadline(&self) -> Option<(Time, &'static str)> {
        self.core.timers.next()
    }

    /// Whether the last turn drained the queue; if not, run another turn at once.
    pub fn is_idle(&self) -> bool {
        self.core.queue.is_empty()
    }

    /// Number of open streams.
    pub const fn open_streams(&self) -> usize {
        self.core.slots.len()
    }

    /// Payload bytes an edge may put into one DATA on a stream now.
    pub fn credit(&self, edge: BindingId, stream: StreamId) -> usize {
        self.core.credit(edge, stream)
    }

    /// Current counters.
    pub fn counters(&self) -> Counters {
        Counters {
            streams: self.core.slots.len(),
            timers: self.core.timers.len(),
            exchanges: self.exchanges(),
            ..self.core.counters
        }
    }

    /// Reports the metrics of the bindings and the engine.
    pub fn report(&self, measures: &mut Measures) {
        let counters = self.counters();
        let engine = measures.of("");
        engine.gauge("engine.streams", counters.streams);
        engine.gauge("engine.exchanges", counters.exchanges);
        engine.gauge("engine.timers", counters.timers);
        engine.counter("engine.streams.opened", counters.opened);
        engine.counter("engine.streams.refused", counters.refused);
        engine.counter("engine.frames", counters.frames);
        engine.counter("engine.frames.dropped", counters.dropped);
        engine.counter("engine.violations", counters.violations);
        engine.counter("engine.faults", counters.faults);
        engine.counter("engine.events.dropped", self.core.events.dropped);
        for (id, count) in self.core.events.counts() {
            engine.record(MeterKind::Counter, "engine.events", &[("event", id)], count);
        }
        for (node, name) in self.nodes.iter().zip(&self.core.names) {
            if let Node::Binding(binding) = node {
                binding.report(measures.of(name));
            }
        }
    }

    fn exchanges(&self) -> usize {
        let held = self.nodes.iter().map(|node| match node {
            Node::Binding(binding) => binding.exchanges(),
            Node::Edge => 0,
        });
        held.sum()
    }

    /// The open streams: id, protocol, caller and callee. For logs and tests.
    pub fn streams(&self) -> impl Iterator<Item = (StreamId, Protocol, BindingId, BindingId)> {
        self.core.slots.iter().map(|(stream, slot)| {
            (
                stream,
                slot.protocol,
                slot.caller.binding,
                slot.callee.binding,
            )
        })
    }

    fn advance(&mut self, now: Time) {
        self.core.now = self.core.now.max(now);
    }

    fn fire_timers(&mut self) {
        let now = self.core.now;
        let newest = self.core.timers.newest();
        while let Some(timer) = self.core.timers.pop_due(now, newest) {
            let token = timer.token;
            self.dispatch(
                timer.binding,
                CallContext::default(),
                Blame::Exchange(token),
                |binding, cx| {
                    binding.on_timer(cx, token, timer.kind);
                },
            );
            self.drain();
        }
    }

    /// Runs a handler; a panic in it ends the exchange it was working for.
    pub(crate) fn dispatch(
        &mut self,
        id: BindingId,
        call: CallContext,
        blame: Blame,
        handler: impl FnOnce(&mut dyn Binding, &mut Context<'_>),
    ) {
        let Some(Node::Binding(binding)) = self.nodes.get_mut(id.index()) else {
            return;
        };
        let trace = call.trace;
        let mut cx = Context {
            core: &mut self.core,
            binding: id,
            call,
        };
        // The state of the faulted exchange is dropped below, so nothing half-changed is read
        // again.
        let run = AssertUnwindSafe(|| handler(binding.as_mut(), &mut cx));
        if catch_unwind(run).is_err() {
            let token = match blame {
                Blame::Nobody => None,
                Blame::Exchange(token) => Some(token),
                Blame::Opening(stream) => self.core.slots.get(stream).and_then(|slot| {
                    let callee = &slot.callee;
                    callee.token.filter(|_| callee.binding == id)
                }),
            };
            self.fault(id, trace, token);
        }
    }

    #[cold]
    fn fault(&mut self, id: BindingId, trace: u64, token: Option<Token>) {
        let call = CallContext {
            trace,
            ..CallContext::default()
        };
        self.core.counters.faults += 1;
        tracing::error!(
            binding = self.core.name(id),
            trace = format_args!("{trace:016x}"),
            "handler panicked; its exchange was ended and the worker continues"
        );
        let Some(token) = token else { return };
        for stream in self.core.slots.of_exchange(id, token) {
            let protocol = self.core.slots.get(stream).map(|slot| slot.protocol);
            let mut cx = Context {
                core: &mut self.core,
                binding: id,
                call: call.clone(),
            };
            cx.terminate(stream, protocol.and_then(ResetEx::internal_fault), None);
        }
        self.core.timers.remove_exchange(id, token);
        let Some(Node::Binding(binding)) = self.nodes.get_mut(id.index()) else {
            return;
        };
        let mut cx = Context {
            core: &mut self.core,
            binding: id,
            call,
        };
        let run = AssertUnwindSafe(|| binding.on_fault(&mut cx, token));
        if catch_unwind(run).is_err() {
            tracing::error!(binding = self.core.name(id), "on_fault handler panicked");
        }
    }
}
