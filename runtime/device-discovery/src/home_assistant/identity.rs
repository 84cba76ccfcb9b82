//! The `device` block: which device an entity belongs to, and what is known of it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tidegate_device::Text;

use super::config::{payload, shown};
use crate::fault::Fault;
use crate::footprint::of_text;
use crate::limits::NAME_MAX;
use crate::names;

/// Most identifiers and connections of a device block.
const KEYS_MAX: usize = 16;

/// What entities of the same device share one of. A device has its id from the first of its keys, in this order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    /// An identifier.
    Identifier(String),
    /// A connection, such as `mac` and the address.
    Connection(String, String),
    /// The entity has no device: it is one.
    Alone(String),
}

impl Key {
    pub(super) fn id(&self) -> String {
        match self {
            Self::Identifier(text) | Self::Connection(_, text) | Self::Alone(text) => {
                names::id(text)
            }
        }
    }

    fn len(&self) -> usize {
        64 + match self {
            Self::Identifier(text) | Self::Alone(text) => text.len(),
            Self::Connection(kind, text) => kind.len() + text.len(),
        }
    }
}

/// A device as one announcement describes it.
#[derive(Debug, Clone, Default)]
pub(super) struct Identity {
    pub(super) keys: BTreeSet<Key>,
    pub(super) name: Option<Text>,
    pub(super) location: Option<Text>,
    /// Facts such as `manufacturer`, by their names in Home Assistant.
    pub(super) labels: BTreeMap<&'static str, Text>,
}

/// Members that become labels.
const LABELS: [&str; 7] = [
    "hw_version",
    "manufacturer",
    "model",
    "model_id",
    "serial_number",
    "sw_version",
    "via_device",
];

impl Identity {
    /// Reads a device block without abbreviations; `None`: it identifies nothing.
    pub(super) fn read(block: &Value) -> Result<Option<Self>, Fault> {
        let Value::Object(members) = block else {
            return Err(Fault::invalid("device", "must be an object"));
        };
        let mut keys = BTreeSet::new();
        for identifier in listed(members.get("identifiers")) {
            keys.insert(Key::Identifier(key("identifiers", identifier)?));
        }
        for connection in listed(members.get("connections")) {
            let Some([kind, address]) = connection.as_array().map(Vec::as_slice) else {
                return Err(Fault::invalid("connections", "must be a list of pairs"));
            };
            keys.insert(Key::Connection(
                key("connections", kind)?,
                key("connections", address)?,
            ));
        }
        if keys.len() > KEYS_MAX {
            return Err(Fault::invalid(
                "device",
                "has more than 16 identifiers and connections",
            ));
        }
        if keys.is_empty() {
            return Ok(None);
        }
        let text = |name: &str| members.get(name).and_then(shown);
        Ok(Some(Self {
            keys,
            name: text("name"),
            location: text("suggested_area"),
            labels: LABELS
                .iter()
                .filter_map(|name| Some((*name, text(name)?)))
                .collect(),
        }))
    }

    /// The device of an entity that has none.
    pub(super) fn alone(id: String) -> Self {
        Self {
            keys: BTreeSet::from([Key::Alone(id)]),
            ..Self::default()
        }
    }

    /// Takes what `other` knows and this does not.
    pub(super) fn complete(&mut self, other: &Self) {
        self.keys.extend(other.keys.iter().cloned());
        if self.name.is_none() {
            self.name.clone_from(&other.name);
        }
        if self.location.is_none() {
            self.location.clone_from(&other.location);
        }
        for (name, text) in &other.labels {
            self.labels.entry(name).or_insert_with(|| text.clone());
        }
    }

    pub(super) fn footprint(&self) -> usize {
        self.keys.iter().map(Key::len).sum::<usize>()
            + of_text(self.name.as_ref())
            + of_text(self.location.as_ref())
            + self
                .labels
                .values()
                .map(|it| 64 + it.as_str().len())
                .sum::<usize>()
    }
}

/// The entries of a list, or the one that stands alone.
fn listed(value: Option<&Value>) -> &[Value] {
    match value {
        None | Some(Value::Null) => &[],
        Some(Value::Array(items)) => items,
        Some(one) => std::slice::from_ref(one),
    }
}

fn key(name: &'static str, value: &Value) -> Result<String, Fault> {
    let text = payload(name, value)?;
    if text.is_empty() || text.len() > NAME_MAX {
        return Err(Fault::invalid(name, "must have 1 to 256 bytes"));
    }
    Ok(text)
}
