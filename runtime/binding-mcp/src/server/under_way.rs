//! The requests that a client has under way, by the client's ids.

use std::collections::BTreeMap;

use super::errors::Refusal;
use crate::jsonrpc::Id;

/// How many requests a session, or a line, may have under way.
pub(super) const REQUESTS_MAX: usize = 256;

/// What is under way on one line, or in one session. `W` names it.
#[derive(Debug)]
pub(super) struct UnderWay<W>(BTreeMap<Id, W>);

impl<W: Copy> UnderWay<W> {
    pub(super) const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Whether one more request may be under way, and its id is free.
    pub(super) fn check_room(&self, id: &Id) -> Result<(), Refusal> {
        if self.0.contains_key(id) {
            return Err(Refusal::invalid_request(
                "A request with this id is under way.",
            ));
        }
        if self.0.len() >= REQUESTS_MAX {
            let what = format!("{REQUESTS_MAX} requests are under way; wait for an answer first.");
            return Err(Refusal::unavailable(what));
        }
        Ok(())
    }

    pub(super) fn insert(&mut self, id: Id, work: W) {
        let before = self.0.insert(id, work);
        debug_assert!(before.is_none(), "the id was free");
    }

    pub(super) fn remove(&mut self, id: &Id) {
        let removed = self.0.remove(id);
        debug_assert!(removed.is_some(), "nothing of this id is under way");
    }

    pub(super) fn get(&self, id: &Id) -> Option<W> {
        self.0.get(id).copied()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of it, in the order of ids.
    pub(super) fn iter(&self) -> impl Iterator<Item = W> {
        self.0.values().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_free_again_once_their_requests_are_over_and_their_number_is_bounded() {
        let id = |number: usize| Id::number(number as u64);
        let mut under_way = UnderWay::new();
        for number in 0..REQUESTS_MAX {
            under_way.check_room(&id(number)).expect("room");
            under_way.insert(id(number), number);
        }
        assert!(under_way.check_room(&id(0)).is_err(), "the id is taken");
        assert!(under_way.check_room(&id(REQUESTS_MAX)).is_err(), "too many");
        under_way.remove(&id(7));
        assert_eq!(under_way.get(&id(7)), None);
        under_way.check_room(&id(7)).expect("free again");
        assert!(under_way.check_room(&id(8)).is_err(), "taken still");
        assert_eq!(under_way.iter().count(), REQUESTS_MAX - 1);
    }
}
