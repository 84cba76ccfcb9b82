//! What is known about each toolkit: whether it answers, and what it has.
//!
//! A toolkit that cannot be reached, or does not answer in time, is *unavailable*: lists and new
//! sessions do not wait for it. A request finds out whether it is back: one at a time, and after a pause
//! that doubles with each failure. Its answer makes it available.

use tidegate_engine::{Duration, Time, TimerId};
use tidegate_streams::mcp::McpCapabilities;

/// The pause before the first request that finds out whether a toolkit is back.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A toolkit that fails again within this time is asked as rarely as before.
const STEADY: Duration = Duration::from_secs(60);

/// What is known about a toolkit.
#[derive(Debug, Default)]
pub(super) struct Health {
    unavailable: Option<Unavailable>,
    /// Pauses since it was available for a while.
    pauses: u32,
    /// When it became available again.
    back_since: Option<Time>,
    /// What it had when it last began a session.
    pub(super) capabilities: Option<McpCapabilities>,
    /// Fires at the end of a pause, while sessions wait for the toolkit.
    pub(super) timer: Option<TimerId>,
}

#[derive(Debug)]
struct Unavailable {
    reason: String,
    /// When it may be asked again.
    next: Time,
}

impl Health {
    /// Why it is unavailable.
    pub(super) fn unavailable(&self) -> Option<&str> {
        self.unavailable.as_ref().map(|it| &*it.reason)
    }

    /// Whether it is unavailable, and the pause is over.
    pub(super) fn is_due(&self, now: Time) -> bool {
        self.unavailable.as_ref().is_some_and(|it| it.next <= now)
    }

    /// The rest of the pause, if it is unavailable.
    pub(super) fn pause(&self, now: Time) -> Option<Duration> {
        self.unavailable.as_ref().map(|it| it.next.since(now))
    }

    /// It has not answered. Returns whether that is new.
    pub(super) fn failed(&mut self, now: Time, reason: &str) -> bool {
        let steady = |since: Time| now.since(since) >= STEADY;
        if self.unavailable.is_none() && self.back_since.is_none_or(steady) {
            self.pauses = 0;
        }
        let seconds = FIRST_PAUSE.as_micros() << self.pauses.min(10);
        let pause = Duration::from_micros(seconds).min(LONGEST_PAUSE);
        self.pauses = self.pauses.saturating_add(1);
        let unavailable = Unavailable {
            reason: reason.to_owned(),
            next: now + pause,
        };
        self.unavailable.replace(unavailable).is_none()
    }

    /// A request that finds out whether it is back begins: another one only follows after its failure,
    /// or at `until`.
    pub(super) fn asked(&mut self, until: Time) {
        if let Some(unavailable) = &mut self.unavailable {
            unavailable.next = until;
        }
    }

    /// That request was not sent: another one follows after the first pause.
    pub(super) fn not_asked(&mut self, now: Time) {
        self.asked(now + FIRST_PAUSE);
    }

    /// It has answered. Returns whether it was unavailable.
    pub(super) fn answered(&mut self, now: Time) -> bool {
        let was_unavailable = self.unavailable.take().is_some();
        if was_unavailable {
            self.back_since = Some(now);
        }
        was_unavailable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::START + Duration::from_secs(seconds)
    }

    #[test]
    fn pauses_double_up_to_a_minute_and_begin_again_after_a_steady_minute() {
        let mut health = Health::default();
        assert!(!health.is_due(at(0)) && health.unavailable().is_none());
        assert!(health.failed(at(0), "gone"));
        assert_eq!(health.unavailable(), Some("gone"));
        assert!(!health.is_due(at(0)) && health.is_due(at(1)));
        let mut now = 1;
        for pause in [2, 4, 8, 16, 32, 60, 60] {
            assert!(!health.failed(at(now), "still"), "it is not new");
            assert_eq!(health.pause(at(now)), Some(Duration::from_secs(pause)));
            now += pause;
        }
        assert!(health.answered(at(now)) && !health.answered(at(now)));
        assert!(health.failed(at(now + 59), "again"));
        assert_eq!(health.pause(at(now + 59)), Some(LONGEST_PAUSE));
        assert!(health.answered(at(now + 60)));
        assert!(health.failed(at(now + 120), "later"));
        assert_eq!(health.pause(at(now + 120)), Some(FIRST_PAUSE));
    }

    #[test]
    fn one_request_at_a_time_asks() {
        let mut health = Health::default();
        health.failed(at(0), "gone");
        health.asked(at(10));
        assert!(!health.is_due(at(9)) && health.is_due(at(10)));
    }
}
