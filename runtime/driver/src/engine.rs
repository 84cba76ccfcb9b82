//! All workers together: start, figures, stop.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use thiserror::Error;
use tidegate_engine::{Counters, Limits, Measures};
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::sync::{Notify, oneshot};
use tokio::time::sleep;

use crate::assembly::{Assembly, Stop};
use crate::descriptors::Descriptors;
use crate::reports::Reports;
use crate::thread::{Command, Stopped, WorkerSetup, run};
use crate::watch::{EndReason, FirstEnded, WorkerEnded};

/// How long a worker may take to end when its time is over, before it is left behind.
const GRACE: Duration = Duration::from_secs(2);

/// Puts one worker together.
pub(crate) type Build = Arc<dyn Fn(&mut Assembly) -> Result<(), StartError> + Send + Sync>;

/// The engine could not be started.
#[derive(Debug, Error)]
pub enum StartError {
    /// There is no thread, event loop or entropy to be had.
    #[error("a worker cannot be started: {0}")]
    Thread(#[source] io::Error),
    /// An address cannot be listened on: another process does.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// An edge or a binding cannot be attached.
    #[error("{0}")]
    Edge(String),
    /// A worker's thread ended before it was ready.
    #[error("a worker ended while it was put together; the log tells more")]
    Ended,
}

/// How a stop went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShutdownReport {
    /// Streams that had not come to their end in time.
    pub streams_cut: usize,
    /// Workers whose threads did not end when their time was over; they are left behind.
    pub workers_hung: usize,
    /// The first worker that no longer served, before the stop or during it.
    pub worker_ended: Option<WorkerEnded>,
    /// What bindings, engine and edges had counted and held at the end, without the workers that hung.
    pub measures: Measures,
}

/// The running workers.
pub struct Engine {
    threads: Vec<Thread>,
    mailboxes: Vec<UnboundedSender<Command>>,
    stop: Stop,
    cut: Arc<Notify>,
    first_ended: FirstEnded,
}

/// A worker's thread. The two receivers tell of its end, which a join alone would wait for without a
/// limit.
struct Thread {
    handle: JoinHandle<()>,
    ended: oneshot::Receiver<Infallible>,
    ended_sync: Receiver<Infallible>,
}

/// What a thread holds for as long as it runs. The fields are dropped in this order: where the first
/// receiver of [`Thread`] tells of the end, the second one does.
struct Alive {
    _ended_sync: Sender<Infallible>,
    _ended: oneshot::Sender<Infallible>,
}

impl Engine {
    /// Starts `workers` threads, each put together by `build`; returns when all of them are ready.
    pub fn start(
        workers: u16,
        limits: Limits,
        build: impl Fn(&mut Assembly) -> Result<(), StartError> + Send + Sync + 'static,
    ) -> Result<Self, StartError> {
        let workers = workers.max(1);
        let build: Build = Arc::new(build);
        let descriptors = Descriptors::default();
        let (mailboxes, receivers): (Vec<_>, Vec<_>) =
            (0..workers).map(|_| mpsc::unbounded_channel()).unzip();
        let mut engine = Self {
            threads: Vec::new(),
            mailboxes,
            stop: Stop::default(),
            cut: Arc::default(),
            first_ended: FirstEnded::default(),
        };
        for (worker, commands) in (0..workers).zip(receivers) {
            let mut seed = [0; 32];
            getrandom::fill(&mut seed).map_err(|error| StartError::Thread(error.into()))?;
            let setup = WorkerSetup {
                worker,
                workers,
                seed,
                limits,
                build: Arc::clone(&build),
                commands,
                mailboxes: engine.mailboxes.clone(),
                stop: engine.stop.clone(),
                first_ended: engine.first_ended.clone(),
                descriptors: descriptors.clone(),
            };
            // One after the other: where the first finds a port taken, no other needs to try.
            engine.spawn_worker(setup)?;
        }
        Ok(engine)
    }

    fn spawn_worker(&mut self, setup: WorkerSetup) -> Result<(), StartError> {
        let (ready, is_ready) = channel();
        let (tell, ended) = oneshot::channel();
        let (tell_sync, ended_sync) = channel();
        let alive = Alive {
            _ended_sync: tell_sync,
            _ended: tell,
        };
        let name = format!("tidegate-{}", setup.worker);
        let handle = std::thread::Builder::new()
            .name(name)
            .spawn(move || {
                // Dropped last, also where the thread ends by a panic.
                let _alive = alive;
                run(setup, &ready);
            })
            .map_err(StartError::Thread)?;
        self.threads.push(Thread {
            handle,
            ended,
            ended_sync,
        });
        is_ready.recv().unwrap_or(Err(StartError::Ended))
    }

    /// Waits until an edge asks the engine to stop.
    pub async fn stop_requested(&self) {
        self.stop.requested().await;
    }

    /// Waits until a worker no longer serves. What is under way on the others is not touched: stop
    /// them in order ([`Self::shutdown`]).
    pub async fn worker_ended(&self) -> WorkerEnded {
        self.first_ended.wait().await
    }

    /// The figures of each worker that runs.
    pub async fn counters(&self) -> Vec<Counters> {
        let mut all = Vec::new();
        for mailbox in &self.mailboxes {
            let (reply, answer) = oneshot::channel();
            if mailbox.send(Command::Counters(reply)).is_ok()
                && let Ok(counters) = answer.await
            {
                all.push(counters);
            }
        }
        all
    }

    /// What bindings, engine and edges count and hold, of all workers together.
    pub async fn report(&self) -> Measures {
        Reports::of(self.mailboxes.clone()).all().await
    }

    /// For cutting a shutdown short, which takes the engine.
    pub fn cut(&self) -> Cut {
        Cut {
            mailboxes: self.mailboxes.clone(),
            asked: Arc::clone(&self.cut),
        }
    }

    /// Stops: nothing new is taken, what is under way may come to its end within a time, and the
    /// rest is cut off. A worker that does not come back, such as one in an endless loop, is left
    /// behind 2 s after that time.
    pub async fn shutdown(mut self, within: Duration) -> ShutdownReport {
        let answers = self.tell_to_stop(within);
        let cut = Arc::clone(&self.cut);
        tokio::select! {
            () = self.all_ended() => {}
            () = sleep(within.saturating_add(GRACE)) => {}
            () = async { cut.notified().await; sleep(GRACE).await } => {}
        }
        let mut report = ShutdownReport::default();
        for mut answer in answers {
            // Who has stopped has answered.
            if let Ok(stopped) = answer.try_recv() {
                report.streams_cut += stopped.streams_cut;
                report.measures.add(stopped.measures);
            }
        }
        report.workers_hung = self.join(Instant::now());
        report.worker_ended = self.first_ended.get();
        report
    }

    fn tell_to_stop(&self, within: Duration) -> Vec<oneshot::Receiver<Stopped>> {
        let tell = |mailbox: &UnboundedSender<Command>| {
            let (stopped, answer) = oneshot::channel();
            let told = mailbox.send(Command::Shutdown { within, stopped });
            told.is_ok().then_some(answer)
        };
        self.mailboxes.iter().filter_map(tell).collect()
    }

    async fn all_ended(&mut self) {
        for thread in &mut self.threads {
            // Nothing is ever sent: the end of the sender is the message.
            let _ = (&mut thread.ended).await;
        }
    }

    /// Joins the threads that end before `deadline`; how many do not.
    fn join(&mut self, deadline: Instant) -> usize {
        let mut hung = 0;
        for (worker, thread) in (0..).zip(std::mem::take(&mut self.threads)) {
            let left = deadline.saturating_duration_since(Instant::now());
            if thread.ended_sync.recv_timeout(left) == Err(RecvTimeoutError::Timeout) {
                hung += 1;
            } else if thread.handle.join().is_err() {
                self.first_ended.report(WorkerEnded {
                    worker,
                    reason: EndReason::EventLoopPanicked,
                });
            }
        }
        hung
    }
}

/// Stops at once, and waits until all threads are gone and their ports are free; for 2 s where one
/// does not come back.
impl Drop for Engine {
    fn drop(&mut self) {
        if !self.threads.is_empty() {
            self.tell_to_stop(Duration::ZERO);
            self.join(Instant::now() + GRACE);
        }
    }
}

/// Cuts a shutdown short: what is under way is cut off now.
#[derive(Clone)]
pub struct Cut {
    mailboxes: Vec<UnboundedSender<Command>>,
    asked: Arc<Notify>,
}

impl Cut {
    /// Cuts. The shutdown returns as soon as the workers have ended, or 2 s later without those that
    /// do not come back.
    pub fn now(&self) {
        for mailbox in &self.mailboxes {
            let (stopped, _) = oneshot::channel();
            // One that has ended needs no telling.
            let _ = mailbox.send(Command::Shutdown {
                within: Duration::ZERO,
                stopped,
            });
        }
        self.asked.notify_one();
    }
}
