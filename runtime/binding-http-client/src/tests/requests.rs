//! Requests, connections and redirects.

use std::net::TcpListener;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method};
use serde_json::json;
use tidegate_streams::Frame;

use super::server::{Server, ok, with_status};
use super::{Got, Harness};

#[tokio::test]
async fn requests_share_a_connection() {
    let server = Server::start(|request| ok(&format!("got {}", request.body)));
    let mut harness = Harness::new(server.port, &json!({}));
    for body in ["one", "two"] {
        let got = harness.request("/mcp?x=1", body).await;
        assert_eq!(got.response(), (200, format!("got {body}")));
        let request = server.next();
        assert_eq!(request.line, "POST /mcp?x=1 HTTP/1.1");
        let host = format!("127.0.0.1:{}", server.port);
        assert_eq!(request.header("host"), Some(host.as_str()));
        assert_eq!(request.header("content-length"), Some("3"));
        assert!(
            request
                .header("user-agent")
                .is_some_and(|it| it.starts_with("tidegate/"))
        );
        assert_eq!(request.header("authorization"), None);
    }
    assert_eq!(server.connections(), 1);
    harness.engine.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_connection_that_the_server_has_closed_is_replaced() {
    let server = Server::start(|_| (ok("x").0, true));
    let mut harness = Harness::new(server.port, &json!({}));
    for _ in 0..3 {
        let mut got = harness.request("/", "a").await;
        // The close may cross the request, which is then not sent again: the server may have seen it.
        if matches!(&got, Got::Reset(reset) if reset.sent) {
            got = harness.request("/", "a").await;
        }
        assert_eq!(got.response().0, 200);
    }
    assert_eq!(server.connections(), 3);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = free.local_addr().expect("bound").port();
    drop(free);
    let mut harness = Harness::new(port, &json!({}));
    let reset = harness.request("/", "a").await.reset();
    assert_eq!(reset.remote, format!("127.0.0.1:{port}"));
    assert_eq!((&*reset.reason, reset.sent), ("connection refused", false));
}

#[tokio::test]
async fn what_is_no_response_is_explained() {
    for (reply, why) in [
        ("", "closed the connection without a response"),
        ("SSH-2.0-OpenSSH\r\n\r\n", "not HTTP/1.1"),
    ] {
        let server = Server::start(move |_| (reply.to_owned(), true));
        let mut harness = Harness::new(server.port, &json!({}));
        let reset = harness.request("/", "a").await.reset();
        assert!(reset.reason.contains(why), "{}", reset.reason);
        assert!(reset.sent);
    }
}

#[tokio::test]
async fn a_response_has_a_bounded_head() {
    let named = |count: usize| {
        let headers = (0..count).map(|it| format!("x-{it}: 1\r\n"));
        headers.collect::<Vec<_>>().concat()
    };
    let long = format!("x: {}\r\n", "1".repeat(1 << 20));
    // `content-length` is a header as well.
    for (headers, fits) in [(named(99), true), (named(100), false), (long, false)] {
        let size = headers.len();
        let server = Server::start(move |_| with_status("200 OK", &headers, "x"));
        let mut harness = Harness::new(server.port, &json!({}));
        match harness.request("/", "a").await {
            Got::Reset(reset) => assert!(!fits && reset.sent, "{}", reset.reason),
            got @ Got::Response(..) => {
                assert_eq!((fits, got.response().0), (true, 200), "{size} bytes");
            }
        }
    }
}

#[tokio::test]
async fn a_redirect_to_the_same_server_is_followed_and_another_one_is_not() {
    let server = Server::start(|request| {
        if request.line.starts_with("POST /mcp ") {
            with_status("307 Temporary Redirect", "location: /mcp/\r\n", "")
        } else if request.line.starts_with("POST /away ") {
            with_status(
                "307 Temporary Redirect",
                "location: http://127.0.0.1:1/mcp\r\n",
                "",
            )
        } else if request.line.starts_with("POST /loop ") {
            with_status("308 Permanent Redirect", "location: /loop\r\n", "")
        } else {
            ok(&request.body)
        }
    });
    let mut harness = Harness::new(server.port, &json!({}));
    assert_eq!(
        harness.request("/mcp", "body").await.response(),
        (200, "body".to_owned())
    );
    assert_eq!(harness.request("/away", "body").await.response().0, 307);
    assert_eq!(harness.request("/loop", "body").await.response().0, 308);
}

#[tokio::test]
async fn requests_beyond_the_limits_are_refused() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = free.local_addr().expect("bound").port();
    let options = json!({ "maxConnections": 1, "maxPending": 0, "maxBodySize": 1_024 });
    let mut harness = Harness::new(port, &options);
    // The server does not answer.
    let first = harness.open("/", "a").await;
    let (held, _) = free.accept().expect("a connection");
    let second = harness.open("/", "b").await;
    let reset = harness.wait(second).await.reset();
    assert!(reset.reason.contains("maxPending"), "{}", reset.reason);
    harness
        .probe
        .turn(move |cx| cx.terminate(first, None, None))
        .await;
    drop(held);
    let large = harness.request("/", &"x".repeat(2_000)).await.reset();
    assert!(large.reason.contains("maxBodySize"), "{}", large.reason);
}

#[tokio::test]
async fn a_response_is_read_as_fast_as_it_is_consumed() {
    let body = "0123456789".repeat(500_000);
    let sent = body.clone();
    let server = Server::start(move |_| ok(&sent));
    let mut harness = Harness::new(server.port, &json!({}));
    let stream = harness.open("/", "a").await;
    let mut received = String::new();
    loop {
        match harness.probe.next_but_window().await.1 {
            Frame::Data(data) => {
                received.push_str(std::str::from_utf8(&data.payload).expect("text"));
                let length = data.payload.len();
                harness
                    .probe
                    .turn(move |cx| cx.acknowledge(stream, length))
                    .await;
            }
            Frame::End(_) => break,
            Frame::Begin(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(received == body);
}

#[tokio::test]
async fn streams_of_events_leave_connections_for_other_requests() {
    let server = Server::start(|request| {
        if request.body == "call" {
            return ok("answer");
        }
        // A stream of events that stays open.
        let head =
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 9\r\n\r\n";
        (head.to_owned(), false)
    });
    let mut harness = Harness::new(server.port, &json!({ "maxConnections": 4 }));
    let events = |method: &str| {
        let mut headers = HeaderMap::new();
        let pair = match method {
            "GET" => ("accept", "text/event-stream"),
            _ => ("mcp-method", "subscriptions/listen"),
        };
        headers.insert(pair.0, HeaderValue::from_static(pair.1));
        (method.parse::<Method>().expect("a method"), headers)
    };
    let mut open = Vec::new();
    for method in ["GET", "POST", "GET"] {
        let (method, headers) = events(method);
        open.push(harness.open_as(method, headers, "/", "events").await);
        server.next();
    }
    for method in ["GET", "POST"] {
        let (method, headers) = events(method);
        let further = harness.open_as(method, headers, "/", "events").await;
        let reset = harness.wait(further).await.reset();
        assert!(
            reset.reason.contains("3 streams of events"),
            "{}",
            reset.reason
        );
        assert!(!reset.sent);
        let got = harness.request("/", "call").await;
        assert_eq!(got.response(), (200, "answer".to_owned()));
        server.next();
    }
    // One that ends makes room for the next.
    let first = open.remove(0);
    harness
        .probe
        .turn(move |cx| cx.terminate(first, None, None))
        .await;
    let got = harness.request("/", "call").await;
    assert_eq!(got.response(), (200, "answer".to_owned()));
    server.next();
    let (method, headers) = events("GET");
    harness.open_as(method, headers, "/", "events").await;
    assert_eq!(server.next().body, "events");
}
