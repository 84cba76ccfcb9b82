//! A worker and its edges, as used by the tasks of its thread.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tidegate_engine::{
    At, BindingId, Context, Counters, Measures, Meter, StreamId, Time, WallTime, Worker,
};
use tidegate_streams::{Audit, Frame};
use tokio::sync::Notify;

use crate::descriptors::Descriptors;
use crate::export::Export;
use crate::log;
use crate::watch::{EndReason, Watch, caught};

/// Performs the I/O of an edge.
pub trait Edge {
    /// A frame is delivered to the edge. Only store it here; act on it in [`Edge::flush`], when the
    /// worker is idle.
    fn on_output(&self, at: At, frame: Frame);

    /// The worker is idle and this edge received frames: write them, or wake the task that does.
    /// The edge may run a turn of the worker; resulting frames are delivered in the same round.
    fn flush(&self, _handle: &Handle) {}

    /// The engine is stopping: accept nothing new.
    fn on_shutdown(&self) {}

    /// Reports counters and gauges, like [`Binding::report`](tidegate_engine::Binding::report).
    fn report(&self, _meter: &mut dyn Meter) {}
}

/// How often a worker's wall clock is set, in milliseconds.
const WALL_CLOCK_EVERY: u64 = 1_000;

fn wall_clock() -> WallTime {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let micros = since.unwrap_or(Duration::ZERO).as_micros();
    WallTime::from_unix_micros(u64::try_from(micros).unwrap_or(u64::MAX))
}

/// Handle to the worker of this thread.
#[derive(Clone)]
pub struct Handle(Rc<Shared>);

struct Shared {
    worker: RefCell<Worker>,
    edges: RefCell<Vec<Option<Rc<dyn Edge>>>>,
    started: Instant,
    /// The time of the last turn.
    now: Cell<Time>,
    /// When the worker's wall clock was last set.
    wall_set: Cell<Time>,
    /// Whether outputs are being delivered further up the stack.
    routing: Cell<bool>,
    /// Edges that received frames; empty between turns, kept for its memory.
    touched: Cell<Vec<BindingId>>,
    /// The deadline the timer task is sleeping for.
    armed: Cell<Option<Time>>,
    rearm: Notify,
    rested: Notify,
    /// Number of [`Hold`]s.
    holds: Cell<usize>,
    watch: Watch,
    descriptors: Descriptors,
    /// Ids of the events that are logged as calls.
    calls: Cell<&'static [&'static str]>,
    exporters: RefCell<Vec<Arc<dyn Export>>>,
}

/// Guard that is alive while outputs are delivered; reports a panic during that.
struct Routing<'a> {
    shared: &'a Shared,
    done: bool,
}

impl Drop for Routing<'_> {
    fn drop(&mut self) {
        self.shared.routing.set(false);
        if !self.done {
            self.shared.watch.report(EndReason::EdgePanicked);
        }
    }
}

/// Keeps a stopping worker running while an edge still writes the data of streams that have ended.
pub struct Hold(Handle);

impl Drop for Hold {
    fn drop(&mut self) {
        let shared = &self.0.0;
        shared.holds.set(shared.holds.get().saturating_sub(1));
        shared.rested.notify_one();
    }
}

impl Handle {
    pub(crate) fn new(mut worker: Worker, watch: Watch, descriptors: Descriptors) -> Self {
        worker.set_wall_clock(Time::START, wall_clock());
        worker.listen_from(log::severity());
        Self(Rc::new(Shared {
            worker: RefCell::new(worker),
            edges: RefCell::new(Vec::new()),
            started: Instant::now(),
            now: Cell::default(),
            wall_set: Cell::default(),
            routing: Cell::new(false),
            touched: Cell::default(),
            armed: Cell::new(None),
            rearm: Notify::new(),
            rested: Notify::new(),
            holds: Cell::new(0),
            watch,
            descriptors,
            calls: Cell::default(),
            exporters: RefCell::default(),
        }))
    }

    /// Spawns a task that the worker cannot do without: a panic in it is reported.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let watch = self.0.watch.clone();
        tokio::task::spawn_local(async move {
            if caught(task).await.is_err() {
                watch.report(EndReason::TaskPanicked);
            }
        });
    }

    /// Availability of file descriptors, for edges that open connections.
    pub fn descriptors(&self) -> &Descriptors {
        &self.0.descriptors
    }

    /// Runs one turn for an edge: `inject` sends its frames, the worker drains its queue, and every
    /// edge receives and writes its output.
    pub fn turn<R>(&self, edge: BindingId, inject: impl FnOnce(&mut Context<'_>) -> R) -> R {
        let now = self.turn_time();
        self.keep_calls_refused();
        let result = self.0.worker.borrow_mut().turn(now, edge, inject);
        self.route();
        result
    }

    /// Marks `bytes` received by an edge as consumed; runs a turn only if a WINDOW is due.
    pub fn acknowledge(&self, edge: BindingId, stream: StreamId, bytes: usize) {
        let due = self.0.worker.borrow_mut().acknowledge(edge, stream, bytes);
        if due {
            self.turn(edge, |_| ());
        }
    }

    /// Payload bytes an edge may put into one DATA on a stream now.
    pub fn credit(&self, edge: BindingId, stream: StreamId) -> usize {
        self.0.worker.borrow().credit(edge, stream)
    }

    /// The worker's counters.
    pub fn counters(&self) -> Counters {
        self.0.worker.borrow().counters()
    }

    /// Metrics of bindings, engine and edges.
    pub(crate) fn report(&self) -> Measures {
        let mut measures = Measures::default();
        let worker = self.0.worker.borrow();
        worker.report(&mut measures);
        let edges = self.0.edges.borrow();
        for (index, edge) in edges.iter().enumerate() {
            if let (Some(edge), Some(id)) = (edge, worker.binding_at(index)) {
                edge.report(measures.of(worker.name(id)));
            }
        }
        // Exporters are shared by all workers, so only one of these reports on them.
        if worker.number() == 0 {
            for exporter in self.0.exporters.borrow().iter() {
                exporter.report(measures.of(exporter.name()));
            }
        }
        measures
    }

    pub(crate) fn with_worker<R>(&self, act: impl FnOnce(&mut Worker) -> R) -> R {
        let result = act(&mut self.0.worker.borrow_mut());
        self.route();
        result
    }

    pub(crate) fn place_edge(&self, id: BindingId, edge: Rc<dyn Edge>) {
        let mut edges = self.0.edges.borrow_mut();
        if edges.len() <= id.index() {
            edges.resize_with(id.index() + 1, || None);
        }
        if let Some(place) = edges.get_mut(id.index()) {
            *place = Some(edge);
        }
    }

    /// Logs events with these ids as calls, at any severity.
    pub(crate) fn log_calls(&self, ids: &'static [&'static str]) {
        self.0.calls.set(ids);
        self.0.worker.borrow_mut().listen_to(ids);
    }

    pub(crate) fn shutdown_edges(&self) {
        let edges: Vec<_> = self.0.edges.borrow().iter().flatten().cloned().collect();
        for edge in edges {
            edge.on_shutdown();
        }
    }

    /// Keeps the worker running while the edge has data to write after the end of a stream.
    #[must_use]
    pub fn hold(&self) -> Hold {
        self.0.holds.set(self.0.holds.get() + 1);
        Hold(self.clone())
    }

    /// Number of open streams or of holds, whichever is larger.
    pub(crate) fn under_way(&self) -> usize {
        self.counters().streams.max(self.0.holds.get())
    }

    /// Waits until no stream is open and no hold remains.
    pub(crate) async fn rested(&self) {
        while self.under_way() > 0 {
            self.0.rested.notified().await;
        }
    }

    /// Drops the edges, which hold handles themselves.
    pub(crate) fn release(&self) {
        let edges = self.0.edges.take();
        // Dropping an edge may run a turn, which accesses the edges.
        drop(edges);
    }

    pub(crate) fn now(&self) -> Time {
        let elapsed = self.0.started.elapsed();
        let micros = elapsed.as_secs().saturating_mul(1_000_000);
        Time::from_micros(micros.saturating_add(u64::from(elapsed.subsec_micros())))
    }

    /// The time of a turn; a turn within another's round has the same time.
    fn turn_time(&self) -> Time {
        if !self.0.routing.get() {
            let now = self.now();
            self.0.now.set(now);
            self.keep_wall_clock(now);
        }
        self.0.now.get()
    }

    /// The system clock may be set while the worker runs; the worker's wall clock follows within a
    /// second.
    fn keep_wall_clock(&self, now: Time) {
        if now.since(self.0.wall_set.get()).as_millis() >= WALL_CLOCK_EVERY {
            self.0.wall_set.set(now);
            let mut worker = self.0.worker.borrow_mut();
            worker.set_wall_clock(now, wall_clock());
        }
    }

    /// Delivers the worker's output until there is none.
    fn route(&self) {
        if self.0.routing.replace(true) {
            // The loop further up the stack also delivers the output of this turn.
            return;
        }
        let mut routing = Routing {
            shared: &self.0,
            done: false,
        };
        let edges = self.0.edges.borrow();
        let edge = |id: BindingId| edges.get(id.index()).and_then(Option::as_deref);
        let mut touched = self.0.touched.take();
        loop {
            loop {
                let output = self.0.worker.borrow_mut().poll_output();
                let Some(output) = output else { break };
                if let Some(edge) = edge(output.edge) {
                    edge.on_output(output.at, output.frame);
                    if !touched.contains(&output.edge) {
                        touched.push(output.edge);
                    }
                } else {
                    self.refuse(output.edge, output.at);
                }
            }
            if touched.is_empty() {
                break;
            }
            for id in touched.drain(..) {
                if let Some(edge) = edge(id) {
                    edge.flush(self);
                }
            }
        }
        self.0.touched.set(touched);
        routing.done = true;
        drop(routing);
        self.export_events();
        self.rearm();
    }

    /// Logs the events of the turn, and passes audited ones to the exporters.
    fn export_events(&self) {
        let mut worker = self.0.worker.borrow_mut();
        let exporters = self.0.exporters.borrow();
        while let Some(event) = worker.poll_event() {
            let is_call = self.0.calls.get().contains(&event.id);
            let binding = worker.name(event.binding);
            if !event.message.is_empty() {
                log::event(worker.number(), binding, &event, is_call);
            }
            if event.audit != Audit::No {
                for exporter in exporters.iter() {
                    exporter.record(worker.number(), binding, &event);
                }
            }
        }
        if exporters.is_empty() {
            return;
        }
        let lost = worker.take_lost_events();
        if lost > 0 {
            exporters.iter().for_each(|exporter| exporter.lost(lost));
        }
    }

    /// Lets bindings refuse new calls while an exporter cannot record them.
    fn keep_calls_refused(&self) {
        let exporters = self.0.exporters.borrow();
        if !exporters.is_empty() {
            let reason = exporters.iter().find_map(|it| it.calls_refused());
            self.0.worker.borrow_mut().refuse_calls(reason);
        }
    }

    /// Passes audited events to an exporter.
    pub(crate) fn export_to(&self, exporter: Arc<dyn Export>) {
        self.0.worker.borrow_mut().listen_to_audited();
        self.0.exporters.borrow_mut().push(exporter);
    }

    /// Resets a stream towards a binding that this worker does not run.
    fn refuse(&self, edge: BindingId, at: At) {
        let now = self.now();
        let mut worker = self.0.worker.borrow_mut();
        worker.turn(now, edge, |cx| cx.terminate(at.stream, None, None));
    }

    fn rearm(&self) {
        let worker = self.0.worker.borrow();
        let next = worker.next_deadline().map(|(deadline, _)| deadline);
        let sooner = match (next, self.0.armed.get()) {
            (Some(next), Some(armed)) => next < armed,
            (Some(_), None) => true,
            (None, _) => false,
        };
        if sooner || !worker.is_idle() {
            self.0.rearm.notify_one();
        }
        if worker.open_streams() == 0 {
            self.0.rested.notify_one();
        }
    }

    /// Runs a turn when a timer is due, or when a turn has left frames queued.
    pub(crate) async fn keep_time(self) {
        loop {
            let (idle, next) = {
                let worker = self.0.worker.borrow();
                (
                    worker.is_idle(),
                    worker.next_deadline().map(|(deadline, _)| deadline),
                )
            };
            if idle {
                self.0.armed.set(next);
                match next {
                    // Work split into steps continues after the edges have run.
                    Some(deadline) if deadline <= self.now() => tokio::task::yield_now().await,
                    Some(deadline) => self.sleep_until(deadline).await,
                    None => self.0.rearm.notified().await,
                }
            } else {
                tokio::task::yield_now().await;
            }
            let now = self.now();
            self.keep_wall_clock(now);
            if !idle || next.is_some_and(|deadline| deadline <= now) {
                self.0.worker.borrow_mut().tick(now);
                self.route();
            }
        }
    }

    async fn sleep_until(&self, deadline: Time) {
        let at = self.0.started + Duration::from_micros(deadline.as_micros());
        tokio::select! {
            () = tokio::time::sleep_until(at.into()) => {}
            () = self.0.rearm.notified() => {}
        }
    }
}
