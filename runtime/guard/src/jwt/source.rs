//! Where keys come from: the config, or the authorization server.
//!
//! A state machine without I/O. Its task asks [`KeySource::step`] what to do, fetches, hands in the
//! answer ([`KeySource::fetched`]), and waits for the time of the next step or for
//! [`KeySource::wanted`]. A failed fetch is repeated with growing pauses, and the keys stay.

use std::fmt;
use std::sync::Arc;
use std::task::{Poll, Waker};

use serde_json::Value;
use thiserror::Error;

use super::jwk::KeySet;
use super::url::Url;
use super::{Inner, UNKNOWN_KEY};
use crate::check::Refusal;
use crate::pending::{Answer, Pending, pending};

/// Most tokens that wait for keys. A further one is refused as busy.
pub const WAITING_MAX: usize = 256;
/// Shortest time between two fetches that tokens with an unknown key id ask for, in milliseconds.
const ASKED_EVERY: u64 = 60_000;
/// First and longest pause after a failure, in milliseconds.
const PAUSE: (u64, u64) = (1_000, 300_000);

const NO_KEYS: Refusal =
    Refusal::Unavailable("the keys of the authorization server cannot be fetched");

/// Why a document could not be fetched or used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct FetchError(pub String);

/// What the task of a source does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Fetch this URL, and hand in the answer.
    Fetch(Url),
    /// Wait until this time, in milliseconds since the Unix epoch, or until keys are wanted.
    Wait(u64),
}

/// How the URL of the keys is known.
enum Location {
    /// The keys are in the config.
    None,
    /// It is in the config.
    Given(Url),
    /// It is in the metadata, which is at one of these URLs.
    Discovered {
        issuer: Url,
        metadata: Vec<Url>,
        /// The one that is tried.
        tried: usize,
        keys: Option<Url>,
    },
}

/// What a document must be.
enum Wanted {
    /// The metadata of this issuer.
    Metadata(Url),
    Keys,
}

/// What a document was.
enum Found {
    /// Metadata: the keys are at this URL.
    Location(Url),
    Keys(KeySet),
}

impl Wanted {
    /// Reads a document. It may be large, so no lock is held meanwhile.
    fn read(&self, text: &[u8]) -> Result<Found, FetchError> {
        match self {
            Self::Metadata(issuer) => keys_url(text, issuer).map(Found::Location),
            Self::Keys => KeySet::parse(text)
                .map(Found::Keys)
                .map_err(|error| FetchError(error.to_string())),
        }
    }
}

/// A token that waits for keys.
struct Waiting {
    token: String,
    answer: Answer,
}

/// The keys and what is known about getting new ones.
pub(super) struct Source {
    location: Location,
    keys: Arc<KeySet>,
    /// Keys were fetched at least once.
    loaded: bool,
    /// Milliseconds between two fetches.
    refresh: u64,
    /// When the next fetch is due, and how long before that this was decided, in milliseconds.
    next: u64,
    pause: u64,
    fetching: bool,
    failures: u32,
    /// When a token with an unknown key id last caused a fetch.
    asked: Option<u64>,
    waiting: Vec<Waiting>,
    /// Keys are wanted earlier than at `next` as it was.
    wanted: bool,
    waker: Option<Waker>,
}

impl Source {
    fn new(location: Location, refresh: u64) -> Self {
        Self {
            location,
            keys: Arc::default(),
            loaded: false,
            refresh,
            next: 0,
            pause: 0,
            fetching: false,
            failures: 0,
            asked: None,
            waiting: Vec::new(),
            wanted: false,
            waker: None,
        }
    }

    /// Keys of the config.
    pub(super) fn fixed(keys: KeySet) -> Self {
        let mut source = Self::new(Location::None, 0);
        source.keys = Arc::new(keys);
        source
    }

    /// Keys at a URL.
    pub(super) fn at(url: Url, refresh: u64) -> Self {
        Self::new(Location::Given(url), refresh)
    }

    /// Keys at the URL in the metadata of an issuer.
    pub(super) fn discovered(issuer: &Url, refresh: u64) -> Self {
        let location = Location::Discovered {
            issuer: issuer.clone(),
            metadata: issuer.metadata(),
            tried: 0,
            keys: None,
        };
        Self::new(location, refresh)
    }

    pub(super) const fn is_fixed(&self) -> bool {
        matches!(self.location, Location::None)
    }

    pub(super) fn keys(&self) -> Arc<KeySet> {
        Arc::clone(&self.keys)
    }

    /// Lets a token whose key is unknown wait for new keys, if some may come.
    pub(super) fn wait(&mut self, token: &str, now: u64) -> Result<Pending, Refusal> {
        if self.is_fixed() {
            return Err(UNKNOWN_KEY);
        }
        let comes = self.fetching || self.next <= now;
        if !comes && !self.loaded {
            return Err(NO_KEYS);
        }
        if !comes {
            // A clock that was set back counts as time enough.
            let recently = |asked: u64| asked <= now && now - asked < ASKED_EVERY;
            if self.asked.is_some_and(recently) {
                return Err(UNKNOWN_KEY);
            }
            self.asked = Some(now);
            self.pause(now, 0);
            self.wanted = true;
        }
        self.waiting.retain(|waiting| waiting.answer.is_awaited());
        if self.waiting.len() >= WAITING_MAX {
            return Err(Refusal::Busy);
        }
        let (answer, pending) = pending();
        let token = token.to_owned();
        self.waiting.push(Waiting { token, answer });
        if let Some(waker) = self.waker.take_if(|_| self.wanted) {
            waker.wake();
        }
        Ok(pending)
    }

    fn step(&mut self, now: u64) -> Step {
        let url = match &self.location {
            Location::None => return Step::Wait(u64::MAX),
            // A clock that was set back would make the pause longer: it is over then.
            _ if self.next > now && self.next - now <= self.pause => {
                return Step::Wait(self.next);
            }
            Location::Given(url)
            | Location::Discovered {
                keys: Some(url), ..
            } => Some(url),
            Location::Discovered {
                metadata, tried, ..
            } => metadata.get(*tried),
        };
        let Some(url) = url.cloned() else {
            return Step::Wait(u64::MAX);
        };
        self.fetching = true;
        self.wanted = false;
        Step::Fetch(url)
    }

    /// What the document must be that is fetched now.
    fn wanted_document(&self) -> Wanted {
        match &self.location {
            Location::Discovered {
                issuer, keys: None, ..
            } => Wanted::Metadata(issuer.clone()),
            _ => Wanted::Keys,
        }
    }

    /// The metadata says where the keys are.
    fn locate(&mut self, url: Url) {
        if let Location::Discovered { keys, .. } = &mut self.location {
            *keys = Some(url);
        }
    }

    /// Waits this long before the next fetch, in milliseconds.
    const fn pause(&mut self, now: u64, pause: u64) {
        self.pause = pause;
        self.next = now.saturating_add(pause);
    }

    /// Notes a failure; whether another URL of the metadata is left to try at once.
    fn failed(&mut self, now: u64) -> bool {
        if let Location::Discovered {
            metadata,
            tried,
            keys,
            ..
        } = &mut self.location
        {
            if keys.is_none() && *tried + 1 < metadata.len() {
                *tried += 1;
                return true;
            }
            // It may have moved.
            (*tried, *keys) = (0, None);
        }
        let (first, longest) = PAUSE;
        let pause = first.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        self.pause(now, pause.min(longest));
        self.fetching = false;
        false
    }
}

/// The URL of the keys in the metadata of an issuer. The keys of an issuer on https are on https, too:
/// metadata must not lead to a service of this host.
pub(super) fn keys_url(text: &[u8], issuer: &Url) -> Result<Url, FetchError> {
    let error = |why: &str| FetchError(format!("its metadata {why}"));
    let metadata: Value = serde_json::from_slice(text).map_err(|_| error("is not JSON"))?;
    let member = |name: &str| metadata.get(name).and_then(Value::as_str);
    if member("issuer") != Some(issuer.as_str()) {
        return Err(error(
            "is of another issuer; 'issuer' must be the same byte by byte",
        ));
    }
    let keys = member("jwks_uri").ok_or_else(|| error("has no jwks_uri"))?;
    let keys = Url::parse(keys);
    let keys = keys.map_err(|why| error(&format!("has a jwks_uri that cannot be used: {why}")))?;
    if issuer.is_https() && !keys.is_https() {
        return Err(error("has a jwks_uri that cannot be used: use https"));
    }
    Ok(keys)
}

/// The keys of a guard that are fetched. One task drives it.
pub struct KeySource(Arc<Inner>);

impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeySource({})", self.0.rules.issuer)
    }
}

impl KeySource {
    pub(super) const fn new(inner: Arc<Inner>) -> Self {
        Self(inner)
    }

    /// What to do at a time in milliseconds since the Unix epoch.
    pub fn step(&self, now: u64) -> Step {
        self.0.source().step(now)
    }

    /// Hands in the answer to [`Step::Fetch`]. Returns the error to be logged, if it is one, and answers
    /// the tokens that wait once it is clear whether there are new keys.
    pub fn fetched(&self, answer: Result<&[u8], FetchError>, now: u64) -> Result<(), FetchError> {
        // Only this task changes what is wanted, so it stays so while the document is read.
        let wanted = self.0.source().wanted_document();
        let read = answer.and_then(|text| wanted.read(text));
        let mut source = self.0.source();
        let keys = match read {
            // Next are the keys themselves.
            Ok(Found::Location(url)) => {
                source.locate(url);
                return Ok(());
            }
            Ok(Found::Keys(keys)) => keys,
            Err(error) => {
                if source.failed(now) {
                    return Ok(());
                }
                let refusal = if source.loaded { UNKNOWN_KEY } else { NO_KEYS };
                let waiting = std::mem::take(&mut source.waiting);
                drop(source);
                for Waiting { answer, .. } in waiting {
                    answer.give(Err(refusal));
                }
                return Err(error);
            }
        };
        let changed = *source.keys != keys;
        source.keys = Arc::new(keys);
        source.loaded = true;
        source.fetching = false;
        source.failures = 0;
        let refresh = source.refresh;
        source.pause(now, refresh);
        let keys = source.keys();
        let waiting = std::mem::take(&mut source.waiting);
        drop(source);
        if changed {
            self.0.forget();
        }
        for Waiting { token, answer } in waiting {
            let outcome = self
                .0
                .verify(&token, &keys, now)
                .unwrap_or(Err(UNKNOWN_KEY));
            self.0.keep(&token, &keys, &outcome);
            answer.give(outcome);
        }
        Ok(())
    }

    /// Completes when a token asks for keys earlier than planned.
    pub async fn wanted(&self) {
        std::future::poll_fn(|cx| {
            let mut source = self.0.source();
            if source.wanted {
                return Poll::Ready(());
            }
            source.waker = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}
