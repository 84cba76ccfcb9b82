//! Tells a connection to close: the engine stops, or the connection has taken too long.
//!
//! A task of its own waits for either, so that the connection's task, which every request wakes
//! several times, looks at two cells.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};

use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::activity::{Activity, Expired};

/// Why a connection is to close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Close {
    /// The engine stops: what is being answered is finished.
    Graceful,
    /// A timeout has passed.
    Expired(Expired),
}

/// The signals to one connection, for as long as that exists.
pub(crate) struct CloseSignal {
    raised: Rc<Raised>,
    task: AbortHandle,
}

#[derive(Default)]
struct Raised {
    /// One of the next two is.
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

    /// Remembers whom to wake, which is nearly always known.
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
    /// Waits for a stop and for timeouts.
    pub(crate) fn spawn(stopping: watch::Receiver<bool>, activity: Activity) -> Self {
        let raised = Rc::<Raised>::default();
        let watch = Rc::clone(&raised).watch(stopping, activity);
        Self {
            raised,
            task: tokio::task::spawn_local(watch).abort_handle(),
        }
    }

    /// Takes a signal that was raised, each once; `task` is woken by the next.
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
