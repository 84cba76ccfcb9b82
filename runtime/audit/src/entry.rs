//! An audited event on its way to the writer.
//!
//! It owns all its texts: those of the event are slices of received bodies, which must not be kept
//! alive by a queue. So the size of an entry is what it holds.

use std::sync::Arc;

use bytestring::ByteString;
use tidegate_engine::Emitted;
use tidegate_streams::{Audit, Identity, Value};

/// Memory of an entry without texts.
const BASE: usize = 512;
/// Memory of a field beside its text.
pub(crate) const FIELD: usize = 64;

/// A copy of an event.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// In microseconds since the Unix epoch.
    pub(crate) at: u64,
    pub(crate) worker: u16,
    pub(crate) binding: Box<str>,
    pub(crate) trace: u64,
    pub(crate) id: &'static str,
    pub(crate) audit: Audit,
    pub(crate) identity: Option<Arc<Identity>>,
    pub(crate) fields: Vec<(&'static str, Value)>,
    pub(crate) payload: Option<Payload>,
}

/// The payload that an event is about.
#[derive(Debug, Clone)]
pub(crate) enum Payload {
    Whole(Vec<u8>),
    /// There was no room in the queue for so many bytes.
    Omitted(u64),
}

impl Entry {
    pub(crate) fn copy(worker: u16, binding: &str, event: &Emitted) -> Self {
        let fields = event.fields.iter();
        Self {
            at: event.at.unix_micros(),
            worker,
            binding: binding.into(),
            trace: event.trace,
            id: event.id,
            audit: event.audit,
            identity: event.identity.clone(),
            fields: fields.map(|(name, value)| (*name, copied(value))).collect(),
            payload: event
                .payload
                .as_ref()
                .map(|parts| Payload::Whole(parts.concat())),
        }
    }

    /// Bytes that it holds, as an estimate.
    pub(crate) fn size(&self) -> usize {
        let fields = self.fields.iter().map(|(_, value)| FIELD + size(value));
        let identity = self.identity.as_deref().map_or(0, identity_size);
        let payload = match &self.payload {
            Some(Payload::Whole(payload)) => payload.len(),
            Some(Payload::Omitted(_)) | None => 0,
        };
        BASE + fields.sum::<usize>() + identity + payload
    }

    /// Releases the payload, so that at least the event is recorded.
    pub(crate) fn omit_payload(&mut self) {
        if let Some(Payload::Whole(payload)) = &self.payload {
            self.payload = Some(Payload::Omitted(payload.len() as u64));
        }
    }
}

fn copied(value: &Value) -> Value {
    match value {
        Value::Text(text) => Value::Text(ByteString::from(&**text)),
        Value::Hex(bytes) => Value::Hex(bytes.to_vec().into()),
        Value::List(values) => Value::List(values.iter().map(copied).collect()),
        Value::Record(members) => {
            let members = members.iter();
            Value::Record(
                members
                    .map(|(name, it)| (name.clone(), copied(it)))
                    .collect(),
            )
        }
        Value::Word(_) | Value::Integer(_) => value.clone(),
    }
}

/// As if each event had its own: the identities of many connections may be as many.
fn identity_size(identity: &Identity) -> usize {
    let roles = identity.roles.iter().map(|role| FIELD + role.len());
    let attributes = identity.attributes.iter();
    let attributes = attributes.map(|it| FIELD + it.name.len() + it.value.len());
    let own = identity.subject.len() + identity.guard.len();
    own + roles.sum::<usize>() + attributes.sum::<usize>()
}

pub(crate) fn size(value: &Value) -> usize {
    match value {
        Value::Word(word) => word.len(),
        Value::Integer(_) => 0,
        Value::Text(text) => text.len(),
        Value::Hex(bytes) => bytes.len(),
        Value::List(values) => values.iter().map(|value| FIELD + size(value)).sum(),
        Value::Record(members) => {
            let members = members.iter();
            members
                .map(|(name, value)| FIELD + name.len() + size(value))
                .sum()
        }
    }
}
