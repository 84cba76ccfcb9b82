//! When a lost connection is made anew: exponential backoff with full jitter.

use tidegate_engine::{Context, Duration, Time};

use super::options::Reconnect;

/// How often in a row a connection has failed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Backoff {
    failures: u32,
    up_since: Option<Time>,
}

impl Backoff {
    /// The broker has accepted the connection. Only one that lasts clears the record, so that a
    /// broker which accepts and drops in turn is not pressed.
    pub(super) const fn connected(&mut self, now: Time) {
        self.up_since = Some(now);
    }

    /// The connection failed or was lost: how long to wait. After a refusal of the credentials it
    /// is the longest wait at once.
    pub(super) fn failed(
        &mut self,
        cx: &mut Context<'_>,
        options: Reconnect,
        denied: bool,
    ) -> Duration {
        let lasted = self.up_since.take().map(|since| cx.now().since(since));
        if lasted.is_some_and(|lasted| lasted.as_millis() >= options.max()) {
            self.failures = 0;
        }
        let limit = if denied {
            options.max()
        } else {
            self.limit(options)
        };
        self.failures = self.failures.saturating_add(1);
        // Half of the longest wait is certain after a refusal: credentials do not change by asking.
        let certain = if denied { limit / 2 } else { 0 };
        Duration::from_millis(certain + cx.random_below(limit - certain + 1))
    }

    fn limit(self, options: Reconnect) -> u64 {
        let doubled = 1u64.checked_shl(self.failures).unwrap_or(u64::MAX);
        options.min().saturating_mul(doubled).min(options.max())
    }
}

#[cfg(test)]
mod tests {
    use tidegate_engine::testing::Rig;

    use super::*;

    #[test]
    fn waits_grow_stay_within_bounds_and_start_anew_after_a_stable_time() {
        let mut rig = Rig::new();
        let edge = rig.edge(0);
        let options = Reconnect::default();
        let mut backoff = Backoff::default();
        let mut longest = 0;
        for round in 0..70 {
            let limit = (1_000u64 << round.min(20)).min(60_000);
            let wait = rig.turn(edge, |cx| backoff.failed(cx, options, false));
            assert!(
                wait.as_millis() <= limit,
                "round {round}: {}",
                wait.as_millis()
            );
            longest = longest.max(wait.as_millis());
        }
        assert!(longest > 30_000, "the jitter uses its whole range");
        rig.turn(edge, |cx| backoff.connected(cx.now()));
        rig.advance(Duration::from_secs(61));
        let wait = rig.turn(edge, |cx| backoff.failed(cx, options, false));
        assert!(wait.as_millis() <= 1_000);
        let wait = rig.turn(edge, |cx| backoff.failed(cx, options, true));
        assert!((30_000..=60_000).contains(&wait.as_millis()));
    }
}
