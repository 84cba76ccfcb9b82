//! A connection: its socket, its task, and the queue of bytes to write.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::buf::Limit;
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use bytestring::ByteString;
use tidegate_driver::{Handle, is_exhaustion};
use tidegate_engine::{BindingId, StreamId};
use tidegate_streams::bytes_stream::{BytesBegin, BytesConnected, BytesReset};
use tidegate_streams::{AbortEx, Frame, ResetEx};
use tokio::task::AbortHandle;

use crate::failover::Journey;
use crate::meters::Counts;
use crate::options::Options;
use crate::socket::Socket;

/// Maximum size of a read, in bytes.
const READ: usize = 64 * 1024;
/// Minimum free capacity for a read, in bytes.
const READ_MIN: usize = 4 * 1024;
/// Maximum number of slices of a write.
const SLICES: usize = 32;

/// Why the task of a connection was woken.
enum SocketEvent {
    /// Number of bytes read; 0 at the end of the stream.
    Read(usize),
    Writable,
    /// There is data to write, or credit to read.
    Woken,
}

/// A connection, from the BEGIN of its stream until both halves have ended.
pub(crate) struct Connection {
    stream: StreamId,
    edge: BindingId,
    /// The peer; before the connection is open, all endpoints.
    remote: RefCell<ByteString>,
    /// Where it goes, until it is open.
    journey: RefCell<Option<Journey>>,
    counts: Rc<Counts>,
    socket: OnceCell<Socket>,
    out: RefCell<VecDeque<Bytes>>,
    /// END was received: the sending direction is closed once everything is written.
    ending: Cell<bool>,
    /// The sending direction is closed.
    ended: Cell<bool>,
    /// The last write returned `WouldBlock`.
    blocked: Cell<bool>,
    /// The error of a failed write. Data from the peer is still read first.
    write_error: RefCell<Option<io::Error>>,
    over: Cell<bool>,
    /// There is data to write, or credit to read.
    woken: Cell<bool>,
    /// Wakes the task.
    waker: Cell<Option<Waker>>,
    task: OnceCell<AbortHandle>,
}

impl Connection {
    /// Creates a connection that is not open yet.
    pub(crate) fn new(
        stream: StreamId,
        edge: BindingId,
        journey: Journey,
        counts: &Rc<Counts>,
    ) -> Rc<Self> {
        Rc::new(Self {
            stream,
            edge,
            remote: RefCell::new(journey.remote().into()),
            journey: RefCell::new(Some(journey)),
            counts: Rc::clone(counts),
            socket: OnceCell::new(),
            out: RefCell::default(),
            ending: Cell::new(false),
            ended: Cell::new(false),
            blocked: Cell::new(false),
            write_error: RefCell::default(),
            over: Cell::new(false),
            woken: Cell::new(false),
            waker: Cell::new(None),
            task: OnceCell::new(),
        })
    }

    pub(crate) const fn stream(&self) -> StreamId {
        self.stream
    }

    /// Sets the task that runs [`Self::run`]; it is aborted when the stream is.
    pub(crate) fn set_task(&self, task: AbortHandle) {
        let _ = self.task.set(task);
    }

    /// Whether the connection is closed.
    pub(crate) fn is_over(&self) -> bool {
        self.over.get()
    }

    /// The socket, once connected.
    #[cfg(test)]
    pub(crate) fn socket(&self) -> Option<&Socket> {
        self.socket.get()
    }

    /// Handles a frame of the stream.
    pub(crate) fn take(&self, frame: Frame) {
        match frame {
            Frame::Data(data) if !data.payload.is_empty() => {
                self.out.borrow_mut().push_back(data.payload);
            }
            Frame::End(_) => self.ending.set(true),
            Frame::Abort(_) | Frame::Reset(_) => self.close(),
            Frame::Window(_) => self.wake(),
            _ => {}
        }
    }

    /// Closes the connection at once. If the sending half was ended, writes what the socket accepts
    /// first, e.g. a DISCONNECT.
    fn close(&self) {
        if self.ending.get()
            && !self.blocked.get()
            && let Some(socket) = self.socket.get()
        {
            // An error does not matter: the stream is already closed.
            let _ = self.write(socket);
        }
        self.over.set(true);
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }

    /// Wakes the task to write the queue. It runs after the tasks that are already ready, so that
    /// packets of many concurrent requests go out in one write.
    pub(crate) fn settle(&self, handle: &Handle) {
        if self.over.get() {
            // The caller aborted or reset the stream; end our half too.
            handle.turn(self.edge, |cx| cx.terminate(self.stream, None, None));
        } else {
            self.wake();
        }
    }

    /// Writes what the socket accepts without waiting. Only called in the connection's task.
    fn flush(&self, handle: &Handle) {
        let Some(socket) = self.socket.get() else {
            return;
        };
        if self.blocked.get() || self.over.get() || self.write_error.borrow().is_some() {
            return;
        }
        match self.write(socket) {
            Ok(written) => {
                if written > 0 {
                    handle.acknowledge(self.edge, self.stream, written);
                }
            }
            Err(error) => {
                self.write_error.replace(Some(error));
            }
        }
    }

    fn write(&self, socket: &Socket) -> io::Result<usize> {
        let mut out = self.out.borrow_mut();
        let mut written = 0;
        while !out.is_empty() {
            match write_some(socket, &out) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    written += count;
                    self.counts.sent.add(count);
                    advance(&mut out, count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.blocked.set(true);
                    // Data that was not written does not carry the TCP acknowledgement of what was
                    // read.
                    socket.set_quickack();
                    return Ok(written);
                }
                Err(error) => return Err(error),
            }
        }
        if self.ending.get() && !self.ended.replace(true) {
            socket.end()?;
        }
        Ok(written)
    }

    /// Connects, then reads and writes until the connection ends.
    pub(crate) async fn run(self: Rc<Self>, handle: Handle, options: Rc<Options>) {
        // Sent first, so that errors can name the peer.
        let remote = self.remote.borrow().clone();
        handle.turn(self.edge, |cx| {
            let begin = BytesBegin {
                remote,
                ..BytesBegin::default()
            };
            cx.send(self.stream, Frame::begin(begin));
        });
        let journey = self.journey.take();
        let connected = match journey {
            Some(journey) => journey.connect(&options).await,
            None => Err(io::Error::other("it was opened before")),
        };
        handle.descriptors().note(&connected);
        match connected {
            Ok((endpoint, socket)) => {
                self.counts.connected.add(1);
                let remote: ByteString = endpoint.to_string().into();
                self.remote.replace(remote.clone());
                let socket = self.socket.get_or_init(|| socket);
                let connected = BytesConnected {
                    remote,
                    host: endpoint.host().into(),
                    secure: false,
                };
                handle.turn(self.edge, |cx| {
                    cx.send(self.stream, Frame::flush(connected));
                });
                self.flush(&handle);
                self.transfer(&handle, socket).await;
            }
            Err(error) => {
                self.counts.failed.add(1);
                self.report_failure(&handle, &error);
            }
        }
        self.over.set(true);
    }

    /// Reads and writes until the connection ends.
    async fn transfer(&self, handle: &Handle, socket: &Socket) {
        let mut buffer = BytesMut::with_capacity(READ);
        let mut reading = true;
        let mut in_a_row = 0;
        while !self.over.get() && (reading || !self.ended.get()) {
            let credit = handle.credit(self.edge, self.stream);
            let limit = if reading { credit.min(READ) } else { 0 };
            if limit == 0
                && let Some(error) = self.write_error.take()
            {
                return self.report_failure(handle, &error);
            }
            // Received data is sliced from this block, so small reads share it.
            if buffer.capacity() - buffer.len() < READ_MIN {
                buffer.reserve(READ);
            }
            let event = poll_fn(|task| {
                let mut buffer = (&mut buffer).limit(limit);
                self.poll_socket(socket, &mut buffer, task)
            });
            match event.await {
                Ok(SocketEvent::Read(0)) if self.write_error.borrow().is_some() => reading = false,
                Ok(SocketEvent::Read(0)) => {
                    handle.turn(self.edge, |cx| cx.end(self.stream, Frame::end()));
                    reading = false;
                }
                Ok(SocketEvent::Read(_)) => {
                    let payload = buffer.split().freeze();
                    self.counts.received.add(payload.len());
                    in_a_row += payload.len();
                    handle.turn(self.edge, |cx| cx.send(self.stream, Frame::data(payload)));
                    if self.will_write() {
                        // The written data carries the TCP acknowledgement. It can wait until tasks
                        // that the turn has made ready have run.
                        yield_to_ready_tasks().await;
                    } else {
                        socket.set_quickack();
                    }
                    // A peer that sends without a pause leaves the other tasks, and the other sockets,
                    // their turns: Tokio asks the sockets before it continues here.
                    if in_a_row >= READ {
                        in_a_row = 0;
                        tokio::task::yield_now().await;
                    }
                }
                Ok(SocketEvent::Writable) => {
                    self.blocked.set(false);
                    self.flush(handle);
                }
                Ok(SocketEvent::Woken) => self.flush(handle),
                Err(error) => {
                    let first = self.write_error.take();
                    return self.report_failure(handle, &first.unwrap_or(error));
                }
            }
        }
    }

    /// Polls for the next event; reads if `buffer` has room.
    fn poll_socket(
        &self,
        socket: &Socket,
        buffer: &mut Limit<&mut BytesMut>,
        task: &mut Context<'_>,
    ) -> Poll<io::Result<SocketEvent>> {
        if self.blocked.get()
            && let Poll::Ready(ready) = socket.poll_write_ready(task)
        {
            return Poll::Ready(ready.map(|()| SocketEvent::Writable));
        }
        if self.woken.replace(false) {
            return Poll::Ready(Ok(SocketEvent::Woken));
        }
        if buffer.has_remaining_mut()
            && let Poll::Ready(read) = socket.poll_read(task, buffer)
        {
            return Poll::Ready(read.map(SocketEvent::Read));
        }
        let waker = match self.waker.take() {
            Some(waker) if waker.will_wake(task.waker()) => waker,
            _ => task.waker().clone(),
        };
        self.waker.set(Some(waker));
        Poll::Pending
    }

    fn wake(&self) {
        self.woken.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Whether there is data to write that the socket will probably accept.
    fn will_write(&self) -> bool {
        !self.blocked.get() && !self.out.borrow().is_empty()
    }

    /// The task panicked.
    pub(crate) fn fail(&self, handle: &Handle) {
        self.over.set(true);
        self.report_failure(handle, &io::Error::other("internal error in tidegate"));
    }

    /// Terminates the stream with the reason.
    fn report_failure(&self, handle: &Handle, error: &io::Error) {
        let reset = BytesReset {
            remote: self.remote.borrow().clone(),
            reason: reason(error).into(),
            connected: self.socket.get().is_some(),
            certificate: false,
        };
        handle.turn(self.edge, |cx| {
            cx.terminate(
                self.stream,
                Some(ResetEx::Bytes(reset.clone())),
                Some(AbortEx::Bytes(reset)),
            );
        });
    }
}

/// Yields to the tasks that are ready.
async fn yield_to_ready_tasks() {
    let mut yielded = false;
    poll_fn(|task| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        task.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Writes the first slices of the queue.
fn write_some(socket: &Socket, out: &VecDeque<Bytes>) -> io::Result<usize> {
    let mut slices = [IoSlice::new(&[]); SLICES];
    for (slice, bytes) in slices.iter_mut().zip(out) {
        *slice = IoSlice::new(bytes);
    }
    let used = out.len().min(SLICES);
    socket.try_write(slices.get(..used).unwrap_or_default())
}

fn advance(out: &mut VecDeque<Bytes>, mut count: usize) {
    while let Some(front) = out.front_mut() {
        if count < front.len() {
            front.advance(count);
            return;
        }
        count -= front.len();
        out.pop_front();
    }
}

/// The reason, without the number of the operating system.
pub(crate) fn reason(error: &io::Error) -> String {
    if is_exhaustion(error) {
        return "the gateway has no free file descriptor".to_owned();
    }
    let text = match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused",
        io::ErrorKind::ConnectionReset => "connection reset",
        io::ErrorKind::BrokenPipe => "connection closed",
        io::ErrorKind::HostUnreachable => "host unreachable",
        io::ErrorKind::NetworkUnreachable => "network unreachable",
        io::ErrorKind::PermissionDenied => "permission denied",
        // The path of a Unix socket; a host name without an address has its own text.
        io::ErrorKind::NotFound if error.raw_os_error().is_some() => "no such file",
        _ => return error.to_string(),
    };
    text.to_owned()
}
