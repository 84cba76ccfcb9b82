//! SCRAM-SHA-256 (RFC 5802, RFC 7677), without channel binding.
//!
//! The password is used as it is: prepare one that is not ASCII with `SASLprep` (RFC 4013).

use std::fmt;
use std::num::NonZeroU32;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use aws_lc_rs::pbkdf2::{self, PBKDF2_HMAC_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::authentication::Exchange;

/// Bounds of the broker's iteration count: RFC 7677 requires the lower one, and more than the upper one
/// would block the worker for long.
const ITERATIONS: std::ops::RangeInclusive<u32> = 4_096..=100_000;
/// Maximum size of the broker's message, in bytes.
const MESSAGE_MAX: usize = 4_096;
/// The header that says *no channel binding*.
const HEADER: &str = "n,,";

/// The client's side of an exchange.
pub(super) struct Scram {
    password: Bytes,
    nonce: String,
    /// The first message without its header.
    first: String,
    state: State,
}

enum State {
    /// Waits for the salt.
    Begun,
    /// Waits for this proof of the broker.
    Proven([u8; 32]),
    Over,
}

impl fmt::Debug for Scram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scram")
    }
}

impl Scram {
    /// Begins an exchange. Returns the first message.
    pub(super) fn begin(username: &str, password: Bytes, nonce: &str) -> (Self, Bytes) {
        let username = username.replace('=', "=3D").replace(',', "=2C");
        let first = format!("n={username},r={nonce}");
        let message = format!("{HEADER}{first}").into();
        let scram = Self {
            password,
            nonce: nonce.to_owned(),
            first,
            state: State::Begun,
        };
        (scram, message)
    }
}

impl Exchange for Scram {
    fn next(&mut self, data: &[u8]) -> Result<Bytes, String> {
        if !matches!(
            std::mem::replace(&mut self.state, State::Over),
            State::Begun
        ) {
            return Err("it sent more messages than SCRAM has".to_owned());
        }
        let challenge = Challenge::read(data, &self.nonce)?;
        let mut salted = [0; 32];
        pbkdf2::derive(
            PBKDF2_HMAC_SHA256,
            challenge.iterations,
            &challenge.salt,
            &self.password,
            &mut salted,
        );
        let header = STANDARD.encode(HEADER);
        let last = format!("c={header},r={}", challenge.nonce);
        let message = format!("{},{},{last}", self.first, challenge.text);
        let client_key = mac(&salted, b"Client Key");
        let stored_key = digest(&SHA256, &client_key);
        let signature = mac(stored_key.as_ref(), message.as_bytes());
        let mut proof = client_key;
        for (byte, other) in proof.iter_mut().zip(signature) {
            *byte ^= other;
        }
        self.state = State::Proven(mac(&mac(&salted, b"Server Key"), message.as_bytes()));
        Ok(format!("{last},p={}", STANDARD.encode(proof)).into())
    }

    fn finish(&mut self, data: &[u8]) -> Result<(), String> {
        let State::Proven(expected) = std::mem::replace(&mut self.state, State::Over) else {
            return Err("it did not ask for a proof".to_owned());
        };
        let proof = data
            .strip_prefix(b"v=")
            .and_then(|it| STANDARD.decode(it).ok());
        let proven = proof.is_some_and(|it| verify_slices_are_equal(&it, &expected).is_ok());
        if proven {
            Ok(())
        } else {
            Err("it did not prove that it knows the password".to_owned())
        }
    }
}

fn mac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let tag = hmac::sign(&hmac::Key::new(HMAC_SHA256, key), message);
    let mut bytes = [0; 32];
    for (byte, tag) in bytes.iter_mut().zip(tag.as_ref()) {
        *byte = *tag;
    }
    bytes
}

/// The broker's first message.
#[derive(Debug)]
struct Challenge<'a> {
    text: &'a str,
    nonce: &'a str,
    salt: Vec<u8>,
    iterations: NonZeroU32,
}

impl<'a> Challenge<'a> {
    fn read(data: &'a [u8], own: &str) -> Result<Self, String> {
        let invalid = || "it sent an invalid SCRAM message".to_owned();
        let text = str::from_utf8(data)
            .ok()
            .filter(|it| it.len() <= MESSAGE_MAX);
        let text = text.ok_or_else(invalid)?;
        let mut parts = text.split(',');
        let mut part = |name: &str| parts.next().and_then(|part| part.strip_prefix(name));
        // A mandatory extension (m=) is refused by this, as RFC 5802 requires.
        let (Some(nonce), Some(salt), Some(iterations)) = (part("r="), part("s="), part("i="))
        else {
            return Err(invalid());
        };
        if nonce.strip_prefix(own).is_none_or(str::is_empty) {
            return Err("it did not repeat the nonce".to_owned());
        }
        let salt = STANDARD.decode(salt).map_err(|_| invalid())?;
        let count: u32 = iterations.parse().map_err(|_| invalid())?;
        let iterations = NonZeroU32::new(count)
            .filter(|it| ITERATIONS.contains(&it.get()))
            .ok_or_else(|| {
                let (least, most) = (ITERATIONS.start(), ITERATIONS.end());
                format!("it asks for {count} iterations; {least} to {most} are accepted")
            })?;
        Ok(Self {
            text,
            nonce,
            salt,
            iterations,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7677, 3.
    const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
    const CHALLENGE: &[u8] =
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    const VERIFIER: &[u8] = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

    fn begin() -> Scram {
        let (scram, first) = Scram::begin("user", "pencil".into(), NONCE);
        assert_eq!(first, "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        scram
    }

    #[test]
    fn the_example_of_the_specification_succeeds() {
        let mut scram = begin();
        let last = scram.next(CHALLENGE).expect("a valid challenge");
        assert_eq!(
            last,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert_eq!(scram.finish(VERIFIER), Ok(()));
    }

    #[test]
    fn a_broker_that_does_not_know_the_password_is_refused() {
        for proof in [&b""[..], b"v=", b"v=AAAA", b"e=invalid-proof"] {
            let mut scram = begin();
            scram.next(CHALLENGE).expect("a valid challenge");
            let error = scram.finish(proof).expect_err("no proof");
            assert!(error.contains("did not prove"), "{error}");
        }
        assert!(begin().finish(VERIFIER).is_err(), "nothing was asked");
    }

    #[test]
    fn invalid_challenges_are_refused() {
        for (challenge, expected) in [
            (&b"\xff"[..], "invalid"),
            (b"", "invalid"),
            (b"m=ext,r=rOprNGfwEbeRWgbNEkqO1,s=AAAA,i=4096", "invalid"),
            (b"r=rOprNGfwEbeRWgbNEkqO1,s=%,i=4096", "invalid"),
            (b"r=rOprNGfwEbeRWgbNEkqO1,s=AAAA,i=many", "invalid"),
            (b"r=rOprNGfwEbeRWgbNEkqO,s=AAAA,i=4096", "repeat the nonce"),
            (b"r=other,s=AAAA,i=4096", "repeat the nonce"),
            (b"r=rOprNGfwEbeRWgbNEkqO1,s=AAAA,i=1", "1 iterations"),
            (b"r=rOprNGfwEbeRWgbNEkqO1,s=AAAA,i=4294967295", "iterations"),
        ] {
            let error = begin().next(challenge).expect_err("invalid");
            assert!(error.contains(expected), "{error}");
        }
        let mut scram = begin();
        scram.next(CHALLENGE).expect("the first");
        assert!(scram.next(CHALLENGE).is_err(), "a second one");
    }

    proptest::proptest! {
        #[test]
        fn any_challenge_is_answered_or_refused(
            text in "(r=rOprNGfwEbeRWgbNEkqO|r=)[ -~]{0,20},(s=)?[A-Za-z0-9+/=]{0,12},(i=)?[0-9]{0,5}.{0,4}",
            bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..100),
        ) {
            for challenge in [text.as_bytes(), &bytes] {
                // What a broker asks for costs time, so only the reading is tried.
                let _ = Challenge::read(challenge, NONCE);
            }
        }
    }

    #[test]
    fn separators_in_a_user_name_are_escaped() {
        let (_, first) = Scram::begin("a=b,c", "p".into(), "n");
        assert_eq!(first, "n,,n=a=3Db=2Cc,r=n");
    }
}
