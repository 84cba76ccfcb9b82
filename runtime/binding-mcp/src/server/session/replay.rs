//! Events of a session that were sent, for a client that lost its connection and resumes a stream with
//! `Last-Event-ID` (2025-11-25, Streamable HTTP, Resumability).
//!
//! An event id is the number of its stream and the number of the event within the session. Stream 0 is
//! the event stream of the session; the others are responses to requests. At the limit of a session or
//! of the worker the oldest events are removed: a client that resumes behind them misses them.

use std::collections::VecDeque;

use bytes::Bytes;
use tidegate_json::Parts;

use super::Sessions;

/// Maximum number of events of a session.
const EVENTS_MAX: usize = 100;
/// Maximum size of all of them, in bytes. A larger event is not kept.
pub(in crate::server) const EVENT_MAX: usize = 64 * 1024;
/// Maximum size of the events of all sessions of a worker, in bytes. Beyond it, no event is kept.
const WORKER_MAX: usize = 16 * 1024 * 1024;

/// The stream of the session itself.
pub(in crate::server) const SESSION_STREAM: u64 = 0;

/// The id of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) struct EventId {
    pub(in crate::server) stream: u64,
    event: u64,
}

impl EventId {
    /// Reads a `Last-Event-ID`.
    pub(in crate::server) fn read(text: &str) -> Option<Self> {
        let (stream, event) = text.trim().split_once('-')?;
        Some(Self {
            stream: stream.parse().ok()?,
            event: event.parse().ok()?,
        })
    }

    /// The text of the field `id`.
    pub(in crate::server) fn text(self) -> String {
        format!("{}-{}", self.stream, self.event)
    }
}

/// The events that were sent last.
#[derive(Debug, Default)]
pub(super) struct Replay {
    events: VecDeque<(EventId, Parts)>,
    bytes: usize,
    /// Number of the last event, and of the last stream.
    last_event: u64,
    last_stream: u64,
}

impl Replay {
    /// Number of a further stream.
    pub(super) fn open_stream(&mut self) -> u64 {
        self.last_stream += 1;
        self.last_stream
    }

    /// The id of the next event of a stream.
    pub(super) fn next(&mut self, stream: u64) -> EventId {
        self.last_event += 1;
        EventId {
            stream,
            event: self.last_event,
        }
    }

    /// Keeps an event, in place of older ones. Returns by how much the kept bytes have changed: how many
    /// are new, and how many were removed.
    pub(super) fn keep(&mut self, id: EventId, message: Parts) -> (usize, usize) {
        let length = message.len();
        if length > EVENT_MAX {
            return (0, 0);
        }
        let mut removed = 0;
        while self.events.len() >= EVENTS_MAX || self.bytes - removed + length > EVENT_MAX {
            let Some((_, oldest)) = self.events.pop_front() else {
                break;
            };
            removed += oldest.len();
        }
        self.bytes = self.bytes - removed + length;
        self.events.push_back((id, message));
        (length, removed)
    }

    /// The events of the stream after this one.
    pub(super) fn after(&self, id: EventId) -> Vec<(EventId, Parts)> {
        let events = self.events.iter();
        let later = events.filter(|(it, _)| it.stream == id.stream && it.event > id.event);
        later.cloned().collect()
    }

    /// Removes all events; returns their size.
    pub(super) fn clear(&mut self) -> usize {
        self.events.clear();
        std::mem::take(&mut self.bytes)
    }
}

impl Sessions {
    /// Opens a stream of events that its client can resume; returns its number.
    pub(in crate::server) fn open_stream(&mut self, key: usize) -> Option<u64> {
        Some(self.get_mut(key)?.replay.open_stream())
    }

    /// The id of an event without a message.
    pub(in crate::server) fn next_event(&mut self, key: usize, stream: u64) -> Option<EventId> {
        Some(self.get_mut(key)?.replay.next(stream))
    }

    /// Keeps an event of a stream, and returns its id.
    pub(in crate::server) fn record(
        &mut self,
        key: usize,
        stream: u64,
        message: &Parts,
    ) -> Option<EventId> {
        let room = self.replayable + message.len() <= WORKER_MAX;
        let session = self.get_mut(key)?;
        let id = session.replay.next(stream);
        if room {
            // Copied: a slice would keep the buffer in which it was received.
            let copy = Bytes::copy_from_slice(&message.contiguous());
            let (new, removed) = session.replay.keep(id, Parts::from(copy));
            self.replayable = (self.replayable + new).saturating_sub(removed);
        }
        Some(id)
    }

    /// The events of a stream that were sent after this one.
    pub(in crate::server) fn events_after(&self, key: usize, id: EventId) -> Vec<(EventId, Parts)> {
        self.get(key)
            .map_or_else(Vec::new, |session| session.replay.after(id))
    }

    /// The running requests of a session over HTTP.
    pub(in crate::server) fn running(&self, key: usize) -> Vec<usize> {
        self.get(key)
            .map_or_else(Vec::new, |session| session.running.iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &'static str) -> Parts {
        Parts::from(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn an_id_is_read_as_it_is_written() {
        let id = EventId {
            stream: 3,
            event: 14,
        };
        assert_eq!(EventId::read(&id.text()), Some(id));
        assert_eq!(EventId::read(" 3-14 "), Some(id));
        for invalid in ["", "3", "3-", "-3", "a-1", "1-2-3"] {
            assert_eq!(EventId::read(invalid), None, "{invalid}");
        }
    }

    #[test]
    fn the_events_of_a_stream_after_an_id_are_replayed() {
        let mut replay = Replay::default();
        let stream = replay.open_stream();
        let mut ids = Vec::new();
        for (of, text) in [(0, "a"), (stream, "b"), (0, "c"), (stream, "d")] {
            let id = replay.next(of);
            replay.keep(id, message(text));
            ids.push(id);
        }
        let later = |id| {
            let events = replay.after(id).into_iter();
            let texts = events.map(|(_, message)| message.contiguous());
            texts.collect::<Vec<_>>()
        };
        assert_eq!(later(ids[0]), ["c"]);
        assert_eq!(later(ids[1]), ["d"]);
        assert_eq!(later(ids[3]), [""; 0]);
    }

    #[test]
    fn the_oldest_events_are_removed_at_the_limits() {
        let mut replay = Replay::default();
        let first = replay.next(0);
        assert_eq!(replay.keep(first, message("abc")), (3, 0));
        for _ in 1..EVENTS_MAX {
            let id = replay.next(0);
            replay.keep(id, message("x"));
        }
        let id = replay.next(0);
        assert_eq!(replay.keep(id, message("x")), (1, 3));
        assert_eq!(replay.after(first).len(), EVENTS_MAX);
        let large = Parts::from(Bytes::from(vec![b'x'; EVENT_MAX - 1]));
        let id = replay.next(0);
        let (new, removed) = replay.keep(id, large);
        assert_eq!((new, removed), (EVENT_MAX - 1, EVENTS_MAX - 1));
        let id = replay.next(0);
        let larger = Parts::from(Bytes::from(vec![b'x'; EVENT_MAX + 1]));
        assert_eq!(replay.keep(id, larger), (0, 0));
        assert_eq!(replay.clear(), EVENT_MAX);
    }
}
