//! One topic: what it is to devices, and the messages that their values are read from.
//!
//! That is the last message, and earlier ones for values that no later message said anything about: many devices send
//! JSON in which only what has changed is present. Messages are kept whole, and each only while a value needs it.

use std::cell::OnceCell;

use smallvec::SmallVec;
use tidegate_device::AvailabilityTopic;
use tidegate_engine::Time;

use crate::entry::Part;
use crate::registry::DeviceId;

/// The devices that a topic belongs to.
pub(crate) type Users = SmallVec<[(DeviceId, Part); 1]>;

/// Index of a topic.
pub(crate) type SlotId = u32;

/// A topic.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    pub(crate) users: Users,
    /// An interlock needs it.
    pub(crate) watched: bool,
    /// A message may say nothing about some of the users.
    pub(crate) partial: bool,
    /// The last message.
    pub(crate) value: Option<Cached>,
    /// What the last message says nothing about.
    silent: Vec<Silent>,
}

/// A message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Cached {
    pub(crate) payload: Box<[u8]>,
    pub(crate) received: Time,
    pub(crate) retained: bool,
    /// What it says to the first device that read its availability from it: thousands of devices may share a topic,
    /// and nearly always read it in the same way.
    pub(crate) availability: OnceCell<Box<ReadAvailability>>,
}

/// How a message was read, and what it says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ReadAvailability {
    topic: AvailabilityTopic,
    online: Option<bool>,
}

impl Cached {
    pub(crate) fn new(payload: &[u8], received: Time, retained: bool) -> Self {
        Self {
            payload: payload.into(),
            received,
            retained,
            availability: OnceCell::new(),
        }
    }

    /// Whether it says that a device is online. `shared`: other devices read it as well.
    pub(crate) fn is_online(&self, topic: &AvailabilityTopic, shared: bool) -> Option<bool> {
        if !shared {
            return topic.read(&self.payload);
        }
        let first = self.availability.get_or_init(|| {
            Box::new(ReadAvailability {
                topic: topic.clone(),
                online: topic.read(&self.payload),
            })
        });
        if first.topic == *topic {
            first.online
        } else {
            topic.read(&self.payload)
        }
    }
}

/// Users that no message said anything about since the one that they are read from.
#[derive(Debug)]
struct Silent {
    users: Users,
    /// `None`: no message said anything about them.
    since: Option<Cached>,
}

impl Slot {
    /// The last message that says something about a user.
    pub(crate) fn of(&self, device: DeviceId, part: Part) -> Option<&Cached> {
        for group in &self.silent {
            if group.users.contains(&(device, part)) {
                return group.since.as_ref();
            }
        }
        self.value.as_ref()
    }

    /// Bytes of all messages.
    pub(crate) fn bytes(&self) -> usize {
        let messages = self.silent.iter().filter_map(|group| group.since.as_ref());
        let messages = messages.chain(&self.value);
        messages.map(|message| message.payload.len()).sum()
    }

    /// A message comes that says nothing about some of the users. The last one is kept for them, and those that
    /// nobody needs any more are removed. `value` is empty afterwards.
    pub(crate) fn supersede(&mut self, silent: &Users) {
        let before = self.value.take();
        let mut keepers: Users = silent.clone();
        for group in &mut self.silent {
            keepers.retain(|user| !group.users.contains(user));
            group.users.retain(|user| silent.contains(user));
        }
        self.silent.retain(|group| !group.users.is_empty());
        if !keepers.is_empty() {
            self.silent.push(Silent {
                users: keepers,
                since: before,
            });
        }
    }

    /// Forgets all messages.
    pub(crate) fn clear(&mut self) {
        self.value = None;
        self.silent.clear();
    }

    /// A device does not use the topic any more.
    pub(crate) fn remove(&mut self, device: DeviceId) {
        self.users.retain(|(user, _)| *user != device);
        for group in &mut self.silent {
            group.users.retain(|(user, _)| *user != device);
        }
        self.silent.retain(|group| !group.users.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: (DeviceId, Part) = (0, Part::Property(0));
    const OTHER: (DeviceId, Part) = (0, Part::Property(1));
    const THIRD: (DeviceId, Part) = (7, Part::Property(0));

    fn message(text: &str) -> Cached {
        Cached::new(text.as_bytes(), Time::START, false)
    }

    fn receive(slot: &mut Slot, text: &str, silent: &[(DeviceId, Part)]) {
        slot.supersede(&Users::from_slice(silent));
        slot.value = Some(message(text));
    }

    fn of(slot: &Slot, (device, part): (DeviceId, Part)) -> Option<&str> {
        let cached = slot.of(device, part)?;
        std::str::from_utf8(&cached.payload).ok()
    }

    #[test]
    fn each_user_is_read_from_the_last_message_about_it() {
        let mut slot = Slot::default();
        receive(&mut slot, "one", &[OTHER, THIRD]);
        assert_eq!((of(&slot, ONE), of(&slot, OTHER)), (Some("one"), None));
        receive(&mut slot, "other", &[ONE, THIRD]);
        assert_eq!(
            (of(&slot, ONE), of(&slot, OTHER), of(&slot, THIRD)),
            (Some("one"), Some("other"), None)
        );
        receive(&mut slot, "nothing", &[ONE, OTHER, THIRD]);
        assert_eq!(
            (of(&slot, ONE), of(&slot, OTHER)),
            (Some("one"), Some("other"))
        );
        assert_eq!(slot.bytes(), "one".len() + "other".len() + "nothing".len());
        receive(&mut slot, "all", &[]);
        assert_eq!(
            (of(&slot, ONE), of(&slot, THIRD)),
            (Some("all"), Some("all"))
        );
        assert!(slot.silent.is_empty());
        assert_eq!(slot.bytes(), "all".len());
    }

    #[test]
    fn a_message_is_kept_while_a_device_needs_it() {
        let mut slot = Slot {
            users: Users::from_slice(&[ONE, THIRD]),
            ..Slot::default()
        };
        receive(&mut slot, "a", &[]);
        receive(&mut slot, "bc", &[ONE, THIRD]);
        slot.remove(0);
        assert_eq!((of(&slot, THIRD), slot.bytes()), (Some("a"), 3));
        slot.remove(7);
        assert!(slot.silent.is_empty() && slot.users.is_empty());
        assert_eq!(slot.bytes(), 2);
        receive(&mut slot, "d", &[ONE]);
        slot.clear();
        assert_eq!((of(&slot, ONE), slot.bytes()), (None, 0));
    }
}
