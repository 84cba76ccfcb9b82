//! The listening socket, and admission of connections.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;

use crate::HttpServer;
use crate::connection::serve_connection;
use crate::meters::Served;
use crate::peers::Peers;

/// Length of the kernel's accept queue.
const BACKLOG: i32 = 1_024;
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

/// Accepts connections until the engine stops.
pub(crate) async fn accept(edge: Rc<HttpServer>, listener: TcpListener) {
    let places = Arc::new(Semaphore::new(
        edge.options.max_connections.min(Semaphore::MAX_PERMITS),
    ));
    let of_address = edge.options.max_connections_per_address;
    let peers = Peers::new(of_address.unwrap_or(edge.options.max_connections));
    let mut stopping = edge.stopping.subscribe();
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await;
            let accepted = listener.accept().await;
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
                (Err(_), _) => return,
            },
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
    }
}

/// Serves an accepted connection. If its address has too many connections, it is refused and its
/// permit is released at once.
fn admit(
    edge: &Rc<HttpServer>,
    peers: &Rc<Peers>,
    place: OwnedSemaphorePermit,
    (socket, address): (TcpStream, SocketAddr),
) {
    let Some(peer) = peers.admit(address.ip()) else {
        peers.refused(address.ip());
        edge.counts.refused.add();
        refuse(&socket);
        return;
    };
    let served = serve_connection(Rc::clone(edge), socket, (place, peer, Served::begin(edge)));
    tokio::task::spawn_local(served);
}

/// Answers a connection without reading from it. Its send buffer is empty, so the response fits.
fn refuse(socket: &TcpStream) {
    let written = SockRef::from(socket).send(TOO_MANY_OF_ADDRESS.as_bytes());
    if let Err(error) = written {
        tracing::debug!(%error, "cannot write a refusal");
    }
}
