//! `jwt`: signed tokens of an authorization server (RFC 7519, RFC 7515, RFC 9068).
//!
//! Signatures are those of aws-lc-rs; header and claims are read here, strictly: an algorithm that does
//! not fit the key, a `crit` header or a member that occurs twice refuses the token, and nothing of it is
//! parsed beyond `maxTokenSize`. A token is verified once and known by its SHA-256 until it expires, or
//! until the keys change.
//!
//! Keys are in the config, or come from the authorization server ([`KeySource`]). A token with a key id
//! that is not known asks for new keys, at most once a minute, and waits for them; at most
//! [`WAITING_MAX`] wait. The last good keys stay in use when the server cannot be reached.

mod algorithm;
mod cache;
mod claims;
mod jwk;
mod options;
mod source;
mod token;
mod url;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::check::{Challenge, Check, Credential, Refusal};
use crate::digest::Digest;
use crate::guards::Guard;
use crate::pending::Outcome;
use cache::Cache;
use claims::Rules;
pub use jwk::{KeySet, KeySetError};
pub use options::{Keys, Options};
use source::Source;
pub use source::{FetchError, KeySource, Step, WAITING_MAX};
use token::Token;
pub use url::Url;

const UNKNOWN_KEY: Refusal = Refusal::Untrusted("signed with an unknown key");

/// The guard.
#[derive(Clone)]
pub struct Jwt(Arc<Inner>);

/// What workers and the task that fetches keys share.
pub(crate) struct Inner {
    rules: Rules,
    challenge: Challenge,
    token_max: usize,
    cache: Mutex<Cache>,
    source: Mutex<Source>,
}

impl fmt::Debug for Jwt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Jwt({})", self.0.rules.issuer)
    }
}

impl Jwt {
    /// The guard `name` with these options. `file` are the keys of the option `file`, which the caller
    /// has read.
    pub fn new(name: &str, options: &Options, file: Option<KeySet>) -> Self {
        let source = match (file, &options.keys) {
            (Some(keys), _) => Source::fixed(keys),
            (None, Some(Keys::List(keys))) => Source::fixed(keys.clone()),
            (None, Some(Keys::Url(url))) => Source::at(url.clone(), options.refresh()),
            (None, None) => Source::discovered(options.issuer(), options.refresh()),
        };
        let rules = Rules::new(name, options);
        let challenge = Challenge::Token {
            issuer: options.issuer().as_str().into(),
            step_up: rules.step_up,
        };
        Self(Arc::new(Inner {
            rules,
            challenge,
            token_max: options.max_token_size.size(),
            cache: Mutex::new(Cache::new(options.cache.size())),
            source: Mutex::new(source),
        }))
    }

    /// The keys to be fetched; `None` if all are in the config.
    pub fn key_source(&self) -> Option<KeySource> {
        let fetched = !self.0.source().is_fixed();
        fetched.then(|| KeySource::new(Arc::clone(&self.0)))
    }
}

impl Inner {
    fn source(&self) -> MutexGuard<'_, Source> {
        self.source.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what was verified with keys that may be gone.
    pub(crate) fn forget(&self) {
        self.cache().clear();
    }

    /// Verifies a token with these keys; `None` if none of them is its key.
    pub(crate) fn verify(&self, text: &str, keys: &KeySet, now: u64) -> Option<Outcome> {
        let token = match Token::parse(text) {
            Ok(token) => token,
            Err(why) => return Some(Err(Refusal::Malformed(why))),
        };
        let Some(algorithm) = token.algorithm() else {
            return Some(Err(Refusal::Untrusted("its algorithm is not supported")));
        };
        let mut known = false;
        for key in keys.candidates(token.kid()) {
            known = true;
            if key.fits(algorithm) && key.verifies(algorithm, token.signed(), token.signature()) {
                let identity = self.rules.identity(token.claims(), now);
                return Some(identity.map(Arc::new));
            }
        }
        known.then_some(Err(Refusal::Untrusted("invalid signature")))
    }

    /// Keeps what these keys accepted, unless they are replaced by now.
    pub(crate) fn keep(&self, text: &str, keys: &Arc<KeySet>, outcome: &Outcome) {
        let Ok(identity) = outcome else {
            return;
        };
        let digest = Digest::of(text.as_bytes());
        let source = self.source();
        if Arc::ptr_eq(&source.keys(), keys) {
            self.cache().insert(digest, Arc::clone(identity));
        }
    }

    /// Decides about a token that is not known yet.
    fn decide(&self, text: &str, now: u64) -> Check {
        loop {
            let keys = self.source().keys();
            match self.verify(text, &keys, now) {
                Some(Ok(identity)) => {
                    self.keep(text, &keys, &Ok(Arc::clone(&identity)));
                    return Check::Accepted(identity);
                }
                Some(Err(refusal)) => return Check::Refused(refusal),
                None => {}
            }
            let mut source = self.source();
            // Others may have come meanwhile: those do not come again.
            if Arc::ptr_eq(&source.keys(), &keys) {
                return match source.wait(text, now) {
                    Ok(pending) => Check::Pending(pending),
                    Err(refusal) => Check::Refused(refusal),
                };
            }
        }
    }
}

impl Guard for Jwt {
    fn check(&self, credential: Credential<'_>, now: u64) -> Check {
        let Credential::Text(text) = credential else {
            return Check::Refused(Refusal::Malformed("a token is needed"));
        };
        let inner = &*self.0;
        if text.len() > inner.token_max {
            return Check::Refused(Refusal::Malformed("the token is too long"));
        }
        let known = inner.cache().get(&Digest::of(text.as_bytes()));
        if let Some(identity) = known {
            if identity.is_expired(now) {
                return Check::Refused(Refusal::Expired);
            }
            return Check::Accepted(identity);
        }
        inner.decide(text, now)
    }

    fn challenge(&self) -> Challenge {
        self.0.challenge.clone()
    }
}

#[cfg(test)]
mod tests;
