//! Metrics of the edge, under stable names.
//!
//! OpenTelemetry names are used where they exist (`http.server.active_requests`).

use std::cell::Cell;
use std::rc::Rc;

use tidegate_engine::Meter;
use tidegate_engine::MeterKind::Counter;

use crate::HttpServer;
use crate::activity::Expired;

/// A counter.
#[derive(Debug, Default)]
pub(crate) struct Count(Cell<u64>);

impl Count {
    pub(crate) fn add(&self) {
        self.0.set(self.0.get() + 1);
    }
}

/// Counters of a worker since the start.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Open connections.
    open: Cell<usize>,
    /// Accepted connections.
    accepted: Count,
    /// Connections refused because their address has too many.
    pub(crate) refused: Count,
    header_timeouts: Count,
    idle_timeouts: Count,
    write_timeouts: Count,
    stalled: Count,
    abused: Count,
    handshakes: Count,
    handshakes_failed: Count,
    /// Requests turned into streams.
    pub(crate) requests: Count,
    /// Requests answered by the edge itself.
    pub(crate) requests_refused: Count,
    /// Of these, requests refused because of their credentials.
    pub(crate) authorizations_failed: Count,
}

impl Counts {
    /// Counts a connection closed by a timeout.
    pub(crate) fn timed_out(&self, expired: Expired) {
        match expired {
            Expired::Header => &self.header_timeouts,
            Expired::Idle => &self.idle_timeouts,
            Expired::Write => &self.write_timeouts,
        }
        .add();
    }

    /// Counts a response of a multiplexed connection that the client did not take.
    pub(crate) fn stalled(&self) {
        self.stalled.add();
    }

    /// Counts a connection closed because the client cancelled too many requests.
    pub(crate) fn abused(&self) {
        self.abused.add();
    }

    /// Counts a TLS handshake.
    pub(crate) fn handshake(&self, succeeded: bool) {
        if succeeded {
            &self.handshakes
        } else {
            &self.handshakes_failed
        }
        .add();
    }

    pub(crate) fn report(&self, active_requests: usize, meter: &mut dyn Meter) {
        meter.gauge("http.server.connections", self.open.get());
        meter.gauge("http.server.active_requests", active_requests);
        meter.counter("http.server.connections.accepted", self.accepted.0.get());
        meter.counter("http.server.connections.refused", self.refused.0.get());
        meter.counter("http.server.responses.stalled", self.stalled.0.get());
        meter.counter("http.server.connections.abused", self.abused.0.get());
        let failed = self.authorizations_failed.0.get();
        meter.counter("http.server.authorizations.failed", failed);
        for (name, label, each) in [
            (
                "http.server.handshakes",
                "outcome",
                &[
                    ("done", &self.handshakes),
                    ("failed", &self.handshakes_failed),
                ][..],
            ),
            (
                "http.server.connections.timed_out",
                "timeout",
                &[
                    ("header", &self.header_timeouts),
                    ("idle", &self.idle_timeouts),
                    ("write", &self.write_timeouts),
                ],
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

/// Counts an open connection until it is dropped.
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
