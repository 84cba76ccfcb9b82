//! The streams of a worker: a slab whose names are never used twice.

use tidegate_streams::{Half, Protocol, Role};

use crate::binding::{BindingId, StreamId, Token};
use crate::credit::Credit;
use crate::state::HalfState;

/// One end of a stream and its view of both halves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End {
    pub(crate) binding: BindingId,
    /// Absent until the callee has accepted.
    pub(crate) token: Option<Token>,
    pub(crate) initial: HalfState,
    pub(crate) reply: HalfState,
}

impl End {
    const fn new(binding: BindingId, token: Option<Token>) -> Self {
        Self {
            binding,
            token,
            initial: HalfState::Idle,
            reply: HalfState::Idle,
        }
    }

    pub(crate) const fn view(&self, half: Half) -> HalfState {
        match half {
            Half::Initial => self.initial,
            Half::Reply => self.reply,
        }
    }

    pub(crate) const fn set_view(&mut self, half: Half, state: HalfState) {
        match half {
            Half::Initial => self.initial = state,
            Half::Reply => self.reply = state,
        }
    }

    /// Whether this end has seen the last of the stream.
    pub(crate) const fn is_done(&self) -> bool {
        self.initial.is_terminal() && self.reply.is_terminal()
    }
}

/// One stream.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) protocol: Protocol,
    /// Ties together what one request caused, across bindings and in logs.
    pub(crate) trace: u64,
    pub(crate) caller: End,
    pub(crate) callee: End,
    pub(crate) initial: Credit,
    pub(crate) reply: Credit,
}

impl Slot {
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
        match half {
            Half::Initial => &self.initial,
            Half::Reply => &self.reply,
        }
    }

    pub(crate) const fn credit_mut(&mut self, half: Half) -> &mut Credit {
        match half {
            Half::Initial => &mut self.initial,
            Half::Reply => &mut self.reply,
        }
    }

    /// Which end `binding` is.
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

/// Who opens a stream and towards whom.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Opening {
    pub(crate) protocol: Protocol,
    pub(crate) trace: u64,
    pub(crate) caller: (BindingId, Token),
    pub(crate) callee: BindingId,
    /// Credit that the callee starts the initial half with.
    pub(crate) initial_window: u32,
    /// Credit that the caller starts the reply half with.
    pub(crate) reply_window: u32,
}

#[derive(Debug)]
struct Place {
    generation: u32,
    next_free: Option<u32>,
    slot: Option<Slot>,
}

/// All streams of a worker.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    places: Vec<Place>,
    free: Option<u32>,
    len: usize,
}

impl Slots {
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn insert(&mut self, opening: Opening) -> StreamId {
        let slot = Slot {
            protocol: opening.protocol,
            trace: opening.trace,
            caller: End::new(opening.caller.0, Some(opening.caller.1)),
            callee: End::new(opening.callee, None),
            initial: Credit::starting(opening.initial_window),
            reply: Credit::starting(opening.reply_window),
        };
        self.len += 1;
        if let Some(index) = self.free
            && let Some(place) = self.places.get_mut(index as usize)
        {
            self.free = place.next_free.take();
            place.slot = Some(slot);
            return StreamId {
                index,
                generation: place.generation,
            };
        }
        let index = u32::try_from(self.places.len()).unwrap_or(u32::MAX);
        self.places.push(Place {
            generation: 0,
            next_free: None,
            slot: Some(slot),
        });
        StreamId {
            index,
            generation: 0,
        }
    }

    pub(crate) fn get(&self, stream: StreamId) -> Option<&Slot> {
        let place = self.places.get(stream.index as usize)?;
        place
            .slot
            .as_ref()
            .filter(|_| place.generation == stream.generation)
    }

    pub(crate) fn get_mut(&mut self, stream: StreamId) -> Option<&mut Slot> {
        let place = self.places.get_mut(stream.index as usize)?;
        place
            .slot
            .as_mut()
            .filter(|_| place.generation == stream.generation)
    }

    pub(crate) fn remove(&mut self, stream: StreamId) {
        if let Some(place) = self.places.get_mut(stream.index as usize)
            && place.generation == stream.generation
            && place.slot.take().is_some()
        {
            place.generation = place.generation.wrapping_add(1);
            place.next_free = self.free.replace(stream.index);
            self.len -= 1;
        }
    }

    /// The streams of one exchange, by the end that is `binding` with `token`.
    pub(crate) fn of_exchange(&self, binding: BindingId, token: Token) -> Vec<StreamId> {
        let belongs = |end: &End| end.binding == binding && end.token == Some(token);
        self.iter()
            .filter(|(_, slot)| belongs(&slot.caller) || belongs(&slot.callee))
            .map(|(stream, _)| stream)
            .collect()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (StreamId, &Slot)> {
        self.places.iter().enumerate().filter_map(|(index, place)| {
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            let slot = place.slot.as_ref()?;
            Some((
                StreamId {
                    index,
                    generation: place.generation,
                },
                slot,
            ))
        })
    }
}
