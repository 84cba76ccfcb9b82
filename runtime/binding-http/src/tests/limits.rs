//! Size, time and connection limits.

use super::*;

const HEAD: &str = "POST /mcp HTTP/1.1\r\nHost: localhost\r\n";

#[tokio::test]
async fn the_body_size_limit_is_exact() {
    let mut harness = Harness::new();
    let mut client = harness.client().await;
    let body = "x".repeat(100_000);
    client.post(&body).await;
    let request = harness.request().await;
    assert_eq!(request.body, body);
    harness.answer(request.stream, "taken").await;
    assert_eq!(client.response().await.body, "taken");

    client.post(&format!("{body}x")).await;
    let response = client.response().await;
    assert_eq!(response.status, 413);
    assert_eq!(response.body, "Body too large (maxBodySize).");
    assert!(harness.probe().seen().is_empty());
    let report = harness.engine.report().await;
    let requests = |outcome| report.labelled("", "http.server.requests", outcome);
    assert_eq!((requests("opened"), requests("refused")), (1, 1));
    let refused = "binding.http.request.refused";
    assert_eq!(report.labelled("", "engine.events", refused), 1);
    harness.finish().await;
}

#[tokio::test]
async fn a_chunked_body_beyond_the_limit_is_refused() {
    let mut harness = Harness::new();
    let mut client = harness.client().await;
    client
        .send(format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n"))
        .await;
    let chunk = format!("4e20\r\n{}\r\n", "x".repeat(20_000));
    for _ in 0..6 {
        client.send(&chunk).await;
    }
    client.send("0\r\n\r\n").await;
    assert_eq!(client.response().await.status, 413);
    assert!(harness.probe().seen().is_empty());
    harness.serves().await;
    harness.finish().await;
}

#[tokio::test]
async fn an_oversized_body_with_expect_continue_is_refused_at_once() {
    let mut harness = Harness::new();
    let mut client = harness.client().await;
    client
        .send(format!(
            "{HEAD}Expect: 100-continue\r\nContent-Length: 100001\r\n\r\n"
        ))
        .await;
    assert_eq!(client.response().await.status, 413);
    harness.serves().await;
    harness.finish().await;
}

#[tokio::test]
async fn a_head_that_is_too_large_is_answered_431() {
    let mut harness = Harness::new();
    let larger = |by: usize| format!("{HEAD}X-Large: {}\r\n\r\n", "x".repeat(65_536 + by));
    let many = "X-Many: y\r\n".repeat(200);
    for head in [larger(0), larger(200_000), format!("{HEAD}{many}\r\n")] {
        let mut client = harness.client().await;
        client.send(head).await;
        assert_eq!(client.response().await.status, 431);
        harness.serves().await;
    }
    harness.finish().await;
}

#[tokio::test]
async fn a_slow_head_closes_the_connection() {
    let mut slow = options();
    slow.header_timeout = 30;
    let harness = Harness::of(slow);
    for part in ["", "POST /mcp HT", HEAD] {
        let mut client = harness.client().await;
        client.send(part).await;
        let answer = client.rest().await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"));
    }
    harness.finish().await;
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let mut slow = options();
    slow.idle_timeout = 30;
    let mut harness = Harness::of(slow);
    let mut client = harness.client().await;
    client.post("hello").await;
    let request = harness.request().await;
    harness.answer(request.stream, "hello").await;
    assert_eq!(client.response().await.status, 200);
    assert!(client.rest().await.is_empty());
    harness.finish().await;
}

#[tokio::test]
async fn the_header_timeout_does_not_apply_to_a_response() {
    let mut slow = options();
    slow.header_timeout = 30;
    let mut harness = Harness::of(slow);
    let mut client = harness.client().await;
    client.post("take your time").await;
    let request = harness.request().await;
    // An idle connection opened later is closed by that limit, so the limit has passed for this one
    // too.
    assert!(harness.client().await.rest().await.is_empty());
    harness.answer(request.stream, "thanks").await;
    assert_eq!(client.response().await.body, "thanks");
    harness.finish().await;
}

#[tokio::test]
async fn a_slow_body_is_answered_408() {
    let mut slow = options();
    slow.body_timeout = 30;
    let mut harness = Harness::of(slow);
    for part in [
        "Content-Length: 10\r\n\r\nhal",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhalf",
    ] {
        let mut client = harness.client().await;
        client.send(format!("{HEAD}{part}")).await;
        assert_eq!(client.response().await.status, 408);
        assert!(
            client.rest().await.is_empty(),
            "and the connection is closed"
        );
    }
    assert!(harness.probe().seen().is_empty());
    harness.finish().await;
}

#[tokio::test]
async fn a_disconnect_during_the_body_opens_no_stream() {
    let mut harness = Harness::new();
    let mut client = harness.client().await;
    client
        .send(format!("{HEAD}Content-Length: 10\r\n\r\nhal"))
        .await;
    drop(client);
    harness.serves().await;
    assert!(harness.probe().seen().is_empty());
    harness.finish().await;
}

#[tokio::test]
async fn connections_beyond_the_limit_wait() {
    let mut few = options();
    few.max_connections = 1;
    let mut harness = Harness::of(few);
    let mut first = harness.client().await;
    first.post("first").await;
    let request = harness.request().await;
    let mut second = harness.client().await;
    second.post("second").await;
    harness.answer(request.stream, "done").await;
    assert_eq!(first.response().await.body, "done");
    // The first connection is served, and the second one has not been accepted.
    first.post("third").await;
    let request = harness.request().await;
    assert_eq!(request.body, "third");
    harness.answer(request.stream, "done").await;
    first.response().await;
    drop(first);
    let request = harness.request().await;
    assert_eq!(request.body, "second");
    harness.answer(request.stream, "done").await;
    assert_eq!(second.response().await.body, "done");
    harness.finish().await;
}

#[tokio::test]
async fn connections_beyond_the_address_limit_are_refused() {
    let mut harness = Harness::of(Options {
        max_connections: 2,
        max_connections_per_address: Some(1),
        ..options()
    });
    let mut first = harness.client().await;
    first.post("first").await;
    let request = harness.request().await;
    for _ in 0..5 {
        let mut second = harness.client().await;
        let refusal = second.response().await;
        assert_eq!(refusal.status, 503);
        let sentence = "Too many connections from this address; see maxConnectionsPerAddress.";
        assert_eq!(refusal.body, sentence);
        assert!(refusal.head.contains("connection: close"));
        assert!(second.rest().await.is_empty());
    }
    let report = harness.engine.report().await;
    let figure = |name| report.value("", name);
    assert_eq!(figure("http.server.connections"), 1);
    assert_eq!(figure("http.server.active_requests"), 1);
    assert_eq!(figure("http.server.connections.accepted"), 1);
    assert_eq!(figure("http.server.connections.refused"), 5);
    harness.answer(request.stream, "done").await;
    assert_eq!(first.response().await.body, "done");
    drop(first);
    // The address is below its limit again when the edge has noticed the close.
    let served = async {
        loop {
            let mut next = harness.client().await;
            next.post("next").await;
            tokio::select! {
                (at, _) = harness.probes[0].next_but_window() => {
                    answer(&harness.probes[0], at.stream, "served").await;
                    break next.response().await;
                }
                refused = next.rest() => {
                    assert!(refused.is_empty() || refused.starts_with(b"HTTP/1.1 503"));
                }
            }
        }
    };
    assert_eq!(in_time("a place", served).await.body, "served");
    while harness.probe().next_but_window().await.1 != Frame::end() {}
    harness.finish().await;
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
    let mut harness = Harness::of(many);
    harness.serves().await;
    harness.finish().await;
}

#[tokio::test]
async fn a_port_in_use_is_reported() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let first = Harness::new();
    for address in [taken.local_addr().expect("it listens"), first.address] {
        let mut options = options();
        options.listen = on(address);
        let (_probe, edge) = probe();
        let second = Engine::start(2, Limits::default(), move |assembly| {
            let exit = edge.attach(assembly, 0, None);
            crate::attach(assembly, options.clone(), exit, &Guards::default(), None).map(|_| ())
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
async fn tcp_nodelay_is_set() {
    let harness = Harness::new();
    let socket = harness.client().await.socket;
    socket2::SockRef::from(&socket)
        .set_tcp_nodelay(false)
        .expect("it is open");
    crate::listener::set_nodelay(&socket);
    assert!(socket.nodelay().expect("it is open"));
    harness.finish().await;
}
