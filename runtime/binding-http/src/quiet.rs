//! For how long a connection has asked for nothing.
//!
//! hyper would set a timer anew for each request's head; this is one timer for a connection, which is
//! looked at when it fires.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Since when nothing is being answered on a connection; `None` while something is.
#[derive(Debug, Clone)]
pub(crate) struct Quiet(Rc<Cell<Option<Instant>>>);

/// A request that is being answered; dropped when its response is written, or given up.
#[derive(Debug)]
pub(crate) struct Busy(Quiet);

impl Quiet {
    /// A connection that was just made.
    pub(crate) fn now() -> Self {
        Self(Rc::new(Cell::new(Some(Instant::now()))))
    }

    /// A request has come.
    pub(crate) fn busy(&self) -> Busy {
        self.0.set(None);
        Busy(self.clone())
    }

    /// Waits until nothing was asked for `patience`.
    pub(crate) async fn lasts(&self, patience: Duration) {
        loop {
            let left = match self.0.get() {
                Some(since) => patience.saturating_sub(since.elapsed()),
                None => patience,
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
        self.0.0.set(Some(Instant::now()));
    }
}
