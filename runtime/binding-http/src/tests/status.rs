//! The status page. What brokers do to it is tested with the command.

use super::*;

fn with_status() -> Options {
    Options {
        status: Some("/status".to_owned()),
        ..options()
    }
}

#[tokio::test]
async fn the_page_is_answered_by_the_edge_to_get_and_head() {
    const PAGE: &str = r#"{"running":true,"mqtt_connected":false,"brokers":[]}"#;
    let mut harness = Harness::of(with_status());
    let mut client = harness.client().await;
    for _ in 0..3 {
        client.ask("GET", "/status").await;
        let response = client.response().await;
        assert_eq!((response.status, &response.body[..]), (200, PAGE));
        for expected in [
            "cache-control: no-store\r\n",
            "content-type: application/json\r\n",
        ] {
            assert!(response.head.contains(expected), "{}", response.head);
        }
    }
    client.ask("HEAD", "/status").await;
    let head = client.head().await;
    assert!(
        head.head
            .contains(&format!("content-length: {}\r\n", PAGE.len()))
    );
    client.ask("DELETE", "/status?x=1").await;
    let response = client.response().await;
    assert_eq!(response.status, 405);
    assert!(response.head.contains("allow: get, head\r\n"));
    assert!(harness.probe().seen().is_empty());
    harness.finish().await;
}

#[tokio::test]
async fn the_page_is_off_by_default_and_has_one_path() {
    let harness = Harness::new();
    let mut client = harness.client().await;
    client.ask("GET", "/status").await;
    assert_eq!(client.response().await.status, 404);
    harness.finish().await;
    let harness = Harness::of(with_status());
    let mut client = harness.client().await;
    for path in ["/status/", "/statu", "/"] {
        client.ask("GET", path).await;
        assert_eq!(client.response().await.status, 404, "{path}");
    }
    harness.finish().await;
}

#[tokio::test]
async fn the_page_is_protected_against_dns_rebinding_too() {
    let harness = Harness::of(with_status());
    let mut client = harness.client().await;
    client
        .send("GET /status HTTP/1.1\r\nHost: evil.example\r\n\r\n")
        .await;
    assert_eq!(client.response().await.status, 403);
    harness.finish().await;
}
