//! The way to the broker, which all connections of the binding share: its exit leads to one broker.
//!
//! - As long as nothing fails, connections are made side by side, [`SIDE_BY_SIDE`] at a time; further
//!   ones wait for their turn.
//! - When an attempt fails, attempts are held off, whoever asks: who comes meanwhile is told why and
//!   until when. Then one connection tries, and the others wait for what becomes of it, which takes no
//!   longer than `connectTimeout`: they go ahead or are told the new reason. They are not refused, since
//!   the broker is likely to be back.
//! - What concerns one client identifier alone holds off that one alone: that it is refused or taken
//!   over, or that its connections do not last. Records of it are few ([`RECORDS`]) and small.
//!
//! Attempts that are under way together and fail together are one failure: each knows since which
//! *round* it is under way, and only the first one of a round counts.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use bytestring::ByteString;
use tidegate_engine::{Context, Duration, Time, TimerId, Token};

use super::failure::Failure;
use super::options::Reconnect;
use super::outage::{Loss, Outage};
use super::reconnect::{HoldOff, Record};

/// How many connections may be made at a time.
const SIDE_BY_SIDE: usize = 16;
/// Of how many client identifiers it is known that their connections do not last.
const RECORDS: usize = 1_024;

/// The token of the link's timer; no connection and no stream has it.
pub(super) const TOKEN: Token = Token(u32::MAX);

/// An attempt to connect that is under way.
#[derive(Debug)]
pub(super) struct Attempt {
    round: u64,
}

/// Whether a connection may be made now.
#[derive(Debug)]
pub(super) enum Admission {
    Go(Attempt),
    /// Others are being made; it waits for its turn.
    Wait,
    /// All attempts are held off.
    Held(Failure),
    /// Attempts with this client identifier are held off until then.
    Kept(Failure, Time),
}

/// A client identifier as records know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ClientHash(u64);

impl ClientHash {
    pub(super) fn of(client_id: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        client_id.hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// The way to the broker.
#[derive(Debug, Default)]
pub(super) struct Link {
    /// The broker as `host:port`, once the exit has told it.
    pub(super) remote: ByteString,
    hold_off: HoldOff,
    round: u64,
    under_way: usize,
    /// The connections that wait for their turn.
    queue: VecDeque<usize>,
    /// An attempt has failed, and those that wait are to be told.
    news: bool,
    timer: Option<TimerId>,
    records: BTreeMap<ClientHash, Record>,
    outage: Outage,
}

impl Link {
    /// Whether a connection with this identifier may be made now.
    pub(super) fn admit(&mut self, now: Time, identity: ClientHash) -> Admission {
        let record = self.records.get(&identity).map(|record| &record.hold_off);
        if let Some(hold_off) = record
            && let (Some(why), Some(until)) = (hold_off.refusal(now), hold_off.until(now))
        {
            return Admission::Kept(why, until);
        }
        if let Some(why) = self.hold_off.refusal(now) {
            return Admission::Held(why);
        }
        if self.under_way >= self.room() {
            return Admission::Wait;
        }
        self.under_way += 1;
        Admission::Go(Attempt { round: self.round })
    }

    const fn room(&self) -> usize {
        if self.hold_off.has_failed() {
            1
        } else {
            SIDE_BY_SIDE
        }
    }

    /// The broker has accepted a connection.
    pub(super) fn connected(&mut self, cx: &mut Context<'_>, attempt: Attempt) {
        self.dropped(attempt);
        self.reached();
        self.outage.over(cx, &self.remote);
    }

    /// The broker is there: who waits may go ahead.
    fn reached(&mut self) {
        self.round += 1;
        self.hold_off = HoldOff::default();
    }

    /// An attempt has failed.
    pub(super) fn failed(
        &mut self,
        cx: &mut Context<'_>,
        options: Reconnect,
        attempt: Attempt,
        why: &Failure,
    ) {
        let round = attempt.round;
        self.dropped(attempt);
        if round == self.round {
            self.round += 1;
            self.hold_off.failed(cx, options, why);
            self.news = true;
        }
    }

    /// The broker answered an attempt, and refused its client identifier; or this side could not make
    /// it.
    pub(super) fn refused(
        &mut self,
        cx: &mut Context<'_>,
        options: Reconnect,
        attempt: Attempt,
        identity: ClientHash,
        why: &Failure,
    ) {
        self.dropped(attempt);
        if why.is_of_its_identifier() {
            self.reached();
        }
        let record = self.record(cx.now(), options, identity);
        record.hold_off.failed(cx, options, why);
        record.changed = cx.now();
    }

    /// A connection with so many streams is lost, or could not be made: operators are told where it
    /// is news.
    pub(super) fn tell_lost(&mut self, cx: &mut Context<'_>, why: &Failure, streams: usize) {
        let loss = Loss {
            broker: &self.remote,
            why,
            streams,
            backoff: self.hold_off.left(cx.now()),
        };
        self.outage.lost(cx, &loss);
    }

    /// Whether the broker is not connected, as far as is known.
    pub(super) const fn is_down(&self) -> bool {
        self.outage.lasts()
    }

    /// How many outages there were.
    pub(super) const fn outages(&self) -> u64 {
        self.outage.begun()
    }

    /// A stream was refused because attempts are held off.
    pub(super) fn tell_refused(&mut self, cx: &mut Context<'_>, why: &Failure) {
        let last = Loss {
            broker: &self.remote,
            why,
            streams: 0,
            backoff: self.hold_off.left(cx.now()),
        };
        self.outage.refused(cx, &last);
    }

    /// An attempt was given up before anything became of it.
    pub(super) fn dropped(&mut self, _attempt: Attempt) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    /// A connection that the broker had accepted is lost; whether it may be opened again at once.
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

    /// A connection waits for its turn, or for the end of the hold-off.
    pub(super) fn line_up(&mut self, key: usize) {
        self.queue.push_back(key);
    }

    /// A connection that waited does so no more.
    pub(super) fn step_out(&mut self, key: usize) {
        self.queue.retain(|other| *other != key);
    }

    /// Whether nobody waits and nothing is to be told.
    pub(super) fn is_quiet(&self) -> bool {
        self.queue.is_empty() && !self.news && self.timer.is_none()
    }

    /// Those that wait, if they are to be told of a failure: they may line up anew.
    pub(super) fn take_news(&mut self, now: Time) -> Option<(VecDeque<usize>, Failure)> {
        if !std::mem::take(&mut self.news) {
            return None;
        }
        let why = self.hold_off.refusal(now)?;
        Some((std::mem::take(&mut self.queue), why))
    }

    /// The next connection that waits, if it may be made.
    pub(super) fn next(&mut self, now: Time) -> Option<usize> {
        if self.hold_off.until(now).is_some() || self.under_way >= self.room() {
            return None;
        }
        self.queue.pop_front()
    }

    /// Sets the timer to the end of the hold-off, where somebody waits for it.
    pub(super) fn keep_time(&mut self, cx: &mut Context<'_>) {
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

    /// The timer has fired, or was forgotten by the engine.
    pub(super) const fn timer_is_over(&mut self) {
        self.timer = None;
    }
}
