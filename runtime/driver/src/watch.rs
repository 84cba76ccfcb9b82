//! Detects failed workers.
//!
//! A worker serves as long as its event loop runs, the tasks of its edges run, and its output is
//! delivered to its edges. If one of these fails, its thread may still run and its port still
//! accept connections that nobody answers. So the failure is logged and reported
//! ([`crate::Engine::worker_ended`]), and the engine can be shut down in order.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use thiserror::Error;
use tokio::sync::watch;

/// A worker has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("worker {worker} failed: {reason}")]
pub struct WorkerEnded {
    /// Number of the worker, from 0.
    pub worker: u16,
    /// Reason.
    pub reason: EndReason,
}

/// Why a worker failed. The panic hook reports a panic's message and location.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum EndReason {
    /// Its event loop panicked.
    #[error("its event loop panicked")]
    EventLoopPanicked,
    /// Its event loop returned.
    #[error("its event loop returned before shutdown")]
    EventLoopReturned,
    /// A task spawned with [`crate::Assembly::spawn`] panicked.
    #[error("a task of an edge panicked")]
    TaskPanicked,
    /// An edge panicked while handling frames.
    #[error("an edge panicked while handling frames")]
    EdgePanicked,
}

/// The first worker of an engine that failed.
#[derive(Clone)]
pub(crate) struct FirstEnded(watch::Sender<Option<WorkerEnded>>);

impl Default for FirstEnded {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl FirstEnded {
    pub(crate) async fn wait(&self) -> WorkerEnded {
        let mut receiver = self.0.subscribe();
        match receiver.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(ended)) => *ended,
            // The sender is `self`, and the awaited value is present.
            _ => std::future::pending().await,
        }
    }

    pub(crate) fn get(&self) -> Option<WorkerEnded> {
        *self.0.borrow()
    }

    pub(crate) fn report(&self, ended: WorkerEnded) {
        tracing::error!("{ended}");
        self.0.send_if_modified(|first| {
            let is_first = first.is_none();
            if is_first {
                *first = Some(ended);
            }
            is_first
        });
    }
}

/// Reports failures of one worker.
#[derive(Clone)]
pub(crate) struct Watch(Rc<Watched>);

struct Watched {
    worker: u16,
    first: FirstEnded,
    /// The worker has started, and no failure was reported.
    serves: Cell<bool>,
}

impl Watch {
    pub(crate) fn new(worker: u16, first: FirstEnded) -> Self {
        Self(Rc::new(Watched {
            worker,
            first,
            serves: Cell::new(false),
        }))
    }

    /// The worker has started. Failures before this are errors of the start.
    pub(crate) fn begin(&self) {
        self.0.serves.set(true);
    }

    /// Reports a failure. One panic may be detected in several places; only the first report
    /// counts.
    pub(crate) fn report(&self, reason: EndReason) {
        if self.0.serves.replace(false) {
            let worker = self.0.worker;
            self.0.first.report(WorkerEnded { worker, reason });
        }
    }
}

/// A future has panicked; the panic hook has reported it.
#[derive(Debug)]
pub struct Panicked;

/// Runs a future; a panic in it becomes an error.
///
/// The future is not polled again. The state it shares must tolerate that it stopped halfway.
pub async fn caught<T>(future: impl Future<Output = T>) -> Result<T, Panicked> {
    let mut future = pin!(future);
    std::future::poll_fn(|task| {
        let poll = AssertUnwindSafe(|| future.as_mut().poll(task));
        match catch_unwind(poll) {
            Ok(poll) => poll.map(Ok),
            Err(_) => Poll::Ready(Err(Panicked)),
        }
    })
    .await
}
