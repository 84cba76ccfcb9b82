//! How much of the time of a request its tools have: a failure at the deadline must reach the device before the
//! request expires.

use tidegate_engine::{Duration, Time};

use crate::exchange::GRACE;
use crate::request::Envelope;

/// Bounds of the part of the time before the expiry that is left for the answer: a tenth.
const LEAST: Duration = Duration::from_millis(50);
const MOST: Duration = Duration::from_secs(1);

/// The deadline of a request that is received now, with this limit of the config.
pub(crate) fn deadline(now: Time, expires: Option<Time>, limit: Time) -> Time {
    expires.map_or(limit, |expires| limit.min(before(now, expires)))
}

/// When the tools of a request that expires have to be done.
fn before(now: Time, expires: Time) -> Time {
    let left = expires.since(now);
    let kept = Duration::from_micros(left.as_micros() / 10).clamp(LEAST, MOST);
    now + Duration::from_micros(left.as_micros().saturating_sub(kept.as_micros()))
}

impl Envelope {
    /// Time after the deadline in which the exit says why a call failed.
    pub(crate) fn grace(&self) -> Duration {
        self.expires.map_or(GRACE, |expires| {
            let left = expires.since(self.deadline);
            GRACE.min(Duration::from_micros(left.as_micros() / 2))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_time_to_arrive_before_the_expiry() {
        let at = |millis| Time::START + Duration::from_millis(millis);
        let limit = at(10_000);
        let of = |expires: u64| deadline(at(0), Some(at(expires)), limit);
        assert_eq!(deadline(at(0), None, limit), limit);
        assert_eq!(of(1_000), at(900));
        assert_eq!(of(5_000), at(4_500));
        assert_eq!(of(10_500), at(9_500), "not all of the limit is there");
        assert_eq!(of(60_000), limit);
        assert_eq!(of(100), at(50));
        assert_eq!(of(20), at(0), "it has expired as good as");
        assert_eq!(of(0), at(0));
    }
}
