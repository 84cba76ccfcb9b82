//! Signals a connection to close, because the engine stops or a timeout has expired.
//!
//! A separate task waits for both, so that the connection's task, which every request wakes several
//! times, only reads two cells.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::sleep;

use crate::activity::{Activity, Expired};

/// How long a multiplexed connection without requests waits for its client before it is closed.
const FAREWELL: Duration = Duration::from_millis(500);

/// Why a connection must close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Close {
    /// The engine stops: finish the response being sent.
    Graceful,
    /// A timeout has expired.
    Expired(Expired),
}

/// The close signals of one connection, while it exists.
pub(crate) struct CloseSignal {
    raised: Rc<Raised>,
    task: AbortHandle,
}

#[derive(Default)]
struct Raised {
    /// Whether one of the next two is set.
    any: Cell<bool>,
    stopping: Cell<bool>,
    /// A graceful end has been signalled.
    finishing: Cell<bool>,
    expired: Cell<Option<Expired>>,
    waker: RefCell<Option<Waker>>,
}

impl Raised {
    fn wake(&self) {
        self.any.set(true);
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    fn take(&self) -> Option<Close> {
        if self.stopping.take() {
            return Some(Close::Graceful);
        }
        self.any.set(false);
        self.expired.take().map(Close::Expired)
    }

    /// Sets the task to wake; usually it is already set.
    fn register(&self, waker: &Waker) {
        let mut registered = self.waker.borrow_mut();
        match &mut *registered {
            Some(registered) => registered.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }

    async fn watch(self: Rc<Self>, mut stopping: watch::Receiver<bool>, activity: Activity) {
        let stop = async {
            let _ = stopping.wait_for(|stopping| *stopping).await;
            self.finish();
            farewell(&activity).await
        };
        let expired = tokio::select! {
            expired = stop => expired,
            expired = activity.expires() => expired,
        };
        let expired = match expired {
            Expired::Idle if activity.is_multiplexed() && !self.finishing.get() => {
                self.finish();
                tokio::select! {
                    expired = farewell(&activity) => expired,
                    expired = write_expires(&activity) => expired,
                }
            }
            expired => expired,
        };
        self.expired.set(Some(expired));
        self.wake();
    }

    fn finish(&self) {
        self.finishing.set(true);
        self.stopping.set(true);
        self.wake();
    }
}

/// Waits until a multiplexed connection that ends gracefully has no request for [`FAREWELL`]: hyper
/// announces the end, and then waits for the client, which may not read while it has no request.
async fn farewell(activity: &Activity) -> Expired {
    if !activity.is_multiplexed() {
        return std::future::pending().await;
    }
    loop {
        sleep(FAREWELL).await;
        if activity.is_idle() {
            return Expired::Idle;
        }
    }
}

/// Waits until a write is blocked for too long. The other timeouts do not matter any more.
async fn write_expires(activity: &Activity) -> Expired {
    loop {
        let expired = activity.expires().await;
        if expired == Expired::Write {
            return expired;
        }
        sleep(FAREWELL).await;
    }
}

impl CloseSignal {
    /// Starts waiting for a stop and for timeouts.
    pub(crate) fn spawn(stopping: watch::Receiver<bool>, activity: Activity) -> Self {
        let raised = Rc::<Raised>::default();
        let watch = Rc::clone(&raised).watch(stopping, activity);
        Self {
            raised,
            task: tokio::task::spawn_local(watch).abort_handle(),
        }
    }

    /// Runs a future until it is ready or the connection must close, however it must.
    pub(crate) async fn unless_closed<T>(
        &self,
        future: impl Future<Output = T>,
    ) -> Result<T, Close> {
        let mut future = pin!(future);
        poll_fn(|task| {
            if let Some(close) = self.take(task) {
                return Poll::Ready(Err(close));
            }
            future.as_mut().poll(task).map(Ok)
        })
        .await
    }

    /// Takes the next signal, each once; `task` is woken by the next one.
    pub(crate) fn take(&self, task: &Context<'_>) -> Option<Close> {
        self.raised.register(task.waker());
        if self.raised.any.get() {
            self.raised.take()
        } else {
            None
        }
    }
}

impl Drop for CloseSignal {
    fn drop(&mut self) {
        self.task.abort();
    }
}
