//! When a process whose handshake has failed may be started again. `stdio · client` does the same for a
//! process that ends by itself.

use tidegate_engine::{Duration, Time};

/// A process that was used for this long is not a failed start.
const HEALTHY: Duration = Duration::from_secs(10);
/// Longest wait before a start, in seconds.
const WAIT_MAX: u64 = 60;

/// The failures in a row, and the wait that follows from them.
#[derive(Debug)]
pub(super) struct Backoff {
    failures: u32,
    until: Option<Time>,
    /// When the last handshake succeeded.
    ready: Option<Time>,
    reason: String,
}

impl Backoff {
    /// Without a failure.
    pub(super) const fn new() -> Self {
        Self {
            failures: 0,
            until: None,
            ready: None,
            reason: String::new(),
        }
    }

    /// Until the next start: the rest of the wait, and the reason; `None`: it may be started.
    pub(super) fn wait(&self, now: Time) -> Option<(Duration, &str)> {
        let left = self.until?.since(now);
        (left > Duration::ZERO).then_some((left, self.reason.as_str()))
    }

    /// The handshake with a process has succeeded.
    pub(super) fn ready(&mut self, now: Time) {
        self.ready = Some(now);
    }

    /// A process was ended, because it is of no use. `reason`: a sentence.
    pub(super) fn failed(&mut self, now: Time, reason: &str) {
        let was_used = self.ready.take();
        if was_used.is_some_and(|since| now.since(since) >= HEALTHY) {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        reason.trim_end_matches('.').clone_into(&mut self.reason);
        // The first failure may be the only one.
        let wait = match self.failures {
            1 => 0,
            failures => (1 << (failures - 2).min(6)).min(WAIT_MAX),
        };
        self.until = Some(now + Duration::from_secs(wait));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::START + Duration::from_secs(seconds)
    }

    #[test]
    fn waits_grow_until_a_process_is_used_for_a_while() {
        let mut backoff = Backoff::new();
        assert_eq!(backoff.wait(at(0)), None);
        let waits: Vec<u64> = (0..10)
            .map(|_| {
                backoff.failed(at(0), "No answer.");
                let wait = backoff.wait(at(0));
                wait.map_or(0, |(wait, _)| wait.as_micros() / 1_000_000)
            })
            .collect();
        assert_eq!(waits, [0, 1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(
            backoff.wait(at(59)),
            Some((Duration::from_secs(1), "No answer"))
        );
        assert_eq!(backoff.wait(at(60)), None);
        backoff.ready(at(60));
        backoff.failed(at(61), "Garbage.");
        assert!(backoff.wait(at(120)).is_some(), "it was used for a second");
        backoff.ready(at(130));
        backoff.failed(at(140), "Garbage.");
        assert_eq!(backoff.wait(at(140)), None);
    }
}
