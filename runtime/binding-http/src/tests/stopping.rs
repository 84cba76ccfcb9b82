//! The effect of a stop on connections.

use super::*;

#[tokio::test]
async fn a_stop_closes_idle_connections_and_finishes_requests() {
    let mut harness = Harness::new();
    let mut idle = harness.client().await;
    idle.post("before").await;
    let request = harness.request().await;
    harness.answer(request.stream, "done").await;
    assert_eq!(idle.response().await.body, "done");
    let mut busy = harness.client().await;
    busy.post("under way").await;
    let request = harness.request().await;

    let Harness {
        engine,
        address,
        mut probes,
        ..
    } = harness;
    let stopping = tokio::spawn(engine.shutdown(TIMEOUT));
    assert!(idle.rest().await.is_empty(), "an idle connection is closed");
    let refused = async { while tokio::net::TcpStream::connect(address).await.is_ok() {} };
    in_time("closing the listener", refused).await;
    assert!(!stopping.is_finished());
    answer(&probes[0], request.stream, "finished").await;
    let response = busy.response().await;
    assert_eq!(response.body, "finished");
    assert!(response.head.contains("connection: close"));
    assert!(probes[0].seen().is_empty());
    assert_eq!(stopping.await.expect("it stops").streams_cut, 0);
}

#[tokio::test]
async fn a_stop_waits_for_a_slow_reader() {
    let mut harness = Harness::new();
    let mut client = Client::with_small_buffer(harness.address).await;
    client.post("much, please").await;
    let stream = harness.request().await.stream;
    let mut total = 0;
    let head = Frame::begin(head_of(StatusCode::OK, -1));
    harness.probe().send(stream, head).await;
    // More than the kernel buffers, so the edge keeps the rest.
    loop {
        let send = harness.probe().turn(move |cx| {
            let credit = cx.credit(stream);
            if credit > 0 {
                cx.send_whole(stream, Bytes::from(vec![b'x'; credit]));
            }
            credit
        });
        let count = send.await;
        total += count;
        harness.serves().await;
        if count == 0 {
            break;
        }
    }
    harness.probe().send(stream, Frame::end()).await;
    let Harness { engine, probes, .. } = harness;
    let stopping = tokio::spawn(engine.shutdown(TIMEOUT));
    while !probes[0].turn(|cx| cx.stopping()).await {}
    client.head().await;
    let mut got = 0;
    loop {
        let chunk = client.chunk().await;
        if chunk.is_empty() {
            break;
        }
        got += chunk.len();
    }
    assert_eq!(got, total);
    assert_eq!(stopping.await.expect("it stops").streams_cut, 0);
}

#[tokio::test]
async fn a_client_that_never_reads_is_aborted_and_counted() {
    let mut harness = Harness::new();
    let mut client = harness.client().await;
    client.post("hello").await;
    harness.request().await;
    let report = harness.engine.shutdown(Duration::from_millis(10)).await;
    assert_eq!(report.streams_cut, 1);
}

#[tokio::test]
async fn a_stop_does_not_wait_for_an_incomplete_body() {
    const HEAD: &str = "POST /mcp HTTP/1.1\r\nHost: localhost\r\n";
    let mut harness = Harness::of(Options {
        header_timeout: 60_000,
        body_timeout: 60_000,
        ..options()
    });
    let mut busy = harness.client().await;
    busy.post("whole").await;
    let request = harness.request().await;
    let mut halves = Vec::new();
    for half in [
        "Content-Length: 10\r\n\r\nhalf",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhalf",
        // The client waits for `100 Continue`, receives it, and sends nothing.
        "Expect: 100-continue\r\nContent-Length: 10\r\n\r\n",
    ] {
        let mut client = harness.client().await;
        client.send(format!("{HEAD}{half}")).await;
        halves.push(client);
    }
    assert_eq!(halves[2].head().await.status, 100);
    // A connection that has been answered and has begun its next request.
    let mut begun = harness.client().await;
    begun.post("before").await;
    let before = harness.request().await;
    harness.answer(before.stream, "done").await;
    assert_eq!(begun.response().await.body, "done");
    begun.send("POST /mc").await;
    harness.serves().await;

    let Harness {
        engine, mut probes, ..
    } = harness;
    let stopping = tokio::spawn(engine.shutdown(TIMEOUT));
    for mut client in halves {
        let response = client.response().await;
        assert_eq!(response.status, 503);
        let sentence = "The gateway is stopping and the body was incomplete; retry the request.";
        assert_eq!(response.body, sentence);
        assert!(response.head.contains("connection: close"));
        assert!(client.rest().await.is_empty());
    }
    assert!(begun.rest().await.is_empty());
    assert!(!stopping.is_finished(), "a whole request is answered");
    answer(&probes[0], request.stream, "finished").await;
    assert_eq!(busy.response().await.body, "finished");
    assert!(probes[0].seen().is_empty());
    assert_eq!(stopping.await.expect("it stops").streams_cut, 0);
}

#[tokio::test]
async fn a_body_completed_within_the_grace_period_is_served() {
    let mut harness = Harness::new();
    let mut client = harness.client().await;
    client
        .send("POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nwh")
        .await;
    harness.serves().await;
    let Harness {
        engine, mut probes, ..
    } = harness;
    let stopping = tokio::spawn(engine.shutdown(TIMEOUT));
    while !probes[0].turn(|cx| cx.stopping()).await {}
    client.send("ole").await;
    let request = request(&mut probes[0]).await;
    assert_eq!(request.body, "whole");
    answer(&probes[0], request.stream, "taken").await;
    assert_eq!(client.response().await.body, "taken");
    assert_eq!(stopping.await.expect("it stops").streams_cut, 0);
}
