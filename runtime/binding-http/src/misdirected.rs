//! Clients that speak to the wrong port: plain HTTP where TLS is expected, and the other way round.
//!
//! HTTP is answered with 400 and a sentence. A client that begins TLS would not understand an answer:
//! its connection is closed, and logged at most once a minute.

use std::cell::Cell;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::Instant;

use crate::transport::Transport;

/// Minimum time between two log lines.
const LOG_INTERVAL: Duration = Duration::from_mins(1);
/// Bytes of the request that are read and discarded, so that the client reads the response.
const DISCARDED_MAX: u64 = 64 * 1024;

/// A request that cannot be served here.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Misdirected {
    PlainText,
    PriorKnowledge,
}

impl Misdirected {
    const fn sentence(self) -> &'static str {
        match self {
            Self::PlainText => "This port requires TLS; use https.",
            Self::PriorKnowledge => {
                "HTTP/2 without TLS is only available on loopback addresses and Unix sockets; use HTTP/1.1."
            }
        }
    }
}

/// Answers with 400, and waits until the client has closed the connection.
pub(crate) async fn refuse<S>(socket: &mut Transport<S>, why: Misdirected) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let sentence = why.sentence();
    let response = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{sentence}",
        sentence.len()
    );
    socket.write_all(response.as_bytes()).await?;
    socket.shutdown().await?;
    let mut rest = socket.take(DISCARDED_MAX);
    tokio::io::copy(&mut rest, &mut tokio::io::sink()).await?;
    Ok(())
}

/// Counts the clients of a worker that begin TLS where it is not used.
#[derive(Debug, Default)]
pub(crate) struct Mistaken {
    count: Cell<u64>,
    logged: Cell<Option<Instant>>,
}

impl Mistaken {
    pub(crate) fn tls_without_tls(&self) {
        if let Some(connections) = self.to_log() {
            tracing::warn!(
                connections,
                "clients began TLS on a port without it; use http instead of https, or configure tls"
            );
        }
    }

    /// The number to log now; `None` within [`LOG_INTERVAL`] of the last log line.
    fn to_log(&self) -> Option<u64> {
        self.count.set(self.count.get().saturating_add(1));
        let due = |logged: Instant| logged.elapsed() >= LOG_INTERVAL;
        self.logged.get().is_none_or(due).then(|| {
            self.logged.set(Some(Instant::now()));
            self.count.take()
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn mistaken_clients_are_logged_once_a_minute_with_their_number() {
        let mistaken = Mistaken::default();
        assert_eq!(mistaken.to_log(), Some(1));
        assert_eq!((mistaken.to_log(), mistaken.to_log()), (None, None));
        advance(LOG_INTERVAL).await;
        assert_eq!(mistaken.to_log(), Some(3));
    }
}
