//! TLS: the files in use, and handshakes.
//!
//! Connections keep the
//! files they were accepted with. A session cannot be resumed after a reload, and not at all with
//! client certificates, so that each connection is checked against the certificates in use.

mod files;
mod reload;

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tidegate_driver::StartError;
use tidegate_tls::Current;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::HttpServer;
use crate::options::Tls;
use files::ServerFiles;
#[cfg(test)]
pub(crate) use reload::reload_now;
pub(crate) use reload::watch;

/// The certificates in use, shared by all workers.
pub(crate) struct Certificates {
    handshake_timeout: Duration,
    current: Arc<Current<ServerFiles>>,
}

impl Certificates {
    /// Loads the files at the start.
    pub(crate) fn load(options: &Tls) -> Result<Self, StartError> {
        let current = Current::load(ServerFiles(options.clone()));
        let current = current.map_err(|why| StartError::Edge(why.to_string()))?;
        Ok(Self {
            handshake_timeout: Duration::from_millis(options.handshake_timeout.get()),
            current: Arc::new(current),
        })
    }
}

/// The outcome of a handshake.
pub(crate) enum Handshake<S> {
    Done(Box<TlsStream<S>>),
    Failed(io::Error),
    TimedOut,
}

/// Performs the handshake of a connection, within its time and the limit of concurrent ones.
pub(crate) async fn handshake<S>(
    edge: &Rc<HttpServer>,
    certificates: &Certificates,
    socket: S,
) -> Handshake<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let within = certificates.handshake_timeout;
    let handshake = async {
        let _place = edge.handshakes.acquire().await;
        let acceptor = TlsAcceptor::from(certificates.current.get());
        acceptor.accept(socket).await
    };
    let outcome = match timeout(within, handshake).await {
        Ok(Ok(stream)) => Handshake::Done(Box::new(stream)),
        Ok(Err(error)) => Handshake::Failed(error),
        Err(_) => Handshake::TimedOut,
    };
    edge.counts.handshake(matches!(outcome, Handshake::Done(_)));
    outcome
}
