//! Builder of a worker: attaches its bindings and edges.

use std::rc::Rc;
use std::sync::Arc;

use tidegate_engine::{Binding, BindingId};
use tokio::sync::Notify;

use crate::export::Export;
use crate::handle::{Edge, Handle};
use crate::reports::Reports;

/// A worker under construction. Attach exits before the bindings that open streams to them.
pub struct Assembly {
    handle: Handle,
    worker: u16,
    workers: u16,
    stop: Stop,
    reports: Reports,
    /// Config name of the next binding or edge to attach.
    name: String,
}

/// Lets an edge stop the engine, e.g. at the end of standard input.
#[derive(Clone, Default)]
pub struct Stop(Arc<Notify>);

impl Stop {
    /// Requests the stop.
    pub fn request(&self) {
        self.0.notify_one();
    }

    pub(crate) async fn requested(&self) {
        self.0.notified().await;
    }
}

impl Assembly {
    pub(crate) const fn new(
        handle: Handle,
        worker: u16,
        workers: u16,
        stop: Stop,
        reports: Reports,
    ) -> Self {
        Self {
            handle,
            worker,
            workers,
            stop,
            reports,
            name: String::new(),
        }
    }

    /// Number of this worker, from 0.
    pub const fn worker(&self) -> u16 {
        self.worker
    }

    /// For edges that export the metrics of all workers.
    pub fn reports(&self) -> Reports {
        self.reports.clone()
    }

    /// Number of workers in the engine.
    pub const fn workers(&self) -> u16 {
        self.workers
    }

    /// The worker's handle, for edges.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Lets an edge stop the engine.
    pub fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// Sets the config name of the bindings and edges attached next.
    pub fn of(&mut self, name: &str) -> &mut Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Logs events with these ids as calls, one line for each call, at any severity.
    pub fn log_calls(&self, ids: &'static [&'static str]) {
        self.handle.log_calls(ids);
    }

    /// Passes audited events to an exporter, which all workers share.
    pub fn export_to(&self, exporter: Arc<dyn Export>) {
        self.handle.export_to(exporter);
    }

    /// The binding or edge with this name, if attached.
    pub fn named(&self, name: &str) -> Option<BindingId> {
        self.handle.with_worker(|worker| worker.named(name))
    }

    /// Attaches a binding. Attach its exits first.
    pub fn attach(&mut self, binding: impl Binding + 'static) -> BindingId {
        self.attach_boxed(Box::new(binding))
    }

    /// Like [`Assembly::attach`], for a binding of unknown type.
    pub fn attach_boxed(&mut self, binding: Box<dyn Binding>) -> BindingId {
        let name = &self.name;
        self.handle
            .with_worker(|worker| worker.attach(name, binding))
    }

    /// Attaches an edge. `window` is the initial credit, in bytes, of streams towards it.
    pub fn attach_edge<E: Edge + 'static>(
        &mut self,
        window: u32,
        edge: impl FnOnce(BindingId, Handle) -> Rc<E>,
    ) -> (BindingId, Rc<E>) {
        let name = &self.name;
        let id = self
            .handle
            .with_worker(|worker| worker.attach_edge(name, window));
        let edge = edge(id, self.handle());
        self.handle.place_edge(id, edge.clone());
        (id, edge)
    }

    /// Reserves an index in the order of attachment for a binding that this worker does not run, so
    /// that every binding has the same id on every worker.
    pub fn attach_nothing(&mut self) -> BindingId {
        let name = &self.name;
        self.handle
            .with_worker(|worker| worker.attach_edge(name, 0))
    }

    /// Spawns a task the worker cannot do without, such as one that accepts connections. If it
    /// panics, the engine reports that the worker has failed ([`crate::Engine::worker_ended`]). The
    /// task may return.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.handle.spawn(task);
    }
}
