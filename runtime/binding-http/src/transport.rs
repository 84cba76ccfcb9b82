//! A socket that reports received and sent bytes, and whose first bytes can be looked at.
//!
//! Once the last piece of a response is in hyper's buffer, only the socket shows whether the client
//! reads it. With TLS, what is sent is seen below it ([`Transport`]), and what is received above it
//! ([`Received`]): there it is the text of the request.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

use crate::activity::Activity;

/// Number of bytes that tell the protocols apart.
const OPENING: usize = 3;

/// What a client speaks, by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opening {
    Http1,
    /// The preface of HTTP/2, `PRI * HTTP/2.0`.
    Http2,
    /// The handshake of TLS.
    Tls,
    /// The client has closed the connection.
    Closed,
}

/// A socket that reports the progress of writes.
#[derive(Debug)]
pub(crate) struct Transport<S> {
    socket: S,
    activity: Activity,
    /// The first bytes, to be read again.
    opening: [u8; OPENING],
    read_again: usize,
    opening_length: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Transport<S> {
    pub(crate) const fn new(socket: S, activity: Activity) -> Self {
        Self {
            socket,
            activity,
            opening: [0; OPENING],
            read_again: 0,
            opening_length: 0,
        }
    }

    /// Waits for the bytes that tell what the client speaks, and keeps them to be read again.
    pub(crate) async fn opening(&mut self) -> io::Result<Opening> {
        loop {
            let Some(room @ [_, ..]) = self.opening.get_mut(self.opening_length..) else {
                return Ok(Opening::Http2);
            };
            let read = self.socket.read(room).await?;
            self.opening_length += read;
            match self.opening.get(..self.opening_length) {
                Some([]) => return Ok(Opening::Closed),
                Some([0x16, ..]) => return Ok(Opening::Tls),
                Some(bytes) if read > 0 && b"PRI".starts_with(bytes) => {}
                _ => return Ok(Opening::Http1),
            }
        }
    }

    fn wrote(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_pending() {
            self.activity.blocked();
        } else {
            self.activity.wrote();
        }
        written
    }

    fn read_opening(&mut self, buffer: &mut ReadBuf<'_>) {
        let kept = self.opening.get(self.read_again..self.opening_length);
        let kept = kept.unwrap_or_default();
        let count = kept.len().min(buffer.remaining());
        buffer.put_slice(kept.get(..count).unwrap_or_default());
        self.read_again += count;
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Transport<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read_again < self.opening_length && buffer.remaining() > 0 {
            self.read_opening(buffer);
            if buffer.remaining() > 0 {
                // What follows is usually there; an error is returned by the next read.
                let _ = Pin::new(&mut self.socket).poll_read(task, buffer);
            }
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.socket).poll_read(task, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Transport<S> {
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

/// A connection that reports the received text.
#[derive(Debug)]
pub(crate) struct Received<S> {
    stream: S,
    activity: Activity,
}

impl<S> Received<S> {
    pub(crate) const fn new(stream: S, activity: Activity) -> Self {
        Self { stream, activity }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Received<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(task, buffer))?;
        if let Some(bytes @ [_, ..]) = buffer.filled().get(before..) {
            self.activity.received(bytes);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Received<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(task, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(task, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(task)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::time::timeout;

    use super::*;
    use crate::activity::{Expired, Timeouts};

    const SECOND: Duration = Duration::from_secs(1);

    /// A connection whose request has been answered, and its client.
    fn answered(room: usize) -> (Transport<DuplexStream>, DuplexStream, Activity) {
        let (pipe, client) = duplex(room);
        let activity = Activity::begin(Timeouts {
            header: SECOND,
            idle: SECOND,
            write: 5 * SECOND,
        });
        drop(activity.request());
        let socket = Transport::new(pipe, activity.clone());
        (socket, client, activity)
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_bytes_tell_the_protocol_and_are_read_again() {
        for (bytes, expected) in [
            (&b"POST /mcp HTTP/1.1"[..], Opening::Http1),
            (b"PROPFIND / HTTP/1.1", Opening::Http1),
            (b"PRI * HTTP/2.0", Opening::Http2),
            (b"\x16\x03\x01", Opening::Tls),
            (b"P", Opening::Http1),
            (b"", Opening::Closed),
        ] {
            let (mut socket, mut client, _) = answered(1);
            let send = async {
                client.write_all(bytes).await.expect("it is read");
                drop(client);
            };
            let read = async {
                assert_eq!(socket.opening().await.ok(), Some(expected));
                let mut all = Vec::new();
                socket.read_to_end(&mut all).await.expect("all of it");
                assert_eq!(all, bytes);
            };
            tokio::join!(send, read);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_whose_client_does_not_read_is_not_idle() {
        let (mut socket, mut client, activity) = answered(8);
        // The response is longer than the buffer between the two.
        let writing = timeout(SECOND, socket.write_all(b"0123456789ab"));
        assert!(writing.await.is_err(), "nobody reads");
        assert!(timeout(3 * SECOND, activity.expires()).await.is_err());
        let mut read = [0; 8];
        client
            .read_exact(&mut read)
            .await
            .expect("what was written");
        socket.write_all(b"89ab").await.expect("there is room");
        assert_eq!(activity.expires().await, Expired::Idle);
    }

    #[tokio::test(start_paused = true)]
    async fn slow_reads_keep_a_connection_open_and_a_stopped_read_does_not() {
        let (mut socket, mut client, activity) = answered(8);
        let write = socket.write_all(&[b'x'; 30]);
        let read = async {
            for _ in 0..10 {
                tokio::time::sleep(4 * SECOND).await;
                client.read_u8().await.expect("a byte");
            }
            std::future::pending::<()>().await;
        };
        let start = tokio::time::Instant::now();
        tokio::select! {
            _ = write => unreachable!("the client does not read all of it"),
            () = read => unreachable!("it stays"),
            expired = activity.expires() => assert_eq!(expired, Expired::Write),
        }
        assert_eq!(start.elapsed(), (10 * 4 + 5) * SECOND);
    }
}
