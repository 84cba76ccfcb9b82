//! Changes that a client must be notified of, and its subscriptions.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use bytestring::ByteString;

use crate::jsonrpc::Id;
use crate::jsonrpc::notification::{List, updated};

/// Maximum number of subscriptions of a session or a `listen`.
pub(super) const SUBSCRIPTIONS_MAX: usize = 1_000;

/// A change.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Change {
    /// A list.
    List(List),
    /// A resource.
    Resource(ByteString),
}

impl Change {
    /// The notification; `subscription` is the id of the `listen` that requested it.
    pub(super) fn message(&self, subscription: Option<&Id>) -> Bytes {
        match self {
            Self::List(list) => list.changed_message(subscription),
            Self::Resource(uri) => updated(uri, subscription),
        }
    }
}

/// Changes not yet sent, because the client does not read or is not connected. Repeated changes are
/// sent once.
#[derive(Debug, Default)]
pub(super) struct Updates {
    changes: BTreeSet<Change>,
    /// Bytes of the URIs named by the exit that are not subscribed themselves.
    foreign: usize,
}

impl Updates {
    /// Records that a list has changed.
    pub(super) fn note_list(&mut self, list: List) {
        self.changes.insert(Change::List(list));
    }

    /// Records that a resource has changed. It may be a part of the `subscribed` resource. If too
    /// many parts are queued, or more than `bytes` of their URIs, the subscribed resource itself is
    /// reported as changed.
    pub(super) fn note(&mut self, subscribed: &ByteString, changed: ByteString, bytes: usize) {
        let room = bytes.saturating_sub(self.foreign);
        if changed == *subscribed || changed.len() > room || self.changes.len() >= SUBSCRIPTIONS_MAX
        {
            // Shares the memory of the subscription.
            self.changes.insert(Change::Resource(subscribed.clone()));
            return;
        }
        let length = changed.len();
        if self.changes.insert(Change::Resource(changed)) {
            self.foreign += length;
        }
    }

    /// Removes the changes of a subscription.
    pub(super) fn remove(&mut self, uri: &ByteString) {
        self.changes.remove(&Change::Resource(uri.clone()));
    }

    pub(super) fn take(&mut self) -> Option<Change> {
        let change = self.changes.pop_first();
        if self.changes.is_empty() {
            self.foreign = 0;
        }
        change
    }
}

/// The subscriptions of a session or a `listen`, by URI.
#[derive(Debug, Default)]
pub(super) struct Subscribed {
    by_uri: BTreeMap<ByteString, usize>,
    /// Bytes of all URIs.
    bytes: usize,
}

impl Subscribed {
    pub(super) fn insert(&mut self, uri: ByteString, subscription: usize) {
        self.bytes += uri.len();
        let before = self.by_uri.insert(uri, subscription);
        debug_assert!(before.is_none(), "one subscription for each URI");
    }

    pub(super) fn remove(&mut self, uri: &str) -> Option<usize> {
        let removed = self.by_uri.remove(uri)?;
        self.bytes = self.bytes.saturating_sub(uri.len());
        Some(removed)
    }

    pub(super) fn get(&self, uri: &str) -> Option<usize> {
        self.by_uri.get(uri).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.by_uri.len()
    }

    /// Bytes of all URIs.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn uris(&self) -> impl ExactSizeIterator<Item = &ByteString> {
        self.by_uri.keys()
    }

    /// The subscriptions.
    pub(super) fn keys(&self) -> impl Iterator<Item = usize> {
        self.by_uri.values().copied()
    }

    /// Removes and returns the subscriptions.
    pub(super) fn take(&mut self) -> impl Iterator<Item = usize> + use<> {
        std::mem::take(self).by_uri.into_values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_once_and_lists_before_resources() {
        let mut updates = Updates::default();
        for _ in 0..2 {
            updates.note(&"u".into(), "u".into(), 100);
            updates.note_list(List::Tools);
        }
        assert_eq!(updates.take(), Some(Change::List(List::Tools)));
        assert_eq!(updates.take(), Some(Change::Resource("u".into())));
        assert_eq!(updates.take(), None);
    }

    #[test]
    fn parts_of_a_resource_are_bounded_in_bytes_and_the_whole_is_told_instead() {
        let mut updates = Updates::default();
        let all = ByteString::from("a/#");
        for part in ["a/1", "a/2", "a/3"] {
            updates.note(&all, part.into(), 6);
        }
        let mut told = Vec::new();
        while let Some(Change::Resource(uri)) = updates.take() {
            told.push(uri);
        }
        assert_eq!(told, ["a/#", "a/1", "a/2"]);
        updates.note(&all, "a/3".into(), 6);
        assert_eq!(updates.take(), Some(Change::Resource("a/3".into())));
    }

    #[test]
    fn the_bytes_of_uris_are_those_that_are_there() {
        let mut subscribed = Subscribed::default();
        subscribed.insert("abc".into(), 0);
        subscribed.insert("de".into(), 1);
        assert_eq!((subscribed.len(), subscribed.bytes()), (2, 5));
        assert_eq!(subscribed.remove("abc"), Some(0));
        assert_eq!(subscribed.remove("abc"), None);
        assert_eq!(subscribed.bytes(), 2);
        assert_eq!(subscribed.take().collect::<Vec<_>>(), [1]);
        assert_eq!((subscribed.len(), subscribed.bytes()), (0, 0));
    }
}
