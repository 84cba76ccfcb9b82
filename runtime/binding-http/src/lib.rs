//! `http · server`: HTTP/1.1 requests into http streams.
//!
//! - A request becomes a stream when it is whole: a client that is slow with its headers or its body
//!   costs a connection and nothing behind it. The body's buffers go on as they were read; only where
//!   they are very many and small are they put together.
//! - Who may ask is decided here: the path, the host (of the `Host` header and of an absolute target)
//!   and the `Origin` of a request (DNS rebinding), its framing, its size, the number of connections.
//! - Credit reaches the client: a response is taken from the stream as fast as the client reads it.
//! - A client that goes away aborts its stream, and so does one that takes nothing for too long.
//! - A stop closes idle connections and waits for clients that still read their answers. A request
//!   whose body is not whole a second after the stop began is answered 503.
//!
//! Bounds: `maxConnections` for each worker (more wait in the kernel's queue),
//! `maxConnectionsPerAddress` (503), `maxBodySize` (413), 64 KiB of headers (431). A connection is
//! closed after `headerTimeout` for a head, `idleTimeout` between requests, and `writeTimeout` for a
//! write of which the client takes nothing; a body has `bodyTimeout` (408).
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

/// Credit of a response towards the client, in bytes.
const WINDOW: u32 = 256 * 1024;

/// The edge.
pub(crate) struct HttpServer {
    id: BindingId,
    exit: BindingId,
    handle: Handle,
    options: Options,
    listening: SocketAddr,
    path: ByteString,
    exchanges: RefCell<Slab<Rc<Exchange>>>,
    /// Exchanges that got frames since the last flush, by their keys.
    touched: RefCell<Vec<usize>>,
    stopping: watch::Sender<bool>,
    counts: Counts,
}

/// Attaches the edge to a worker; tells its name and where it listens. `listening` is where an earlier worker of
/// the same engine does, whose port is shared.
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
            "NOTHING GUARDS THIS ENDPOINT: whoever reaches this address can use every tool; \
             listen on 127.0.0.1 unless that is what you want"
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
    fn forget(&self, key: usize, stream: StreamId) {
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
                self.forget(key, exchange.stream);
            }
        }
        // Nothing is touched while this runs; the memory serves again.
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
