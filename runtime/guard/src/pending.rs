//! The answer to a credential that takes longer, as a future that needs no particular runtime.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tidegate_streams::Identity;

use crate::check::Refusal;

/// An identity, or why there is none.
pub(crate) type Outcome = Result<Arc<Identity>, Refusal>;

#[derive(Default)]
struct State {
    outcome: Option<Outcome>,
    waker: Option<Waker>,
}

type Shared = Arc<Mutex<State>>;

fn lock(shared: &Shared) -> MutexGuard<'_, State> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The answer to come. It comes in a bounded time, whatever happens to the work behind it; dropping it
/// says that nobody waits any more.
pub struct Pending(Shared);

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pending")
    }
}

impl Future for Pending {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let mut state = lock(&self.0);
        if let Some(outcome) = state.outcome.take() {
            return Poll::Ready(outcome);
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// The other end of a [`Pending`].
pub(crate) struct Answer(Shared);

/// A pair of ends.
pub(crate) fn pending() -> (Answer, Pending) {
    let shared = Shared::default();
    (Answer(Arc::clone(&shared)), Pending(shared))
}

impl Answer {
    /// Whether somebody still waits for it.
    pub(crate) fn is_awaited(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    pub(crate) fn give(self, outcome: Outcome) {
        self.put(outcome);
    }

    fn put(&self, outcome: Outcome) {
        let mut state = lock(&self.0);
        state.outcome.get_or_insert(outcome);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Drop for Answer {
    /// Work that is dropped instead of done still answers.
    fn drop(&mut self) {
        if self.is_awaited() {
            self.put(Err(Refusal::Unavailable("the check was interrupted")));
        }
    }
}

/// Polls once; for tests, which run the work themselves.
#[cfg(test)]
pub(crate) fn now(mut pending: Pending) -> Result<Outcome, Pending> {
    let mut cx = Context::from_waker(Waker::noop());
    match Pin::new(&mut pending).poll(&mut cx) {
        Poll::Ready(outcome) => Ok(outcome),
        Poll::Pending => Err(pending),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn an_answer_wakes_who_waits() {
        let (answer, mut pending) = pending();
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&count));
        let mut cx = Context::from_waker(&waker);
        assert!(Pin::new(&mut pending).poll(&mut cx).is_pending());
        answer.give(Err(Refusal::Expired));
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        let polled = Pin::new(&mut pending).poll(&mut cx);
        assert_eq!(polled, Poll::Ready(Err(Refusal::Expired)));
    }

    #[test]
    fn work_that_is_dropped_answers_and_an_answer_knows_whether_it_is_awaited() {
        let (answer, waiting) = pending();
        assert!(answer.is_awaited());
        drop(answer);
        let outcome = now(waiting).expect("an answer");
        assert_eq!(outcome.map_err(Refusal::word), Err("unavailable"));
        let (answer, waiting) = pending();
        drop(waiting);
        assert!(!answer.is_awaited());
    }
}
