//! Seeded draws for the simulations in this folder's tests: the same numbers on every machine and run.

/// A `SplitMix64` generator (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
pub(super) struct Draws(u64);

impl Draws {
    /// Draws that depend on `seed` only.
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Uniform in (0, 1).
    pub(super) fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (super::as_f64((z ^ (z >> 31)) >> 12) + 0.5) / 4_503_599_627_370_496.0
    }

    /// Poisson with this mean, by the gaps between events: as many uniforms as events.
    pub(super) fn poisson(&mut self, mean: f64) -> u64 {
        let mut count = 0;
        let mut at = -self.uniform().ln();
        while at < mean {
            count += 1;
            at -= self.uniform().ln();
        }
        count
    }

    /// Geometric on 1, 2, ... with this mean, above 1.
    pub(super) fn geometric(&mut self, mean: f64) -> u64 {
        let mut count = 1;
        while self.uniform() * mean > 1.0 {
            count += 1;
        }
        count
    }

    /// Normal by Box and Muller.
    pub(super) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }
}
