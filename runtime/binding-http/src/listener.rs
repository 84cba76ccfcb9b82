//! The listening socket and its connections.

use std::cell::OnceCell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;

use crate::HttpServer;
use crate::quiet::{Quiet, Said, Word};
use crate::request::{HEAD_MAX, serve};
use crate::watched::Watched;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1_024;
/// How long to wait when the process has no file left to accept with.
const EXHAUSTED: Duration = Duration::from_millis(50);

/// Binds an address; workers of one engine share it, other processes do not. Called on the worker that
/// accepts.
pub(crate) fn bind(address: SocketAddr, shares: bool) -> io::Result<TcpListener> {
    if !shares {
        // With SO_REUSEPORT another process of the same user could share the port unnoticed: a
        // socket without it finds out whether the port is free.
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
                (Ok(place), Ok((socket, _))) => {
                    tokio::task::spawn_local(converse(Rc::clone(&edge), socket, place));
                }
                (_, Err(error)) => {
                    if !exhausted {
                        tracing::warn!(%error, "a connection could not be accepted");
                    }
                    sleep(EXHAUSTED).await;
                }
                (Err(_), _) => return,
            },
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
    }
}

/// Serves one connection, request after request.
async fn converse(edge: Rc<HttpServer>, socket: TcpStream, _place: OwnedSemaphorePermit) {
    undelayed(&socket);
    let quiet = Quiet::now();
    let patience = Duration::from_millis(edge.options.header_timeout);
    let word = Word::awaited(edge.stopping.subscribe(), quiet.clone(), patience);
    // From its first request until all its answers are written, a connection holds a stop.
    let hold = OnceCell::new();
    let service = service_fn(|request| {
        hold.get_or_init(|| edge.handle.hold());
        serve(Rc::clone(&edge), request, quiet.busy())
    });
    let connection = http1::Builder::new()
        .header_read_timeout(None)
        .max_buf_size(HEAD_MAX)
        .serve_connection(TokioIo::new(Watched::new(socket, quiet.clone())), service);
    let mut connection = std::pin::pin!(connection);
    let ended = poll_fn(|task| {
        match word.said(task) {
            Some(Said::Stop) => connection.as_mut().graceful_shutdown(),
            Some(Said::Leave) => return Poll::Ready(None),
            None => {}
        }
        connection.as_mut().poll(task).map(Some)
    });
    match ended.await {
        Some(Ok(())) => {}
        Some(Err(error)) => tracing::debug!(%error, "a connection ended with an error"),
        None => tracing::debug!("no request came within the time for its head"),
    }
}

/// What is written goes out at once.
pub(crate) fn undelayed(socket: &TcpStream) {
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY cannot be set");
    }
}
