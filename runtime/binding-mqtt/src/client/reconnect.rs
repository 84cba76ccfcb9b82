//! When a lost connection is opened again: at once if it was healthy, otherwise after a growing
//! backoff.
//!
//! The backoff is random (full jitter): up to `reconnect.min` after the first failed attempt,
//! doubled with each further one, and at most `reconnect.max`. An accepted connection that is lost
//! is opened again at once while an allowance lasts: [`REOPENS`] times in a row, and once more for
//! each [`EARNED_BY`] that a connection lasted. A broker that accepts connections and drops them
//! soon exhausts it, and the backoff then grows as for a broker that refuses.

use tidegate_engine::{Context, Duration, Time};

use super::failure::Failure;
use super::options::Reconnect;

/// How many short-lived connections in a row are opened again at once.
const REOPENS: u64 = 5;
/// How long a connection must last to earn another reopening.
const EARNED_BY: Duration = Duration::from_secs(2);
const ALLOWANCE: Duration = Duration::from_micros(REOPENS * EARNED_BY.as_micros());

/// The backoff after consecutive failures.
#[derive(Debug, Clone, Default)]
pub(super) struct HoldOff {
    failures: u32,
    until: Time,
    /// The reason of the last failure.
    why: Option<Failure>,
}

impl HoldOff {
    /// Records a failure: attempts are held off. If the broker refused the credentials, the longest
    /// backoff applies at once and at least half of it is certain, because retrying does not change
    /// them.
    pub(super) fn failed(&mut self, cx: &mut Context<'_>, options: Reconnect, why: &Failure) {
        let limit = if why.denied {
            options.max()
        } else {
            self.limit(options)
        };
        self.failures = self.failures.saturating_add(1);
        let certain = if why.denied { limit / 2 } else { 0 };
        let wait = certain + cx.random_below(limit - certain + 1);
        self.until = cx.now() + Duration::from_millis(wait);
        self.why = Some(why.clone());
    }

    fn limit(&self, options: Reconnect) -> u64 {
        let [min, max] = [options.min(), options.max()].map(Duration::from_millis);
        min.doubled(self.failures, max).as_millis()
    }

    /// Whether the last attempt failed.
    pub(super) const fn has_failed(&self) -> bool {
        self.failures > 0
    }

    /// When the next attempt may start; `None` if it may start now.
    pub(super) fn until(&self, now: Time) -> Option<Time> {
        (self.until > now).then_some(self.until)
    }

    /// How long attempts are held off from `now`.
    pub(super) fn left(&self, now: Time) -> Duration {
        self.until.max(now).since(now)
    }

    /// The failure for streams that arrive while attempts are held off, with the time of the next
    /// attempt.
    pub(super) fn refusal(&self, now: Time) -> Option<Failure> {
        let left = self.until(now)?.since(now);
        self.why.as_ref().map(|why| why.with_next_attempt(left))
    }
}

/// The history of the connections of one client identifier, while they are not healthy.
#[derive(Debug, Clone)]
pub(super) struct Record {
    /// The backoff of this client identifier alone.
    pub(super) hold_off: HoldOff,
    allowance: Duration,
    /// When it last changed.
    pub(super) changed: Time,
}

impl Record {
    pub(super) fn new(now: Time) -> Self {
        Self {
            hold_off: HoldOff::default(),
            allowance: ALLOWANCE,
            changed: now,
        }
    }

    /// Whether nothing happened for twice the longest backoff, so that it equals a new record.
    pub(super) fn is_over(&self, now: Time, options: Reconnect) -> bool {
        let longest = Duration::from_millis(options.max());
        now >= self.changed.max(self.hold_off.until) + longest + longest
    }

    /// An accepted connection was lost after `lasted`, or was refused because of its client
    /// identifier. Returns whether it may be opened again at once.
    pub(super) fn lost(
        &mut self,
        cx: &mut Context<'_>,
        options: Reconnect,
        lasted: Duration,
        why: &Failure,
    ) -> bool {
        if lasted.as_millis() >= options.max() {
            *self = Self::new(cx.now());
        }
        self.changed = cx.now();
        let earned = self.allowance + lasted;
        self.allowance = earned.min(ALLOWANCE);
        let again = self.allowance >= EARNED_BY && !why.concerns_client_id();
        if again {
            self.allowance = less(self.allowance, EARNED_BY);
        } else {
            self.hold_off.failed(cx, options, why);
        }
        again
    }
}

const fn less(one: Duration, other: Duration) -> Duration {
    Duration::from_micros(one.as_micros().saturating_sub(other.as_micros()))
}

#[cfg(test)]
mod tests {
    use tidegate_engine::testing::Rig;

    use super::*;
    use crate::codec::ReasonCode;

    fn failure() -> Failure {
        Failure::new(ReasonCode::SERVER_UNAVAILABLE, "The broker is down.")
    }

    fn denied() -> Failure {
        Failure::refused("The broker", None, ReasonCode::NOT_AUTHORIZED, None)
    }

    #[test]
    fn waits_grow_and_stay_within_bounds() {
        let mut rig = Rig::new();
        let edge = rig.edge(0);
        let options = Reconnect::default();
        let mut hold_off = HoldOff::default();
        let mut longest = 0;
        for round in 0..70 {
            let limit = (1_000u64 << round.min(20)).min(60_000);
            let now = rig.now();
            rig.turn(edge, |cx| hold_off.failed(cx, options, &failure()));
            let wait = hold_off.until.since(now).as_millis();
            assert!(wait <= limit, "round {round}: {wait}");
            longest = longest.max(wait);
        }
        assert!(longest > 30_000, "the jitter uses its whole range");
        let mut hold_off = HoldOff::default();
        let now = rig.now();
        rig.turn(edge, |cx| hold_off.failed(cx, options, &denied()));
        let wait = hold_off.until.since(now).as_millis();
        assert!((30_000..=60_000).contains(&wait));
    }

    #[test]
    fn streams_during_a_hold_off_get_the_reason_and_the_next_attempt() {
        let mut rig = Rig::new();
        let edge = rig.edge(0);
        let mut hold_off = HoldOff::default();
        assert!(hold_off.refusal(rig.now()).is_none() && !hold_off.has_failed());
        rig.turn(edge, |cx| {
            hold_off.failed(cx, Reconnect::default(), &failure());
        });
        hold_off.until = rig.now() + Duration::from_millis(3_001);
        let failure = hold_off.refusal(rig.now()).expect("it is held off");
        assert_eq!(failure.reason, "The broker is down; next attempt in 4 s.");
        let until = hold_off.until(rig.now()).expect("it is held off");
        assert!(hold_off.refusal(until).is_none() && hold_off.has_failed());
    }

    #[test]
    fn a_connection_that_lasts_is_opened_again_at_once() {
        let mut rig = Rig::new();
        let edge = rig.edge(0);
        let options = Reconnect::default();
        let mut record = Record::new(rig.now());
        for round in 0..100 {
            let lasted = Duration::from_secs(3);
            let again = rig.turn(edge, |cx| record.lost(cx, options, lasted, &failure()));
            assert!(again, "round {round}");
        }
    }

    #[test]
    fn short_connections_exhaust_the_allowance() {
        let mut rig = Rig::new();
        let edge = rig.edge(0);
        let options = Reconnect::default();
        let mut record = Record::new(rig.now());
        let mut lose = |lasted| rig.turn(edge, |cx| record.lost(cx, options, lasted, &failure()));
        let short = Duration::from_millis(1);
        let again = (0..20).filter(|_| lose(short)).count();
        assert_eq!(again, 5);
        assert!(lose(Duration::from_secs(60)), "it has lasted");
        assert_eq!((0..20).filter(|_| lose(short)).count(), 4);
    }

    #[test]
    fn a_connection_that_was_taken_over_is_not_reopened_at_once() {
        let mut rig = Rig::new();
        let edge = rig.edge(0);
        let taken = Failure::new(ReasonCode::SESSION_TAKEN_OVER, "Taken.");
        let mut record = Record::new(rig.now());
        let lasted = Duration::from_secs(3);
        let again = rig.turn(edge, |cx| {
            record.lost(cx, Reconnect::default(), lasted, &taken)
        });
        assert!(!again && record.hold_off.has_failed());
    }
}
