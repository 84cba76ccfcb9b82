//! What a connection is doing, and how long it may go on.
//!
//! A connection has one timer, whatever it does: hyper would set one for each request's head. What
//! every request changes is one cell, which is looked at when the timer fires; what is rare wakes the
//! timer's task where it would fire too late.

use std::cell::{Cell, Ref, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

use crate::options::Options;

/// After so many turns of the event loop, a socket that has something to read has been read.
const TURNS: usize = 2;

/// How much of a head is kept as it came.
const HEAD_KEPT: usize = 4 * 1024;

/// How long a connection may stay in a phase, or with a write that makes no progress.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeouts {
    pub(crate) header: Duration,
    pub(crate) idle: Duration,
    pub(crate) write: Duration,
}

impl Timeouts {
    pub(crate) const fn of(options: &Options) -> Self {
        Self {
            header: Duration::from_millis(options.header_timeout),
            idle: Duration::from_millis(options.idle_timeout),
            write: Duration::from_millis(options.write_timeout),
        }
    }
}

/// Which of the [`Timeouts`] has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expired {
    Header,
    Idle,
    Write,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    /// A request's head is awaited, or has come in part.
    Head { since: Instant },
    /// Nothing of another request has come.
    Idle { since: Instant },
    /// A request is read, served and answered; that has limits of its own.
    Request,
}

/// The activity of one connection, shared by its socket, its requests and its timer.
#[derive(Debug, Clone)]
pub(crate) struct Activity(Rc<State>);

#[derive(Debug)]
struct State {
    timeouts: Timeouts,
    phase: Cell<Phase>,
    /// Something was read since the last [`Activity::settle`].
    received: Cell<bool>,
    /// What has come of a request's head, as it came; a part of the body may follow.
    head: RefCell<Vec<u8>>,
    /// Since when a pending write has made no progress.
    blocked: Cell<Option<Instant>>,
    /// When the timer fires; `None` if that is too far away to tell.
    fires: Cell<Option<Instant>>,
    sooner: Notify,
}

/// A request that is being answered; dropped when its response is written, or given up.
#[derive(Debug)]
pub(crate) struct ActiveRequest(Activity);

impl ActiveRequest {
    /// The request's head as it came, and maybe more, as far as it is known: not of a pipelined request.
    pub(crate) fn head(&self) -> Ref<'_, Vec<u8>> {
        self.0.0.head.borrow()
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        let state = &self.0.0;
        state.received.set(false);
        state.head.borrow_mut().clear();
        let since = Instant::now();
        state.phase.set(Phase::Idle { since });
    }
}

impl Activity {
    /// A connection that was just accepted: its first head is due.
    pub(crate) fn begin(timeouts: Timeouts) -> Self {
        let since = Instant::now();
        Self(Rc::new(State {
            timeouts,
            phase: Cell::new(Phase::Head { since }),
            received: Cell::new(false),
            head: RefCell::default(),
            blocked: Cell::new(None),
            fires: Cell::new(None),
            sooner: Notify::new(),
        }))
    }

    /// A request's head has come.
    pub(crate) fn request(&self) -> ActiveRequest {
        self.0.phase.set(Phase::Request);
        ActiveRequest(self.clone())
    }

    /// Bytes were read.
    pub(crate) fn received(&self, bytes: &[u8]) {
        self.0.received.set(true);
        if !matches!(self.0.phase.get(), Phase::Request) {
            let mut head = self.0.head.borrow_mut();
            let room = HEAD_KEPT.saturating_sub(head.len());
            head.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        }
    }

    /// hyper has done what it can for now: what was read and made no request is a part of a head.
    pub(crate) fn settle(&self) {
        if self.0.received.replace(false)
            && let Phase::Idle { .. } = self.0.phase.get()
        {
            let since = Instant::now();
            self.0.phase.set(Phase::Head { since });
            self.fire_within(since, self.0.timeouts.header);
        }
    }

    /// A write has to wait for the client.
    pub(crate) fn blocked(&self) {
        if self.0.blocked.get().is_none() {
            let since = Instant::now();
            self.0.blocked.set(Some(since));
            self.fire_within(since, self.0.timeouts.write);
        }
    }

    /// The client has taken something. A connection is not idle before it has taken all.
    pub(crate) fn wrote(&self) {
        if self.0.blocked.take().is_some()
            && let Phase::Idle { .. } = self.0.phase.get()
        {
            let since = Instant::now();
            self.0.phase.set(Phase::Idle { since });
        }
    }

    /// Waits until a timeout has passed.
    pub(crate) async fn expires(&self) -> Expired {
        let mut looked = false;
        loop {
            let (left, expired) = self.left();
            if let Some(expired) = expired.filter(|_| left.is_zero()) {
                if looked {
                    return expired;
                }
                // A process that was stopped for a while finds the timer due before it has read what
                // came meanwhile: the socket has its turn first.
                looked = true;
                for _ in 0..TURNS {
                    yield_now().await;
                }
                continue;
            }
            looked = false;
            // No request wakes this task: none may become idle, and remain so, while it sleeps.
            let left = left.min(self.0.timeouts.idle);
            self.0.fires.set(Instant::now().checked_add(left));
            tokio::select! {
                () = sleep(left) => {}
                () = self.0.sooner.notified() => {}
            }
        }
    }

    /// How long it may go on as it does, and what will have expired then.
    fn left(&self) -> (Duration, Option<Expired>) {
        let Timeouts {
            header,
            idle,
            write,
        } = self.0.timeouts;
        let (since, timeout, expired) = match (self.0.blocked.get(), self.0.phase.get()) {
            (Some(since), _) => (since, write, Expired::Write),
            (None, Phase::Head { since }) => (since, header, Expired::Header),
            (None, Phase::Idle { since }) => (since, idle, Expired::Idle),
            (None, Phase::Request) => return (idle, None),
        };
        (timeout.saturating_sub(since.elapsed()), Some(expired))
    }

    fn fire_within(&self, since: Instant, timeout: Duration) {
        let (due, fires) = (since.checked_add(timeout), self.0.fires.get());
        if due.is_some_and(|due| fires.is_none_or(|fires| due < fires)) {
            self.0.sooner.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use tokio::time::{advance, timeout};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn activity() -> Activity {
        Activity::begin(Timeouts {
            header: 10 * SECOND,
            idle: 100 * SECOND,
            write: 20 * SECOND,
        })
    }

    /// What expires within a time, and after how many seconds.
    async fn expiry(activity: &Activity) -> Option<(Expired, u64)> {
        let start = Instant::now();
        let expired = timeout(1_000 * SECOND, activity.expires()).await.ok()?;
        Some((expired, start.elapsed().as_secs()))
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_head_is_due_from_the_connections_start() {
        let activity = activity();
        advance(4 * SECOND).await;
        activity.received(b"x");
        activity.settle();
        assert_eq!(expiry(&activity).await, Some((Expired::Header, 6)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_came_while_the_process_was_stopped_is_read_before_the_timeout_counts() {
        let activity = activity();
        drop(activity.request());
        let mut expires = pin!(activity.expires());
        let mut task = Context::from_waker(Waker::noop());
        assert!(expires.as_mut().poll(&mut task).is_pending());
        advance(200 * SECOND).await;
        assert!(expires.as_mut().poll(&mut task).is_pending());
        activity.received(b"x");
        activity.settle();
        let start = Instant::now();
        assert_eq!(expires.await, Expired::Header);
        assert_eq!(start.elapsed().as_secs(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_takes_as_long_as_it_takes() {
        let activity = activity();
        let request = activity.request();
        activity.received(b"x");
        activity.settle();
        assert_eq!(expiry(&activity).await, None);
        drop(request);
        assert_eq!(expiry(&activity).await, Some((Expired::Idle, 100)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_head_is_due_from_its_first_byte() {
        let activity = activity();
        drop(activity.request());
        let watched = activity.clone();
        let dripping = async move {
            loop {
                sleep(7 * SECOND).await;
                activity.received(b"x");
                activity.settle();
            }
        };
        tokio::select! {
            () = dripping => {}
            expired = expiry(&watched) => assert_eq!(expired, Some((Expired::Header, 17))),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_read_of_a_request_is_no_part_of_the_next_head() {
        let activity = activity();
        let request = activity.request();
        activity.received(b"x");
        drop(request);
        activity.settle();
        assert_eq!(expiry(&activity).await, Some((Expired::Idle, 100)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_blocked_write_expires_during_a_request_and_after_it() {
        let activity = activity();
        let request = activity.request();
        let watched = activity.clone();
        let blocking = async {
            sleep(5 * SECOND).await;
            activity.blocked();
            sleep(5 * SECOND).await;
            activity.blocked();
            drop(request);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = blocking => {}
            expired = expiry(&watched) => assert_eq!(expired, Some((Expired::Write, 25))),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_a_little_in_time_stays_and_is_idle_when_it_has_all() {
        let activity = activity();
        drop(activity.request());
        let watched = activity.clone();
        let reading = async {
            for _ in 0..20 {
                activity.blocked();
                sleep(19 * SECOND).await;
                activity.wrote();
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = reading => {}
            expired = expiry(&watched) => assert_eq!(expired, Some((Expired::Idle, 20 * 19 + 100))),
        }
    }
}
