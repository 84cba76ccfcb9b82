//! When a process may be started again.

use std::time::Duration;

use tokio::time::Instant;

/// A process that has run for this long is not a failed start.
const HEALTHY: Duration = Duration::from_secs(10);
/// Longest wait before a start.
const WAIT_MAX: Duration = Duration::from_mins(1);

/// The failures in a row, and the wait that follows from them.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
    until: Option<Instant>,
    reason: String,
}

impl Backoff {
    /// How long a start has to wait, and why; `None`: not at all.
    pub(crate) fn wait(&self) -> Option<(Duration, &str)> {
        let left = self.until?.checked_duration_since(Instant::now())?;
        (!left.is_zero()).then_some((left, self.reason.as_str()))
    }

    /// A process has ended by itself, or could not be started. `ran`: how long it has run.
    pub(crate) fn failed(&mut self, ran: Duration, reason: &str) {
        if ran >= HEALTHY {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        reason.clone_into(&mut self.reason);
        // The first failure may be the only one.
        let wait = match self.failures {
            1 => Duration::ZERO,
            failures => Duration::from_secs(1 << (failures - 2).min(6)).min(WAIT_MAX),
        };
        self.until = Some(Instant::now() + wait);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waits_grow_with_failures_in_a_row() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.wait(), None);
        let short = Duration::from_secs(1);
        let mut waits = Vec::new();
        for _ in 0..10 {
            backoff.failed(short, "it ended");
            waits.push(backoff.wait().map_or(0, |(wait, _)| wait.as_secs()));
        }
        assert_eq!(waits, [0, 1, 2, 4, 8, 16, 32, 60, 60, 60]);
        tokio::time::advance(WAIT_MAX).await;
        assert_eq!(backoff.wait(), None);
        backoff.failed(HEALTHY, "it ended");
        assert_eq!(backoff.wait(), None);
    }
}
