//! What is too large, too slow or too much.

use super::*;

const HEAD: &str = "POST /mcp HTTP/1.1\r\nHost: localhost\r\n";

#[tokio::test]
async fn a_body_of_the_largest_size_is_taken_and_one_byte_more_is_not() {
    let mut house = House::new();
    let mut client = house.client().await;
    let body = "x".repeat(100_000);
    client.post(&body).await;
    let request = house.request().await;
    assert_eq!(request.body, body);
    house.answer(request.stream, "taken").await;
    assert_eq!(client.response().await.body, "taken");

    client.post(&format!("{body}x")).await;
    let response = client.response().await;
    assert_eq!(response.status, 413);
    assert_eq!(response.body, "The body is too large.");
    assert!(house.probe().seen().is_empty());
    let report = house.engine.report().await;
    let requests = |outcome| report.labelled("", "http.server.requests", outcome);
    assert_eq!((requests("opened"), requests("refused")), (1, 1));
    house.finish().await;
}

#[tokio::test]
async fn a_body_of_unknown_length_is_refused_when_it_gets_too_large() {
    let mut house = House::new();
    let mut client = house.client().await;
    client
        .send(format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n"))
        .await;
    let chunk = format!("4e20\r\n{}\r\n", "x".repeat(20_000));
    for _ in 0..6 {
        client.send(&chunk).await;
    }
    client.send("0\r\n\r\n").await;
    assert_eq!(client.response().await.status, 413);
    assert!(house.probe().seen().is_empty());
    house.serves().await;
    house.finish().await;
}

#[tokio::test]
async fn whoever_asks_before_sending_too_much_is_told_at_once() {
    let mut house = House::new();
    let mut client = house.client().await;
    client
        .send(format!(
            "{HEAD}Expect: 100-continue\r\nContent-Length: 100001\r\n\r\n"
        ))
        .await;
    assert_eq!(client.response().await.status, 413);
    house.serves().await;
    house.finish().await;
}

#[tokio::test]
async fn a_head_that_is_too_large_is_answered_431() {
    let mut house = House::new();
    let larger = |by: usize| format!("{HEAD}X-Large: {}\r\n\r\n", "x".repeat(65_536 + by));
    let many = "X-Many: y\r\n".repeat(200);
    for head in [larger(0), larger(200_000), format!("{HEAD}{many}\r\n")] {
        let mut client = house.client().await;
        client.send(head).await;
        assert_eq!(client.response().await.status, 431);
        house.serves().await;
    }
    house.finish().await;
}

#[tokio::test]
async fn a_client_that_is_slow_with_its_head_is_left() {
    let mut slow = options();
    slow.header_timeout = 30;
    let house = House::of(slow);
    for part in ["", "POST /mcp HT", HEAD] {
        let mut client = house.client().await;
        client.send(part).await;
        let answer = client.rest().await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"));
    }
    house.finish().await;
}

#[tokio::test]
async fn a_connection_that_is_idle_for_too_long_is_closed() {
    let mut slow = options();
    slow.header_timeout = 30;
    let mut house = House::of(slow);
    let mut client = house.client().await;
    client.post("hello").await;
    let request = house.request().await;
    house.answer(request.stream, "hello").await;
    assert_eq!(client.response().await.status, 200);
    assert!(client.rest().await.is_empty());
    house.finish().await;
}

#[tokio::test]
async fn the_time_for_a_head_does_not_limit_an_answer() {
    let mut slow = options();
    slow.header_timeout = 30;
    let mut house = House::of(slow);
    let mut client = house.client().await;
    client.post("take your time").await;
    let request = house.request().await;
    // An idle connection made later is closed by that limit, so it has passed for this one too.
    assert!(house.client().await.rest().await.is_empty());
    house.answer(request.stream, "thanks").await;
    assert_eq!(client.response().await.body, "thanks");
    house.finish().await;
}

#[tokio::test]
async fn a_client_that_is_slow_with_its_body_is_answered_408() {
    let mut slow = options();
    slow.body_timeout = 30;
    let mut house = House::of(slow);
    for part in [
        "Content-Length: 10\r\n\r\nhal",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhalf",
    ] {
        let mut client = house.client().await;
        client.send(format!("{HEAD}{part}")).await;
        assert_eq!(client.response().await.status, 408);
        assert!(
            client.rest().await.is_empty(),
            "and the connection is closed"
        );
    }
    assert!(house.probe().seen().is_empty());
    house.finish().await;
}

#[tokio::test]
async fn a_client_that_leaves_within_its_body_opens_no_stream() {
    let mut house = House::new();
    let mut client = house.client().await;
    client
        .send(format!("{HEAD}Content-Length: 10\r\n\r\nhal"))
        .await;
    drop(client);
    house.serves().await;
    assert!(house.probe().seen().is_empty());
    house.finish().await;
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_a_place() {
    let mut few = options();
    few.max_connections = 1;
    let mut house = House::of(few);
    let mut first = house.client().await;
    first.post("first").await;
    let request = house.request().await;
    let mut second = house.client().await;
    second.post("second").await;
    house.answer(request.stream, "done").await;
    assert_eq!(first.response().await.body, "done");
    // The first connection is served on, and nothing of the second one has come.
    first.post("third").await;
    let request = house.request().await;
    assert_eq!(request.body, "third");
    house.answer(request.stream, "done").await;
    first.response().await;
    drop(first);
    let request = house.request().await;
    assert_eq!(request.body, "second");
    house.answer(request.stream, "done").await;
    assert_eq!(second.response().await.body, "done");
    house.finish().await;
}

#[tokio::test]
async fn connections_of_one_address_beyond_its_limit_are_refused_and_hold_no_place() {
    let mut house = House::of(Options {
        max_connections: 2,
        max_connections_per_address: Some(1),
        ..options()
    });
    let mut first = house.client().await;
    first.post("first").await;
    let request = house.request().await;
    for _ in 0..5 {
        let mut second = house.client().await;
        let refusal = second.response().await;
        assert_eq!(refusal.status, 503);
        let sentence = "Too many connections from this address; see maxConnectionsPerAddress.";
        assert_eq!(refusal.body, sentence);
        assert!(refusal.head.contains("connection: close"));
        assert!(second.rest().await.is_empty());
    }
    let report = house.engine.report().await;
    let figure = |name| report.value("", name);
    assert_eq!(figure("http.server.connections"), 1);
    assert_eq!(figure("http.server.active_requests"), 1);
    assert_eq!(figure("http.server.connections.accepted"), 1);
    assert_eq!(figure("http.server.connections.refused"), 5);
    house.answer(request.stream, "done").await;
    assert_eq!(first.response().await.body, "done");
    drop(first);
    // The address has its place again when the edge has seen the close.
    let served = async {
        loop {
            let mut next = house.client().await;
            next.post("next").await;
            tokio::select! {
                (at, _) = house.probes[0].next_but_window() => {
                    answer(&house.probes[0], at.stream, "served").await;
                    break next.response().await;
                }
                refused = next.rest() => {
                    assert!(refused.is_empty() || refused.starts_with(b"HTTP/1.1 503"));
                }
            }
        }
    };
    assert_eq!(in_time("a place", served).await.body, "served");
    while house.probe().next_but_window().await.1 != Frame::end() {}
    house.finish().await;
}

#[tokio::test]
async fn a_limit_of_any_size_works() {
    let mut many = options();
    many.max_connections = usize::MAX;
    many.max_connections_per_address = Some(usize::MAX);
    many.idle_timeout = u64::MAX;
    many.write_timeout = u64::MAX;
    many.max_body_size = usize::MAX;
    many.header_timeout = u64::MAX;
    many.body_timeout = u64::MAX;
    let mut house = House::of(many);
    house.serves().await;
    house.finish().await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_a_clear_error() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let first = House::new();
    for address in [taken.local_addr().expect("it listens"), first.address] {
        let mut options = options();
        options.listen = Listen(address);
        let (_probe, edge) = probe();
        let second = Engine::start(2, Limits::default(), move |assembly| {
            let exit = edge.attach(assembly, 0, None);
            crate::attach(assembly, options.clone(), exit, None).map(|_| ())
        });
        let error = second.err().expect("the port is taken");
        assert!(matches!(error, StartError::Listen { .. }));
        let told = error.to_string();
        let expected = format!("cannot listen on {address}: Address already in use");
        assert!(told.starts_with(&expected), "{told}");
    }
    first.finish().await;
}

#[tokio::test]
async fn nothing_is_delayed() {
    let house = House::new();
    let socket = house.client().await.socket;
    socket2::SockRef::from(&socket)
        .set_tcp_nodelay(false)
        .expect("it is open");
    crate::connection::undelayed(&socket);
    assert!(socket.nodelay().expect("it is open"));
    house.finish().await;
}
