//! The guard with verifications that the test runs.

use std::collections::VecDeque;
use std::sync::Mutex;

use super::*;
use crate::pending::{Pending, now as poll};

const NOW: u64 = 1_800_000_000_000;

/// Keeps the verifications until the test runs them.
#[derive(Default)]
struct Held(Mutex<VecDeque<Verification>>);

impl Runner for Held {
    fn run(&self, verification: Verification) {
        self.0.lock().expect("no panic").push_back(verification);
    }
}

impl Held {
    fn take(&self) -> Option<Verification> {
        self.0.lock().expect("no panic").pop_front()
    }

    fn count(&self) -> usize {
        self.0.lock().expect("no panic").len()
    }

    /// Runs all there are, and returns how many.
    fn run_all(&self) -> usize {
        let mut count = 0;
        while let Some(first) = self.take() {
            let mut next = Some(first);
            while let Some(verification) = next {
                next = verification.run(NOW);
                count += 1;
            }
        }
        count
    }
}

/// A key of our own form, and its entry with a cheap hash.
fn made(number: u8, identity: &str, more: &str) -> (Key, String) {
    let mut next = number;
    let key = Key::generate(|bytes| {
        for byte in bytes {
            *byte = next;
            next = next.wrapping_add(41);
        }
        Ok::<(), ()>(())
    });
    let key = key.expect("random bytes");
    let hash = cheap(key.secret());
    let entry = format!(
        r#"{{"id":"{}","identity":"{identity}","hash":"{hash}"{more}}}"#,
        key.id()
    );
    (key, entry)
}

fn cheap(key: &str) -> String {
    let blank = PasswordHash::new((8, 1, 1), vec![3; 16], vec![0; 32]).expect("a hash");
    let output = blank.compute_for_tests(key.as_bytes());
    PasswordHash::new((8, 1, 1), vec![3; 16], output)
        .expect("a hash")
        .to_string()
}

struct Setup {
    guard: ApiKey,
    held: Arc<Held>,
}

fn setup(entries: &[&str]) -> Setup {
    let text = format!(r#"{{"keys":[{}],"waiting":2}}"#, entries.join(","));
    let options: Options = serde_json::from_str(&text).expect("options");
    let held = Arc::new(Held::default());
    let ring = options.keys.clone();
    let guard = ApiKey::new("staff", &options, ring, held.clone());
    Setup { guard, held }
}

impl Setup {
    fn check(&self, key: &str) -> Check {
        self.guard.check(Credential::Text(key), NOW)
    }

    /// The outcome, with every verification that it needs.
    fn outcome(&self, key: &str) -> Outcome {
        match self.check(key) {
            Check::Accepted(identity) => Ok(identity),
            Check::Refused(refusal) => Err(refusal),
            Check::Pending(pending) => {
                self.held.run_all();
                poll(pending).expect("an answer")
            }
        }
    }

    fn pending(&self, key: &str) -> Pending {
        match self.check(key) {
            Check::Pending(pending) => pending,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_key_is_verified_once_and_gives_its_identity() {
    let more = r#","roles":["operator"],"attributes":{"site":"north"},"expires":"2030-01-01""#;
    let (key, entry) = made(1, "alice", more);
    let setup = setup(&[&entry]);
    let identity = setup.outcome(key.secret()).expect("an identity");
    assert_eq!((&*identity.subject, &*identity.guard), ("alice", "staff"));
    assert!(identity.has_role("operator") && !identity.step_up);
    assert_eq!(identity.attribute("site").map(|it| &**it), Some("north"));
    assert_eq!(identity.expires, 1_893_456_000_000);
    // From now on without a verification, and it is the same identity.
    let Check::Accepted(again) = setup.check(key.secret()) else {
        panic!("it is known");
    };
    assert!(Arc::ptr_eq(&identity, &again));
    assert_eq!(setup.held.count(), 0);
    assert_eq!(setup.guard.challenge(), Challenge::Key);
}

#[test]
fn a_key_out_of_its_time_is_refused_before_and_after_it_is_known() {
    let (old, expired) = made(1, "alice", r#","expires":"2020-01-01""#);
    let (new, future) = made(2, "bob", r#","notBefore":"2040-01-01""#);
    let setup = setup(&[&expired, &future]);
    for _ in 0..2 {
        assert_eq!(setup.outcome(old.secret()), Err(Refusal::Expired));
        assert_eq!(setup.outcome(new.secret()), Err(Refusal::NotYetValid));
    }
    assert_eq!(setup.held.count(), 0);
    // It is known: only the clock decides.
    let before = setup
        .guard
        .check(Credential::Text(old.secret()), 1_577_836_799_999);
    assert!(matches!(before, Check::Accepted(_)));
    let at = setup
        .guard
        .check(Credential::Text(old.secret()), 1_577_836_800_000);
    assert!(matches!(at, Check::Refused(Refusal::Expired)));
}

#[test]
fn a_wrong_key_costs_one_verification_and_nothing_when_repeated() {
    let (key, entry) = made(1, "alice", "");
    let setup = setup(&[&entry]);
    // The id of a stored key, another secret.
    let wrong = with_secret(&key, "x");
    assert_eq!(setup.outcome(&wrong), Err(Refusal::UnknownKey));
    let Check::Refused(Refusal::UnknownKey) = setup.check(&wrong) else {
        panic!("it is remembered");
    };
    assert_eq!(setup.held.count(), 0);
}

/// A well-formed key with the id of another.
fn with_secret(key: &Key, letter: &str) -> String {
    let text = format!(
        "tg_{}_{}",
        key.id(),
        letter.repeat(32).get(..32).expect("ASCII")
    );
    format!("{text}{}", key::checksum(&text))
}

#[test]
fn a_key_that_cannot_be_one_costs_no_verification() {
    let (key, entry) = made(1, "alice", "");
    let (unknown, _) = made(2, "eve", "");
    let setup = setup(&[&entry]);
    let mistyped = format!("{}x", key.secret().split_at(key.secret().len() - 1).0);
    for (text, refusal) in [
        (unknown.secret(), Refusal::UnknownKey),
        (mistyped.as_str(), Refusal::UnknownKey),
        ("test-key-0000", Refusal::UnknownKey),
        ("", Refusal::Malformed("a key has 1 to 512 bytes")),
        (
            &"x".repeat(1 << 20),
            Refusal::Malformed("a key has 1 to 512 bytes"),
        ),
    ] {
        match setup.check(text) {
            Check::Refused(found) => assert_eq!(found, refusal),
            other => panic!("{other:?}"),
        }
    }
    let certificate = setup.guard.check(Credential::Certificate(b"0"), NOW);
    assert!(matches!(certificate, Check::Refused(Refusal::Malformed(_))));
    assert_eq!(setup.held.count(), 0);
}

#[test]
fn thousands_of_wrong_keys_are_bounded_and_known_keys_are_served() {
    let (alice, of_alice) = made(1, "alice", "");
    let (bob, of_bob) = made(2, "bob", "");
    let setup = setup(&[&of_alice, &of_bob]);
    assert!(setup.outcome(alice.secret()).is_ok());
    let mut waiting = Vec::new();
    let mut busy = 0;
    for number in 0..10_000 {
        match setup.check(&with_secret(&bob, &format!("{number:08}"))) {
            Check::Pending(pending) => waiting.push(pending),
            Check::Refused(Refusal::Busy) => busy += 1,
            other => panic!("{other:?}"),
        }
        assert!(matches!(setup.check(alice.secret()), Check::Accepted(_)));
    }
    // Two run, two wait.
    assert_eq!((waiting.len(), busy, setup.held.count()), (4, 9_996, 2));
    assert_eq!(Refusal::Busy.retry_after(), Some(1));
    assert_eq!(setup.held.run_all(), 4);
    for pending in waiting {
        assert_eq!(poll(pending).expect("an answer"), Err(Refusal::UnknownKey));
    }
    assert!(setup.outcome(bob.secret()).is_ok());
}

#[test]
fn wrong_keys_for_one_id_leave_room_for_the_others() {
    let (alice, of_alice) = made(1, "alice", "");
    let (bob, of_bob) = made(2, "bob", "");
    let text = format!(r#"{{"keys":[{of_alice},{of_bob}],"waiting":1000}}"#);
    let options: Options = serde_json::from_str(&text).expect("options");
    let held = Arc::new(Held::default());
    let guard = ApiKey::new("staff", &options, options.keys.clone(), held.clone());
    let setup = Setup { guard, held };
    let mut waiting = Vec::new();
    for number in 0..100 {
        if let Check::Pending(pending) = setup.check(&with_secret(&bob, &format!("{number:08}"))) {
            waiting.push(pending);
        }
    }
    assert_eq!(waiting.len(), queue::FOR_ONE_KEY);
    assert!(setup.outcome(alice.secret()).is_ok());
}

#[test]
fn requests_with_the_same_new_key_share_its_verification() {
    let (key, entry) = made(1, "alice", "");
    let setup = setup(&[&entry]);
    let waiting: Vec<Pending> = (0..50).map(|_| setup.pending(key.secret())).collect();
    assert_eq!(setup.held.run_all(), 1);
    for pending in waiting {
        assert!(poll(pending).expect("an answer").is_ok());
    }
}

#[test]
fn nobody_is_verified_for_a_caller_that_left() {
    let (key, entry) = made(1, "alice", "");
    let setup = setup(&[&entry]);
    let running: Vec<Pending> = ["a", "b"]
        .iter()
        .map(|letter| setup.pending(&with_secret(&key, letter)))
        .collect();
    drop(setup.pending(&with_secret(&key, "c")));
    let last = setup.pending(&with_secret(&key, "d"));
    assert_eq!(setup.held.run_all(), 3);
    assert!(poll(last).is_ok());
    drop(running);
}

#[test]
fn a_verification_that_cannot_run_refuses_those_who_wait() {
    let (key, entry) = made(1, "alice", "");
    let setup = setup(&[&entry]);
    let all: Vec<Pending> = ["a", "b", "c", "d"]
        .iter()
        .map(|it| setup.pending(&with_secret(&key, it)))
        .collect();
    while let Some(verification) = setup.held.take() {
        drop(verification);
    }
    for pending in all {
        let refusal = poll(pending).expect("an answer").expect_err("a refusal");
        assert!(refusal.is_temporary(), "{refusal}");
    }
    // Nothing of it is left.
    assert!(setup.outcome(key.secret()).is_ok());
}

#[test]
fn keys_of_mcpmqtt_are_accepted() {
    let block = |fields: &str| {
        format!(r#"{{"identity":"agent","api_key_kdf":{{"algorithm":"argon2id",{fields}}}}}"#)
    };
    let salt = r#""salt":"AAECAwQFBgcICQoLDA0ODw==","#;
    let defaults = block(&format!(
        r#"{salt}"hash":"MePZA3SaP9IV2cnaQpI22fGKYa1aKiyOdftXth3xsE4=""#
    ));
    let small = block(&format!(
        r#"{salt}"hash":"IVQS/07EKrozrUqw0q/ncQ==","time_cost":1,"memory_cost":8,"parallelism":1,"hash_len":16"#
    ));
    let lanes = block(&format!(
        r#"{salt}"hash":"IP2fZXoyRLfbnS5oSd3aNkK12Gy7os75TqcmhyYb6Zk=","time_cost":1,"memory_cost":64,"parallelism":2"#
    ));
    for (entry, key) in [
        (&defaults, "test-key-0000"),
        (&small, "test-key-0000"),
        (&lanes, "grün☃"),
    ] {
        let setup = setup(&[entry]);
        let identity = setup.outcome(key).expect("an identity");
        assert_eq!(&*identity.subject, "agent");
        assert!(matches!(setup.check(key), Check::Accepted(_)));
        assert_eq!(setup.outcome("test-key-0001"), Err(Refusal::UnknownKey));
    }
    // Several of them are tried in order.
    let setup = setup(&[&small, &lanes]);
    assert!(setup.outcome("grün☃").is_ok() && setup.outcome("test-key-0000").is_ok());
}

#[test]
fn invalid_options_are_refused_without_quoting_a_hash() {
    let (_, entry) = made(1, "alice", "");
    let hash =
        r#""hash":"$argon2id$v=19$m=8,t=1,p=1$AAECAwQFBgcICQoLDA0ODw$IVQS/07EKrozrUqw0q/ncQ""#;
    let kdf =
        r#""api_key_kdf":{"salt":"AAECAwQFBgcICQoLDA0ODw==","hash":"IVQS/07EKrozrUqw0q/ncQ=="}"#;
    for (entries, error) in [
        (format!("{entry},{entry}"), "two keys have the id"),
        (r#"{"identity":"a"}"#.to_owned(), "missing key 'hash'"),
        (
            r#"{"identity":"a","hash":"secret"}"#.to_owned(),
            "not an Argon2id hash",
        ),
        (
            format!(r#"{{"identity":"",{hash}}}"#),
            "'identity' must not be empty",
        ),
        (
            format!(r#"{{"identity":"{}",{hash}}}"#, "x".repeat(257)),
            "at most 256 bytes",
        ),
        (
            format!(r#"{{"identity":"a",{hash},{kdf}}}"#),
            "mutually exclusive",
        ),
        (
            format!(r#"{{"identity":"a",{kdf}}}"#),
            "must have hash_len bytes",
        ),
        (
            format!(r#"{{"identity":"a",{hash},"id":"x"}}"#),
            "'id' must be the 8 characters",
        ),
        (
            format!(r#"{{"identity":"a",{hash},"expires":"soon"}}"#),
            "must be a date",
        ),
        (
            format!(r#"{{"identity":"a",{hash},"expires":"2026-01-01","notBefore":"2026-01-01"}}"#),
            "'notBefore' must be before 'expires'",
        ),
        (
            vec![format!(r#"{{"identity":"a",{hash}}}"#); 9].join(","),
            "too many keys without an id",
        ),
    ] {
        let read = serde_json::from_str::<Options>(&format!(r#"{{"keys":[{entries}]}}"#));
        let found = read.expect_err(&entries).to_string();
        assert!(found.contains(error), "{found}");
        assert!(
            !found.contains("IVQS") && !found.contains("secret"),
            "{found}"
        );
    }
}
