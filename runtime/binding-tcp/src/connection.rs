//! One connection: its socket, its task, and what waits to be written.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::buf::Limit;
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use socket2::SockRef;
use tidegate_driver::{Handle, is_exhaustion};
use tidegate_engine::{BindingId, StreamId};
use tidegate_streams::bytes_stream::{BytesBegin, BytesReset};
use tidegate_streams::{AbortEx, Frame, ResetEx};
use tokio::io::AsyncReadExt as _;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::meters::Counts;
use crate::options::Options;

/// Bytes asked of one read.
const READ: usize = 64 * 1024;
/// Bytes that a read must have room for.
const READ_MIN: usize = 4 * 1024;
/// Slices handed to one write, at the most.
const SLICES: usize = 64;
/// So many is nearly all that waits: no more of them are laid out than are used.
const FEW: usize = 8;

/// What a connection's task is woken for.
enum Happened {
    /// So many bytes have come; none at the end of all.
    Read(usize),
    Writable,
    /// There is something to write, or credit to read.
    Woken,
}

/// A connection.
pub(crate) struct Connection {
    stream: StreamId,
    edge: BindingId,
    remote: String,
    counts: Rc<Counts>,
    socket: OnceCell<OwnedWriteHalf>,
    out: RefCell<VecDeque<Bytes>>,
    /// The stream's END has come: when all is written, the sending direction is closed.
    ending: Cell<bool>,
    /// The sending direction is closed.
    ended: Cell<bool>,
    /// The socket takes no more for now.
    blocked: Cell<bool>,
    /// Why nothing can be written any more. What the peer said before is still read.
    broken: RefCell<Option<io::Error>>,
    over: Cell<bool>,
    /// There is something to write, or credit to read.
    woken: Cell<bool>,
    /// The task that is to be told.
    waker: Cell<Option<Waker>>,
    task: OnceCell<AbortHandle>,
}

impl Connection {
    /// A connection that is still to be made.
    pub(crate) fn new(
        stream: StreamId,
        edge: BindingId,
        options: &Options,
        counts: &Rc<Counts>,
    ) -> Rc<Self> {
        Rc::new(Self {
            stream,
            edge,
            remote: options.remote(),
            counts: Rc::clone(counts),
            socket: OnceCell::new(),
            out: RefCell::default(),
            ending: Cell::new(false),
            ended: Cell::new(false),
            blocked: Cell::new(false),
            broken: RefCell::default(),
            over: Cell::new(false),
            woken: Cell::new(false),
            waker: Cell::new(None),
            task: OnceCell::new(),
        })
    }

    pub(crate) const fn stream(&self) -> StreamId {
        self.stream
    }

    /// Tells of the task that [`Self::run`]s it, which is aborted when the stream is.
    pub(crate) fn runs_in(&self, task: AbortHandle) {
        let _ = self.task.set(task);
    }

    /// Whether nothing will happen on it any more.
    pub(crate) fn is_over(&self) -> bool {
        self.over.get()
    }

    /// Its socket, once it is up.
    #[cfg(test)]
    pub(crate) fn socket(&self) -> Option<&TcpStream> {
        self.socket.get().map(AsRef::as_ref)
    }

    /// Takes a frame of the stream.
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

    /// Ends the connection at once, behind what the socket still takes of a half that was ended in
    /// order: a protocol's last word.
    fn close(&self) {
        if self.ending.get()
            && !self.blocked.get()
            && let Some(socket) = self.socket.get()
        {
            // It goes as far as it goes: nobody waits for it any more.
            let _ = self.write(socket.as_ref());
        }
        self.over.set(true);
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }

    /// Has what waits written, by its task: behind those that are about to run now, so that the
    /// packets of many requests which arrived together go out in one write.
    pub(crate) fn settle(&self, handle: &Handle) {
        if self.over.get() {
            // The stream was aborted or reset by its caller; this is our part of its end.
            handle.turn(self.edge, |cx| cx.terminate(self.stream, None, None));
        } else {
            self.wake();
        }
    }

    /// Writes what the socket takes without waiting; in the connection's task alone.
    fn flush(&self, handle: &Handle) {
        let Some(socket) = self.socket.get() else {
            return;
        };
        if self.blocked.get() || self.over.get() || self.broken.borrow().is_some() {
            return;
        }
        match self.write(socket.as_ref()) {
            Ok(written) => {
                if written > 0 {
                    handle.acknowledge(self.edge, self.stream, written);
                }
            }
            Err(error) => {
                self.broken.replace(Some(error));
            }
        }
    }

    fn write(&self, socket: &TcpStream) -> io::Result<usize> {
        let mut out = self.out.borrow_mut();
        let mut written = 0;
        while !out.is_empty() {
            let tried = if out.len() <= FEW {
                write_some::<FEW>(socket, &out)
            } else {
                write_some::<SLICES>(socket, &out)
            };
            match tried {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    written += count;
                    self.counts.sent.add(count);
                    advance(&mut out, count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.blocked.set(true);
                    // What was not written does not acknowledge what was read.
                    acknowledge_at_once(socket);
                    return Ok(written);
                }
                Err(error) => return Err(error),
            }
        }
        if self.ending.get() && !self.ended.replace(true) {
            SockRef::from(socket).shutdown(std::net::Shutdown::Write)?;
        }
        Ok(written)
    }

    /// Connects, and reads and writes until the connection ends.
    pub(crate) async fn run(self: Rc<Self>, handle: Handle, options: Rc<Options>) {
        // Whoever waits for the connection can say for which, whatever comes of it.
        let remote = self.remote.clone().into();
        handle.turn(self.edge, |cx| {
            cx.send(self.stream, Frame::begin(BytesBegin { remote }));
        });
        let within = Duration::from_millis(options.connect_timeout);
        let connected = timeout(within, connect(&options))
            .await
            .unwrap_or_else(|_| {
                let what = format!("no answer within {} ms", options.connect_timeout);
                Err(io::Error::new(io::ErrorKind::TimedOut, what))
            });
        handle.descriptors().note(&connected);
        match connected {
            Ok(socket) => {
                self.counts.connected.add(1);
                let (reading, writing) = socket.into_split();
                let _ = self.socket.set(writing);
                self.flush(&handle);
                self.converse(&handle, reading).await;
            }
            Err(error) => {
                self.counts.failed.add(1);
                self.lose(&handle, &error);
            }
        }
        self.over.set(true);
    }

    /// Reads and writes until the connection ends.
    async fn converse(&self, handle: &Handle, mut socket: OwnedReadHalf) {
        let mut buffer = BytesMut::with_capacity(READ);
        let mut reading = true;
        while !self.over.get() && (reading || !self.ended.get()) {
            let credit = handle.credit(self.edge, self.stream);
            let limit = if reading { credit.min(READ) } else { 0 };
            if limit == 0
                && let Some(error) = self.broken.take()
            {
                return self.lose(handle, &error);
            }
            // What was read is kept as slices of this block: small reads share it.
            if buffer.capacity() - buffer.len() < READ_MIN {
                buffer.reserve(READ);
            }
            let happened = poll_fn(|task| {
                let mut buffer = (&mut buffer).limit(limit);
                self.poll_socket(&mut socket, &mut buffer, task)
            });
            match happened.await {
                Ok(Happened::Read(0)) if self.broken.borrow().is_some() => reading = false,
                Ok(Happened::Read(0)) => {
                    handle.turn(self.edge, |cx| cx.end(self.stream, Frame::end()));
                    reading = false;
                }
                Ok(Happened::Read(_)) => {
                    let payload = buffer.split().freeze();
                    self.counts.received.add(payload.len());
                    handle.turn(self.edge, |cx| cx.send(self.stream, Frame::data(payload)));
                    if self.will_write() {
                        // What is written carries the acknowledgement, and is in less of a hurry
                        // than the answers that the turn may have brought others.
                        behind_the_others().await;
                    } else {
                        acknowledge_at_once(socket.as_ref());
                    }
                }
                Ok(Happened::Writable) => {
                    self.blocked.set(false);
                    self.flush(handle);
                }
                Ok(Happened::Woken) => self.flush(handle),
                Err(error) => {
                    let first = self.broken.take();
                    return self.lose(handle, &first.unwrap_or(error));
                }
            }
        }
    }

    /// What there is to do for the task; reads where `buffer` has room.
    fn poll_socket(
        &self,
        socket: &mut OwnedReadHalf,
        buffer: &mut Limit<&mut BytesMut>,
        task: &mut Context<'_>,
    ) -> Poll<io::Result<Happened>> {
        if self.blocked.get()
            && let Poll::Ready(ready) = socket.as_ref().poll_write_ready(task)
        {
            return Poll::Ready(ready.map(|()| Happened::Writable));
        }
        if self.woken.replace(false) {
            return Poll::Ready(Ok(Happened::Woken));
        }
        if buffer.has_remaining_mut()
            && let Poll::Ready(read) = pin!(socket.read_buf(buffer)).poll(task)
        {
            return Poll::Ready(read.map(Happened::Read));
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

    /// Whether there is something to write that the socket will probably take.
    fn will_write(&self) -> bool {
        !self.blocked.get() && !self.out.borrow().is_empty()
    }

    /// The task that runs it has panicked.
    pub(crate) fn fail(&self, handle: &Handle) {
        self.over.set(true);
        self.lose(handle, &io::Error::other("a fault inside tidegate"));
    }

    /// Tells the stream why the connection cannot be had or was lost.
    fn lose(&self, handle: &Handle, error: &io::Error) {
        let told = BytesReset {
            remote: self.remote.clone().into(),
            reason: reason(error).into(),
            connected: self.socket.get().is_some(),
        };
        handle.turn(self.edge, |cx| {
            cx.terminate(
                self.stream,
                Some(ResetEx::Bytes(told.clone())),
                Some(AbortEx::Bytes(told)),
            );
        });
    }
}

/// Lets the tasks run that are about to.
async fn behind_the_others() {
    let mut stood = false;
    poll_fn(|task| {
        if std::mem::replace(&mut stood, true) {
            return Poll::Ready(());
        }
        task.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// One write of the first `N` of what waits.
fn write_some<const N: usize>(socket: &TcpStream, out: &VecDeque<Bytes>) -> io::Result<usize> {
    let mut slices = [IoSlice::new(&[]); N];
    for (slice, bytes) in slices.iter_mut().zip(out) {
        *slice = IoSlice::new(bytes);
    }
    let used = out.len().min(N);
    socket.try_write_vectored(slices.get(..used).unwrap_or_default())
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

/// The kernel delays acknowledgements again after each one it was asked for.
fn acknowledge_at_once(socket: &TcpStream) {
    #[cfg(target_os = "linux")]
    if let Err(error) = socket.set_quickack(true) {
        tracing::debug!(%error, "TCP_QUICKACK cannot be set");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = socket;
}

async fn connect(options: &Options) -> io::Result<TcpStream> {
    let addresses = lookup_host((options.host.as_str(), options.port)).await?;
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(socket) => {
                socket.set_nodelay(true)?;
                acknowledge_at_once(&socket);
                return Ok(socket);
            }
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// Why, without the operating system's number.
fn reason(error: &io::Error) -> String {
    if is_exhaustion(error) {
        return "no file descriptor is left in the gateway".to_owned();
    }
    let text = match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused",
        io::ErrorKind::ConnectionReset => "the connection was reset",
        io::ErrorKind::BrokenPipe => "the connection was closed",
        io::ErrorKind::HostUnreachable => "the host cannot be reached",
        io::ErrorKind::NetworkUnreachable => "the network cannot be reached",
        _ => return error.to_string(),
    };
    text.to_owned()
}
