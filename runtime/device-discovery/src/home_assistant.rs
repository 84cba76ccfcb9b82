//! Home Assistant's discovery: configs of entities on `{prefix}/{component}/[{node}/]{object}/config`, and of whole
//! devices on `{prefix}/device/{object}/config`.
//!
//! Facts: <https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery>.

mod abbreviations;
mod availability;
mod components;
mod config;
mod device;
mod draft;
mod entity;
mod identity;
#[cfg(test)]
mod tests;
mod topic;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use tidegate_device::Device;

use crate::change::Change;
use crate::fault::Fault;
use crate::limits::Limits;
use entity::{Announcement, Entity};
use identity::{Identity, Key};
use topic::Announced;

/// What is known of the devices that announce themselves this way.
///
/// Announcements with a common identifier or connection belong to one device, in whatever order they come.
#[derive(Debug)]
pub(crate) struct HomeAssistant {
    prefix: String,
    limits: Limits,
    /// Announcements, by topic.
    known: BTreeMap<Arc<str>, Known>,
    groups: BTreeMap<u64, Group>,
    /// The group of each identifier and connection.
    groups_by_key: BTreeMap<Key, u64>,
    /// The ids of all devices.
    ids: BTreeSet<String>,
    next_group: u64,
    entities: usize,
    bytes: usize,
}

/// An announcement that is kept.
#[derive(Debug)]
struct Known {
    /// Of the payload, to recognize it when it is announced again.
    hash: u64,
    group: u64,
    content: Content,
    /// Number of its entities.
    entities: usize,
    bytes: usize,
}

/// What an announcement says.
///
/// It is needed again when another announcement of the same device comes or goes. Most devices announce
/// themselves once, or all their entities together: of those the payload is kept, which is several times smaller.
#[derive(Debug)]
enum Content {
    /// The only announcement of its device, by its payload.
    Payload(Box<[u8]>),
    /// One of several.
    Read(Box<Described>),
}

/// What an announcement says about a device, and of which entities.
#[derive(Debug)]
struct Described {
    identity: Identity,
    entities: Vec<Entity>,
}

/// The announcements of one device. Tens of thousands are kept, nearly all with one topic and one key.
#[derive(Debug, Default)]
struct Group {
    /// Sorted.
    topics: Vec<Arc<str>>,
    /// Sorted.
    keys: Vec<Key>,
    /// The id of its device; empty before that is declared.
    id: String,
}

impl HomeAssistant {
    pub(crate) fn new(prefix: &str, limits: Limits) -> Self {
        Self {
            prefix: prefix.to_owned(),
            limits,
            known: BTreeMap::new(),
            groups: BTreeMap::new(),
            groups_by_key: BTreeMap::new(),
            ids: BTreeSet::new(),
            next_group: 0,
            entities: 0,
            bytes: 0,
        }
    }

    pub(crate) fn filters(&self) -> [String; 2] {
        let prefix = &self.prefix;
        [
            format!("{prefix}/+/+/config"),
            format!("{prefix}/+/+/+/config"),
        ]
    }

    pub(crate) fn accepts(&self, topic: &str) -> bool {
        topic::parse(&self.prefix, topic).is_some()
    }

    pub(crate) fn take(&mut self, topic: &str, payload: &[u8]) -> Result<Change, Fault> {
        let announced = topic::parse(&self.prefix, topic).ok_or(Fault::NotAnAnnouncement)?;
        if payload.is_empty() {
            return Ok(self.remove(topic));
        }
        if payload.len() > self.limits.payload {
            return Err(Fault::TooLarge {
                length: payload.len(),
                limit: self.limits.payload,
            });
        }
        let hash = hash(payload);
        if self
            .known
            .get(topic)
            .is_some_and(|known| known.hash == hash)
        {
            return Ok(Change::default());
        }
        self.check_room(topic)?;
        let (described, refused) = Described::read(announced, payload, self.limits)?;
        let mut change = if described.entities.is_empty() {
            self.remove(topic)
        } else {
            self.put(topic, payload, described)?
        };
        change.refused = refused;
        Ok(change)
    }

    fn remove(&mut self, topic: &str) -> Change {
        match self.forget(topic) {
            Some(known) => self.regroup(&BTreeSet::from([known.group])),
            None => Change::default(),
        }
    }

    fn put(&mut self, topic: &str, payload: &[u8], described: Described) -> Result<Change, Fault> {
        let Described { identity, entities } = &described;
        let bytes = topic.len()
            + identity.footprint()
            + entities.iter().map(Entity::footprint).sum::<usize>();
        let keys = identity.keys.iter();
        let mut groups: BTreeSet<u64> = keys
            .filter_map(|key| self.groups_by_key.get(key))
            .copied()
            .collect();
        self.check_limits(topic, &groups, entities.len(), bytes)?;
        groups.extend(self.forget(topic).map(|known| known.group));
        let group = match groups.first() {
            Some(group) => *group,
            None => self.add_group(Group::default()),
        };
        groups.insert(group);
        self.read_again(&groups);
        self.entities += entities.len();
        self.bytes += bytes;
        let known = Known {
            hash: hash(payload),
            group,
            entities: entities.len(),
            content: Content::Read(Box::new(described)),
            bytes,
        };
        let topic: Arc<str> = topic.into();
        self.known.insert(Arc::clone(&topic), known);
        let topics = &mut self.groups.entry(group).or_default().topics;
        if !topics.contains(&topic) {
            topics.push(Arc::clone(&topic));
        }
        let change = self.regroup(&groups);
        self.keep_payload(&topic, payload);
        Ok(change)
    }

    /// Reads the announcements of these groups of which only the payload is kept.
    fn read_again(&mut self, groups: &BTreeSet<u64>) {
        let groups = groups.iter().filter_map(|group| self.groups.get(group));
        for topic in groups.flat_map(|group| &group.topics) {
            if let Some(known) = self.known.get_mut(topic)
                && let Content::Payload(payload) = &known.content
                && let Some(announced) = topic::parse(&self.prefix, topic)
                && let Ok((described, _)) = Described::read(announced, payload, self.limits)
            {
                known.content = Content::Read(Box::new(described));
            }
        }
    }

    /// Keeps the payload of an announcement instead of what it says, if it is the only one of its device.
    fn keep_payload(&mut self, topic: &str, payload: &[u8]) {
        let Some(known) = self.known.get_mut(topic) else {
            return;
        };
        let group = self.groups.get(&known.group);
        if group.is_some_and(|group| group.topics.len() == 1) {
            known.content = Content::Payload(payload.into());
        }
    }

    fn add_group(&mut self, group: Group) -> u64 {
        self.next_group += 1;
        self.groups.insert(self.next_group, group);
        self.next_group
    }

    /// Refuses a new announcement that cannot fit, before it is read: a flood of them costs next to nothing.
    fn check_room(&self, topic: &str) -> Result<(), Fault> {
        if self.known.contains_key(topic) || self.entities < self.limits.entities {
            return Ok(());
        }
        Err(Fault::Full {
            what: "entities",
            limit: self.limits.entities,
        })
    }

    /// Checks what there will be when the announcement on `topic` is replaced.
    fn check_limits(
        &self,
        topic: &str,
        groups: &BTreeSet<u64>,
        entities: usize,
        bytes: usize,
    ) -> Result<(), Fault> {
        let (old_entities, old_bytes) = self
            .known
            .get(topic)
            .map_or((0, 0), |it| (it.entities, it.bytes));
        let full = |what, limit| Err(Fault::Full { what, limit });
        if self.entities - old_entities + entities > self.limits.entities {
            return full("entities", self.limits.entities);
        }
        if self.bytes - old_bytes + bytes > self.limits.bytes {
            return full("bytes", self.limits.bytes);
        }
        let groups = groups.iter().filter_map(|group| self.groups.get(group));
        let others: usize = groups
            .flat_map(|group| &group.topics)
            .filter(|other| &***other != topic)
            .filter_map(|other| self.known.get(other))
            .map(|known| known.entities)
            .sum();
        if others + entities > self.limits.entities_of_a_device {
            return full("entities of a device", self.limits.entities_of_a_device);
        }
        Ok(())
    }

    fn forget(&mut self, topic: &str) -> Option<Known> {
        let known = self.known.remove(topic)?;
        self.entities -= known.entities;
        self.bytes -= known.bytes;
        if let Some(group) = self.groups.get_mut(&known.group) {
            group.topics.retain(|it| &**it != topic);
        }
        Some(known)
    }

    /// Finds out again which announcements of these groups belong to one device, and declares the devices.
    fn regroup(&mut self, groups: &BTreeSet<u64>) -> Change {
        let (mut topics, mut ids) = (BTreeSet::new(), BTreeSet::new());
        for group in groups
            .iter()
            .filter_map(|number| self.groups.remove(number))
        {
            topics.extend(group.topics);
            for key in &group.keys {
                self.groups_by_key.remove(key);
            }
            self.ids.remove(&group.id);
            ids.insert(group.id);
        }
        let mut change = Change::default();
        for group in self.connected(topics) {
            let device = self.declare(group);
            ids.remove(&device.id);
            change.declared.push(device);
        }
        // A group that has just been made has no id yet.
        ids.remove("");
        change.removed.extend(ids);
        change
    }

    /// Announcements that have keys in common, directly or through others.
    fn connected(&self, topics: BTreeSet<Arc<str>>) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        for topic in topics {
            let Some(described) = self.known.get(&topic).and_then(Known::described) else {
                continue;
            };
            let keys = &described.identity.keys;
            let is_joined = |group: &mut Group| keys.iter().any(|key| group.keys.contains(key));
            let joined: Vec<Group> = groups.extract_if(.., is_joined).collect();
            let mut group = Group {
                topics: vec![topic],
                keys: keys.iter().cloned().collect(),
                id: String::new(),
            };
            for other in joined {
                group.topics.extend(other.topics);
                group.keys.extend(other.keys);
            }
            group.topics.sort_unstable();
            group.keys.sort_unstable();
            group.keys.dedup();
            groups.push(group);
        }
        groups.sort_by(|one, other| one.keys.cmp(&other.keys));
        groups
    }

    /// Adds a group, and makes its device.
    fn declare(&mut self, mut group: Group) -> Device {
        let mut identity = Identity::default();
        for described in self.described(&group) {
            identity.complete(&described.identity);
        }
        let id = identity.keys.first().map(Key::id).unwrap_or_default();
        group.id = self.unique_id(&id);
        let number = self.next_group + 1;
        for key in &group.keys {
            self.groups_by_key.insert(key.clone(), number);
        }
        for topic in &group.topics {
            if let Some(known) = self.known.get_mut(topic) {
                known.group = number;
            }
        }
        self.ids.insert(group.id.clone());
        let entities = self.described(&group).flat_map(|it| &it.entities);
        let device = device::assemble(group.id.clone(), identity, entities.collect());
        group.topics.shrink_to_fit();
        group.keys.shrink_to_fit();
        self.add_group(group);
        device
    }

    /// What the announcements of a group say, in the order of their topics.
    fn described(&self, group: &Group) -> impl Iterator<Item = &Described> {
        let known = group.topics.iter().map(|topic| self.known.get(topic));
        known.flatten().filter_map(Known::described)
    }

    /// An id that no device has: `id`, except if texts that only look alike were made the same.
    fn unique_id(&self, id: &str) -> String {
        let mut unique = id.to_owned();
        let mut count = 1;
        while self.ids.contains(&unique) {
            count += 1;
            unique = format!("{id}-{count}");
        }
        unique
    }
}

impl Known {
    /// What it says, unless only its payload is kept.
    fn described(&self) -> Option<&Described> {
        match &self.content {
            Content::Read(described) => Some(described),
            Content::Payload(_) => None,
        }
    }
}

impl Described {
    /// Reads a payload. Returns what of it is refused, too.
    fn read(
        announced: Announced<'_>,
        payload: &[u8],
        limits: Limits,
    ) -> Result<(Self, Vec<Fault>), Fault> {
        let read = Announcement::read(announced, payload, limits.entities_of_a_device)?;
        let described = Self {
            identity: read.identity,
            entities: read.entities,
        };
        Ok((described, read.refused))
    }
}

fn hash(payload: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    payload.hash(&mut hasher);
    hasher.finish()
}
