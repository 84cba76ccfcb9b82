//! All workers together: start, figures, stop.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use thiserror::Error;
use tidegate_engine::{Counters, Limits, Measures};
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::sync::oneshot;

use crate::assembly::{Assembly, Stop};
use crate::thread::{Command, Seat, run};

/// Puts one worker together.
pub(crate) type Build = Arc<dyn Fn(&mut Assembly) -> Result<(), StartError> + Send + Sync>;

/// The engine could not be started.
#[derive(Debug, Error)]
pub enum StartError {
    /// There is no thread, event loop or entropy to be had.
    #[error("a worker cannot be started: {0}")]
    Thread(#[source] io::Error),
    /// An edge cannot take its place in the world: a port is taken.
    #[error("{0}")]
    Edge(String),
    /// A worker's thread ended before it was ready.
    #[error("a worker ended while it was put together; the log tells more")]
    Ended,
}

/// What a stop has cut off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ShutdownReport {
    /// Streams that had not come to their end in time.
    pub streams_cut: usize,
}

/// The running workers.
pub struct Engine {
    threads: Vec<JoinHandle<()>>,
    mailboxes: Vec<UnboundedSender<Command>>,
    stop: Stop,
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
        let stop = Stop::default();
        let (mailboxes, receivers): (Vec<_>, Vec<_>) =
            (0..workers).map(|_| mpsc::unbounded_channel()).unzip();
        let mut engine = Self {
            threads: Vec::new(),
            mailboxes,
            stop,
        };
        for (worker, commands) in (0..workers).zip(receivers) {
            let mut seed = [0; 32];
            getrandom::fill(&mut seed).map_err(|error| StartError::Thread(error.into()))?;
            let seat = Seat {
                worker,
                workers,
                seed,
                limits,
                build: Arc::clone(&build),
                commands,
                mailboxes: engine.mailboxes.clone(),
                stop: engine.stop.clone(),
            };
            // One after the other: where the first finds a port taken, no other needs to try.
            engine.seat(seat)?;
        }
        Ok(engine)
    }

    fn seat(&mut self, seat: Seat) -> Result<(), StartError> {
        let (ready, is_ready) = std::sync::mpsc::channel();
        let name = format!("tidegate-{}", seat.worker);
        let thread = std::thread::Builder::new()
            .name(name)
            .spawn(move || run(seat, &ready))
            .map_err(StartError::Thread)?;
        self.threads.push(thread);
        is_ready.recv().unwrap_or(Err(StartError::Ended))
    }

    /// Waits until an edge asks the engine to stop.
    pub async fn stop_requested(&self) {
        self.stop.requested().await;
    }

    /// The figures of each worker.
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

    /// What bindings and engine count and hold, of all workers together.
    pub async fn report(&self) -> Measures {
        let mut all = Measures::default();
        for mailbox in &self.mailboxes {
            let (reply, answer) = oneshot::channel();
            if mailbox.send(Command::Report(reply)).is_ok()
                && let Ok(measures) = answer.await
            {
                all.add(measures);
            }
        }
        all
    }

    /// Stops: nothing new is taken, what is under way may come to its end within a time, and the
    /// rest is cut off.
    pub async fn shutdown(mut self, within: Duration) -> ShutdownReport {
        let mut report = ShutdownReport::default();
        for answer in self.tell_to_stop(within) {
            report.streams_cut += answer.await.unwrap_or(0);
        }
        self.join();
        report
    }

    fn tell_to_stop(&self, within: Duration) -> Vec<oneshot::Receiver<usize>> {
        let tell = |mailbox: &UnboundedSender<Command>| {
            let (cut, answer) = oneshot::channel();
            let told = mailbox.send(Command::Shutdown { within, cut });
            told.is_ok().then_some(answer)
        };
        self.mailboxes.iter().filter_map(tell).collect()
    }

    fn join(&mut self) {
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a worker's thread panicked");
            }
        }
    }
}

/// Stops at once, and waits until all threads are gone and their ports are free.
impl Drop for Engine {
    fn drop(&mut self) {
        if !self.threads.is_empty() {
            self.tell_to_stop(Duration::ZERO);
            self.join();
        }
    }
}
