//! The bounded queue between the workers and the writer.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::entry::Entry;

/// Entries that wait to be written. Those that are being written count until they are released.
#[derive(Debug)]
pub(crate) struct Queue {
    max: usize,
    state: Mutex<State>,
    filled: Condvar,
    stopped: Condvar,
    /// More than half of the memory is in use.
    pressed: AtomicBool,
    /// Number of entries lost since the start, here and at the file.
    pub(crate) lost: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    entries: Vec<Entry>,
    /// Bytes of `entries`, and of those that are being written.
    bytes: usize,
    writing: usize,
    /// Entries dropped after `entries`.
    dropped: u64,
    stopping: bool,
    finished: bool,
}

/// What the writer takes.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) entries: Vec<Entry>,
    /// Number of entries dropped after these.
    pub(crate) dropped: u64,
    /// No further entries follow.
    pub(crate) stopping: bool,
}

impl Queue {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            max,
            state: Mutex::default(),
            filled: Condvar::new(),
            stopped: Condvar::new(),
            pressed: AtomicBool::new(false),
            lost: AtomicU64::new(0),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is consistent even if a holder of the lock panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues an entry, without its payload if there is no room for that, or drops it. So nobody keeps a
    /// call off the record with the size of its payload.
    pub(crate) fn push(&self, mut entry: Entry) {
        let mut size = entry.size();
        let mut state = self.state();
        if state.bytes + size > self.max {
            entry.omit_payload();
            size = entry.size();
        }
        // Nobody takes what comes after the stop.
        if state.bytes + size > self.max || state.stopping {
            return self.count_dropped(state, 1);
        }
        state.bytes += size;
        state.entries.push(entry);
        self.press(&state);
        if state.entries.len() == 1 {
            self.filled.notify_one();
        }
    }

    /// Counts entries that were lost before they got here.
    pub(crate) fn drop_some(&self, count: u64) {
        self.count_dropped(self.state(), count);
    }

    fn count_dropped(&self, mut state: MutexGuard<'_, State>, count: u64) {
        state.dropped += count;
        self.lost.fetch_add(count, Ordering::Relaxed);
        self.filled.notify_one();
    }

    fn press(&self, state: &State) {
        let pressed = state.bytes > self.max / 2;
        self.pressed.store(pressed, Ordering::Relaxed);
    }

    /// Whether more than half of the memory is in use.
    pub(crate) fn is_pressed(&self) -> bool {
        self.pressed.load(Ordering::Relaxed)
    }

    /// Bytes in use.
    pub(crate) fn bytes(&self) -> usize {
        self.state().bytes
    }

    /// Waits for entries for at most `timeout`, and takes all. Those taken before are released.
    pub(crate) fn take(&self, timeout: Duration) -> Batch {
        let mut state = self.state();
        state.bytes = state
            .bytes
            .saturating_sub(std::mem::take(&mut state.writing));
        self.press(&state);
        let idle =
            |state: &mut State| state.entries.is_empty() && state.dropped == 0 && !state.stopping;
        let waited = self.filled.wait_timeout_while(state, timeout, idle);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.writing = state.bytes;
        Batch {
            entries: std::mem::take(&mut state.entries),
            dropped: std::mem::take(&mut state.dropped),
            stopping: state.stopping,
        }
    }

    /// Waits for at most `timeout`, or until the stop. Returns whether it is stopping.
    pub(crate) fn wait_for_stop(&self, timeout: Duration) -> bool {
        let running = |state: &mut State| !state.stopping;
        let waited = self
            .filled
            .wait_timeout_while(self.state(), timeout, running);
        waited.unwrap_or_else(PoisonError::into_inner).0.stopping
    }

    /// Ends the queue: the writer writes what is in it. Waits for that, for at most `within`; returns
    /// whether it is done.
    pub(crate) fn stop(&self, within: Duration) -> bool {
        let mut state = self.state();
        state.stopping = true;
        self.filled.notify_one();
        let busy = |state: &mut State| !state.finished;
        let waited = self.stopped.wait_timeout_while(state, within, busy);
        waited.unwrap_or_else(PoisonError::into_inner).0.finished
    }

    /// The writer has ended.
    pub(crate) fn finish(&self) {
        self.state().finished = true;
        self.stopped.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use tidegate_streams::{Audit, Value};

    use super::*;
    use crate::entry::Payload;

    fn entry(text: usize) -> Entry {
        Entry {
            at: 0,
            worker: 0,
            binding: "b".into(),
            trace: 0,
            id: "test",
            audit: Audit::Line,
            identity: None,
            fields: vec![("reason", Value::Text("t".repeat(text).into()))],
            payload: None,
        }
    }

    #[test]
    fn memory_is_bounded_also_while_entries_are_written() {
        let queue = Queue::new(10_000);
        for _ in 0..5 {
            queue.push(entry(2_000));
        }
        let batch = queue.take(Duration::ZERO);
        assert_eq!((batch.entries.len(), batch.dropped), (3, 2));
        assert!(queue.is_pressed());
        queue.push(entry(2_000));
        let batch = queue.take(Duration::ZERO);
        assert_eq!(
            (batch.entries.len(), batch.dropped),
            (0, 1),
            "the first are released now"
        );
        assert!(!queue.is_pressed());
        assert_eq!(queue.lost.load(Ordering::Relaxed), 3);
        queue.push(entry(2_000));
        assert_eq!(queue.take(Duration::ZERO).entries.len(), 1);
    }

    #[test]
    fn an_entry_whose_payload_has_no_room_is_queued_without_it() {
        let queue = Queue::new(10_000);
        for size in [2_000, 20_000, 2_000] {
            queue.push(Entry {
                payload: Some(Payload::Whole(vec![0; size])),
                ..entry(1)
            });
        }
        let batch = queue.take(Duration::ZERO);
        assert_eq!((batch.entries.len(), batch.dropped), (3, 0));
        let kept = batch.entries.into_iter().map(|entry| match entry.payload {
            Some(Payload::Whole(payload)) => (payload.len() as u64, true),
            Some(Payload::Omitted(bytes)) => (bytes, false),
            None => (0, false),
        });
        let kept: Vec<_> = kept.collect();
        assert_eq!(kept, [(2_000, true), (20_000, false), (2_000, true)]);
    }

    #[test]
    fn a_stop_waits_for_the_writer_for_a_bounded_time() {
        let queue = Queue::new(1_000);
        assert!(!queue.stop(Duration::ZERO));
        queue.push(entry(1));
        assert_eq!(queue.lost.load(Ordering::Relaxed), 1, "nobody takes it");
        assert!(queue.take(Duration::ZERO).stopping);
        queue.finish();
        assert!(queue.stop(Duration::ZERO));
    }
}
