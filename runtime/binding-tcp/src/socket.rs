//! A connected socket: TCP or Unix.

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::task::{Context, Poll, ready};

use bytes::BufMut;
use socket2::SockRef;
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

/// A connected socket, read and written through a shared reference.
pub(crate) enum Socket {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

impl Socket {
    /// Writes what is accepted without waiting.
    pub(crate) fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.try_write_vectored(slices),
            #[cfg(unix)]
            Self::Unix(socket) => socket.try_write_vectored(slices),
        }
    }

    pub(crate) fn poll_write_ready(&self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(socket) => socket.poll_write_ready(task),
            #[cfg(unix)]
            Self::Unix(socket) => socket.poll_write_ready(task),
        }
    }

    /// Reads into `buffer`; 0 at the end.
    pub(crate) fn poll_read(
        &self,
        task: &mut Context<'_>,
        buffer: &mut impl BufMut,
    ) -> Poll<io::Result<usize>> {
        loop {
            let read = match self {
                Self::Tcp(socket) => {
                    ready!(socket.poll_read_ready(task))?;
                    socket.try_read_buf(buffer)
                }
                #[cfg(unix)]
                Self::Unix(socket) => {
                    ready!(socket.poll_read_ready(task))?;
                    socket.try_read_buf(buffer)
                }
            };
            match read {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read),
            }
        }
    }

    /// Ends the sending direction.
    pub(crate) fn end(&self) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => SockRef::from(socket).shutdown(Shutdown::Write),
            #[cfg(unix)]
            Self::Unix(socket) => SockRef::from(socket).shutdown(Shutdown::Write),
        }
    }

    /// Acknowledges at once what was read. The kernel reverts to delayed acknowledgements after each
    /// read, so this is repeated.
    pub(crate) fn set_quickack(&self) {
        #[cfg(target_os = "linux")]
        if let Self::Tcp(socket) = self
            && let Err(error) = socket.set_quickack(true)
        {
            tracing::debug!(%error, "TCP_QUICKACK cannot be set");
        }
    }

    /// Whether Nagle's algorithm is off; it does not exist on Unix sockets.
    #[cfg(test)]
    pub(crate) fn is_undelayed(&self) -> bool {
        match self {
            Self::Tcp(socket) => socket.nodelay().unwrap_or(false),
            #[cfg(unix)]
            Self::Unix(_) => true,
        }
    }
}
