//! Packet identifiers (MQTT 5.0, 2.2.1): which are in use on a connection, for what, and since
//! when.

use std::collections::BTreeMap;

use tidegate_engine::Time;

/// The packet identifiers in use, with what each waits for.
///
/// Identifiers are allocated in ascending order and wrap around, so that a freed one is not reused
/// soon. Identifiers in use are skipped, and 0 is never used.
#[derive(Debug)]
pub(super) struct PacketIds<T> {
    used: BTreeMap<u16, Used<T>>,
    last: u16,
    /// The peer has read the byte stream up to this position, since it answered a packet there.
    read: u64,
}

#[derive(Debug)]
struct Used<T> {
    what: T,
    sent: Sent,
    /// It waits to be sent again.
    waits: bool,
}

/// When a packet was sent, and its position in the byte stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) at: Time,
    pub(super) position: u64,
}

impl<T> Default for PacketIds<T> {
    fn default() -> Self {
        Self {
            used: BTreeMap::new(),
            last: 0,
            read: 0,
        }
    }
}

impl<T> PacketIds<T> {
    /// Whether all identifiers are in use.
    pub(super) fn is_exhausted(&self) -> bool {
        self.used.len() >= usize::from(u16::MAX)
    }

    /// Allocates the next identifier; `None` if all 65,535 are in use.
    pub(super) fn allocate(&mut self, what: T, sent: Sent) -> Option<u16> {
        if self.is_exhausted() {
            return None;
        }
        loop {
            self.last = self.last.checked_add(1).unwrap_or(1);
            if !self.used.contains_key(&self.last) {
                let waits = false;
                self.used.insert(self.last, Used { what, sent, waits });
                return Some(self.last);
            }
        }
    }

    /// What an identifier waits for.
    pub(super) fn get_mut(&mut self, id: u16) -> Option<&mut T> {
        self.used.get_mut(&id).map(|used| &mut used.what)
    }

    /// Keeps an identifier in use for another packet, which is sent now.
    pub(super) fn renew(&mut self, id: u16, sent: Sent) {
        if let Some(used) = self.used.get_mut(&id) {
            self.read = self.read.max(used.sent.position);
            used.sent = sent;
            used.waits = false;
        }
    }

    /// When and where the packet of an identifier was sent.
    pub(super) fn sent(&self, id: u16) -> Option<Sent> {
        self.used.get(&id).map(|used| used.sent)
    }

    /// What the identifiers wait for.
    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.used.values().map(|used| &used.what)
    }

    /// The identifiers in use, in the order in which their packets were sent.
    pub(super) fn in_order(&self) -> Vec<u16> {
        let mut ids: Vec<_> = self.used.iter().collect();
        ids.sort_by_key(|(_, used)| used.sent.position);
        ids.into_iter().map(|(id, _)| *id).collect()
    }

    /// The byte stream was replaced: positions begin at 0, and every packet waits to be sent again.
    pub(super) fn restart(&mut self, now: Time) {
        self.read = 0;
        for used in self.used.values_mut() {
            used.waits = true;
            used.sent = Sent {
                at: now,
                position: 0,
            };
        }
    }

    /// The packet of an identifier was sent again.
    pub(super) fn sent_again(&mut self, id: u16, sent: Sent) {
        if let Some(used) = self.used.get_mut(&id) {
            used.sent = sent;
            used.waits = false;
        }
    }

    /// Frees an identifier: its packet was answered.
    pub(super) fn release(&mut self, id: u16) -> Option<T> {
        let used = self.used.remove(&id)?;
        self.read(used.sent.position);
        Some(used.what)
    }

    /// Frees an identifier whose packet was not sent.
    pub(super) fn release_unsent(&mut self, id: u16) -> Option<T> {
        self.used.remove(&id).map(|used| used.what)
    }

    /// The peer answered a packet at this position.
    pub(super) fn read(&mut self, position: u64) {
        self.read = self.read.max(position);
    }

    /// The position up to which the peer has read, as far as its answers show.
    pub(super) const fn read_up_to(&self) -> u64 {
        self.read
    }

    /// What is pending for the longest time, without what waits to be sent again. O(n) in the number of
    /// identifiers in use.
    pub(super) fn oldest(&self) -> Option<(&T, Sent)> {
        let sent = self.used.values().filter(|used| !used.waits);
        let oldest = sent.min_by_key(|used| used.sent.at)?;
        Some((&oldest.what, oldest.sent))
    }

    /// What is under way, in order of identifier.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.used.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn sent(seconds: u64, position: u64) -> Sent {
        Sent {
            at: Time::from_micros(seconds * 1_000_000),
            position,
        }
    }

    #[test]
    fn identifiers_wrap_and_skip_those_in_use() {
        let mut ids = PacketIds::default();
        assert_eq!(ids.allocate("kept", sent(0, 0)), Some(1));
        for expected in 2..=u16::MAX {
            let id = ids.allocate("short", sent(0, 0)).expect("free");
            assert_eq!(id, expected);
            ids.release(id);
        }
        assert_eq!(
            ids.allocate("after the wrap", sent(0, 0)),
            Some(2),
            "1 is in use, 0 is none"
        );
        assert_eq!(ids.get_mut(1), Some(&mut "kept"));
    }

    #[test]
    fn allocation_fails_while_all_identifiers_are_in_use() {
        let mut ids = PacketIds::default();
        for _ in 0..u16::MAX {
            assert!(ids.allocate((), sent(0, 0)).is_some());
        }
        assert!(ids.is_exhausted());
        assert_eq!(ids.allocate((), sent(0, 0)), None);
        ids.release(40_000);
        assert_eq!(ids.allocate((), sent(0, 0)), Some(40_000));
        assert_eq!(ids.len(), usize::from(u16::MAX));
    }

    #[test]
    fn after_a_restart_packets_are_in_the_order_in_which_they_were_sent_again() {
        let mut ids = PacketIds::default();
        for position in [0, 10, 20] {
            ids.allocate((), sent(0, position));
        }
        ids.renew(1, sent(1, 30));
        assert_eq!(ids.in_order(), [2, 3, 1]);
        ids.restart(Time::START);
        assert_eq!((ids.read_up_to(), ids.oldest()), (0, None));
        for (id, position) in [(3, 5), (2, 15), (1, 25)] {
            ids.sent_again(id, sent(2, position));
        }
        assert_eq!(
            ids.oldest(),
            Some((&(), sent(2, 25))),
            "the first of one time"
        );
        assert_eq!((ids.in_order(), ids.read_up_to()), (vec![3, 2, 1], 0));
        assert_eq!(ids.sent(2), Some(sent(2, 15)));
    }

    #[test]
    fn the_oldest_identifier_and_the_read_position_are_known() {
        let mut ids = PacketIds::default();
        assert_eq!(ids.oldest(), None);
        for second in 0..3 {
            ids.allocate("", sent(second, second * 100));
        }
        assert_eq!(ids.oldest(), Some((&"", sent(0, 0))));
        ids.renew(1, sent(7, 700));
        assert_eq!(ids.oldest(), Some((&"", sent(1, 100))));
        assert_eq!(ids.read_up_to(), 0);
        ids.release(3);
        assert_eq!(ids.read_up_to(), 200);
        ids.release_unsent(1);
        ids.release(2);
        assert_eq!((ids.read_up_to(), ids.oldest()), (200, None));
    }
}
