//! Homie 5: a device describes itself on `{domain}/5/{device}/$description`, and exists while it has a `$state`.
//!
//! Facts: <https://homieiot.github.io/specification/>.

mod datatype;
mod description;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use tidegate_device::Device;

use crate::change::Change;
use crate::fault::Fault;
use crate::footprint;
use crate::limits::Limits;

/// What is known of the devices that announce themselves this way.
#[derive(Debug)]
pub(crate) struct Homie {
    domain: String,
    limits: Limits,
    /// Devices, by id.
    devices: BTreeMap<String, Entry>,
    properties: usize,
    bytes: usize,
}

/// A device of which a `$state` or a `$description` is known; it is declared when both are.
#[derive(Debug, Default)]
struct Entry {
    exists: bool,
    description: Option<Described>,
}

#[derive(Debug)]
struct Described {
    /// Of the payload, to recognize it when it is announced again.
    hash: u64,
    device: Device,
    bytes: usize,
}

/// The attributes that announce a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attribute {
    State,
    Description,
}

/// What a device takes beside its description.
const ENTRY_BYTES: usize = 256;

impl Homie {
    pub(crate) fn new(domain: &str, limits: Limits) -> Self {
        Self {
            domain: domain.to_owned(),
            limits,
            devices: BTreeMap::new(),
            properties: 0,
            bytes: 0,
        }
    }

    pub(crate) fn filters(&self) -> [String; 2] {
        let domain = &self.domain;
        [
            format!("{domain}/5/+/$state"),
            format!("{domain}/5/+/$description"),
        ]
    }

    pub(crate) fn take(&mut self, topic: &str, payload: &[u8]) -> Result<Change, Fault> {
        let (id, attribute) = self.parse(topic).ok_or(Fault::NotAnAnnouncement)?;
        if payload.len() > self.limits.payload {
            return Err(Fault::TooLarge {
                length: payload.len(),
                limit: self.limits.payload,
            });
        }
        match attribute {
            Attribute::State => self.take_state(id, payload),
            Attribute::Description if payload.is_empty() => Ok(self.clear_description(id)),
            Attribute::Description => self.take_description(id, payload),
        }
    }

    /// The device and the attribute of a topic.
    fn parse<'a>(&self, topic: &'a str) -> Option<(&'a str, Attribute)> {
        let rest = topic.strip_prefix(&self.domain)?.strip_prefix("/5/")?;
        let (id, attribute) = rest.split_once('/')?;
        let attribute = match attribute {
            "$state" => Attribute::State,
            "$description" => Attribute::Description,
            _ => return None,
        };
        description::is_id(id).then_some((id, attribute))
    }

    fn take_state(&mut self, id: &str, payload: &[u8]) -> Result<Change, Fault> {
        let mut change = Change::default();
        if payload.is_empty() {
            let was_declared = self.devices.get(id).and_then(Entry::declared).is_some();
            if was_declared {
                change.removed.push(id.to_owned());
            }
            if let Some(entry) = self.devices.get_mut(id) {
                entry.exists = false;
            }
            self.drop_unused(id);
            return Ok(change);
        }
        if !matches!(
            payload,
            b"init" | b"ready" | b"disconnected" | b"sleeping" | b"lost"
        ) {
            return Err(Fault::invalid("$state", "is not a state of Homie 5"));
        }
        let entry = self.entry(id)?;
        if !entry.exists {
            entry.exists = true;
            change.declared.extend(entry.declared().cloned());
        }
        Ok(change)
    }

    fn clear_description(&mut self, id: &str) -> Change {
        let mut change = Change::default();
        if self.devices.get(id).and_then(Entry::declared).is_some() {
            change.removed.push(id.to_owned());
        }
        if let Some(old) = self
            .devices
            .get_mut(id)
            .and_then(|entry| entry.description.take())
        {
            self.properties -= old.device.properties.len();
            self.bytes -= old.bytes;
        }
        self.drop_unused(id);
        change
    }

    fn take_description(&mut self, id: &str, payload: &[u8]) -> Result<Change, Fault> {
        let hash = hash(payload);
        let old = self
            .devices
            .get(id)
            .and_then(|entry| entry.description.as_ref());
        if old.is_some_and(|old| old.hash == hash) {
            return Ok(Change::default());
        }
        let (old_properties, old_bytes) =
            old.map_or((0, 0), |old| (old.device.properties.len(), old.bytes));
        let limit = self.limits.entities_of_a_device;
        let described = description::read(&self.domain, id, payload, limit)?;
        let (device, refused) = (described.device, described.refused);
        self.entry(id)?;
        let bytes = self.bytes - old_bytes + bytes(&device);
        let properties = self.properties - old_properties + device.properties.len();
        let full = if properties > self.limits.entities {
            Some(("properties", self.limits.entities))
        } else if bytes > self.limits.bytes {
            Some(("bytes", self.limits.bytes))
        } else {
            None
        };
        if let Some((what, limit)) = full {
            self.drop_unused(id);
            return Err(Fault::Full { what, limit });
        }
        let kept = bytes + old_bytes - self.bytes;
        (self.bytes, self.properties) = (bytes, properties);
        let entry = self.entry(id)?;
        entry.description = Some(Described {
            hash,
            device,
            bytes: kept,
        });
        Ok(Change {
            removed: Vec::new(),
            declared: entry.declared().cloned().into_iter().collect(),
            refused,
        })
    }

    fn entry(&mut self, id: &str) -> Result<&mut Entry, Fault> {
        if !self.devices.contains_key(id) {
            if self.devices.len() >= self.limits.entities {
                return Err(Fault::Full {
                    what: "devices",
                    limit: self.limits.entities,
                });
            }
            if self.bytes + ENTRY_BYTES > self.limits.bytes {
                return Err(Fault::Full {
                    what: "bytes",
                    limit: self.limits.bytes,
                });
            }
            self.bytes += ENTRY_BYTES;
        }
        Ok(self.devices.entry(id.to_owned()).or_default())
    }

    fn drop_unused(&mut self, id: &str) {
        let is_unused = |entry: &Entry| !entry.exists && entry.description.is_none();
        if self.devices.get(id).is_some_and(is_unused) {
            self.devices.remove(id);
            self.bytes -= ENTRY_BYTES;
        }
    }
}

impl Entry {
    fn declared(&self) -> Option<&Device> {
        self.description
            .as_ref()
            .filter(|_| self.exists)
            .map(|it| &it.device)
    }
}

fn hash(payload: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    payload.hash(&mut hasher);
    hasher.finish()
}

fn bytes(device: &Device) -> usize {
    footprint::of_text(device.name.as_ref())
        + device
            .labels
            .iter()
            .map(|(_, it)| 64 + it.as_str().len())
            .sum::<usize>()
        + device
            .availability
            .as_ref()
            .map_or(0, footprint::of_availability)
        + device
            .properties
            .iter()
            .map(footprint::of_property)
            .sum::<usize>()
        + device
            .commands
            .iter()
            .map(footprint::of_command)
            .sum::<usize>()
}
