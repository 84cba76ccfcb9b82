//! The stored hash of a key: Argon2id, as a PHC string or as the fields of mcpMQTT's `api_key_kdf`.
//!
//! What a verification costs is in the hash, so its parameters are bounded: one with more memory or
//! passes is refused when the config is loaded.

use std::fmt;

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

use crate::digest::same;

/// Most memory of a hash, in KiB: 256 MiB.
const MEMORY_MAX: u32 = 256 * 1024;
/// Most passes over it.
const PASSES_MAX: u32 = 16;
/// Most lanes.
const LANES_MAX: u32 = 16;
/// Most memory times passes, in KiB: what a verification takes at most, about 2 s.
const WORK_MAX: u32 = 1024 * 1024;
const SALT: std::ops::RangeInclusive<usize> = 8..=64;
const OUTPUT: std::ops::RangeInclusive<usize> = 16..=64;

/// An Argon2id hash (version 1.3) with its parameters.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash {
    memory: u32,
    passes: u32,
    lanes: u32,
    salt: Vec<u8>,
    output: Vec<u8>,
}

/// A text that is not a hash of a key, or asks for too much. It does not quote the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HashError {
    /// Another form.
    #[error(
        "not an Argon2id hash; use tidegate genkey to make $argon2id$v=19$m=…,t=…,p=…$salt$hash"
    )]
    Form,
    /// Another algorithm or version.
    #[error("only Argon2id version 19 ($argon2id$v=19$…) is supported")]
    Algorithm,
    /// Parameters out of bounds.
    #[error(
        "hash parameters out of bounds; use memory 8 to 262144 KiB (and at least 8 for each lane), 1 \
         to 16 passes, 1 to 16 lanes, and memory times passes up to 1048576"
    )]
    Parameters,
    /// Salt or hash too short or too long.
    #[error("salt must have 8 to 64 bytes and hash 16 to 64 bytes")]
    Length,
    /// Salt or hash are not base64.
    #[error("salt and hash must be base64")]
    Base64,
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash")
    }
}

impl PasswordHash {
    /// Memory of a new hash, in KiB.
    pub const MEMORY: u32 = 64 * 1024;
    /// Passes of a new hash.
    pub const PASSES: u32 = 3;

    /// A hash with these parameters.
    pub fn new(
        (memory, passes, lanes): (u32, u32, u32),
        salt: Vec<u8>,
        output: Vec<u8>,
    ) -> Result<Self, HashError> {
        let within = (8..=MEMORY_MAX).contains(&memory)
            && (1..=PASSES_MAX).contains(&passes)
            && (1..=LANES_MAX).contains(&lanes)
            && memory >= 8 * lanes
            && memory.saturating_mul(passes) <= WORK_MAX;
        if !within {
            return Err(HashError::Parameters);
        }
        if !SALT.contains(&salt.len()) || !OUTPUT.contains(&output.len()) {
            return Err(HashError::Length);
        }
        Ok(Self {
            memory,
            passes,
            lanes,
            salt,
            output,
        })
    }

    /// Hashes a key with the parameters of new hashes.
    pub fn of(key: &[u8], salt: Vec<u8>) -> Result<Self, HashError> {
        let parameters = (Self::MEMORY, Self::PASSES, 1);
        let mut hash = Self::new(parameters, salt, vec![0; 32])?;
        hash.output = hash.compute(key).ok_or(HashError::Parameters)?;
        Ok(hash)
    }

    /// Reads a PHC string.
    pub fn parse(text: &str) -> Result<Self, HashError> {
        let mut parts = text.split('$');
        let mut next = || parts.next().ok_or(HashError::Form);
        if !next()?.is_empty() {
            return Err(HashError::Form);
        }
        let (algorithm, version) = (next()?, next()?);
        let (parameters, salt, output) = (next()?, next()?, next()?);
        if parts.next().is_some() {
            return Err(HashError::Form);
        }
        if algorithm != "argon2id" || version != "v=19" {
            return Err(HashError::Algorithm);
        }
        let mut values = parameters.split(',');
        let mut value = |name: &str| {
            let value = values.next().and_then(|it| it.strip_prefix(name));
            let plain = |it: &&str| it.bytes().all(|byte| byte.is_ascii_digit());
            let value = value.filter(plain).ok_or(HashError::Form)?;
            value.parse().map_err(|_| HashError::Parameters)
        };
        let parameters = (value("m=")?, value("t=")?, value("p=")?);
        if values.next().is_some() {
            return Err(HashError::Form);
        }
        let bytes = |text| STANDARD_NO_PAD.decode(text).map_err(|_| HashError::Base64);
        Self::new(parameters, bytes(salt)?, bytes(output)?)
    }

    /// Whether this is the hash of a key. Takes as long as the parameters ask for.
    pub(crate) fn fits(&self, key: &[u8]) -> bool {
        let computed = self.compute(key);
        computed.is_some_and(|computed| same(&computed, &self.output))
    }

    /// The output for a key, for hashes that tests make with little memory.
    #[cfg(test)]
    pub(crate) fn compute_for_tests(&self, key: &[u8]) -> Vec<u8> {
        self.compute(key).expect("valid parameters")
    }

    fn compute(&self, key: &[u8]) -> Option<Vec<u8>> {
        let length = self.output.len();
        let params = Params::new(self.memory, self.passes, self.lanes, Some(length)).ok()?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let mut output = vec![0; length];
        let computed = argon2.hash_password_into(key, &self.salt, &mut output);
        computed.ok().map(|()| output)
    }
}

impl fmt::Display for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (salt, output) = (&self.salt, &self.output);
        write!(
            f,
            "$argon2id$v=19$m={},t={},p={}${}${}",
            self.memory,
            self.passes,
            self.lanes,
            STANDARD_NO_PAD.encode(salt),
            STANDARD_NO_PAD.encode(output)
        )
    }
}

impl Serialize for PasswordHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PasswordHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// Reads the salt or hash of mcpMQTT's block: base64 with padding.
pub(crate) fn padded(text: &str) -> Result<Vec<u8>, HashError> {
    STANDARD.decode(text).map_err(|_| HashError::Base64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SMALL: &str = "$argon2id$v=19$m=8,t=1,p=1$AAECAwQFBgcICQoLDA0ODw$IVQS/07EKrozrUqw0q/ncQ";

    #[test]
    fn a_phc_string_is_read_printed_and_verified() {
        let hash = PasswordHash::parse(SMALL).expect("a hash");
        assert_eq!(hash.to_string(), SMALL);
        assert!(hash.fits(b"test-key-0000"));
        assert!(!hash.fits(b"test-key-0001") && !hash.fits(b""));
    }

    #[test]
    fn a_new_hash_fits_its_key_alone() {
        let hash = PasswordHash::of(b"secret", vec![7; 16]).expect("a hash");
        assert!(
            hash.to_string()
                .starts_with("$argon2id$v=19$m=65536,t=3,p=1$")
        );
        assert!(hash.fits(b"secret") && !hash.fits(b"Secret"));
    }

    #[test]
    fn other_forms_and_costs_are_refused() {
        let with = |from: &str, to: &str| PasswordHash::parse(&SMALL.replace(from, to));
        for (from, to, error) in [
            ("argon2id", "argon2i", HashError::Algorithm),
            ("v=19", "v=16", HashError::Algorithm),
            ("m=8", "m=7", HashError::Parameters),
            ("m=8", "m=262145", HashError::Parameters),
            ("m=8", "m=99999999999", HashError::Parameters),
            ("m=8,t=1", "m=262144,t=5", HashError::Parameters),
            ("t=1", "t=17", HashError::Parameters),
            ("t=1", "t=0", HashError::Parameters),
            ("p=1", "p=2", HashError::Parameters),
            ("t=1", "t=+1", HashError::Form),
            ("t=1,p=1", "p=1,t=1", HashError::Form),
            ("p=1", "p=1,keyid=x", HashError::Form),
            ("AAECAwQFBgcICQoLDA0ODw", "AAEC", HashError::Length),
            ("AAECAwQFBgcICQoLDA0ODw", "AAEC=", HashError::Base64),
            ("IVQS/07EKrozrUqw0q/ncQ", "IVQS", HashError::Length),
            ("$argon2id", "argon2id", HashError::Form),
            ("ncQ", "ncQ$", HashError::Form),
        ] {
            assert_eq!(with(from, to), Err(error), "{from} -> {to}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(\\$argon2id\\$v=19\\$m=[0-9]{1,12},t=[0-9]{1,3},p=1\\$)?.{0,60}") {
            if let Ok(hash) = PasswordHash::parse(&text) {
                prop_assert_eq!(PasswordHash::parse(&hash.to_string()), Ok(hash));
            }
        }
    }
}
