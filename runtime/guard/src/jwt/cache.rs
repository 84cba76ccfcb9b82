//! The tokens that were verified, by their SHA-256.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use tidegate_streams::Identity;

use crate::digest::Digest;

/// At most `max` tokens; beyond, the oldest is forgotten and verified again when it is used.
pub(super) struct Cache {
    max: usize,
    known: BTreeMap<Digest, Arc<Identity>>,
    order: VecDeque<Digest>,
}

impl Cache {
    pub(super) const fn new(max: usize) -> Self {
        Self {
            max,
            known: BTreeMap::new(),
            order: VecDeque::new(),
        }
    }

    pub(super) fn get(&self, digest: &Digest) -> Option<Arc<Identity>> {
        self.known.get(digest).cloned()
    }

    pub(super) fn insert(&mut self, digest: Digest, identity: Arc<Identity>) {
        if self.max == 0 || self.known.insert(digest, identity).is_some() {
            return;
        }
        self.order.push_back(digest);
        if self.order.len() > self.max
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    pub(super) fn clear(&mut self) {
        self.known.clear();
        self.order.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_bounded_and_forgets_the_oldest() {
        let mut cache = Cache::new(2);
        let digest = |text: &str| Digest::of(text.as_bytes());
        for text in ["a", "b", "b", "c"] {
            cache.insert(digest(text), Arc::default());
        }
        let known = ["a", "b", "c"].map(|text| cache.get(&digest(text)).is_some());
        assert_eq!(known, [false, true, true]);
        assert_eq!((cache.known.len(), cache.order.len()), (2, 2));
        cache.clear();
        assert!(cache.get(&digest("c")).is_none());
        let mut none = Cache::new(0);
        none.insert(digest("a"), Arc::default());
        assert!(none.get(&digest("a")).is_none());
    }
}
