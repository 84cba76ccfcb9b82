//! What the workers of an engine share: the addresses they listen on, the Unix sockets and the TLS
//! files in use.
//!
//! The first worker binds the addresses and loads the files. The others bind the same ports, and
//! accept from the same Unix sockets.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tidegate_driver::StartError;

use crate::client::Port;
use crate::listener::{Listener, bind};
use crate::options::{Address, Options};
use crate::tls::Certificates;
#[cfg(unix)]
use crate::unix::BoundSocket;

/// The addresses of an `http · server`, shared by the workers of an engine.
#[derive(Clone)]
pub struct Listening(Arc<Shared>);

struct Shared {
    endpoints: Vec<Endpoint>,
    tls: Option<Arc<Certificates>>,
    path: String,
}

enum Endpoint {
    Tcp(SocketAddr),
    #[cfg(unix)]
    Unix(BoundSocket),
}

impl Listening {
    /// Binds all addresses on the first worker.
    pub(crate) fn begin(options: &Options) -> Result<(Self, Vec<Listener>), StartError> {
        // A certificate that cannot be used is reported before a socket is created.
        let tls = options.tls.as_ref().map(Certificates::load).transpose()?;
        let mut endpoints = Vec::new();
        let mut listeners = Vec::new();
        for address in options.listen.addresses() {
            let refused = |error: io::Error| StartError::Listen {
                address: address.to_string(),
                error,
            };
            let (endpoint, listener) = match address {
                Address::Tcp(wanted) => {
                    let listener = bind(*wanted, false).map_err(refused)?;
                    let bound = listener.local_addr().map_err(refused)?;
                    let listener = Listener::Tcp(listener, Port::of(bound));
                    (Endpoint::Tcp(bound), listener)
                }
                #[cfg(unix)]
                Address::Unix(path) => {
                    let socket = BoundSocket::bind(path, &options.unix).map_err(refused)?;
                    let listener = socket.listener().map_err(refused)?;
                    (Endpoint::Unix(socket), Listener::Unix(listener))
                }
                #[cfg(not(unix))]
                Address::Unix(_) => return Err(refused(io::ErrorKind::Unsupported.into())),
            };
            endpoints.push(endpoint);
            listeners.push(listener);
        }
        let shared = Shared {
            endpoints,
            tls: tls.map(Arc::new),
            path: options.path.clone(),
        };
        Ok((Self(Arc::new(shared)), listeners))
    }

    /// Listens on another worker.
    pub(crate) fn join(&self) -> Result<Vec<Listener>, StartError> {
        let listener = |endpoint: &Endpoint| {
            let refused = |error| StartError::Listen {
                address: endpoint.to_string(),
                error,
            };
            match endpoint {
                Endpoint::Tcp(address) => bind(*address, true)
                    .map(|listener| Listener::Tcp(listener, Port::of(*address)))
                    .map_err(refused),
                #[cfg(unix)]
                Endpoint::Unix(socket) => socket.listener().map(Listener::Unix).map_err(refused),
            }
        };
        self.0.endpoints.iter().map(listener).collect()
    }

    pub(crate) fn tls(&self) -> Option<&Arc<Certificates>> {
        self.0.tls.as_ref()
    }

    /// The engine stops: new clients must not find the Unix sockets.
    pub(crate) fn close(&self) {
        for endpoint in &self.0.endpoints {
            match endpoint {
                Endpoint::Tcp(_) => {}
                #[cfg(unix)]
                Endpoint::Unix(socket) => socket.remove(),
            }
        }
    }

    /// The first address that is not a Unix socket.
    pub fn address(&self) -> Option<SocketAddr> {
        let mut endpoints = self.0.endpoints.iter();
        endpoints.find_map(|endpoint| match endpoint {
            Endpoint::Tcp(address) => Some(*address),
            #[cfg(unix)]
            Endpoint::Unix(_) => None,
        })
    }

    /// The endpoints as clients name them, such as `https://127.0.0.1:7114/mcp`.
    pub fn urls(&self) -> impl Iterator<Item = String> {
        let scheme = if self.0.tls.is_some() {
            "https"
        } else {
            "http"
        };
        let path = &self.0.path;
        self.0.endpoints.iter().map(move |endpoint| match endpoint {
            Endpoint::Tcp(address) => format!("{scheme}://{address}{path}"),
            #[cfg(unix)]
            Endpoint::Unix(_) => format!("{endpoint} (path {path})"),
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            #[cfg(unix)]
            Self::Unix(socket) => write!(f, "unix:{}", socket.path().display()),
        }
    }
}

impl fmt::Debug for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.urls()).finish()
    }
}
