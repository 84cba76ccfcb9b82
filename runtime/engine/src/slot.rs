//! The streams of a worker: a slab with ids that are never reused.

use tidegate_streams::{Frame, Half, Protocol, Role};

use crate::binding::{BindingId, StreamId, Token};
use crate::call::CallContext;
use crate::credit::Credit;
use crate::state::{HalfState, Transition};

/// One end of a stream, with its view of both halves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End {
    pub(crate) binding: BindingId,
    /// `None` until the callee accepts.
    pub(crate) token: Option<Token>,
    views: ByHalf<HalfState>,
}

impl End {
    const fn new(binding: BindingId, token: Option<Token>) -> Self {
        Self {
            binding,
            token,
            views: ByHalf([HalfState::Idle; 2]),
        }
    }

    pub(crate) const fn view(&self, half: Half) -> HalfState {
        *self.views.of(half)
    }

    pub(crate) const fn set_view(&mut self, half: Half, state: HalfState) {
        *self.views.of_mut(half) = state;
    }

    /// Whether this end is done with the stream.
    pub(crate) const fn is_done(&self) -> bool {
        let ByHalf([initial, reply]) = self.views;
        initial.is_terminal() && reply.is_terminal()
    }
}

/// A value for each half of a stream.
#[derive(Debug, Clone, Copy)]
struct ByHalf<T>([T; 2]);

#[expect(clippy::indexing_slicing, reason = "there is one for each half")]
impl<T> ByHalf<T> {
    const fn of(&self, half: Half) -> &T {
        &self.0[half as usize]
    }

    const fn of_mut(&mut self, half: Half) -> &mut T {
        &mut self.0[half as usize]
    }
}

/// One stream.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) protocol: Protocol,
    pub(crate) call: CallContext,
    pub(crate) caller: End,
    pub(crate) callee: End,
    credit: ByHalf<Credit>,
}

impl Slot {
    fn new(opening: Opening) -> Self {
        Self {
            protocol: opening.protocol,
            call: opening.call,
            caller: End::new(opening.caller.0, Some(opening.caller.1)),
            callee: End::new(opening.callee, None),
            credit: ByHalf([
                Credit::starting(opening.initial_window),
                Credit::starting(opening.reply_window),
            ]),
        }
    }

    pub(crate) const fn end(&self, role: Role) -> &End {
        match role {
            Role::Caller => &self.caller,
            Role::Callee => &self.callee,
        }
    }

    pub(crate) const fn end_mut(&mut self, role: Role) -> &mut End {
        match role {
            Role::Caller => &mut self.caller,
            Role::Callee => &mut self.callee,
        }
    }

    pub(crate) const fn credit(&self, half: Half) -> &Credit {
        self.credit.of(half)
    }

    pub(crate) const fn credit_mut(&mut self, half: Half) -> &mut Credit {
        self.credit.of_mut(half)
    }

    /// Updates the state of one end for an arriving frame; returns whether to deliver it. A frame
    /// overtaken by the end of its half is not delivered.
    pub(crate) fn receive(&mut self, to: Role, frame: &Frame) -> bool {
        let kind = frame.kind();
        let half = to.peer().half(kind);
        let end = self.end_mut(to);
        if end.is_done() {
            return false;
        }
        let Transition::Pass(next) = end.view(half).next(kind) else {
            return false;
        };
        end.set_view(half, next);
        match frame {
            Frame::Data(data) => self.credit_mut(half).deliver(data.payload.len()),
            Frame::Window(window) => self.credit_mut(half).update(*window),
            _ => {}
        }
        true
    }

    /// Whether both ends are done with the stream.
    pub(crate) const fn is_over(&self) -> bool {
        self.caller.is_done() && self.callee.is_done()
    }

    /// The role of `binding` in this stream, if it has one.
    pub(crate) fn role_of(&self, binding: BindingId) -> Option<Role> {
        if self.caller.binding == binding {
            Some(Role::Caller)
        } else if self.callee.binding == binding {
            Some(Role::Callee)
        } else {
            None
        }
    }
}

/// Parameters of a stream to open.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) protocol: Protocol,
    pub(crate) call: CallContext,
    pub(crate) caller: (BindingId, Token),
    pub(crate) callee: BindingId,
    /// Initial credit of the initial half, declared by the callee.
    pub(crate) initial_window: u32,
    /// Initial credit of the reply half, declared by the caller.
    pub(crate) reply_window: u32,
}

#[derive(Debug)]
struct Entry {
    generation: u32,
    next_free: Option<u32>,
    slot: Option<Slot>,
}

/// All streams of a worker.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    entries: Vec<Entry>,
    free: Option<u32>,
    len: usize,
}

impl Slots {
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn insert(&mut self, opening: Opening) -> StreamId {
        self.len += 1;
        if let Some(index) = self.free
            && let Some(entry) = self.entries.get_mut(index as usize)
        {
            self.free = entry.next_free.take();
            entry.slot = Some(Slot::new(opening));
            return StreamId {
                index,
                generation: entry.generation,
            };
        }
        let index = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        self.entries.push(Entry {
            generation: 0,
            next_free: None,
            slot: Some(Slot::new(opening)),
        });
        StreamId {
            index,
            generation: 0,
        }
    }

    pub(crate) fn get(&self, stream: StreamId) -> Option<&Slot> {
        let entry = self.entries.get(stream.index as usize)?;
        entry
            .slot
            .as_ref()
            .filter(|_| entry.generation == stream.generation)
    }

    pub(crate) fn get_mut(&mut self, stream: StreamId) -> Option<&mut Slot> {
        let entry = self.entries.get_mut(stream.index as usize)?;
        entry
            .slot
            .as_mut()
            .filter(|_| entry.generation == stream.generation)
    }

    pub(crate) fn remove(&mut self, stream: StreamId) {
        if let Some(entry) = self.entries.get_mut(stream.index as usize)
            && entry.generation == stream.generation
            && entry.slot.take().is_some()
        {
            entry.generation = entry.generation.wrapping_add(1);
            entry.next_free = self.free.replace(stream.index);
            self.len -= 1;
        }
    }

    /// The streams of the exchange that `binding` keeps under `token`.
    pub(crate) fn of_exchange(&self, binding: BindingId, token: Token) -> Vec<StreamId> {
        let belongs = |end: &End| end.binding == binding && end.token == Some(token);
        self.iter()
            .filter(|(_, slot)| belongs(&slot.caller) || belongs(&slot.callee))
            .map(|(stream, _)| stream)
            .collect()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (StreamId, &Slot)> {
        self.entries
            .iter()
            .enumerate()
            .filter_map(|(index, entry)| {
                let index = u32::try_from(index).unwrap_or(u32::MAX);
                let slot = entry.slot.as_ref()?;
                Some((
                    StreamId {
                        index,
                        generation: entry.generation,
                    },
                    slot,
                ))
            })
    }
}
