//! Timers of a worker: ordered by deadline, then by the order in which they were set.

use std::collections::BTreeMap;

use crate::binding::{BindingId, Token};
use crate::time::Time;

/// Names a timer, for its cancellation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimerId {
    deadline: Time,
    sequence: u64,
}

/// What a timer tells when it fires.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timer {
    pub(crate) binding: BindingId,
    pub(crate) token: Token,
    pub(crate) kind: u32,
    pub(crate) reason: &'static str,
}

/// A worker's timers. A cancelled one leaves nothing behind.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    pending: BTreeMap<TimerId, Timer>,
    sequence: u64,
}

impl Timers {
    pub(crate) fn set(&mut self, deadline: Time, timer: Timer) -> TimerId {
        self.sequence += 1;
        let id = TimerId {
            deadline,
            sequence: self.sequence,
        };
        self.pending.insert(id, timer);
        id
    }

    pub(crate) fn cancel(&mut self, id: TimerId) -> bool {
        self.pending.remove(&id).is_some()
    }

    /// Takes the first timer that is due.
    pub(crate) fn pop_due(&mut self, now: Time) -> Option<Timer> {
        let first = self.pending.first_entry()?;
        (first.key().deadline <= now).then(|| first.remove())
    }

    /// When the next timer is due, and why.
    pub(crate) fn next(&self) -> Option<(Time, &'static str)> {
        self.pending
            .first_key_value()
            .map(|(id, timer)| (id.deadline, timer.reason))
    }

    pub(crate) fn len(&self) -> usize {
        self.pending.len()
    }

    /// Forgets the timers of one exchange.
    pub(crate) fn forget(&mut self, binding: BindingId, token: Token) {
        self.pending
            .retain(|_, timer| timer.binding != binding || timer.token != token);
    }
}
