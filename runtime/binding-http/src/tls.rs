//! TLS: the files in use, and handshakes.
//!
//! The crypto provider is aws-lc-rs, chosen here; the process has no default one. Connections keep the
//! files they were accepted with. A session cannot be resumed after a reload, and not at all with
//! client certificates, so that each connection is checked against the certificates in use.

mod files;
mod reload;

use std::fmt;
use std::io;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::ServerConfig;
use tidegate_driver::StartError;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::HttpServer;
use crate::options::Tls;
use files::Files;
#[cfg(test)]
pub(crate) use reload::reload_now;
pub(crate) use reload::watch;

/// The certificates in use, shared by all workers.
pub(crate) struct Certificates {
    options: Tls,
    current: Mutex<Current>,
}

struct Current {
    config: Arc<ServerConfig>,
    /// What it was made from.
    files: Files,
}

/// Files cannot be used for TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unusable(String);

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Certificates {
    /// Loads the files at the start.
    pub(crate) fn load(options: &Tls) -> Result<Self, StartError> {
        let load = || {
            let files = Files::read(options)?;
            let config = files.config(options)?;
            Ok(Current { config, files })
        };
        let current = load().map_err(|why: Unusable| StartError::Edge(why.to_string()))?;
        Ok(Self {
            options: options.clone(),
            current: Mutex::new(current),
        })
    }

    fn current(&self) -> Arc<ServerConfig> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&current.config)
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
    let within = Duration::from_millis(certificates.options.handshake_timeout.get());
    let handshake = async {
        let _place = edge.handshakes.acquire().await;
        let acceptor = TlsAcceptor::from(certificates.current());
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
