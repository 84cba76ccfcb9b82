//! One connection: its requests, its timeouts, its end.

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

/// Serves one connection, request after request. `_place` is what it takes up, until it ends.
pub(crate) async fn serve_connection<P>(edge: Rc<HttpServer>, socket: TcpStream, _place: P) {
    undelayed(&socket);
    limit_unsent(&socket);
    let activity = Activity::begin(Timeouts::of(&edge.options));
    let signal = CloseSignal::spawn(edge.stopping.subscribe(), activity.clone());
    // From its first request until all its answers are written, a connection holds a stop.
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
        Ok(Err(error)) => tracing::debug!(%error, "a connection ended with an error"),
        Err(timeout) => {
            edge.counts.timed_out(timeout);
            tracing::debug!(?timeout, "a connection timed out");
        }
    }
}

/// What is written goes out at once.
pub(crate) fn undelayed(socket: &TcpStream) {
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY cannot be set");
    }
}

/// How much of what is written the kernel holds before it is sent, in bytes.
#[cfg(target_os = "linux")]
const UNSENT_MAX: u32 = 64 * 1024;

/// Lets the kernel take little beyond what the client takes. It would take megabytes, and tell that
/// there is room for more only when a third of them were gone: a client of a slow line would seem to
/// take nothing for minutes. So it tells when half of [`UNSENT_MAX`] has been sent.
#[cfg(target_os = "linux")]
fn limit_unsent(socket: &TcpStream) {
    if let Err(error) = socket2::SockRef::from(socket).set_tcp_notsent_lowat(UNSENT_MAX) {
        tracing::debug!(%error, "TCP_NOTSENT_LOWAT cannot be set");
    }
}

#[cfg(not(target_os = "linux"))]
fn limit_unsent(_: &TcpStream) {}
