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
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket
        .set_recv_buffer_size(16 * 1024)
        .expect("a small buffer");
    let socket = socket.connect(house.address).await.expect("it listens");
    let mut client = Client::over(socket);
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
