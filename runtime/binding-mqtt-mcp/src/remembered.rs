//! The requests of the last time with their answers: a request that comes again gets the same answer and
//! is not executed again.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_engine::Time;

use crate::answer::Answer;
use crate::request::{Content, Key};

/// Bytes that a request counts beside its texts.
const OVERHEAD: usize = 256;

/// The remembered requests.
#[derive(Debug)]
pub(crate) struct Remembered {
    entries: BTreeMap<Key, Entry>,
    /// The answered ones by expiry.
    expiries: BTreeSet<(Time, Key)>,
    bytes: usize,
    max: usize,
    bytes_max: usize,
}

#[derive(Debug)]
struct Entry {
    content: Content,
    /// The exchange that executes it.
    exchange: Option<usize>,
    /// Absent while it is executed.
    answered: Option<Answered>,
}

#[derive(Debug)]
struct Answered {
    /// Absent if no answer is sent.
    answer: Option<Answer>,
    until: Time,
    size: usize,
}

/// What is known of a request.
#[derive(Debug, PartialEq)]
pub(crate) enum Known {
    /// Nothing.
    New,
    /// It is being executed by this exchange; its answer follows.
    Running(Option<usize>),
    /// It was answered.
    Answered(Option<Answer>),
    /// Another request had its correlation.
    Other,
}

impl Remembered {
    pub(crate) const fn new(max: usize, bytes_max: usize) -> Self {
        Self {
            entries: BTreeMap::new(),
            expiries: BTreeSet::new(),
            bytes: 0,
            max,
            bytes_max,
        }
    }

    /// Number of requests.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Looks a request up. A new one counts as executed from now on.
    pub(crate) fn begin(&mut self, key: &Key, content: &Content, now: Time) -> Known {
        self.expire(now);
        match self.entries.get(key) {
            Some(entry) if entry.content != *content => Known::Other,
            Some(entry) => match &entry.answered {
                Some(answered) => Known::Answered(answered.answer.clone()),
                None => Known::Running(entry.exchange),
            },
            None => {
                let entry = Entry {
                    content: *content,
                    exchange: None,
                    answered: None,
                };
                self.entries.insert(key.clone(), entry);
                Known::New
            }
        }
    }

    /// This exchange executes a request.
    pub(crate) fn executed_by(&mut self, key: &Key, exchange: usize) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.exchange = Some(exchange);
        }
    }

    /// The answer of a request that was executed.
    pub(crate) fn answered(&mut self, key: &Key, answer: Option<Answer>, until: Time) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        let size = OVERHEAD + key.size() + answer.as_ref().map_or(0, Answer::size);
        self.bytes += size;
        entry.answered = Some(Answered {
            answer,
            until,
            size,
        });
        self.expiries.insert((until, key.clone()));
        while (self.expiries.len() > self.max || self.bytes > self.bytes_max)
            && let Some((_, key)) = self.expiries.pop_first()
        {
            self.remove(&key);
        }
    }

    /// A request was not executed: the next one with its correlation is a new one.
    pub(crate) fn forget(&mut self, key: &Key) {
        self.remove(key);
    }

    fn expire(&mut self, now: Time) {
        while let Some((until, _)) = self.expiries.first()
            && *until <= now
            && let Some((_, key)) = self.expiries.pop_first()
        {
            self.remove(&key);
        }
    }

    fn remove(&mut self, key: &Key) {
        if let Some(answered) = self.entries.remove(key).and_then(|it| it.answered) {
            self.bytes = self.bytes.saturating_sub(answered.size);
            self.expiries.remove(&(answered.until, key.clone()));
        }
    }
}
