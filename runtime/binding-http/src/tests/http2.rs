//! HTTP/2, mostly with prior knowledge.

use std::future::poll_fn;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::*;

/// An HTTP/2 connection of a client.
pub(super) struct Http2 {
    sender: SendRequest<Full<Bytes>>,
    pub(super) connection: JoinHandle<hyper::Result<()>>,
}

type Answer = JoinHandle<hyper::Result<hyper::Response<Incoming>>>;

impl Http2 {
    pub(super) async fn connect(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).await.expect("it listens");
        Self::over(socket).await
    }

    pub(super) async fn over<S>(stream: S) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(65_535)
            .initial_connection_window_size(1024 * 1024)
            .handshake(TokioIo::new(stream))
            .await
            .expect("HTTP/2");
        Self {
            sender,
            connection: tokio::spawn(connection),
        }
    }

    /// Sends a request; dropping or aborting the answer cancels it.
    pub(super) async fn post(&mut self, body: impl Into<Bytes>) -> Answer {
        self.send(http::Request::post("http://localhost/mcp"), body)
            .await
    }

    pub(super) async fn send(
        &mut self,
        head: http::request::Builder,
        body: impl Into<Bytes>,
    ) -> Answer {
        in_time("a ready connection", self.sender.ready())
            .await
            .expect("it is open");
        let request = head.body(Full::new(body.into())).expect("a request");
        tokio::spawn(self.sender.send_request(request))
    }
}

pub(super) async fn text(answer: Answer) -> (u16, String) {
    let response = in_time("an answer", answer).await.expect("no panic");
    let response = response.expect("a response");
    let status = response.status().as_u16();
    let body = in_time("a body", response.into_body().collect()).await;
    let body = body.expect("the whole body").to_bytes();
    (status, String::from_utf8(body.into()).expect("a text"))
}

#[tokio::test]
async fn requests_of_one_connection_are_answered_in_any_order() {
    let mut harness = Harness::new();
    let mut client = Http2::connect(harness.address).await;
    let first = client.post("first").await;
    let one = harness.request().await;
    assert_eq!((&one.body[..], &one.head.path[..]), (&b"first"[..], "/mcp"));
    let second = client.post("second").await;
    let two = harness.request().await;
    assert_eq!(two.body, "second");
    harness.answer(two.stream, "two").await;
    assert_eq!(text(second).await, (200, "two".to_owned()));
    harness.answer(one.stream, "one").await;
    assert_eq!(text(first).await, (200, "one".to_owned()));
    drop(client);
    harness.finish().await;
}

#[tokio::test]
async fn an_event_stream_is_sent_at_once_and_its_cancellation_resets_it() {
    let mut harness = Harness::new();
    let mut client = Http2::connect(harness.address).await;
    let get = http::Request::get("http://localhost/mcp");
    let events = client.send(get, "").await;
    let stream = harness.request().await.stream;
    let head = Frame::begin(head_of(StatusCode::OK, -1));
    harness.probe().send(stream, head).await;
    let mut events = in_time("a head", events)
        .await
        .expect("no panic")
        .expect("a head");
    for piece in ["data: 1\n\n", ": ping\n\n"] {
        harness
            .probe()
            .send(stream, Frame::data(piece.into()))
            .await;
        let frame = in_time("a piece", events.body_mut().frame()).await;
        let data = frame.expect("a frame").expect("data").into_data();
        assert_eq!(data.expect("data"), piece);
    }
    drop(events);
    let (at, frame) = in_time("a reset", harness.probe().next_but_window()).await;
    assert_eq!((at.stream, frame), (stream, Frame::reset()));
    // The connection stays.
    let next = client.post("next").await;
    let request = harness.request().await;
    harness.answer(request.stream, "answer").await;
    assert_eq!(text(next).await.1, "answer");
    drop(client);
    harness.finish().await;
}

#[tokio::test]
async fn a_response_to_head_has_no_content() {
    let harness = Harness::of(Options {
        status: Some("/status".to_owned()),
        ..options()
    });
    let mut client = Http2::connect(harness.address).await;
    let head = http::Request::head("http://localhost/status");
    let answer = client.send(head, "").await;
    let response = in_time("an answer", answer).await.expect("no panic");
    let response = response.expect("a response");
    let length = response.headers().get("content-length").cloned();
    assert!(length.is_some_and(|length| length != "0"));
    assert!(hyper::body::Body::is_end_stream(response.body()));
    let body = in_time("the end", response.into_body().collect()).await;
    assert_eq!(body.expect("no error").to_bytes(), "");
    drop(client);
    harness.finish().await;
}

#[tokio::test]
async fn a_cancelled_request_ends_its_stream() {
    let mut harness = Harness::new();
    let mut client = Http2::connect(harness.address).await;
    let answer = client.post("hello").await;
    let stream = harness.request().await.stream;
    answer.abort();
    let (at, frame) = in_time("a reset", harness.probe().next_but_window()).await;
    assert_eq!(at.stream, stream);
    assert!(matches!(frame, Frame::Reset(None)), "{frame:?}");
    drop(client);
    harness.finish().await;
}

#[tokio::test]
async fn a_disconnect_ends_all_streams() {
    let mut harness = Harness::new();
    let mut client = harness.client().await;
    client.send(raw_post(true)).await;
    client.send(raw_head(3, true)).await;
    let mut streams = [
        harness.request().await.stream,
        harness.request().await.stream,
    ];
    drop(client);
    let mut ended = [
        in_time("a reset", harness.probe().next_but_window())
            .await
            .0
            .stream,
        in_time("a reset", harness.probe().next_but_window())
            .await
            .0
            .stream,
    ];
    streams.sort_unstable();
    ended.sort_unstable();
    assert_eq!(streams, ended);
    harness.finish().await;
}

#[tokio::test]
async fn the_limits_of_sizes_hold() {
    let mut harness = Harness::new();
    let mut client = Http2::connect(harness.address).await;
    let large = client.post(vec![b'x'; 100_001]).await;
    assert_eq!(text(large).await.0, 413);
    let head = http::Request::post("http://localhost/mcp").header("x-large", "x".repeat(70_000));
    let answer = client.send(head, "").await;
    assert_eq!(text(answer).await.0, 431);
    let head = http::Request::post("http://evil.example/mcp");
    let answer = client.send(head, "").await;
    assert_eq!(text(answer).await.0, 403);
    let head = http::Request::post("http://localhost/other");
    let answer = client.send(head, "").await;
    assert_eq!(text(answer).await.0, 404);
    assert!(harness.probe().seen().is_empty());
    drop(client);
    harness.finish().await;
}

/// The head of a POST as frames: the preface, SETTINGS, and HEADERS of stream 1.
fn raw_post(is_whole: bool) -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend([0, 0, 0, 4, 0, 0, 0, 0, 0]);
    bytes.extend(raw_head(1, is_whole));
    bytes
}

/// HEADERS of a POST.
fn raw_head(stream: u8, is_whole: bool) -> Vec<u8> {
    let head = b"\x83\x86\x04\x04/mcp\x01\x09localhost";
    let length = u8::try_from(head.len()).expect("a short head");
    // END_HEADERS, and END_STREAM.
    let flags = if is_whole { 5 } else { 4 };
    let mut bytes = vec![0, 0, length, 1, flags, 0, 0, 0, stream];
    bytes.extend(head);
    bytes
}

#[tokio::test]
async fn a_slow_body_is_answered_408() {
    let mut slow = options();
    slow.body_timeout = 30;
    slow.idle_timeout = 30;
    let mut harness = Harness::of(slow);
    let mut client = harness.client().await;
    client.send(raw_post(false)).await;
    let rest = client.rest().await;
    // HPACK: a status that is not in its table, as text or in its Huffman code.
    let statuses: [&[u8]; 2] = [b"408", b"\x82\x68\x3f"];
    let found = |status: &[u8]| rest.windows(status.len()).any(|it| it == status);
    assert!(
        statuses.into_iter().any(found) || found(b"bodyTimeout"),
        "{rest:?}"
    );
    assert!(harness.probe().seen().is_empty());
    harness.finish().await;
}

#[tokio::test]
async fn a_client_waits_at_max_streams_and_is_refused_at_max_requests() {
    let mut harness = Harness::of(Options {
        max_streams: 1,
        max_requests: 1,
        ..options()
    });
    let mut client = Http2::connect(harness.address).await;
    // The client knows the limit after its first exchange.
    let first = client.post("first").await;
    let request = harness.request().await;
    harness.answer(request.stream, "done").await;
    text(first).await;
    let second = client.post("second").await;
    let request = harness.request().await;
    let third = client.post("third").await;
    let mut other = Http2::connect(harness.address).await;
    let refused = other.post("other").await;
    let sentence = "Too many requests (maxRequests); retry later.";
    assert_eq!(text(refused).await, (503, sentence.to_owned()));
    assert!(harness.probe().seen().is_empty());
    harness.answer(request.stream, "done").await;
    assert_eq!(text(second).await.1, "done");
    let request = harness.request().await;
    assert_eq!(request.body, "third");
    harness.answer(request.stream, "done").await;
    assert_eq!(text(third).await.1, "done");
    drop((client, other));
    harness.finish().await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_in_order() {
    let mut harness = Harness::of(Options {
        header_timeout: 60_000,
        idle_timeout: 30,
        ..options()
    });
    let mut client = Http2::connect(harness.address).await;
    let answer = client.post("hello").await;
    let request = harness.request().await;
    harness.answer(request.stream, "hello").await;
    text(answer).await;
    let closed = in_time("a close", client.connection)
        .await
        .expect("no panic");
    assert!(closed.is_ok(), "{closed:?}");
    harness.finish().await;
}

#[tokio::test]
async fn a_connection_without_a_request_is_closed() {
    let harness = Harness::of(Options {
        header_timeout: 30,
        ..options()
    });
    let client = Http2::connect(harness.address).await;
    let _ = in_time("a close", client.connection).await;
    let report = harness.engine.report().await;
    let timed_out = report.labelled("", "http.server.connections.timed_out", "header");
    assert_eq!(timed_out, 1);
    harness.finish().await;
}

/// Sends what the credit of a stream allows; returns how much.
async fn fill(harness: &mut Harness, stream: StreamId) -> usize {
    let send = harness.probe().turn(move |cx| {
        let credit = cx.credit(stream);
        if credit > 0 {
            cx.send_whole(stream, Bytes::from(vec![b'x'; credit]));
        }
        credit
    });
    send.await
}

#[tokio::test]
async fn a_response_that_is_not_read_is_aborted_and_the_others_are_served() {
    let mut harness = Harness::of(Options {
        write_timeout: 300,
        ..options()
    });
    let mut client = Http2::connect(harness.address).await;
    let answer = client.post("much, please").await;
    let stream = harness.request().await.stream;
    let head = Frame::begin(head_of(StatusCode::OK, -1));
    harness.probe().send(stream, head).await;
    let unread = in_time("a head", answer)
        .await
        .expect("no panic")
        .expect("a head");
    while fill(&mut harness, stream).await > 0 {
        // What the connection takes, it takes before it answers another request.
        let other = client.post("other").await;
        let request = harness.request().await;
        harness.answer(request.stream, "served").await;
        assert_eq!(text(other).await.1, "served");
    }
    let (at, frame) = in_time("a reset", harness.probe().next_but_window()).await;
    assert_eq!((at.stream, frame), (stream, Frame::reset()));
    let other = client.post("still there?").await;
    let request = harness.request().await;
    harness.answer(request.stream, "yes").await;
    assert_eq!(text(other).await.1, "yes");
    // The client finds out when it reads.
    let read = in_time("the rest", unread.into_body().collect()).await;
    assert!(read.is_err(), "the response is incomplete");
    let report = harness.engine.report().await;
    assert_eq!(report.value("", "http.server.responses.stalled"), 1);
    drop(client);
    harness.finish().await;
}

#[tokio::test]
async fn a_client_that_cancels_without_end_is_disconnected() {
    let mut harness = Harness::new();
    let mut client = Http2::connect(harness.address).await;
    let mut cancelled = 0;
    while poll_fn(|task| client.sender.poll_ready(task)).await.is_ok() && cancelled < 10_000 {
        let head = http::Request::post("http://localhost/mcp");
        let request = head.body(Full::new("x".into())).expect("a request");
        let sent = tokio::spawn(client.sender.send_request(request));
        tokio::select! {
            () = request_opened(&mut harness.probes[0]) => {}
            _ = &mut client.connection => break,
        }
        sent.abort();
        cancelled += 1;
    }
    assert!((200..10_000).contains(&cancelled), "{cancelled}");
    let report = harness.engine.report().await;
    assert_eq!(report.value("", "http.server.connections.abused"), 1);
    harness.serves_http1().await;
    harness.finish().await;
}

/// Waits until a request has begun.
async fn request_opened(probe: &mut Probe) {
    while !matches!(probe.next_but_window().await.1, Frame::Begin(_)) {}
}

impl Harness {
    /// Checks that a request is served while resets of others arrive.
    async fn serves_http1(&mut self) {
        let mut client = self.client().await;
        client.post("still there?").await;
        let stream = loop {
            let (at, frame) = in_time("a request", self.probe().next_but_window()).await;
            if matches!(frame, Frame::Begin(_)) {
                break at.stream;
            }
        };
        self.answer(stream, "yes").await;
        assert_eq!(client.response().await.body, "yes");
    }
}

#[tokio::test]
async fn a_stop_finishes_requests_and_does_not_wait_for_idle_clients() {
    let mut harness = Harness::new();
    // A client that is answered, and reads no more.
    let mut idle = harness.client().await;
    idle.send(raw_post(true)).await;
    let request = harness.request().await;
    harness.answer(request.stream, "done").await;
    let mut busy = Http2::connect(harness.address).await;
    let finished = busy.post("under way").await;
    let request = harness.request().await;
    let Harness { engine, probes, .. } = harness;
    let stopping = tokio::spawn(engine.shutdown(TIMEOUT * 2));
    while !probes[0].turn(|cx| cx.stopping()).await {}
    answer(&probes[0], request.stream, "finished").await;
    assert_eq!(text(finished).await.1, "finished");
    let stopped = in_time("the stop", stopping).await;
    assert_eq!(stopped.expect("it stops").streams_cut, 0);
}

#[tokio::test]
async fn prior_knowledge_is_refused_on_a_network_address() {
    let mut harness = Harness::of(Options {
        listen: on(([0, 0, 0, 0], 0)),
        unguarded: true,
        ..options()
    });
    harness.address.set_ip([127, 0, 0, 1].into());
    let mut client = harness.client().await;
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    let response = client.response().await;
    assert_eq!(response.status, 400);
    assert!(response.body.contains("use HTTP/1.1"), "{}", response.body);
    harness.serves().await;
    harness.finish().await;
}
