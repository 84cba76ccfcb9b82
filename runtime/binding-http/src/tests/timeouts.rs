//! What a connection may take its time with, and what it may not.

use super::*;

/// Long enough that a test fails on its own patience first.
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

/// Begins a response, and sends as much as the edge takes, until the stream is reset.
async fn send_until_reset(house: &mut House, stream: StreamId) {
    let head = Frame::begin(head_of(StatusCode::OK, -1));
    house.probe().send(stream, head).await;
    loop {
        let send = house.probe().turn(move |cx| {
            let credit = cx.credit(stream);
            if credit > 0 {
                cx.send_whole(stream, Bytes::from(vec![b'x'; credit]));
            }
        });
        send.await;
        let (at, frame) = house.probe().next().await;
        assert_eq!(at.stream, stream);
        if !matches!(frame, Frame::Window(_)) {
            assert_eq!(frame, Frame::reset());
            return;
        }
    }
}

#[tokio::test]
async fn a_client_that_never_reads_loses_its_place_within_the_write_timeout() {
    let mut house = House::of(timeouts(LONG, LONG, 50));
    for method in ["GET", "POST"] {
        let mut client = Client::of_small_buffer(house.address).await;
        client.ask(method, "/mcp").await;
        let stream = house.request().await.stream;
        send_until_reset(&mut house, stream).await;
        // There is one place, and the client still has its connection.
        house.serves().await;
        drop(client);
    }
    house.finish().await;
}

#[tokio::test]
async fn pipelined_requests_of_a_client_that_never_reads_hold_no_place() {
    const LIST: &str = "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nlist";
    let mut house = House::of(timeouts(LONG, LONG, 50));
    let mut hostile = Client::of_small_buffer(house.address).await;
    hostile.send(LIST.repeat(200)).await;
    let mut next = Client::connect(house.address).await;
    next.post("next").await;
    let large: &'static str = "x".repeat(128 * 1024).leak();
    loop {
        let (at, frame) = house.probe().next_but_window().await;
        let Frame::Data(data) = frame else { continue };
        if data.payload == "next" {
            house.answer(at.stream, "served").await;
            break;
        }
        house.answer(at.stream, large).await;
    }
    assert_eq!(next.response().await.body, "served");
    drop(hostile);
    house.finish().await;
}

#[tokio::test]
async fn a_stream_of_events_with_nothing_to_write_outlives_every_timeout() {
    let mut house = House::of(Options {
        max_connections: 10,
        body_timeout: 200,
        ..timeouts(200, 200, 200)
    });
    let mut client = house.client().await;
    client.ask("GET", "/mcp").await;
    let stream = house.request().await.stream;
    let head = Frame::begin(head_of(StatusCode::OK, -1));
    house.probe().send(stream, head).await;
    assert_eq!(client.head().await.status, 200);
    for _ in 0..2 {
        // A connection that asks for nothing is closed, so the time has passed for the stream too.
        assert!(house.client().await.rest().await.is_empty());
    }
    let event = Frame::data("data: 1\n\n".into());
    house.probe().send(stream, event).await;
    assert_eq!(client.chunk().await, "data: 1\n\n");
    house.probe().send(stream, Frame::end()).await;
    assert_eq!(client.chunk().await, "");
    house.finish().await;
}

#[tokio::test]
async fn a_connection_between_requests_has_the_idle_timeout() {
    let mut house = House::of(timeouts(LONG, 30, LONG));
    let mut client = house.client().await;
    client.post("hello").await;
    let request = house.request().await;
    house.answer(request.stream, "hello").await;
    assert_eq!(client.response().await.status, 200);
    assert!(client.rest().await.is_empty());
    house.finish().await;
}

#[tokio::test]
async fn a_connection_without_a_request_has_the_header_timeout() {
    let house = House::of(timeouts(30, LONG, LONG));
    assert!(house.client().await.rest().await.is_empty());
    house.finish().await;
}

/// Writes a byte whenever `each` has passed, until the server closes.
async fn drip(client: &mut Client, each: Duration) -> Vec<u8> {
    loop {
        client.send("x").await;
        if let Ok(rest) = tokio::time::timeout(each, client.rest()).await {
            return rest;
        }
    }
}

#[tokio::test]
async fn a_head_that_drips_in_has_the_header_timeout_as_a_whole() {
    const BEGUN: &str = "POST /mcp HTTP/1.1\r\nX-Slow: ";
    let mut house = House::of(timeouts(200, LONG, LONG));
    // The first head of a connection, and a later one.
    let mut client = house.client().await;
    client.send(BEGUN).await;
    in_time("closing", drip(&mut client, Duration::from_millis(20))).await;
    let mut client = house.client().await;
    client.post("hello").await;
    let request = house.request().await;
    house.answer(request.stream, "hello").await;
    assert_eq!(client.response().await.status, 200);
    client.send(BEGUN).await;
    in_time("closing", drip(&mut client, Duration::from_millis(20))).await;
    house.finish().await;
}

#[tokio::test]
async fn a_body_that_drips_in_has_the_body_timeout_as_a_whole() {
    let mut house = House::of(Options {
        body_timeout: 100,
        ..timeouts(LONG, LONG, LONG)
    });
    let mut client = house.client().await;
    client
        .send("POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n")
        .await;
    let dripping = drip(&mut client, Duration::from_millis(20));
    let answer = in_time("closing", dripping).await;
    let answer = String::from_utf8(answer).expect("a text");
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(house.probe().seen().is_empty());
    house.finish().await;
}
