//! Packet identifiers (MQTT 5.0, 2.2.1): which are in use on a connection, and for what.

use std::collections::BTreeMap;

/// What is under way on a connection, by packet identifier.
///
/// Identifiers are given out in turn, so that one is not used again soon after it was freed; those
/// in use are skipped, and 0 is none.
#[derive(Debug)]
pub(super) struct PacketIds<T> {
    used: BTreeMap<u16, T>,
    last: u16,
}

impl<T> Default for PacketIds<T> {
    fn default() -> Self {
        Self {
            used: BTreeMap::new(),
            last: 0,
        }
    }
}

impl<T> PacketIds<T> {
    /// Whether one more can be given out.
    pub(super) fn is_exhausted(&self) -> bool {
        self.used.len() >= usize::from(u16::MAX)
    }

    /// Takes the next identifier for `what`; nothing while all 65,535 are in use.
    pub(super) fn allocate(&mut self, what: T) -> Option<u16> {
        if self.is_exhausted() {
            return None;
        }
        loop {
            self.last = self.last.checked_add(1).unwrap_or(1);
            if !self.used.contains_key(&self.last) {
                self.used.insert(self.last, what);
                return Some(self.last);
            }
        }
    }

    /// What an identifier is in use for.
    pub(super) fn get_mut(&mut self, id: u16) -> Option<&mut T> {
        self.used.get_mut(&id)
    }

    /// Frees an identifier.
    pub(super) fn release(&mut self, id: u16) -> Option<T> {
        self.used.remove(&id)
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

    #[test]
    fn identifiers_wrap_and_skip_what_is_in_use() {
        let mut ids = PacketIds::default();
        assert_eq!(ids.allocate("kept"), Some(1));
        for expected in 2..=u16::MAX {
            let id = ids.allocate("short").expect("free");
            assert_eq!(id, expected);
            ids.release(id);
        }
        assert_eq!(
            ids.allocate("after the wrap"),
            Some(2),
            "1 is in use, 0 is none"
        );
        assert_eq!(ids.get_mut(1), Some(&mut "kept"));
    }

    #[test]
    fn when_all_are_in_use_there_is_none() {
        let mut ids = PacketIds::default();
        for _ in 0..u16::MAX {
            assert!(ids.allocate(()).is_some());
        }
        assert!(ids.is_exhausted());
        assert_eq!(ids.allocate(()), None);
        ids.release(40_000);
        assert_eq!(ids.allocate(()), Some(40_000));
        assert_eq!(ids.len(), usize::from(u16::MAX));
    }
}
