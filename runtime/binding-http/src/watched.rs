//! A socket that tells when its client does not read.
//!
//! A response is out of hyper's sight when its last piece is in hyper's buffer, and a client that is
//! slow with that piece is not one that asks for nothing.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::quiet::Quiet;

/// The socket.
#[derive(Debug)]
pub(crate) struct Watched<S> {
    socket: S,
    quiet: Quiet,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Watched<S> {
    pub(crate) const fn new(socket: S, quiet: Quiet) -> Self {
        Self { socket, quiet }
    }

    fn wrote(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.quiet.stuck(written.is_pending());
        written
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(task, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(task, bytes);
        self.wrote(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(task, slices);
        self.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(task)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_whose_client_does_not_read_is_not_quiet() {
        let patience = Duration::from_secs(1);
        let (socket, mut client) = duplex(8);
        let quiet = Quiet::now();
        let mut socket = Watched::new(socket, quiet.clone());
        // The response is longer than what lies between the two.
        let writing = timeout(patience, socket.write_all(b"0123456789ab"));
        assert!(writing.await.is_err(), "nobody reads");
        assert!(timeout(10 * patience, quiet.lasts(patience)).await.is_err());
        let mut read = [0; 8];
        client
            .read_exact(&mut read)
            .await
            .expect("what was written");
        socket.write_all(b"89ab").await.expect("there is room");
        let lasts = timeout(10 * patience, quiet.lasts(patience)).await;
        assert!(lasts.is_ok(), "now nothing happens");
    }
}
