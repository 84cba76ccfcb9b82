//! The last credential that a connection presented with success.
//!
//! Clients repeat their credential with every request of a connection. Comparing it with the last one
//! costs less than asking the guard, which computes a digest. The guard is asked again after
//! [`MEMO_MAX`], so that a credential it no longer accepts is not accepted for longer.

use std::fmt;
use std::sync::Arc;

use tidegate_streams::Identity;

use crate::digest::same;

/// How long an answer of a guard is used again, in milliseconds.
pub const MEMO_MAX: u64 = 60_000;

/// A credential and whose it is. `Debug` shows neither.
pub struct Memo {
    credential: Box<[u8]>,
    identity: Arc<Identity>,
    since: u64,
}

impl Memo {
    /// What a guard has accepted at a time given in milliseconds since the Unix epoch.
    pub fn new(credential: &[u8], identity: Arc<Identity>, now: u64) -> Self {
        Self {
            credential: credential.into(),
            identity,
            since: now,
        }
    }

    /// The identity, if this is the same credential and the answer still holds. Compares in constant
    /// time.
    pub fn identity(&self, credential: &[u8], now: u64) -> Option<&Arc<Identity>> {
        // A clock that was set back ends the answer, too.
        let holds = now
            .checked_sub(self.since)
            .is_some_and(|age| age < MEMO_MAX);
        (holds && !self.identity.is_expired(now) && same(&self.credential, credential))
            .then_some(&self.identity)
    }
}

impl fmt::Debug for Memo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memo")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_holds_for_its_credential_for_a_minute_and_not_beyond_the_expiry() {
        let until = |expires| {
            let identity = Identity {
                expires,
                ..Identity::default()
            };
            Memo::new(b"sesame", Arc::new(identity), 1_000)
        };
        let memo = until(0);
        let holds = |memo: &Memo, now| memo.identity(b"sesame", now).is_some();
        assert!(holds(&memo, 1_000) && holds(&memo, 1_000 + MEMO_MAX - 1));
        assert!(!holds(&memo, 1_000 + MEMO_MAX) && !holds(&memo, 999));
        for other in [&b"sesam"[..], b"sesamE", b"sesame ", b""] {
            assert!(memo.identity(other, 1_000).is_none());
        }
        let memo = until(2_000);
        assert!(holds(&memo, 1_999) && !holds(&memo, 2_000));
        assert_eq!(format!("{memo:?}"), "Memo");
    }
}
