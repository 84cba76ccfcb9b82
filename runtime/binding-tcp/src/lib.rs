//! `tcp · client`: connects byte streams to TCP connections and Unix sockets.
//!
//! - One connection per stream, to the first endpoint that accepts it, within one deadline for all
//!   endpoints and their addresses. FLUSH `connected` says which one it is.
//! - A BEGIN may state other endpoints, and the peer to try last (see `failover`).
//! - The reply BEGIN names the peer at once; a RESET says why the connection failed or was lost. Data
//!   received before the loss is delivered first.
//! - Data that several requests send in one turn is written with one vectored write after the turn,
//!   without waiting for a socket in between.
//! - Credit is the only buffer: bytes are acknowledged when the socket has accepted them, and
//!   nothing is read while the reader grants no credit.
//! - `TCP_NODELAY` is always set. Delayed acknowledgements are disabled again after each read,
//!   because a broker with Nagle's algorithm would otherwise wait 40 ms for them.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "an edge works in real time")]

mod connection;
mod endpoint;
mod failover;
mod happy_eyeballs;
mod meters;
mod options;
mod read_buffer;
mod socket;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use tidegate_driver::{Assembly, Edge, Handle, caught};
use tidegate_engine::{At, BindingId, Meter, StreamId};
use tidegate_streams::bytes_stream::BytesBegin;
use tidegate_streams::{BeginEx, Frame, FrameKind};

use connection::Connection;
pub use endpoint::Endpoint;
use failover::Endpoints;
use meters::Counts;
pub use options::Options;
use read_buffer::ReadBuffer;

/// Credit of a stream to the socket, in bytes: the most that can be queued for a slow peer.
const WINDOW: u32 = 512 * 1024;

/// The edge `tcp · client`.
pub struct TcpClient {
    id: BindingId,
    handle: Handle,
    options: Rc<Options>,
    endpoints: Endpoints,
    state: Rc<RefCell<State>>,
    counts: Rc<Counts>,
    buffer: Rc<ReadBuffer>,
}

#[derive(Default)]
struct State {
    connections: BTreeMap<StreamId, Rc<Connection>>,
    /// Streams that received frames since the last flush.
    touched: Vec<StreamId>,
}

/// Attaches the edge to a worker.
pub fn attach(assembly: &mut Assembly, options: Options) -> BindingId {
    place(assembly, options).0
}

fn place(assembly: &mut Assembly, options: Options) -> (BindingId, Rc<TcpClient>) {
    assembly.attach_edge(WINDOW, |id, handle| {
        Rc::new(TcpClient {
            id,
            handle,
            endpoints: Endpoints::new(&options),
            options: Rc::new(options),
            state: Rc::default(),
            counts: Rc::default(),
            buffer: Rc::default(),
        })
    })
}

impl TcpClient {
    /// Runs a connection in a task, and removes it when the task ends.
    fn run(&self, connection: &Rc<Connection>) {
        let (handle, state) = (self.handle.clone(), Rc::clone(&self.state));
        let running = Rc::clone(connection);
        let options = Rc::clone(&self.options);
        let run = Rc::clone(connection).run(handle.clone(), options);
        let task = tokio::task::spawn_local(async move {
            if caught(run).await.is_err() {
                running.fail(&handle);
            }
            state.borrow_mut().connections.remove(&running.stream());
        });
        connection.set_task(task.abort_handle());
    }
}

impl Edge for TcpClient {
    fn on_output(&self, at: At, frame: Frame) {
        let mut state = self.state.borrow_mut();
        if frame.kind() == FrameKind::Begin {
            let asked = match frame {
                Frame::Begin(begin) => match begin.into_inner() {
                    BeginEx::Bytes(begin) => begin,
                    _ => BytesBegin::default(),
                },
                _ => BytesBegin::default(),
            };
            let journey = self.endpoints.journey(&asked);
            let connection =
                Connection::new(at.stream, self.id, journey, &self.counts, &self.buffer);
            self.run(&connection);
            state.connections.insert(at.stream, connection);
            return;
        }
        let Some(connection) = state.connections.get(&at.stream) else {
            return;
        };
        connection.take(frame);
        if state.touched.last() != Some(&at.stream) {
            state.touched.push(at.stream);
        }
    }

    fn flush(&self, handle: &Handle) {
        let mut touched = std::mem::take(&mut self.state.borrow_mut().touched);
        for stream in touched.drain(..) {
            let connection = self.state.borrow().connections.get(&stream).cloned();
            let Some(connection) = connection else {
                continue;
            };
            connection.settle(handle);
            if connection.is_over() {
                self.state.borrow_mut().connections.remove(&stream);
            }
        }
        self.state.borrow_mut().touched = touched;
    }

    fn report(&self, meter: &mut dyn Meter) {
        self.counts
            .report(self.state.borrow().connections.len(), meter);
    }
}

#[cfg(test)]
mod tests;
