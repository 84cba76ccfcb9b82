//! The worker's random source: cryptographically strong and reproducible from its seed.

use rand_chacha::ChaCha12Rng;
use rand_core::{Rng, SeedableRng};

/// A seeded generator.
pub(crate) struct Random(ChaCha12Rng);

impl Random {
    pub(crate) fn seeded(seed: [u8; 32]) -> Self {
        Self(ChaCha12Rng::from_seed(seed))
    }

    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0.next_u64()
    }
}
