//! What the edge counts and holds, under names that stay.
//!
//! Names are OpenTelemetry's where it has them (`http.server.active_requests`).

use std::cell::Cell;
use std::rc::Rc;

use tidegate_engine::Meter;
use tidegate_engine::MeterKind::Counter;

use crate::HttpServer;
use crate::activity::Expired;

/// A figure that only grows.
#[derive(Debug, Default)]
pub(crate) struct Count(Cell<u64>);

impl Count {
    pub(crate) fn add(&self) {
        self.0.set(self.0.get() + 1);
    }
}

/// What has happened so far on a worker.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Connections that are served now.
    open: Cell<usize>,
    /// Connections that were taken.
    accepted: Count,
    /// Connections that were refused because their address has too many.
    pub(crate) refused: Count,
    header_timeouts: Count,
    idle_timeouts: Count,
    write_timeouts: Count,
    /// Requests that became streams.
    pub(crate) requests: Count,
    /// Requests that the edge itself has answered.
    pub(crate) requests_refused: Count,
}

impl Counts {
    /// A connection is closed because something took too long.
    pub(crate) fn timed_out(&self, expired: Expired) {
        match expired {
            Expired::Header => &self.header_timeouts,
            Expired::Idle => &self.idle_timeouts,
            Expired::Write => &self.write_timeouts,
        }
        .add();
    }

    pub(crate) fn report(&self, active_requests: usize, meter: &mut dyn Meter) {
        meter.gauge("http.server.connections", self.open.get());
        meter.gauge("http.server.active_requests", active_requests);
        meter.counter("http.server.connections.accepted", self.accepted.0.get());
        meter.counter("http.server.connections.refused", self.refused.0.get());
        for (name, label, each) in [
            (
                "http.server.connections.timed_out",
                "timeout",
                &[
                    ("header", &self.header_timeouts),
                    ("idle", &self.idle_timeouts),
                    ("write", &self.write_timeouts),
                ][..],
            ),
            (
                "http.server.requests",
                "outcome",
                &[
                    ("opened", &self.requests),
                    ("refused", &self.requests_refused),
                ],
            ),
        ] {
            for (value, count) in each {
                meter.record(Counter, name, &[(label, *value)], count.0.get());
            }
        }
    }
}

/// A connection that is served, until this is dropped.
pub(crate) struct Served(Rc<HttpServer>);

impl Served {
    pub(crate) fn begin(edge: &Rc<HttpServer>) -> Self {
        edge.counts.accepted.add();
        edge.counts.open.set(edge.counts.open.get() + 1);
        Self(Rc::clone(edge))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let open = &self.0.counts.open;
        open.set(open.get().saturating_sub(1));
    }
}
