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
use crate::activity::{Activity, Expired, Timeouts};
use crate::close_signal::{Close, CloseSignal};
use crate::request::{HEAD_MAX, serve};
use crate::watched::Watched;

/// Serves one connection, request after request. `_place` is what it takes up, until it ends.
pub(crate) async fn serve_connection<P>(edge: Rc<HttpServer>, socket: TcpStream, _place: P) {
    undelayed(&socket);
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
        let mut retries = false;
        while let Some(close) = signal.take(task) {
            match close {
                Close::Graceful => connection.as_mut().graceful_shutdown(),
                Close::Expired(Expired::Write) => {
                    activity.retry_write();
                    retries = true;
                }
                Close::Expired(expired) => return Poll::Ready(Err(expired)),
            }
        }
        let polled = connection.as_mut().poll(task);
        if polled.is_pending() {
            activity.settle();
            if retries && !activity.progressed() {
                return Poll::Ready(Err(Expired::Write));
            }
        }
        polled.map(Ok)
    });
    match ended.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection ended with an error"),
        Err(timeout) => tracing::debug!(?timeout, "a connection timed out"),
    }
}

/// What is written goes out at once.
pub(crate) fn undelayed(socket: &TcpStream) {
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY cannot be set");
    }
}
