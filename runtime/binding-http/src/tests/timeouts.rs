//! Timeouts of a connection.

use super::*;

/// Long enough that the test's own timeout expires first.
const LONG: u64 = 60_000;

fn timeouts(header: u64, idle: u64, write: u64) -> Options {
    Options {
        max_connections: 1,
        header_timeout: header,
        body_timeout: LONG,
        idle_timeout: idle,
        write_timeout: write,
        ..options()
    }
}

/// Begins a response, and sends as much as the credit allows, until the stream is reset.
async fn send_until_reset(harness: &mut Harness, stream: StreamId) {
    let head = Frame::begin(head_of(StatusCode::OK, -1));
    harness.probe().send(stream, head).await;
    loop {
        let send = harness.probe().turn(move |cx| {
            let credit = cx.credit(stream);
            if credit > 0 {
                cx.send_whole(stream, Bytes::from(vec![b'x'; credit]));
            }
        });
        send.await;
        let (at, frame) = harness.probe().next().await;
        assert_eq!(at.stream, stream);
        if !matches!(frame, Frame::Window(_)) {
            assert_eq!(frame, Frame::reset());
            return;
        }
    }
}

#[tokio::test]
async fn a_client_that_never_reads_is_closed_by_the_write_timeout() {
    let mut harness = Harness::of(timeouts(LONG, LONG, 50));
    for method in ["GET", "POST"] {
        let mut client = Client::with_small_buffer(harness.address).await;
        client.ask(method, "/mcp").await;
        let stream = harness.request().await.stream;
        send_until_reset(&mut harness, stream).await;
        // The limit is one connection, and the client still has its connection.
        harness.serves().await;
        drop(client);
    }
    harness.finish().await;
}

#[tokio::test]
async fn pipelined_requests_do_not_extend_the_write_timeout() {
    const LIST: &str = "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nlist";
    let mut harness = Harness::of(timeouts(LONG, LONG, 50));
    let mut hostile = Client::with_small_buffer(harness.address).await;
    hostile.send(LIST.repeat(200)).await;
    let mut next = Client::connect(harness.address).await;
    next.post("next").await;
    let large: &'static str = "x".repeat(128 * 1024).leak();
    loop {
        let (at, frame) = harness.probe().next_but_window().await;
        let Frame::Data(data) = frame else { continue };
        if data.payload == "next" {
            harness.answer(at.stream, "served").await;
            break;
        }
        harness.answer(at.stream, large).await;
    }
    assert_eq!(next.response().await.body, "served");
    drop(hostile);
    harness.finish().await;
}

#[tokio::test]
async fn an_idle_event_stream_has_no_timeout() {
    let mut harness = Harness::of(Options {
        max_connections: 10,
        body_timeout: 200,
        ..timeouts(200, 200, 200)
    });
    let mut client = harness.client().await;
    client.ask("GET", "/mcp").await;
    let stream = harness.request().await.stream;
    let head = Frame::begin(head_of(StatusCode::OK, -1));
    harness.probe().send(stream, head).await;
    assert_eq!(client.head().await.status, 200);
    for _ in 0..2 {
        // An idle connection is closed, so the timeout has also passed for the stream.
        assert!(harness.client().await.rest().await.is_empty());
    }
    let event = Frame::data("data: 1\n\n".into());
    harness.probe().send(stream, event).await;
    assert_eq!(client.chunk().await, "data: 1\n\n");
    harness.probe().send(stream, Frame::end()).await;
    assert_eq!(client.chunk().await, "");
    harness.finish().await;
}

#[tokio::test]
async fn a_connection_between_requests_has_the_idle_timeout() {
    let mut harness = Harness::of(timeouts(LONG, 30, LONG));
    let mut client = harness.client().await;
    client.post("hello").await;
    let request = harness.request().await;
    harness.answer(request.stream, "hello").await;
    assert_eq!(client.response().await.status, 200);
    assert!(client.rest().await.is_empty());
    harness.finish().await;
}

#[tokio::test]
async fn a_connection_without_a_request_has_the_header_timeout() {
    let harness = Harness::of(timeouts(30, LONG, LONG));
    assert!(harness.client().await.rest().await.is_empty());
    harness.finish().await;
}

/// Writes a byte per interval until the server closes.
async fn drip(client: &mut Client, each: Duration) -> Vec<u8> {
    loop {
        client.send("x").await;
        if let Ok(rest) = tokio::time::timeout(each, client.rest()).await {
            return rest;
        }
    }
}

#[tokio::test]
async fn the_header_timeout_covers_the_whole_head() {
    const BEGUN: &str = "POST /mcp HTTP/1.1\r\nX-Slow: ";
    let mut harness = Harness::of(timeouts(200, LONG, LONG));
    // The first head of a connection, and a later one.
    let mut client = harness.client().await;
    client.send(BEGUN).await;
    in_time("closing", drip(&mut client, Duration::from_millis(20))).await;
    let mut client = harness.client().await;
    client.post("hello").await;
    let request = harness.request().await;
    harness.answer(request.stream, "hello").await;
    assert_eq!(client.response().await.status, 200);
    client.send(BEGUN).await;
    in_time("closing", drip(&mut client, Duration::from_millis(20))).await;
    harness.finish().await;
}

#[tokio::test]
async fn the_body_timeout_covers_the_whole_body() {
    let mut harness = Harness::of(Options {
        body_timeout: 100,
        ..timeouts(LONG, LONG, LONG)
    });
    let mut client = harness.client().await;
    client
        .send("POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n")
        .await;
    let dripping = drip(&mut client, Duration::from_millis(20));
    let answer = in_time("closing", dripping).await;
    let answer = String::from_utf8(answer).expect("a text");
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(harness.probe().seen().is_empty());
    harness.finish().await;
}
