//! Signals a connection to close, because the engine stops or a timeout has expired.
//!
//! A separate task waits for both, so that the connection's task, which every request wakes several
//! times, only reads two cells.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};

use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::activity::{Activity, Expired};

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
            self.stopping.set(true);
            self.wake();
            std::future::pending().await
        };
        let expired = tokio::select! {
            never = stop => never,
            expired = activity.expires() => expired,
        };
        self.expired.set(Some(expired));
        self.wake();
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
