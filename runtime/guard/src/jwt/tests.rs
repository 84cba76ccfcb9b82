//! The guard with tokens of keys that the test makes, and documents that the test hands in.

use std::sync::OnceLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::*;
use crate::pending::{Pending, now as poll};

mod published;

/// 2027-01-15, in milliseconds.
const NOW: u64 = 1_800_000_000_000;
const SECONDS: u64 = NOW / 1_000;
const ISSUER: &str = "https://id.example/realms/plant";

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The keys of the authorization server.
struct Signer {
    rsa: RsaKeyPair,
    p256: EcdsaKeyPair,
    p384: EcdsaKeyPair,
    ed25519: Ed25519KeyPair,
}

fn signer() -> &'static Signer {
    static SIGNER: OnceLock<Signer> = OnceLock::new();
    SIGNER.get_or_init(|| Signer {
        rsa: RsaKeyPair::generate(KeySize::Rsa2048).expect("a key"),
        p256: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key"),
        p384: EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).expect("a key"),
        ed25519: Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a key"),
    })
}

impl Signer {
    fn sign(&self, alg: &str, text: &str) -> Vec<u8> {
        let (random, bytes) = (SystemRandom::new(), text.as_bytes());
        let rsa = |padding| {
            let mut signature = vec![0; self.rsa.public_modulus_len()];
            self.rsa
                .sign(padding, &random, bytes, &mut signature)
                .expect("a signature");
            signature
        };
        match alg {
            "RS256" => rsa(&RSA_PKCS1_SHA256),
            "PS256" => rsa(&RSA_PSS_SHA256),
            "ES256" => self
                .p256
                .sign(&random, bytes)
                .expect("a signature")
                .as_ref()
                .to_vec(),
            "ES384" => self
                .p384
                .sign(&random, bytes)
                .expect("a signature")
                .as_ref()
                .to_vec(),
            _ => self.ed25519.sign(bytes).as_ref().to_vec(),
        }
    }

    /// The public keys as a set; the key ids are `rsa`, `p256`, `p384` and `ed`.
    fn jwks(&self) -> Value {
        // PKCS #1: the modulus of 2048 bits is behind the headers of sequence and integer, and a zero.
        let modulus = &self.rsa.public_key().as_ref()[9..265];
        let point = |kid: &str, crv: &str, key: &EcdsaKeyPair| {
            let bytes = key.public_key().as_ref();
            let (x, y) = bytes[1..].split_at(bytes.len() / 2);
            json!({ "kty": "EC", "kid": kid, "crv": crv, "x": encode(x), "y": encode(y) })
        };
        json!([
            { "kty": "RSA", "kid": "rsa", "use": "sig", "n": encode(modulus), "e": "AQAB" },
            point("p256", "P-256", &self.p256),
            point("p384", "P-384", &self.p384),
            { "kty": "OKP", "kid": "ed", "crv": "Ed25519", "x": encode(self.ed25519.public_key()) },
        ])
    }
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": "https://gate.example/mcp", "sub": "alice",
        "exp": SECONDS + 300, "iat": SECONDS, "scope": "read write",
    })
}

fn token_of(header: &Value, claims: &Value) -> String {
    let signed = format!(
        "{}.{}",
        encode(header.to_string()),
        encode(claims.to_string())
    );
    let alg = header["alg"].as_str().unwrap_or_default();
    format!("{signed}.{}", encode(signer().sign(alg, &signed)))
}

fn token(claims: &Value) -> String {
    token_of(
        &json!({ "alg": "ES256", "kid": "p256", "typ": "at+jwt" }),
        claims,
    )
}

/// The claims of a valid token with these instead.
fn with(changes: &Value) -> Value {
    let mut claims = claims();
    for (name, value) in changes.as_object().expect("an object").clone() {
        claims[name] = value;
    }
    claims
}

fn options(more: &Value) -> Options {
    let mut options = json!({ "issuer": ISSUER, "audience": "https://gate.example/mcp" });
    for (name, value) in more.as_object().expect("an object").clone() {
        options[name] = value;
    }
    serde_json::from_value(options).unwrap_or_else(|error| panic!("{error}"))
}

fn guard(more: &Value) -> Jwt {
    Jwt::new("id", &options(more), None)
}

fn fixed() -> Jwt {
    guard(&json!({ "keys": signer().jwks() }))
}

fn outcome(guard: &Jwt, token: &str, now: u64) -> Outcome {
    match guard.check(Credential::Text(token), now) {
        Check::Accepted(identity) => Ok(identity),
        Check::Refused(refusal) => Err(refusal),
        Check::Pending(_) => panic!("nothing is fetched"),
    }
}

fn pending(guard: &Jwt, token: &str, now: u64) -> Pending {
    match guard.check(Credential::Text(token), now) {
        Check::Pending(pending) => pending,
        other => panic!("{other:?}"),
    }
}

fn refusal(guard: &Jwt, token: &str, now: u64) -> String {
    outcome(guard, token, now)
        .expect_err("a refusal")
        .to_string()
}

#[test]
fn every_algorithm_gives_the_identity_of_the_claims() {
    let guard = fixed();
    for (alg, kid) in [
        ("RS256", "rsa"),
        ("PS256", "rsa"),
        ("ES256", "p256"),
        ("ES384", "p384"),
        ("EdDSA", "ed"),
        ("Ed25519", "ed"),
    ] {
        for header in [json!({ "alg": alg, "kid": kid }), json!({ "alg": alg })] {
            let identity = outcome(&guard, &token_of(&header, &claims()), NOW).expect(alg);
            assert_eq!((&*identity.subject, &*identity.guard), ("alice", "id"));
            assert_eq!(identity.roles, ["read", "write"]);
            assert!(identity.step_up);
            assert_eq!(identity.expires, NOW + 360_000);
        }
    }
    let challenge = Challenge::Token {
        issuer: ISSUER.into(),
        step_up: true,
    };
    assert_eq!(guard.challenge(), challenge);
    assert!(guard.key_source().is_none());
}

#[test]
fn claims_that_are_not_for_this_gateway_or_time_are_refused() {
    let guard = fixed();
    for (changes, why) in [
        (
            json!({ "iss": "https://id.example/realms/plant/" }),
            "wrong issuer",
        ),
        (json!({ "iss": null }), "wrong issuer"),
        (json!({ "aud": "https://gate.example" }), "wrong audience"),
        (json!({ "aud": ["a", 1] }), "wrong audience"),
        (json!({ "aud": null }), "wrong audience"),
        (json!({ "exp": null }), "a time in its claims is invalid"),
        (
            json!({ "exp": "tomorrow" }),
            "a time in its claims is invalid",
        ),
        (json!({ "exp": -1 }), "a time in its claims is invalid"),
        (json!({ "exp": 1e300 }), "a time in its claims is invalid"),
        (json!({ "exp": SECONDS - 60 }), "expired"),
        (json!({ "nbf": SECONDS + 61 }), "not valid yet"),
        (json!({ "iat": SECONDS + 61 }), "not valid yet"),
        (json!({ "sub": "" }), "no valid identity"),
        (json!({ "sub": 7 }), "no valid identity"),
        (json!({ "sub": "x".repeat(1_025) }), "no valid identity"),
        (json!({ "scope": 7 }), "its roles are neither"),
        (json!({ "scope": ["a", 7] }), "its roles are neither"),
        (json!({ "scope": "x ".repeat(257) }), "too many roles"),
    ] {
        let found = refusal(&guard, &token(&with(&changes)), NOW);
        assert!(found.contains(why), "{changes}: {found}");
    }
    let mut without = claims();
    without.as_object_mut().expect("an object").remove("exp");
    assert!(refusal(&guard, &token(&without), NOW).contains("no expiry"));
}

#[test]
fn audiences_with_and_without_a_slash_lists_and_leeway_are_accepted() {
    let guard = fixed();
    for changes in [
        json!({ "aud": "https://gate.example/mcp/" }),
        json!({ "aud": ["other", "https://gate.example/mcp"] }),
        json!({ "exp": SECONDS - 59 }),
        json!({ "exp": 1_800_000_000.5, "nbf": SECONDS + 60, "iat": SECONDS + 60 }),
        json!({ "scope": null, "sub": "a/+#\0\n\"'" }),
    ] {
        assert!(
            outcome(&guard, &token(&with(&changes)), NOW).is_ok(),
            "{changes}"
        );
    }
}

#[test]
fn roles_identity_and_attributes_come_from_the_claims_that_the_options_name() {
    let guard = guard(&json!({
        "keys": signer().jwks(), "roles": "realm_access.roles", "identity": "client.id",
        "attributes": { "site": "https://id.example/site", "level": "level", "absent": "none" },
    }));
    let claims = with(&json!({
        "realm_access": { "roles": ["operator", "two words"] }, "client.id": "agent",
        "https://id.example/site": "north", "level": 3,
    }));
    let identity = outcome(&guard, &token(&claims), NOW).expect("an identity");
    assert_eq!(&*identity.subject, "agent");
    assert_eq!(identity.roles, ["operator", "two words"]);
    assert!(!identity.step_up);
    let attribute = |name| identity.attribute(name).map(ToString::to_string);
    assert_eq!(attribute("site").as_deref(), Some("north"));
    assert_eq!(attribute("level").as_deref(), Some("3"));
    assert_eq!(attribute("absent"), None);
}

#[test]
fn another_algorithm_than_that_of_the_key_is_refused() {
    let guard = fixed();
    let signed = |header: Value| token_of(&header, &claims());
    // An RSA key used as a shared secret, and no signature at all.
    for alg in ["HS256", "none", "RS512"] {
        let found = refusal(&guard, &signed(json!({ "alg": alg, "kid": "rsa" })), NOW);
        assert!(found.contains("algorithm is not supported"), "{found}");
    }
    for (alg, kid) in [
        ("ES256", "rsa"),
        ("RS256", "p256"),
        ("ES384", "p256"),
        ("EdDSA", "p256"),
    ] {
        let found = refusal(&guard, &signed(json!({ "alg": alg, "kid": kid })), NOW);
        assert!(found.contains("invalid signature"), "{alg} {kid}: {found}");
    }
    let mut pinned = signer().jwks();
    pinned[0]["alg"] = "PS256".into();
    let pinned = self::guard(&json!({ "keys": pinned }));
    assert!(
        outcome(
            &pinned,
            &signed(json!({ "alg": "PS256", "kid": "rsa" })),
            NOW
        )
        .is_ok()
    );
    let found = refusal(
        &pinned,
        &signed(json!({ "alg": "RS256", "kid": "rsa" })),
        NOW,
    );
    assert!(found.contains("invalid signature"), "{found}");
    let unknown = signed(json!({ "alg": "ES256", "kid": "other" }));
    assert!(refusal(&guard, &unknown, NOW).contains("unknown key"));
}

#[test]
fn a_changed_token_is_refused() {
    let guard = fixed();
    let valid = token(&claims());
    let (signed, signature) = valid.rsplit_once('.').expect("a token");
    let other = token(&with(&json!({ "sub": "eve" })));
    let (forged, _) = other.rsplit_once('.').expect("a token");
    assert!(refusal(&guard, &format!("{forged}.{signature}"), NOW).contains("invalid signature"));
    assert!(refusal(&guard, &format!("{signed}."), NOW).contains("invalid signature"));
    let megabyte = format!("{valid}{}", "A".repeat(1 << 20));
    assert!(refusal(&guard, &megabyte, NOW).contains("too long"));
    assert!(refusal(&guard, "", NOW).contains("three parts"));
    let certificate = guard.check(Credential::Certificate(b"0"), NOW);
    assert!(matches!(certificate, Check::Refused(Refusal::Malformed(_))));
    // No text of a refusal has any of it.
    assert!(!refusal(&guard, &megabyte, NOW).contains(&valid[..20]));
}

#[test]
fn a_token_is_known_until_it_expires() {
    let guard = fixed();
    let token = token(&claims());
    let first = outcome(&guard, &token, NOW).expect("an identity");
    let again = outcome(&guard, &token, NOW + 359_999).expect("an identity");
    assert!(Arc::ptr_eq(&first, &again));
    assert_eq!(
        outcome(&guard, &token, NOW + 360_000),
        Err(Refusal::Expired)
    );
}

/// A guard whose keys are fetched, and their source.
fn fetched(more: &Value) -> (Jwt, KeySource) {
    let guard = guard(more);
    let source = guard.key_source().expect("keys are fetched");
    (guard, source)
}

fn set() -> Vec<u8> {
    json!({ "keys": signer().jwks() }).to_string().into_bytes()
}

fn fetch(url: &str) -> Step {
    Step::Fetch(Url::parse(url).expect("a URL"))
}

fn failure() -> Result<&'static [u8], FetchError> {
    Err(FetchError("connection refused".to_owned()))
}

const KEYS: &str = "https://id.example/keys";

#[test]
fn tokens_wait_for_the_first_keys_and_new_keys_forget_the_old() {
    let (guard, source) = fetched(&json!({ "keys": KEYS }));
    let token = token(&claims());
    let early = pending(&guard, &token, NOW);
    assert_eq!(source.step(NOW), fetch(KEYS));
    source.fetched(Ok(&set()), NOW).expect("keys");
    assert!(poll(early).expect("an answer").is_ok());
    assert_eq!(source.step(NOW), Step::Wait(NOW + 3_600_000));
    assert!(outcome(&guard, &token, NOW).is_ok());
    // An hour later its key is gone.
    let later = NOW + 3_600_000;
    assert_eq!(source.step(later), fetch(KEYS));
    let mut keys = signer().jwks();
    keys.as_array_mut()
        .expect("a list")
        .retain(|key| key["kid"] != "p256");
    let keys = json!({ "keys": keys }).to_string();
    source.fetched(Ok(keys.as_bytes()), later).expect("keys");
    let waiting = pending(&guard, &token, NOW);
    assert_eq!(source.step(NOW), fetch(KEYS));
    source.fetched(Ok(keys.as_bytes()), NOW).expect("keys");
    assert_eq!(poll(waiting).expect("an answer"), Err(UNKNOWN_KEY));
}

#[test]
fn an_unknown_key_id_causes_at_most_one_fetch_a_minute() {
    let (guard, source) = fetched(&json!({ "keys": KEYS }));
    assert_eq!(source.step(NOW), fetch(KEYS));
    source.fetched(Ok(&set()), NOW).expect("keys");
    let unknown = |number: u32| {
        token_of(
            &json!({ "alg": "ES256", "kid": number.to_string() }),
            &claims(),
        )
    };
    let first = pending(&guard, &unknown(0), NOW);
    let joined = pending(&guard, &unknown(1), NOW);
    assert_eq!(source.step(NOW), fetch(KEYS));
    source.fetched(Ok(&set()), NOW).expect("keys");
    for pending in [first, joined] {
        assert_eq!(poll(pending).expect("an answer"), Err(UNKNOWN_KEY));
    }
    for number in 2..100 {
        assert_eq!(
            outcome(&guard, &unknown(number), NOW + 59_999),
            Err(UNKNOWN_KEY)
        );
    }
    assert!(matches!(source.step(NOW + 59_999), Step::Wait(_)));
    drop(pending(&guard, &unknown(0), NOW + 60_000));
    assert_eq!(source.step(NOW + 60_000), fetch(KEYS));
}

#[test]
fn the_number_of_tokens_that_wait_is_bounded() {
    let (guard, source) = fetched(&json!({ "keys": KEYS }));
    let token = token(&claims());
    assert_eq!(source.step(NOW), fetch(KEYS));
    let waiting: Vec<Pending> = (0..WAITING_MAX)
        .map(|_| pending(&guard, &token, NOW))
        .collect();
    assert_eq!(outcome(&guard, &token, NOW), Err(Refusal::Busy));
    // Those who left make room.
    drop(waiting);
    drop(pending(&guard, &token, NOW));
}

#[test]
fn failures_pause_longer_each_time_and_keep_the_last_good_keys() {
    let (guard, source) = fetched(&json!({ "keys": KEYS }));
    let token = token(&claims());
    let early = pending(&guard, &token, NOW);
    assert_eq!(source.step(NOW), fetch(KEYS));
    assert!(source.fetched(failure(), NOW).is_err());
    let refused = poll(early).expect("an answer").expect_err("no keys");
    assert!(refused.is_temporary(), "{refused}");
    assert!(outcome(&guard, &token, NOW).is_err_and(Refusal::is_temporary));
    let mut now = NOW;
    for pause in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
        assert_eq!(source.step(now), Step::Wait(now + pause * 1_000));
        now += pause * 1_000;
        assert_eq!(source.step(now), fetch(KEYS));
        let html = source.fetched(Ok(b"<html>"), now).expect_err("no keys");
        assert_eq!(html.to_string(), "not JSON");
    }
    now += 300_000;
    assert_eq!(source.step(now), fetch(KEYS));
    source.fetched(Ok(&set()), now).expect("keys");
    let fresh = self::token(&with(&json!({ "exp": now / 1_000 + 9_999 })));
    assert!(outcome(&guard, &fresh, now).is_ok());
    now += 3_600_000;
    assert_eq!(source.step(now), fetch(KEYS));
    assert!(source.fetched(failure(), now).is_err());
    assert!(outcome(&guard, &fresh, now).is_ok());
    let other = self::token(&with(&json!({ "exp": now / 1_000 + 9_998 })));
    assert!(outcome(&guard, &other, now).is_ok());
}

#[test]
fn a_clock_that_is_set_back_makes_no_pause_longer() {
    let (guard, source) = fetched(&json!({ "keys": KEYS }));
    assert_eq!(source.step(NOW), fetch(KEYS));
    assert!(source.fetched(failure(), NOW).is_err());
    assert_eq!(source.step(NOW), Step::Wait(NOW + 1_000));
    // By 50 minutes: without keys, every token would be refused for as long.
    let earlier = NOW - 3_000_000;
    assert_eq!(source.step(earlier), fetch(KEYS));
    source.fetched(Ok(&set()), earlier).expect("keys");
    assert_eq!(source.step(earlier), Step::Wait(earlier + 3_600_000));
    assert_eq!(source.step(earlier - 1), fetch(KEYS));
    source.fetched(Ok(&set()), earlier).expect("keys");
    // A token with an unknown key id, which asks for keys now.
    let header = json!({ "alg": "ES256", "kid": "unknown" });
    drop(pending(&guard, &token_of(&header, &claims()), NOW - 60_000));
    assert_eq!(source.step(NOW - 120_000), fetch(KEYS));
}

#[test]
fn the_metadata_of_the_issuer_leads_to_the_keys() {
    let (guard, source) = fetched(&json!({}));
    let urls = [
        "https://id.example/.well-known/oauth-authorization-server/realms/plant",
        "https://id.example/.well-known/openid-configuration/realms/plant",
        "https://id.example/realms/plant/.well-known/openid-configuration",
    ];
    let early = pending(&guard, &token(&claims()), NOW);
    assert_eq!(source.step(NOW), fetch(urls[0]));
    source.fetched(failure(), NOW).expect("there are others");
    assert_eq!(source.step(NOW), fetch(urls[1]));
    let other = json!({ "issuer": "https://eve.example", "jwks_uri": KEYS }).to_string();
    source
        .fetched(Ok(other.as_bytes()), NOW)
        .expect("there is another");
    assert_eq!(source.step(NOW), fetch(urls[2]));
    let metadata = json!({ "issuer": ISSUER, "jwks_uri": KEYS }).to_string();
    source
        .fetched(Ok(metadata.as_bytes()), NOW)
        .expect("metadata");
    assert_eq!(source.step(NOW), fetch(KEYS));
    source.fetched(Ok(&set()), NOW).expect("keys");
    assert!(poll(early).expect("an answer").is_ok());
    // When the keys cannot be fetched any more, they may have moved.
    let later = NOW + 3_600_000;
    assert_eq!(source.step(later), fetch(KEYS));
    assert!(source.fetched(failure(), later).is_err());
    assert_eq!(source.step(later + 1_000), fetch(urls[0]));
    for metadata in [
        json!({ "issuer": ISSUER }),
        json!({ "issuer": ISSUER, "jwks_uri": "http://id.example/keys" }),
        json!({ "issuer": ISSUER, "jwks_uri": "file:///etc/keys" }),
        // A service of this host, which others cannot reach.
        json!({ "issuer": ISSUER, "jwks_uri": "http://127.0.0.1:9200/_search" }),
        json!({ "issuer": ISSUER, "jwks_uri": "http://localhost/keys" }),
    ] {
        let text = metadata.to_string();
        let issuer = Url::parse(ISSUER).expect("a URL");
        let error = source::keys_url(text.as_bytes(), &issuer).expect_err(&text);
        assert!(
            error.to_string().starts_with("its metadata has "),
            "{error}"
        );
    }
}

#[test]
fn options_that_cannot_work_are_refused() {
    for (more, error) in [
        (
            json!({ "issuer": "http://id.example" }),
            "http is only allowed on loopback",
        ),
        (json!({ "audience": [] }), "must name who tokens are for"),
        (
            json!({ "keys": "http://id.example/keys" }),
            "http is only allowed on loopback",
        ),
        (
            json!({ "keys": [{ "kty": "oct", "k": "AA" }] }),
            "private or symmetric",
        ),
        (
            json!({ "keys": KEYS, "file": "keys.json" }),
            "mutually exclusive",
        ),
        (json!({ "leeway": 3_601 }), "out of range"),
        (json!({ "algorithms": ["none"] }), "unknown field"),
    ] {
        let mut options = json!({ "issuer": ISSUER, "audience": "a" });
        for (name, value) in more.as_object().expect("an object").clone() {
            options[name] = value;
        }
        let found = serde_json::from_value::<Options>(options)
            .expect_err(error)
            .to_string();
        assert!(found.contains(error), "{found}");
    }
}
