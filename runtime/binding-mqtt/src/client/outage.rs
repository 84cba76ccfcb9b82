//! When operators are told of a broker that is not connected: when an outage begins, rarely while it
//! lasts, and when it is over; not once for each attempt and each call that fails.
//!
//! An outage begins with a connection that is lost or cannot be made, and is over when the broker
//! accepts one. Whoever was told of its beginning is told of its end. Outages that follow each other
//! within [`QUIET`] are counted, and the next event tells how many there were.

use tidegate_engine::{Context, Duration, Time};

use super::events::{ConnectionDown, ConnectionLost, ConnectionRestored};
use super::failure::Failure;

/// How often operators are told of it at the most.
const QUIET: Duration = Duration::from_secs(60);

/// The broker's outages.
#[derive(Debug, Default)]
pub(super) struct Outage {
    current: Option<Current>,
    /// When somebody was last told of one.
    told: Option<Time>,
    /// Those that began since and were not told.
    untold: u32,
    /// All of them.
    begun: u64,
}

#[derive(Debug)]
struct Current {
    since: Time,
    told: bool,
    tally: Tally,
}

/// What an outage has cost so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Tally {
    seconds: u64,
    /// Connections that were lost or could not be made.
    attempts: u32,
    /// Streams that were refused without an attempt.
    refused: u32,
}

/// What is to be told of it.
#[derive(Debug, PartialEq, Eq)]
enum Transition {
    /// An outage has begun, and so many before it that were not told.
    Lost { untold: u32 },
    /// It lasts.
    Down(Tally),
}

/// A connection that is lost, or could not be made.
pub(super) struct Loss<'a> {
    pub(super) broker: &'a str,
    pub(super) why: &'a Failure,
    /// How many streams it had.
    pub(super) streams: usize,
    /// For how long attempts are held off.
    pub(super) backoff: Duration,
}

impl Outage {
    /// A connection is lost, or could not be made.
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

    /// A stream was refused without an attempt, for the sake of the last one that failed.
    pub(super) fn refused(&mut self, cx: &mut Context<'_>, last: &Loss<'_>) {
        if let Some(tally) = self.note_refused(cx.now()) {
            down(cx, last, tally);
        }
    }

    /// The broker has accepted a connection.
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

    /// Whether there is one now.
    pub(super) const fn lasts(&self) -> bool {
        self.current.is_some()
    }

    /// How many have begun.
    pub(super) const fn begun(&self) -> u64 {
        self.begun
    }

    fn note_lost(&mut self, now: Time) -> Option<Transition> {
        if let Some(current) = &mut self.current {
            current.tally.attempts = current.tally.attempts.saturating_add(1);
            return self.note_lasting(now).map(Transition::Down);
        }
        self.begun += 1;
        let told = self.may_tell(now);
        self.current = Some(Current {
            since: now,
            told,
            tally: Tally {
                attempts: 1,
                ..Tally::default()
            },
        });
        if !told {
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
        if !self.may_tell(now) {
            return None;
        }
        let current = self.current.as_mut()?;
        current.told = true;
        Some(current.tally_at(now))
    }

    fn end(&mut self, now: Time) -> Option<Tally> {
        let current = self.current.take()?;
        current.told.then(|| current.tally_at(now))
    }

    /// Whether nobody was told for a while; then somebody is now.
    fn may_tell(&mut self, now: Time) -> bool {
        let may = self.told.is_none_or(|told| now.since(told) >= QUIET);
        if may {
            self.told = Some(now);
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
    fn an_outage_is_told_when_it_begins_rarely_while_it_lasts_and_when_it_is_over() {
        let mut outage = Outage::default();
        let mut told = Vec::new();
        // An attempt and ten calls a second, for a little more than two minutes.
        for second in 0..125 {
            told.extend(outage.note_lost(at(second)));
            (0..10).for_each(|_| assert_eq!(outage.note_refused(at(second)), None));
        }
        assert!(outage.lasts());
        assert_eq!(
            told,
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
    fn who_is_told_that_it_begins_is_told_that_it_is_over() {
        let mut outage = Outage::default();
        let begins = Some(Transition::Lost { untold: 0 });
        assert_eq!(outage.note_lost(at(5)), begins);
        assert_eq!(outage.end(at(6)), Some(tally(1, 1, 0)));
    }

    #[test]
    fn calls_alone_bring_it_back_to_mind() {
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
