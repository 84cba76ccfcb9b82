//! Cross-origin requests of browsers.

use super::*;
use crate::options::AccessControl;

const APP: &str = "https://app.example";

fn shared(control: AccessControl) -> Options {
    Options {
        access_control: Some(control),
        ..options()
    }
}

fn with_app() -> Options {
    shared(AccessControl {
        origins: vec![APP.to_owned()],
        ..AccessControl::default()
    })
}

async fn preflight(client: &mut Client, origin: &str) -> client::Response {
    client
        .send(format!(
            "OPTIONS /mcp HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\n\
             Access-Control-Request-Method: POST\r\n\
             Access-Control-Request-Headers: content-type, mcp-session-id\r\n\r\n"
        ))
        .await;
    client.response().await
}

async fn post_from(client: &mut Client, origin: &str) {
    client
        .send(format!(
            "POST /mcp HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\nContent-Length: 2\r\n\r\nhi"
        ))
        .await;
}

#[tokio::test]
async fn a_preflight_request_is_answered_without_a_stream() {
    let mut harness = Harness::of(with_app());
    let mut client = harness.client().await;
    // A page of this machine may use a loopback address, so it may also read the responses.
    for origin in [APP, "http://localhost:6274"] {
        let response = preflight(&mut client, origin).await;
        assert_eq!(response.status, 204);
        for expected in [
            &format!("access-control-allow-origin: {origin}\r\n")[..],
            "access-control-allow-methods: get, post, delete\r\n",
            "access-control-max-age: 3600\r\n",
            "vary: origin\r\n",
        ] {
            assert!(response.head.contains(expected), "{}", response.head);
        }
        let headers = response.head.split("access-control-allow-headers: ").nth(1);
        let headers = headers
            .and_then(|it| it.split("\r\n").next())
            .expect("a list");
        for name in [
            "authorization",
            "mcp-session-id",
            "mcp-protocol-version",
            "last-event-id",
        ] {
            assert!(headers.split(", ").any(|it| it == name), "{headers}");
        }
        assert!(!response.head.contains("content-length"), "204 has none");
        assert!(!response.head.contains("allow-credentials"));
    }
    assert!(harness.probe().seen().is_empty());
    harness.finish().await;
}

#[tokio::test]
async fn a_response_can_be_read_by_pages_of_allowed_origins_only() {
    let mut harness = Harness::of(with_app());
    let mut client = harness.client().await;
    post_from(&mut client, APP).await;
    let request = harness.request().await;
    harness.answer(request.stream, "hello").await;
    let response = client.response().await;
    for expected in [
        "access-control-allow-origin: https://app.example\r\n",
        "access-control-expose-headers: mcp-session-id, ",
        "vary: origin\r\n",
    ] {
        assert!(response.head.contains(expected), "{}", response.head);
    }
    for origin in ["https://evil.example", "null"] {
        let refused = preflight(&mut client, origin).await;
        assert_eq!(refused.status, 403);
        assert!(!refused.head.contains("access-control-"));
        post_from(&mut client, origin).await;
        assert_eq!(client.response().await.status, 403);
    }
    // A client that is not a browser gets no such headers.
    client.post("hi").await;
    let request = harness.request().await;
    harness.answer(request.stream, "hello").await;
    assert!(!client.response().await.head.contains("access-control-"));
    harness.finish().await;
}

#[tokio::test]
async fn refusals_of_the_edge_can_be_read_too() {
    let harness = Harness::of(with_app());
    let mut client = harness.client().await;
    client
        .send(format!(
            "POST /other HTTP/1.1\r\nHost: localhost\r\nOrigin: {APP}\r\nContent-Length: 0\r\n\r\n"
        ))
        .await;
    let response = client.response().await;
    assert_eq!(response.status, 404);
    assert!(
        response
            .head
            .contains("access-control-allow-origin: https://app.example")
    );
    harness.finish().await;
}

#[tokio::test]
async fn any_origin_and_credentials_can_be_allowed() {
    let harness = Harness::of(shared(AccessControl {
        origins: vec!["*".to_owned()],
        ..AccessControl::default()
    }));
    let mut client = harness.client().await;
    assert_eq!(
        preflight(&mut client, "https://any.example").await.status,
        204
    );
    harness.finish().await;
    let harness = Harness::of(shared(AccessControl {
        origins: vec![APP.to_owned()],
        credentials: true,
        ..AccessControl::default()
    }));
    let mut client = harness.client().await;
    let response = preflight(&mut client, APP).await;
    assert!(
        response
            .head
            .contains("access-control-allow-credentials: true")
    );
    harness.finish().await;
}

#[tokio::test]
async fn without_access_control_nothing_changes() {
    let mut harness = Harness::new();
    let mut client = harness.client().await;
    client
        .send(
            "OPTIONS /mcp HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n\
             Access-Control-Request-Method: POST\r\n\r\n",
        )
        .await;
    let request = harness.request().await;
    assert_eq!(request.head.method, http::Method::OPTIONS);
    harness.answer(request.stream, "not here").await;
    assert!(!client.response().await.head.contains("access-control-"));
    harness.finish().await;
}
