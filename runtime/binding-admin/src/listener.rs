//! The listening socket, and the connections that it accepts.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
#[cfg(unix)]
use tokio::net::UnixListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use crate::options::Listen;
use crate::request::serve;
use crate::{Admin, CONNECTION_LASTS, CONNECTIONS_MAX};

/// Delay before the next accept after a failure, such as no file descriptor.
const RETRY: Duration = Duration::from_millis(50);

/// A listening socket.
pub(crate) enum Listener {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixListener),
}

impl Listener {
    /// The address of a TCP socket.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            #[cfg(unix)]
            Self::Unix(_) => None,
        }
    }
}

/// Binds the socket. Must be called on the worker that accepts.
pub(crate) fn bind(listen: &Listen) -> io::Result<Listener> {
    match listen {
        Listen::Address(address) => {
            let listener = std::net::TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener).map(Listener::Tcp)
        }
        #[cfg(unix)]
        Listen::Unix(path) => bind_unix(path).map(Listener::Unix),
        #[cfg(not(unix))]
        Listen::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// Binds a Unix socket for user and group. One that a crashed process left is replaced.
#[cfg(unix)]
fn bind_unix(path: &std::path::Path) -> io::Result<UnixListener> {
    use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};

    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|it| it.file_type().is_socket());
    if is_socket {
        match std::os::unix::net::UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                std::fs::remove_file(path)?;
            }
            _ => return Err(io::ErrorKind::AddrInUse.into()),
        }
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

/// Accepts connections until the engine has stopped: the state can be read while it stops.
pub(crate) async fn accept(edge: Rc<Admin>, listener: Listener) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let failed = match &listener {
            Listener::Tcp(listener) => match listener.accept().await {
                Ok((socket, _)) => {
                    spawn(&edge, socket, place);
                    None
                }
                Err(error) => Some(error),
            },
            #[cfg(unix)]
            Listener::Unix(listener) => match listener.accept().await {
                Ok((socket, _)) => {
                    spawn(&edge, socket, place);
                    None
                }
                Err(error) => Some(error),
            },
        };
        if let Some(error) = failed {
            tracing::warn!(%error, "cannot accept a connection");
            sleep(RETRY).await;
        }
    }
}

fn spawn(
    edge: &Rc<Admin>,
    socket: impl AsyncRead + AsyncWrite + Unpin + 'static,
    place: OwnedSemaphorePermit,
) {
    let edge = Rc::clone(edge);
    tokio::task::spawn_local(async move {
        let _place = place;
        let service = service_fn(|request| serve(Rc::clone(&edge), request));
        let connection = http1::Builder::new()
            .keep_alive(false)
            .header_read_timeout(None)
            .serve_connection(TokioIo::new(socket), service);
        match timeout(CONNECTION_LASTS, connection).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "connection failed"),
            Err(_) => tracing::debug!("connection timed out"),
        }
    });
}
