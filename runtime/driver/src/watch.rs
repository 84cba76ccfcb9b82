//! Notices that a worker no longer serves.
//!
//! A worker serves as long as its event loop runs, the tasks of its edges run, and what comes out of it
//! reaches its edges. Where one of these breaks, its thread may well live on, and its port accept
//! connections that nobody answers: so it is logged, and the engine tells
//! ([`crate::Engine::worker_ended`]) whoever can stop the rest in order.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use thiserror::Error;
use tokio::sync::watch;

/// A worker no longer serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("worker {worker} no longer serves: {reason}")]
pub struct WorkerEnded {
    /// Which, from 0.
    pub worker: u16,
    /// Why.
    pub reason: EndReason,
}

/// Why a worker no longer serves. A panic's message and place are for the panic hook to report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum EndReason {
    /// Its thread has ended by a panic.
    #[error("its event loop panicked")]
    EventLoopPanicked,
    /// Its thread has ended.
    #[error("its event loop returned before it was told to stop")]
    EventLoopReturned,
    /// A task that must run as long as the worker ([`crate::Assembly::spawn`]) has ended by a panic.
    #[error("a task of an edge panicked")]
    TaskPanicked,
    /// An edge panicked over frames that came out of the worker.
    #[error("an edge panicked over its frames")]
    EdgePanicked,
}

/// The first worker of an engine that no longer serves.
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
            // The sender is `self`, and what was waited for is there.
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

/// One worker's part of the watch.
#[derive(Clone)]
pub(crate) struct Watch(Rc<Watched>);

struct Watched {
    worker: u16,
    first: FirstEnded,
    /// The worker is put together, and was not reported.
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

    /// The worker is put together. What ends it before is an error of the start.
    pub(crate) fn begin(&self) {
        self.0.serves.set(true);
    }

    /// The worker no longer serves. One panic may be noticed in several places: the first one counts.
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

/// Runs a future, and takes a panic in it for its end.
///
/// The future is not polled again; what it shares with others must bear that it stopped halfway.
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
