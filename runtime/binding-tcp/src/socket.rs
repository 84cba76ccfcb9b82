//! A connected socket: TCP or Unix.

use std::cell::RefCell;
use std::future::Future as _;
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::pin::pin;
use std::task::{Context, Poll};

use bytes::BufMut;
use socket2::SockRef;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpStream, tcp};
#[cfg(unix)]
use tokio::net::{UnixStream, unix};

/// A connected socket, read and written through a shared reference.
///
/// It is kept in halves, because only the reading half tells Tokio when a read was shorter than its buffer.
/// Tokio then waits for the next event of the socket; otherwise each message would cost one more read, which fails.
pub(crate) enum Socket {
    Tcp(RefCell<tcp::OwnedReadHalf>, tcp::OwnedWriteHalf),
    #[cfg(unix)]
    Unix(RefCell<unix::OwnedReadHalf>, unix::OwnedWriteHalf),
}

impl From<TcpStream> for Socket {
    fn from(socket: TcpStream) -> Self {
        let (reading, writing) = socket.into_split();
        Self::Tcp(RefCell::new(reading), writing)
    }
}

#[cfg(unix)]
impl From<UnixStream> for Socket {
    fn from(socket: UnixStream) -> Self {
        let (reading, writing) = socket.into_split();
        Self::Unix(RefCell::new(reading), writing)
    }
}

impl Socket {
    /// Writes what is accepted without waiting.
    pub(crate) fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(_, socket) => socket.try_write_vectored(slices),
            #[cfg(unix)]
            Self::Unix(_, socket) => socket.try_write_vectored(slices),
        }
    }

    pub(crate) fn poll_write_ready(&self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(_, socket) => socket.as_ref().poll_write_ready(task),
            #[cfg(unix)]
            Self::Unix(_, socket) => socket.as_ref().poll_write_ready(task),
        }
    }

    /// Reads into `buffer`; 0 at the end.
    pub(crate) fn poll_read(
        &self,
        task: &mut Context<'_>,
        buffer: &mut impl BufMut,
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(socket, _) => pin!(socket.borrow_mut().read_buf(buffer)).poll(task),
            #[cfg(unix)]
            Self::Unix(socket, _) => pin!(socket.borrow_mut().read_buf(buffer)).poll(task),
        }
    }

    /// Ends the sending direction.
    pub(crate) fn end(&self) -> io::Result<()> {
        match self {
            Self::Tcp(_, socket) => SockRef::from(socket.as_ref()).shutdown(Shutdown::Write),
            #[cfg(unix)]
            Self::Unix(_, socket) => SockRef::from(socket.as_ref()).shutdown(Shutdown::Write),
        }
    }

    /// Acknowledges at once what was read. The kernel reverts to delayed acknowledgements after each
    /// read, so this is repeated.
    pub(crate) fn set_quickack(&self) {
        #[cfg(target_os = "linux")]
        if let Self::Tcp(_, socket) = self
            && let Err(error) = socket.as_ref().set_quickack(true)
        {
            tracing::debug!(%error, "TCP_QUICKACK cannot be set");
        }
    }

    /// Whether Nagle's algorithm is off; it does not exist on Unix sockets.
    #[cfg(test)]
    pub(crate) fn is_undelayed(&self) -> bool {
        match self {
            Self::Tcp(_, socket) => socket.as_ref().nodelay().unwrap_or(false),
            #[cfg(unix)]
            Self::Unix(..) => true,
        }
    }
}
