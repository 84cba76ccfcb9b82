//! Timers of a worker, ordered by deadline and then by the order in which they were set.
//!
//! Nearly every timer is a deadline that is cancelled long before it is due, so setting and
//! cancelling must be cheap. A cancelled timer stays in the queue as a stale entry; the queue is
//! compacted when most of its entries are stale.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use slab::Slab;

use crate::binding::{BindingId, Token};
use crate::time::Time;

/// Number of stale entries that never trigger a compaction.
const STALE: usize = 32;

/// Identifies a timer for cancellation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimerId {
    sequence: u64,
    key: usize,
}

/// The data of a timer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timer {
    pub(crate) binding: BindingId,
    pub(crate) token: Token,
    pub(crate) kind: u32,
    pub(crate) reason: &'static str,
}

/// The timers of a worker.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    /// The first entry of the queue is never stale.
    queue: BinaryHeap<Reverse<(Time, TimerId)>>,
    /// The set timers, with their sequence numbers.
    pending: Slab<(u64, Timer)>,
    sequence: u64,
}

impl Timers {
    pub(crate) fn set(&mut self, deadline: Time, timer: Timer) -> TimerId {
        self.sequence += 1;
        let id = TimerId {
            sequence: self.sequence,
            key: self.pending.insert((self.sequence, timer)),
        };
        self.queue.push(Reverse((deadline, id)));
        id
    }

    pub(crate) fn cancel(&mut self, id: TimerId) -> bool {
        let set = is_set(&self.pending, id);
        if set {
            self.pending.try_remove(id.key);
            self.clear();
        }
        set
    }

    /// Sequence number of the latest timer, separating timers set so far from later ones.
    pub(crate) const fn newest(&self) -> u64 {
        self.sequence
    }

    /// Removes the first due timer, among those set up to `newest`.
    pub(crate) fn pop_due(&mut self, now: Time, newest: u64) -> Option<Timer> {
        let Reverse((deadline, id)) = self.queue.peek()?;
        // Timers are ordered, so a due timer set later has no earlier one behind it.
        if *deadline > now || id.sequence > newest {
            return None;
        }
        let timer = self.pending.try_remove(id.key);
        self.queue.pop();
        self.clear();
        timer.map(|(_, timer)| timer)
    }

    /// Deadline and reason of the next timer.
    pub(crate) fn next(&self) -> Option<(Time, &'static str)> {
        let Reverse((deadline, id)) = self.queue.peek()?;
        let (_, timer) = self.pending.get(id.key)?;
        Some((*deadline, timer.reason))
    }

    pub(crate) fn len(&self) -> usize {
        self.pending.len()
    }

    /// Removes the timers of one exchange.
    pub(crate) fn remove_exchange(&mut self, binding: BindingId, token: Token) {
        self.pending
            .retain(|_, (_, timer)| timer.binding != binding || timer.token != token);
        self.clear();
    }

    /// Removes stale entries: those at the front, and all of them when they are many.
    fn clear(&mut self) {
        let pending = &self.pending;
        if self.queue.len() > STALE + 2 * pending.len() {
            self.queue.retain(|Reverse((_, id))| is_set(pending, *id));
        }
        while let Some(Reverse((_, id))) = self.queue.peek()
            && !is_set(pending, *id)
        {
            self.queue.pop();
        }
    }
}

fn is_set(pending: &Slab<(u64, Timer)>, id: TimerId) -> bool {
    pending
        .get(id.key)
        .is_some_and(|(sequence, _)| *sequence == id.sequence)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn timer(kind: u32) -> Timer {
        Timer {
            binding: BindingId(0),
            token: Token(kind % 7),
            kind,
            reason: "a test",
        }
    }

    #[test]
    fn cancelled_timers_do_not_accumulate() {
        let mut timers = Timers::default();
        timers.set(Time::from_micros(1), timer(0));
        for kind in 0..100_000 {
            let id = timers.set(Time::from_micros(u64::from(kind) + 2), timer(kind));
            assert!(timers.cancel(id) && !timers.cancel(id));
        }
        assert_eq!(timers.len(), 1);
        assert!(timers.queue.len() <= STALE + 4);
    }

    proptest! {
        // Compared with a sorted map: the same timers fire in the same order, whatever is
        // cancelled.
        #[test]
        fn timers_fire_by_deadline_and_then_by_age(
            steps in proptest::collection::vec((0u8..4, 0u64..50), 1..200),
        ) {
            let (mut timers, mut model) = (Timers::default(), BTreeMap::new());
            let (mut ids, mut now) = (Vec::new(), 0);
            for (kind, (step, number)) in (0u32..).zip(steps) {
                match step {
                    0 | 1 => {
                        let deadline = Time::from_micros(now + number);
                        let id = timers.set(deadline, timer(kind));
                        model.insert((deadline, kind), id);
                        ids.push((id, deadline, kind));
                    }
                    2 if !ids.is_empty() => {
                        let (id, deadline, kind) = ids.swap_remove(usize::try_from(number).unwrap() % ids.len());
                        prop_assert_eq!(timers.cancel(id), model.remove(&(deadline, kind)).is_some());
                    }
                    _ => {
                        now += number;
                        while let Some(fired) = timers.pop_due(Time::from_micros(now), u64::MAX) {
                            let first = model.pop_first();
                            prop_assert_eq!(first.map(|((_, kind), _)| kind), Some(fired.kind));
                        }
                    }
                }
                prop_assert_eq!(timers.len(), model.len());
                let next = model.keys().next().map(|(deadline, _)| *deadline);
                prop_assert_eq!(timers.next().map(|(deadline, _)| deadline), next);
            }
        }
    }
}
