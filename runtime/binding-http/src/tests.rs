//! The edge on real sockets: raw clients on one side, probes in place of the engine on the other.

mod authorization;
mod certificates;
mod client;
mod cors;
mod folder;
mod framing;
mod http2;
mod limits;
mod origins;
mod refusals;
mod requests;
mod status;
mod stopping;
mod streaming;
mod timeouts;
mod tls;
#[cfg(unix)]
mod unix;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use client::Client;
use http::{HeaderMap, StatusCode};
use tidegate_driver::testing::{Probe, probe};
use tidegate_driver::{Engine, StartError};
use tidegate_engine::{Limits, StreamId};
use tidegate_guard::Guards;
use tidegate_streams::http_stream::{HttpBeginEx, HttpRequest, HttpResponse};
use tidegate_streams::{BeginEx, Frame};

use crate::Options;
use crate::options::{Address, Listen};

const TIMEOUT: Duration = Duration::from_secs(20);

/// Initial credit of the callee's streams, in bytes.
const CALLEE_WINDOW: u32 = 8 * 1024 * 1024;

fn options() -> Options {
    Options {
        max_body_size: 100_000,
        max_connections: 1_000,
        header_timeout: 10_000,
        body_timeout: 10_000,
        idle_timeout: 10_000,
        write_timeout: 10_000,
        ..Options::listening(on(([127, 0, 0, 1], 0)))
    }
}

fn on(address: impl Into<SocketAddr>) -> Listen {
    Listen::on(Address::Tcp(address.into()))
}

/// An engine with only HTTP edges, one per worker, on one port.
struct Harness {
    engine: Engine,
    /// The first address that is not a Unix socket, if there is one.
    address: SocketAddr,
    listening: crate::Listening,
    /// One per worker.
    probes: Vec<Probe>,
}

impl Harness {
    fn new() -> Self {
        Self::with(options(), Limits::default(), 1, CALLEE_WINDOW)
    }

    fn of(options: Options) -> Self {
        Self::with(options, Limits::default(), 1, CALLEE_WINDOW)
    }

    fn with(options: Options, limits: Limits, workers: u16, window: u32) -> Self {
        Self::guarded(options, Guards::default(), limits, workers, window)
    }

    fn guarded(
        options: Options,
        guards: Guards,
        limits: Limits,
        workers: u16,
        window: u32,
    ) -> Self {
        let (probes, edges): (Vec<_>, Vec<_>) = (0..workers).map(|_| probe()).unzip();
        let listening = Arc::new(Mutex::new(None));
        let found = Arc::clone(&listening);
        let engine = Engine::start(workers, limits, move |assembly| {
            let exit = edges[usize::from(assembly.worker())].attach(assembly, window, None);
            let mut listening = listening.lock().expect("no panic");
            let (_, shared) =
                crate::attach(assembly, options.clone(), exit, &guards, listening.clone())?;
            *listening = Some(shared);
            Ok(())
        });
        let engine = engine.expect("the engine starts");
        let listening = found.lock().expect("no panic").take().expect("it listens");
        Self {
            engine,
            address: listening.address().unwrap_or(([0, 0, 0, 0], 0).into()),
            listening,
            probes,
        }
    }

    fn probe(&mut self) -> &mut Probe {
        &mut self.probes[0]
    }

    async fn client(&self) -> Client {
        Client::connect(self.address).await
    }

    /// Waits for the next complete request.
    async fn request(&mut self) -> Request {
        request(self.probe()).await
    }

    /// Answers a request with a body of known length.
    async fn answer(&mut self, stream: StreamId, body: &'static str) {
        answer(self.probe(), stream, body).await;
    }

    /// Checks that a request on a new connection is served.
    async fn serves(&mut self) {
        let mut client = self.client().await;
        client.post("still there?").await;
        let request = self.request().await;
        assert_eq!(request.body, "still there?");
        self.answer(request.stream, "yes").await;
        assert_eq!(client.response().await.body, "yes");
    }

    /// Asserts that nothing remains and no rule was violated.
    async fn finish(self) {
        for counters in self.engine.counters().await {
            assert_eq!((counters.violations, counters.faults), (0, 0));
        }
        assert_eq!(self.engine.shutdown(TIMEOUT).await.streams_cut, 0);
    }
}

/// A request as received by the callee.
struct Request {
    stream: StreamId,
    head: HttpRequest,
    body: Bytes,
    /// Number of DATA frames of the body.
    parts: usize,
}

async fn request(probe: &mut Probe) -> Request {
    let (at, frame) = probe.next_but_window().await;
    let Frame::Begin(begin) = frame else {
        panic!("no BEGIN but {frame:?}");
    };
    let BeginEx::Http(HttpBeginEx::Request(head)) = begin.into_inner() else {
        panic!("another BEGIN than a request's");
    };
    let (mut body, mut parts) = (Vec::new(), 0);
    loop {
        match probe.next_but_window().await {
            (_, Frame::Data(data)) => {
                body.extend_from_slice(&data.payload);
                parts += 1;
                let (stream, taken) = (at.stream, data.payload.len());
                probe.turn(move |cx| cx.acknowledge(stream, taken)).await;
            }
            (_, frame) => {
                assert_eq!(frame, Frame::end());
                break;
            }
        }
    }
    Request {
        stream: at.stream,
        head,
        body: body.into(),
        parts,
    }
}

fn head_of(status: StatusCode, content_length: i64) -> HttpResponse {
    HttpResponse {
        status,
        headers: HeaderMap::new(),
        content_length,
    }
}

async fn answer(probe: &Probe, stream: StreamId, body: &'static str) {
    let length = i64::try_from(body.len()).expect("a short body");
    let send = probe.turn(move |cx| {
        cx.send(stream, Frame::begin(head_of(StatusCode::OK, length)));
        cx.send_whole(stream, Bytes::from_static(body.as_bytes()));
        cx.end(stream, Frame::end());
    });
    send.await;
}

async fn in_time<T>(what: &str, wait: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(TIMEOUT, wait).await;
    waited.unwrap_or_else(|_| panic!("{what} takes too long"))
}
