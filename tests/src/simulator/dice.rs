//! Chance by purpose: a draw depends on the seed, on what it is for and on a number, and on nothing
//! that was drawn before.

use rand::SeedableRng;
use rand::rngs::StdRng;

/// All chance of one seed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(mixed(seed))
    }

    /// A uniform number in [0, 1).
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit into a double exactly")]
    pub(super) fn share(self, purpose: &str, number: u64) -> f64 {
        (self.bits(purpose, number) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Whether something of this probability happens.
    pub(super) fn happens(self, probability: f64, purpose: &str, number: u64) -> bool {
        self.share(purpose, number) < probability
    }

    /// A whole number in `low..high`.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "the ranges are small"
    )]
    pub(super) fn between(self, low: i64, high: i64, purpose: &str, number: u64) -> i64 {
        low + (self.share(purpose, number) * (high - low) as f64) as i64
    }

    /// One of several.
    pub(super) fn pick<T: Copy>(self, choices: &[T], purpose: &str, number: u64) -> T {
        let index = self.between(0, i64::try_from(choices.len()).unwrap_or(1), purpose, number);
        choices[usize::try_from(index).unwrap_or(0)]
    }

    /// A generator for distributions.
    pub(super) fn generator(self, purpose: &str, number: u64) -> StdRng {
        StdRng::seed_from_u64(self.bits(purpose, number))
    }

    fn bits(self, purpose: &str, number: u64) -> u64 {
        let purpose = purpose.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        mixed(mixed(self.0 ^ purpose) ^ number)
    }
}

/// The finaliser of `SplitMix64` (Steele, Lea and Flood, 2014).
fn mixed(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
