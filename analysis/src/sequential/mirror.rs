//! The mirrored e-process (3): how much worse may the canary still be?
//!
//! Null hypothesis: canary >= `ratio` x baseline + `a`. The tolerance enters linearly, so two sums per
//! alternative serve every `a` at once: `log E(a) = logsumexp(L_g - a S_g) - ln 24` with `S_g <= 0`.
//! `E(a)` rises with `a`, so only the true excess has to be covered: the bound below is wrong at any time of the
//! whole rollout with probability at most beta, not per look and not per step.

use serde::{Deserialize, Serialize};

use super::{
    Exposure,
    grid::{GRID, Lanes, POINTS, log_mean_exp},
};

/// Evidence that the canary is good enough, for every absolute tolerance at once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mirror {
    ratio: f64,
    /// `L_g`: log likelihood ratios without tolerance.
    lanes: Lanes,
    /// `S_g`: what one unit of tolerance takes off, never positive.
    slack: Lanes,
}

impl Mirror {
    /// No evidence yet, for the excess over `ratio` x baseline; `ratio` is positive.
    pub fn new(ratio: f64) -> Self {
        Self { ratio, lanes: [0.0; POINTS], slack: [0.0; POINTS] }
    }

    /// The ratio over which the excess is counted.
    pub fn ratio(&self) -> f64 {
        self.ratio
    }

    /// Takes in one stratum of one scrape. An arm without requests makes no difference.
    pub fn update(&mut self, seen: &Exposure) {
        self.add(seen, 1.0);
    }

    /// Multiplies by a scrape's factor, or with `sign` -1 takes it back.
    pub(crate) fn add(&mut self, seen: &Exposure, sign: f64) {
        if !seen.compares() {
            return;
        }
        let grid = &*GRID;
        let scaled = self.ratio * seen.canary;
        let events = seen.canary_events + seen.baseline_events;
        let at_null = scaled + seen.baseline;
        let exposure = seen.canary * seen.baseline;
        for g in 0..POINTS {
            let here = scaled * grid.better[g] + seen.baseline;
            self.slack[g] += sign * exposure * (grid.better[g] - 1.0) / here;
            if events > 0.0 {
                self.lanes[g] -= sign
                    * (seen.canary_events * grid.log_ratio[g] + events * (here / at_null).ln());
            }
        }
    }

    /// Natural logarithm of the e-process against "canary >= ratio x baseline + `absolute`".
    pub fn log_e(&self, absolute: f64) -> f64 {
        log_mean_exp(&self.at(absolute))
    }

    /// Upper confidence bound of the canary's excess share over `ratio` x baseline, in [0, 1]:
    /// the smallest `a` whose null is rejected at `log_threshold` = ln(1/beta). 1 without evidence.
    ///
    /// `log E` is convex and rising in `a`, so Newton's method from the right comes down to the root without
    /// ever passing it: what it returns is never too small.
    pub fn excess(&self, log_threshold: f64) -> f64 {
        if self.log_e(0.0) >= log_threshold {
            return 0.0;
        }
        let mut bound = 1.0;
        for _ in 0..200 {
            let (value, slope) = self.value_and_slope(bound);
            let next = bound - (value - log_threshold) / slope;
            // Also leaves when the threshold is out of reach at 1, or when nothing was seen (slope 0).
            if !(next < bound * (1.0 - 1e-13) && next > 0.0) {
                break;
            }
            bound = next;
        }
        bound
    }

    /// Largest weight that keeps the canary's harm to all requests within `harm`: `min(1, harm / excess)`.
    pub fn allowed_weight(&self, harm: f64, log_threshold: f64) -> f64 {
        let excess = self.excess(log_threshold);
        if excess <= harm { 1.0 } else { harm / excess }
    }

    /// The lanes at one absolute tolerance.
    pub(super) fn at(&self, absolute: f64) -> Lanes {
        let mut lanes = self.lanes;
        for (lane, slack) in lanes.iter_mut().zip(&self.slack) {
            *lane -= absolute * slack;
        }
        lanes
    }

    fn value_and_slope(&self, absolute: f64) -> (f64, f64) {
        let lanes = self.at(absolute);
        let highest = lanes.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let (mut sum, mut slope) = (0.0, 0.0);
        for (lane, slack) in lanes.iter().zip(&self.slack) {
            let mass = (lane - highest).exp();
            sum += mass;
            slope -= mass * slack;
        }
        (highest + (sum / 24.0).ln(), slope / sum)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mirror(scrapes: &[(u32, u32, u32, u32)]) -> Mirror {
        let mut mirror = Mirror::new(1.25);
        for &(x_c, x_b, n_c, n_b) in scrapes {
            mirror.update(&Exposure {
                canary_events: f64::from(x_c.min(n_c)),
                baseline_events: f64::from(x_b.min(n_b)),
                canary: f64::from(n_c),
                baseline: f64::from(n_b),
            });
        }
        mirror
    }

    #[test]
    fn silence_allows_only_the_harm_itself() {
        let nothing = Mirror::new(1.25);
        assert!((nothing.excess(3.0) - 1.0).abs() < 1e-15);
        assert!((nothing.allowed_weight(0.001, 3.0) - 0.001).abs() < 1e-15);
    }

    #[test]
    fn without_errors_the_bound_is_about_three_over_n() {
        let excess = mirror(&[(0, 0, 3000, 297_000)]).excess(20.0_f64.ln());
        assert!((0.001..0.0015).contains(&excess), "{excess}");
    }

    proptest! {
        #[test]
        fn excess_is_where_the_evidence_crosses(
            scrapes in proptest::collection::vec((0..40_u32, 0..400_u32, 0..2000_u32, 0..20_000_u32), 1..30),
        ) {
            let mirror = mirror(&scrapes);
            let threshold = 20.0_f64.ln();
            let excess = mirror.excess(threshold);
            prop_assert!((0.0..=1.0).contains(&excess));
            if 0.0 < excess && excess < 1.0 {
                let at_bound = mirror.log_e(excess);
                prop_assert!((at_bound - threshold).abs() < 1e-6, "{excess}: {at_bound}");
            }
            prop_assert!(mirror.log_e(0.1) >= mirror.log_e(0.01));
            prop_assert!(mirror.log_e(0.01) >= mirror.log_e(0.0));
        }
    }
}
