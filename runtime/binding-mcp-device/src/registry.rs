//! The devices, and the last value of each topic.
//!
//! A message is recorded with one look-up of its topic; its payload is copied, and not parsed. A device knows its
//! topics by index, so that reading a value needs no look-up. Devices come from three sources: the config, topics on
//! which they are seen, and declarations of their own.
//!
//! Guarantees:
//! - devices and the bytes of values are bounded; seen devices that were silent for longest are removed
//!   first, devices that somebody waits for and others are kept;
//! - a seen device has a type of the config, and its topic is allowed by `seen`.

mod nearest;
mod recording;

use std::collections::BTreeMap;
use std::rc::Rc;

use bytestring::ByteString;
use slab::Slab;
use tidegate_device::{Availability, AvailabilityMode, Source};
use tidegate_streams::Identity;
use tidegate_streams::mqtt::topic::TopicPatterns;

use crate::entry::{Entry, Online, Part};
use crate::model::{Model, Models, check_id};
use crate::options::Options;
use crate::recency::Recency;
use crate::slot::{Slot, SlotId, Users};
use crate::visible::Visible;

pub(crate) use crate::slot::Cached;

/// Index of a device.
pub(crate) type DeviceId = u32;

/// What became of a message.
#[derive(Debug, Default)]
pub(crate) struct Recorded {
    /// The devices that it says something about.
    pub(crate) users: Users,
    /// Whether devices were added or removed.
    pub(crate) changed: bool,
}

/// A received message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Received<'a> {
    pub(crate) topic: &'a str,
    pub(crate) payload: &'a [u8],
    pub(crate) retained: bool,
}

/// Counters of the registry.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) recorded: u64,
    /// Messages of no device.
    pub(crate) ignored: u64,
    /// Messages that are too large, or for which there was no room.
    pub(crate) dropped: u64,
    /// Devices removed at a limit.
    pub(crate) removed: u64,
    /// Devices that could not be added.
    pub(crate) refused: u64,
}

/// The devices and the last values of their topics.
#[derive(Debug)]
pub(crate) struct Registry {
    devices: Slab<Entry>,
    ids: BTreeMap<ByteString, DeviceId>,
    slots: Slab<Slot>,
    topics: BTreeMap<Box<str>, SlotId>,
    visible: Visible,
    /// The seen devices.
    recency: Recency,
    seen: TopicPatterns,
    /// Topics of interlocks in `topics`.
    watched: usize,
    bytes: usize,
    max_devices: usize,
    max_bytes: usize,
    max_value: usize,
    pub(crate) counts: Counts,
}

impl Registry {
    pub(crate) fn new(options: &Options, models: &Models) -> Self {
        let mut seen = TopicPatterns::default();
        for filter in options.seen.iter().filter_map(|pattern| pattern.filter()) {
            seen.insert(filter);
        }
        let mut registry = Self {
            devices: Slab::new(),
            ids: BTreeMap::new(),
            slots: Slab::new(),
            topics: BTreeMap::new(),
            visible: Visible::default(),
            recency: Recency::new(),
            seen,
            watched: 0,
            bytes: 0,
            max_devices: options.max_devices.size().max(options.devices.len()),
            max_bytes: options.max_cache_bytes.size(),
            max_value: options.max_value_bytes.size(),
            counts: Counts::default(),
        };
        for (id, device) in &options.devices {
            if let Some(model) = models.types.get(&device.r#type) {
                registry.insert(Entry::configured(id, device, model));
            }
        }
        registry
    }

    /// Adds a device that declared itself. Returns whether it was added: its id may be taken, and there
    /// may be no room.
    pub(crate) fn declare(
        &mut self,
        model: Rc<Model>,
        is_awaited: &dyn Fn(DeviceId) -> bool,
    ) -> bool {
        let id = &*model.device.id;
        if self.ids.contains_key(id) || check_id(id).is_err() || !self.has_room(is_awaited) {
            self.counts.refused += 1;
            return false;
        }
        self.insert(Entry::declared(model));
        true
    }

    /// The device with an id, if it declared itself.
    pub(crate) fn declared(&self, id: &str) -> Option<DeviceId> {
        let device = *self.ids.get(id)?;
        let entry = self.get(device)?;
        entry.is_declared().then_some(device)
    }

    pub(crate) fn len(&self) -> usize {
        self.devices.len()
    }

    /// Bytes of cached values.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn get(&self, device: DeviceId) -> Option<&Entry> {
        self.devices.get(device as usize)
    }

    /// A device that a caller sees.
    pub(crate) fn find(&self, caller: Option<&Identity>, id: &str) -> Option<(DeviceId, &Entry)> {
        let device = *self.ids.get(id)?;
        let entry = self.get(device)?;
        entry.model.is_visible(caller).then_some((device, entry))
    }

    /// The only device whose id differs in the case of ASCII letters at most: clients' URL types take
    /// the id in a URI for a host, and may lower-case it.
    pub(crate) fn find_in_any_case(
        &self,
        caller: Option<&Identity>,
        id: &str,
    ) -> Option<(DeviceId, &Entry)> {
        if let Some(found) = self.find(caller, id) {
            return Some(found);
        }
        let mut same = self.ids.keys().filter(|it| it.eq_ignore_ascii_case(id));
        let only = same.next().filter(|_| same.next().is_none())?;
        self.find(caller, only)
    }

    /// The devices that a caller sees, sorted by id, from behind `after` on.
    pub(crate) fn sorted<'a>(
        &'a self,
        caller: Option<&'a Identity>,
        after: Option<&str>,
    ) -> impl Iterator<Item = (DeviceId, &'a Entry)> {
        use std::ops::Bound;
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let devices = self.ids.range::<str, _>((after, Bound::Unbounded));
        let devices = devices.filter_map(|(_, device)| Some((*device, self.get(*device)?)));
        devices.filter(move |(_, entry)| entry.model.is_visible(caller))
    }

    /// Number of the devices that a caller sees.
    pub(crate) fn seen_by(&self, caller: Option<&Identity>) -> usize {
        self.visible.count(caller)
    }

    fn slot(&self, topic: &str) -> Option<&Slot> {
        self.slots.get(*self.topics.get(topic)? as usize)
    }

    fn slot_mut(&mut self, topic: &str) -> Option<&mut Slot> {
        self.slots.get_mut(*self.topics.get(topic)? as usize)
    }

    /// The last message of a topic.
    pub(crate) fn value(&self, topic: &str) -> Option<&Cached> {
        self.slot(topic)?.value.as_ref()
    }

    /// The last message that says something about a property.
    pub(crate) fn property(&self, entry: &Entry, index: usize) -> Option<&Cached> {
        let part = Part::property(index);
        let slot = self.slots.get(entry.slot(part)? as usize)?;
        slot.of(entry.device, part)
    }

    /// Whether a device is online; `None` if it does not tell, or has not told yet. It is found out once for each message
    /// about it.
    pub(crate) fn online(&self, entry: &Entry) -> Option<bool> {
        let availability = entry.model.device.availability.as_ref()?;
        if let Online::Read(online) = entry.online.get() {
            return online;
        }
        let online = self.read_online(entry, availability);
        entry.online.set(Online::Read(online));
        online
    }

    fn read_online(&self, entry: &Entry, availability: &Availability) -> Option<bool> {
        let topics = availability.topics.iter().enumerate();
        let told = topics.map(|(index, topic)| {
            let part = Part::availability(index);
            let slot = self.slots.get(entry.slot(part)? as usize)?;
            let cached = slot.of(entry.device, part)?;
            let shared = slot.users.len() > 1;
            Some((cached.received, cached.is_online(topic, shared)?))
        });
        match availability.mode {
            AvailabilityMode::Latest => told.flatten().max_by_key(|(at, _)| *at).map(|it| it.1),
            AvailabilityMode::Any => {
                let told: Vec<bool> = told.flatten().map(|it| it.1).collect();
                (!told.is_empty()).then(|| told.contains(&true))
            }
            AvailabilityMode::All => {
                let told: Vec<Option<bool>> = told.map(|it| it.map(|it| it.1)).collect();
                if told.contains(&Some(false)) {
                    return Some(false);
                }
                told.iter().all(Option::is_some).then_some(true)
            }
        }
    }

    fn has_room(&mut self, is_awaited: &dyn Fn(DeviceId) -> bool) -> bool {
        self.devices.len() < self.max_devices || self.remove_oldest(is_awaited)
    }

    /// The index of a topic, which is added if it is new.
    fn slot_of(&mut self, topic: &str) -> SlotId {
        if let Some(slot) = self.topics.get(topic) {
            return *slot;
        }
        let slot = SlotId::try_from(self.slots.insert(Slot::default())).unwrap_or(SlotId::MAX);
        self.topics.insert(topic.into(), slot);
        slot
    }

    fn insert(&mut self, mut entry: Entry) -> DeviceId {
        let index = self.devices.vacant_key();
        let device = DeviceId::try_from(index).unwrap_or(DeviceId::MAX);
        let mut slots = Vec::new();
        for (topic, part) in entry.topics() {
            let slot = self.slot_of(&topic);
            slots.push(slot);
            if let Some(slot) = self.slots.get_mut(slot as usize) {
                slot.users.push((device, part));
                slot.partial |= entry.may_be_absent(part);
            }
        }
        (entry.device, entry.slots) = (device, slots.into());
        if entry.source == Source::Seen {
            self.recency.insert(device);
        }
        self.visible.add(&entry.model);
        self.ids.insert(entry.id.clone(), device);
        self.devices.insert(entry);
        device
    }

    /// Removes the seen device that was silent for longest, unless somebody waits for it.
    fn remove_oldest(&mut self, is_awaited: &dyn Fn(DeviceId) -> bool) -> bool {
        /// Most awaited devices that are passed over.
        const PASSED: usize = 64;
        for _ in 0..PASSED {
            let Some(oldest) = self.recency.oldest() else {
                return false;
            };
            if is_awaited(oldest) {
                self.recency.insert(oldest);
                continue;
            }
            self.remove(oldest);
            self.counts.removed += 1;
            return true;
        }
        false
    }

    /// Removes a device, with its values.
    pub(crate) fn remove(&mut self, device: DeviceId) {
        self.recency.remove(device);
        let Some(entry) = self.devices.try_remove(device as usize) else {
            return;
        };
        self.ids.remove(&entry.id);
        self.visible.remove(&entry.model);
        for (topic, _) in entry.topics() {
            let Some(id) = self.topics.get(&*topic).copied() else {
                continue;
            };
            let Some(slot) = self.slots.get_mut(id as usize) else {
                continue;
            };
            let before = slot.bytes();
            slot.remove(device);
            self.bytes = self.bytes - before + slot.bytes();
            if slot.users.is_empty() && !slot.watched {
                self.bytes -= slot.bytes();
                self.slots.remove(id as usize);
                self.topics.remove(&*topic);
            }
        }
    }
}

#[cfg(test)]
mod tests;
