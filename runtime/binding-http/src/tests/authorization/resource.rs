//! The endpoint as a resource of OAuth.

use super::*;

const RESOURCE: &str = r#"{ "url": "https://gate.example/mcp", "scopes": ["read", "list"] }"#;

#[tokio::test]
async fn the_metadata_of_a_resource_needs_no_token_and_is_for_everyone() {
    let json = format!(r#"{{ "oauth": {{ "resource": {RESOURCE} }} }}"#);
    let mut harness = guarded(with(&json), vec![("oauth", tokens())]);
    let mut client = harness.client().await;
    let root = "/.well-known/oauth-protected-resource";
    for (method, path, status) in [
        ("GET", format!("{root}/mcp"), 200),
        ("GET", root.to_owned(), 200),
        ("HEAD", format!("{root}/mcp/"), 200),
        ("OPTIONS", format!("{root}/mcp"), 204),
        ("POST", format!("{root}/mcp"), 405),
    ] {
        // Neither host nor origin is one that may use the endpoint.
        client
            .send(format!(
                "{method} {path} HTTP/1.1\r\nHost: evil.example\r\nOrigin: https://page.example\r\n\r\n"
            ))
            .await;
        let response = client.head().await;
        assert_eq!(response.status, status, "{method} {path}");
        assert!(response.head.contains("access-control-allow-origin: *\r\n"));
        if method == "GET" {
            let body = client.body_of(&response).await;
            let page: serde_json::Value = serde_json::from_str(&body).expect("JSON");
            assert_eq!(page["resource"], "https://gate.example/mcp");
            assert_eq!(page["authorization_servers"][0], "https://id.example");
            assert_eq!(page["scopes_supported"][1], "list");
            assert!(!body.contains("evil"));
            assert!(response.head.contains("cache-control: public"));
        }
    }
    client.rest_of_refusal().await;
    let response = harness.refused("/mcp", &[]).await;
    assert_eq!(
        challenges(&response),
        [
            "bearer resource_metadata=\"https://gate.example/.well-known/oauth-protected-resource/mcp\", scope=\"read list\""
        ]
    );
    let response = harness
        .refused("/.well-known/oauth-protected-resource/other", &[])
        .await;
    assert_eq!(response.status, 404);
    assert!(harness.probe().seen().is_empty());
    harness.finish().await;
}

impl Client {
    /// The sentence of the last 405, which has a length.
    async fn rest_of_refusal(&mut self) {
        self.exactly("Method not allowed; use GET, HEAD or OPTIONS.".len())
            .await;
    }
}

#[tokio::test]
async fn challenges_of_bindings_are_completed() {
    let json = format!(r#"{{ "oauth": {{ "resource": {RESOURCE} }} }}"#);
    let mut harness = guarded(with(&json), vec![("oauth", tokens())]);
    let mut client = harness.client().await;
    for (status, challenge, expected) in [
        (
            StatusCode::FORBIDDEN,
            Some("Bearer error=\"insufficient_scope\", scope=\"plant:write\""),
            &[
                "bearer error=\"insufficient_scope\", scope=\"plant:write\", resource_metadata=\"https://gate.example/.well-known/oauth-protected-resource/mcp\"",
            ][..],
        ),
        (StatusCode::FORBIDDEN, None, &[]),
        (
            StatusCode::UNAUTHORIZED,
            None,
            &[
                "bearer resource_metadata=\"https://gate.example/.well-known/oauth-protected-resource/mcp\", scope=\"read list\", error=\"invalid_token\", error_description=\"expired\"",
            ],
        ),
    ] {
        post(&mut client, "/mcp", &["Authorization: Bearer a.b.c"]).await;
        let request = harness.request().await;
        let mut head = head_of(status, 0);
        if let Some(challenge) = challenge {
            let challenge = http::HeaderValue::from_static(challenge);
            head.headers.insert("www-authenticate", challenge);
        }
        let stream = request.stream;
        let answered = harness.probe().turn(move |cx| {
            cx.send(stream, Frame::begin(head));
            cx.end(stream, Frame::end());
        });
        answered.await;
        let response = client.response().await;
        assert_eq!(challenges(&response), expected);
    }
    harness.finish().await;
}
