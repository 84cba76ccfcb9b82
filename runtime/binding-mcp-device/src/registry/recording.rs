//! Messages: which device each belongs to, which values it is about, and what is removed to make room for it.

use tidegate_device::Mentions;
use tidegate_engine::Time;
use tidegate_streams::mqtt::topic::TopicFilter;

use super::{Cached, DeviceId, Received, Recorded, Registry};
use crate::entry::{Entry, Online, Part};
use crate::model::{Models, check_id};
use crate::slot::Users;

impl Registry {
    /// Records a message. Devices for which `is_awaited` holds are not removed to make room.
    pub(crate) fn record(
        &mut self,
        models: &Models,
        message: Received<'_>,
        now: Time,
        is_awaited: &dyn Fn(DeviceId) -> bool,
    ) -> Recorded {
        if self.is_known(message) {
            self.counts.recorded += 1;
            return Recorded {
                users: self.mentioned(message).0,
                changed: false,
            };
        }
        if let Some(users) = self.replace(message, now) {
            self.note(&users, now);
            return Recorded {
                users,
                changed: false,
            };
        }
        let before = self.counts.removed;
        let mut recorded = Recorded::default();
        if !self.topics.contains_key(message.topic) {
            if self.add_seen(models, message.topic, is_awaited) {
                recorded.changed = true;
            } else if !self.watch(&models.interlocks, message.topic) {
                self.counts.ignored += 1;
                return recorded;
            }
        }
        let (mentioned, silent) = self.mentioned(message);
        self.note(&mentioned, now);
        self.note(&silent, now);
        self.store(message, &silent, now, is_awaited);
        recorded.users = mentioned;
        recorded.changed |= self.counts.removed > before;
        recorded
    }

    /// Whether the broker sends again what is known, as it does for a new subscription: the age of the value stays, and
    /// the device has not told anything.
    fn is_known(&self, message: Received<'_>) -> bool {
        let known = || self.value(message.topic);
        message.retained && known().is_some_and(|known| *known.payload == *message.payload)
    }

    /// The users of the topic of a message that it says something about, and the others.
    fn mentioned(&self, message: Received<'_>) -> (Users, Users) {
        let Some(slot) = self.slot(message.topic) else {
            return (Users::new(), Users::new());
        };
        if !slot.partial {
            return (slot.users.clone(), Users::new());
        }
        let mut mentions = Mentions::of(message.payload);
        let is_mentioned = |(device, part): &(DeviceId, Part)| {
            let entry = self.get(*device);
            entry.is_none_or(|entry| entry.is_mentioned(*part, &mut mentions))
        };
        slot.users.iter().copied().partition(is_mentioned)
    }

    /// Most messages: replaces the value of a known topic, if it is about all users and there is room for it. Returns
    /// the users of the topic.
    fn replace(&mut self, message: Received<'_>, now: Time) -> Option<Users> {
        let slot = self
            .slots
            .get_mut(*self.topics.get(message.topic)? as usize)?;
        if slot.partial {
            return None;
        }
        let value = slot.value.as_mut()?;
        let bytes = self.bytes - value.payload.len() + message.payload.len();
        if bytes > self.max_bytes || message.payload.len() > self.max_value {
            return None;
        }
        if value.payload.len() == message.payload.len() {
            value.payload.copy_from_slice(message.payload);
        } else {
            value.payload = message.payload.into();
        }
        value.received = now;
        value.retained = message.retained;
        value.availability.take();
        self.bytes = bytes;
        self.counts.recorded += 1;
        Some(slot.users.clone())
    }

    /// The devices have told something.
    fn note(&mut self, users: &Users, now: Time) {
        for (device, part) in users {
            if let Some(entry) = self.devices.get_mut(*device as usize) {
                entry.seen = Some(now);
                if matches!(part, Part::Availability(_)) {
                    entry.online.set(Online::NotRead);
                }
            }
            self.recency.touch(*device);
        }
    }

    fn store(
        &mut self,
        message: Received<'_>,
        silent: &Users,
        now: Time,
        is_awaited: &dyn Fn(DeviceId) -> bool,
    ) {
        let Some(slot) = self.slot_mut(message.topic) else {
            return;
        };
        let before = slot.bytes();
        slot.supersede(silent);
        let kept = slot.bytes();
        self.bytes = self.bytes - before + kept;
        let length = message.payload.len();
        let fits = length <= self.max_value && self.make_bytes(length, is_awaited);
        match self.slot_mut(message.topic) {
            Some(slot) if fits => {
                slot.value = Some(Cached::new(message.payload, now, message.retained));
                self.bytes += length;
                self.counts.recorded += 1;
            }
            slot => {
                // What is known is outdated.
                if let Some(slot) = slot {
                    let bytes = slot.bytes();
                    slot.clear();
                    self.bytes -= bytes;
                }
                self.counts.dropped += 1;
            }
        }
    }

    /// Removes silent devices until there is room for `length` bytes. The device that is being
    /// recorded is the newest, so that it is the last one to be removed.
    fn make_bytes(&mut self, length: usize, is_awaited: &dyn Fn(DeviceId) -> bool) -> bool {
        while self.bytes + length > self.max_bytes {
            if !self.remove_oldest(is_awaited) {
                return false;
            }
        }
        true
    }

    /// Adds the device that a topic belongs to, if it may be added.
    fn add_seen(
        &mut self,
        models: &Models,
        topic: &str,
        is_awaited: &dyn Fn(DeviceId) -> bool,
    ) -> bool {
        let Some(parts) = models.address.read(topic) else {
            return false;
        };
        if !self.seen.allows_topic(topic) || self.ids.contains_key(parts.device) {
            return false;
        }
        let Some(model) = models.of_topic(&parts) else {
            return false;
        };
        let entry = Entry::seen(&parts, model);
        let tells = entry.topics().any(|(own, _)| own == topic);
        if !tells || check_id(parts.device).is_err() {
            return false;
        }
        if !self.has_room(is_awaited) {
            self.counts.refused += 1;
            return false;
        }
        self.insert(entry);
        true
    }

    /// Keeps the value of a topic that an interlock needs.
    fn watch(&mut self, interlocks: &[TopicFilter], topic: &str) -> bool {
        let wanted = interlocks.iter().any(|filter| filter.matches(topic));
        if !wanted || self.watched >= self.max_devices {
            return false;
        }
        self.watched += 1;
        let slot = self.slot_of(topic);
        if let Some(slot) = self.slots.get_mut(slot as usize) {
            slot.watched = true;
        }
        true
    }
}
