//! Serves one connection.

use std::cell::OnceCell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::HttpServer;
use crate::activity::{Activity, Timeouts};
use crate::close_signal::{Close, CloseSignal};
use crate::request::{HEAD_MAX, serve};
use crate::watched::Watched;

/// Serves the requests of one connection. `_permit` counts it until it ends.
pub(crate) async fn serve_connection<P>(edge: Rc<HttpServer>, socket: TcpStream, _permit: P) {
    set_nodelay(&socket);
    limit_unsent(&socket);
    let activity = Activity::begin(Timeouts::of(&edge.options));
    let signal = CloseSignal::spawn(edge.stopping.subscribe(), activity.clone());
    // A connection delays the shutdown from its first request until all responses are written.
    let hold = OnceCell::new();
    let service = service_fn(|request| {
        hold.get_or_init(|| edge.handle.hold());
        serve(Rc::clone(&edge), request, activity.request())
    });
    let socket = Watched::new(socket, activity.clone());
    let connection = http1::Builder::new()
        .header_read_timeout(None)
        .max_buf_size(HEAD_MAX)
        .serve_connection(TokioIo::new(socket), service);
    let mut connection = pin!(connection);
    let ended = poll_fn(|task| {
        while let Some(close) = signal.take(task) {
            match close {
                Close::Graceful => connection.as_mut().graceful_shutdown(),
                Close::Expired(timeout) => return Poll::Ready(Err(timeout)),
            }
        }
        let polled = connection.as_mut().poll(task);
        activity.settle();
        polled.map(Ok)
    });
    match ended.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "connection failed"),
        Err(timeout) => {
            edge.counts.timed_out(timeout);
            tracing::debug!(?timeout, "connection timed out");
        }
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
    if let Err(error) = socket2::SockRef::from(socket).set_tcp_notsent_lowat(UNSENT_MAX) {
        tracing::debug!(%error, "cannot set TCP_NOTSENT_LOWAT");
    }
}

#[cfg(not(target_os = "linux"))]
fn limit_unsent(_: &TcpStream) {}
