//! What a stop does to connections.

use super::*;

#[tokio::test]
async fn a_stop_closes_idle_connections_and_finishes_requests() {
    let mut house = House::new();
    let mut idle = house.client().await;
    idle.post("before").await;
    let request = house.request().await;
    house.answer(request.stream, "done").await;
    assert_eq!(idle.response().await.body, "done");
    let mut busy = house.client().await;
    busy.post("under way").await;
    let request = house.request().await;

    let House {
        engine,
        address,
        mut probes,
    } = house;
    let stopping = tokio::spawn(engine.shutdown(PATIENCE));
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
async fn a_stop_waits_for_a_client_that_is_slow_to_read_its_answer() {
    let mut house = House::new();
    let mut client = Client::of_small_buffer(house.address).await;
    client.post("much, please").await;
    let stream = house.request().await.stream;
    let mut total = 0;
    let head = Frame::begin(head_of(StatusCode::OK, -1));
    house.probe().send(stream, head).await;
    // More than the kernel takes: the edge is left with the rest.
    loop {
        let send = house.probe().turn(move |cx| {
            let credit = cx.credit(stream);
            if credit > 0 {
                cx.send_whole(stream, Bytes::from(vec![b'x'; credit]));
            }
            credit
        });
        let count = send.await;
        total += count;
        house.serves().await;
        if count == 0 {
            break;
        }
    }
    house.probe().send(stream, Frame::end()).await;
    let House { engine, probes, .. } = house;
    let stopping = tokio::spawn(engine.shutdown(PATIENCE));
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
async fn a_client_that_never_reads_is_cut_off_in_time_and_that_is_told() {
    let mut house = House::new();
    let mut client = house.client().await;
    client.post("hello").await;
    house.request().await;
    let report = house.engine.shutdown(Duration::from_millis(10)).await;
    assert_eq!(report.streams_cut, 1);
}

#[tokio::test]
async fn a_stop_does_not_wait_for_the_rest_of_a_body() {
    const HEAD: &str = "POST /mcp HTTP/1.1\r\nHost: localhost\r\n";
    let mut house = House::of(Options {
        header_timeout: 60_000,
        body_timeout: 60_000,
        ..options()
    });
    let mut busy = house.client().await;
    busy.post("whole").await;
    let request = house.request().await;
    let mut halves = Vec::new();
    for half in [
        "Content-Length: 10\r\n\r\nhalf",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhalf",
        // It waits to be told to go on, is told, and sends nothing.
        "Expect: 100-continue\r\nContent-Length: 10\r\n\r\n",
    ] {
        let mut client = house.client().await;
        client.send(format!("{HEAD}{half}")).await;
        halves.push(client);
    }
    assert_eq!(halves[2].head().await.status, 100);
    // A connection that has been answered and has begun its next request.
    let mut begun = house.client().await;
    begun.post("before").await;
    let before = house.request().await;
    house.answer(before.stream, "done").await;
    assert_eq!(begun.response().await.body, "done");
    begun.send("POST /mc").await;
    house.serves().await;

    let House {
        engine, mut probes, ..
    } = house;
    let stopping = tokio::spawn(engine.shutdown(PATIENCE));
    for mut client in halves {
        let response = client.response().await;
        assert_eq!(response.status, 503);
        let sentence =
            "The gateway is stopping, and the body had not come; send the request again.";
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
async fn a_body_that_comes_soon_after_a_stop_has_begun_is_still_taken() {
    let mut house = House::new();
    let mut client = house.client().await;
    client
        .send("POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nwh")
        .await;
    house.serves().await;
    let House {
        engine, mut probes, ..
    } = house;
    let stopping = tokio::spawn(engine.shutdown(PATIENCE));
    while !probes[0].turn(|cx| cx.stopping()).await {}
    client.send("ole").await;
    let request = request(&mut probes[0]).await;
    assert_eq!(request.body, "whole");
    answer(&probes[0], request.stream, "taken").await;
    assert_eq!(client.response().await.body, "taken");
    assert_eq!(stopping.await.expect("it stops").streams_cut, 0);
}
