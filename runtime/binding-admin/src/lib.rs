//! `admin · server`: a listener of its own for operators and their tools.
//!
//! - `/livez`: 200 while every worker answers, 503 otherwise: restart the gateway then.
//! - `/readyz`: 200 while calls can be served: every worker answers, the gateway is not stopping, and
//!   each broker that is marked `required` is connected.
//! - `/metrics`: the metrics of all workers, in the text format of Prometheus.
//!
//! The first worker serves it, so it shares no thread with anything that may hang elsewhere; a worker
//! that does not answer within [`REPORT_TIMEOUT`] is reported and not waited for.
//!
//! Bounds: [`CONNECTIONS_MAX`] connections, each for one request and at most [`CONNECTION_LASTS`];
//! further ones wait in the kernel's queue.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "an edge works in real time")]

mod exposition;
mod health;
mod help;
mod listener;
mod options;
mod request;

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tidegate_driver::{Assembly, Edge, Reports, StartError};
use tidegate_engine::{At, BindingId};
use tidegate_streams::Frame;
use tokio::sync::watch;

pub use exposition::exposition;
pub use help::help;
pub use options::Options;

/// How long to wait for the report of a worker.
pub(crate) const REPORT_TIMEOUT: Duration = Duration::from_secs(1);
/// Most connections at a time.
pub(crate) const CONNECTIONS_MAX: usize = 32;
/// Longest time of a connection.
pub(crate) const CONNECTION_LASTS: Duration = Duration::from_secs(10);

/// State of the edge.
pub(crate) struct Admin {
    reports: Reports,
    options: Options,
    stopping: watch::Sender<bool>,
    /// Number of requests served.
    requests: Cell<u64>,
}

/// Attaches the edge to the first worker; returns its id and the address it listens on, unless that
/// is a Unix socket. On other workers there is nothing to attach.
pub fn attach(
    assembly: &mut Assembly,
    options: Options,
) -> Result<(BindingId, Option<SocketAddr>), StartError> {
    if assembly.worker() > 0 {
        return Ok((assembly.attach_nothing(), None));
    }
    let listener = listener::bind(&options.listen).map_err(|error| {
        StartError::Edge(format!("cannot listen on {}: {error}", options.listen))
    })?;
    let address = listener.address();
    let reports = assembly.reports();
    let (id, edge) = assembly.attach_edge(0, |_, _| {
        Rc::new(Admin {
            reports,
            options,
            stopping: watch::Sender::new(false),
            requests: Cell::new(0),
        })
    });
    assembly.spawn(listener::accept(edge, listener));
    Ok((id, address))
}

impl Edge for Admin {
    fn on_output(&self, _: At, _: Frame) {}

    fn on_shutdown(&self) {
        self.stopping.send_replace(true);
    }

    fn report(&self, meter: &mut dyn tidegate_engine::Meter) {
        meter.counter("admin.server.requests", self.requests.get());
    }
}
