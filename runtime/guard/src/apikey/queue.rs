//! The verifications that run and wait.
//!
//! A verification is a value that the process runs on a thread: [`Runner::run`] is called for the
//! first, and whoever runs it goes on with the next ([`Verification::run`] returns it) until none
//! waits. So at most `verifications` threads exist, and none when there is nothing to verify.
//! Requests with the same key share its verification.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Keys;
use super::refused::Refused;
use crate::check::Refusal;
use crate::digest::Digest;
use crate::pending::{Answer, Outcome, Pending, pending};

/// Most verifications that run or wait for the same stored key: whoever knows the id of a key cannot
/// fill the queue for all others.
pub(super) const FOR_ONE_KEY: usize = 8;
/// Most requests that share one verification.
const SHARED_MAX: usize = 1_024;

/// Runs verifications.
pub trait Runner: Send + Sync {
    /// Runs a verification, and those that [`Verification::run`] returns, away from the workers. May
    /// drop it, which refuses those who wait.
    fn run(&self, verification: Verification);
}

/// A verification that runs, or waits for its turn.
pub(super) struct Place {
    digest: Digest,
    /// The first of the stored keys that it is verified against.
    entry: usize,
}

struct Waiting {
    place: Place,
    key: String,
}

/// Those who wait for an answer about one key.
struct Asked {
    digest: Digest,
    entry: usize,
    answers: Vec<Answer>,
}

#[derive(Default)]
struct State {
    running: usize,
    /// In the order of their arrival.
    waiting: VecDeque<Waiting>,
    /// One for each that runs or waits.
    asked: Vec<Asked>,
    refused: Refused,
}

pub(crate) struct Queue {
    running_max: usize,
    waiting_max: usize,
    state: Mutex<State>,
}

/// What becomes of a key that is not known yet.
pub(super) enum Admission {
    Refused(Refusal),
    /// It waits for its turn, or for the verification of the same key.
    Waits(Pending),
    /// It must be run.
    Runs(Pending, Place),
}

impl Queue {
    pub(super) fn new(running_max: usize, waiting_max: usize) -> Self {
        Self {
            running_max,
            waiting_max,
            state: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides in one step under the lock: a thread that ends meanwhile would leave the key waiting.
    pub(super) fn admit(&self, digest: Digest, entry: usize, key: &str) -> Admission {
        let mut state = self.lock();
        if state.refused.contains(&digest) {
            return Admission::Refused(Refusal::UnknownKey);
        }
        if let Some(asked) = state.asked.iter_mut().find(|it| it.digest.is(&digest)) {
            asked.answers.retain(Answer::is_awaited);
            if asked.answers.len() >= SHARED_MAX {
                return Admission::Refused(Refusal::Busy);
            }
            let (answer, pending) = pending();
            asked.answers.push(answer);
            return Admission::Waits(pending);
        }
        let for_entry = state.asked.iter().filter(|it| it.entry == entry).count();
        let runs = state.running < self.running_max;
        if for_entry >= FOR_ONE_KEY || !(runs || state.waiting.len() < self.waiting_max) {
            return Admission::Refused(Refusal::Busy);
        }
        let (answer, pending) = pending();
        state.asked.push(Asked {
            digest,
            entry,
            answers: vec![answer],
        });
        let place = Place { digest, entry };
        if runs {
            state.running += 1;
            Admission::Runs(pending, place)
        } else {
            let key = key.to_owned();
            state.waiting.push_back(Waiting { place, key });
            Admission::Waits(pending)
        }
    }

    /// Gives the outcome to those who wait for it.
    fn settle(&self, digest: &Digest, outcome: &Outcome) {
        let mut state = self.lock();
        if matches!(outcome, Err(Refusal::UnknownKey)) {
            state.refused.insert(*digest);
        }
        let at = state.asked.iter().position(|it| it.digest.is(digest));
        let asked = at.map(|at| state.asked.swap_remove(at));
        drop(state);
        for answer in asked.into_iter().flat_map(|asked| asked.answers) {
            answer.give(outcome.clone());
        }
    }

    /// The next that waits and that somebody waits for; without one, the thread is done.
    fn next(&self) -> Option<Waiting> {
        let mut state = self.lock();
        while let Some(next) = state.waiting.pop_front() {
            let of_it = |asked: &Asked| asked.digest.is(&next.place.digest);
            let Some(at) = state.asked.iter().position(of_it) else {
                continue;
            };
            let asked = state.asked.get(at);
            if asked.is_some_and(|asked| asked.answers.iter().any(Answer::is_awaited)) {
                return Some(next);
            }
            state.asked.swap_remove(at);
        }
        state.running = state.running.saturating_sub(1);
        None
    }

    /// A verification was dropped instead of run: there is nobody to go on with those that wait.
    fn interrupt(&self, digest: &Digest) {
        let refusal = Refusal::Unavailable("no thread to verify keys");
        self.settle(digest, &Err(refusal));
        let mut state = self.lock();
        state.running = state.running.saturating_sub(1);
        if state.running > 0 {
            return;
        }
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        for each in waiting {
            self.settle(&each.place.digest, &Err(refusal));
        }
    }
}

/// One key to be verified. It holds the key; its `Debug` text does not.
pub struct Verification {
    keys: Arc<Keys>,
    place: Place,
    key: String,
    done: bool,
}

impl fmt::Debug for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verification(entry {})", self.place.entry)
    }
}

impl Verification {
    pub(super) fn new(keys: Arc<Keys>, place: Place, key: &str) -> Self {
        Self {
            keys,
            place,
            key: key.to_owned(),
            done: false,
        }
    }

    /// Verifies the key, which takes as long as its hash asks for (about 0.2 s), answers those who wait
    /// for it, and returns the next verification. `now` is the time in milliseconds since the Unix
    /// epoch.
    pub fn run(mut self, now: u64) -> Option<Self> {
        let outcome = self.keys.verify(&self.key, self.place.digest, now);
        self.done = true;
        let keys = Arc::clone(&self.keys);
        keys.queue().settle(&self.place.digest, &outcome);
        let next = keys.queue().next()?;
        Some(Self {
            keys,
            place: next.place,
            key: next.key,
            done: false,
        })
    }
}

impl Drop for Verification {
    fn drop(&mut self) {
        if !self.done {
            self.keys.queue().interrupt(&self.place.digest);
        }
    }
}
