//! Activity of a connection, and its timeouts.
//!
//! A connection has a single timer; hyper alone would set one for each request head. Per-request
//! updates only change a cell, which is read when the timer fires. Rare updates wake the timer task
//! if it would fire too late.

use std::cell::{Cell, Ref, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

use crate::multiplexed::WorkerPlace;
use crate::options::Options;

/// Turns of the event loop after which a socket with pending data has been read.
const TURNS: usize = 2;

/// Bytes of a request head that are kept.
const HEAD_KEPT: usize = 4 * 1024;

/// Timeouts for the phases of a connection, and for a write without progress.
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

/// The timeout that has expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expired {
    Header,
    Idle,
    Write,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    /// Waiting for a request head, or for the rest of one.
    Head { since: Instant },
    /// Waiting for the first byte of the next request.
    Idle { since: Instant },
    /// A request is being received or answered, which has its own timeouts.
    Request,
}

/// The activity of one connection, shared by its socket, its requests and its timer.
#[derive(Debug, Clone)]
pub(crate) struct Activity(Rc<State>);

#[derive(Debug)]
struct State {
    timeouts: Timeouts,
    phase: Cell<Phase>,
    /// Number of requests being received or answered.
    requests: Cell<usize>,
    /// Requests are multiplexed (HTTP/2): received bytes may belong to any of them, or to none.
    multiplexed: Cell<bool>,
    /// Bytes were received since the last [`Activity::settle`].
    received: Cell<bool>,
    /// The received part of a request head; a part of the body may follow.
    head: RefCell<Vec<u8>>,
    /// When the pending write last made progress.
    blocked: Cell<Option<Instant>>,
    /// When the timer fires; `None` if that is too far in the future.
    fires: Cell<Option<Instant>>,
    sooner: Notify,
}

/// A request being answered; dropped when its response is written or aborted.
#[derive(Debug)]
pub(crate) struct ActiveRequest {
    activity: Activity,
    /// Of a request of a multiplexed connection.
    place: Option<Rc<Place>>,
}

/// Counts a request of a multiplexed connection until it is dropped or released.
#[derive(Debug)]
pub(crate) struct Place {
    activity: Activity,
    /// Its place among the requests of all connections.
    of_worker: RefCell<Option<WorkerPlace>>,
    released: Cell<bool>,
}

impl Place {
    /// The request does not keep the connection open, and makes place for another one.
    pub(crate) fn release(&self) {
        if !self.released.replace(true) {
            drop(self.of_worker.take());
            self.activity.finished();
        }
    }
}

impl ActiveRequest {
    /// The received head, possibly followed by other bytes; empty for a pipelined request and for one
    /// of a multiplexed connection.
    pub(crate) fn head(&self) -> Ref<'_, Vec<u8>> {
        self.activity.0.head.borrow()
    }

    /// Set if the connection has several requests at a time.
    pub(crate) const fn place(&self) -> Option<&Rc<Place>> {
        self.place.as_ref()
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        match &self.place {
            Some(place) => place.release(),
            None => self.activity.finished(),
        }
    }
}

impl Activity {
    /// A new connection, waiting for its first head.
    pub(crate) fn begin(timeouts: Timeouts) -> Self {
        let since = Instant::now();
        Self(Rc::new(State {
            timeouts,
            phase: Cell::new(Phase::Head { since }),
            requests: Cell::new(0),
            multiplexed: Cell::new(false),
            received: Cell::new(false),
            head: RefCell::default(),
            blocked: Cell::new(None),
            fires: Cell::new(None),
            sooner: Notify::new(),
        }))
    }

    /// A request head is complete.
    pub(crate) fn request(&self) -> ActiveRequest {
        self.begun();
        ActiveRequest {
            activity: self.clone(),
            place: None,
        }
    }

    /// A request head of a multiplexed connection is complete.
    pub(crate) fn multiplexed_request(&self, of_worker: Option<WorkerPlace>) -> ActiveRequest {
        self.begun();
        ActiveRequest {
            activity: self.clone(),
            place: Some(Rc::new(Place {
                activity: self.clone(),
                of_worker: RefCell::new(of_worker),
                released: Cell::new(false),
            })),
        }
    }

    fn begun(&self) {
        self.0.requests.set(self.0.requests.get() + 1);
        self.0.phase.set(Phase::Request);
    }

    /// A request is over; after the last one, the connection is idle.
    fn finished(&self) {
        let state = &self.0;
        let left = state.requests.get().saturating_sub(1);
        state.requests.set(left);
        if left == 0 {
            state.received.set(false);
            state.head.borrow_mut().clear();
            let since = Instant::now();
            state.phase.set(Phase::Idle { since });
        }
    }

    /// The connection speaks HTTP/2. Its pings do not keep it open, and a head that is received slowly
    /// must be complete before it counts as idle for too long.
    pub(crate) fn multiplex(&self) {
        self.0.multiplexed.set(true);
    }

    pub(crate) fn is_multiplexed(&self) -> bool {
        self.0.multiplexed.get()
    }

    /// Whether no request is being received or answered.
    pub(crate) fn is_idle(&self) -> bool {
        self.0.requests.get() == 0
    }

    /// Bytes were received.
    pub(crate) fn received(&self, bytes: &[u8]) {
        if self.is_multiplexed() {
            return;
        }
        self.0.received.set(true);
        if !matches!(self.0.phase.get(), Phase::Request) {
            let mut head = self.0.head.borrow_mut();
            let room = HEAD_KEPT.saturating_sub(head.len());
            head.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        }
    }

    /// hyper is idle: received bytes that have not become a request are a part of a head.
    pub(crate) fn settle(&self) {
        if self.0.received.replace(false)
            && let Phase::Idle { .. } = self.0.phase.get()
        {
            let since = Instant::now();
            self.0.phase.set(Phase::Head { since });
            self.fire_within(since, self.0.timeouts.header);
        }
    }

    /// A write is blocked on the client.
    pub(crate) fn blocked(&self) {
        if self.0.blocked.get().is_none() {
            let since = Instant::now();
            self.0.blocked.set(Some(since));
            self.fire_within(since, self.0.timeouts.write);
        }
    }

    /// The client has received data. A connection with a pending write is not idle.
    pub(crate) fn wrote(&self) {
        if self.0.blocked.take().is_some()
            && let Phase::Idle { .. } = self.0.phase.get()
        {
            let since = Instant::now();
            self.0.phase.set(Phase::Idle { since });
        }
    }

    /// Waits until a timeout expires.
    pub(crate) async fn expires(&self) -> Expired {
        let mut rechecked = false;
        loop {
            let (left, expired) = self.remaining();
            if let Some(expired) = expired.filter(|_| left.is_zero()) {
                if rechecked {
                    return expired;
                }
                // After the process was suspended, the timer may be due before pending data has been
                // read: let the socket run first.
                rechecked = true;
                for _ in 0..TURNS {
                    yield_now().await;
                }
                continue;
            }
            rechecked = false;
            // Requests do not wake this task, so it must wake in time for a connection that becomes
            // idle.
            let left = left.min(self.0.timeouts.idle);
            self.0.fires.set(Instant::now().checked_add(left));
            tokio::select! {
                () = sleep(left) => {}
                () = self.0.sooner.notified() => {}
            }
        }
    }

    /// Time until the next timeout of the current state, and that timeout.
    fn remaining(&self) -> (Duration, Option<Expired>) {
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

    /// The timeout that expires within a limit, and after how many seconds.
    async fn expiry(activity: &Activity) -> Option<(Expired, u64)> {
        let start = Instant::now();
        let expired = timeout(1_000 * SECOND, activity.expires()).await.ok()?;
        Some((expired, start.elapsed().as_secs()))
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_head_times_out_from_the_start_of_the_connection() {
        let activity = activity();
        advance(4 * SECOND).await;
        activity.received(b"x");
        activity.settle();
        assert_eq!(expiry(&activity).await, Some((Expired::Header, 6)));
    }

    #[tokio::test(start_paused = true)]
    async fn data_received_while_the_process_was_stopped_is_read_before_a_timeout() {
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
    async fn a_request_being_answered_has_no_timeout() {
        let activity = activity();
        let request = activity.request();
        activity.received(b"x");
        activity.settle();
        assert_eq!(expiry(&activity).await, None);
        drop(request);
        assert_eq!(expiry(&activity).await, Some((Expired::Idle, 100)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_head_times_out_from_its_first_byte() {
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
    async fn a_multiplexed_connection_is_idle_after_its_last_request_whatever_it_sends() {
        let activity = activity();
        activity.multiplex();
        let first = activity.multiplexed_request(None);
        let second = activity.multiplexed_request(None);
        drop(first);
        assert!(!activity.is_idle());
        assert_eq!(expiry(&activity).await, None);
        // A response that the client does not take no longer counts, and is counted once.
        second.place().expect("a place").release();
        assert!(activity.is_idle());
        drop(second);
        activity.received(b"a ping");
        activity.settle();
        assert_eq!(expiry(&activity).await, Some((Expired::Idle, 100)));
    }

    #[tokio::test(start_paused = true)]
    async fn request_bytes_do_not_count_as_the_next_head() {
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
    async fn slow_reads_keep_a_connection_open_until_it_is_idle() {
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
