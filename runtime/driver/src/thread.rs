//! The thread of one worker: its event loop and the commands it handles.

use std::pin::pin;
use std::time::Duration;

use tidegate_engine::{Counters, Limits, Measures, Worker};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::assembly::{Assembly, Stop};
use crate::descriptors::Descriptors;
use crate::engine::{Build, StartError};
use crate::handle::Handle;
use crate::relay::{Passed, Relay};
use crate::reports::Reports;
use crate::watch::{EndReason, FirstEnded, Panicked, Watch, caught};

/// A command to a worker's thread.
#[derive(Debug)]
pub(crate) enum Command {
    /// A message of another worker's relay.
    Passed(Passed),
    /// Report the counters.
    Counters(oneshot::Sender<Counters>),
    /// Report the metrics of bindings, engine and edges.
    Report(oneshot::Sender<Measures>),
    /// Shut down within a time; report the result.
    Shutdown {
        within: Duration,
        stopped: oneshot::Sender<Stopped>,
    },
}

/// Result of a worker's shutdown.
#[derive(Debug)]
pub(crate) struct Stopped {
    /// Streams that had not ended when the time was over.
    pub(crate) streams_cut: usize,
    /// Final metrics.
    pub(crate) measures: Measures,
}

/// What a thread needs to run its worker.
pub(crate) struct WorkerSetup {
    pub(crate) worker: u16,
    pub(crate) workers: u16,
    pub(crate) seed: [u8; 32],
    pub(crate) limits: Limits,
    pub(crate) build: Build,
    pub(crate) commands: UnboundedReceiver<Command>,
    pub(crate) mailboxes: Vec<UnboundedSender<Command>>,
    pub(crate) stop: Stop,
    pub(crate) first_ended: FirstEnded,
    pub(crate) descriptors: Descriptors,
}

/// How a worker's event loop has ended.
enum Ended {
    /// Attaching bindings or edges failed.
    Unbuilt,
    /// Shut down by command.
    Stopped,
    /// All command senders were dropped.
    Early,
}

/// Runs a worker until it is shut down; signals `ready` once everything is attached.
pub(crate) fn run(setup: WorkerSetup, ready: &std::sync::mpsc::Sender<Result<(), StartError>>) {
    // Uses the event loop's own local tasks: those of a `LocalSet` would wake the thread for each
    // event.
    let runtime = match Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
    {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = ready.send(Err(StartError::Thread(error)));
            return;
        }
    };
    let watch = Watch::new(setup.worker, setup.first_ended.clone());
    match runtime.block_on(caught(work(setup, ready, &watch))) {
        Ok(Ended::Unbuilt | Ended::Stopped) => {}
        Ok(Ended::Early) => watch.report(EndReason::EventLoopReturned),
        Err(Panicked) => watch.report(EndReason::EventLoopPanicked),
    }
    // A read of standard input cannot be cancelled; do not wait for it.
    runtime.shutdown_background();
}

async fn work(
    mut setup: WorkerSetup,
    ready: &std::sync::mpsc::Sender<Result<(), StartError>>,
    watch: &Watch,
) -> Ended {
    let worker = Worker::new(setup.worker, setup.seed, setup.limits);
    let handle = Handle::new(worker, watch.clone(), setup.descriptors.clone());
    let id = handle.with_worker(|it| it.attach_relay(setup.workers));
    let reports = Reports::of(setup.mailboxes.clone());
    let relay = Relay::new(id, setup.worker, std::mem::take(&mut setup.mailboxes));
    handle.place_edge(id, relay.clone());
    let mut assembly = Assembly::new(
        handle.clone(),
        setup.worker,
        setup.workers,
        setup.stop.clone(),
        reports,
    );
    let built = (setup.build)(&mut assembly);
    let failed = built.is_err();
    if !failed {
        watch.begin();
    }
    let _ = ready.send(built);
    if failed {
        handle.release();
        return Ended::Unbuilt;
    }
    handle.spawn(handle.clone().keep_time());
    handle.with_worker(Worker::start);
    let mut ended = Ended::Early;
    while let Some(command) = setup.commands.recv().await {
        match command {
            Command::Passed(passed) => relay.take(&handle, passed),
            Command::Counters(reply) => {
                let _ = reply.send(handle.counters());
            }
            Command::Report(reply) => {
                let _ = reply.send(handle.report());
            }
            Command::Shutdown { within, stopped } => {
                let streams_cut = stop(&handle, &relay, &mut setup.commands, within).await;
                let measures = handle.report();
                let _ = stopped.send(Stopped {
                    streams_cut,
                    measures,
                });
                ended = Ended::Stopped;
                break;
            }
        }
    }
    handle.release();
    ended
}

/// Shuts the worker down; returns the number of streams that had not ended.
async fn stop(
    handle: &Handle,
    relay: &Relay,
    commands: &mut UnboundedReceiver<Command>,
    within: Duration,
) -> usize {
    handle.shutdown_edges();
    let now = handle.now();
    let micros = u64::try_from(within.as_micros()).unwrap_or(u64::MAX);
    let limit = tidegate_engine::Duration::from_micros(micros);
    handle.with_worker(|worker| worker.shutdown_within(now, limit));
    rest(handle, relay, commands, within).await;
    // From here on, other workers' messages to this one fail.
    commands.close();
    while let Ok(command) = commands.try_recv() {
        if let Command::Passed(passed) = command {
            relay.reject(&passed);
        }
    }
    // Lets sockets write the last output before the event loop ends.
    tokio::task::yield_now().await;
    handle.under_way()
}

/// Waits until nothing is running or the time is over; a further stop command may shorten it.
async fn rest(
    handle: &Handle,
    relay: &Relay,
    commands: &mut UnboundedReceiver<Command>,
    within: Duration,
) {
    let mut over = pin!(sleep(within));
    loop {
        let command = tokio::select! {
            biased;
            () = handle.rested() => return,
            () = &mut over => return,
            // The relay holds a sender to this worker's own mailbox, so it never closes.
            Some(command) = commands.recv() => command,
        };
        match command {
            Command::Passed(passed) => relay.take(handle, passed),
            Command::Counters(reply) => {
                let _ = reply.send(handle.counters());
            }
            Command::Report(reply) => {
                let _ = reply.send(handle.report());
            }
            // The first shutdown command is answered on behalf of all.
            Command::Shutdown { within, .. } => {
                let sooner = sleep(within);
                if sooner.deadline() < over.deadline() {
                    over.set(sooner);
                }
            }
        }
    }
}
