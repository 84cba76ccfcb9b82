//! Public keys as JSON (RFC 7517): a key, and a set of keys.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;
use thiserror::Error;

use super::algorithm::{Algorithm, PublicKey};
use super::token::decoded;

/// Most keys of a set.
const KEYS_MAX: usize = 100;
/// Most keys that a token is tried with: those of its key id, or the first few if it has none.
const TRIED_MAX: usize = 8;
/// Longest number of an RSA key, in bytes: 8192 bits.
const NUMBER_MAX: usize = 1_024;

/// A public key for signatures.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Jwk {
    kid: Option<String>,
    /// The only algorithm it may be used with.
    algorithm: Option<Algorithm>,
    key: PublicKey,
}

/// The public keys of an authorization server.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct KeySet(Vec<Jwk>);

/// A text that is not a set of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum KeySetError {
    /// Not JSON.
    #[error("not JSON")]
    Json,
    /// No list of keys.
    #[error("not a JSON Web Key Set: it has no list 'keys'")]
    Form,
    /// More than there may be.
    #[error("more than {KEYS_MAX} keys")]
    TooMany,
    /// None of the keys can be used.
    #[error("no public key for RS256, PS256, ES256, ES384 or EdDSA signatures")]
    NoneUsable,
    /// A key that nobody else may know.
    #[error("a private or symmetric key; only public keys belong here")]
    Private,
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeySet({} keys)", self.0.len())
    }
}

impl KeySet {
    /// Reads a set (`{"keys": […]}`). Keys for other uses or of other types are left out.
    pub fn parse(text: &[u8]) -> Result<Self, KeySetError> {
        let value: Value = serde_json::from_slice(text).map_err(|_| KeySetError::Json)?;
        let keys = value.get("keys").and_then(Value::as_array);
        Self::of(keys.ok_or(KeySetError::Form)?)
    }

    fn of(keys: &[Value]) -> Result<Self, KeySetError> {
        if keys.len() > KEYS_MAX {
            return Err(KeySetError::TooMany);
        }
        let usable: Vec<Jwk> = keys.iter().filter_map(jwk).collect();
        if usable.is_empty() {
            return Err(KeySetError::NoneUsable);
        }
        Ok(Self(usable))
    }

    /// The keys that a token with this key id may be signed with.
    pub(crate) fn candidates(&self, kid: Option<&str>) -> impl Iterator<Item = &Jwk> {
        let named = move |key: &&Jwk| kid.is_none() || key.kid.as_deref() == kid;
        self.0.iter().filter(named).take(TRIED_MAX)
    }
}

impl Jwk {
    pub(crate) fn fits(&self, algorithm: Algorithm) -> bool {
        self.key.fits(algorithm) && self.algorithm.is_none_or(|only| only == algorithm)
    }

    pub(crate) fn verifies(&self, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> bool {
        self.key.verifies(algorithm, signed, signature)
    }
}

/// A key that can be used for signatures.
fn jwk(value: &Value) -> Option<Jwk> {
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    if text("use").is_some_and(|it| it != "sig") {
        return None;
    }
    if let Some(operations) = value.get("key_ops") {
        let mut operations = operations.as_array()?.iter();
        operations.find(|it| it.as_str() == Some("verify"))?;
    }
    let key = public_key(value)?;
    let algorithm = match value.get("alg") {
        None => None,
        Some(name) => Some(Algorithm::named(name.as_str()?)?),
    };
    if algorithm.is_some_and(|algorithm| !key.fits(algorithm)) {
        return None;
    }
    Some(Jwk {
        kid: text("kid").map(str::to_owned),
        algorithm,
        key,
    })
}

fn public_key(value: &Value) -> Option<PublicKey> {
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    let number = |name: &str| decoded(text(name)?).filter(|number| number.len() <= NUMBER_MAX);
    let unsigned = |name: &str| {
        let number = number(name)?;
        let zeros = number.iter().take_while(|byte| **byte == 0).count();
        Some(number.into_iter().skip(zeros).collect())
    };
    let point = |size: usize| {
        let (x, y) = (number("x")?, number("y")?);
        (x.len() == size && y.len() == size).then(|| [&[4][..], &x, &y].concat())
    };
    Some(match (text("kty")?, text("crv")) {
        ("RSA", _) => PublicKey::Rsa {
            n: unsigned("n")?,
            e: unsigned("e")?,
        },
        ("EC", Some("P-256")) => PublicKey::P256(point(32)?),
        ("EC", Some("P-384")) => PublicKey::P384(point(48)?),
        ("OKP", Some("Ed25519")) => PublicKey::Ed25519(number("x").filter(|it| it.len() == 32)?),
        _ => return None,
    })
}

impl<'de> Deserialize<'de> for KeySet {
    /// A list of keys in the config. Each must be usable: someone wrote it there to be used.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let keys = Vec::<Value>::deserialize(deserializer)?;
        let private = |key: &Value| key.get("d").is_some() || key.get("k").is_some();
        if keys.iter().any(private) {
            return Err(de::Error::custom(KeySetError::Private));
        }
        let set = Self::of(&keys).map_err(de::Error::custom)?;
        if set.0.len() < keys.len() {
            return Err(de::Error::custom(
                "a key that is not for RS256, PS256, ES256, ES384 or EdDSA signatures",
            ));
        }
        Ok(set)
    }
}

impl Serialize for KeySet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|key| &key.kid))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // RFC 7515, A.3.1.
    const EC: &str = r#""kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0""#;

    fn set(keys: &str) -> Result<usize, KeySetError> {
        KeySet::parse(format!(r#"{{"keys":[{keys}]}}"#).as_bytes()).map(|set| set.0.len())
    }

    #[test]
    fn keys_for_other_uses_and_types_are_left_out() {
        assert_eq!(set(&format!("{{{EC}}}")), Ok(1));
        for more in [
            r#""use":"enc""#,
            r#""key_ops":["sign"]"#,
            r#""alg":"ES384""#,
            r#""alg":"HS256""#,
            r#""alg":1"#,
        ] {
            let found = set(&format!("{{{EC},{more}}}"));
            assert_eq!(found, Err(KeySetError::NoneUsable), "{more}");
        }
        for more in [
            r#""use":"sig""#,
            r#""key_ops":["verify"]"#,
            r#""alg":"ES256""#,
        ] {
            let keys = format!("{{{EC},{more}}},{{\"kty\":\"oct\",\"k\":\"AA\"}}");
            assert_eq!(set(&keys), Ok(1), "{more}");
        }
        for key in [
            EC.replace("P-256", "P-384"),
            EC.replace("P-256", "secp256k1"),
            EC.replace("5a0", ""),
            r#""kty":"OKP","crv":"X25519","x":"AA""#.to_owned(),
            r#""kty":"RSA","n":"AQAB""#.to_owned(),
        ] {
            assert_eq!(
                set(&format!("{{{key}}}")),
                Err(KeySetError::NoneUsable),
                "{key}"
            );
        }
    }

    #[test]
    fn what_is_not_a_set_of_keys_is_refused() {
        for (text, error) in [
            ("<html>", KeySetError::Json),
            ("[]", KeySetError::Form),
            ("{\"keys\":{}}", KeySetError::Form),
            ("{\"keys\":[]}", KeySetError::NoneUsable),
            ("{\"keys\":[1,null]}", KeySetError::NoneUsable),
        ] {
            assert_eq!(KeySet::parse(text.as_bytes()), Err(error), "{text}");
        }
        assert_eq!(set(&vec!["{}"; 101].join(",")), Err(KeySetError::TooMany));
    }

    #[test]
    fn a_list_in_the_config_has_public_keys_alone() {
        let read = |keys: &str| {
            let read = serde_json::from_str::<KeySet>(&format!("[{keys}]"));
            read.map_err(|error| error.to_string())
        };
        assert!(read(&format!("{{{EC}}}")).is_ok());
        let private = format!("{{{EC},\"d\":\"AA\"}}");
        for key in [&private, "{\"kty\":\"oct\",\"k\":\"AA\"}"] {
            let error = read(key).expect_err("private");
            assert!(error.contains("a private or symmetric key"), "{error}");
        }
        assert!(read(&format!("{{{EC}}},{{\"kty\":\"EC\"}}")).is_err());
    }

    proptest! {
        #[test]
        fn no_text_panics(
            text in r#"(\{"keys":\[\{)?("(kty|crv|n|e|x|y|alg|use)":"[A-Za-z0-9_-]{0,12}",?){0,5}(\}\]\})?"#,
        ) {
            let _ = KeySet::parse(text.as_bytes());
        }
    }
}
