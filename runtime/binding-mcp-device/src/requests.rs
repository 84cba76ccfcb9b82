//! Calls with a `requestId`: a repeated one is not run again within a minute.
//!
//! While the first call runs, a repeated one waits for its answer; for a minute afterwards it gets the same one. A call
//! whose command was not sent is forgotten, so that it can be repeated. The number of calls is limited,
//! and each keeps a bounded answer.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use serde_json::{Map, Value};
use tidegate_engine::{Duration, Time};
use tidegate_streams::Identity;

use crate::result::Answer;

/// How long a call is remembered.
const KEPT: Duration = Duration::from_secs(60);

/// A `requestId` of a caller.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RequestKey(String);

impl RequestKey {
    /// Callers do not share their ids; anonymous ones share those of a session.
    pub(crate) fn new(caller: Option<&Identity>, session: Option<&str>, id: &str) -> Self {
        let (guard, subject) = caller.map_or(("", ""), |it| (&*it.guard, &*it.subject));
        let session = if caller.is_some() { None } else { session };
        let session = session.unwrap_or_default();
        Self(format!("{guard}\0{subject}\0{session}\0{id}"))
    }
}

/// What a call asks for, to tell a repeated call from another one with the same id.
pub(crate) fn fingerprint(device: &str, command: &str, arguments: &Map<String, Value>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (device, command).hash(&mut hasher);
    for (name, value) in arguments {
        (name, value.to_string()).hash(&mut hasher);
    }
    hasher.finish()
}

#[derive(Debug)]
struct Request {
    fingerprint: u64,
    since: Time,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// Exchanges that wait for the answer, by index.
    Running(Vec<usize>),
    /// With the time of the answer.
    Answered(Answer, Time),
}

/// What a call with a `requestId` is.
#[derive(Debug)]
pub(crate) enum Begun {
    /// The first one: run it.
    First,
    /// A repeated one, while the first runs.
    Joined,
    /// A repeated one, with the answer of the first.
    Repeated(Answer),
    /// The id was used for another call.
    Other,
    /// Too many calls are remembered.
    Full,
}

/// The calls of the last minute.
#[derive(Debug)]
pub(crate) struct Requests {
    all: BTreeMap<RequestKey, Request>,
    /// The keys in the order of their time; some are of calls that are forgotten.
    order: VecDeque<(Time, RequestKey)>,
    limit: usize,
}

impl Requests {
    pub(crate) const fn new(limit: usize) -> Self {
        Self {
            all: BTreeMap::new(),
            order: VecDeque::new(),
            limit,
        }
    }

    /// The most calls that are remembered.
    pub(crate) const fn limit(&self) -> usize {
        self.limit
    }

    /// A call begins in the exchange `index`.
    pub(crate) fn begin(
        &mut self,
        key: &RequestKey,
        fingerprint: u64,
        index: usize,
        now: Time,
    ) -> Begun {
        self.expire(now);
        if let Some(request) = self.all.get_mut(key) {
            if request.fingerprint != fingerprint {
                return Begun::Other;
            }
            return match &mut request.phase {
                Phase::Running(followers) => {
                    followers.push(index);
                    Begun::Joined
                }
                Phase::Answered(answer, _) => Begun::Repeated(answer.clone()),
            };
        }
        // Forgotten calls stay in the order until their time is over.
        if self.order.len() >= self.limit {
            return Begun::Full;
        }
        let request = Request {
            fingerprint,
            since: now,
            phase: Phase::Running(Vec::new()),
        };
        self.all.insert(key.clone(), request);
        self.order.push_back((now, key.clone()));
        Begun::First
    }

    /// The first call was answered. `kept` is the answer of repeated ones; `None` forgets the call.
    /// Returns the exchanges that wait for the answer.
    pub(crate) fn finish(
        &mut self,
        key: &RequestKey,
        kept: Option<Answer>,
        now: Time,
    ) -> Vec<usize> {
        let Some(request) = self.all.get_mut(key) else {
            return Vec::new();
        };
        let phase = kept.map(|answer| Phase::Answered(answer, now));
        let forget = phase.is_none();
        let before = std::mem::replace(
            &mut request.phase,
            phase.unwrap_or(Phase::Running(Vec::new())),
        );
        if forget {
            self.all.remove(key);
        }
        match before {
            Phase::Running(followers) => followers,
            Phase::Answered(..) => Vec::new(),
        }
    }

    /// Forgets the calls of more than a minute ago. One that takes longer is kept until it is answered, and for a minute
    /// from then on: a person may take minutes to approve a command.
    fn expire(&mut self, now: Time) {
        while let Some((at, _)) = self.order.front()
            && now.since(*at) >= KEPT
        {
            let Some((at, key)) = self.order.pop_front() else {
                return;
            };
            let request = self.all.get(&key).filter(|it| it.since == at);
            let keep_from = match request.map(|it| &it.phase) {
                // It is looked at again a minute later.
                Some(Phase::Running(_)) => now,
                Some(Phase::Answered(_, answered)) if now.since(*answered) < KEPT => *answered,
                Some(Phase::Answered(..)) => {
                    self.all.remove(&key);
                    continue;
                }
                None => continue,
            };
            if let Some(request) = self.all.get_mut(&key) {
                request.since = keep_from;
            }
            self.order.push_back((keep_from, key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: &str) -> RequestKey {
        RequestKey::new(None, Some("s"), id)
    }

    fn at(seconds: u64) -> Time {
        Time::START + Duration::from_secs(seconds)
    }

    fn answer(text: &str) -> Answer {
        Answer::tool_error(text)
    }

    #[test]
    fn a_repeated_call_joins_the_first_and_then_gets_its_answer() {
        let mut requests = Requests::new(10);
        assert!(matches!(
            requests.begin(&key("a"), 1, 0, at(0)),
            Begun::First
        ));
        assert!(matches!(
            requests.begin(&key("a"), 1, 1, at(1)),
            Begun::Joined
        ));
        assert!(matches!(
            requests.begin(&key("a"), 2, 2, at(1)),
            Begun::Other
        ));
        assert_eq!(requests.finish(&key("a"), Some(answer("x")), at(2)), [1]);
        let Begun::Repeated(repeated) = requests.begin(&key("a"), 1, 3, at(61)) else {
            panic!("within a minute of the answer");
        };
        assert_eq!(repeated.json, answer("x").json);
        assert!(matches!(
            requests.begin(&key("a"), 1, 4, at(62)),
            Begun::First
        ));
    }

    #[test]
    fn a_call_that_was_not_sent_is_forgotten() {
        let mut requests = Requests::new(10);
        assert!(matches!(
            requests.begin(&key("a"), 1, 0, at(0)),
            Begun::First
        ));
        assert_eq!(requests.finish(&key("a"), None, at(0)), [0; 0]);
        assert!(matches!(
            requests.begin(&key("a"), 2, 0, at(1)),
            Begun::First
        ));
    }

    #[test]
    fn a_call_that_runs_for_longer_is_still_known() {
        let mut requests = Requests::new(10);
        assert!(matches!(
            requests.begin(&key("a"), 1, 0, at(0)),
            Begun::First
        ));
        assert!(matches!(
            requests.begin(&key("a"), 1, 1, at(61)),
            Begun::Joined
        ));
        assert_eq!(requests.finish(&key("a"), Some(answer("x")), at(62)), [1]);
        assert!(matches!(
            requests.begin(&key("a"), 1, 2, at(122)),
            Begun::First
        ));
    }

    #[test]
    fn a_call_that_was_answered_after_minutes_is_known_for_a_minute_from_its_answer() {
        let mut requests = Requests::new(10);
        assert!(matches!(
            requests.begin(&key("a"), 1, 0, at(0)),
            Begun::First
        ));
        assert_eq!(
            requests.finish(&key("a"), Some(answer("x")), at(180)),
            [0; 0]
        );
        for seconds in [181, 239] {
            assert!(matches!(
                requests.begin(&key("a"), 1, 1, at(seconds)),
                Begun::Repeated(_)
            ));
        }
        assert!(matches!(
            requests.begin(&key("a"), 1, 2, at(240)),
            Begun::First
        ));
        assert_eq!(requests.order.len(), 1);
    }

    #[test]
    fn calls_beyond_the_limit_are_refused_until_others_expire() {
        let mut requests = Requests::new(2);
        for id in ["a", "b"] {
            assert!(matches!(
                requests.begin(&key(id), 1, 0, at(0)),
                Begun::First
            ));
            requests.finish(&key(id), None, at(0));
        }
        assert!(matches!(
            requests.begin(&key("c"), 1, 0, at(59)),
            Begun::Full
        ));
        assert!(matches!(
            requests.begin(&key("c"), 1, 0, at(60)),
            Begun::First
        ));
        assert_eq!(requests.order.len(), 1);
    }

    #[test]
    fn callers_do_not_share_ids() {
        let alice = Identity {
            subject: "alice".into(),
            guard: "staff".into(),
            ..Identity::default()
        };
        let own = RequestKey::new(Some(&alice), Some("s"), "a");
        assert_ne!(own, key("a"));
        assert_ne!(key("a"), RequestKey::new(None, Some("t"), "a"));
        assert_eq!(own, RequestKey::new(Some(&alice), Some("t"), "a"));
    }
}
