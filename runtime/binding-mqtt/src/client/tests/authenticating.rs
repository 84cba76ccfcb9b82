//! Passwords from files, and enhanced authentication with a broker that knows the password or does not.

use std::path::Path;
use std::sync::Mutex;

use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::super::credentials::ReadPassword;
use super::harness::*;
use crate::codec::{Auth, Connack, ConnackProperties, Connect, Packet, ReasonCode};

const SCRAM: &str = r#"{"reconnect":{"min":1000,"max":1000},
    "authentication":{"method":"SCRAM-SHA-256","username":"gate","password":"pencil"}}"#;

/// The contents of the file, one after the other.
#[derive(Debug)]
struct Tokens(Mutex<Vec<Result<Bytes, String>>>);

impl ReadPassword for Tokens {
    fn read(&self, path: &Path) -> Result<Bytes, String> {
        assert_eq!(path, Path::new("/run/token"));
        self.0.lock().expect("one thread").remove(0)
    }
}

#[test]
fn a_password_file_is_read_for_each_connection() {
    let tokens = vec![
        Ok("first".into()),
        Err("it does not exist".to_owned()),
        Ok("second".into()),
    ];
    let options = r#"{"username":"u","password":{"file":"/run/token"},
        "reconnect":{"min":1000,"max":1000}}"#;
    let mut harness = Harness::with_binding(options, |client| {
        client.with_password_files(Box::new(Tokens(Mutex::new(tokens))))
    });
    let stream = harness.subscribe(&[("a", 0)]);
    let (bytes, connect) = harness.connect();
    assert_eq!(connect.password.as_deref(), Some(&b"first"[..]));
    let subscribe = harness.subscribed(bytes);
    harness.suback(bytes, &subscribe, 0);
    harness.seen(stream).granted();
    harness.break_off(bytes, "reset");
    harness.no_connection();
    let publish = harness.publish("a", 0, "1");
    let reset = harness.seen(publish).reset().reason.clone();
    let expected =
        "The password file /run/token cannot be used: it does not exist; next attempt in";
    assert!(reset.starts_with(expected), "{reset}");
    harness.advance(1_000);
    let (bytes, connect) = harness.connect();
    assert_eq!(connect.password.as_deref(), Some(&b"second"[..]));
    harness.cancel(stream);
    harness.packets(bytes);
    harness.break_off(bytes, "done");
    harness.seen(stream);
    harness.assert_idle();
}

fn mac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, message).as_ref().to_vec()
}

/// The broker's side of SCRAM-SHA-256 for this password. Returns its last message.
fn authenticate(
    harness: &mut Harness,
    bytes: tidegate_engine::StreamId,
    connect: &Connect,
    password: &str,
) -> Bytes {
    let properties = &connect.properties;
    assert_eq!(
        properties.authentication_method.as_deref(),
        Some("SCRAM-SHA-256")
    );
    let first = properties.authentication_data.clone().expect("data");
    let first = String::from_utf8(first.to_vec()).expect("text");
    let bare = first.strip_prefix("n,,").expect("no channel binding");
    let nonce = bare
        .strip_prefix("n=gate,r=")
        .expect("the user and a nonce");
    let challenge = format!("r={nonce}broker,s={},i=4096", STANDARD.encode("salt"));
    harness.broker(bytes, &continuation("SCRAM-SHA-256", &challenge));
    let Packet::Auth(answer) = harness.one(bytes) else {
        panic!("AUTH is expected");
    };
    assert_eq!(answer.reason, ReasonCode::CONTINUE_AUTHENTICATION);
    let last = answer.properties.authentication_data.expect("data");
    let last = String::from_utf8(last.to_vec()).expect("text");
    let (without_proof, proof) = last.split_once(",p=").expect("a proof");
    let mut salted = [0; 32];
    let iterations = 4_096.try_into().expect("not 0");
    let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
    pbkdf2::derive(
        algorithm,
        iterations,
        b"salt",
        password.as_bytes(),
        &mut salted,
    );
    let message = format!("{bare},{challenge},{without_proof}");
    let client_key = mac(&salted, b"Client Key");
    let stored = digest::digest(&digest::SHA256, &client_key);
    let signature = mac(stored.as_ref(), message.as_bytes());
    let expected: Vec<u8> = client_key
        .iter()
        .zip(&signature)
        .map(|(a, b)| a ^ b)
        .collect();
    let proven = STANDARD.decode(proof).expect("base64") == expected;
    assert_eq!(proven, password == "pencil");
    let server = mac(&mac(&salted, b"Server Key"), message.as_bytes());
    format!("v={}", STANDARD.encode(server)).into()
}

fn continuation(method: &'static str, data: &str) -> Packet {
    let mut auth = Auth {
        reason: ReasonCode::CONTINUE_AUTHENTICATION,
        ..Auth::default()
    };
    auth.properties.authentication_method = Some(method.into());
    auth.properties.authentication_data = Some(data.to_owned().into());
    Packet::Auth(Box::new(auth))
}

fn accepted(data: Option<Bytes>) -> Packet {
    Packet::Connack(Box::new(Connack {
        properties: ConnackProperties {
            authentication_data: data,
            ..ConnackProperties::default()
        },
        ..Connack::default()
    }))
}

fn connecting(harness: &mut Harness) -> (tidegate_engine::StreamId, Connect) {
    let bytes = harness.accept();
    match harness.one(bytes) {
        Packet::Connect(connect) => (bytes, *connect),
        other => panic!("CONNECT is expected, not {other:?}"),
    }
}

#[test]
fn both_sides_prove_that_they_know_the_password() {
    let mut harness = Harness::new(SCRAM);
    let session = harness.session("");
    let (bytes, connect) = connecting(&mut harness);
    assert_eq!((&connect.username, &connect.password), (&None, &None));
    let proof = authenticate(&mut harness, bytes, &connect, "pencil");
    harness.broker(bytes, &accepted(Some(proof)));
    assert!(harness.seen(session).begin.is_some());
    // AUTH after CONNACK, which this side has not asked for.
    harness.broker(bytes, &continuation("SCRAM-SHA-256", "r=x"));
    assert!(
        matches!(harness.one(bytes), Packet::Disconnect(it) if it.reason == ReasonCode::PROTOCOL_ERROR)
    );
}

#[test]
fn a_broker_that_does_not_know_the_password_is_not_used() {
    for proof in [None, Some("other")] {
        let mut harness = Harness::new(SCRAM);
        let publish = harness.publish("a", 1, "secret");
        let (bytes, connect) = connecting(&mut harness);
        let proof = proof.map(|password| authenticate(&mut harness, bytes, &connect, password));
        harness.broker(bytes, &accepted(proof));
        harness.quiet(bytes);
        let seen = harness.seen(publish);
        let reason = &seen.reset().reason;
        assert_eq!(seen.reset().reason_code, ReasonCode::NOT_AUTHORIZED.0);
        assert!(reason.contains("failed the authentication"), "{reason}");
        harness.assert_idle();
    }
}

#[test]
fn other_methods_and_versions_are_refused() {
    let mut harness = Harness::new(SCRAM);
    let session = harness.session("");
    let (bytes, _) = connecting(&mut harness);
    harness.broker(bytes, &continuation("PLAIN", "r=x"));
    harness.packets(bytes);
    let reason = harness.seen(session).reset().reason.clone();
    assert!(reason.contains("AUTH that does not continue"), "{reason}");

    let old = SCRAM.replacen('{', r#"{"version":"3.1.1","#, 1);
    let mut harness = Harness::new(&old);
    let session = harness.session("");
    harness.no_connection();
    let reason = harness.seen(session).reset().reason.clone();
    assert!(
        reason.contains("'authentication' requires MQTT 5"),
        "{reason}"
    );
}
