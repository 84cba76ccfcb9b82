//! SHA-256 of a credential: what caches keep instead of the credential.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};

/// The digest of a credential. Ordered, for maps: an order that a caller cannot steer, since it would
/// have to find credentials whose digests are near another's.
#[derive(Clone, Copy, PartialOrd, Ord, PartialEq, Eq)]
pub(crate) struct Digest([u8; 32]);

impl Digest {
    pub(crate) fn of(credential: &[u8]) -> Self {
        let mut bytes = [0; 32];
        let digest = digest(&SHA256, credential);
        for (to, from) in bytes.iter_mut().zip(digest.as_ref()) {
            *to = *from;
        }
        Self(bytes)
    }

    /// Compares in constant time.
    pub(crate) fn is(&self, other: &Self) -> bool {
        same(&self.0, &other.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest")
    }
}

/// Whether two byte strings are equal, in constant time for equal lengths.
pub(crate) fn same(one: &[u8], other: &[u8]) -> bool {
    verify_slices_are_equal(one, other).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    // FIPS 180-2, B.1.
    #[test]
    fn it_is_sha_256() {
        let hex = Digest::of(b"abc")
            .0
            .map(|byte| format!("{byte:02x}"))
            .concat();
        assert_eq!(
            hex,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert!(Digest::of(b"abc").is(&Digest::of(b"abc")));
        assert!(!Digest::of(b"abc").is(&Digest::of(b"abd")));
        assert!(!same(b"a", b"ab"));
    }
}
