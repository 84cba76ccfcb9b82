//! The ids most similar to one that does not exist.
//!
//! A bounded number of ids is compared: those that stand next to the wanted one in order, as it is written and in lower
//! case. With few devices these are all of them; with many, an error in the first letters is not found.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytestring::ByteString;
use tidegate_streams::Identity;

use super::{DeviceId, Registry};

/// Most ids that are compared on each side of each of the two places.
const COMPARED: usize = 500;
/// Most characters of the wanted id that are compared.
const LENGTH_MAX: usize = 64;
/// Most ids that are named.
const NAMED: usize = 3;

impl Registry {
    /// The ids most similar to one that does not exist, of the devices that a caller sees, the most similar first.
    pub(crate) fn nearest(&self, caller: Option<&Identity>, id: &str) -> Vec<ByteString> {
        let id: String = id.chars().take(LENGTH_MAX).collect();
        let wanted = id.to_lowercase();
        let is_visible = |device: DeviceId| {
            let entry = self.get(device);
            entry.is_some_and(|entry| entry.model.is_visible(caller))
        };
        let mut candidates = around(&self.ids, &id, &is_visible);
        if wanted != id {
            candidates.extend(around(&self.ids, &wanted, &is_visible));
        }
        let mut nearest: Vec<(f64, &ByteString)> = Vec::new();
        for candidate in candidates {
            let likeness = strsim::jaro_winkler(&wanted, &candidate.to_lowercase());
            let place = nearest.partition_point(|(other, _)| *other >= likeness);
            let is_new = nearest.iter().all(|(_, other)| *other != candidate);
            if place < NAMED && is_new {
                nearest.insert(place, (likeness, candidate));
                nearest.truncate(NAMED);
            }
        }
        nearest.into_iter().map(|(_, id)| id.clone()).collect()
    }
}

/// The ids on both sides of the place where `id` would be, in order.
fn around<'a>(
    ids: &'a BTreeMap<ByteString, DeviceId>,
    id: &str,
    is_visible: &dyn Fn(DeviceId) -> bool,
) -> Vec<&'a ByteString> {
    let visible = |(_, device): &(&ByteString, &DeviceId)| is_visible(**device);
    let before = ids.range::<str, _>((Bound::Unbounded, Bound::Excluded(id)));
    let before = before.rev().filter(visible).take(COMPARED);
    let behind = ids.range::<str, _>((Bound::Included(id), Bound::Unbounded));
    let behind = behind.filter(visible).take(COMPARED);
    let mut around: Vec<&ByteString> = before.map(|(id, _)| id).collect();
    // Of two that are equally similar, the first in order is named first.
    around.reverse();
    around.extend(behind.map(|(id, _)| id));
    around
}
