//! The randomness of the demo: small, seeded, and without a lock.

use std::sync::atomic::{AtomicU64, Ordering};

/// Random numbers: `SplitMix64` (Steele, Lea and Flood 2014, doi:10.1145/2660193.2660195), which
/// needs one counter and so no lock.
pub(super) struct Dice(AtomicU64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    fn next(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// An id of a span, never zero.
    pub(super) fn id(&self) -> [u8; 8] {
        (self.next() | 1).to_be_bytes()
    }

    /// From 0 to below 1. 32 bits are enough for shares and latencies.
    pub(super) fn uniform(&self) -> f64 {
        let high = u32::try_from(self.next() >> 32).expect("32 bits are left");
        f64::from(high) / (f64::from(u32::MAX) + 1.0)
    }

    /// A standard normal number (Box and Muller 1958, doi:10.1214/aoms/1177706645).
    pub(super) fn normal(&self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }
}
