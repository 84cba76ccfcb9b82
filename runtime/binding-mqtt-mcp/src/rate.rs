//! How many requests begin in a second: after an outage, what has gathered drains without a storm.

use tidegate_engine::{Duration, Time};

/// Requests that may begin at once are those of this time.
const BURST: Duration = Duration::from_millis(100);

/// The rate of requests that begin.
#[derive(Debug)]
pub(crate) struct Rate {
    /// Time between two requests; none without a limit.
    interval: Option<Duration>,
    /// When a request may begin that has no part of the burst.
    next: Time,
}

impl Rate {
    pub(crate) fn new(per_second: Option<u64>) -> Self {
        let interval = per_second.and_then(|it| 1_000_000_u64.checked_div(it));
        Self {
            interval: interval.map(Duration::from_micros),
            next: Time::START,
        }
    }

    /// Time until a request may begin; `None` if it may now.
    pub(crate) fn wait(&self, now: Time) -> Option<Duration> {
        self.interval?;
        let wait = self.next.since(now + BURST);
        (wait > Duration::ZERO).then_some(wait)
    }

    /// A request begins.
    pub(crate) fn begin(&mut self, now: Time) {
        if let Some(interval) = self.interval {
            self.next = self.next.max(now) + interval;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of requests that begin in a time, if as many as possible do.
    fn begun(rate: &mut Rate, from: Time, lasting: Duration) -> usize {
        let mut count = 0;
        let mut now = from;
        while now.since(from) < lasting {
            if let Some(wait) = rate.wait(now) {
                now = now + wait;
            } else {
                rate.begin(now);
                count += 1;
            }
        }
        count
    }

    #[test]
    fn requests_begin_evenly_with_a_small_burst() {
        let mut rate = Rate::new(Some(100));
        let second = Duration::from_secs(1);
        let burst = begun(&mut rate, Time::START, Duration::from_millis(1));
        assert_eq!(burst, 11);
        assert_eq!(begun(&mut rate, Time::START, second), 99);
        let later = Time::START + Duration::from_secs(60);
        assert_eq!(
            begun(&mut rate, later, second),
            110,
            "the burst is small after a pause"
        );
    }

    #[test]
    fn slow_rates_have_no_burst_and_without_a_rate_nothing_waits() {
        let mut rate = Rate::new(Some(2));
        assert_eq!(begun(&mut rate, Time::START, Duration::from_secs(10)), 21);
        let unlimited = Rate::new(None);
        assert_eq!(unlimited.wait(Time::START), None);
    }
}
