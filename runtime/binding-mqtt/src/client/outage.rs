//! When an unavailable broker is reported to operators: at the start of an outage, at most once per
//! [`QUIET`] while it lasts, and at its end; not for each failed attempt and call.
//!
//! An outage starts when a connection is lost or cannot be opened, and ends when the broker accepts
//! one. The end is reported if the start was. Outages that follow within [`QUIET`] are counted, and
//! the next event contains their number.

use tidegate_engine::{Context, Duration, Time};

use super::events::{ConnectionDown, ConnectionLost, ConnectionRestored};
use super::failure::Failure;

/// Minimum time between two events about outages.
const QUIET: Duration = Duration::from_secs(60);

/// The outages of the broker.
#[derive(Debug, Default)]
pub(super) struct Outage {
    current: Option<Current>,
    /// When the last event was emitted.
    reported: Option<Time>,
    /// Outages that started since and were not reported.
    untold: u32,
    /// Number of all outages.
    begun: u64,
}

#[derive(Debug)]
struct Current {
    since: Time,
    reported: bool,
    tally: Tally,
}

/// Totals of an outage so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Tally {
    seconds: u64,
    /// Connections that were lost or could not be opened.
    attempts: u32,
    /// Streams that were refused without an attempt.
    refused: u32,
}

/// The event to emit.
#[derive(Debug, PartialEq, Eq)]
enum Transition {
    /// An outage started, after `untold` unreported ones.
    Lost { untold: u32 },
    /// The outage continues.
    Down(Tally),
}

/// A connection that was lost or could not be opened.
pub(super) struct Loss<'a> {
    pub(super) broker: &'a str,
    pub(super) why: &'a Failure,
    /// Number of its streams.
    pub(super) streams: usize,
    /// How long attempts are held off.
    pub(super) backoff: Duration,
}

impl Outage {
    /// A connection was lost or could not be opened.
    pub(super) fn lost(&mut self, cx: &mut Context<'_>, loss: &Loss<'_>) {
        match self.note_lost(cx.now()) {
            Some(Transition::Lost { untold }) => cx.event(&ConnectionLost {
                broker: loss.broker.into(),
                code: loss.why.code.0,
                reason: loss.why.reason.clone(),
                streams: u64::try_from(loss.streams).unwrap_or(u64::MAX),
                untold,
            }),
            Some(Transition::Down(tally)) => down(cx, loss, tally),
            None => {}
        }
    }

    /// A stream was refused without an attempt, because of the last failure.
    pub(super) fn refused(&mut self, cx: &mut Context<'_>, last: &Loss<'_>) {
        if let Some(tally) = self.note_refused(cx.now()) {
            down(cx, last, tally);
        }
    }

    /// The broker accepted a connection.
    pub(super) fn over(&mut self, cx: &mut Context<'_>, broker: &str) {
        if let Some(tally) = self.end(cx.now()) {
            cx.event(&ConnectionRestored {
                broker: broker.into(),
                seconds: tally.seconds,
                attempts: tally.attempts,
                refused: tally.refused,
            });
        }
    }

    /// Whether an outage is in progress.
    pub(super) const fn lasts(&self) -> bool {
        self.current.is_some()
    }

    /// Number of outages so far.
    pub(super) const fn begun(&self) -> u64 {
        self.begun
    }

    fn note_lost(&mut self, now: Time) -> Option<Transition> {
        if let Some(current) = &mut self.current {
            current.tally.attempts = current.tally.attempts.saturating_add(1);
            return self.note_lasting(now).map(Transition::Down);
        }
        self.begun += 1;
        let reported = self.may_report(now);
        self.current = Some(Current {
            since: now,
            reported,
            tally: Tally {
                attempts: 1,
                ..Tally::default()
            },
        });
        if !reported {
            self.untold = self.untold.saturating_add(1);
            return None;
        }
        let untold = std::mem::take(&mut self.untold);
        Some(Transition::Lost { untold })
    }

    fn note_refused(&mut self, now: Time) -> Option<Tally> {
        let current = self.current.as_mut()?;
        current.tally.refused = current.tally.refused.saturating_add(1);
        self.note_lasting(now)
    }

    fn note_lasting(&mut self, now: Time) -> Option<Tally> {
        if !self.may_report(now) {
            return None;
        }
        let current = self.current.as_mut()?;
        current.reported = true;
        Some(current.tally_at(now))
    }

    fn end(&mut self, now: Time) -> Option<Tally> {
        let current = self.current.take()?;
        current.reported.then(|| current.tally_at(now))
    }

    /// Whether an event may be emitted now. If so, `now` is recorded.
    fn may_report(&mut self, now: Time) -> bool {
        let may = self
            .reported
            .is_none_or(|reported| now.since(reported) >= QUIET);
        if may {
            self.reported = Some(now);
        }
        may
    }
}

impl Current {
    const fn tally_at(&self, now: Time) -> Tally {
        Tally {
            seconds: now.since(self.since).as_micros().div_ceil(1_000_000),
            ..self.tally
        }
    }
}

fn down(cx: &mut Context<'_>, loss: &Loss<'_>, tally: Tally) {
    cx.event(&ConnectionDown {
        broker: loss.broker.into(),
        code: loss.why.code.0,
        reason: loss.why.reason.clone(),
        seconds: tally.seconds,
        attempts: tally.attempts,
        refused: tally.refused,
        backoff: loss.backoff.as_millis(),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Time {
        Time::from_micros(seconds * 1_000_000)
    }

    const fn tally(seconds: u64, attempts: u32, refused: u32) -> Tally {
        Tally {
            seconds,
            attempts,
            refused,
        }
    }

    #[test]
    fn an_outage_is_reported_at_its_start_rarely_while_it_lasts_and_at_its_end() {
        let mut outage = Outage::default();
        let mut reported = Vec::new();
        // One attempt and ten calls per second, for a little over two minutes.
        for second in 0..125 {
            reported.extend(outage.note_lost(at(second)));
            (0..10).for_each(|_| assert_eq!(outage.note_refused(at(second)), None));
        }
        assert!(outage.lasts());
        assert_eq!(
            reported,
            [
                Transition::Lost { untold: 0 },
                Transition::Down(tally(60, 61, 600)),
                Transition::Down(tally(120, 121, 1_200)),
            ]
        );
        assert_eq!(outage.end(at(125)), Some(tally(125, 125, 1_250)));
        assert!(!outage.lasts() && outage.begun() == 1);
        assert_eq!(outage.end(at(126)), None);
    }

    #[test]
    fn the_end_of_a_reported_outage_is_reported() {
        let mut outage = Outage::default();
        let begins = Some(Transition::Lost { untold: 0 });
        assert_eq!(outage.note_lost(at(5)), begins);
        assert_eq!(outage.end(at(6)), Some(tally(1, 1, 0)));
    }

    #[test]
    fn refused_calls_alone_lead_to_a_report() {
        let mut outage = Outage::default();
        outage.note_lost(at(0));
        assert_eq!(outage.note_refused(at(59)), None);
        assert_eq!(outage.note_refused(at(60)), Some(tally(60, 1, 2)));
        assert_eq!(outage.note_refused(at(61)), None);
        outage.end(at(62));
        assert_eq!(outage.note_refused(at(200)), None, "there is none");
    }

    #[test]
    fn outages_that_follow_each_other_are_counted() {
        let mut outage = Outage::default();
        let mut begun = Vec::new();
        let mut over = 0;
        for round in 0..25 {
            begun.extend(outage.note_lost(at(3 * round)));
            over += u32::from(outage.end(at(3 * round)).is_some());
        }
        let lost = |untold| Transition::Lost { untold };
        assert_eq!((begun, over), (vec![lost(0), lost(19)], 2));
        assert_eq!(outage.begun(), 25);
    }
}
