//! A fast random source without a lock, for trace ids and starting points. Not for secrets.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// `SplitMix64` (Steele, Lea and Flood, 2014, doi:10.1145/2660193.2660195) over a shared counter.
#[derive(Debug)]
pub(super) struct Random(AtomicU64);

/// The step of the counter, 2^64 divided by the golden ratio, made odd.
pub(super) const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

impl Random {
    /// Seeded from what the standard library seeds its hash maps with.
    pub(super) fn seeded() -> Self {
        Self(AtomicU64::new(RandomState::new().build_hasher().finish()))
    }

    /// The next 64 bits.
    pub(super) fn next(&self) -> u64 {
        let mut z = self.0.fetch_add(GOLDEN, Ordering::Relaxed).wrapping_add(GOLDEN);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}
