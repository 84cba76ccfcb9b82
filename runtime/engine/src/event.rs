//! Events between the bindings that emit them and the exporter that takes them.

use std::collections::VecDeque;

use tidegate_streams::{Event, Severity, Value};

use crate::binding::BindingId;
use crate::time::WallTime;

/// Capacity of the event queue; further events are dropped and counted. The exporter takes events
/// after each turn.
const EVENTS: usize = 4_096;

/// An event that a binding has emitted.
#[derive(Debug, Clone, PartialEq)]
pub struct Emitted {
    /// Wall-clock time of the turn.
    pub at: WallTime,
    /// The binding that emitted it.
    pub binding: BindingId,
    /// Trace of the request it belongs to; 0 if none.
    pub trace: u64,
    /// Event id, e.g. `mqtt.client.connection.lost`.
    pub id: &'static str,
    /// Severity.
    pub severity: Severity,
    /// Message for people.
    pub message: String,
    /// Fields that differ from their defaults.
    pub fields: Vec<(&'static str, Value)>,
}

/// Events of a worker that have not been taken.
#[derive(Debug)]
pub(crate) struct Events {
    queue: VecDeque<Emitted>,
    /// Minimum severity that is recorded,
    pub(crate) from: Severity,
    /// plus these ids at any severity.
    pub(crate) also: &'static [&'static str],
    pub(crate) dropped: u64,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
            from: Severity::Info,
            also: &[],
            dropped: 0,
        }
    }
}

impl Events {
    /// Whether events of this type are recorded.
    pub(crate) fn hears<E: Event>(&self) -> bool {
        E::SEVERITY >= self.from || self.also.contains(&E::WORD)
    }

    pub(crate) fn emit<E: Event>(
        &mut self,
        at: WallTime,
        binding: BindingId,
        trace: u64,
        event: &E,
    ) {
        if self.queue.len() >= EVENTS {
            self.dropped += 1;
            return;
        }
        self.queue.push_back(Emitted {
            at,
            binding,
            trace,
            id: E::WORD,
            severity: E::SEVERITY,
            message: event.message(),
            fields: event.fields(),
        });
    }

    pub(crate) fn take(&mut self) -> Option<Emitted> {
        self.queue.pop_front()
    }
}
