//! Keep-alive (MQTT 5.0, 3.1.2.10): when to send PINGREQ, and when the broker is considered dead.
//!
//! PINGREQ is sent when nothing was sent for the interval, as the protocol requires, and also when
//! nothing was received for that long: a client that only publishes at `QoS` 0 would otherwise
//! never detect a dead peer. Any complete packet from the broker counts as an answer.

use tidegate_engine::{Duration, Time};

/// What to do when the timer fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pulse {
    /// Nothing; check again after this time.
    Wait(Duration),
    /// Send PINGREQ and check again after this time.
    Ask(Duration),
    /// The broker did not answer in time.
    Dead,
}

/// When packets were last sent and received.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct KeepAlive {
    interval: Duration,
    sent: Time,
    received: Time,
    asked: Option<Time>,
}

impl KeepAlive {
    /// Starts at `now`. With an interval of 0, PINGREQ is never sent.
    pub(super) const fn start(seconds: u16, now: Time) -> Self {
        Self {
            interval: Duration::from_secs(seconds as u64),
            sent: now,
            received: now,
            asked: None,
        }
    }

    /// Time until the first check; `None` if PINGREQ is never sent.
    pub(super) fn first(&self) -> Option<Duration> {
        (self.interval > Duration::default()).then_some(self.interval)
    }

    /// A packet was sent to the byte stream.
    pub(super) const fn sent(&mut self, now: Time) {
        self.sent = now;
    }

    /// A packet was received.
    pub(super) const fn received(&mut self, now: Time) {
        self.received = now;
        self.asked = None;
    }

    /// The timer fired. `excused`: reading is paused, or a large packet is being received, so
    /// silence does not mean that the broker is dead.
    pub(super) fn pulse(&mut self, now: Time, excused: bool) -> Pulse {
        let half = Duration::from_micros(self.interval.as_micros() / 2);
        if excused {
            self.asked = None;
            self.received = now;
        }
        if let Some(asked) = self.asked {
            let silence = now.since(asked);
            return if silence >= half {
                Pulse::Dead
            } else {
                Pulse::Wait(left(half, silence))
            };
        }
        let idle = now.since(self.sent.min(self.received));
        if idle < self.interval {
            return Pulse::Wait(left(self.interval, idle));
        }
        self.sent = now;
        self.asked = (!excused).then_some(now);
        Pulse::Ask(if excused { self.interval } else { half })
    }
}

const fn left(whole: Duration, gone: Duration) -> Duration {
    Duration::from_micros(whole.as_micros().saturating_sub(gone.as_micros()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Time {
        Time::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn silence_leads_to_pingreq_and_then_to_a_dead_peer() {
        let mut keep_alive = KeepAlive::start(30, at(0));
        assert_eq!(keep_alive.first(), Some(Duration::from_secs(30)));
        assert_eq!(
            keep_alive.pulse(at(30), false),
            Pulse::Ask(Duration::from_secs(15))
        );
        assert_eq!(
            keep_alive.pulse(at(40), false),
            Pulse::Wait(Duration::from_secs(5))
        );
        assert_eq!(keep_alive.pulse(at(45), false), Pulse::Dead);
    }

    #[test]
    fn sending_alone_does_not_hide_a_dead_peer() {
        let mut keep_alive = KeepAlive::start(30, at(0));
        keep_alive.sent(at(29));
        assert_eq!(
            keep_alive.pulse(at(30), false),
            Pulse::Ask(Duration::from_secs(15))
        );
        keep_alive.received(at(31));
        assert_eq!(
            keep_alive.pulse(at(45), false),
            Pulse::Wait(Duration::from_secs(15))
        );
    }

    #[test]
    fn silence_is_ignored_while_reading_is_paused() {
        let mut keep_alive = KeepAlive::start(30, at(0));
        assert_eq!(
            keep_alive.pulse(at(30), false),
            Pulse::Ask(Duration::from_secs(15))
        );
        assert!(matches!(keep_alive.pulse(at(45), true), Pulse::Wait(_)));
        assert_eq!(
            keep_alive.pulse(at(60), true),
            Pulse::Ask(Duration::from_secs(30))
        );
        assert_eq!(KeepAlive::start(0, at(0)).first(), None);
    }
}
