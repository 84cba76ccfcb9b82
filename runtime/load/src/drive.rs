//! One round of calls: a closed loop, where each caller calls again after its response, or an open loop
//! on a schedule.
//!
//! On a schedule, latency is measured from the scheduled start of a call, not from the time when a caller
//! became free: a stall delays all following calls, and they all count (no coordinated omission). Calls
//! that were not made when the round ends count with their waiting time and are reported as unserved.

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

/// Delay after a failed call, so that an unreachable server does not cause a busy loop.
const AFTER_FAILURE: Duration = Duration::from_millis(10);

/// A caller that can be driven: [`Caller`], or a simulation in tests.
pub(crate) trait Callable: Send + 'static {
    /// Makes one call; errors are messages for the report.
    fn call(&mut self) -> impl Future<Output = Result<(), String>> + Send;
}

impl Callable for Caller {
    fn call(&mut self) -> impl Future<Output = Result<(), String>> + Send {
        Self::call(self)
    }
}

type Shared = Arc<Mutex<Tally>>;

fn with<T>(tally: &Shared, change: impl FnOnce(&mut Tally) -> T) -> T {
    change(&mut tally.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Closed loop: every caller calls repeatedly for `duration`. Returns the callers.
pub(crate) async fn closed<C: Callable>(callers: Vec<C>, duration: Duration) -> (Vec<C>, Tally) {
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
            // Use the time of each caller: a slow last call of one must not lower the rate of the others.
            let rate = f64::from(calls) / (now - start).as_secs_f64();
            with(&tally, |tally| tally.rate += rate);
            caller
        });
    }
    let callers = joined(&mut tasks).await;
    (callers, taken(&tally))
}

/// The schedule of a round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    start: Instant,
    /// Calls per second.
    rate: f64,
    /// Number of calls.
    total: u64,
}

impl Schedule {
    pub(crate) fn new(start: Instant, rate: f64, duration: Duration) -> Self {
        let total = whole(rate * duration.as_secs_f64()).max(1);
        Self { start, rate, total }
    }

    /// Scheduled start of a call.
    pub(crate) fn intended(&self, call: u64) -> Instant {
        self.start + Duration::from_secs_f64(figure(call) / self.rate)
    }

    /// Number of calls that are due.
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
    reason = "the count is not negative, and the cast saturates"
)]
fn whole(count: f64) -> u64 {
    count as u64
}

/// Open loop: each scheduled call is made by the first free caller. Returns the callers.
pub(crate) async fn scheduled<C: Callable>(
    callers: Vec<C>,
    rate: f64,
    duration: Duration,
    pace: &mut impl Pace,
) -> (Vec<C>, Tally) {
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
    // One more permit for each caller, to end its loop.
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

/// Waits for the callers; drops those that panicked.
async fn joined<C: Callable>(tasks: &mut JoinSet<C>) -> Vec<C> {
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

    /// Responds after `usual`, but call number `stall` takes `stalled`.
    struct Server {
        calls: u32,
        usual: Duration,
        stall: u32,
        stalled: Duration,
    }

    impl Callable for Server {
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
    async fn a_stall_counts_once_in_a_closed_loop_and_fully_on_a_schedule() {
        // 1 ms per call, one call takes 500 ms.
        let (_, tally) = closed(server(1, 10, 500), SECOND).await;
        assert_eq!(tally.errors, 0);
        assert!(tally.calls() > 400);
        assert!(millis(&tally, 0.99) <= 2);

        // 100 calls per second: 50 of them are due during the stall and wait until it ends.
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
    async fn unserved_calls_count_with_their_waiting_time() {
        // 100 ms per call at 100 calls per second: 20 calls in twice the time.
        let (callers, tally) = scheduled(server(100, 0, 100), 100.0, SECOND, &mut Coarse).await;
        assert_eq!(callers.len(), 1);
        assert!((18..=21).contains(&tally.calls()), "{}", tally.calls());
        assert_eq!(tally.calls() + tally.unserved, 100);
        assert!(millis(&tally, 0.5) >= 1_000);
    }

    #[tokio::test(start_paused = true)]
    async fn failed_calls_do_not_count_as_calls() {
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
