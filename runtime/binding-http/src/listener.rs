//! The listening sockets of a worker, and admission of connections.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
#[cfg(unix)]
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;

use crate::HttpServer;
use crate::client::Port;
use crate::connection::{Accepted, serve_connection};
use crate::meters::Served;
use crate::peers::Peers;

/// Length of the kernel's accept queue.
pub(crate) const BACKLOG: i32 = 1_024;
/// Delay before the next accept when no file descriptor is available.
const EXHAUSTED: Duration = Duration::from_millis(50);
/// Response to a connection beyond `maxConnectionsPerAddress`.
const TOO_MANY_OF_ADDRESS: &str = "HTTP/1.1 503 Service Unavailable\r\n\
    content-type: text/plain; charset=utf-8\r\n\
    content-length: 69\r\n\
    connection: close\r\n\r\n\
    Too many connections from this address; see maxConnectionsPerAddress.";

/// Binds an address. Workers of one engine share it; other processes cannot. Must be called on the
/// worker that accepts.
pub(crate) fn bind(address: SocketAddr, shares: bool) -> io::Result<TcpListener> {
    if !shares {
        // With SO_REUSEPORT, another process of the same user could share the port unnoticed.
        // Binding a socket without it checks that the port is free.
        let probe = socket(address)?;
        probe.bind(&address.into())?;
    }
    let socket = socket(address)?;
    #[cfg(unix)]
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    Ok(socket)
}

/// A listening socket of a worker.
pub(crate) enum Listener {
    Tcp(TcpListener, Port),
    #[cfg(unix)]
    Unix(UnixListener),
}

/// An accepted socket.
enum Incoming {
    Tcp(TcpStream, SocketAddr, Port),
    #[cfg(unix)]
    Unix(UnixStream),
}

impl Listener {
    fn poll_accept(&self, task: &mut Context<'_>) -> Poll<io::Result<Incoming>> {
        match self {
            Self::Tcp(listener, port) => listener
                .poll_accept(task)
                .map_ok(|(socket, address)| Incoming::Tcp(socket, address, *port)),
            #[cfg(unix)]
            Self::Unix(listener) => listener
                .poll_accept(task)
                .map_ok(|(socket, _)| Incoming::Unix(socket)),
        }
    }
}

/// Accepts the next connection. `turn` is the listener that is asked first, so that a busy one does
/// not keep the others waiting.
async fn next(listeners: &[Listener], turn: &mut usize) -> io::Result<Incoming> {
    poll_fn(|task| {
        for _ in 0..listeners.len() {
            let listener = listeners.get(*turn % listeners.len());
            *turn = turn.wrapping_add(1);
            if let Some(Poll::Ready(accepted)) = listener.map(|it| it.poll_accept(task)) {
                return Poll::Ready(accepted);
            }
        }
        Poll::Pending
    })
    .await
}

/// Accepts connections until the engine stops.
pub(crate) async fn accept(edge: Rc<HttpServer>, listeners: Vec<Listener>) {
    let places = Arc::new(Semaphore::new(
        edge.options.max_connections.min(Semaphore::MAX_PERMITS),
    ));
    let of_address = edge.options.max_connections_per_address;
    let peers = Peers::new(of_address.unwrap_or(edge.options.max_connections));
    let mut stopping = edge.stopping.subscribe();
    let mut turn = 0;
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await;
            let accepted = next(&listeners, &mut turn).await;
            let exhausted = edge.handle.descriptors().note(&accepted);
            (place, accepted, exhausted)
        };
        tokio::select! {
            (place, accepted, exhausted) = next => match (place, accepted) {
                (Ok(place), Ok(accepted)) => admit(&edge, &peers, place, accepted),
                (_, Err(error)) => {
                    if !exhausted {
                        tracing::warn!(%error, "cannot accept a connection");
                    }
                    sleep(EXHAUSTED).await;
                }
                (Err(_), _) => break,
            },
            _ = stopping.wait_for(|stopping| *stopping) => break,
        }
    }
    edge.listening.close();
}

/// Serves an accepted connection. If its address has too many connections, it is refused and its
/// permit is released at once.
fn admit(
    edge: &Rc<HttpServer>,
    peers: &Rc<Peers>,
    place: OwnedSemaphorePermit,
    incoming: Incoming,
) {
    match incoming {
        Incoming::Tcp(socket, address, port) => {
            let Some(peer) = peers.admit(address.ip()) else {
                peers.refused(address.ip());
                edge.counts.refused.add();
                refuse(&socket);
                return;
            };
            set_nodelay(&socket);
            limit_unsent(&socket);
            let accepted = Accepted {
                edge: Rc::clone(edge),
                port,
                address: Some(address),
                tls: edge.listening.tls().cloned(),
            };
            let permit = (place, peer, Served::begin(edge));
            tokio::task::spawn_local(serve_connection(socket, accepted, permit));
        }
        #[cfg(unix)]
        Incoming::Unix(socket) => {
            let accepted = Accepted {
                edge: Rc::clone(edge),
                port: Port::Unix,
                address: None,
                tls: None,
            };
            let permit = (place, Served::begin(edge));
            tokio::task::spawn_local(serve_connection(socket, accepted, permit));
        }
    }
}

/// Answers a connection without reading from it. Its send buffer is empty, so the response fits.
fn refuse(socket: &TcpStream) {
    let written = SockRef::from(socket).send(TOO_MANY_OF_ADDRESS.as_bytes());
    if let Err(error) = written {
        tracing::debug!(%error, "cannot write a refusal");
    }
}

/// Disables Nagle's algorithm.
pub(crate) fn set_nodelay(socket: &TcpStream) {
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
}

/// Unsent bytes the kernel may buffer for a connection.
#[cfg(target_os = "linux")]
const UNSENT_MAX: u32 = 64 * 1024;

/// Limits the kernel's send buffer to little more than the client receives. Otherwise the kernel
/// would buffer megabytes and report space only when a third of them had been sent, so a client on
/// a slow line would appear not to read for minutes. With this limit it reports space when half of
/// [`UNSENT_MAX`] has been sent.
#[cfg(target_os = "linux")]
fn limit_unsent(socket: &TcpStream) {
    if let Err(error) = SockRef::from(socket).set_tcp_notsent_lowat(UNSENT_MAX) {
        tracing::debug!(%error, "cannot set TCP_NOTSENT_LOWAT");
    }
}

#[cfg(not(target_os = "linux"))]
fn limit_unsent(_: &TcpStream) {}
