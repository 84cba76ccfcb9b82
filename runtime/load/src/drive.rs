//! One round of calls: closed loop, each caller's next call behind its last; or on a schedule that
//! does not wait for anybody.
//!
//! On a schedule, a latency is taken from the moment at which the call was to be made, not from the
//! one at which a caller was free to make it: a server that stalls is charged with every call that
//! it held up (coordinated omission). Calls that are still waiting when the round is given up count
//! with the time that they have waited so far, and are told apart as unserved.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::caller::Caller;
use crate::measure::{Tally, figure};
use crate::pace::Pace;

/// How long a caller waits behind a failure, so that a server that is gone is not asked a million
/// times.
const AFTER_FAILURE: Duration = Duration::from_millis(10);

/// Something that can be called again and again.
pub(crate) trait Work: Send + 'static {
    /// One call; an error in words that can be shown.
    fn call(&mut self) -> impl Future<Output = Result<(), String>> + Send;
}

impl Work for Caller {
    fn call(&mut self) -> impl Future<Output = Result<(), String>> + Send {
        Self::call(self)
    }
}

type Shared = Arc<Mutex<Tally>>;

fn with<T>(tally: &Shared, change: impl FnOnce(&mut Tally) -> T) -> T {
    change(&mut tally.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Every caller calls, again and again, for a while. The callers come back.
pub(crate) async fn closed<W: Work>(callers: Vec<W>, duration: Duration) -> (Vec<W>, Tally) {
    let tally = Shared::default();
    let mut tasks = JoinSet::new();
    for mut caller in callers {
        let tally = Arc::clone(&tally);
        tasks.spawn(async move {
            let start = Instant::now();
            let mut now = start;
            let mut calls = 0_u32;
            while now < start + duration {
                let outcome = caller.call().await;
                let end = Instant::now();
                let failed = outcome.is_err();
                calls += u32::from(!failed);
                with(&tally, |tally| tally.record(end - now, outcome));
                if failed {
                    sleep(AFTER_FAILURE).await;
                }
                now = Instant::now();
            }
            // Each caller's own time: the slowest call of one takes nothing from the others' rate.
            let rate = f64::from(calls) / (now - start).as_secs_f64();
            with(&tally, |tally| tally.rate += rate);
            caller
        });
    }
    let callers = joined(&mut tasks).await;
    (callers, taken(&tally))
}

/// When the calls of a round are to be made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    start: Instant,
    /// Calls a second.
    rate: f64,
    /// How many calls.
    total: u64,
}

impl Schedule {
    pub(crate) fn new(start: Instant, rate: f64, duration: Duration) -> Self {
        let total = whole(rate * duration.as_secs_f64()).max(1);
        Self { start, rate, total }
    }

    /// When a call is to be made.
    pub(crate) fn intended(&self, call: u64) -> Instant {
        self.start + Duration::from_secs_f64(figure(call) / self.rate)
    }

    /// How many calls are to be made by now.
    pub(crate) fn due(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.start).as_secs_f64();
        (whole(elapsed * self.rate) + 1).min(self.total)
    }

    pub(crate) const fn total(&self) -> u64 {
        self.total
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count that is not negative; beyond all counts it stays at the largest"
)]
fn whole(count: f64) -> u64 {
    count as u64
}

/// Calls on a schedule, by the first caller that is free. The callers come back.
pub(crate) async fn scheduled<W: Work>(
    callers: Vec<W>,
    rate: f64,
    duration: Duration,
    pace: &mut impl Pace,
) -> (Vec<W>, Tally) {
    let tally = Shared::default();
    let released = Arc::new(Semaphore::new(0));
    let next = Arc::new(AtomicU64::new(0));
    let schedule = Schedule::new(Instant::now(), rate, duration);
    let count = callers.len();
    let mut tasks = JoinSet::new();
    for mut caller in callers {
        let (tally, released, next) =
            (Arc::clone(&tally), Arc::clone(&released), Arc::clone(&next));
        tasks.spawn(async move {
            while let Ok(permit) = released.acquire().await {
                permit.forget();
                let call = next.fetch_add(1, Ordering::Relaxed);
                if call >= schedule.total() {
                    break;
                }
                let outcome = caller.call().await;
                let latency = Instant::now() - schedule.intended(call);
                with(&tally, |tally| tally.record(latency, outcome));
            }
            caller
        });
    }
    let mut out = 0;
    while out < schedule.total() {
        pace.until(schedule.intended(out)).await;
        let due = schedule.due(Instant::now()).max(out + 1);
        released.add_permits(usize::try_from(due - out).unwrap_or_default());
        out = due;
    }
    // One more for each, which tells it that there is no further call.
    released.add_permits(count);
    let mut callers = Vec::with_capacity(count);
    let served = async {
        while let Some(caller) = tasks.join_next().await {
            callers.extend(caller);
        }
    };
    if timeout(duration, served).await.is_err() {
        released.close();
        let now = Instant::now();
        for call in next.load(Ordering::Relaxed)..schedule.total() {
            let waited = now - schedule.intended(call);
            with(&tally, |tally| tally.unserved(waited));
        }
        callers.extend(joined(&mut tasks).await);
    }
    let elapsed = schedule.start.elapsed().max(duration).as_secs_f64();
    let mut tally = taken(&tally);
    tally.rate = figure(tally.calls()) / elapsed;
    (callers, tally)
}

/// Waits for callers; one that panicked does not come back.
async fn joined<W: Work>(tasks: &mut JoinSet<W>) -> Vec<W> {
    let mut callers = Vec::new();
    while let Some(caller) = tasks.join_next().await {
        callers.extend(caller);
    }
    callers
}

fn taken(tally: &Shared) -> Tally {
    with(tally, std::mem::take)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pace::Coarse;

    /// Answers after `usual`, but its call `stall` takes `stalled`.
    struct Server {
        calls: u32,
        usual: Duration,
        stall: u32,
        stalled: Duration,
    }

    impl Work for Server {
        async fn call(&mut self) -> Result<(), String> {
            let takes = if self.calls == self.stall {
                self.stalled
            } else {
                self.usual
            };
            self.calls += 1;
            sleep(takes).await;
            if self.usual.is_zero() {
                return Err("no".to_owned());
            }
            Ok(())
        }
    }

    fn server(usual: u64, stall: u32, stalled: u64) -> Vec<Server> {
        vec![Server {
            calls: 0,
            usual: Duration::from_millis(usual),
            stall,
            stalled: Duration::from_millis(stalled),
        }]
    }

    const SECOND: Duration = Duration::from_secs(1);

    fn millis(tally: &Tally, quantile: f64) -> u64 {
        tally.histogram.value_at_quantile(quantile) / 1_000_000
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_loop_forgives_a_stall_and_a_schedule_does_not() {
        // 1 ms a call, and one call of 500 ms.
        let (_, tally) = closed(server(1, 10, 500), SECOND).await;
        assert_eq!(tally.errors, 0);
        assert!(tally.calls() > 400);
        assert!(millis(&tally, 0.99) <= 2);

        // 100 calls a second: 50 of them are due during the stall, and wait for its end.
        let (_, tally) = scheduled(server(1, 10, 500), 100.0, SECOND, &mut Coarse).await;
        assert_eq!((tally.calls(), tally.unserved), (100, 0));
        assert!(
            (400..=520).contains(&millis(&tally, 0.90)),
            "{}",
            millis(&tally, 0.90)
        );
        assert!(
            (150..=350).contains(&millis(&tally, 0.70)),
            "{}",
            millis(&tally, 0.70)
        );
        assert!(millis(&tally, 0.30) <= 3, "{}", millis(&tally, 0.30));
    }

    #[tokio::test(start_paused = true)]
    async fn calls_that_are_never_made_count_with_what_they_waited() {
        // 100 ms a call where 100 a second are asked for: 20 in twice the time.
        let (callers, tally) = scheduled(server(100, 0, 100), 100.0, SECOND, &mut Coarse).await;
        assert_eq!(callers.len(), 1);
        assert!((18..=21).contains(&tally.calls()), "{}", tally.calls());
        assert_eq!(tally.calls() + tally.unserved, 100);
        assert!(millis(&tally, 0.5) >= 1_000);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_are_counted_and_no_calls() {
        let (callers, tally) = closed(server(0, 0, 0), SECOND).await;
        assert_eq!(callers.len(), 1);
        assert_eq!(
            (tally.calls(), tally.first_error.as_deref()),
            (0, Some("no"))
        );
        assert!((50..=101).contains(&tally.errors), "{}", tally.errors);
        assert!(tally.rate.abs() < f64::EPSILON);
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_is_that_of_all_callers_together() {
        let callers = server(10, 0, 10)
            .into_iter()
            .chain(server(20, 0, 20))
            .collect();
        let (_, tally) = closed(callers, SECOND).await;
        assert!((140.0..=151.0).contains(&tally.rate), "{}", tally.rate);
    }
}
