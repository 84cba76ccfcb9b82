//! How much each device has of what is remembered, so that the one with the most gives way at a limit.

use std::collections::{BTreeMap, BTreeSet};

use bytestring::ByteString;
use tidegate_engine::Time;

use crate::request::Key;

/// The shares of all devices.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    devices: BTreeMap<ByteString, Share>,
    by_requests: BTreeSet<(usize, ByteString)>,
    by_bytes: BTreeSet<(usize, ByteString)>,
}

/// What one device has.
#[derive(Debug, Default)]
struct Share {
    /// By expiry.
    requests: BTreeSet<(Time, Key)>,
    /// Those of the requests whose answer is kept, by expiry.
    answers: BTreeSet<(Time, Key)>,
    /// Size of these answers.
    bytes: usize,
}

impl Shares {
    /// Adds a request with the size of its answer, or without an answer.
    pub(crate) fn add(&mut self, device: &ByteString, place: (Time, Key), answer: Option<usize>) {
        self.change(device, |share| {
            if let Some(size) = answer {
                share.bytes += size;
                share.answers.insert(place.clone());
            }
            share.requests.insert(place);
        });
    }

    /// The answer of a request, of this size, is not kept any more.
    pub(crate) fn remove_answer(&mut self, device: &ByteString, place: &(Time, Key), size: usize) {
        self.change(device, |share| {
            if share.answers.remove(place) {
                share.bytes = share.bytes.saturating_sub(size);
            }
        });
    }

    /// Removes a request whose answer, if there is one, was removed.
    pub(crate) fn remove(&mut self, device: &ByteString, place: &(Time, Key)) {
        self.change(device, |share| {
            share.requests.remove(place);
        });
    }

    /// Of the device with the most bytes, the answer that expires next.
    pub(crate) fn next_answer(&self) -> Option<Key> {
        let (_, device) = self.by_bytes.last()?;
        let (_, key) = self.devices.get(device)?.answers.first()?;
        Some(key.clone())
    }

    /// Of the device with the most requests, the one that expires next.
    pub(crate) fn next_request(&self) -> Option<Key> {
        let (_, device) = self.by_requests.last()?;
        let (_, key) = self.devices.get(device)?.requests.first()?;
        Some(key.clone())
    }

    fn change(&mut self, device: &ByteString, change: impl FnOnce(&mut Share)) {
        let share = self.devices.entry(device.clone()).or_default();
        let mut by_requests = (share.requests.len(), device.clone());
        let mut by_bytes = (share.bytes, device.clone());
        self.by_requests.remove(&by_requests);
        self.by_bytes.remove(&by_bytes);
        change(share);
        if share.requests.is_empty() {
            self.devices.remove(device);
            return;
        }
        (by_requests.0, by_bytes.0) = (share.requests.len(), share.bytes);
        self.by_requests.insert(by_requests);
        self.by_bytes.insert(by_bytes);
    }
}
