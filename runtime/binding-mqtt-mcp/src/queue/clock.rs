//! Times that outlive the process: the clock of the worker begins anew with each one, so records have
//! milliseconds of the wall clock.

use tidegate_engine::{Context, Time, WallTime};

/// The time of a turn on both clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    now: Time,
    wall: WallTime,
}

impl Clock {
    pub(crate) fn of(cx: &Context<'_>) -> Self {
        Self {
            now: cx.now(),
            wall: cx.wall_clock(),
        }
    }

    /// The time of the turn.
    pub(crate) const fn now(self) -> Time {
        self.now
    }

    /// The wall clock at a time, in milliseconds since the Unix epoch.
    pub(crate) fn millis(self, time: Time) -> u64 {
        let wall = if time >= self.now {
            self.wall + time.since(self.now)
        } else {
            self.wall - self.now.since(time)
        };
        wall.unix_millis()
    }

    /// The time at which the wall clock shows this; the start of the worker if that was before it.
    pub(crate) fn time(self, millis: u64) -> Time {
        let (wall, now) = (self.wall.unix_micros(), self.now.as_micros());
        let then = WallTime::from_unix_millis(millis).unix_micros();
        Time::from_micros(now.saturating_add(then).saturating_sub(wall))
    }
}

#[cfg(test)]
mod tests {
    use tidegate_engine::Duration;

    use super::*;

    #[test]
    fn a_time_is_the_same_after_a_restart() {
        let before = Clock {
            now: Time::START + Duration::from_secs(500),
            wall: WallTime::from_unix_millis(1_000_000_000),
        };
        let after = Clock {
            now: Time::START + Duration::from_secs(2),
            wall: WallTime::from_unix_millis(1_000_010_000),
        };
        let expiry = before.now + Duration::from_secs(30);
        let kept = before.millis(expiry);
        assert_eq!(before.time(kept), expiry);
        assert_eq!(after.time(kept), after.now + Duration::from_secs(20));
        let past = before.millis(Time::START);
        assert_eq!(after.time(past), Time::START, "it was before the restart");
        assert!(after.time(u64::MAX) > after.now);
    }
}
