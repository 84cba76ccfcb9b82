//! The last keys that were refused, so that repeating one costs no verification.

use std::collections::{BTreeSet, VecDeque};

use crate::digest::Digest;

/// Most keys that are remembered; the oldest is forgotten.
const REMEMBERED: usize = 1_024;

/// Digests of refused keys, in the order of refusal.
#[derive(Default)]
pub(super) struct Refused {
    known: BTreeSet<Digest>,
    order: VecDeque<Digest>,
}

impl Refused {
    pub(super) fn contains(&self, digest: &Digest) -> bool {
        self.known.contains(digest)
    }

    pub(super) fn insert(&mut self, digest: Digest) {
        if !self.known.insert(digest) {
            return;
        }
        self.order.push_back(digest);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten() {
        let mut refused = Refused::default();
        let digest = |number: usize| Digest::of(&number.to_be_bytes());
        for number in 0..=REMEMBERED {
            refused.insert(digest(number));
            refused.insert(digest(number));
        }
        assert!(!refused.contains(&digest(0)));
        assert!(refused.contains(&digest(1)) && refused.contains(&digest(REMEMBERED)));
        assert_eq!(
            (refused.known.len(), refused.order.len()),
            (REMEMBERED, REMEMBERED)
        );
    }
}
