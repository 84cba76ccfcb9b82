//! Under which names and from which pages the endpoint may be asked.

use super::*;

/// What a request is answered; 200 is for what reaches the callee. The connection is closed.
async fn answered(house: &mut House, head: &str) -> (u16, String) {
    let mut client = house.client().await;
    client.send(format!("{head}\r\n\r\n")).await;
    tokio::select! {
        (at, _) = house.probes[0].next_but_window() => {
            answer(&house.probes[0], at.stream, "served").await;
            while house.probe().next_but_window().await.1 != Frame::end() {}
            let response = client.response().await;
            (response.status, response.body)
        }
        response = client.head() => {
            let body = client.body_of(&response).await;
            (response.status, body)
        }
    }
}

/// Each head, and the status and sentence with which it is answered.
async fn are_answered(house: &mut House, cases: &[(&str, u16, &str)]) {
    for (head, status, sentence) in cases {
        let answer = answered(house, head).await;
        assert_eq!(answer, (*status, (*sentence).to_owned()), "{head}");
    }
}

const UNKNOWN_HOST: &str = "This endpoint is not known under this host; see allowedHosts.";
const UNKNOWN_ORIGIN: &str = "This origin may not use this endpoint; see allowedOrigins.";
const NO_HOST: &str = "The Host header is missing; HTTP/1.1 requires it.";
const HOSTS: &str = "There is more than one Host header; send one.";
const DIFFERENT: &str = "The Host header differs from the host of the request target.";
const SCHEME: &str = "The request target has a scheme other than http and https.";
const INVALID_HOST: &str = "The Host header is no host with an optional port.";
const ORIGINS: &str = "There is more than one Origin header; send one.";

#[tokio::test]
async fn the_host_of_an_absolute_target_is_checked_like_the_header() {
    let mut house = House::new();
    let cases = [
        (
            "GET http://localhost/mcp HTTP/1.1\r\nHost: localhost",
            200,
            "served",
        ),
        (
            "GET https://LOCALHOST:1/mcp HTTP/1.1\r\nHost: localhost:1",
            200,
            "served",
        ),
        (
            "GET http://evil.example/mcp HTTP/1.1\r\nHost: evil.example",
            403,
            UNKNOWN_HOST,
        ),
        ("GET http://evil.example/mcp HTTP/1.0", 403, UNKNOWN_HOST),
        (
            "GET http://evil.example/mcp HTTP/1.1\r\nHost: localhost",
            400,
            DIFFERENT,
        ),
        (
            "GET http://localhost/mcp HTTP/1.1\r\nHost: evil.example",
            400,
            DIFFERENT,
        ),
        (
            "GET http://localhost:1/mcp HTTP/1.1\r\nHost: localhost:2",
            400,
            DIFFERENT,
        ),
        (
            "GET http://me@localhost/mcp HTTP/1.1\r\nHost: localhost",
            400,
            DIFFERENT,
        ),
        (
            "GET http://me@localhost/mcp HTTP/1.1\r\nHost: me@localhost",
            403,
            UNKNOWN_HOST,
        ),
        ("GET http://localhost/mcp HTTP/1.1", 400, NO_HOST),
        (
            "GET foo://localhost/mcp HTTP/1.1\r\nHost: localhost",
            400,
            SCHEME,
        ),
        (
            "CONNECT evil.example:80 HTTP/1.1\r\nHost: localhost",
            400,
            DIFFERENT,
        ),
        (
            "CONNECT localhost:80 HTTP/1.1\r\nHost: localhost:80",
            404,
            "There is nothing at this path.",
        ),
    ];
    are_answered(&mut house, &cases).await;
    house.finish().await;
}

#[tokio::test]
async fn a_request_has_one_host() {
    let mut house = House::new();
    let cases = [
        ("GET /mcp HTTP/1.1", 400, NO_HOST),
        ("GET /mcp HTTP/1.0", 200, "served"),
        (
            "GET /mcp HTTP/1.1\r\nHost: localhost\r\nHost: localhost",
            400,
            HOSTS,
        ),
        (
            "GET /mcp HTTP/1.1\r\nHost: localhost\r\nHost: evil.example",
            400,
            HOSTS,
        ),
        (
            "GET /mcp HTTP/1.0\r\nHost: localhost\r\nHost: evil.example",
            400,
            HOSTS,
        ),
        ("GET /mcp HTTP/1.0\r\nHost: evil.example", 403, UNKNOWN_HOST),
        ("GET /mcp HTTP/1.1\r\nHost:", 403, UNKNOWN_HOST),
        ("GET /mcp HTTP/1.1\r\nHost: [localhost]", 403, UNKNOWN_HOST),
        ("GET /mcp HTTP/1.1\r\nHost: [[::1]]", 403, UNKNOWN_HOST),
        (
            "GET /mcp HTTP/1.1\r\nHost: localhost, evil.example",
            403,
            UNKNOWN_HOST,
        ),
    ];
    are_answered(&mut house, &cases).await;
    house.finish().await;
}

#[tokio::test]
async fn where_any_host_is_taken_it_is_a_host() {
    let mut house = House::of(Options {
        listen: Listen(([0, 0, 0, 0], 0).into()),
        ..options()
    });
    house.address.set_ip([127, 0, 0, 1].into());
    let cases = [
        ("GET /mcp HTTP/1.1\r\nHost: any.example", 200, "served"),
        (
            "GET /mcp HTTP/1.1\r\nHost: [2001:db8::1]:7114",
            200,
            "served",
        ),
        ("GET /mcp HTTP/1.1\r\nHost:", 400, INVALID_HOST),
        (
            "GET /mcp HTTP/1.1\r\nHost: a.example, b.example",
            400,
            INVALID_HOST,
        ),
        (
            "GET /mcp HTTP/1.1\r\nHost: me@any.example",
            400,
            INVALID_HOST,
        ),
        (
            "GET /mcp HTTP/1.1\r\nHost: any.example/mcp",
            400,
            INVALID_HOST,
        ),
    ];
    are_answered(&mut house, &cases).await;
    house.finish().await;
}

#[tokio::test]
async fn pages_of_other_sites_are_refused() {
    let mut house = House::of(Options {
        allowed_origins: vec![
            "https://app.example".to_owned(),
            "app://localhost".to_owned(),
        ],
        ..options()
    });
    let origin = |value: &str| format!("GET /mcp HTTP/1.1\r\nHost: localhost\r\nOrigin: {value}");
    for (value, status, sentence) in [
        ("http://localhost:8080", 200, "served"),
        ("https://127.0.0.1", 200, "served"),
        ("https://app.example", 200, "served"),
        ("app://localhost", 200, "served"),
        ("https://evil.example", 403, UNKNOWN_ORIGIN),
        ("foo://localhost", 403, UNKNOWN_ORIGIN),
        ("chrome-extension://localhost", 403, UNKNOWN_ORIGIN),
        ("file://", 403, UNKNOWN_ORIGIN),
        ("null", 403, UNKNOWN_ORIGIN),
        ("http://localhost\r\nOrigin: http://localhost", 403, ORIGINS),
        (
            "http://localhost\r\nOrigin: https://evil.example",
            403,
            ORIGINS,
        ),
    ] {
        let answer = answered(&mut house, &origin(value)).await;
        assert_eq!(answer, (status, sentence.to_owned()), "{value}");
    }
    house.finish().await;
}

#[tokio::test]
async fn what_was_let_in_before_lets_in_nothing_else() {
    let mut house = House::new();
    for (head, status) in [
        (
            "GET http://evil.example/mcp HTTP/1.1\r\nHost: localhost",
            400,
        ),
        (
            "GET /mcp HTTP/1.1\r\nHost: localhost\r\nHost: evil.example",
            400,
        ),
        (
            "GET /mcp HTTP/1.1\r\nHost: localhost\r\nOrigin: foo://localhost",
            403,
        ),
        ("GET /mcp HTTP/1.1\r\nHost: evil.example", 403),
    ] {
        let mut client = house.client().await;
        client.post("before").await;
        let request = house.request().await;
        house.answer(request.stream, "served").await;
        assert_eq!(client.response().await.status, 200);
        client.send(format!("{head}\r\n\r\n")).await;
        assert_eq!(client.response().await.status, status, "{head}");
    }
    assert!(house.probe().seen().is_empty());
    house.finish().await;
}
