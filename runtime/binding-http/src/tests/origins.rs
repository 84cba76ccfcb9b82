//! Host and Origin checks.

use super::*;

/// The response to a request; 200 if it reaches the callee. The connection is closed.
async fn answered(harness: &mut Harness, head: &str) -> (u16, String) {
    let mut client = harness.client().await;
    client.send(format!("{head}\r\n\r\n")).await;
    tokio::select! {
        (at, _) = harness.probes[0].next_but_window() => {
            answer(&harness.probes[0], at.stream, "served").await;
            while harness.probe().next_but_window().await.1 != Frame::end() {}
            let response = client.response().await;
            (response.status, response.body)
        }
        response = client.head() => {
            let body = client.body_of(&response).await;
            (response.status, body)
        }
    }
}

/// Number of events about refused requests.
async fn refusals(harness: &Harness) -> u64 {
    let report = harness.engine.report().await;
    report.labelled("", "engine.events", "binding.http.request.refused")
}

/// Checks the status and message of the response to each head.
async fn are_answered(harness: &mut Harness, cases: &[(&str, u16, &str)]) {
    for (head, status, sentence) in cases {
        let before = refusals(harness).await;
        let answer = answered(harness, head).await;
        assert_eq!(answer, (*status, (*sentence).to_owned()), "{head}");
        let on_record = refusals(harness).await - before;
        assert_eq!(on_record, u64::from(*status != 200), "{head}");
    }
}

const UNKNOWN_HOST: &str = "Host not allowed; see allowedHosts.";
const UNKNOWN_ORIGIN: &str = "Origin not allowed; see allowedOrigins.";
const NO_HOST: &str = "Missing Host header.";
const HOSTS: &str = "Duplicate Host header.";
const DIFFERENT: &str = "Host header and request target name different hosts.";
const SCHEME: &str = "Unsupported scheme in the request target; use http or https.";
const INVALID_HOST: &str = "Invalid Host header; use a host with an optional port.";
const ORIGINS: &str = "Duplicate Origin header.";

#[tokio::test]
async fn the_host_of_an_absolute_target_is_checked_like_the_header() {
    let mut harness = Harness::new();
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
            "Unknown path.",
        ),
    ];
    are_answered(&mut harness, &cases).await;
    harness.finish().await;
}

#[tokio::test]
async fn a_request_has_one_host() {
    let mut harness = Harness::new();
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
    are_answered(&mut harness, &cases).await;
    harness.finish().await;
}

#[tokio::test]
async fn an_allowed_host_must_be_a_valid_host() {
    let mut harness = Harness::of(Options {
        listen: on(([0, 0, 0, 0], 0)),
        ..options()
    });
    harness.address.set_ip([127, 0, 0, 1].into());
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
    are_answered(&mut harness, &cases).await;
    harness.finish().await;
}

#[tokio::test]
async fn pages_of_other_sites_are_refused() {
    let mut harness = Harness::of(Options {
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
        let answer = answered(&mut harness, &origin(value)).await;
        assert_eq!(answer, (status, sentence.to_owned()), "{value}");
    }
    harness.finish().await;
}

#[tokio::test]
async fn each_request_of_a_connection_is_checked() {
    let mut harness = Harness::new();
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
        let mut client = harness.client().await;
        client.post("before").await;
        let request = harness.request().await;
        harness.answer(request.stream, "served").await;
        assert_eq!(client.response().await.status, 200);
        client.send(format!("{head}\r\n\r\n")).await;
        assert_eq!(client.response().await.status, status, "{head}");
    }
    assert!(harness.probe().seen().is_empty());
    harness.finish().await;
}
