//! What becomes of a connection whose request is answered without its body.

use super::*;

const BODY: &str = "Content-Length: 5\r\n\r\n";
const CHUNKED: &str = "Transfer-Encoding: chunked\r\n\r\n";

/// Heads without their end, and the status of the answer.
const CASES: [(&str, u16); 6] = [
    ("POST /other HTTP/1.1\r\nHost: localhost\r\n", 404),
    ("POST /mcp HTTP/1.1\r\nHost: evil.example\r\n", 403),
    (
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example\r\n",
        403,
    ),
    ("POST /status HTTP/1.1\r\nHost: localhost\r\n", 405),
    ("GET /status HTTP/1.1\r\nHost: localhost\r\n", 200),
    (
        "OPTIONS /mcp HTTP/1.1\r\nHost: localhost\r\nOrigin: https://app.example\r\n\
         Access-Control-Request-Method: POST\r\n",
        204,
    ),
];

fn harness(options: Options) -> Harness {
    let origins = serde_json::from_str(r#"{ "origins": ["https://app.example"] }"#);
    Harness::of(Options {
        status: Some("/status".to_owned()),
        access_control: Some(origins.expect("valid options")),
        ..options
    })
}

#[tokio::test]
async fn a_refused_client_can_send_the_next_request() {
    let mut harness = harness(options());
    for (head, status) in CASES {
        let mut client = harness.client().await;
        for (rest, body) in [(BODY, "hello"), (CHUNKED, "5\r\nhello\r\n0\r\n\r\n")] {
            client.send(format!("{head}{rest}")).await;
            // The body comes when the head has been judged.
            harness.serves().await;
            client.send(body).await;
            let response = client.response().await;
            assert_eq!(response.status, status, "{head}");
            assert!(!response.head.contains("connection: close"), "{head}");
        }
        client.post("next").await;
        let request = harness.request().await;
        assert_eq!(request.body, "next", "{head}");
        harness.answer(request.stream, "served").await;
        assert_eq!(client.response().await.body, "served", "{head}");
    }
    harness.finish().await;
}

#[tokio::test]
async fn a_connection_is_closed_behind_a_body_that_is_not_read() {
    let mut harness = harness(options());
    for (head, status) in CASES {
        for rest in [
            "Content-Length: 100001\r\n\r\n",
            "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n",
        ] {
            let mut client = harness.client().await;
            client.send(format!("{head}{rest}")).await;
            let response = client.response().await;
            assert_eq!(response.status, status, "{head}");
            assert!(response.head.contains("connection: close"), "{head}");
            assert!(client.rest().await.is_empty(), "{head}");
        }
    }
    assert!(harness.probe().seen().is_empty());
    harness.finish().await;
}

#[tokio::test]
async fn a_body_that_does_not_come_closes_the_connection() {
    let harness = harness(Options {
        body_timeout: 30,
        ..options()
    });
    for (head, status) in CASES {
        let mut client = harness.client().await;
        client.send(format!("{head}{BODY}hal")).await;
        let response = client.response().await;
        assert_eq!(response.status, status, "{head}");
        assert!(response.head.contains("connection: close"), "{head}");
        assert!(client.rest().await.is_empty(), "{head}");
    }
    harness.finish().await;
}

#[tokio::test]
async fn a_connection_is_closed_behind_a_body_that_is_too_large_or_too_slow() {
    let mut harness = harness(Options {
        body_timeout: 30,
        ..options()
    });
    let large = format!("Content-Length: 100001\r\n\r\n{}", "x".repeat(100_001));
    for (rest, status) in [
        (&large[..], 413),
        (
            "Content-Length: 100001\r\nExpect: 100-continue\r\n\r\n",
            413,
        ),
        ("Content-Length: 5\r\n\r\nhal", 408),
    ] {
        let mut client = harness.client().await;
        let head = "POST /mcp HTTP/1.1\r\nHost: localhost\r\n";
        client.send(format!("{head}{rest}")).await;
        let response = client.response().await;
        assert_eq!(response.status, status);
        assert!(response.head.contains("connection: close"), "{status}");
        assert!(client.rest().await.is_empty(), "{status}");
    }
    assert!(harness.probe().seen().is_empty());
    harness.finish().await;
}
