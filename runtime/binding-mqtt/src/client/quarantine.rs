//! Which publications and subscriptions may be what a broker closes connections over.
//!
//! One connection serves many callers, and a broker that does not like one packet closes it for all of
//! them. So whatever was under way at that moment is remembered, and the next of its kind goes over a
//! connection of its own, one at a time: whoever it is that the broker does not like, it then drops
//! nobody else.
//!
//! - Alone under way when the broker said that it disliked a packet: **convicted**, for [`CONVICTED`].
//! - One of several: **suspected**. It is tried once, and acquitted when the broker answers.
//! - Under way when the connection was closed without a word, which the network may have done: **noted**,
//!   and suspected the second time within [`NOTED`].
//!
//! What is of a kind: publications of a client with the same topic, subscriptions of a client with the
//! same filter. A caller who changes the topic each time is told by its first level: the smallest of
//! topic, first level, and all that a client publishes that holds everything under way has a *drop*
//! counted against it, and with so many of them ([`LEVEL_DROPS`], [`CLIENT_DROPS`]) it is convicted as
//! a whole.
//!
//! Names are kept as hashes. Two that share one share its fate, which costs them a connection.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher as _};

use tidegate_engine::{Context, Duration, Time};

use super::events::{Quarantined, Suspected};

/// For how long something convicted keeps a connection of its own.
const CONVICTED: Duration = Duration::from_secs(600);
/// For how long something suspected is waited for, to be tried.
const SUSPECTED: Duration = Duration::from_secs(600);
/// For how long a connection that was closed without a word is remembered.
const NOTED: Duration = Duration::from_secs(60);
/// After how many drops a first level is convicted, with all its topics.
const LEVEL_DROPS: u8 = 3;
/// After how many drops whatever a client publishes is convicted.
const CLIENT_DROPS: u8 = 6;
/// How many entries there are at the most; beyond that, those that expire first make way.
const ENTRIES: usize = 1_024;
/// How many characters of a topic are shown to operators.
const SHOWN: usize = 200;

/// The name of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key(u64);

/// Names what belongs to one client.
#[derive(Debug, Clone)]
pub(super) struct Namer(DefaultHasher);

impl Namer {
    /// For the client of this name.
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

    /// A publication.
    pub(super) fn message(&self, topic: &str) -> Suspect {
        let level = topic.split('/').next().unwrap_or_default();
        Suspect {
            name: self.key(0, topic),
            level: Some(self.key(1, level)),
        }
    }

    /// A subscription.
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

/// What may be the cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Suspect {
    name: Key,
    /// Of a publication.
    level: Option<Key>,
}

/// What the broker let know when it closed the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// It disliked a packet.
    Packet,
    /// Nothing, but only one packet was under way.
    Alone,
    /// Nothing, or nothing of use.
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Drops are counted against it.
    Counted(u8),
    Noted,
    Suspected,
    Convicted,
}

#[derive(Debug)]
struct Entry {
    standing: Standing,
    until: Time,
    /// The broker said that it dislikes it.
    blamed: bool,
    /// What operators were told of it.
    told: Option<Verdict>,
}

/// Why something goes over a connection of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It may be what the broker closes connections over, or the network may have done it.
    Suspected,
    /// The broker said that it dislikes it.
    Convicted,
}

/// Something goes over a connection of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Held {
    verdict: Verdict,
    /// Operators were not told of it yet.
    is_news: bool,
}

/// All that is remembered.
#[derive(Debug, Default)]
pub(super) struct Quarantine {
    entries: BTreeMap<Key, Entry>,
    /// When the last of them expires.
    until: Time,
}

impl Quarantine {
    /// Whether nothing is remembered, as nearly always.
    pub(super) fn is_empty(&mut self, now: Time) -> bool {
        if !self.entries.is_empty() && self.until <= now {
            self.entries.clear();
        }
        self.entries.is_empty()
    }

    /// Whether something is to go over a connection of its own; operators are told of it once, under
    /// this name.
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
        if held.is_news {
            tell(cx, held.verdict, name);
        }
        true
    }

    fn held(&mut self, now: Time, namer: &Namer, suspect: Suspect) -> Option<Held> {
        let client = suspect.level.map(|_| namer.client());
        let kinds = [Some(suspect.name), suspect.level, client];
        for (wide, name) in kinds.into_iter().enumerate() {
            let Some(entry) = name.and_then(|name| self.entries.get_mut(&name)) else {
                continue;
            };
            let suspected = wide == 0 && entry.standing == Standing::Suspected;
            if entry.until > now && (suspected || entry.standing == Standing::Convicted) {
                let verdict = match entry.standing {
                    Standing::Convicted if entry.blamed => Verdict::Convicted,
                    _ => Verdict::Suspected,
                };
                let told = entry.told.replace(verdict);
                return Some(Held {
                    verdict,
                    is_news: told != Some(verdict),
                });
            }
        }
        None
    }

    /// The broker has closed a connection while these were under way.
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
                self.set(now, alone.name, Standing::Convicted, CONVICTED);
                if let (Some(level), false) = (alone.level, known) {
                    self.drop_in_level(now, namer, level);
                }
            }
            (Cause::Packet | Cause::Alone, [first, others @ ..]) => {
                for suspect in suspects {
                    if !self.is_convicted(now, suspect.name) {
                        self.set(now, suspect.name, Standing::Suspected, SUSPECTED);
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

    /// The broker itself said so, also of what holds everything that was under way.
    fn blame(&mut self, namer: &Namer, suspects: &[Suspect]) {
        let kinds = suspects.iter().flat_map(|it| [Some(it.name), it.level]);
        for name in kinds.flatten().chain([namer.client()]) {
            if let Some(entry) = self.entries.get_mut(&name) {
                entry.blamed = true;
            }
        }
    }

    /// The broker has answered: one that was only suspected is no longer.
    pub(super) fn acquit(&mut self, suspect: Suspect) {
        let standing = self.entries.get(&suspect.name).map(|entry| entry.standing);
        if standing == Some(Standing::Suspected) {
            self.entries.remove(&suspect.name);
        }
    }

    fn is_convicted(&self, now: Time, name: Key) -> bool {
        let entry = self.entries.get(&name).filter(|entry| entry.until > now);
        entry.is_some_and(|entry| entry.standing == Standing::Convicted)
    }

    /// Something of this first level made the broker drop a connection.
    fn drop_in_level(&mut self, now: Time, namer: &Namer, level: Key) {
        let known = self.is_convicted(now, level);
        self.count(now, level, LEVEL_DROPS);
        if !known && self.is_convicted(now, level) {
            self.count(now, namer.client(), CLIENT_DROPS);
        }
    }

    fn count(&mut self, now: Time, name: Key, limit: u8) {
        let drops = match self.entries.get(&name).filter(|entry| entry.until > now) {
            Some(entry) => match entry.standing {
                Standing::Counted(drops) => drops.saturating_add(1),
                _ => limit,
            },
            None => 1,
        };
        let standing = if drops < limit {
            Standing::Counted(drops)
        } else {
            Standing::Convicted
        };
        self.set(now, name, standing, CONVICTED);
    }

    /// A connection was closed without a word.
    fn note(&mut self, now: Time, name: Key) {
        let entry = self.entries.get(&name).filter(|entry| entry.until > now);
        match entry.map(|entry| entry.standing) {
            None => self.set(now, name, Standing::Noted, NOTED),
            Some(Standing::Noted) => self.set(now, name, Standing::Suspected, SUSPECTED),
            Some(_) => {}
        }
    }

    fn set(&mut self, now: Time, name: Key, standing: Standing, lasts: Duration) {
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
            standing,
            until,
            blamed: false,
            told: None,
        });
        if entry.until <= now {
            entry.blamed = false;
            entry.told = None;
        }
        entry.standing = standing;
        entry.until = until;
    }
}

/// Tells operators that something goes over a connection of its own.
fn tell(cx: &mut Context<'_>, verdict: Verdict, name: &str) {
    let topic = || name.chars().take(SHOWN).collect::<String>().into();
    match verdict {
        Verdict::Convicted => cx.event(&Quarantined { topic: topic() }),
        Verdict::Suspected if cx.hears::<Suspected>() => cx.event(&Suspected { topic: topic() }),
        Verdict::Suspected => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Time {
        Time::from_micros(seconds * 1_000_000)
    }

    struct House {
        quarantine: Quarantine,
        namer: Namer,
    }

    fn house() -> House {
        House {
            quarantine: Quarantine::default(),
            namer: Namer::new("gate"),
        }
    }

    impl House {
        fn holds(&mut self, second: u64, topic: &str) -> bool {
            self.held(second, topic).is_some()
        }

        fn held(&mut self, second: u64, topic: &str) -> Option<Held> {
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
    fn alone_it_is_convicted_and_no_success_acquits_it() {
        let mut house = house();
        house.accuse(0, &["a/b"], Cause::Packet);
        assert!(house.holds(1, "a/b") && !house.holds(1, "a/c"));
        let suspect = house.namer.message("a/b");
        house.quarantine.acquit(suspect);
        assert!(house.holds(599, "a/b"));
        house.accuse(599, &["a/b"], Cause::Packet);
        assert!(house.holds(1_198, "a/b") && !house.holds(1_199, "a/b"));
        let other = Namer::new("other");
        let suspect = other.message("a/b");
        let held = house.quarantine.held(at(600), &other, suspect);
        assert_eq!(held, None, "of another client");
    }

    #[test]
    fn of_several_each_is_tried_once() {
        let mut house = house();
        house.accuse(0, &["a/b", "c/d"], Cause::Packet);
        assert!(house.holds(1, "a/b") && house.holds(1, "c/d"));
        let suspect = house.namer.message("a/b");
        house.quarantine.acquit(suspect);
        assert!(!house.holds(2, "a/b") && house.holds(2, "c/d"));
        house.accuse(3, &["c/d"], Cause::Packet);
        let suspect = house.namer.message("c/d");
        house.quarantine.acquit(suspect);
        assert!(house.holds(4, "c/d"));
    }

    #[test]
    fn what_the_network_may_have_done_counts_the_second_time() {
        let mut house = house();
        house.accuse(0, &["a"], Cause::Unknown);
        assert!(!house.holds(1, "a"));
        house.accuse(61, &["a"], Cause::Unknown);
        assert!(!house.holds(62, "a"), "the first is forgotten");
        house.accuse(70, &["a"], Cause::Unknown);
        assert!(house.holds(71, "a"));
    }

    #[test]
    fn a_caller_who_changes_the_topic_is_told_by_its_first_level() {
        let mut house = house();
        for drop in 0..3 {
            assert!(!house.holds(drop, "ok/next"), "after {drop} drops");
            house.accuse(drop, &[&format!("ok/{drop}")], Cause::Packet);
        }
        assert!(house.holds(3, "ok/next") && !house.holds(3, "other/next"));
        // The same one again and again is no reason to convict its neighbours.
        for second in 10..20 {
            house.accuse(second, &["mine/same"], Cause::Packet);
        }
        assert!(!house.holds(20, "mine/other"));
    }

    #[test]
    fn who_changes_the_first_level_too_has_all_that_the_client_publishes_convicted() {
        let mut house = house();
        for drop in 0..6 {
            assert!(!house.holds(drop, "any"), "after {drop} drops");
            house.accuse(
                drop,
                &[&format!("a{drop}/x"), &format!("b{drop}/x")],
                Cause::Packet,
            );
        }
        assert!(house.holds(6, "any"));
        let filter = house.namer.filter("any");
        let held = house.quarantine.held(at(6), &house.namer, filter);
        assert_eq!(held, None, "a subscription is not a publication");
    }

    #[test]
    fn only_what_the_broker_said_is_a_conviction_and_each_is_news_once() {
        let mut house = house();
        let held = |verdict, is_news| Some(Held { verdict, is_news });
        // A link that is cut again and again, at last with nothing else under way.
        house.accuse(0, &["a", "b"], Cause::Unknown);
        house.accuse(1, &["a", "b"], Cause::Unknown);
        assert_eq!(house.held(2, "a"), held(Verdict::Suspected, true));
        assert_eq!(house.held(2, "a"), held(Verdict::Suspected, false));
        house.accuse(3, &["a"], Cause::Alone);
        assert_eq!(house.held(4, "a"), held(Verdict::Suspected, false));
        house.accuse(5, &["a"], Cause::Packet);
        assert_eq!(house.held(6, "a"), held(Verdict::Convicted, true));
        assert_eq!(house.held(6, "a"), held(Verdict::Convicted, false));
        // Longer after, it begins anew.
        house.accuse(700, &["a", "b"], Cause::Unknown);
        assert_eq!(house.held(701, "a"), None);
    }

    #[test]
    fn memory_is_bounded() {
        let mut house = house();
        for topic in 0..3_000u64 {
            house.accuse(topic / 100, &[&format!("{topic}"), "x"], Cause::Packet);
        }
        assert!(house.quarantine.entries.len() <= ENTRIES);
        assert!(house.holds(31, "2999"), "the newest are known");
        assert!(!house.quarantine.is_empty(at(628)) && house.quarantine.is_empty(at(629)));
    }
}
