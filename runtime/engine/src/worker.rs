//! The worker: everything that lives on one thread, and the turns it takes.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tidegate_streams::{Frame, FrameKind, Protocol, ResetEx, Role, Severity};

use crate::binding::{At, Binding, BindingId, StreamId, Token};
use crate::call::CallContext;
use crate::context::{Context, Core, Envelope};
use crate::counters::Counters;
use crate::event::{Emitted, Events};
use crate::meter::{Measures, Meter as _};
use crate::random::Random;
use crate::slot::Slots;
use crate::time::{Duration, Time, WallTime};
use crate::timers::Timers;

/// How much a worker takes on.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Streams at a time; one more is refused. Default 65,536.
    pub streams: usize,
    /// Frames delivered in one turn; the rest waits for the next. Default 65,536.
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

/// A frame that has reached an edge.
#[derive(Debug)]
pub struct Output {
    /// Which edge.
    pub edge: BindingId,
    /// Where.
    pub at: At,
    /// What.
    pub frame: Frame,
}

enum Place {
    Binding(Box<dyn Binding>),
    Edge,
}

/// One thread's share of the engine. See the crate's documentation for what it promises.
pub struct Worker {
    core: Core,
    places: Vec<Place>,
    outputs: VecDeque<Output>,
    limits: Limits,
    /// Draws which stream goes first, where a test wants that.
    order: Option<Random>,
}

impl Worker {
    /// A worker without bindings. `seed` decides every random number it will draw.
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
            stop_deadline: None,
        };
        Self {
            core,
            places: Vec::new(),
            outputs: VecDeque::new(),
            limits,
            order: None,
        }
    }

    /// From now on it is drawn which of the streams that have frames waiting goes first, for tests
    /// that no binding leans on an order which concurrency leaves open. The frames of one end of a
    /// stream stay in their order.
    pub fn reorder(&mut self, seed: u64) {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        self.order = Some(Random::seeded(bytes));
    }

    /// Tells the wall clock, which may be set while the worker runs: `wall` is what it shows at `now`.
    pub fn set_wall_clock(&mut self, now: Time, wall: WallTime) {
        let since_start = now.since(Time::START).as_millis();
        let epoch = wall.unix_millis().saturating_sub(since_start);
        self.core.epoch = WallTime::from_unix_millis(epoch);
    }

    /// Attaches a binding under its name in the config. Its exits must have been attached before it.
    pub fn attach(&mut self, name: &str, binding: Box<dyn Binding>) -> BindingId {
        let window = binding.window();
        self.place(name, Place::Binding(binding), window)
    }

    /// Attaches an edge under its name in the config: frames for it come out of
    /// [`Worker::poll_output`]. `window` is the credit that streams towards it start with, in bytes.
    pub fn attach_edge(&mut self, name: &str, window: u32) -> BindingId {
        self.place(name, Place::Edge, window)
    }

    /// Attaches the edge that carries streams to other workers; see [`Context::hand_over`]. The
    /// token of such a stream is the target binding's index above 16 bits of the worker's number.
    /// `workers` is how many there are.
    pub fn attach_relay(&mut self, workers: u16) -> BindingId {
        let relay = self.attach_edge("relay", 0);
        self.core.relay = Some(relay);
        self.core.workers = workers;
        relay
    }

    fn place(&mut self, name: &str, place: Place, window: u32) -> BindingId {
        let id = BindingId::of(self.places.len());
        self.places.push(place);
        self.core.names.push(name.into());
        self.core.windows.push(window);
        id
    }

    /// The name of a binding or an edge in the config.
    pub fn name(&self, binding: BindingId) -> &str {
        self.core.name(binding)
    }

    /// What a stream carries beside its frames.
    pub fn call_of(&self, stream: StreamId) -> Option<&CallContext> {
        self.core.slots.get(stream).map(|slot| &slot.call)
    }

    /// Which worker this is, from 0.
    pub const fn number(&self) -> u16 {
        self.core.worker
    }

    /// From now on, events that are less severe are not kept. At first, those from `Info` on are.
    pub const fn listen_from(&mut self, severity: Severity) {
        self.core.events.from = severity;
    }

    /// From now on, events of these ids are kept, however severe they are.
    pub const fn listen_to(&mut self, ids: &'static [&'static str]) {
        self.core.events.also = ids;
    }

    /// The next event that a binding has emitted. They are to be taken after each turn: what waits is
    /// bounded, and what is beyond that is dropped and counted.
    pub fn poll_event(&mut self) -> Option<Emitted> {
        self.core.events.take()
    }

    /// The binding at a place in the order of attachment, if there is one.
    pub fn binding_at(&self, index: usize) -> Option<BindingId> {
        (index < self.places.len()).then_some(BindingId(u16::try_from(index).ok()?))
    }

    /// The binding or the edge of this name in the config, if there is one.
    pub fn named(&self, name: &str) -> Option<BindingId> {
        let index = self.core.names.iter().position(|it| &**it == name)?;
        self.binding_at(index)
    }

    /// Calls every binding's `on_start`, in order of attachment.
    pub fn start(&mut self) {
        for index in 0..self.places.len() {
            self.dispatch(
                BindingId::of(index),
                CallContext::default(),
                None,
                |binding, cx| {
                    binding.on_start(cx);
                },
            );
        }
        self.drain();
    }

    /// Stops as [`Worker::shutdown`] does, within a time: what is under way is to be answered before its
    /// last tenth, in which answers are written.
    pub fn shutdown_within(&mut self, now: Time, within: Duration) {
        let answers = Duration::from_micros(within.as_micros() / 10 * 9);
        self.core.stop_deadline = Some(now + answers);
        self.shutdown(now);
    }

    /// Calls every binding's `on_shutdown`, those nearest to the callers first.
    pub fn shutdown(&mut self, now: Time) {
        self.advance(now);
        self.core.stopping = true;
        for index in (0..self.places.len()).rev() {
            self.dispatch(
                BindingId::of(index),
                CallContext::default(),
                None,
                |binding, cx| {
                    binding.on_shutdown(cx);
                },
            );
        }
        self.drain();
    }

    /// One turn: the clock advances, due timers fire in order of their deadlines, `inject` sends the
    /// edge's frames, and the queue is drained to idle, or as far as the limit of a turn allows.
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

    /// Tells that an edge is done with `bytes` of what it was sent, as [`Context::acknowledge`];
    /// whether that asks for a turn. Most of the time no WINDOW is due, and nothing is to be done.
    pub fn acknowledge(&mut self, edge: BindingId, stream: StreamId, bytes: usize) -> bool {
        let mut cx = Context {
            core: &mut self.core,
            binding: edge,
            call: CallContext::default(),
        };
        cx.acknowledge(stream, bytes);
        !self.is_idle()
    }

    /// A turn without a frame: only the clock advances.
    pub fn tick(&mut self, now: Time) {
        self.advance(now);
        self.fire_timers();
        self.drain();
    }

    /// The next frame that has reached an edge.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When the next timer is due, and why; never a time that has passed after a turn that left the
    /// worker idle. Where it is the time of that turn, another turn is due as soon as the edges have
    /// had theirs.
    pub fn next_deadline(&self) -> Option<(Time, &'static str)> {
        self.core.timers.next()
    }

    /// Whether the last turn drained the queue; if not, another turn is due at once.
    pub fn is_idle(&self) -> bool {
        self.core.queue.is_empty()
    }

    /// How many streams there are.
    pub const fn open_streams(&self) -> usize {
        self.core.slots.len()
    }

    /// How many bytes of payload an edge may put into one DATA on a stream now.
    pub fn credit(&self, edge: BindingId, stream: StreamId) -> usize {
        self.core.credit(edge, stream)
    }

    /// The figures as they stand.
    pub fn counters(&self) -> Counters {
        Counters {
            streams: self.core.slots.len(),
            timers: self.core.timers.len(),
            exchanges: self.exchanges(),
            ..self.core.counters
        }
    }

    /// What the bindings and the engine itself count and hold.
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
        for (place, name) in self.places.iter().zip(&self.core.names) {
            if let Place::Binding(binding) = place {
                binding.report(measures.of(name));
            }
        }
    }

    fn exchanges(&self) -> usize {
        let held = self.places.iter().map(|place| match place {
            Place::Binding(binding) => binding.exchanges(),
            Place::Edge => 0,
        });
        held.sum()
    }

    /// The streams that exist now: name, protocol and whose they are, for logs and tests.
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
                Some(token),
                |binding, cx| {
                    binding.on_timer(cx, token, timer.kind);
                },
            );
            self.drain();
        }
    }

    fn drain(&mut self) {
        for _ in 0..self.limits.frames_per_turn {
            if self.order.is_some() {
                self.draw();
            }
            if self.core.queue.is_empty() {
                return;
            }
            self.deliver();
        }
    }

    /// Puts a frame in front that is drawn among those that could be delivered next.
    #[cold]
    fn draw(&mut self) {
        let (queue, Some(order)) = (&mut self.core.queue, &mut self.order) else {
            return;
        };
        let mut heads: Vec<usize> = Vec::new();
        for (index, envelope) in queue.iter().enumerate() {
            let end = |other: &usize| {
                queue
                    .get(*other)
                    .is_some_and(|other| other.stream == envelope.stream && other.to == envelope.to)
            };
            if !heads.iter().any(end) {
                heads.push(index);
            }
        }
        let drawn = order.next() % (heads.len().max(1) as u64);
        let index = usize::try_from(drawn)
            .ok()
            .and_then(|drawn| heads.get(drawn).copied());
        if let Some(envelope) = index.and_then(|index| queue.remove(index)) {
            queue.push_front(envelope);
        }
    }

    /// Delivers the frame in front. It lies in the queue until the one who takes it is called: moves
    /// of frames are what this would cost most for.
    fn deliver(&mut self) {
        let Core { queue, slots, .. } = &mut self.core;
        let Some(Envelope { stream, to, frame }) = queue.front() else {
            return;
        };
        let (stream, to, kind) = (*stream, *to, frame.kind());
        let slot = slots.get_mut(stream);
        let Some(slot) = slot.and_then(|slot| slot.receive(to, frame).then_some(slot)) else {
            queue.pop_front();
            self.core.counters.dropped += 1;
            return;
        };
        let (end, call) = (slot.end(to), slot.call.clone());
        let (binding, token, last) = (end.binding, end.token, end.is_done());
        self.core.counters.frames += 1;
        let at = At {
            stream,
            role: to,
            token: token.unwrap_or_default(),
        };
        match self.places.get(binding.index()) {
            Some(Place::Binding(_)) if kind == FrameKind::Begin && to == Role::Callee => {
                self.dispatch(binding, call, None, |binding, cx| {
                    if let Some(Envelope { frame, .. }) = cx.core.queue.pop_front()
                        && let Frame::Begin(begin) = frame
                    {
                        binding.on_begin(cx, stream, begin.into_inner());
                    }
                });
                self.refuse_unless_accepted(binding, stream);
            }
            Some(Place::Binding(_)) => self.dispatch(binding, call, token, |binding, cx| {
                if let Some(Envelope { frame, .. }) = cx.core.queue.pop_front() {
                    binding.on_frame(cx, at, frame);
                }
            }),
            _ => {
                if let Some(Envelope { frame, .. }) = self.core.queue.pop_front() {
                    let edge = binding;
                    self.outputs.push_back(Output { edge, at, frame });
                }
            }
        }
        if last {
            self.core.settle(stream);
        }
    }

    fn refuse_unless_accepted(&mut self, binding: BindingId, stream: StreamId) {
        let refused = self.core.slots.get(stream).is_some_and(|slot| {
            slot.callee.binding == binding && slot.callee.token.is_none() && !slot.callee.is_done()
        });
        if refused {
            Context {
                core: &mut self.core,
                binding,
                call: CallContext::default(),
            }
            .terminate(stream, None, None);
        }
    }

    /// Runs a handler; a panic in it ends the exchange that it worked for.
    fn dispatch(
        &mut self,
        id: BindingId,
        call: CallContext,
        token: Option<Token>,
        handler: impl FnOnce(&mut dyn Binding, &mut Context<'_>),
    ) {
        let Some(Place::Binding(binding)) = self.places.get_mut(id.index()) else {
            return;
        };
        let trace = call.trace;
        let mut cx = Context {
            core: &mut self.core,
            binding: id,
            call,
        };
        // A handler's state is given up below, so nothing half-changed is looked at again.
        let run = AssertUnwindSafe(|| handler(binding.as_mut(), &mut cx));
        if catch_unwind(run).is_err() {
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
            "a handler panicked; its exchange is ended and the worker goes on"
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
        self.core.timers.forget(id, token);
        let Some(Place::Binding(binding)) = self.places.get_mut(id.index()) else {
            return;
        };
        let mut cx = Context {
            core: &mut self.core,
            binding: id,
            call,
        };
        let run = AssertUnwindSafe(|| binding.on_fault(&mut cx, token));
        if catch_unwind(run).is_err() {
            tracing::error!(
                binding = self.core.name(id),
                "the clean-up after a panic panicked too"
            );
        }
    }
}
