//! The running requests of a client, by the client's ids.

use std::collections::BTreeMap;

use super::errors::Refusal;
use crate::jsonrpc::Id;

/// Maximum number of running requests of a session or a line.
pub(super) const REQUESTS_MAX: usize = 256;

/// The running requests of one line or one session. `W` identifies a request.
#[derive(Debug)]
pub(super) struct Running<W>(BTreeMap<Id, W>);

impl<W: Copy> Running<W> {
    pub(super) const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Checks that one more request may run and that its id is not in use.
    pub(super) fn check_room(&self, id: &Id) -> Result<(), Refusal> {
        if self.0.contains_key(id) {
            return Err(Refusal::invalid_request(
                "A request with this id is already running.",
            ));
        }
        if self.0.len() >= REQUESTS_MAX {
            let what = format!("{REQUESTS_MAX} requests are running; wait for a response first.");
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
        debug_assert!(removed.is_some(), "no request with this id is running");
    }

    pub(super) fn get(&self, id: &Id) -> Option<W> {
        self.0.get(id).copied()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All running requests, ordered by id.
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
        let mut running = Running::new();
        for number in 0..REQUESTS_MAX {
            running.check_room(&id(number)).expect("room");
            running.insert(id(number), number);
        }
        assert!(running.check_room(&id(0)).is_err(), "the id is taken");
        assert!(running.check_room(&id(REQUESTS_MAX)).is_err(), "too many");
        running.remove(&id(7));
        assert_eq!(running.get(&id(7)), None);
        running.check_room(&id(7)).expect("free again");
        assert!(running.check_room(&id(8)).is_err(), "taken still");
        assert_eq!(running.iter().count(), REQUESTS_MAX - 1);
    }
}
