//! Who is calling. The guards are played; those of tidegate have tests of their own.

mod connections;
mod resource;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use tidegate_guard::{Challenge, Check, Credential, Guard, Refusal};
use tidegate_streams::Identity;

use super::certificates::{Authority, Connector};
use super::folder::Folder;
use super::*;

/// A guard that knows some credentials.
struct Played {
    known: Vec<(&'static str, Result<&'static str, Refusal>)>,
    challenge: Challenge,
    expires: u64,
    asked: Arc<AtomicUsize>,
}

impl Guard for Played {
    fn check(&self, credential: Credential<'_>, _: u64) -> Check {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let text = match credential {
            Credential::Text(text) => text,
            Credential::Certificate(_) => "certificate",
        };
        let known = self.known.iter().find(|(known, _)| *known == text);
        match known.map_or(Err(Refusal::UnknownKey), |(_, answer)| *answer) {
            Ok(subject) => Check::Accepted(Arc::new(Identity {
                subject: subject.into(),
                expires: self.expires,
                ..Identity::default()
            })),
            Err(refusal) => Check::Refused(refusal),
        }
    }

    fn challenge(&self) -> Challenge {
        self.challenge.clone()
    }
}

fn keys() -> Played {
    Played {
        known: vec![
            ("sesame", Ok("alice")),
            ("old", Err(Refusal::Expired)),
            ("early", Err(Refusal::NotYetValid)),
            ("busy", Err(Refusal::Busy)),
            ("down", Err(Refusal::Unavailable("no keys"))),
        ],
        challenge: Challenge::Key,
        expires: 0,
        asked: Arc::default(),
    }
}

fn tokens() -> Played {
    Played {
        known: vec![
            ("a.b.c", Ok("bob")),
            ("x.y.z", Err(Refusal::Untrusted("its audience is another"))),
            ("sesame", Err(Refusal::Malformed("not a token"))),
        ],
        challenge: Challenge::Token {
            issuer: "https://id.example".into(),
            step_up: true,
        },
        ..keys()
    }
}

fn certificates() -> Played {
    Played {
        known: vec![("certificate", Ok("agent"))],
        challenge: Challenge::Connection,
        ..keys()
    }
}

fn with(authorization: &str) -> Options {
    Options {
        authorization: Some(serde_json::from_str(authorization).expect("valid options")),
        ..options()
    }
}

fn guarded(options: Options, guards: Vec<(&str, Played)>) -> Harness {
    let guards = guards.into_iter().map(|(name, guard)| {
        let guard: Arc<dyn Guard> = Arc::new(guard);
        (name.to_owned(), guard)
    });
    let guards = Guards::new(guards.collect::<BTreeMap<_, _>>());
    Harness::guarded(options, guards, Limits::default(), 1, CALLEE_WINDOW)
}

/// Keys in their usual places.
fn usual() -> Harness {
    guarded(with(r#"{ "staff": {} }"#), vec![("staff", keys())])
}

async fn post<S>(client: &mut Client<S>, target: &str, headers: &[&str])
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let mut head = format!("POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n");
    for header in headers {
        head.push_str(header);
        head.push_str("\r\n");
    }
    client.send(head + "\r\nhi").await;
}

impl Harness {
    /// The subject of a request that is served, and the request.
    async fn served(&mut self) -> (Option<String>, Request) {
        let request = self.request().await;
        let stream = request.stream;
        let call = self.probe().turn(move |cx| cx.call_of(stream).cloned());
        let identity = call.await.expect("a stream").identity;
        self.answer(stream, "served").await;
        (identity.map(|it| it.subject.to_string()), request)
    }

    /// The refusal of a request on a new connection.
    async fn refused(&self, target: &str, headers: &[&str]) -> client::Response {
        let mut client = self.client().await;
        post(&mut client, target, headers).await;
        client.response().await
    }
}

/// The challenges of a response, in lower case.
fn challenges(response: &client::Response) -> Vec<&str> {
    let lines = response.head.lines();
    let values = lines.filter_map(|line| line.strip_prefix("www-authenticate: "));
    values.collect()
}

#[tokio::test]
async fn a_key_is_taken_from_its_usual_places_and_passed_on_to_nobody() {
    let mut harness = usual();
    let mut client = harness.client().await;
    for header in [
        "Authorization: Bearer sesame",
        "authorization: bearer   sesame",
        "X-API-Key: sesame",
    ] {
        post(&mut client, "/mcp?a=b", &[header]).await;
        let (subject, request) = harness.served().await;
        assert_eq!(subject.as_deref(), Some("alice"), "{header}");
        assert_eq!(request.head.path, "/mcp?a=b");
        assert!(!format!("{:?}", request.head).contains("sesame"));
        assert_eq!(client.response().await.body, "served");
    }
    harness.finish().await;
}

#[tokio::test]
async fn the_peer_is_stated_without_a_guard_too() {
    let mut harness = Harness::new();
    let mut client = harness.client().await;
    client.post("hello").await;
    let (subject, request) = harness.served().await;
    assert_eq!(subject, None);
    let peer = request.head.peer.expect("an address");
    assert_eq!(peer.ip(), IpAddr::from([127, 0, 0, 1]));
    assert_ne!(peer.port(), 0);
    client.response().await;
    harness.finish().await;
}

#[tokio::test]
async fn without_a_valid_credential_nothing_is_served() {
    let mut harness = usual();
    for (header, status, error) in [
        ("X-Other: sesame", 401, ""),
        ("Cookie: authorization=sesame", 401, ""),
        // Another scheme: the challenge says which one is meant.
        ("Authorization: Basic sesame", 401, ""),
        (
            "Authorization: Bearer wrong",
            401,
            "invalid_token\", error_description=\"unknown",
        ),
        (
            "X-API-Key: wrong",
            401,
            "invalid_token\", error_description=\"unknown",
        ),
        (
            "X-API-Key: old",
            401,
            "invalid_token\", error_description=\"expired",
        ),
        (
            "X-API-Key: early",
            401,
            "invalid_token\", error_description=\"notyetvalid",
        ),
        ("Authorization: sesame", 400, "invalid_request"),
        ("Authorization: Bearer", 400, "invalid_request"),
        ("Authorization: Bearer ", 400, "invalid_request"),
        (
            "Authorization: Bearer sesame sesame",
            400,
            "invalid_request",
        ),
        (
            "Authorization: Bearer s\u{e9}same sesame",
            400,
            "invalid_request",
        ),
        ("Authorization:", 400, "invalid_request"),
        ("X-API-Key:", 400, "invalid_request"),
        ("X-API-Key: busy", 503, ""),
        ("X-API-Key: down", 503, ""),
    ] {
        let response = harness.refused("/mcp", &[header]).await;
        assert_eq!(response.status, status, "{header}: {response:?}");
        assert!(response.head.contains("content-type: application/json\r\n"));
        assert!(response.head.contains("cache-control: no-store\r\n"));
        let json: serde_json::Value = serde_json::from_str(&response.body).expect("JSON");
        assert_eq!(json["id"], serde_json::Value::Null);
        assert!(json["error"]["code"].is_i64());
        for secret in ["sesame", "wrong"] {
            assert!(!format!("{response:?}").contains(secret), "{response:?}");
        }
        if status == 503 {
            assert!(response.head.contains("retry-after: "), "{header}");
            assert!(challenges(&response).is_empty());
            continue;
        }
        let error = match error {
            "" => String::new(),
            error => format!(", error=\"{error}\""),
        };
        assert_eq!(
            challenges(&response),
            [
                &format!("bearer realm=\"mcp\"{error}")[..],
                "apikey realm=\"mcp\", header=\"x-api-key\"",
            ],
            "{header}"
        );
    }
    assert!(harness.probe().seen().is_empty());
    harness.finish().await;
}

#[tokio::test]
async fn two_credentials_are_refused_whatever_they_are() {
    let mut harness = guarded(
        with(
            r#"{ "staff": { "credentials": { "headers": { "authorization": "Bearer {credentials}",
                 "x-api-key": "{credentials}" }, "query": { "key": "{credentials}" } } } }"#,
        ),
        vec![("staff", keys())],
    );
    for (target, headers) in [
        (
            "/mcp",
            &[
                "Authorization: Bearer sesame",
                "Authorization: Bearer sesame",
            ][..],
        ),
        (
            "/mcp",
            &["Authorization: Bearer sesame", "Authorization: Basic x"],
        ),
        ("/mcp", &["X-API-Key: sesame", "x-api-key: sesame"]),
        (
            "/mcp",
            &["Authorization: Bearer sesame", "X-API-Key: sesame"],
        ),
        ("/mcp?key=sesame", &["X-API-Key: sesame"]),
        ("/mcp?key=sesame&key=sesame", &[]),
        ("/mcp?key=sesame&%6bey=sesame", &[]),
        ("/mcp?key=%zz", &[]),
    ] {
        let response = harness.refused(target, headers).await;
        assert_eq!(response.status, 400, "{target} {headers:?}");
        assert!(!response.body.contains("sesame"));
    }
    assert!(harness.probe().seen().is_empty());
    harness.finish().await;
}

#[tokio::test]
async fn a_query_has_a_credential_only_where_the_option_says_so() {
    let harness = usual();
    assert_eq!(
        harness.refused("/mcp?api_key=sesame", &[]).await.status,
        401
    );
    harness.finish().await;
    let json = r#"{ "staff": { "credentials": { "query": { "api_key": "{credentials}" } } } }"#;
    let mut harness = guarded(with(json), vec![("staff", keys())]);
    let mut client = harness.client().await;
    for (target, path) in [
        ("/mcp?a=b&api_key=sesame&c=d", "/mcp?a=b&c=d"),
        ("/mcp?api%5Fkey=s%65same", "/mcp"),
    ] {
        post(&mut client, target, &[]).await;
        let (subject, request) = harness.served().await;
        assert_eq!(
            (subject.as_deref(), &*request.head.path),
            (Some("alice"), path)
        );
        client.response().await;
    }
    let response = harness.refused("/mcp", &["X-API-Key: sesame"]).await;
    assert_eq!(response.status, 401);
    let expected = "apikey realm=\"mcp\", query=\"api_key\"";
    assert_eq!(challenges(&response), [expected]);
    harness.finish().await;
}

#[tokio::test]
async fn the_first_guard_that_accepts_decides() {
    let json = r#"{ "oauth": {}, "staff": {} }"#;
    let mut harness = guarded(with(json), vec![("staff", keys()), ("oauth", tokens())]);
    let mut client = harness.client().await;
    for (credential, subject) in [("sesame", "alice"), ("a.b.c", "bob")] {
        post(
            &mut client,
            "/mcp",
            &[&format!("Authorization: Bearer {credential}")],
        )
        .await;
        assert_eq!(harness.served().await.0.as_deref(), Some(subject));
        client.response().await;
    }
    // The refusal of the guard whose credentials have this form, and that it may be accepted later.
    for (credential, status, word) in [("x.y.z", 401, "untrusted"), ("busy", 503, "busy")] {
        let header = format!("Authorization: Bearer {credential}");
        let response = harness.refused("/mcp", &[&header]).await;
        assert_eq!(response.status, status);
        assert!(response.body.contains(word), "{}", response.body);
    }
    harness.finish().await;
}

#[tokio::test]
async fn anonymous_clients_are_served_where_the_option_says_so_but_not_wrong_credentials() {
    let options = Options {
        anonymous: true,
        ..with(r#"{ "staff": {} }"#)
    };
    let mut harness = guarded(options, vec![("staff", keys())]);
    let mut client = harness.client().await;
    for (headers, subject) in [
        (&[][..], None),
        (&["X-API-Key: sesame"], Some("alice")),
        (&[], None),
    ] {
        post(&mut client, "/mcp", headers).await;
        assert_eq!(harness.served().await.0.as_deref(), subject);
        client.response().await;
    }
    for (header, status) in [("X-API-Key: wrong", 401), ("Authorization: Bearer", 400)] {
        assert_eq!(harness.refused("/mcp", &[header]).await.status, status);
    }
    harness.finish().await;
}

#[tokio::test]
async fn a_client_certificate_is_who_its_client_is() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let server = authority.server();
    folder.write("ca.pem", &authority.pem);
    folder.write("server.pem", &server.certificate);
    folder.write("server.key", &server.key);
    let tls = format!(
        r#"{{ "certificate": "{}", "key": "{}", "trust": "{}", "clientCertificates": "requested" }}"#,
        folder.path("server.pem").display(),
        folder.path("server.key").display(),
        folder.path("ca.pem").display(),
    );
    let options = Options {
        tls: Some(serde_json::from_str(&tls).expect("valid options")),
        ..with(r#"{ "agents": {} }"#)
    };
    let mut harness = guarded(options, vec![("agents", certificates())]);
    let signed = authority.client();
    for presents in [Some(&signed), None] {
        let connector = Connector {
            presents,
            ..Connector::new(&authority)
        };
        let stream = connector.connect(harness.address).await;
        let mut client = Client::over(stream.expect("a handshake"));
        post(&mut client, "/mcp", &[]).await;
        if presents.is_some() {
            assert_eq!(harness.served().await.0.as_deref(), Some("agent"));
            assert_eq!(client.response().await.status, 200);
            continue;
        }
        // No response can ask for a certificate.
        let response = client.response().await;
        assert_eq!((response.status, challenges(&response).len()), (403, 0));
        assert!(response.body.contains("A client certificate is needed."));
    }
    harness.finish().await;
}

#[test]
fn options_that_do_not_fit_a_guard_are_refused() {
    let fault = |authorization: &str, guard: Played| {
        let guard: Arc<dyn Guard> = Arc::new(guard);
        let guards = Guards::new(BTreeMap::from([("staff".to_owned(), guard)]));
        crate::check(&with(authorization), &guards)
            .err()
            .unwrap_or_default()
    };
    for (authorization, guard, expected) in [
        (r#"{ "staff": {} }"#, keys(), ""),
        (
            r#"{ "staff": {} }"#,
            certificates(),
            "no client is asked for the certificate",
        ),
        (r#"{ "other": {} }"#, keys(), "unknown guard 'other'"),
        (
            r#"{ "staff": { "credentials": { "certificates": true } } }"#,
            keys(),
            "does not take certificates",
        ),
        (
            r#"{ "staff": { "credentials": { "headers": { "x": "{credentials}" } } } }"#,
            certificates(),
            "takes client certificates; remove 'headers'",
        ),
        (
            r#"{ "staff": { "resource": { "url": "https://a.example/mcp" } } }"#,
            keys(),
            "use a guard of type jwt",
        ),
    ] {
        let fault = fault(authorization, guard);
        let found = if expected.is_empty() {
            fault.is_empty()
        } else {
            fault.contains(expected)
        };
        assert!(found, "{authorization}: {fault}");
    }
}
