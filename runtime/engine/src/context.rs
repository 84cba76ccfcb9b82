//! What a handler can do: open streams, send frames, set timers, draw random numbers.

use std::collections::VecDeque;
use std::sync::Arc;

use bytestring::ByteString;
use thiserror::Error;
use tidegate_streams::{
    AbortEx, BeginEx, DataFlags, Event, Frame, FrameKind, Half, Identity, Pooled, ResetEx, Role,
    Window,
};

use crate::binding::{BindingId, StreamId, Token};
use crate::call::CallContext;
use crate::counters::Counters;
use crate::event::Events;
use crate::random::Random;
use crate::slot::{Opening, Slot, Slots};
use crate::state::{HalfState, Transition};
use crate::time::{Duration, Time, WallTime};
use crate::timers::{Timer, TimerId, Timers};

/// A stream could not be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum OpenError {
    /// The worker has as many streams as it may.
    #[error("the worker already has {limit} streams, its limit")]
    TooManyStreams {
        /// The limit.
        limit: usize,
    },
}

/// A frame on its way.
#[derive(Debug)]
pub(crate) struct Envelope {
    pub(crate) stream: StreamId,
    pub(crate) to: Role,
    pub(crate) frame: Frame,
}

/// What a worker owns beside its bindings.
pub(crate) struct Core {
    pub(crate) now: Time,
    /// The wall clock at [`Time::START`].
    pub(crate) epoch: WallTime,
    pub(crate) slots: Slots,
    pub(crate) queue: VecDeque<Envelope>,
    pub(crate) timers: Timers,
    pub(crate) random: Random,
    pub(crate) counters: Counters,
    pub(crate) events: Events,
    /// The name of each binding in the config.
    pub(crate) names: Vec<Box<str>>,
    /// The starting credit that each binding declares.
    pub(crate) windows: Vec<u32>,
    /// The edge that carries streams to other workers, if there is one.
    pub(crate) relay: Option<BindingId>,
    /// How many workers the relay reaches, this one included.
    pub(crate) workers: u16,
    pub(crate) streams_max: usize,
    pub(crate) worker: u16,
    pub(crate) stopping: bool,
    /// By when, while it stops.
    pub(crate) stop_deadline: Option<Time>,
}

impl Core {
    /// Frees the stream once both ends have seen the last of it.
    pub(crate) fn settle(&mut self, stream: StreamId) {
        if self.slots.get(stream).is_some_and(Slot::is_over) {
            self.slots.remove(stream);
        }
    }

    /// The name of a binding in the config.
    pub(crate) fn name(&self, binding: BindingId) -> &str {
        self.names.get(binding.index()).map_or("", |name| name)
    }

    pub(crate) fn credit(&self, binding: BindingId, stream: StreamId) -> usize {
        self.slots.get(stream).map_or(0, |slot| {
            slot.role_of(binding)
                .map_or(0, |role| slot.credit(role.sends()).available())
        })
    }
}

/// The engine, as a handler of one binding sees it.
pub struct Context<'a> {
    pub(crate) core: &'a mut Core,
    pub(crate) binding: BindingId,
    /// The call that the handler works for; empty where it works for none.
    pub(crate) call: CallContext,
}

impl Context<'_> {
    /// The time of this turn.
    pub const fn now(&self) -> Time {
        self.core.now
    }

    /// The wall clock of this turn.
    pub fn wall_clock(&self) -> WallTime {
        self.core.epoch + self.core.now.since(Time::START)
    }

    /// The binding whose handler runs.
    pub const fn binding(&self) -> BindingId {
        self.binding
    }

    /// Its name in the config.
    pub fn name(&self) -> &str {
        self.core.name(self.binding)
    }

    /// Tells operators something. What it is worth is the exporters' matter.
    pub fn event<E: Event>(&mut self, event: &E) {
        if self.hears::<E>() {
            let at = self.wall_clock();
            let events = &mut self.core.events;
            events.emit(at, self.binding, self.call.trace, event);
        }
    }

    /// Whether anybody listens to events of this kind, for those that cost something to make.
    pub fn hears<E: Event>(&self) -> bool {
        self.core.events.hears::<E>()
    }

    /// Which worker this is, from 0.
    pub const fn worker(&self) -> u16 {
        self.core.worker
    }

    /// Whether the engine is about to stop.
    pub const fn stopping(&self) -> bool {
        self.core.stopping
    }

    /// While the engine stops: by when what is under way is to be answered, so that the answer can still
    /// be written. `None` where there is no limit.
    pub const fn stop_deadline(&self) -> Option<Time> {
        self.core.stop_deadline
    }

    /// Ties together what one request caused; 0 where the handler works for none.
    pub const fn trace(&self) -> u64 {
        self.call.trace
    }

    /// The authenticated caller that the handler works for; `None` where it is anonymous, or where
    /// the handler works for no call.
    pub const fn identity(&self) -> Option<&Arc<Identity>> {
        self.call.identity.as_ref()
    }

    /// When the caller that the handler works for gives up.
    pub const fn deadline(&self) -> Option<Time> {
        self.call.deadline
    }

    /// What the stream carries for which the handler runs: what [`Context::open`] passes on.
    pub const fn call(&self) -> &CallContext {
        &self.call
    }

    /// What a stream carries.
    pub fn call_of(&self, stream: StreamId) -> Option<&CallContext> {
        self.core.slots.get(stream).map(|slot| &slot.call)
    }

    /// From now on, until the handler returns, it works for the call of `stream`: a timer, or a frame
    /// of a connection that callers share, has brought that call forward.
    pub fn work_for(&mut self, stream: StreamId) {
        self.call = self.call_of(stream).cloned().unwrap_or_default();
    }

    /// Opens a stream towards `target`, on behalf of the call that the handler works for. The name
    /// is valid at once, frames may follow at once; the handler of `target` runs later.
    pub fn open(
        &mut self,
        target: BindingId,
        begin: impl Into<BeginEx>,
        token: Token,
    ) -> Result<StreamId, OpenError> {
        self.trace_call();
        self.open_stream(self.call.clone(), target, begin.into(), token)
    }

    /// Opens a stream as [`Context::open`] does, and states what it carries. Without a trace it bears
    /// that of the call which the handler works for.
    pub fn open_for(
        &mut self,
        mut call: CallContext,
        target: BindingId,
        begin: impl Into<BeginEx>,
        token: Token,
    ) -> Result<StreamId, OpenError> {
        if call.trace == 0 {
            self.trace_call();
            call.trace = self.call.trace;
        }
        self.open_stream(call, target, begin.into(), token)
    }

    /// What the handler causes bears one trace.
    fn trace_call(&mut self) {
        if self.call.trace == 0 {
            self.call.trace = self.core.random.next() | 1;
        }
    }

    fn open_stream(
        &mut self,
        call: CallContext,
        target: BindingId,
        begin: BeginEx,
        token: Token,
    ) -> Result<StreamId, OpenError> {
        let core = &mut *self.core;
        if core.slots.len() >= core.streams_max {
            core.counters.refused += 1;
            return Err(OpenError::TooManyStreams {
                limit: core.streams_max,
            });
        }
        let begin = Pooled::new(begin);
        let window = |binding: BindingId| core.windows.get(binding.index()).copied().unwrap_or(0);
        let opening = Opening {
            protocol: begin.protocol(),
            call,
            caller: (self.binding, token),
            callee: target,
            initial_window: window(target),
            reply_window: window(self.binding),
        };
        let stream = core.slots.insert(opening);
        core.counters.opened += 1;
        self.send(stream, Frame::Begin(begin));
        Ok(stream)
    }

    /// Takes a stream that was opened towards this binding; its frames will bear `token`.
    pub fn accept(&mut self, stream: StreamId, token: Token) {
        if let Some(slot) = self.core.slots.get_mut(stream)
            && slot.callee.binding == self.binding
        {
            slot.callee.token = Some(token);
        }
    }

    /// Sends a frame on this binding's side of the stream.
    ///
    /// A frame for a stream that is over is dropped. A frame that breaks the rules of half-streams,
    /// or a DATA beyond the credit, is a fault of the binding: it is counted and logged, and both
    /// halves are ended.
    pub fn send(&mut self, stream: StreamId, frame: Frame) {
        let Some(slot) = self.core.slots.get_mut(stream) else {
            self.core.counters.dropped += 1;
            return;
        };
        let kind = frame.kind();
        let Some(role) = slot.role_of(self.binding) else {
            self.foreign(stream, kind);
            return;
        };
        let half = role.half(kind);
        let transition = slot.end(role).view(half).next(kind);
        let Transition::Pass(next) = transition else {
            match transition {
                Transition::Illegal => self.violation(stream, kind, "is not legal now"),
                _ => self.core.counters.dropped += 1,
            }
            return;
        };
        slot.end_mut(role).set_view(half, next);
        match &frame {
            Frame::Data(data) if !slot.credit_mut(half).send(data.payload.len()) => {
                self.violation(stream, kind, "exceeds the credit");
                return;
            }
            Frame::Window(window) => slot.credit_mut(half).granted(*window),
            _ => {}
        }
        let over = next.is_terminal() && slot.is_over();
        self.core.queue.push_back(Envelope {
            stream,
            to: role.peer(),
            frame,
        });
        if over {
            self.core.slots.remove(stream);
        }
    }

    /// How many bytes of payload this binding may put into one DATA on the stream now.
    pub fn credit(&self, stream: StreamId) -> usize {
        self.core.credit(self.binding, stream)
    }

    /// Tells that this binding is done with `bytes` of what it was sent; the engine grants the
    /// credit anew when it is worth a WINDOW.
    pub fn acknowledge(&mut self, stream: StreamId, bytes: usize) {
        let Some((role, slot)) = self.receiving(stream) else {
            return;
        };
        if let Some(window) = slot.credit_mut(role.peer().sends()).take(bytes as u64) {
            self.send(stream, Frame::Window(window));
        }
    }

    /// Grants another maximum, and padding, on the half that this binding receives.
    pub fn grant(&mut self, stream: StreamId, maximum: u32, padding: u32) {
        let Some((role, slot)) = self.receiving(stream) else {
            return;
        };
        let window: Window = slot.credit_mut(role.peer().sends()).grant(maximum, padding);
        self.send(stream, Frame::Window(window));
    }

    /// Ends this binding's part in a stream, whatever its state: RESET of the half it receives and
    /// ABORT of the half it sends, each only if it is not over. No frame of it will arrive any more.
    pub fn terminate(&mut self, stream: StreamId, reset: Option<ResetEx>, abort: Option<AbortEx>) {
        self.reset(stream, reset);
        self.abort(stream, abort);
    }

    /// Refuses the half that this binding receives, unless it is over.
    ///
    /// A callee may also refuse behind the caller's END: the reason still reaches the caller.
    pub fn reset(&mut self, stream: StreamId, reset: Option<ResetEx>) {
        let Some((role, slot)) = self.receiving(stream) else {
            return;
        };
        let end = slot.end(role);
        let over = end.view(role.peer().sends()).is_terminal();
        // Behind END, a refusal tells the caller why no reply will come.
        let tells = role == Role::Callee && !end.view(Half::Reply).is_terminal();
        if !over || (tells && reset.is_some()) {
            self.send(stream, Frame::Reset(reset.map(Box::new)));
        }
    }

    /// Aborts the half that this binding sends, unless it is over.
    pub fn abort(&mut self, stream: StreamId, abort: Option<AbortEx>) {
        let Some((role, slot)) = self.receiving(stream) else {
            return;
        };
        if !slot.end(role).view(role.sends()).is_terminal() {
            self.send(stream, Frame::Abort(abort.map(Box::new)));
        }
    }

    /// Ends the half that this binding sends, if it is open.
    pub fn end(&mut self, stream: StreamId, end: Frame) {
        debug_assert_eq!(end.kind(), FrameKind::End, "only an END ends a half");
        if self.is_sending(stream) {
            self.send(stream, end);
        }
    }

    /// Whether the stream is still there, for either end.
    pub fn is_live(&self, stream: StreamId) -> bool {
        self.core.slots.get(stream).is_some()
    }

    /// Whether this binding has seen the last of the stream: no frame of it will arrive any more.
    pub fn is_over(&self, stream: StreamId) -> bool {
        self.core.slots.get(stream).is_none_or(|slot| {
            slot.role_of(self.binding)
                .is_none_or(|role| slot.end(role).is_done())
        })
    }

    /// Whether the half that this binding sends has begun and is not over.
    pub fn is_sending(&self, stream: StreamId) -> bool {
        self.core.slots.get(stream).is_some_and(|slot| {
            slot.role_of(self.binding)
                .is_some_and(|role| slot.end(role).view(role.sends()) == HalfState::Open)
        })
    }

    /// Sends a whole message in one DATA, as [`Frame::data`]; the credit must suffice.
    pub fn send_whole(&mut self, stream: StreamId, payload: bytes::Bytes) {
        self.send(stream, Frame::part(DataFlags::WHOLE, payload));
    }

    /// Sets a timer. `kind` tells the binding's timers apart; `reason` tells people why it is set.
    ///
    /// It never fires in the turn in which it is set. One that is due at once fires in the next turn:
    /// this is how long work gives way, a piece for each turn.
    pub fn timer(
        &mut self,
        after: Duration,
        token: Token,
        kind: u32,
        reason: &'static str,
    ) -> TimerId {
        let deadline = self.core.now + after;
        self.core.timers.set(
            deadline,
            Timer {
                binding: self.binding,
                token,
                kind,
                reason,
            },
        )
    }

    /// Cancels a timer; whether it was still set.
    pub fn cancel(&mut self, timer: TimerId) -> bool {
        self.core.timers.cancel(timer)
    }

    /// Fills `bytes` from the worker's random source.
    pub fn random(&mut self, bytes: &mut [u8]) {
        self.core.random.fill(bytes);
    }

    /// A random number below `bound` (0 for a bound of 0).
    pub fn random_below(&mut self, bound: u64) -> u64 {
        // The product's high half is uniform enough for jitter and for the choice of a letter.
        ((u128::from(self.core.random.next()) * u128::from(bound)) >> 64) as u64
    }

    /// Appends `count` random letters and digits to `text`.
    pub fn random_letters(&mut self, text: &mut String, count: usize) {
        const LETTERS: &[u8; 62] =
            b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        for _ in 0..count {
            let index = usize::try_from(self.random_below(62)).unwrap_or(0);
            text.push(char::from(LETTERS.get(index).copied().unwrap_or(b'0')));
        }
    }

    /// A new session identity: 22 letters and digits, which hold 128 bits.
    ///
    /// An MQTT broker takes it as a client identifier: MQTT 3.1.1 promises 23 characters of this
    /// alphabet. It is an identity and no secret.
    pub fn mint_identity(&mut self) -> ByteString {
        const LENGTH: usize = 22;
        let mut identity = String::with_capacity(LENGTH);
        self.random_letters(&mut identity, LENGTH);
        identity.into()
    }

    /// Gives a stream that is being opened towards this binding to the same binding on another
    /// worker, which owns the state that it is about. Without a relay, or where there is no such
    /// worker, the stream stays: `false`.
    pub fn hand_over(&mut self, stream: StreamId, begin: BeginEx, worker: u16) -> bool {
        let Some(relay) = self.core.relay.filter(|_| worker < self.core.workers) else {
            return false;
        };
        let target = self.binding;
        let window = self.core.windows.get(relay.index()).copied().unwrap_or(0);
        let Some(slot) = self.core.slots.get_mut(stream) else {
            return false;
        };
        if slot.callee.binding != target || slot.callee.token.is_some() {
            return false;
        }
        debug_assert!(window == 0, "the relay grants what the other worker grants");
        slot.callee.binding = relay;
        slot.callee.token = Some(Token(u32::from(target.0) << 16 | u32::from(worker)));
        // The view is that of a BEGIN not yet delivered: the relay receives it anew.
        slot.callee.set_view(Half::Initial, HalfState::Idle);
        self.core.queue.push_front(Envelope {
            stream,
            to: Role::Callee,
            frame: Frame::begin(begin),
        });
        true
    }

    fn receiving(&mut self, stream: StreamId) -> Option<(Role, &mut Slot)> {
        let binding = self.binding;
        let slot = self.core.slots.get_mut(stream)?;
        slot.role_of(binding).map(|role| (role, slot))
    }

    /// A binding sent on a stream of others, by a key that was stale: they do not notice.
    #[cold]
    fn foreign(&mut self, stream: StreamId, kind: FrameKind) {
        self.core.counters.violations += 1;
        tracing::error!(
            binding = self.core.name(self.binding),
            ?stream,
            trace = format_args!("{:016x}", self.call.trace),
            "a {kind} frame was sent on a stream of other bindings; it is dropped"
        );
    }

    /// A binding broke the rules: both its halves end, so that the fault stays in this stream.
    #[cold]
    fn violation(&mut self, stream: StreamId, kind: FrameKind, what: &'static str) {
        self.core.counters.violations += 1;
        tracing::error!(
            binding = self.core.name(self.binding),
            ?stream,
            trace = format_args!("{:016x}", self.call.trace),
            "a {kind} frame {what}; the stream is ended"
        );
        self.terminate(stream, None, None);
    }
}
