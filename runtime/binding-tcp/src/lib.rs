//! `tcp · client`: byte streams onto TCP connections.
//!
//! - One connection a stream; the reply BEGIN tells at once where it leads, a RESET why it could not be
//!   had or was lost. What the peer said before it was lost is passed on first.
//! - What the requests that arrived together send goes out in one vectored write, as soon as each of
//!   them had its turn: no socket is waited for in between.
//! - Credit is the only buffer: bytes are acknowledged when the socket has taken them, and nothing
//!   is read while the reader grants none.
//! - `TCP_NODELAY` always; delayed acknowledgements are switched off again after each read, because
//!   a broker with Nagle's algorithm on would otherwise wait 40 ms for them.
#![forbid(unsafe_code)]

mod connection;
mod meters;
mod options;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use tidegate_driver::{Assembly, Edge, Handle, caught};
use tidegate_engine::{At, BindingId, Meter, StreamId};
use tidegate_streams::{Frame, FrameKind};

use connection::Connection;
use meters::Counts;
pub use options::Options;

/// Credit of a stream towards the socket, in bytes: what may wait for a slow peer.
const WINDOW: u32 = 512 * 1024;

/// The edge.
pub struct TcpClient {
    id: BindingId,
    handle: Handle,
    options: Rc<Options>,
    state: Rc<RefCell<State>>,
    counts: Rc<Counts>,
}

#[derive(Default)]
struct State {
    connections: BTreeMap<StreamId, Rc<Connection>>,
    /// Streams that got frames since the last flush.
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
            options: Rc::new(options),
            state: Rc::default(),
            counts: Rc::default(),
        })
    })
}

impl TcpClient {
    /// Connects, and forgets the connection as soon as it is over.
    fn run(&self, connection: &Rc<Connection>) {
        let (handle, state) = (self.handle.clone(), Rc::clone(&self.state));
        let running = Rc::clone(connection);
        let run = Rc::clone(connection).run(handle.clone(), Rc::clone(&self.options));
        let task = tokio::task::spawn_local(async move {
            if caught(run).await.is_err() {
                running.fail(&handle);
            }
            state.borrow_mut().connections.remove(&running.stream());
        });
        connection.runs_in(task.abort_handle());
    }
}

impl Edge for TcpClient {
    fn on_output(&self, at: At, frame: Frame) {
        let mut state = self.state.borrow_mut();
        if frame.kind() == FrameKind::Begin {
            let connection = Connection::new(at.stream, self.id, &self.options, &self.counts);
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
