//! Requests to clients of the legacy era that wait for a response.
//!
//! Owns the ids of these requests, and for whom each was made. A response counts only in the session
//! in which its request was sent. The exit's operations bound their number:
//! [`CHALLENGES_MAX`](tidegate_streams::mcp::CHALLENGES_MAX) for each.

use std::collections::BTreeMap;

use crate::jsonrpc::Id;

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asker {
    /// A running request.
    Request(usize),
    /// The session itself.
    Session(usize),
}

/// A request to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) asker: Asker,
    /// The exit's id of it.
    pub(super) challenge: u64,
    /// The session of the client.
    pub(super) session: usize,
}

/// The requests to clients of a worker.
#[derive(Debug, Default)]
pub(super) struct Inputs {
    all: BTreeMap<u64, Asked>,
    last: u64,
}

impl Inputs {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Adds a request to the client of a session; returns its id.
    pub(super) fn open(&mut self, asker: Asker, challenge: u64, session: usize) -> u64 {
        self.last += 1;
        let request = Asked {
            asker,
            challenge,
            session,
        };
        self.all.insert(self.last, request);
        self.last
    }

    /// Removes the request that a response in `session` answers.
    pub(super) fn answered(&mut self, id: &Id, session: usize) -> Option<Asked> {
        let id = std::str::from_utf8(id.text()).ok()?.parse().ok()?;
        let asked = self.all.get(&id)?;
        if asked.session != session {
            return None;
        }
        self.all.remove(&id)
    }

    /// Removes a request that is not waited for any more.
    pub(super) fn remove(&mut self, id: u64) -> Option<Asked> {
        self.all.remove(&id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_counts_once_and_only_in_its_session() {
        let mut inputs = Inputs::default();
        let first = inputs.open(Asker::Request(7), 1, 3);
        let second = inputs.open(Asker::Session(3), 1, 3);
        assert_ne!(first, second);
        let id = Id::number(first);
        assert_eq!(inputs.answered(&id, 4), None, "another session");
        assert_eq!(inputs.answered(&Id::null(), 3), None);
        let asked = inputs.answered(&id, 3).expect("the first");
        assert_eq!((asked.asker, asked.challenge), (Asker::Request(7), 1));
        assert_eq!(inputs.answered(&id, 3), None, "once");
        assert_eq!(inputs.remove(second).map(|asked| asked.session), Some(3));
        assert_eq!((inputs.remove(second), inputs.len()), (None, 0));
    }
}
