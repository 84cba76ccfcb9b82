//! When refused filters are requested again.
//!
//! A subscription whose caller acknowledges the messages lasts as long as the gateway. So the filters that the
//! broker refused for a reason that may pass, such as a quota, are requested again: after [`FIRST`], then after
//! twice as long each time, up to [`LONGEST`]. Each connection begins anew, unless the one before was lost while a
//! request had no answer: the broker may have closed it because of the request.

use tidegate_engine::{Context, Duration, TimerId};

use super::connection::{Connection, Env, Phase, REFUSED_TIMER, connection_token};

/// Time before the first repetition.
const FIRST: Duration = Duration::from_secs(1);
/// Longest time before one.
const LONGEST: Duration = Duration::from_secs(60);

/// The repetitions on a connection.
#[derive(Debug, Default)]
pub(super) struct Repetitions {
    count: u32,
    timer: Option<TimerId>,
    /// The last one has no answer yet.
    is_unanswered: bool,
}

impl Repetitions {
    pub(super) const fn new() -> Self {
        Self {
            count: 0,
            timer: None,
            is_unanswered: false,
        }
    }

    /// The time before the next one.
    fn next(&mut self) -> Duration {
        let after = FIRST.doubled(self.count, LONGEST);
        self.count = self.count.saturating_add(1);
        after
    }
}

impl Connection {
    /// The broker has answered for all filters of a stream.
    pub(super) fn watch_refused(&mut self, env: &mut Env<'_, '_>, key: usize) {
        let Some(held) = &mut self.held else { return };
        held.repetitions.is_unanswered = false;
        let subscriber = env.streams.subscriber(key);
        if !subscriber.is_some_and(|(_, it)| it.may_be_granted_later()) {
            held.repetitions.count = 0;
        } else if held.repetitions.timer.is_none() && !env.cx.stopping() {
            let after = held.repetitions.next();
            let token = connection_token(self.key);
            let reason = "the next request for refused filters";
            held.repetitions.timer = Some(env.cx.timer(after, token, REFUSED_TIMER, reason));
        }
    }

    /// The timer fired.
    pub(super) fn ask_refused(&mut self, env: &mut Env<'_, '_>) {
        if let Some(held) = &mut self.held {
            held.repetitions.timer = None;
        }
        if self.phase != Phase::Ready || env.cx.stopping() {
            return;
        }
        for key in self.stream_keys() {
            if let Some((_, subscriber)) = env.streams.subscriber(key)
                && subscriber.may_be_granted_later()
            {
                subscriber.ask_again();
                if let Some(held) = &mut self.held {
                    held.repetitions.is_unanswered = true;
                }
                self.place(env, key);
            }
        }
    }

    /// The connection is closed.
    pub(super) fn clear_repetitions(&mut self, cx: &mut Context<'_>) {
        let Some(held) = &mut self.held else { return };
        let repetitions = &mut held.repetitions;
        if let Some(timer) = repetitions.timer.take() {
            cx.cancel(timer);
        }
        if !repetitions.is_unanswered {
            repetitions.count = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetitions_are_at_least_once_a_minute() {
        let mut repetitions = Repetitions::default();
        let mut next = || repetitions.next().as_millis() / 1_000;
        let first: Vec<u64> = (0..8).map(|_| next()).collect();
        assert_eq!(first, [1, 2, 4, 8, 16, 32, 60, 60]);
        repetitions.count = u32::MAX;
        assert_eq!(repetitions.next(), LONGEST);
    }
}
