//! `http · server`: turns HTTP requests into http streams.
//!
//! - It listens on addresses, with or without TLS, and on Unix sockets. Clients speak HTTP/1.1, or
//!   HTTP/2 where they agree on it: in the TLS handshake, or without TLS on loopback addresses and Unix
//!   sockets.
//! - A stream is opened when the request is complete, so a client that sends its head or body
//!   slowly uses a connection and nothing behind it. The body is passed on in the buffers it was
//!   read into; only very many small buffers are merged.
//! - Access checks happen here: path, host (the `Host` header and an absolute target) and `Origin`
//!   (against DNS rebinding), message framing, size, and number of connections.
//! - With `authorization`, guards are asked who the client is, before the body is received; the stream
//!   carries its identity and nothing of the credential (`authorization.rs`).
//! - The body of a request that is answered without it, such as a refused one, is read and discarded, so
//!   that the client's next request on the connection is served. The response announces the end of the
//!   connection where that body is too large, too slow or not sent yet (`Expect`), after 408 and 413, and
//!   after a request that violates the protocol.
//! - Backpressure reaches the stream: a response is consumed as fast as the client reads it.
//! - The stream is aborted when the client disconnects, or reads nothing within `writeTimeout`.
//! - A stop closes idle connections and waits for clients that are still reading. A request whose
//!   body is incomplete one second after the stop began is answered 503.
//!
//! Bounds: `maxConnections` per worker (further ones wait in the kernel's queue),
//! `maxConnectionsPerAddress` (503), `maxBodySize` (413), 64 KiB of headers (431). A connection is
//! closed after `headerTimeout` for a head, `idleTimeout` between requests, and `writeTimeout` for
//! a write of which the client reads nothing. A body must be complete within `bodyTimeout` (408). Of
//! HTTP/2: `maxStreams` for each connection, `maxRequests` per worker (503), and the same sizes and
//! timeouts (`multiplexed.rs`). Of TLS: `maxHandshakes` per worker, and `handshakeTimeout`.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "an edge works in real time")]

mod activity;
mod authorization;
mod body;
mod client;
mod close_signal;
mod connection;
mod cors;
mod events;
mod exchange;
mod framing;
mod listener;
mod listening;
mod meters;
mod misdirected;
mod multiplexed;
mod options;
mod origin;
mod peers;
mod refusal;
mod request;
mod response;
mod status;
mod tls;
mod transport;
#[cfg(unix)]
mod unix;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytestring::ByteString;
use slab::Slab;
use tidegate_driver::{Assembly, Edge, Handle, StartError};
use tidegate_engine::{At, BindingId, Meter, StreamId};
use tidegate_guard::Guards;
use tidegate_streams::Frame;
use tokio::sync::{Semaphore, watch};

use authorization::{Authorizer, Failures};
use cors::Cors;
use events::HandshakeFailed;
use exchange::Exchange;
pub use listening::Listening;
use meters::Counts;
use misdirected::Mistaken;
pub use options::Options;
use status::Status;

/// Initial credit of a response, in bytes.
const WINDOW: u32 = 256 * 1024;

/// State of the edge on one worker.
pub(crate) struct HttpServer {
    id: BindingId,
    exit: BindingId,
    handle: Handle,
    options: Options,
    listening: Listening,
    path: ByteString,
    cors: Option<Cors>,
    /// Checks credentials, if `authorization` is set.
    authorizer: Option<Authorizer>,
    failures: Failures,
    /// The status page, if `status` is set.
    status: Option<Rc<Status>>,
    exchanges: RefCell<Slab<Rc<Exchange>>>,
    /// Keys of the exchanges that received frames since the last flush.
    touched: RefCell<Vec<usize>>,
    /// Number of requests of multiplexed connections.
    multiplexed: Cell<usize>,
    /// Places for TLS handshakes.
    handshakes: Semaphore,
    misdirected: Mistaken,
    stopping: watch::Sender<bool>,
    counts: Counts,
}

/// Checks whether options and guards fit together.
///
/// # Errors
///
/// Which do not, and what to do.
pub fn check(options: &Options, guards: &Guards) -> Result<(), String> {
    Authorizer::new(options, guards).map(drop)
}

/// Attaches the edge to a worker; returns its id and what it shares with the edges of other workers.
/// `listening` is what an earlier worker of the same engine returned.
pub fn attach(
    assembly: &mut Assembly,
    options: Options,
    exit: BindingId,
    guards: &Guards,
    listening: Option<Listening>,
) -> Result<(BindingId, Listening), StartError> {
    let authorizer = Authorizer::new(&options, guards).map_err(StartError::Edge)?;
    let is_first = listening.is_none();
    let (listening, listeners) = match listening {
        Some(listening) => {
            let listeners = listening.join()?;
            (listening, listeners)
        }
        None => Listening::begin(&options)?,
    };
    if is_first && options.network_address().is_some() && !options.authenticates() {
        if options.anonymous {
            tracing::warn!(
                ?listening,
                "anonymous clients: anyone who can reach this address can use what is not guarded"
            );
        } else {
            tracing::warn!(
                ?listening,
                "no authentication: anyone who can reach this address can use every tool"
            );
        }
    }
    let handshakes = options.tls.as_ref().map(|tls| tls.max_handshakes.size());
    let status = options
        .status
        .as_ref()
        .map(|_| Status::new(assembly.reports()));
    let shared = listening.clone();
    let (id, edge) = assembly.attach_edge(WINDOW, |id, handle| {
        Rc::new(HttpServer {
            id,
            exit,
            handle,
            path: options.path.as_str().into(),
            cors: Cors::of(&options),
            authorizer,
            failures: Failures::default(),
            status,
            options,
            listening: shared,
            exchanges: RefCell::default(),
            touched: RefCell::default(),
            multiplexed: Cell::new(0),
            handshakes: Semaphore::new(handshakes.unwrap_or_default()),
            misdirected: Mistaken::default(),
            stopping: watch::Sender::new(false),
            counts: Counts::default(),
        })
    });
    if is_first && let Some(tls) = listening.tls() {
        assembly.spawn(tls::watch(Rc::clone(&edge), tls.clone()));
    }
    assembly.spawn(listener::accept(edge, listeners));
    Ok((id, listening))
}

impl HttpServer {
    fn handshake_failed(&self, reason: &str) {
        let failed = HandshakeFailed {
            reason: reason.into(),
        };
        self.handle.turn(self.id, |cx| cx.event(&failed));
    }

    fn remove(&self, key: usize, stream: StreamId) {
        let mut exchanges = self.exchanges.borrow_mut();
        if exchanges.get(key).is_some_and(|it| it.stream == stream) {
            exchanges.remove(key);
        }
    }
}

impl Edge for HttpServer {
    fn on_output(&self, at: At, frame: Frame) {
        let key = at.token.index();
        if let Some(exchange) = self.exchanges.borrow().get(key)
            && exchange.stream == at.stream
        {
            exchange.take(frame);
            let mut touched = self.touched.borrow_mut();
            if touched.last() != Some(&key) {
                touched.push(key);
            }
        }
    }

    fn flush(&self, handle: &Handle) {
        let mut touched = self.touched.take();
        for key in touched.drain(..) {
            let exchange = self.exchanges.borrow().get(key).cloned();
            let Some(exchange) = exchange else { continue };
            if exchange.flush(handle) {
                self.remove(key, exchange.stream);
            }
        }
        // The vector is not used while this runs; its memory is reused.
        self.touched.replace(touched);
    }

    fn on_shutdown(&self) {
        self.stopping.send_replace(true);
    }

    fn report(&self, meter: &mut dyn Meter) {
        self.counts.report(self.exchanges.borrow().len(), meter);
    }
}

#[cfg(test)]
mod tests;
