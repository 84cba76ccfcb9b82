//! What requests are authorized with.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::Harness;
use super::server::{Request, Server, ok, with_status};

/// A server that accepts one token, and answers 401 to others.
fn guarded(accepted: impl Fn() -> String + Send + 'static) -> Server {
    Server::start(move |request: &Request| {
        let expected = format!("Bearer {}", accepted());
        if request.header("authorization") == Some(expected.as_str()) {
            ok("welcome")
        } else {
            with_status("401 Unauthorized", "", "")
        }
    })
}

#[tokio::test]
async fn fixed_headers_and_a_token_are_sent() {
    let server = guarded(|| "abc".to_owned());
    let options = json!({ "authorization": { "bearer": "abc" }, "headers": { "X-Api-Key": "k" } });
    let mut harness = Harness::new(server.port, &options);
    assert_eq!(harness.request("/", "a").await.response().0, 200);
    assert_eq!(server.next().header("x-api-key"), Some("k"));
}

#[tokio::test]
async fn a_token_that_is_not_accepted_is_read_again_once() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(&file, "old\n").expect("written");
    let server = guarded(|| "new".to_owned());
    let options = json!({ "authorization": { "file": file.path() } });
    let mut harness = Harness::new(server.port, &options);
    assert_eq!(harness.request("/", "a").await.response().0, 401);
    std::fs::write(&file, "new\n").expect("written");
    assert_eq!(harness.request("/", "a").await.response().0, 200);
    std::fs::remove_file(file.path()).expect("there");
    // It is still fresh.
    assert_eq!(harness.request("/", "a").await.response().0, 200);
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_named() {
    let server = guarded(|| "x".to_owned());
    let options = json!({ "authorization": { "file": "/nonexistent/token" } });
    let mut harness = Harness::new(server.port, &options);
    let reset = harness.request("/", "a").await.reset();
    assert!(
        reset.reason.contains("/nonexistent/token"),
        "{}",
        reset.reason
    );
    assert!(!reset.sent);
}

/// An authorization server: the n-th token is `token-n`.
fn issuer(life: Value) -> (Server, Arc<AtomicUsize>) {
    let issued = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&issued);
    let server = Server::start(move |request: &Request| {
        let expected = "grant_type=client_credentials&scope=a+b&resource=https%3A%2F%2Fs%2Fmcp";
        // cl:s3cret
        let basic = Some("Basic Y2w6czNjcmV0");
        if request.body != expected || request.header("authorization") != basic {
            return with_status("401 Unauthorized", "", r#"{"error":"invalid_client"}"#);
        }
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        let token = format!("token-{number}");
        let answer = json!({ "access_token": token, "token_type": "bearer", "expires_in": life });
        ok(&answer.to_string())
    });
    (server, issued)
}

fn client_credentials(issuer: &Server, secret: &str) -> Value {
    let url = format!("http://127.0.0.1:{}/token", issuer.port);
    json!({ "authorization": { "clientCredentials": { "tokenUrl": url, "clientId": "cl",
        "clientSecret": secret, "scopes": ["a", "b"], "resource": "https://s/mcp" } } })
}

#[tokio::test]
async fn a_token_is_used_until_it_expires() {
    for (life, expected) in [(json!(3_600), 1), (json!(0), 3)] {
        let (authority, issued) = issuer(life);
        let current = Arc::clone(&issued);
        let server = guarded(move || format!("token-{}", current.load(Ordering::SeqCst)));
        let mut harness = Harness::new(server.port, &client_credentials(&authority, "s3cret"));
        for _ in 0..3 {
            assert_eq!(harness.request("/", "a").await.response().0, 200);
        }
        assert_eq!(issued.load(Ordering::SeqCst), expected);
    }
}

#[tokio::test]
async fn a_token_that_is_not_accepted_is_renewed_once() {
    let (authority, issued) = issuer(json!(3_600));
    let server = guarded(|| "token-2".to_owned());
    let mut harness = Harness::new(server.port, &client_credentials(&authority, "s3cret"));
    assert_eq!(harness.request("/", "a").await.response().0, 200);
    assert_eq!(issued.load(Ordering::SeqCst), 2);
    assert_eq!(harness.request("/", "a").await.response().0, 200);
    assert_eq!(issued.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn an_issuer_that_refuses_is_named_without_the_secret() {
    let (authority, _) = issuer(json!(3_600));
    let server = guarded(|| "x".to_owned());
    let mut harness = Harness::new(server.port, &client_credentials(&authority, "wrong-s3cret"));
    let reset = harness.request("/", "a").await.reset();
    assert!(reset.reason.contains("invalid_client"), "{}", reset.reason);
    assert!(!reset.reason.contains("s3cret"), "{}", reset.reason);
    assert_eq!(server.connections(), 0);
}
