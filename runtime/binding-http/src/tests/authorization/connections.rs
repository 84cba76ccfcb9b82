//! What is known of a connection, and what a refusal does to it.

use super::super::http2::{Http2, text};
use super::*;

#[tokio::test]
async fn a_kept_connection_asks_the_guard_once_for_each_credential() {
    let guard = keys();
    let asked = Arc::clone(&guard.asked);
    let mut harness = guarded(with(r#"{ "staff": {} }"#), vec![("staff", guard)]);
    let mut client = harness.client().await;
    for _ in 0..3 {
        post(&mut client, "/mcp", &["X-API-Key: sesame"]).await;
        assert_eq!(harness.served().await.0.as_deref(), Some("alice"));
        client.response().await;
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    // What is known of a connection belongs to its credential and to the place of it.
    for (headers, status) in [
        (&["X-API-Key: sesamE"][..], 401),
        (&["X-API-Key: sesame "], 200),
        (&[], 401),
        (&["Authorization: sesame"], 400),
        (&["X-API-Key: sesame", "X-API-Key: sesame"], 400),
    ] {
        post(&mut client, "/mcp", headers).await;
        if status == 200 {
            harness.served().await;
        }
        let response = client.response().await;
        assert_eq!(response.status, status, "{headers:?}");
        if response.head.contains("connection: close") {
            client = harness.client().await;
        }
    }
    harness.finish().await;
}

#[tokio::test]
async fn a_refused_client_can_go_on_with_its_connection_and_sends_no_large_body_for_nothing() {
    let mut harness = usual();
    let mut client = harness.client().await;
    for _ in 0..2 {
        // The body comes after the head.
        client
            .send("POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n")
            .await;
        client.send("hello").await;
        let response = client.response().await;
        assert_eq!(response.status, 401);
        assert!(!response.head.contains("connection: close"));
    }
    post(&mut client, "/mcp", &["X-API-Key: sesame"]).await;
    harness.served().await;
    assert_eq!(client.response().await.status, 200);
    for header in [
        "Content-Length: 100001",
        "Content-Length: 5\r\nExpect: 100-continue",
    ] {
        let mut client = harness.client().await;
        client
            .send(format!(
                "POST /mcp HTTP/1.1\r\nHost: localhost\r\n{header}\r\n\r\n"
            ))
            .await;
        let response = client.response().await;
        assert_eq!(response.status, 401, "{header}");
        assert!(response.head.contains("connection: close"));
    }
    harness.finish().await;
}

#[tokio::test]
async fn an_identity_that_has_expired_is_not_remembered() {
    let guard = Played {
        expires: 1,
        ..keys()
    };
    let asked = Arc::clone(&guard.asked);
    let mut harness = guarded(with(r#"{ "staff": {} }"#), vec![("staff", guard)]);
    let mut client = harness.client().await;
    for number in 1..=2 {
        post(&mut client, "/mcp", &["X-API-Key: sesame"]).await;
        harness.served().await;
        client.response().await;
        assert_eq!(asked.load(Ordering::Relaxed), number);
    }
    harness.finish().await;
}

#[tokio::test]
async fn an_oversized_credential_is_refused_before_any_guard_sees_it() {
    let guard = keys();
    let asked = Arc::clone(&guard.asked);
    let harness = guarded(with(r#"{ "staff": {} }"#), vec![("staff", guard)]);
    let header = format!("Authorization: Bearer {}", "x".repeat(1024 * 1024));
    assert_eq!(harness.refused("/mcp", &[&header]).await.status, 431);
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    harness.finish().await;
}

#[tokio::test]
async fn requests_of_an_http2_connection_each_have_a_credential() {
    let guard = keys();
    let asked = Arc::clone(&guard.asked);
    let mut harness = guarded(with(r#"{ "staff": {} }"#), vec![("staff", guard)]);
    let mut client = Http2::connect(harness.address).await;
    let post = |key: &str| http::Request::post("http://localhost/mcp").header("x-api-key", key);
    for _ in 0..2 {
        let answer = client.send(post("sesame"), "hello").await;
        assert_eq!(harness.served().await.0.as_deref(), Some("alice"));
        assert_eq!(text(answer).await, (200, "served".to_owned()));
        // A refusal, also of a large body, ends its request alone.
        let refused = client.send(post("wrong"), vec![b'x'; 200_000]).await;
        assert_eq!(text(refused).await.0, 401);
    }
    assert_eq!(asked.load(Ordering::Relaxed), 3, "once for the key");
    harness.finish().await;
}
