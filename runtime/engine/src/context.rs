//! The engine API available to handlers: streams, frames, timers, events and random numbers.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
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

/// Error returned when a stream cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum OpenError {
    /// The worker's stream limit is reached.
    #[error("stream limit of the worker reached ({limit})")]
    TooManyStreams {
        /// The limit.
        limit: usize,
    },
}

/// A queued frame.
#[derive(Debug)]
pub(crate) struct Envelope {
    pub(crate) stream: StreamId,
    pub(crate) to: Role,
    pub(crate) frame: Frame,
}

/// Worker state shared with handlers: everything except the bindings themselves.
pub(crate) struct Core {
    pub(crate) now: Time,
    /// The wall-clock time at [`Time::START`].
    pub(crate) epoch: WallTime,
    pub(crate) slots: Slots,
    pub(crate) queue: VecDeque<Envelope>,
    pub(crate) timers: Timers,
    pub(crate) random: Random,
    pub(crate) counters: Counters,
    pub(crate) events: Events,
    /// The name of each binding in the config.
    pub(crate) names: Vec<Box<str>>,
    /// The initial credit that each binding declares.
    pub(crate) windows: Vec<u32>,
    /// The edge that carries streams to other workers, if any.
    pub(crate) relay: Option<BindingId>,
    /// Number of workers the relay reaches, including this one.
    pub(crate) workers: u16,
    pub(crate) streams_max: usize,
    pub(crate) worker: u16,
    pub(crate) stopping: bool,
    /// Why new calls are to be refused, if they are.
    pub(crate) calls_refused: Option<&'static str>,
    /// While stopping: the time by which running calls must be answered.
    pub(crate) stop_deadline: Option<Time>,
}

impl Core {
    /// Removes the stream once both ends are done with it.
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

/// The engine as seen by a handler of one binding.
pub struct Context<'a> {
    pub(crate) core: &'a mut Core,
    pub(crate) binding: BindingId,
    /// The call the handler is working for; the default context if none.
    pub(crate) call: CallContext,
}

impl Context<'_> {
    /// The time of the current turn.
    pub const fn now(&self) -> Time {
        self.core.now
    }

    /// The wall-clock time of the current turn.
    pub fn wall_clock(&self) -> WallTime {
        self.core.epoch + self.core.now.since(Time::START)
    }

    /// The binding whose handler is running.
    pub const fn binding(&self) -> BindingId {
        self.binding
    }

    /// The binding's name in the config.
    pub fn name(&self) -> &str {
        self.core.name(self.binding)
    }

    /// Emits an event for operators. It is counted, and recorded if its severity or its id is enabled.
    pub fn event<E: Event>(&mut self, event: &E) {
        self.event_about(event, || None);
    }

    /// Like [`Self::event`], for an event that takes some work to make: it is made only if it is
    /// recorded.
    pub fn event_with<E: Event>(&mut self, event: impl FnOnce(&mut Self) -> E) {
        if self.hears::<E>() {
            let event = event(self);
            self.event(&event);
        } else {
            self.core.events.count::<E>();
        }
    }

    /// Like [`Self::event`]. An audited event carries the payload that it is about, which is asked
    /// for only if it is recorded for an audit log.
    pub fn event_about<E: Event>(
        &mut self,
        event: &E,
        payload: impl FnOnce() -> Option<Vec<Bytes>>,
    ) {
        self.core.events.count::<E>();
        if self.hears::<E>() {
            let at = self.wall_clock();
            let events = &mut self.core.events;
            events.emit(at, self.binding, &self.call, event, payload);
        }
    }

    /// Whether an audit log records events of this type.
    pub const fn audits<E: Event>(&self) -> bool {
        self.core.events.audits::<E>()
    }

    /// Why the binding that accepts calls must refuse new ones, if it must: for example because
    /// they cannot be recorded.
    pub const fn calls_refused(&self) -> Option<&'static str> {
        self.core.calls_refused
    }

    /// Whether events of this type are recorded. An event that is not made because of this is not
    /// counted either: see [`Self::event_with`] and [`Self::count_event`].
    pub fn hears<E: Event>(&self) -> bool {
        self.core.events.hears::<E>()
    }

    /// Counts an event that is not recorded, and was not made for that reason.
    pub fn count_event<E: Event>(&mut self) {
        self.core.events.count::<E>();
    }

    /// Number of this worker, from 0.
    pub const fn worker(&self) -> u16 {
        self.core.worker
    }

    /// Whether the engine is stopping.
    pub const fn stopping(&self) -> bool {
        self.core.stopping
    }

    /// While the engine is stopping: the time by which running calls must be answered, so that the
    /// answer can still be written. `None` without a limit.
    pub const fn stop_deadline(&self) -> Option<Time> {
        self.core.stop_deadline
    }

    /// Trace of the call the handler is working for; 0 if none.
    pub const fn trace(&self) -> u64 {
        self.call.trace
    }

    /// Authenticated caller the handler is working for; `None` if the caller is anonymous or the
    /// handler works for no call.
    pub const fn identity(&self) -> Option<&Arc<Identity>> {
        self.call.identity.as_ref()
    }

    /// Deadline of the call the handler is working for.
    pub const fn deadline(&self) -> Option<Time> {
        self.call.deadline
    }

    /// Call context the handler is running with; [`Context::open`] passes it on.
    pub const fn call(&self) -> &CallContext {
        &self.call
    }

    /// Call context of a stream; `None` if the stream has ended.
    pub fn call_of(&self, stream: StreamId) -> Option<&CallContext> {
        self.core.slots.get(stream).map(|slot| &slot.call)
    }

    /// Makes the handler work for the call of `stream` until it returns. Use it when a timer, or a
    /// frame on a connection shared by several callers, belongs to one particular call.
    pub fn work_for(&mut self, stream: StreamId) {
        self.call = self.call_of(stream).cloned().unwrap_or_default();
    }

    /// Makes the handler work for a call whose stream may have ended, until it returns. Use it when the
    /// work of a call is split into steps.
    pub fn work_with(&mut self, call: CallContext) {
        self.call = call;
    }

    /// Opens a stream towards `target`, with the call context of this handler. The id is valid at
    /// once and frames may follow at once; the handler of `target` runs later.
    pub fn open(
        &mut self,
        target: BindingId,
        begin: impl Into<BeginEx>,
        token: Token,
    ) -> Result<StreamId, OpenError> {
        self.trace_call();
        self.open_stream(self.call.clone(), target, begin.into(), token)
    }

    /// Opens a stream with an explicit call context. A context without a trace gets the trace of
    /// the call the handler is working for.
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

    /// Assigns a trace, so that everything the handler causes shares one.
    fn trace_call(&mut self) {
        if self.call.trace == 0 {
            self.call.trace = self.mint_trace();
        }
    }

    /// A new trace, for one of several calls that arrived in one message.
    pub fn mint_trace(&mut self) -> u64 {
        self.core.random.next() | 1
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

    /// Accepts a stream opened towards this binding. Its frames will be delivered with `token`.
    pub fn accept(&mut self, stream: StreamId, token: Token) {
        if let Some(slot) = self.core.slots.get_mut(stream)
            && slot.callee.binding == self.binding
        {
            slot.callee.token = Some(token);
        }
    }

    /// Sends a frame on this binding's side of the stream.
    ///
    /// A frame for a stream that has ended is dropped. A frame that is illegal in the half's state,
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

    /// Payload bytes this binding may put into one DATA on the stream now.
    pub fn credit(&self, stream: StreamId) -> usize {
        self.core.credit(self.binding, stream)
    }

    /// Marks `bytes` of received payload as consumed. The engine sends a WINDOW once enough has
    /// been consumed to be worth a frame.
    pub fn acknowledge(&mut self, stream: StreamId, bytes: usize) {
        let Some((role, slot)) = self.receiving(stream) else {
            return;
        };
        if let Some(window) = slot.credit_mut(role.peer().sends()).take(bytes as u64) {
            self.send(stream, Frame::Window(window));
        }
    }

    /// Grants a new maximum and padding on the half this binding receives.
    pub fn grant(&mut self, stream: StreamId, maximum: u32, padding: u32) {
        let Some((role, slot)) = self.receiving(stream) else {
            return;
        };
        let window: Window = slot.credit_mut(role.peer().sends()).grant(maximum, padding);
        self.send(stream, Frame::Window(window));
    }

    /// Ends this binding's part in a stream in any state: RESET for the half it receives and ABORT
    /// for the half it sends, unless that half has ended. No further frame of the stream is
    /// delivered to it.
    pub fn terminate(&mut self, stream: StreamId, reset: Option<ResetEx>, abort: Option<AbortEx>) {
        self.reset(stream, reset);
        self.abort(stream, abort);
    }

    /// Resets the half this binding receives, unless it has ended.
    ///
    /// A callee may also reset after the caller's END; the reason still reaches the caller.
    pub fn reset(&mut self, stream: StreamId, reset: Option<ResetEx>) {
        let Some((role, slot)) = self.receiving(stream) else {
            return;
        };
        let end = slot.end(role);
        let over = end.view(role.peer().sends()).is_terminal();
        // After END, a RESET tells the caller why no reply will come.
        let tells = role == Role::Callee && !end.view(Half::Reply).is_terminal();
        if !over || (tells && reset.is_some()) {
            self.send(stream, Frame::Reset(reset.map(Box::new)));
        }
    }

    /// Aborts the half this binding sends, unless it has ended.
    pub fn abort(&mut self, stream: StreamId, abort: Option<AbortEx>) {
        let Some((role, slot)) = self.receiving(stream) else {
            return;
        };
        if !slot.end(role).view(role.sends()).is_terminal() {
            self.send(stream, Frame::Abort(abort.map(Box::new)));
        }
    }

    /// Ends the half this binding sends, if it is open.
    pub fn end(&mut self, stream: StreamId, end: Frame) {
        debug_assert_eq!(end.kind(), FrameKind::End, "only an END ends a half");
        if self.is_sending(stream) {
            self.send(stream, end);
        }
    }

    /// Whether the stream exists for either end.
    pub fn is_live(&self, stream: StreamId) -> bool {
        self.core.slots.get(stream).is_some()
    }

    /// Whether this binding is done with the stream: no further frame of it will be delivered.
    pub fn is_over(&self, stream: StreamId) -> bool {
        self.core.slots.get(stream).is_none_or(|slot| {
            slot.role_of(self.binding)
                .is_none_or(|role| slot.end(role).is_done())
        })
    }

    /// Whether the half this binding sends is open.
    pub fn is_sending(&self, stream: StreamId) -> bool {
        self.core.slots.get(stream).is_some_and(|slot| {
            slot.role_of(self.binding)
                .is_some_and(|role| slot.end(role).view(role.sends()) == HalfState::Open)
        })
    }

    /// Sends a whole message in one DATA, like [`Frame::data`]; the credit must cover it.
    pub fn send_whole(&mut self, stream: StreamId, payload: Bytes) {
        self.send(stream, Frame::part(DataFlags::WHOLE, payload));
    }

    /// Sets a timer. `kind` distinguishes the binding's timers; `reason` describes the timer in
    /// logs and tests.
    ///
    /// A timer never fires in the turn in which it is set; one that is due at once fires in the
    /// next turn. Use this to split long work into one step per turn.
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

    /// Cancels a timer; returns whether it was still set.
    pub fn cancel(&mut self, timer: TimerId) -> bool {
        self.core.timers.cancel(timer)
    }

    /// Fills `bytes` from the worker's random source.
    pub fn random(&mut self, bytes: &mut [u8]) {
        self.core.random.fill(bytes);
    }

    /// A random number below `bound` (0 for a bound of 0).
    pub fn random_below(&mut self, bound: u64) -> u64 {
        // The product's high half is uniform enough for jitter and for picking letters.
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

    /// Generates a session identity: 22 random letters and digits, which hold 128 bits.
    ///
    /// It is a valid MQTT client identifier: MQTT 3.1.1 requires servers to accept 23 characters of
    /// this alphabet. It is an identifier, not a secret.
    pub fn mint_identity(&mut self) -> ByteString {
        const LENGTH: usize = 22;
        let mut identity = String::with_capacity(LENGTH);
        self.random_letters(&mut identity, LENGTH);
        identity.into()
    }

    /// Whether streams can be handed over to a worker: it exists and is another one.
    pub fn can_hand_over_to(&self, worker: u16) -> bool {
        self.core.relay.is_some() && worker < self.core.workers && worker != self.worker()
    }

    /// Hands a stream that is being opened towards this binding over to the same binding on another
    /// worker, which owns the state it refers to. Returns `false`, and the stream stays here,
    /// without a relay or if that worker does not exist.
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
        // Restore the view of an undelivered BEGIN: the relay receives it again.
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

    /// A binding used a stale id of a stream between other bindings: drop the frame.
    #[cold]
    fn foreign(&mut self, stream: StreamId, kind: FrameKind) {
        self.core.counters.violations += 1;
        tracing::error!(
            binding = self.core.name(self.binding),
            ?stream,
            trace = format_args!("{:016x}", self.call.trace),
            "{kind} frame sent on a stream of other bindings; it was dropped"
        );
    }

    /// The binding sent an illegal frame: end both halves, so that the fault stays within this
    /// stream.
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
