//! `http · server`: turns HTTP/1.1 requests into http streams.
//!
//! - A stream is opened when the request is complete, so a client that sends its head or body
//!   slowly uses a connection and nothing behind it. The body is passed on in the buffers it was
//!   read into; only very many small buffers are merged.
//! - Access checks happen here: path, host (the `Host` header and an absolute target) and `Origin`
//!   (against DNS rebinding), message framing, size, and number of connections.
//! - Backpressure reaches the stream: a response is consumed as fast as the client reads it.
//! - The stream is aborted when the client disconnects, or reads nothing within `writeTimeout`.
//! - A stop closes idle connections and waits for clients that are still reading. A request whose
//!   body is incomplete one second after the stop began is answered 503.
//!
//! Bounds: `maxConnections` per worker (further ones wait in the kernel's queue),
//! `maxConnectionsPerAddress` (503), `maxBodySize` (413), 64 KiB of headers (431). A connection is
//! closed after `headerTimeout` for a head, `idleTimeout` between requests, and `writeTimeout` for
//! a write of which the client reads nothing. A body must be complete within `bodyTimeout` (408).
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "an edge works in real time")]

mod activity;
mod body;
mod close_signal;
mod connection;
mod events;
mod exchange;
mod framing;
mod listener;
mod meters;
mod options;
mod origin;
mod peers;
mod refusal;
mod request;
mod response;
mod watched;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use bytestring::ByteString;
use slab::Slab;
use tidegate_driver::{Assembly, Edge, Handle, StartError};
use tidegate_engine::{At, BindingId, Meter, StreamId};
use tidegate_streams::Frame;
use tokio::sync::watch;

use exchange::Exchange;
use meters::Counts;
pub use options::Options;

/// Initial credit of a response, in bytes.
const WINDOW: u32 = 256 * 1024;

/// State of the edge on one worker.
pub(crate) struct HttpServer {
    id: BindingId,
    exit: BindingId,
    handle: Handle,
    options: Options,
    listening: SocketAddr,
    path: ByteString,
    exchanges: RefCell<Slab<Rc<Exchange>>>,
    /// Keys of the exchanges that received frames since the last flush.
    touched: RefCell<Vec<usize>>,
    stopping: watch::Sender<bool>,
    counts: Counts,
}

/// Attaches the edge to a worker; returns its id and the address it listens on. `listening` is the
/// address of an earlier worker of the same engine, whose port is shared.
pub fn attach(
    assembly: &mut Assembly,
    options: Options,
    exit: BindingId,
    listening: Option<SocketAddr>,
) -> Result<(BindingId, SocketAddr), StartError> {
    let listen = listening.unwrap_or(options.listen.0);
    let shares = listening.is_some();
    let refused = |error| StartError::Listen {
        address: listen,
        error,
    };
    let listener = listener::bind(listen, shares).map_err(refused)?;
    let listening = listener.local_addr().map_err(refused)?;
    if !shares && !listening.ip().is_loopback() {
        tracing::warn!(
            %listening,
            "no authentication: anyone who can reach this address can use every tool; \
             listen on 127.0.0.1 unless this is intended"
        );
    }
    let (id, edge) = assembly.attach_edge(WINDOW, |id, handle| {
        Rc::new(HttpServer {
            id,
            exit,
            handle,
            path: options.path.as_str().into(),
            options,
            listening,
            exchanges: RefCell::default(),
            touched: RefCell::default(),
            stopping: watch::Sender::new(false),
            counts: Counts::default(),
        })
    });
    assembly.spawn(listener::accept(edge, listener));
    Ok((id, listening))
}

impl HttpServer {
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
