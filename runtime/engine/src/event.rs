//! Events between the bindings that emit them and the exporter that takes them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use tidegate_streams::{Audit, Event, Identity, Severity, Value};

use crate::binding::BindingId;
use crate::call::CallContext;
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
    /// Message for people; empty if it is recorded for the audit log only.
    pub message: String,
    /// Fields that differ from their defaults.
    pub fields: Vec<(&'static str, Value)>,
    /// What it is to an audit log.
    pub audit: Audit,
    /// The caller, if there is an audit log.
    pub identity: Option<Arc<Identity>>,
    /// The payload it is about, in parts, if there is one and an audit log.
    pub payload: Option<Vec<Bytes>>,
}

/// Events of a worker that have not been taken.
#[derive(Debug)]
pub(crate) struct Events {
    queue: VecDeque<Emitted>,
    /// Minimum severity that is recorded,
    pub(crate) from: Severity,
    /// plus these ids at any severity.
    pub(crate) also: &'static [&'static str],
    /// plus audited events.
    pub(crate) audited: bool,
    pub(crate) dropped: u64,
    /// Number of events by id. There are as many as the code declares, or a few more: the same id may
    /// be at several addresses.
    counts: Vec<(&'static str, u64)>,
    /// Audited events among them that were not reported yet.
    lost: u64,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
            from: Severity::Info,
            also: &[],
            audited: false,
            dropped: 0,
            counts: Vec::new(),
            lost: 0,
        }
    }
}

impl Events {
    /// Whether events of this type are recorded.
    pub(crate) fn hears<E: Event>(&self) -> bool {
        self.audits::<E>() || self.logs::<E>()
    }

    /// Whether events of this type are recorded for an audit log.
    pub(crate) const fn audits<E: Event>(&self) -> bool {
        self.audited && !matches!(E::AUDIT, Audit::No)
    }

    /// Whether events of this type are recorded for people.
    fn logs<E: Event>(&self) -> bool {
        E::SEVERITY >= self.from || self.also.contains(&E::WORD)
    }

    pub(crate) fn emit<E: Event>(
        &mut self,
        at: WallTime,
        binding: BindingId,
        call: &CallContext,
        event: &E,
        payload: impl FnOnce() -> Option<Vec<Bytes>>,
    ) {
        if self.queue.len() >= EVENTS {
            self.dropped += 1;
            self.lost += u64::from(self.audits::<E>());
            return;
        }
        let audits = self.audits::<E>();
        let message = if self.logs::<E>() {
            event.message()
        } else {
            String::new()
        };
        self.queue.push_back(Emitted {
            at,
            binding,
            trace: call.trace,
            id: E::WORD,
            severity: E::SEVERITY,
            message,
            fields: event.fields(),
            audit: E::AUDIT,
            identity: call.identity.clone().filter(|_| audits),
            payload: if audits { payload() } else { None },
        });
    }

    /// Counts an event, whether it is recorded or not. It is found by the address of its id, which costs
    /// a few instructions.
    pub(crate) fn count<E: Event>(&mut self) {
        let same = |(known, _): &&mut (&'static str, u64)| std::ptr::eq(*known, E::WORD);
        match self.counts.iter_mut().find(same) {
            Some((_, count)) => *count += 1,
            None => self.counts.push((E::WORD, 1)),
        }
    }

    /// Number of events by id, recorded or not.
    pub(crate) fn counts(&self) -> BTreeMap<&'static str, u64> {
        let mut sums = BTreeMap::new();
        for (id, count) in &self.counts {
            *sums.entry(*id).or_default() += count;
        }
        sums
    }

    /// Number of audited events dropped since the last call.
    pub(crate) const fn take_lost(&mut self) -> u64 {
        std::mem::replace(&mut self.lost, 0)
    }

    pub(crate) fn take(&mut self) -> Option<Emitted> {
        self.queue.pop_front()
    }
}
