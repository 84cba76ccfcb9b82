//! `apikey`: keys whose Argon2id hashes are in the config.
//!
//! A key is verified once: from then on it is known by its SHA-256, and accepting it takes one digest
//! and one comparison in constant time, without a lock. A wrong key costs one verification, unless its
//! form, checksum or id already shows that it is none of these; it is then remembered, so that
//! repeating it costs nothing. At most `verifications` run at a time and `waiting` wait; beyond, and
//! beyond [`queue::FOR_ONE_KEY`] for the same stored key, a check is refused as busy. Keys that were
//! accepted before are not affected by any of this.

mod hash;
mod key;
mod options;
mod queue;
mod refused;

use std::fmt;
use std::sync::{Arc, OnceLock};

use tidegate_streams::Identity;

pub use hash::{HashError, PasswordHash};
pub use key::{Key, KeyError};
pub use options::{KeyRing, Options, StoredKey};
pub use queue::{Runner, Verification};

use crate::check::{Challenge, Check, Credential, Refusal};
use crate::digest::Digest;
use crate::guards::Guard;
use crate::moment::Moment;
use crate::pending::Outcome;
use queue::{Admission, Queue};

/// Longest key that is looked at, in bytes.
const KEY_MAX: usize = 512;

/// A stored key.
pub(crate) struct Entry {
    identity: Arc<Identity>,
    hash: PasswordHash,
    /// Milliseconds since the Unix epoch.
    not_before: u64,
    /// The digest of the key, once it has been verified.
    accepted: OnceLock<Digest>,
}

impl Entry {
    fn at(&self, now: u64) -> Outcome {
        if now < self.not_before {
            return Err(Refusal::NotYetValid);
        }
        if self.identity.is_expired(now) {
            return Err(Refusal::Expired);
        }
        Ok(Arc::clone(&self.identity))
    }

    fn knows(&self, digest: &Digest) -> bool {
        self.accepted.get().is_some_and(|known| known.is(digest))
    }
}

/// The guard.
pub struct ApiKey {
    keys: Arc<Keys>,
    runner: Arc<dyn Runner>,
}

/// The stored keys and what is known of presented ones; shared with the verifications that run.
pub(crate) struct Keys {
    entries: Vec<Entry>,
    /// Index of the entry of each key id, in order.
    ids: Vec<(Box<str>, usize)>,
    /// Indices of the entries without an id, which are tried in order.
    anonymous: Vec<usize>,
    queue: Queue,
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKey({} keys)", self.keys.entries.len())
    }
}

impl ApiKey {
    /// The guard `name` with these options. `ring` are the keys of the options and of their file
    /// together; `runner` takes the verifications.
    pub fn new(name: &str, options: &Options, ring: KeyRing, runner: Arc<dyn Runner>) -> Self {
        let mut ids = Vec::new();
        let mut anonymous = Vec::new();
        let mut entries = Vec::new();
        for stored in ring.into_keys() {
            let index = entries.len();
            match stored.id() {
                Some(id) => ids.push((id.into(), index)),
                None => anonymous.push(index),
            }
            entries.push(Entry {
                identity: Arc::new(stored.identity_of(name)),
                not_before: stored.not_before().map_or(0, Moment::unix_millis),
                hash: stored.into_hash(),
                accepted: OnceLock::new(),
            });
        }
        ids.sort();
        let queue = Queue::new(options.verifications.size(), options.waiting.size());
        let keys = Keys {
            entries,
            ids,
            anonymous,
            queue,
        };
        Self {
            keys: Arc::new(keys),
            runner,
        }
    }
}

impl Guard for ApiKey {
    fn check(&self, credential: Credential<'_>, now: u64) -> Check {
        let Credential::Text(key) = credential else {
            return Check::Refused(Refusal::Malformed("a key is needed"));
        };
        if key.is_empty() || key.len() > KEY_MAX {
            return Check::Refused(Refusal::Malformed("a key has 1 to 512 bytes"));
        }
        let candidates = match Key::parse(key) {
            Ok(key) => self.keys.of_id(key.id()),
            Err(KeyError::Checksum) => return Check::Refused(Refusal::UnknownKey),
            Err(KeyError::NotOurs) => self.keys.anonymous.as_slice(),
        };
        let digest = Digest::of(key.as_bytes());
        for entry in self.keys.at(candidates) {
            if entry.knows(&digest) {
                return match entry.at(now) {
                    Ok(identity) => Check::Accepted(identity),
                    Err(refusal) => Check::Refused(refusal),
                };
            }
        }
        let [first, ..] = candidates else {
            return Check::Refused(Refusal::UnknownKey);
        };
        match self.keys.queue.admit(digest, *first, key) {
            Admission::Refused(refusal) => Check::Refused(refusal),
            Admission::Waits(pending) => Check::Pending(pending),
            Admission::Runs(pending, place) => {
                let verification = Verification::new(Arc::clone(&self.keys), place, key);
                self.runner.run(verification);
                Check::Pending(pending)
            }
        }
    }

    fn challenge(&self) -> Challenge {
        Challenge::Key
    }
}

impl Keys {
    fn of_id(&self, id: &str) -> &[usize] {
        let found = self.ids.binary_search_by(|(known, _)| (**known).cmp(id));
        let entry = found.ok().and_then(|at| self.ids.get(at));
        entry.map_or(&[], |(_, index)| std::slice::from_ref(index))
    }

    fn at<'k>(&'k self, indices: &'k [usize]) -> impl Iterator<Item = &'k Entry> {
        indices.iter().filter_map(|index| self.entries.get(*index))
    }

    /// Computes hashes until one fits. Takes as long as they ask for.
    pub(crate) fn verify(&self, key: &str, digest: Digest, now: u64) -> Outcome {
        let candidates = match Key::parse(key) {
            Ok(key) => self.of_id(key.id()),
            Err(_) => self.anonymous.as_slice(),
        };
        for entry in self.at(candidates) {
            if entry.hash.fits(key.as_bytes()) {
                // A second key cannot have the same hash, other than by a collision of Argon2.
                let _ = entry.accepted.set(digest);
                return entry.at(now);
            }
        }
        Err(Refusal::UnknownKey)
    }

    pub(crate) const fn queue(&self) -> &Queue {
        &self.queue
    }
}

#[cfg(test)]
mod tests;
