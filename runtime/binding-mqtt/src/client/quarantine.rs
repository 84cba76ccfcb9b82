//! Isolates publications and subscriptions over which a broker may close connections.
//!
//! One connection serves many callers, and a broker that rejects one packet closes it for all of
//! them. So the packets in flight at that moment are recorded, and later packets of the same kind
//! use a separate connection, one at a time: if the broker closes that one, no other stream is
//! affected.
//!
//! - A single packet in flight, and the broker's reason code blames a packet: **convicted**, for
//!   [`CONVICTED`].
//! - One of several packets in flight: **suspected**. It is tried once, and acquitted when the
//!   broker answers.
//! - In flight when the connection was closed without a reason, possibly by the network: **noted**,
//!   and suspected the second time within [`NOTED`].
//!
//! Publications of a client with the same topic are of one kind, and so are subscriptions of a
//! client with the same filter. A caller that uses a new topic each time is recognised by the first
//! level: a *drop* is counted for the narrowest scope that contains all packets in flight (topic,
//! first level, or all publications of the client), and after enough drops ([`LEVEL_DROPS`],
//! [`CLIENT_DROPS`]) the whole scope is convicted.
//!
//! Names are stored as hashes. A collision only costs a separate connection.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher as _};

use tidegate_engine::{Context, Duration, Time};

use super::events::{Quarantined, Suspected};

/// How long a conviction lasts.
const CONVICTED: Duration = Duration::from_secs(600);
/// How long a suspicion lasts if the packet is not tried.
const SUSPECTED: Duration = Duration::from_secs(600);
/// How long a connection closed without a reason is remembered.
const NOTED: Duration = Duration::from_secs(60);
/// Number of drops after which a first level is convicted.
const LEVEL_DROPS: u8 = 3;
/// Number of drops after which all publications of a client are convicted.
const CLIENT_DROPS: u8 = 6;
/// Maximum number of entries. Beyond it, the entry that expires first is removed.
const ENTRIES: usize = 1_024;
/// Maximum number of characters of a topic in an event.
const SHOWN: usize = 200;

/// The hash of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key(u64);

/// Hashes the topics and filters of one client.
#[derive(Debug, Clone)]
pub(super) struct Namer(DefaultHasher);

impl Namer {
    /// `client` is the name that the streams use.
    pub(super) fn new(client: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        hasher.write(client.as_bytes());
        Self(hasher)
    }

    fn key(&self, kind: u8, name: &str) -> Key {
        let mut hasher = self.0.clone();
        hasher.write_u8(kind);
        hasher.write(name.as_bytes());
        Key(hasher.finish())
    }

    /// The kind of a publication.
    pub(super) fn message(&self, topic: &str) -> Suspect {
        let level = topic.split('/').next().unwrap_or_default();
        Suspect {
            name: self.key(0, topic),
            level: Some(self.key(1, level)),
        }
    }

    /// The kind of a subscription.
    pub(super) fn filter(&self, filter: &str) -> Suspect {
        Suspect {
            name: self.key(2, filter),
            level: None,
        }
    }

    fn client(&self) -> Key {
        self.key(3, "")
    }
}

/// A packet over which the broker may have closed the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Suspect {
    name: Key,
    /// The first level of the topic; `None` for a subscription.
    level: Option<Key>,
}

/// What the end of the connection says about its cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// The reason code blames a packet.
    Packet,
    /// No reason, but only one packet was in flight.
    Alone,
    /// No reason, or one that does not help.
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    /// Number of drops counted so far.
    Counted(u8),
    Noted,
    Suspected,
    Convicted,
}

#[derive(Debug)]
struct Entry {
    status: Status,
    until: Time,
    /// The broker's reason code blamed it.
    blamed: bool,
    /// The verdict in the last event about it.
    reported: Option<Verdict>,
}

/// Why a separate connection is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It may be the cause, but so may the network.
    Suspected,
    /// The broker blamed it.
    Convicted,
}

/// The decision to use a separate connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Decision {
    verdict: Verdict,
    /// No event was emitted for this verdict yet.
    unreported: bool,
}

/// All entries.
#[derive(Debug, Default)]
pub(super) struct Quarantine {
    entries: BTreeMap<Key, Entry>,
    /// When the last entry expires.
    until: Time,
}

impl Quarantine {
    /// Whether there are no entries, which is the normal case.
    pub(super) fn is_empty(&mut self, now: Time) -> bool {
        if !self.entries.is_empty() && self.until <= now {
            self.entries.clear();
        }
        self.entries.is_empty()
    }

    /// Whether a packet must use a separate connection. Emits an event with `name` if the verdict
    /// is new.
    pub(super) fn holds(
        &mut self,
        cx: &mut Context<'_>,
        namer: &Namer,
        suspect: Suspect,
        name: &str,
    ) -> bool {
        let Some(held) = self.held(cx.now(), namer, suspect) else {
            return false;
        };
        if held.unreported {
            report(cx, held.verdict, name);
        }
        true
    }

    fn held(&mut self, now: Time, namer: &Namer, suspect: Suspect) -> Option<Decision> {
        let client = suspect.level.map(|_| namer.client());
        let kinds = [Some(suspect.name), suspect.level, client];
        for (wide, name) in kinds.into_iter().enumerate() {
            let Some(entry) = name.and_then(|name| self.entries.get_mut(&name)) else {
                continue;
            };
            let suspected = wide == 0 && entry.status == Status::Suspected;
            if entry.until > now && (suspected || entry.status == Status::Convicted) {
                let verdict = match entry.status {
                    Status::Convicted if entry.blamed => Verdict::Convicted,
                    _ => Verdict::Suspected,
                };
                let reported = entry.reported.replace(verdict);
                return Some(Decision {
                    verdict,
                    unreported: reported != Some(verdict),
                });
            }
        }
        None
    }

    /// The broker closed a connection while `suspects` were in flight.
    pub(super) fn accuse(&mut self, now: Time, namer: &Namer, suspects: &[Suspect], cause: Cause) {
        match (cause, suspects) {
            (_, []) => {}
            (Cause::Unknown, suspects) => {
                for suspect in suspects {
                    self.note(now, suspect.name);
                }
            }
            (Cause::Packet | Cause::Alone, [alone]) => {
                let known = self.is_convicted(now, alone.name);
                self.set(now, alone.name, Status::Convicted, CONVICTED);
                if let (Some(level), false) = (alone.level, known) {
                    self.drop_in_level(now, namer, level);
                }
            }
            (Cause::Packet | Cause::Alone, [first, others @ ..]) => {
                for suspect in suspects {
                    if !self.is_convicted(now, suspect.name) {
                        self.set(now, suspect.name, Status::Suspected, SUSPECTED);
                    }
                }
                let publications = suspects.iter().all(|it| it.level.is_some());
                match first.level {
                    Some(level) if others.iter().all(|it| it.level == Some(level)) => {
                        self.drop_in_level(now, namer, level);
                    }
                    Some(_) if publications => self.count(now, namer.client(), CLIENT_DROPS),
                    _ => {}
                }
            }
        }
        if cause == Cause::Packet {
            self.blame(namer, suspects);
        }
    }

    /// Marks entries, and the wider scopes that contain them, as blamed by the broker.
    fn blame(&mut self, namer: &Namer, suspects: &[Suspect]) {
        let kinds = suspects.iter().flat_map(|it| [Some(it.name), it.level]);
        for name in kinds.flatten().chain([namer.client()]) {
            if let Some(entry) = self.entries.get_mut(&name) {
                entry.blamed = true;
            }
        }
    }

    /// The broker answered: a suspicion is removed.
    pub(super) fn acquit(&mut self, suspect: Suspect) {
        let status = self.entries.get(&suspect.name).map(|entry| entry.status);
        if status == Some(Status::Suspected) {
            self.entries.remove(&suspect.name);
        }
    }

    fn is_convicted(&self, now: Time, name: Key) -> bool {
        let entry = self.entries.get(&name).filter(|entry| entry.until > now);
        entry.is_some_and(|entry| entry.status == Status::Convicted)
    }

    /// Counts a drop for a first level.
    fn drop_in_level(&mut self, now: Time, namer: &Namer, level: Key) {
        let known = self.is_convicted(now, level);
        self.count(now, level, LEVEL_DROPS);
        if !known && self.is_convicted(now, level) {
            self.count(now, namer.client(), CLIENT_DROPS);
        }
    }

    fn count(&mut self, now: Time, name: Key, limit: u8) {
        let drops = match self.entries.get(&name).filter(|entry| entry.until > now) {
            Some(entry) => match entry.status {
                Status::Counted(drops) => drops.saturating_add(1),
                _ => limit,
            },
            None => 1,
        };
        let status = if drops < limit {
            Status::Counted(drops)
        } else {
            Status::Convicted
        };
        self.set(now, name, status, CONVICTED);
    }

    /// A connection was closed without a reason.
    fn note(&mut self, now: Time, name: Key) {
        let entry = self.entries.get(&name).filter(|entry| entry.until > now);
        match entry.map(|entry| entry.status) {
            None => self.set(now, name, Status::Noted, NOTED),
            Some(Status::Noted) => self.set(now, name, Status::Suspected, SUSPECTED),
            Some(_) => {}
        }
    }

    fn set(&mut self, now: Time, name: Key, status: Status, lasts: Duration) {
        if !self.entries.contains_key(&name) && self.entries.len() >= ENTRIES {
            self.entries.retain(|_, entry| entry.until > now);
            let first = self.entries.iter().min_by_key(|(_, entry)| entry.until);
            if let Some(first) = first.map(|(name, _)| *name)
                && self.entries.len() >= ENTRIES
            {
                self.entries.remove(&first);
            }
        }
        let until = now + lasts;
        self.until = self.until.max(until);
        let entry = self.entries.entry(name).or_insert(Entry {
            status,
            until,
            blamed: false,
            reported: None,
        });
        if entry.until <= now {
            entry.blamed = false;
            entry.reported = None;
        }
        entry.status = status;
        entry.until = until;
    }
}

/// Emits the event of a verdict.
fn report(cx: &mut Context<'_>, verdict: Verdict, name: &str) {
    let topic = || name.chars().take(SHOWN).collect::<String>().into();
    match verdict {
        Verdict::Convicted => cx.event(&Quarantined { topic: topic() }),
        Verdict::Suspected => cx.event_with(|_| Suspected { topic: topic() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Time {
        Time::from_micros(seconds * 1_000_000)
    }

    struct Harness {
        quarantine: Quarantine,
        namer: Namer,
    }

    fn harness() -> Harness {
        Harness {
            quarantine: Quarantine::default(),
            namer: Namer::new("gate"),
        }
    }

    impl Harness {
        fn holds(&mut self, second: u64, topic: &str) -> bool {
            self.held(second, topic).is_some()
        }

        fn held(&mut self, second: u64, topic: &str) -> Option<Decision> {
            let suspect = self.namer.message(topic);
            self.quarantine.held(at(second), &self.namer, suspect)
        }

        fn accuse(&mut self, second: u64, topics: &[&str], cause: Cause) {
            let suspects: Vec<_> = topics.iter().map(|it| self.namer.message(it)).collect();
            self.quarantine
                .accuse(at(second), &self.namer, &suspects, cause);
        }
    }

    #[test]
    fn a_single_suspect_is_convicted_and_not_acquitted_by_a_success() {
        let mut harness = harness();
        harness.accuse(0, &["a/b"], Cause::Packet);
        assert!(harness.holds(1, "a/b") && !harness.holds(1, "a/c"));
        let suspect = harness.namer.message("a/b");
        harness.quarantine.acquit(suspect);
        assert!(harness.holds(599, "a/b"));
        harness.accuse(599, &["a/b"], Cause::Packet);
        assert!(harness.holds(1_198, "a/b") && !harness.holds(1_199, "a/b"));
        let other = Namer::new("other");
        let suspect = other.message("a/b");
        let held = harness.quarantine.held(at(600), &other, suspect);
        assert_eq!(held, None, "of another client");
    }

    #[test]
    fn each_of_several_suspects_is_tried_once() {
        let mut harness = harness();
        harness.accuse(0, &["a/b", "c/d"], Cause::Packet);
        assert!(harness.holds(1, "a/b") && harness.holds(1, "c/d"));
        let suspect = harness.namer.message("a/b");
        harness.quarantine.acquit(suspect);
        assert!(!harness.holds(2, "a/b") && harness.holds(2, "c/d"));
        harness.accuse(3, &["c/d"], Cause::Packet);
        let suspect = harness.namer.message("c/d");
        harness.quarantine.acquit(suspect);
        assert!(harness.holds(4, "c/d"));
    }

    #[test]
    fn an_unexplained_close_counts_the_second_time() {
        let mut harness = harness();
        harness.accuse(0, &["a"], Cause::Unknown);
        assert!(!harness.holds(1, "a"));
        harness.accuse(61, &["a"], Cause::Unknown);
        assert!(!harness.holds(62, "a"), "the first entry has expired");
        harness.accuse(70, &["a"], Cause::Unknown);
        assert!(harness.holds(71, "a"));
    }

    #[test]
    fn a_caller_that_changes_the_topic_is_recognised_by_its_first_level() {
        let mut harness = harness();
        for drop in 0..3 {
            assert!(!harness.holds(drop, "ok/next"), "after {drop} drops");
            harness.accuse(drop, &[&format!("ok/{drop}")], Cause::Packet);
        }
        assert!(harness.holds(3, "ok/next") && !harness.holds(3, "other/next"));
        // Repeated drops of one topic do not convict its neighbours.
        for second in 10..20 {
            harness.accuse(second, &["mine/same"], Cause::Packet);
        }
        assert!(!harness.holds(20, "mine/other"));
    }

    #[test]
    fn changing_the_first_level_too_convicts_all_publications_of_the_client() {
        let mut harness = harness();
        for drop in 0..6 {
            assert!(!harness.holds(drop, "any"), "after {drop} drops");
            harness.accuse(
                drop,
                &[&format!("a{drop}/x"), &format!("b{drop}/x")],
                Cause::Packet,
            );
        }
        assert!(harness.holds(6, "any"));
        let filter = harness.namer.filter("any");
        let held = harness.quarantine.held(at(6), &harness.namer, filter);
        assert_eq!(held, None, "a subscription is not a publication");
    }

    #[test]
    fn only_a_blame_by_the_broker_is_reported_as_a_conviction_and_each_verdict_once() {
        let mut harness = harness();
        let held = |verdict, unreported| {
            Some(Decision {
                verdict,
                unreported,
            })
        };
        // The link is cut repeatedly, the last time with only one packet in flight.
        harness.accuse(0, &["a", "b"], Cause::Unknown);
        harness.accuse(1, &["a", "b"], Cause::Unknown);
        assert_eq!(harness.held(2, "a"), held(Verdict::Suspected, true));
        assert_eq!(harness.held(2, "a"), held(Verdict::Suspected, false));
        harness.accuse(3, &["a"], Cause::Alone);
        assert_eq!(harness.held(4, "a"), held(Verdict::Suspected, false));
        harness.accuse(5, &["a"], Cause::Packet);
        assert_eq!(harness.held(6, "a"), held(Verdict::Convicted, true));
        assert_eq!(harness.held(6, "a"), held(Verdict::Convicted, false));
        // After the entries have expired, counting starts again.
        harness.accuse(700, &["a", "b"], Cause::Unknown);
        assert_eq!(harness.held(701, "a"), None);
    }

    #[test]
    fn memory_is_bounded() {
        let mut harness = harness();
        for topic in 0..3_000u64 {
            harness.accuse(topic / 100, &[&format!("{topic}"), "x"], Cause::Packet);
        }
        assert!(harness.quarantine.entries.len() <= ENTRIES);
        assert!(harness.holds(31, "2999"), "the newest are known");
        assert!(!harness.quarantine.is_empty(at(628)) && harness.quarantine.is_empty(at(629)));
    }
}
