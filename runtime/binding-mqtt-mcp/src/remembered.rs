//! The requests of the last time with their answers: a request that comes again gets the same answer and
//! is not executed again.
//!
//! At a limit, the device that has the most gives way, so that one device cannot make the requests of the
//! others be executed twice: its answers go first, and then its requests.

use std::collections::{BTreeMap, BTreeSet};

use bytestring::ByteString;
use tidegate_engine::Time;

use crate::answer::Answer;
use crate::failure::Executed;
use crate::queue::Id;
use crate::request::{Content, Key};
use crate::shares::Shares;

/// Bytes that a request counts beside its texts.
const OVERHEAD: usize = 256;

/// The remembered requests.
#[derive(Debug)]
pub(crate) struct Remembered {
    entries: BTreeMap<Key, Entry>,
    /// The answered ones by expiry.
    expiries: BTreeSet<(Time, Key)>,
    /// Those whose answer is stored and not delivered, by where they are in the queue. They count only once it is:
    /// the queue bounds them, and one that was forgotten would be executed a second time while its first answer is
    /// still published, also after a restart.
    on_their_way: BTreeMap<Id, Key>,
    /// The answered ones that count, by device.
    shares: Shares,
    bytes: usize,
    max: usize,
    bytes_max: usize,
    pub(crate) evicted: Evicted,
    /// The requests of the queue that are not remembered any more.
    pub(crate) forgotten: Vec<Id>,
    /// Those whose answers are not.
    pub(crate) lightened: Vec<Light>,
}

/// Numbers of what was forgotten at a limit.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Evicted {
    /// Answers of requests that are still known.
    pub(crate) answers: u64,
    /// Requests: they would be executed again.
    pub(crate) requests: u64,
}

#[derive(Debug)]
struct Entry {
    content: Content,
    state: State,
}

#[derive(Debug)]
enum State {
    /// It is executed, as the exchange of this index.
    Running(usize),
    Answered(Box<Answered>),
}

#[derive(Debug)]
struct Answered {
    device: ByteString,
    executed: Executed,
    answer: Kept,
    until: Time,
    stored: Option<Id>,
    /// Whether it has a share.
    counts: bool,
}

/// The answer of a request.
#[derive(Debug)]
enum Kept {
    Answer(Answer),
    /// There is no topic for it.
    None,
    /// It was forgotten at a limit.
    Evicted,
}

/// What is known of a request.
#[derive(Debug, PartialEq)]
pub(crate) enum Known {
    /// Nothing.
    New,
    /// It is being executed, as the exchange of this index; its answer follows.
    Running(usize),
    /// It was answered.
    Answered(Option<Answer>),
    /// It was answered, and the answer is not kept any more; whether it was executed.
    Evicted(Executed),
    /// Another request had its correlation.
    Other,
}

/// The outcome of a request that was executed.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) device: ByteString,
    pub(crate) executed: Executed,
    pub(crate) answer: Option<Answer>,
    /// When it is forgotten.
    pub(crate) until: Time,
    /// Where it is in the queue.
    pub(crate) stored: Option<Id>,
    /// Its answer is not delivered yet.
    pub(crate) on_its_way: bool,
}

/// What is still known of a request of the queue whose answer was forgotten.
#[derive(Debug)]
pub(crate) struct Light {
    pub(crate) id: Id,
    pub(crate) key: Key,
    pub(crate) content: Content,
    pub(crate) device: ByteString,
    pub(crate) executed: Executed,
    pub(crate) until: Time,
}

impl Answered {
    fn place(&self, key: &Key) -> (Time, Key) {
        (self.until, key.clone())
    }

    fn size(&self) -> Option<usize> {
        match &self.answer {
            Kept::Answer(answer) => Some(answer.size()),
            Kept::None | Kept::Evicted => None,
        }
    }
}

impl Remembered {
    pub(crate) fn new(max: usize, bytes_max: usize) -> Self {
        Self {
            entries: BTreeMap::new(),
            expiries: BTreeSet::new(),
            on_their_way: BTreeMap::new(),
            shares: Shares::default(),
            bytes: 0,
            max,
            bytes_max,
            evicted: Evicted::default(),
            forgotten: Vec::new(),
            lightened: Vec::new(),
        }
    }

    /// Number of requests.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Looks a request up.
    pub(crate) fn find(&mut self, key: &Key, content: &Content, now: Time) -> Known {
        self.expire(now);
        match self.entries.get(key) {
            None => Known::New,
            Some(entry) if entry.content != *content => Known::Other,
            Some(entry) => match &entry.state {
                State::Running(index) => Known::Running(*index),
                State::Answered(answered) => match &answered.answer {
                    Kept::Answer(answer) => Known::Answered(Some(answer.clone())),
                    Kept::None => Known::Answered(None),
                    Kept::Evicted => Known::Evicted(answered.executed),
                },
            },
        }
    }

    /// The exchange of a request that is being executed.
    pub(crate) fn running(&self, key: &Key) -> Option<usize> {
        match self.entries.get(key)?.state {
            State::Running(index) => Some(index),
            State::Answered(_) => None,
        }
    }

    /// Where an answered request is in the queue.
    pub(crate) fn stored(&self, key: &Key) -> Option<Id> {
        match &self.entries.get(key)?.state {
            State::Answered(answered) => answered.stored,
            State::Running(_) => None,
        }
    }

    /// A new request is executed from now on, as the exchange of this index.
    pub(crate) fn begin(&mut self, key: Key, content: Content, index: usize) {
        // A queue may have two answers of a request that was forgotten in between.
        self.remove(&key);
        let state = State::Running(index);
        self.entries.insert(key, Entry { content, state });
    }

    /// A request was executed.
    pub(crate) fn answered(&mut self, key: &Key, outcome: Outcome) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        if !matches!(entry.state, State::Running(_)) {
            return;
        }
        let answered = Answered {
            device: outcome.device,
            executed: outcome.executed,
            answer: outcome.answer.map_or(Kept::None, Kept::Answer),
            until: outcome.until,
            stored: outcome.stored,
            counts: false,
        };
        self.expiries.insert(answered.place(key));
        entry.state = State::Answered(Box::new(answered));
        match outcome.stored.filter(|_| outcome.on_its_way) {
            Some(id) => {
                self.on_their_way.insert(id, key.clone());
            }
            None => self.count(key),
        }
    }

    /// The answer of a request of the queue is delivered, or given up.
    pub(crate) fn delivered(&mut self, id: Id) {
        if let Some(key) = self.on_their_way.remove(&id) {
            self.count(&key);
        }
    }

    /// A request counts from now on.
    fn count(&mut self, key: &Key) {
        if let Some(entry) = self.entries.get_mut(key)
            && let State::Answered(answered) = &mut entry.state
            && !std::mem::replace(&mut answered.counts, true)
        {
            let (place, size) = (answered.place(key), answered.size());
            self.bytes += OVERHEAD + key.size() + size.unwrap_or(0);
            self.shares.add(&answered.device, place, size);
        }
        self.bound();
    }

    /// A request that is not executed is remembered as well.
    pub(crate) fn refused(&mut self, key: &Key, content: Content, outcome: Outcome) {
        self.begin(key.clone(), content, usize::MAX);
        self.answered(key, outcome);
    }

    /// The answer of a request is another one now.
    pub(crate) fn replace(&mut self, key: &Key, outcome: Outcome) {
        if let Some(content) = self.entries.get(key).map(|it| it.content) {
            self.remove(key);
            // The queue keeps it.
            self.forgotten.retain(|id| Some(*id) != outcome.stored);
            self.refused(key, content, outcome);
        }
    }

    /// A request was not executed: the next one with its correlation is a new one.
    pub(crate) fn forget(&mut self, key: &Key) {
        self.remove(key);
    }

    /// Forgets the answer that the device with the most of them will need least. Returns whether there was one.
    pub(crate) fn lighten(&mut self) -> bool {
        let Some(key) = self.shares.next_answer() else {
            return false;
        };
        if !self.evict_answer(&key) {
            return false;
        }
        self.evicted.answers += 1;
        if let Some(entry) = self.entries.get(&key)
            && let State::Answered(answered) = &entry.state
            && let Some(id) = answered.stored
        {
            self.lightened.push(Light {
                id,
                content: entry.content,
                device: answered.device.clone(),
                executed: answered.executed,
                until: answered.until,
                key,
            });
        }
        true
    }

    /// A restored request whose answer was forgotten before the restart.
    pub(crate) fn was_lightened(&mut self, key: &Key) {
        self.evict_answer(key);
        if let Some(entry) = self.entries.get_mut(key)
            && let State::Answered(answered) = &mut entry.state
        {
            answered.answer = Kept::Evicted;
        }
    }

    /// Forgets as much as the limits require.
    fn bound(&mut self) {
        loop {
            let counted = self.expiries.len().saturating_sub(self.on_their_way.len());
            let too_many = counted > self.max;
            if !too_many && self.bytes <= self.bytes_max {
                return;
            }
            if !too_many && self.lighten() {
                continue;
            }
            let Some(key) = self.shares.next_request() else {
                return;
            };
            if !self.remove(&key) {
                return;
            }
            self.evicted.requests += 1;
        }
    }

    /// Forgets what has expired.
    pub(crate) fn expire(&mut self, now: Time) {
        while let Some((until, _)) = self.expiries.first()
            && *until <= now
            && let Some((_, key)) = self.expiries.pop_first()
        {
            self.remove(&key);
        }
    }

    /// Returns whether its answer was there.
    fn evict_answer(&mut self, key: &Key) -> bool {
        if let Some(entry) = self.entries.get_mut(key)
            && let State::Answered(answered) = &mut entry.state
            && let Some(size) = answered.size()
        {
            if answered.counts {
                let place = answered.place(key);
                self.shares.remove_answer(&answered.device, &place, size);
                self.bytes = self.bytes.saturating_sub(size);
            }
            answered.answer = Kept::Evicted;
            return true;
        }
        false
    }

    /// Returns whether it was there, and answered.
    fn remove(&mut self, key: &Key) -> bool {
        self.evict_answer(key);
        let entry = self.entries.remove(key);
        if let Some(State::Answered(answered)) = entry.map(|it| it.state) {
            let place = answered.place(key);
            self.expiries.remove(&place);
            if answered.counts {
                self.shares.remove(&answered.device, &place);
                self.bytes = self.bytes.saturating_sub(OVERHEAD + key.size());
            } else if let Some(id) = answered.stored {
                self.on_their_way.remove(&id);
            }
            self.forgotten.extend(answered.stored);
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use tidegate_engine::Duration;

    use super::*;

    const CONTENT: Content = [0; 32];

    fn at(second: u64) -> Time {
        Time::default() + Duration::from_secs(second)
    }

    fn key(device: &str, number: usize) -> Key {
        Key::new("t".into(), number.to_string().into(), device.into())
    }

    /// A request that was executed, with an answer of `size` bytes.
    fn execute(remembered: &mut Remembered, device: &str, number: usize, size: usize, until: Time) {
        let key = key(device, number);
        remembered.begin(key.clone(), CONTENT, number);
        let outcome = Outcome {
            device: device.into(),
            executed: Executed::Yes,
            answer: Some(Answer::of_size(size)),
            until,
            stored: None,
            on_its_way: false,
        };
        remembered.answered(&key, outcome);
    }

    #[test]
    fn a_device_with_many_requests_does_not_make_those_of_others_be_forgotten() {
        let mut remembered = Remembered::new(5, 1 << 20);
        execute(&mut remembered, "quiet", 0, 10, at(60));
        for number in 0..100 {
            execute(&mut remembered, "noisy", number, 10, at(1_000_000));
        }
        assert_eq!(remembered.len(), 5);
        assert_eq!(remembered.evicted.requests, 96);
        let known = remembered.find(&key("quiet", 0), &CONTENT, at(1));
        assert_eq!(known, Known::Answered(Some(Answer::of_size(10))));
        assert_eq!(
            remembered.find(&key("noisy", 0), &CONTENT, at(1)),
            Known::New
        );
    }

    #[test]
    fn large_answers_are_forgotten_before_requests() {
        let mut remembered = Remembered::new(100, 10_000);
        execute(&mut remembered, "quiet", 0, 100, at(60));
        for number in 0..10 {
            execute(&mut remembered, "large", number, 4_000, at(1_000));
        }
        let evicted = Evicted {
            answers: 9,
            requests: 0,
        };
        assert_eq!(remembered.evicted, evicted);
        let known = remembered.find(&key("large", 0), &CONTENT, at(1));
        assert_eq!(known, Known::Evicted(Executed::Yes));
        let known = remembered.find(&key("quiet", 0), &CONTENT, at(1));
        assert!(matches!(known, Known::Answered(Some(_))), "{known:?}");
    }

    #[test]
    fn what_is_forgotten_leaves_nothing() {
        let mut remembered = Remembered::new(100, 1_024);
        for number in 0..10 {
            execute(&mut remembered, "d", number, 10, at(5));
        }
        assert!(remembered.evicted.requests > 0, "they exceed the bytes");
        assert_eq!(remembered.find(&key("d", 9), &CONTENT, at(5)), Known::New);
        assert_eq!((remembered.len(), remembered.bytes), (0, 0));
        assert!(remembered.expiries.is_empty() && remembered.shares.next_request().is_none());
    }

    /// An answered request whose answer the queue has, delivered or not.
    fn store(remembered: &mut Remembered, number: usize, id: u64, until: Time, delivered: bool) {
        let key = key("d", number);
        remembered.begin(key.clone(), CONTENT, number);
        let outcome = Outcome {
            device: "d".into(),
            executed: Executed::Yes,
            answer: Some(Answer::of_size(10)),
            until,
            stored: Some(Id::of(id)),
            on_its_way: !delivered,
        };
        remembered.answered(&key, outcome);
    }

    #[test]
    fn a_request_that_is_remembered_twice_has_one_place() {
        let mut remembered = Remembered::new(5, 1 << 20);
        store(&mut remembered, 0, 1, at(5), true);
        store(&mut remembered, 0, 2, at(9), true);
        assert_eq!((remembered.expiries.len(), remembered.len()), (1, 1));
        assert_eq!(remembered.forgotten, [Id::of(1)]);
        assert_eq!(remembered.stored(&key("d", 0)), Some(Id::of(2)));
        assert_eq!(remembered.find(&key("d", 0), &CONTENT, at(9)), Known::New);
        assert_eq!((remembered.len(), remembered.bytes), (0, 0));
        assert!(remembered.expiries.is_empty() && remembered.shares.next_request().is_none());
    }

    #[test]
    fn an_answer_on_its_way_is_not_forgotten() {
        let mut remembered = Remembered::new(1, 1_024);
        store(&mut remembered, 0, 1, at(60), false);
        for number in 1..4 {
            store(&mut remembered, number, 10, at(60), true);
        }
        assert_eq!(remembered.len(), 2, "of the others, one is left");
        let known = remembered.find(&key("d", 0), &CONTENT, at(1));
        assert_eq!(known, Known::Answered(Some(Answer::of_size(10))));
        remembered.delivered(Id::of(1));
        store(&mut remembered, 4, 11, at(61), true);
        assert_eq!(remembered.len(), 1, "it is one of many again");
        assert_eq!(remembered.find(&key("d", 0), &CONTENT, at(1)), Known::New);
        assert_eq!(remembered.find(&key("d", 4), &CONTENT, at(61)), Known::New);
        assert_eq!((remembered.len(), remembered.bytes), (0, 0));
    }

    #[test]
    fn an_answer_that_expires_on_its_way_leaves_nothing() {
        let mut remembered = Remembered::new(1, 1_024);
        store(&mut remembered, 0, 1, at(5), false);
        remembered.expire(at(5));
        remembered.delivered(Id::of(1));
        assert_eq!((remembered.len(), remembered.bytes), (0, 0));
        assert!(remembered.on_their_way.is_empty() && remembered.expiries.is_empty());
        assert!(remembered.shares.next_request().is_none());
    }
}
