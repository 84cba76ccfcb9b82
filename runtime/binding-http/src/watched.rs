//! A socket that reports received and sent bytes.
//!
//! Once the last piece of a response is in hyper's buffer, only the socket shows whether the client
//! reads it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::activity::Activity;

/// A socket, and the activity it reports to.
#[derive(Debug)]
pub(crate) struct Watched<S> {
    socket: S,
    activity: Activity,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Watched<S> {
    pub(crate) const fn new(socket: S, activity: Activity) -> Self {
        Self { socket, activity }
    }

    fn wrote(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_pending() {
            self.activity.blocked();
        } else {
            self.activity.wrote();
        }
        written
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.socket).poll_read(task, buffer);
        if let Some(bytes @ [_, ..]) = buffer.filled().get(before..) {
            self.activity.received(bytes);
        }
        read
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

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::time::timeout;

    use super::*;
    use crate::activity::{Expired, Timeouts};

    const SECOND: Duration = Duration::from_secs(1);

    /// A connection whose request has been answered, and its client.
    fn answered(room: usize) -> (Watched<DuplexStream>, DuplexStream, Activity) {
        let (pipe, client) = duplex(room);
        let activity = Activity::begin(Timeouts {
            header: SECOND,
            idle: SECOND,
            write: 5 * SECOND,
        });
        drop(activity.request());
        let socket = Watched::new(pipe, activity.clone());
        (socket, client, activity)
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
