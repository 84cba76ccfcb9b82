//! Joins the events of a call into one record.
//!
//! The parts of a call have its trace and arrive before its end, unless the client left first. A
//! record waits for what is missing: a part that says what became of the call for [`END_FOLLOWS`],
//! because the answer to the client follows it at once; an earlier part, such as a decision, for
//! [`CALL_LASTS`]. Then it is written as it is, and so are the oldest ones when [`PENDING_MAX`] or
//! [`BYTES_MAX`] wait.
//! Times are microseconds on a clock of the caller's.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_streams::Audit;

use crate::entry::Entry;
use crate::record::{PayloadRule, Record};

/// Most records that wait.
const PENDING_MAX: usize = 8_192;
/// Most bytes of their fields and payload texts, as an estimate.
const BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long a record waits for the end of a call whose outcome is known, and one whose client left
/// for the outcome.
const END_FOLLOWS: u64 = 2_000_000;
/// How long a record waits for the outcome and the end of a call.
const CALL_LASTS: u64 = 120_000_000;

/// A call: its worker and trace.
type Key = (u16, u64);

/// The records that wait for further events of their calls.
#[derive(Debug, Default)]
pub(crate) struct Joiner {
    rule: PayloadRule,
    pending: BTreeMap<Key, Pending>,
    /// When each is written as it is.
    deadlines: BTreeSet<(u64, Key)>,
    /// Bytes of the records, as an estimate.
    bytes: usize,
}

#[derive(Debug)]
struct Pending {
    record: Record,
    deadline: u64,
    bytes: usize,
}

impl Joiner {
    /// `rule` says what is kept of payloads.
    pub(crate) fn new(rule: PayloadRule) -> Self {
        Self {
            rule,
            ..Self::default()
        }
    }

    /// Adds an event; complete records are appended to `ready`.
    pub(crate) fn push(&mut self, entry: Entry, now: u64, ready: &mut Vec<Record>) {
        self.expire(now, ready);
        if entry.audit == Audit::Line || entry.trace == 0 {
            return ready.push(Record::of(entry, &self.rule));
        }
        let key = (entry.worker, entry.trace);
        let record = match self.take(key) {
            Some(mut record) => {
                record.join(entry, &self.rule);
                record
            }
            None => Record::of(entry, &self.rule),
        };
        if record.ended && !record.answer_may_follow() {
            return ready.push(record);
        }
        let known = record.has_outcome || record.ended;
        let deadline = now + if known { END_FOLLOWS } else { CALL_LASTS };
        let bytes = record.size();
        while (self.pending.len() >= PENDING_MAX || self.bytes + bytes > BYTES_MAX)
            && let Some((_, oldest)) = self.deadlines.first().copied()
        {
            ready.extend(self.take(oldest));
        }
        self.bytes += bytes;
        self.deadlines.insert((deadline, key));
        let pending = Pending {
            record,
            deadline,
            bytes,
        };
        self.pending.insert(key, pending);
    }

    /// Appends the records that have waited long enough.
    pub(crate) fn expire(&mut self, now: u64, ready: &mut Vec<Record>) {
        while let Some((deadline, key)) = self.deadlines.first().copied()
            && deadline <= now
        {
            ready.extend(self.take(key));
        }
    }

    /// Appends all records.
    pub(crate) fn finish(&mut self, ready: &mut Vec<Record>) {
        self.expire(u64::MAX, ready);
    }

    /// When the next record has waited long enough.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    fn take(&mut self, key: Key) -> Option<Record> {
        let pending = self.pending.remove(&key)?;
        self.deadlines.remove(&(pending.deadline, key));
        self.bytes = self.bytes.saturating_sub(pending.bytes);
        Some(pending.record)
    }
}

#[cfg(test)]
mod tests {
    use tidegate_streams::Value;

    use super::*;

    fn entry(audit: Audit, trace: u64, fields: &[(&'static str, &str)]) -> Entry {
        let text = |text: &str| Value::Text(text.into());
        Entry {
            at: 0,
            worker: 0,
            binding: "b".into(),
            trace,
            id: "test",
            audit,
            identity: None,
            fields: fields
                .iter()
                .map(|(name, value)| (*name, text(value)))
                .collect(),
            payload: None,
        }
    }

    /// The records that are ready after some events at time 0, and the joiner.
    fn joined(entries: Vec<Entry>) -> (Vec<String>, Joiner) {
        let (mut joiner, mut ready) = (Joiner::default(), Vec::new());
        for entry in entries {
            joiner.push(entry, 0, &mut ready);
        }
        (shown(&ready), joiner)
    }

    fn shown(ready: &[Record]) -> Vec<String> {
        let shown = |record: &Record| format!("{} {}", record.event(), record.members());
        ready.iter().map(shown).collect()
    }

    #[test]
    fn the_end_of_a_call_completes_its_record() {
        let part = |trace, topic| entry(Audit::Part, trace, &[("topic", topic), ("outcome", "ok")]);
        let routed = entry(Audit::Part, 1, &[("toolkit", "plant")]);
        let end = |trace| entry(Audit::Call, trace, &[("outcome", "ok")]);
        let (ready, joiner) = joined(vec![routed, part(1, "a"), part(2, "b"), end(2), end(1)]);
        assert_eq!(ready.len(), 2);
        assert!(
            ready[0].contains(r#""topic":"b""#) && !ready[0].contains("plant"),
            "{ready:?}"
        );
        assert!(
            ready[1].contains(r#""toolkit":"plant","topic":"a""#),
            "{ready:?}"
        );
        assert_eq!(joiner.next_deadline(), None);
    }

    #[test]
    fn what_is_not_joined_in_time_is_written_as_it_is() {
        let outcome = entry(Audit::Part, 1, &[("topic", "a"), ("outcome", "ok")]);
        let decision = entry(Audit::Part, 2, &[("decision", "allowed")]);
        let (ready, mut joiner) = joined(vec![outcome, decision]);
        assert!(ready.is_empty());
        let mut ready = Vec::new();
        assert_eq!(joiner.next_deadline(), Some(END_FOLLOWS));
        joiner.expire(END_FOLLOWS, &mut ready);
        assert_eq!(shown(&ready).len(), 1);
        assert_eq!(joiner.next_deadline(), Some(CALL_LASTS));
        joiner.finish(&mut ready);
        let shown = shown(&ready);
        assert!(
            shown[1].starts_with("test ") && shown[1].contains("allowed"),
            "{shown:?}"
        );
    }

    #[test]
    fn the_outcome_of_a_call_whose_client_left_may_follow() {
        let left = entry(Audit::Call, 1, &[("outcome", "cancelled")]);
        let outcome = entry(
            Audit::Part,
            1,
            &[("topic", "a"), ("outcome", "unconfirmed")],
        );
        let (ready, joiner) = joined(vec![left, outcome]);
        assert_eq!(ready.len(), 1);
        assert!(ready[0].contains(r#""answer":"cancelled""#), "{ready:?}");
        assert!(ready[0].contains(r#""outcome":"unconfirmed""#), "{ready:?}");
        assert_eq!(joiner.next_deadline(), None);
    }

    #[test]
    fn events_without_a_call_do_not_wait() {
        let (ready, joiner) = joined(vec![entry(Audit::Line, 1, &[]), entry(Audit::Part, 0, &[])]);
        assert_eq!((ready.len(), joiner.next_deadline()), (2, None));
    }

    #[test]
    fn the_number_of_waiting_records_is_bounded() {
        let count = PENDING_MAX as u64 + 3;
        let parts = (1..=count)
            .map(|trace| entry(Audit::Part, trace, &[]))
            .collect();
        let (ready, joiner) = joined(parts);
        assert_eq!((ready.len(), joiner.pending.len()), (3, PENDING_MAX));
        assert_eq!(joiner.deadlines.len(), PENDING_MAX);
    }

    #[test]
    fn the_bytes_of_waiting_records_are_bounded() {
        let long = "t".repeat(BYTES_MAX / 4);
        let part = |trace| entry(Audit::Part, trace, &[("topic", &long)]);
        let (ready, mut joiner) = joined((1..=10).map(part).collect());
        assert!(joiner.bytes <= BYTES_MAX);
        assert_eq!((ready.len(), joiner.pending.len()), (7, 3));
        joiner.finish(&mut Vec::new());
        assert_eq!(joiner.bytes, 0);
    }
}
