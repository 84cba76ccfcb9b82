//! Access to the broker, shared by all connections of the binding: its exit leads to a single
//! broker.
//!
//! - While nothing fails, up to [`SIDE_BY_SIDE`] connections are opened concurrently; further ones
//!   are queued.
//! - When an attempt fails, all attempts are held off, and new streams are refused with the reason
//!   and the time of the next attempt. Then one connection tries, and the others wait for its
//!   outcome, at most `connectTimeout`: they connect, or fail with the new reason. They are not
//!   refused at once, because the broker is likely to be back.
//! - A failure that concerns one client identifier (it is refused or taken over, its account is refused,
//!   or its connections do not last) holds off only that identifier. The number of such records is limited
//!   ([`RECORDS`]).
//!
//! Concurrent attempts that fail together count as one failure: each attempt has the number of its
//! *round*, and only the first failure of a round counts.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use bytestring::ByteString;
use tidegate_engine::streams::bytes_stream::BytesEndpoint;
use tidegate_engine::{Context, Duration, Time, TimerId, Token};

use super::failure::Failure;
use super::options::Reconnect;
use super::outage::{Loss, Outage};
use super::reconnect::{HoldOff, Record};

/// Maximum number of concurrent attempts.
const SIDE_BY_SIDE: usize = 16;
/// Maximum number of client identifiers with a failure record.
const RECORDS: usize = 1_024;

/// The token of the link's timer; no connection or stream uses it.
pub(super) const TOKEN: Token = Token(u32::MAX);

/// A connection attempt in progress.
#[derive(Debug)]
pub(super) struct Attempt {
    round: u64,
}

/// Whether an attempt may start now.
#[derive(Debug)]
pub(super) enum Admission {
    Connect(Attempt),
    /// The limit of concurrent attempts is reached: wait in the queue.
    Queue,
    /// All attempts are held off.
    HeldOff(Failure),
    /// Attempts with this client identifier are held off until that time.
    ClientHeldOff(Failure, Time),
}

/// The hash of a client identifier, for the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ClientHash(u64);

impl ClientHash {
    pub(super) fn of(client_id: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        client_id.hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// The shared state of all connections to the broker.
#[derive(Debug, Default)]
pub(super) struct Link {
    /// The broker as `host:port`; empty until the exit reports it.
    pub(super) remote: ByteString,
    /// One of several peers, with which the last attempt failed: the exit is told to try it last.
    pub(super) avoid: ByteString,
    /// Where the broker has moved to; empty: nowhere (see `redirect`).
    pub(super) moved: Vec<BytesEndpoint>,
    hold_off: HoldOff,
    round: u64,
    in_progress: usize,
    /// Keys of the connections that wait for an attempt.
    queue: VecDeque<usize>,
    /// An attempt failed, which is not reported to the queued connections yet.
    failure_pending: bool,
    timer: Option<TimerId>,
    records: BTreeMap<ClientHash, Record>,
    outage: Outage,
}

impl Link {
    /// Whether a connection with this client identifier may start an attempt now.
    pub(super) fn admit(&mut self, now: Time, identity: ClientHash) -> Admission {
        let record = self.records.get(&identity).map(|record| &record.hold_off);
        if let Some(hold_off) = record
            && let (Some(why), Some(until)) = (hold_off.refusal(now), hold_off.until(now))
        {
            return Admission::ClientHeldOff(why, until);
        }
        if let Some(why) = self.hold_off.refusal(now) {
            return Admission::HeldOff(why);
        }
        if self.in_progress >= self.capacity() {
            return Admission::Queue;
        }
        self.in_progress += 1;
        Admission::Connect(Attempt { round: self.round })
    }

    const fn capacity(&self) -> usize {
        if self.hold_off.has_failed() {
            1
        } else {
            SIDE_BY_SIDE
        }
    }

    /// The broker accepted a connection.
    pub(super) fn connected(&mut self, cx: &mut Context<'_>, attempt: Attempt) {
        self.finish_attempt(attempt);
        self.reached();
        self.avoid = ByteString::new();
        self.outage.over(cx, &self.remote);
    }

    /// The broker is reachable: queued connections may connect.
    fn reached(&mut self) {
        self.round += 1;
        self.hold_off = HoldOff::default();
    }

    /// An attempt failed.
    pub(super) fn failed(
        &mut self,
        cx: &mut Context<'_>,
        options: Reconnect,
        attempt: Attempt,
        why: &Failure,
    ) {
        let round = attempt.round;
        self.finish_attempt(attempt);
        if round == self.round {
            self.round += 1;
            self.hold_off.failed(cx, options, why);
            self.failure_pending = true;
        }
    }

    /// The broker refused the client identifier, or the attempt failed locally.
    pub(super) fn refused(
        &mut self,
        cx: &mut Context<'_>,
        options: Reconnect,
        attempt: Attempt,
        identity: ClientHash,
        why: &Failure,
    ) {
        self.finish_attempt(attempt);
        if why.concerns_client_id() || (why.credentials && !why.is_local) {
            self.reached();
        }
        let record = self.record(cx.now(), options, identity);
        record.hold_off.failed(cx, options, why);
        record.changed = cx.now();
    }

    /// Records a lost or failed connection, and emits an event if it is due.
    pub(super) fn report_lost(&mut self, cx: &mut Context<'_>, why: &Failure, streams: usize) {
        let loss = Loss {
            broker: &self.remote,
            why,
            streams,
            backoff: self.hold_off.left(cx.now()),
        };
        self.outage.lost(cx, &loss);
    }

    /// Whether an outage is in progress.
    pub(super) const fn is_down(&self) -> bool {
        self.outage.lasts()
    }

    /// Number of outages so far.
    pub(super) const fn outages(&self) -> u64 {
        self.outage.begun()
    }

    /// Records a stream that was refused because attempts are held off.
    pub(super) fn report_refused(&mut self, cx: &mut Context<'_>, why: &Failure) {
        let last = Loss {
            broker: &self.remote,
            why,
            streams: 0,
            backoff: self.hold_off.left(cx.now()),
        };
        self.outage.refused(cx, &last);
    }

    /// An attempt ended, or was cancelled.
    pub(super) fn finish_attempt(&mut self, _attempt: Attempt) {
        self.in_progress = self.in_progress.saturating_sub(1);
    }

    /// An accepted connection was lost. Returns whether it may be opened again at once.
    pub(super) fn lost(
        &mut self,
        cx: &mut Context<'_>,
        options: Reconnect,
        identity: ClientHash,
        lasted: Duration,
        why: &Failure,
    ) -> bool {
        let record = self.record(cx.now(), options, identity);
        record.lost(cx, options, lasted, why) && self.hold_off.until(cx.now()).is_none()
    }

    fn record(&mut self, now: Time, options: Reconnect, identity: ClientHash) -> &mut Record {
        if !self.records.contains_key(&identity) && self.records.len() >= RECORDS {
            self.records
                .retain(|_, record| !record.is_over(now, options));
            let oldest = self.records.iter().min_by_key(|(_, record)| record.changed);
            if let Some(oldest) = oldest.map(|(identity, _)| *identity)
                && self.records.len() >= RECORDS
            {
                self.records.remove(&oldest);
            }
        }
        let record = self.records.entry(identity);
        let record = record.or_insert_with(|| Record::new(now));
        if record.is_over(now, options) {
            *record = Record::new(now);
        }
        record
    }

    /// Queues a connection for an attempt.
    pub(super) fn enqueue(&mut self, key: usize) {
        self.queue.push_back(key);
    }

    /// Removes a connection from the queue.
    pub(super) fn dequeue(&mut self, key: usize) {
        self.queue.retain(|other| *other != key);
    }

    /// Whether the queue is empty and no failure or timer is pending.
    pub(super) fn is_quiet(&self) -> bool {
        self.queue.is_empty() && !self.failure_pending && self.timer.is_none()
    }

    /// The queued connections and the failure to report to them, if one is pending. They may be
    /// queued again.
    pub(super) fn take_failure(&mut self, now: Time) -> Option<(VecDeque<usize>, Failure)> {
        if !std::mem::take(&mut self.failure_pending) {
            return None;
        }
        let why = self.hold_off.refusal(now)?;
        Some((std::mem::take(&mut self.queue), why))
    }

    /// The next queued connection, if it may connect now.
    pub(super) fn next(&mut self, now: Time) -> Option<usize> {
        if self.hold_off.until(now).is_some() || self.in_progress >= self.capacity() {
            return None;
        }
        self.queue.pop_front()
    }

    /// Sets the timer to the end of the hold-off if connections are queued.
    pub(super) fn update_timer(&mut self, cx: &mut Context<'_>) {
        let until = self.hold_off.until(cx.now());
        let due = until.filter(|_| !self.queue.is_empty());
        match (due, self.timer) {
            (Some(until), None) => {
                let reason = "the next attempt to reach the broker";
                let after = until.since(cx.now());
                self.timer = Some(cx.timer(after, TOKEN, 0, reason));
            }
            (None, Some(timer)) => {
                cx.cancel(timer);
                self.timer = None;
            }
            _ => {}
        }
    }

    /// The timer fired, or the engine dropped it after a fault.
    pub(super) const fn timer_fired(&mut self) {
        self.timer = None;
    }
}
