//! Serves one connection: finds out what the client speaks, and gives its requests to hyper.

use std::cell::{OnceCell, RefCell};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::HttpServer;
use crate::activity::{Activity, Timeouts};
use crate::client::{Client, Port};
use crate::close_signal::{Close, CloseSignal};
use crate::misdirected::{self, Misdirected};
use crate::multiplexed::{LocalExecutor, Requests};
use crate::request::{HEAD_MAX, serve};
use crate::tls::{Certificates, Handshake, handshake};
use crate::transport::{Opening, Received, Transport};

/// Receive window of an HTTP/2 request body, and of all bodies of a connection, in bytes.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Bytes of a response that h2 buffers.
const SEND_BUFFER: usize = 64 * 1024;
/// `HEAD_MAX` as HTTP/2 announces it.
const HEADER_LIST_MAX: u32 = 64 * 1024;

/// Where and for whom a connection was accepted.
pub(crate) struct Accepted {
    pub(crate) edge: Rc<HttpServer>,
    pub(crate) port: Port,
    pub(crate) address: Option<SocketAddr>,
    /// Absent where clients do not use TLS.
    pub(crate) tls: Option<Arc<Certificates>>,
}

/// A connection that is served.
struct Connection {
    edge: Rc<HttpServer>,
    activity: Activity,
    signal: CloseSignal,
}

/// Why a connection was closed before its client ended it.
enum Closed {
    By(Close),
    /// The client cancelled too many requests.
    Abused,
}

/// Serves the requests of one connection. `_permit` counts it until it ends.
pub(crate) async fn serve_connection<S, P>(socket: S, accepted: Accepted, _permit: P)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Accepted {
        edge,
        port,
        address,
        tls,
    } = accepted;
    let activity = Activity::begin(Timeouts::of(&edge.options));
    let connection = Connection {
        signal: CloseSignal::spawn(edge.stopping.subscribe(), activity.clone()),
        activity: activity.clone(),
        edge,
    };
    let client = Client {
        port,
        address,
        certificates: Vec::new(),
        accepted: RefCell::default(),
    };
    let mut transport = Transport::new(socket, activity);
    let opening = connection.signal.unless_closed(transport.opening()).await;
    let closed = match (opening, tls) {
        (Err(close), _) => Err(Closed::By(close)),
        (Ok(Err(error)), _) => {
            tracing::debug!(%error, "connection failed");
            return;
        }
        (Ok(Ok(Opening::Closed)), _) => return,
        (Ok(Ok(Opening::Tls)), Some(tls)) => connection.serve_tls(client, &tls, transport).await,
        (Ok(Ok(Opening::Tls)), None) => {
            connection.edge.misdirected.tls_without_tls();
            return;
        }
        (Ok(Ok(_)), Some(_)) => connection.refuse(transport, Misdirected::PlainText).await,
        (Ok(Ok(Opening::Http2)), None) if !port.allows_prior_knowledge() => {
            connection
                .refuse(transport, Misdirected::PriorKnowledge)
                .await
        }
        (Ok(Ok(Opening::Http2)), None) => connection.serve_http2(client, transport).await,
        (Ok(Ok(Opening::Http1)), None) => connection.serve_http1(client, transport).await,
    };
    if let Err(closed) = closed {
        connection.log(&closed);
    }
}

impl Connection {
    async fn refuse<S>(&self, mut transport: Transport<S>, why: Misdirected) -> Result<(), Closed>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.edge.counts.requests_refused.add();
        let refused = misdirected::refuse(&mut transport, why);
        let refused = self.signal.unless_closed(refused).await;
        if let Err(error) = refused.map_err(Closed::By)? {
            tracing::debug!(%error, "cannot write a refusal");
        }
        Ok(())
    }

    async fn serve_tls<S>(
        &self,
        mut client: Client,
        tls: &Certificates,
        transport: Transport<S>,
    ) -> Result<(), Closed>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let handshake = handshake(&self.edge, tls, transport);
        let outcome = self.signal.unless_closed(handshake).await;
        let stream = match outcome.map_err(Closed::By)? {
            Handshake::Done(stream) => stream,
            Handshake::Failed(error) => {
                self.edge.handshake_failed(&error.to_string());
                return Ok(());
            }
            Handshake::TimedOut => {
                self.edge.handshake_failed("timeout (tls.handshakeTimeout)");
                return Ok(());
            }
        };
        let (_, session) = stream.get_ref();
        let chain = session.peer_certificates().unwrap_or_default();
        client.certificates = chain.iter().map(CertificateDer::clone).collect();
        if session.alpn_protocol() == Some(b"h2") {
            self.serve_http2(client, stream).await
        } else {
            self.serve_http1(client, stream).await
        }
    }

    async fn serve_http1<S>(&self, client: Client, stream: S) -> Result<(), Closed>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        // A connection delays the shutdown from its first request until all responses are written.
        let hold = OnceCell::new();
        let service = service_fn(|request| {
            hold.get_or_init(|| self.edge.handle.hold());
            let active = self.activity.request();
            serve(Rc::clone(&self.edge), &client, request, active, None)
        });
        let stream = Received::new(stream, self.activity.clone());
        let connection = http1::Builder::new()
            .header_read_timeout(None)
            .max_buf_size(HEAD_MAX)
            .serve_connection(TokioIo::new(stream), service);
        let connection = pin!(connection);
        self.drive(connection, http1::Connection::graceful_shutdown, || false)
            .await
    }

    async fn serve_http2<S>(&self, client: Client, stream: S) -> Result<(), Closed>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let options = &self.edge.options;
        let hold = OnceCell::new();
        let requests = Requests::begin(&self.edge, &Rc::new(client), &self.activity);
        let service = service_fn(|request| {
            hold.get_or_init(|| self.edge.handle.hold());
            requests.serve(request)
        });
        let patience = Duration::from_millis(options.write_timeout);
        let connection = http2::Builder::new(LocalExecutor)
            .timer(TokioTimer::new())
            .max_concurrent_streams(options.max_streams)
            .max_header_list_size(HEADER_LIST_MAX)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .keep_alive_interval(patience)
            .keep_alive_timeout(patience)
            .serve_connection(TokioIo::new(stream), service);
        let connection = pin!(connection);
        let finish = http2::Connection::graceful_shutdown;
        self.drive(connection, finish, || requests.are_abused())
            .await
    }

    /// Runs a connection until it ends or must be closed. `finish` lets it end in order.
    async fn drive<C>(
        &self,
        mut connection: Pin<&mut C>,
        finish: impl Fn(Pin<&mut C>),
        is_abused: impl Fn() -> bool,
    ) -> Result<(), Closed>
    where
        C: Future<Output = hyper::Result<()>>,
    {
        let ended = poll_fn(|task| {
            while let Some(close) = self.signal.take(task) {
                match close {
                    Close::Graceful => finish(connection.as_mut()),
                    Close::Expired(_) => return Poll::Ready(Err(Closed::By(close))),
                }
            }
            let polled = connection.as_mut().poll(task);
            if is_abused() {
                return Poll::Ready(Err(Closed::Abused));
            }
            self.activity.settle();
            polled.map(Ok)
        });
        if let Err(error) = ended.await? {
            tracing::debug!(%error, "connection failed");
        }
        Ok(())
    }

    fn log(&self, closed: &Closed) {
        match closed {
            Closed::By(Close::Graceful) => {}
            Closed::By(Close::Expired(timeout)) => {
                self.edge.counts.timed_out(*timeout);
                tracing::debug!(?timeout, "connection timed out");
            }
            Closed::Abused => {
                self.edge.counts.abused();
                tracing::debug!("connection closed: the client cancelled too many requests");
            }
        }
    }
}
