//! All workers together: start, metrics and shutdown.

use std::convert::Infallible;
use std::io;
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

/// Extra time for worker threads to exit after the shutdown timeout; then they are abandoned.
const GRACE: Duration = Duration::from_secs(2);

/// Attaches the bindings and edges of one worker.
pub(crate) type Build = Arc<dyn Fn(&mut Assembly) -> Result<(), StartError> + Send + Sync>;

/// Error returned when the engine cannot be started.
#[derive(Debug, Error)]
pub enum StartError {
    /// A thread, an event loop or entropy is not available.
    #[error("cannot start a worker: {0}")]
    Thread(#[source] io::Error),
    /// An address cannot be listened on, e.g. because it is in use.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address and port, or the path of a Unix socket.
        address: String,
        /// The operating system's error.
        error: io::Error,
    },
    /// An edge or a binding could not be attached.
    #[error("{0}")]
    Edge(String),
    /// A worker's thread panicked while its bindings were attached.
    #[error("a worker panicked during startup; see the log")]
    Ended,
}

/// Result of a shutdown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShutdownReport {
    /// Streams that had not ended when the time was over.
    pub streams_cut: usize,
    /// Worker threads that did not exit in time and were abandoned.
    pub workers_hung: usize,
    /// The first worker that failed, before or during the shutdown.
    pub worker_ended: Option<WorkerEnded>,
    /// Final metrics of bindings, engine and edges, without the workers that hung.
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

/// A worker's thread. The two receivers signal its exit; a join alone would wait without a limit.
struct Thread {
    handle: JoinHandle<()>,
    ended: oneshot::Receiver<Infallible>,
    ended_sync: Receiver<Infallible>,
}

/// Held by a thread while it runs. The fields are dropped in this order, so when the first receiver
/// of [`Thread`] signals the exit, the second one follows.
struct Alive {
    _ended_sync: Sender<Infallible>,
    _ended: oneshot::Sender<Infallible>,
}

impl Engine {
    /// Starts `workers` threads and calls `build` on each; returns when all are ready.
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
            // One after the other: if the first finds a port in use, no other needs to try.
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
                // Dropped last, also if the thread panics.
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

    /// Waits until an edge requests a stop.
    pub async fn stop_requested(&self) {
        self.stop.requested().await;
    }

    /// Waits until a worker fails. The other workers continue: shut them down in order with
    /// [`Self::shutdown`].
    pub async fn worker_ended(&self) -> WorkerEnded {
        self.first_ended.wait().await
    }

    /// Counters of each running worker.
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

    /// Metrics of bindings, engine and edges, summed over all workers.
    pub async fn report(&self) -> Measures {
        Reports::of(self.mailboxes.clone()).all().await
    }

    /// Allows to end a running shutdown early; [`Self::shutdown`] takes the engine.
    pub fn cut(&self) -> Cut {
        Cut {
            mailboxes: self.mailboxes.clone(),
            asked: Arc::clone(&self.cut),
        }
    }

    /// Shuts down: refuses new streams, lets running ones end within a time, and then aborts the
    /// rest. A worker that hangs, e.g. in an endless loop, is abandoned 2 s after that time.
    pub async fn shutdown(mut self, within: Duration) -> ShutdownReport {
        let answers = self.send_shutdown(within);
        let cut = Arc::clone(&self.cut);
        tokio::select! {
            () = self.all_ended() => {}
            () = sleep(within.saturating_add(GRACE)) => {}
            () = async { cut.notified().await; sleep(GRACE).await } => {}
        }
        let mut report = ShutdownReport::default();
        for mut answer in answers {
            // A worker that has stopped has answered.
            if let Ok(stopped) = answer.try_recv() {
                report.streams_cut += stopped.streams_cut;
                report.measures.add(stopped.measures);
            }
        }
        report.workers_hung = self.join(Instant::now());
        report.worker_ended = self.first_ended.get();
        report
    }

    fn send_shutdown(&self, within: Duration) -> Vec<oneshot::Receiver<Stopped>> {
        let tell = |mailbox: &UnboundedSender<Command>| {
            let (stopped, answer) = oneshot::channel();
            let sent = mailbox.send(Command::Shutdown { within, stopped });
            sent.is_ok().then_some(answer)
        };
        self.mailboxes.iter().filter_map(tell).collect()
    }

    async fn all_ended(&mut self) {
        for thread in &mut self.threads {
            // Nothing is ever sent: dropping the sender is the signal.
            let _ = (&mut thread.ended).await;
        }
    }

    /// Joins the threads that exit before `deadline`; returns the number of the others.
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

/// Stops at once, and waits until all threads have exited and their ports are free, for at most 2
/// s.
impl Drop for Engine {
    fn drop(&mut self) {
        if !self.threads.is_empty() {
            self.send_shutdown(Duration::ZERO);
            self.join(Instant::now() + GRACE);
        }
    }
}

/// Ends a shutdown early: running streams are aborted now.
#[derive(Clone)]
pub struct Cut {
    mailboxes: Vec<UnboundedSender<Command>>,
    asked: Arc<Notify>,
}

impl Cut {
    /// Aborts all streams. The shutdown returns as soon as the workers have exited, or after 2 s
    /// without those that hang.
    pub fn now(&self) {
        for mailbox in &self.mailboxes {
            let (stopped, _) = oneshot::channel();
            // A worker that has exited needs no command.
            let _ = mailbox.send(Command::Shutdown {
                within: Duration::ZERO,
                stopped,
            });
        }
        self.asked.notify_one();
    }
}
