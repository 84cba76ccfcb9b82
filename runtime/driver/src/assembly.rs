//! What one worker is put together with.

use std::rc::Rc;
use std::sync::Arc;

use tidegate_engine::{Binding, BindingId};
use tokio::sync::Notify;

use crate::handle::{Edge, Handle};
use crate::reports::Reports;

/// A worker while its bindings and edges are attached, exits first.
pub struct Assembly {
    handle: Handle,
    worker: u16,
    workers: u16,
    stop: Stop,
    reports: Reports,
    /// Whose name the next place bears.
    name: String,
}

/// Asks the engine to stop, from inside: standard input has ended.
#[derive(Clone, Default)]
pub struct Stop(Arc<Notify>);

impl Stop {
    /// Asks.
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

    /// Which worker this is, from 0.
    pub const fn worker(&self) -> u16 {
        self.worker
    }

    /// For edges that export what all workers count and hold.
    pub fn reports(&self) -> Reports {
        self.reports.clone()
    }

    /// How many workers the engine has.
    pub const fn workers(&self) -> u16 {
        self.workers
    }

    /// For edges: the worker's handle.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Lets an edge stop the engine.
    pub fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// What is attached from now on is the binding of this name in the config.
    pub fn of(&mut self, name: &str) -> &mut Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Has events of these ids logged, one line for each call, however severe they are.
    pub fn log_calls(&self, ids: &'static [&'static str]) {
        self.handle.log_calls(ids);
    }

    /// The binding or the edge of this name, if it is attached.
    pub fn named(&self, name: &str) -> Option<BindingId> {
        self.handle.with_worker(|worker| worker.named(name))
    }

    /// Attaches a binding; its exits must have been attached before.
    pub fn attach(&mut self, binding: impl Binding + 'static) -> BindingId {
        self.attach_boxed(Box::new(binding))
    }

    /// Attaches a binding as [`Assembly::attach`] does, where its type is not known.
    pub fn attach_boxed(&mut self, binding: Box<dyn Binding>) -> BindingId {
        let name = &self.name;
        self.handle
            .with_worker(|worker| worker.attach(name, binding))
    }

    /// Attaches an edge. `window` is the credit, in bytes, that streams towards it start with.
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

    /// Keeps a place in the order of attachment that this worker has no use for, so that every
    /// binding has the same name on every worker.
    pub fn attach_nothing(&mut self) -> BindingId {
        let name = &self.name;
        self.handle
            .with_worker(|worker| worker.attach_edge(name, 0))
    }

    /// Runs a task on the worker's thread that the worker cannot do without, such as one that accepts
    /// connections. Where it panics, the worker no longer serves, and the engine tells
    /// ([`crate::Engine::worker_ended`]); where it returns, it is done.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.handle.spawn(task);
    }
}
