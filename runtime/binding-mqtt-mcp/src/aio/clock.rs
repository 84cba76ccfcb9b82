//! The hybrid logical clock of Azure `IoT` Operations (`__ts`): a time, and a counter that orders what happens at
//! the same time, also between clocks that differ a little.

use bytestring::ByteString;

/// Largest difference between a timestamp and the wall clock, in milliseconds.
const DRIFT_MAX: u64 = 60_000;
/// Largest counter that is taken over. A larger one would leave no room for those of this clock.
const COUNTER_MAX: u64 = 0xffff_ffff;
/// Most bytes of the name of a clock.
const NODE_MAX: usize = 256;

/// A timestamp: `000001696374425000:00000:node`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Timestamp {
    millis: u64,
    counter: u64,
    node: ByteString,
}

/// Why a timestamp cannot be taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClockFault {
    /// It is too far in the future.
    Drift,
    /// Its counter is at its end.
    Overflow,
}

impl Timestamp {
    /// Reads a timestamp; `None` if it is none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let number = |part: Option<&str>| {
            let part = part.filter(|it| it.bytes().all(|byte| byte.is_ascii_digit()))?;
            part.parse().ok()
        };
        let timestamp = Self {
            millis: number(parts.next())?,
            counter: number(parts.next())?,
            node: parts.next().filter(|it| it.len() <= NODE_MAX)?.into(),
        };
        parts.next().is_none().then_some(timestamp)
    }
}

/// The clock of one binding.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    millis: u64,
    counter: u64,
    /// Its name among all clocks; empty until it is needed.
    node: String,
}

impl Clock {
    /// Takes over a timestamp of another clock: what this one says next is later.
    pub(crate) fn witness(&mut self, other: &Timestamp, now: u64) -> Result<(), ClockFault> {
        if !self.node.is_empty() && other.node == self.node.as_str() {
            return Ok(());
        }
        self.set_back(now);
        if now > self.millis && now > other.millis {
            (self.millis, self.counter) = (now, 0);
            return Ok(());
        }
        if other.millis.saturating_sub(now) > DRIFT_MAX {
            return Err(ClockFault::Drift);
        }
        if other.counter > COUNTER_MAX {
            return Err(ClockFault::Overflow);
        }
        let (millis, counter) = (self.millis, self.counter).max((other.millis, other.counter));
        self.counter = counter.checked_add(1).ok_or(ClockFault::Overflow)?;
        self.millis = millis;
        Ok(())
    }

    /// Follows a wall clock that was set back: what it said before must not hold for ever.
    const fn set_back(&mut self, now: u64) {
        if self.millis.saturating_sub(now) > DRIFT_MAX {
            (self.millis, self.counter) = (now, 0);
        }
    }

    /// The next timestamp. `mint` names the clock the first time. `None` if the counter is at its end.
    pub(crate) fn next(&mut self, now: u64, mint: impl FnOnce() -> ByteString) -> Option<String> {
        if self.node.is_empty() {
            self.node = mint().to_string();
        }
        self.set_back(now);
        if now > self.millis {
            (self.millis, self.counter) = (now, 0);
        } else {
            self.counter = self.counter.checked_add(1)?;
        }
        let (millis, counter) = (self.millis, self.counter);
        Some(format!("{millis:0>15}:{counter:0>5}:{}", self.node))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Timestamp {
        Timestamp::parse(text).expect(text)
    }

    #[test]
    fn timestamps_are_read_as_the_sdks_write_them() {
        let timestamp = read("001696374425000:00003:Client1");
        let expected = (1_696_374_425_000, 3, "Client1".into());
        let (millis, counter, node) = (timestamp.millis, timestamp.counter, timestamp.node);
        assert_eq!((millis, counter, node), expected);
        for invalid in [
            "",
            "1",
            "1:2",
            "1:2:n:x",
            "x:2:n",
            "1:-2:n",
            "+1:2:n",
            "1:99999999999999999999:n",
        ] {
            assert_eq!(Timestamp::parse(invalid), None, "{invalid}");
        }
    }

    #[test]
    fn the_clock_goes_on_from_the_latest_time_it_has_seen() {
        let mut clock = Clock::default();
        let mint = || ByteString::from_static("n");
        let next = |clock: &mut Clock, now| clock.next(now, mint).expect("a timestamp");
        assert_eq!(next(&mut clock, 1_000), "000000000001000:00000:n");
        assert_eq!(next(&mut clock, 1_000), "000000000001000:00001:n");
        assert_eq!(clock.witness(&read("2000:7:other"), 1_500), Ok(()));
        assert_eq!(next(&mut clock, 1_500), "000000000002000:00009:n");
        assert_eq!(clock.witness(&read("9000:0:n"), 1_500), Ok(()), "its own");
        assert_eq!(next(&mut clock, 3_000), "000000000003000:00000:n");
        let far = read("63001:0:other");
        assert_eq!(clock.witness(&far, 3_000), Err(ClockFault::Drift));
        for counter in [u64::MAX, u64::MAX - 1, COUNTER_MAX + 1] {
            let last = read(&format!("3000:{counter}:other"));
            assert_eq!(clock.witness(&last, 3_000), Err(ClockFault::Overflow));
        }
        assert_eq!(next(&mut clock, 3_000), "000000000003000:00001:n");
        let large = read(&format!("3000:{COUNTER_MAX}:other"));
        assert_eq!(clock.witness(&large, 3_000), Ok(()));
        assert_eq!(next(&mut clock, 3_000), "000000000003000:4294967297:n");
    }

    #[test]
    fn a_wall_clock_that_was_set_back_is_followed() {
        let mut clock = Clock::default();
        let mint = || ByteString::from_static("n");
        let _ = clock.next(1_000_000, mint);
        // A little: it goes on.
        let text = clock.next(990_000, mint);
        assert_eq!(text.as_deref(), Some("000000001000000:00001:n"));
        assert_eq!(clock.witness(&read("100000:3:other"), 100_000), Ok(()));
        let text = clock.next(100_000, mint);
        assert_eq!(text.as_deref(), Some("000000000100000:00005:n"));
        let _ = clock.next(1_000_000, mint);
        let text = clock.next(100_000, mint);
        assert_eq!(text.as_deref(), Some("000000000100000:00001:n"));
        assert_eq!(Timestamp::parse(&format!("1:2:{}", "x".repeat(257))), None);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[0-9:a-z+-]{0,40}", now in 0..100_000_u64) {
            if let Some(timestamp) = Timestamp::parse(&text) {
                let mut clock = Clock::default();
                if clock.witness(&timestamp, now).is_ok() {
                    let said = clock.next(now, || ByteString::from_static("node-of-this-clock"));
                    let said = said.and_then(|it| Timestamp::parse(&it)).expect("readable");
                    let order = |it: &Timestamp| (it.millis, it.counter);
                    prop_assert!(order(&said) > order(&timestamp));
                }
            }
        }
    }
}
