//! What the log says of a broker that is lost: when an outage begins, rarely while it lasts, and when it
//! is over; not once for each attempt and each call that fails.
//!
//! An outage begins with a connection that is lost or cannot be made, and is over when the broker
//! accepts one. Outages that follow each other within [`QUIET`] are counted, and the next line tells how
//! many there were.

use tidegate_engine::{Duration, Time};

use super::failure::Failure;

/// How often the log tells of it at the most.
const QUIET: Duration = Duration::from_secs(60);

/// The broker's outages.
#[derive(Debug, Default)]
pub(super) struct Outage {
    current: Option<Current>,
    /// When the log was last told of one.
    told: Option<Time>,
    /// Those that began since, of which the log knows nothing.
    untold: u32,
}

#[derive(Debug)]
struct Current {
    since: Time,
    told: bool,
    /// Connections that were lost or could not be made.
    connections: u32,
    /// Calls that were refused without an attempt.
    calls: u32,
}

/// A line for the log.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    /// An outage has begun, and so many before it that the log does not know of.
    Begun { untold: u32 },
    /// It lasts.
    Lasts {
        seconds: u64,
        connections: u32,
        calls: u32,
    },
    /// It is over.
    Over {
        seconds: u64,
        connections: u32,
        calls: u32,
    },
}

impl Outage {
    /// A connection with so many streams is lost, or could not be made.
    pub(super) fn lost(&mut self, now: Time, failure: &Failure, streams: usize) {
        let (code, reason) = (failure.code.0, &failure.reason);
        match self.note(now) {
            Some(Line::Begun { untold: 0 }) => {
                tracing::warn!(code, streams, "a connection to a broker is lost: {reason}");
            }
            Some(Line::Begun { untold }) => {
                tracing::warn!(
                    code,
                    streams,
                    untold,
                    "a connection to a broker is lost again: {reason}"
                );
            }
            Some(Line::Lasts {
                seconds,
                connections,
                calls,
            }) => {
                tracing::warn!(
                    code,
                    connections,
                    calls,
                    "the broker has not been connected for {seconds} s: {reason}"
                );
            }
            Some(Line::Over { .. }) | None => {}
        }
    }

    /// A call was refused without an attempt.
    pub(super) const fn refused(&mut self) {
        if let Some(current) = &mut self.current {
            current.calls = current.calls.saturating_add(1);
        }
    }

    /// The broker has accepted a connection.
    pub(super) fn over(&mut self, now: Time, remote: &str) {
        if let Some(Line::Over {
            seconds,
            connections,
            calls,
        }) = self.end(now)
        {
            tracing::info!(
                connections,
                calls,
                "the broker {remote} is connected again, {seconds} s after it was lost"
            );
        }
    }

    fn note(&mut self, now: Time) -> Option<Line> {
        let loud = self.told.is_none_or(|told| now.since(told) >= QUIET);
        let Some(current) = &mut self.current else {
            self.current = Some(Current {
                since: now,
                told: loud,
                connections: 1,
                calls: 0,
            });
            if !loud {
                self.untold = self.untold.saturating_add(1);
                return None;
            }
            self.told = Some(now);
            let untold = std::mem::take(&mut self.untold);
            return Some(Line::Begun { untold });
        };
        current.connections = current.connections.saturating_add(1);
        if !loud {
            return None;
        }
        self.told = Some(now);
        current.told = true;
        Some(Line::Lasts {
            seconds: seconds(now.since(current.since)),
            connections: current.connections,
            calls: current.calls,
        })
    }

    fn end(&mut self, now: Time) -> Option<Line> {
        let current = self.current.take()?;
        current.told.then(|| Line::Over {
            seconds: seconds(now.since(current.since)),
            connections: current.connections,
            calls: current.calls,
        })
    }
}

const fn seconds(duration: Duration) -> u64 {
    duration.as_micros().div_ceil(1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Time {
        Time::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn an_outage_is_told_when_it_begins_rarely_while_it_lasts_and_when_it_is_over() {
        let mut outage = Outage::default();
        let mut lines = Vec::new();
        // An attempt and ten calls a second, for a little more than two minutes.
        for second in 0..125 {
            lines.extend(outage.note(at(second)));
            (0..10).for_each(|_| outage.refused());
        }
        lines.extend(outage.end(at(125)));
        let lasts = |seconds, connections, calls| Line::Lasts {
            seconds,
            connections,
            calls,
        };
        assert_eq!(
            lines,
            [
                Line::Begun { untold: 0 },
                lasts(60, 61, 600),
                lasts(120, 121, 1_200),
                Line::Over {
                    seconds: 125,
                    connections: 125,
                    calls: 1_250
                },
            ]
        );
        assert_eq!(outage.end(at(126)), None);
    }

    #[test]
    fn outages_that_follow_each_other_are_counted() {
        let mut outage = Outage::default();
        let mut lines = Vec::new();
        for round in 0..25 {
            lines.extend(outage.note(at(3 * round)));
            lines.extend(outage.end(at(3 * round)));
        }
        assert_eq!(lines.len(), 4, "{lines:?}");
        assert_eq!(lines.get(2), Some(&Line::Begun { untold: 19 }));
    }
}
