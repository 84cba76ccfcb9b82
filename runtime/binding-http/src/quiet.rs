//! When a connection is to end: the engine stops, or nothing was asked on it for long enough.
//!
//! hyper would set a timer anew for each request's head; this is one timer for a connection, which is
//! looked at when it fires. A task of its own waits for it, so that the connection's task, which every
//! request wakes several times, looks at one cell.

use std::cell::Cell;
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

/// What a connection is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said {
    /// To finish what it answers, and close.
    Stop,
    /// To close at once.
    Leave,
}

/// What a connection will be told, as long as it is there to be told.
pub(crate) struct Word {
    told: Rc<Told>,
    task: AbortHandle,
}

#[derive(Default)]
struct Told {
    said: Cell<Option<Said>>,
    waker: Cell<Option<Waker>>,
}

impl Word {
    /// Waits for a stop, and for a connection that is quiet for `patience`.
    pub(crate) fn awaited(
        mut stopping: watch::Receiver<bool>,
        quiet: Quiet,
        patience: Duration,
    ) -> Self {
        let told = Rc::<Told>::default();
        let say = Rc::clone(&told);
        let task = tokio::task::spawn_local(async move {
            let said = tokio::select! {
                _ = stopping.wait_for(|stopping| *stopping) => Said::Stop,
                () = quiet.lasts(patience) => Said::Leave,
            };
            say.said.set(Some(said));
            if let Some(waker) = say.waker.take() {
                waker.wake();
            }
        });
        Self {
            told,
            task: task.abort_handle(),
        }
    }

    /// What is said, once; `task` is woken when it is.
    pub(crate) fn said(&self, task: &Context<'_>) -> Option<Said> {
        let said = self.told.said.take();
        if said.is_none() {
            let waker = match self.told.waker.take() {
                Some(waker) if waker.will_wake(task.waker()) => waker,
                _ => task.waker().clone(),
            };
            self.told.waker.set(Some(waker));
        }
        said
    }
}

impl Drop for Word {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// For how long nothing has happened on a connection.
#[derive(Debug, Clone)]
pub(crate) struct Quiet(Rc<Since>);

#[derive(Debug)]
struct Since {
    /// Since when nothing is being answered; `None` while something is.
    last: Cell<Option<Instant>>,
    /// The client does not take what was written for it.
    stuck: Cell<bool>,
}

/// A request that is being answered; dropped when its response is written, or given up.
#[derive(Debug)]
pub(crate) struct Busy(Quiet);

impl Quiet {
    /// A connection that was just made.
    pub(crate) fn now() -> Self {
        Self(Rc::new(Since {
            last: Cell::new(Some(Instant::now())),
            stuck: Cell::new(false),
        }))
    }

    /// A request has come.
    pub(crate) fn busy(&self) -> Busy {
        self.0.last.set(None);
        Busy(self.clone())
    }

    /// Whether the client does not take what is written. That it took the rest is an event.
    pub(crate) fn stuck(&self, stuck: bool) {
        if self.0.stuck.replace(stuck) && !stuck && self.0.last.get().is_some() {
            self.0.last.set(Some(Instant::now()));
        }
    }

    /// Waits until nothing was asked for `patience`.
    pub(crate) async fn lasts(&self, patience: Duration) {
        loop {
            let left = match self.0.last.get() {
                Some(last) if !self.0.stuck.get() => patience.saturating_sub(last.elapsed()),
                _ => patience,
            };
            if left.is_zero() {
                return;
            }
            sleep(left).await;
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.0.last.set(Some(Instant::now()));
    }
}
