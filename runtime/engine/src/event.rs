//! Events on their way from bindings to whoever exports them.

use std::collections::VecDeque;

use tidegate_streams::{Event, Severity, Value};

use crate::binding::BindingId;
use crate::time::WallTime;

/// How many events wait to be taken; one more is counted and dropped. They are taken after each turn.
const EVENTS: usize = 4_096;

/// An event that a binding has emitted.
#[derive(Debug, Clone, PartialEq)]
pub struct Emitted {
    /// When.
    pub at: WallTime,
    /// By which binding.
    pub binding: BindingId,
    /// The request that it belongs to; 0 where it belongs to none.
    pub trace: u64,
    /// Which event, e.g. `mqtt.client.connection.lost`.
    pub id: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// It as a sentence.
    pub message: String,
    /// The fields that differ from their defaults.
    pub fields: Vec<(&'static str, Value)>,
}

/// The events of a worker that nobody has taken yet.
#[derive(Debug)]
pub(crate) struct Events {
    queue: VecDeque<Emitted>,
    /// Less severe ones are not kept,
    pub(crate) from: Severity,
    /// except these, by id.
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
    /// Whether events of this kind are kept.
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
