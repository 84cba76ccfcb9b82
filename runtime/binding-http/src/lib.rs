//! `http · server`: HTTP/1.1 requests into http streams.
//!
//! - A request becomes a stream when it is whole: a client that is slow with its headers or its body
//!   costs a connection and nothing behind it. The body's buffers go on as they were read; only where
//!   they are very many and small are they put together.
//! - Who may ask is decided here: the path, the `Host` and the `Origin` of a request (DNS rebinding),
//!   its size, the number of connections.
//! - Credit reaches the client: a response is taken from the stream as fast as the client reads it.
//! - A client that goes away aborts its stream.
//! - A stop closes idle connections and waits for clients that still read their answers.
//!
//! Bounds: `maxConnections` for each worker (more wait in the kernel's queue), `maxBodySize` (413),
//! 64 KiB of headers (431), `headerTimeout` and `bodyTimeout` (408, or the connection is closed).
#![forbid(unsafe_code)]

mod body;
mod exchange;
mod listener;
mod options;
mod origin;
mod request;
mod response;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::rc::Rc;

use tidegate_driver::{Assembly, Edge, Handle, StartError};
use tidegate_engine::{At, BindingId, StreamId};
use tidegate_streams::Frame;
use tokio::sync::watch;

use exchange::Exchange;
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
    exchanges: RefCell<BTreeMap<StreamId, Rc<Exchange>>>,
    touched: RefCell<BTreeSet<StreamId>>,
    stopping: watch::Sender<bool>,
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
    let listener = listener::bind(listen, shares)
        .map_err(|error| StartError::Edge(format!("cannot listen on {listen}: {error}")))?;
    let listening = listener
        .local_addr()
        .map_err(|error| StartError::Edge(format!("cannot listen on {listen}: {error}")))?;
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
            options,
            listening,
            exchanges: RefCell::default(),
            touched: RefCell::default(),
            stopping: watch::Sender::new(false),
        })
    });
    assembly.spawn(listener::accept(edge, listener));
    Ok((id, listening))
}

impl Edge for HttpServer {
    fn on_output(&self, at: At, frame: Frame) {
        if let Some(exchange) = self.exchanges.borrow().get(&at.stream) {
            exchange.take(frame);
            self.touched.borrow_mut().insert(at.stream);
        }
    }

    fn flush(&self, handle: &Handle) {
        let touched = std::mem::take(&mut *self.touched.borrow_mut());
        for stream in touched {
            let exchange = self.exchanges.borrow().get(&stream).cloned();
            let Some(exchange) = exchange else { continue };
            if exchange.flush(handle) {
                self.exchanges.borrow_mut().remove(&stream);
            }
        }
    }

    fn on_shutdown(&self) {
        self.stopping.send_replace(true);
    }
}

#[cfg(test)]
mod tests;
