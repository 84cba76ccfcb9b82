//! The lists of toolkits, kept for a while, so that the same list is not requested again and again.
//!
//! A list is kept for callers of equal rights, because a toolkit may show something else to others. It
//! is removed when the toolkit says that it has changed, and at the end of its time to live. All lists
//! together have at most `maxCacheSize` bytes: beyond that the one that was used least recently is
//! removed. A request that is under way is registered here too, so that callers share it.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate_engine::Time;
use tidegate_streams::Identity;
use tidegate_streams::mcp::McpCacheScope;

use super::list_kind::ListKind;
use super::listing::Listing;

/// Most callers for whom the same list of the same toolkit is kept.
const CALLERS_MAX: usize = 256;

/// Identifies a list of a toolkit.
#[derive(Debug, Clone)]
pub(super) struct Key {
    /// The toolkit, as an index into the routing.
    pub(super) upstream: usize,
    pub(super) kind: ListKind,
    pub(super) caller: Option<Arc<Identity>>,
}

/// What a toolkit said about how long its list may be kept, and for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hints {
    /// Milliseconds; `None`: it said nothing.
    pub(super) ttl_ms: Option<u64>,
    pub(super) scope: McpCacheScope,
}

/// A list of a toolkit.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) listing: Arc<Listing>,
    pub(super) hints: Hints,
    /// The toolkit has more pages than `maxPages`.
    pub(super) cut: bool,
    /// End of its time to live.
    pub(super) until: Time,
}

#[derive(Debug)]
struct Slot {
    caller: Option<Arc<Identity>>,
    kept: Option<Kept>,
    /// The request under way, as the key of its exchange.
    fetch: Option<usize>,
    /// When it was used last, as a number that only increases.
    used: u64,
}

/// The lists of all toolkits.
#[derive(Debug)]
pub(super) struct Cache {
    slots: BTreeMap<(usize, ListKind), Vec<Slot>>,
    size: usize,
    size_max: usize,
    uses: u64,
}

fn same_rights(one: Option<&Arc<Identity>>, other: Option<&Arc<Identity>>) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => Arc::ptr_eq(one, other) || one.has_same_rights(other),
        _ => false,
    }
}

impl Slot {
    fn size(&self) -> usize {
        self.kept.as_ref().map_or(0, |kept| kept.listing.size())
    }
}

impl Cache {
    pub(super) const fn new(size_max: usize) -> Self {
        Self {
            slots: BTreeMap::new(),
            size: 0,
            size_max,
            uses: 0,
        }
    }

    /// The bytes of all lists.
    pub(super) const fn size(&self) -> usize {
        self.size
    }

    fn slot(&mut self, key: &Key) -> Option<&mut Slot> {
        let slots = self.slots.get_mut(&(key.upstream, key.kind))?;
        let caller = key.caller.as_ref();
        slots
            .iter_mut()
            .find(|slot| same_rights(slot.caller.as_ref(), caller))
    }

    /// The slot of a list, which is added if there is room for one more caller.
    fn slot_or_new(&mut self, key: &Key) -> Option<&mut Slot> {
        self.uses += 1;
        let uses = self.uses;
        let slots = self.slots.entry((key.upstream, key.kind)).or_default();
        let caller = key.caller.as_ref();
        let same = |slot: &Slot| same_rights(slot.caller.as_ref(), caller);
        let index = if let Some(index) = slots.iter().position(same) {
            index
        } else {
            if slots.len() >= CALLERS_MAX {
                let idle = slots
                    .iter()
                    .enumerate()
                    .filter(|(_, slot)| slot.fetch.is_none());
                let (oldest, _) = idle.min_by_key(|(_, slot)| slot.used)?;
                self.size -= slots.swap_remove(oldest).size();
            }
            slots.push(Slot {
                caller: key.caller.clone(),
                kept: None,
                fetch: None,
                used: uses,
            });
            slots.len() - 1
        };
        let slot = slots.get_mut(index)?;
        slot.used = uses;
        Some(slot)
    }

    /// A list, if it is kept and fresh.
    pub(super) fn get(&mut self, key: &Key, now: Time) -> Option<Kept> {
        self.uses += 1;
        let uses = self.uses;
        let slot = self.slot(key)?;
        let kept = slot.kept.as_ref()?;
        if kept.until <= now {
            let size = slot.size();
            slot.kept = None;
            self.size -= size;
            self.remove_if_empty(key);
            return None;
        }
        slot.used = uses;
        slot.kept.clone()
    }

    /// The request for a list that is under way.
    pub(super) fn fetch(&mut self, key: &Key) -> Option<usize> {
        self.slot(key)?.fetch
    }

    /// A request for a list has begun.
    pub(super) fn fetch_begun(&mut self, key: &Key, fetch: usize) {
        if let Some(slot) = self.slot_or_new(key) {
            slot.fetch = Some(fetch);
        }
    }

    /// A request has ended.
    pub(super) fn fetch_ended(&mut self, key: &Key, fetch: usize) {
        if let Some(slot) = self.slot(key)
            && slot.fetch == Some(fetch)
        {
            slot.fetch = None;
            self.remove_if_empty(key);
        }
    }

    fn remove_if_empty(&mut self, key: &Key) {
        let place = (key.upstream, key.kind);
        if let Some(slots) = self.slots.get_mut(&place) {
            slots.retain(|slot| slot.kept.is_some() || slot.fetch.is_some());
            if slots.is_empty() {
                self.slots.remove(&place);
            }
        }
    }

    /// Keeps a list. One that is larger than all lists may be is not kept.
    pub(super) fn put(&mut self, key: &Key, kept: Kept) {
        let size = kept.listing.size();
        if size > self.size_max {
            return;
        }
        let Some(slot) = self.slot_or_new(key) else {
            return;
        };
        let before = slot.size();
        slot.kept = Some(kept);
        self.size = self.size - before + size;
        while self.size > self.size_max && self.remove_oldest() {}
    }

    /// Removes the list that was used least recently. It looks at each list, which is rare: only a new
    /// list beyond the limit makes it necessary.
    fn remove_oldest(&mut self) -> bool {
        let slots = self.slots.iter().flat_map(|(place, slots)| {
            let kept = slots.iter().filter(|slot| slot.kept.is_some());
            kept.map(move |slot| (slot.used, *place))
        });
        let Some((used, place)) = slots.min() else {
            return false;
        };
        let slots = self.slots.get_mut(&place).into_iter().flatten();
        for slot in slots.filter(|slot| slot.used == used) {
            self.size -= slot.size();
            slot.kept = None;
        }
        true
    }

    /// Removes the lists of a toolkit, or only those of one kind.
    pub(super) fn invalidate(&mut self, upstream: usize, kind: Option<ListKind>) {
        let every = (upstream, ListKind::Tools)..=(upstream, ListKind::Templates);
        let mut removed = 0;
        for ((_, of), slots) in self.slots.range_mut(every) {
            if kind.is_none_or(|kind| kind == *of) {
                removed += slots.iter().map(Slot::size).sum::<usize>();
                for slot in slots.iter_mut() {
                    slot.kept = None;
                }
                slots.retain(|slot| slot.fetch.is_some());
            }
        }
        self.size -= removed;
    }

    /// The requests under way for the lists of a toolkit, or only those of one kind.
    pub(super) fn fetches(&self, upstream: usize, kind: Option<ListKind>) -> Vec<usize> {
        let every = (upstream, ListKind::Tools)..=(upstream, ListKind::Templates);
        let all = self.slots.range(every);
        let of_kind = all.filter(|((_, of), _)| kind.is_none_or(|kind| kind == *of));
        let slots = of_kind.flat_map(|(_, slots)| slots);
        slots.filter_map(|slot| slot.fetch).collect()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tidegate_engine::Duration;

    use super::*;
    use crate::proxy::listing::Collector;
    use crate::proxy::listing::tests::rules;

    fn key(upstream: usize, subject: Option<&str>) -> Key {
        let caller = subject.map(|subject| {
            Arc::new(Identity {
                subject: subject.into(),
                ..Identity::default()
            })
        });
        Key {
            upstream,
            kind: ListKind::Tools,
            caller,
        }
    }

    fn kept(length: usize) -> Kept {
        let result = format!("{{\"tools\":[{{\"name\":\"{}\"}}]}}", "n".repeat(length));
        let mut collector = Collector::new(ListKind::Tools, rules(""));
        collector
            .add(Bytes::from(result).into(), 0)
            .expect("a page");
        Kept {
            listing: Arc::new(collector.take().listing),
            hints: Hints {
                ttl_ms: Some(5_000),
                scope: McpCacheScope::Public,
            },
            cut: false,
            until: Time::START + Duration::from_secs(5),
        }
    }

    #[test]
    fn a_list_is_shared_by_callers_of_equal_rights_only() {
        let mut cache = Cache::new(10_000);
        cache.put(&key(0, Some("a")), kept(1));
        let has = |cache: &mut Cache, key: &Key| cache.get(key, Time::START).is_some();
        assert!(has(&mut cache, &key(0, Some("a"))));
        for other in [key(0, Some("b")), key(0, None), key(1, Some("a"))] {
            assert!(!has(&mut cache, &other), "{other:?}");
        }
        let mut promoted = key(0, Some("a"));
        promoted.caller = promoted.caller.map(|caller| {
            Arc::new(Identity {
                roles: vec!["operator".into()],
                ..(*caller).clone()
            })
        });
        assert!(!has(&mut cache, &promoted));
    }

    #[test]
    fn a_list_ends_with_its_time_to_live_and_when_it_changes() {
        let mut cache = Cache::new(10_000);
        let key = key(0, None);
        cache.put(&key, kept(1));
        let end = Time::START + Duration::from_secs(5);
        let before = Time::from_micros(end.as_micros() - 1);
        assert!(cache.get(&key, before).is_some());
        assert!(cache.get(&key, end).is_none());
        assert_eq!((cache.size(), cache.slots.len()), (0, 0));
        cache.put(&key, kept(1));
        cache.invalidate(0, Some(ListKind::Prompts));
        cache.invalidate(1, None);
        assert!(cache.get(&key, before).is_some());
        cache.invalidate(0, Some(ListKind::Tools));
        assert!(cache.get(&key, before).is_none());
        assert_eq!(cache.size(), 0);
    }

    #[test]
    fn the_least_recently_used_lists_make_room() {
        let size = kept(100).listing.size();
        let mut cache = Cache::new(2 * size);
        cache.put(&key(0, None), kept(100));
        cache.put(&key(1, None), kept(100));
        assert!(cache.get(&key(0, None), Time::START).is_some());
        cache.put(&key(2, None), kept(100));
        assert_eq!(cache.size(), 2 * size);
        assert!(cache.get(&key(0, None), Time::START).is_some());
        assert!(cache.get(&key(1, None), Time::START).is_none());
        cache.put(&key(0, None), kept(1_000));
        assert!(
            cache.get(&key(2, None), Time::START).is_some(),
            "too large, and not kept"
        );
    }

    #[test]
    fn the_number_of_callers_is_bounded_and_requests_under_way_are_not_removed() {
        let mut cache = Cache::new(1 << 20);
        let waiting = key(0, Some("first"));
        cache.fetch_begun(&waiting, 7);
        for number in 0..2 * CALLERS_MAX {
            cache.put(&key(0, Some(&number.to_string())), kept(1));
        }
        assert_eq!(cache.slots[&(0, ListKind::Tools)].len(), CALLERS_MAX);
        assert_eq!(cache.fetch(&waiting), Some(7));
        assert_eq!(cache.fetches(0, None), [7]);
        cache.fetch_ended(&waiting, 8);
        assert_eq!(cache.fetch(&waiting), Some(7), "another one has ended");
        cache.fetch_ended(&waiting, 7);
        assert_eq!(cache.fetch(&waiting), None);
    }
}
