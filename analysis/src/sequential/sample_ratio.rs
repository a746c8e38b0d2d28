//! Sample-ratio mismatch: do the arms get the requests that the weights promise?
//!
//! A router that splits by session, a cache before it or a canary that drops connections sends another share than
//! was configured. Then the arms serve different requests, and no comparison of them means what it says.
//!
//! Null hypothesis: each request goes to the canary with the configured share, independently. Given all requests
//! of a scrape, those of the canary are binomial. The alternatives multiply the *odds* by a constant `exp(h)`,
//! up and down along the grid of (2): `LR = exp(h c) / (1 + w (exp(h) - 1))^(c + b)` for `c` and `b` requests at
//! share `w` (Lindon and Malek, "Anytime-Valid Inference for Multinomial Count Data", 2022, arXiv 2011.03567, of
//! which this is the form for two arms with weights that change). By the binomial theorem its mean under the null
//! is exactly 1 for every `w`, so the product over scrapes stays a martingale while weights rise, as long as
//! each is known before its scrape. The closed form with a Dirichlet prior on the shares would need one share for
//! the whole rollout.
//!
//! The least alternative is 5 % off in odds: smaller deviations, as of routers that round weights, lower the
//! evidence rather than ever stop a rollout.

use serde::{Deserialize, Serialize};

use super::{
    as_f64,
    grid::{GRID, Lanes, POINTS, log_mean_exp},
};

/// Evidence that the requests do not follow the weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SampleRatio {
    /// Log likelihood ratios of more canary requests than configured.
    more: Lanes,
    /// And of fewer.
    fewer: Lanes,
}

/// Which way requests deviate from the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Mismatch {
    /// The canary gets more requests than its weight.
    TooMany,
    /// The canary gets fewer requests than its weight.
    TooFew,
}

impl Default for SampleRatio {
    fn default() -> Self {
        Self { more: [0.0; POINTS], fewer: [0.0; POINTS] }
    }
}

impl SampleRatio {
    /// Takes in the requests of one scrape and the canary's share that was configured all through it, in (0, 1).
    ///
    /// A share outside makes no difference: nothing is left to chance. Leave out scrapes in which the weight
    /// changed.
    pub fn update(&mut self, canary: u64, baseline: u64, expected_share: f64) {
        let all = as_f64(canary) + as_f64(baseline);
        if all <= 0.0 || !(0.0 < expected_share && expected_share < 1.0) {
            return;
        }
        let canary = as_f64(canary);
        let grid = &*GRID;
        for g in 0..POINTS {
            let (h, worse, better) = (grid.log_ratio[g], grid.worse[g], grid.better[g]);
            self.more[g] += canary * h - all * (expected_share * (worse - 1.0)).ln_1p();
            self.fewer[g] -= canary * h + all * (expected_share * (better - 1.0)).ln_1p();
        }
    }

    /// Natural logarithm of the e-process, both ways together; 0 without evidence. At ln(1/alpha) the requests do
    /// not follow the weights, wrong at any time with probability at most alpha.
    pub fn log_e(&self) -> f64 {
        let ways = [(1.0, log_mean_exp(&self.more)), (1.0, log_mean_exp(&self.fewer))];
        super::weighted_mean(ways.into_iter())
    }

    /// The way that the evidence points, once there is any.
    pub fn mismatch(&self) -> Option<Mismatch> {
        let (more, fewer) = (log_mean_exp(&self.more), log_mean_exp(&self.fewer));
        if more.max(fewer) <= 0.0 {
            None
        } else if more > fewer {
            Some(Mismatch::TooMany)
        } else {
            Some(Mismatch::TooFew)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sequential::draws::Draws;

    /// Requests of the canary out of `all`, one by one.
    fn split(draws: &mut Draws, all: u64, share: f64) -> u64 {
        (0..all).map(|_| u64::from(draws.uniform() < share)).sum()
    }

    #[test]
    fn deviations_are_found_and_named() {
        let cases = [(0.02, Mismatch::TooMany), (0.005, Mismatch::TooFew)];
        for (share, expected) in cases {
            let mut process = SampleRatio::default();
            let mut draws = Draws::new(5);
            for _ in 0..20 {
                let canary = split(&mut draws, 2500, share);
                process.update(canary, 2500 - canary, 0.01);
            }
            assert!(process.log_e() > 100.0_f64.ln(), "{share}: {}", process.log_e());
            assert_eq!(process.mismatch(), Some(expected));
        }
    }

    #[test]
    fn a_rounded_weight_is_no_mismatch() {
        // 1.01 % instead of 1 %, ten million requests.
        let mut process = SampleRatio::default();
        process.update(101_000, 9_899_000, 0.01);
        assert!(process.log_e() < 0.0);
        assert_eq!(process.mismatch(), None);
    }

    #[test]
    fn rising_weights_give_few_false_alarms() {
        let mut draws = Draws::new(6);
        let alarms = (0..300).filter(|_| {
            let mut process = SampleRatio::default();
            [0.01, 0.02, 0.05, 0.25, 0.5].iter().any(|share| {
                (0..20).any(|_| {
                    let canary = split(&mut draws, 500, *share);
                    process.update(canary, 500 - canary, *share);
                    process.log_e() >= 20.0_f64.ln()
                })
            })
        });
        // Nominal 5 % of 300; the bound is never exceeded by more than chance.
        assert!(alarms.count() <= 22);
    }

    #[test]
    fn impossible_shares_and_huge_counts_stay_finite() {
        let mut process = SampleRatio::default();
        for share in [0.0, 1.0, -1.0, 2.0, f64::NAN] {
            process.update(10, 10, share);
        }
        process.update(0, 0, 0.5);
        assert_eq!(process, SampleRatio::default());
        process.update(u64::MAX, u64::MAX, 1e-12);
        process.update(u64::MAX, 0, 1.0 - 1e-12);
        assert!(process.log_e().is_finite());
    }

    proptest! {
        #[test]
        fn each_factor_has_mean_one(share in 0.001..0.999_f64, all in 1..40_u64) {
            let mut mean = 0.0;
            // ln of the binomial probability, by its ratio from one count to the next.
            let mut log_probability = as_f64(all) * (1.0 - share).ln();
            for canary in 0..=all {
                let mut process = SampleRatio::default();
                process.update(canary, all - canary, share);
                mean += (log_probability + process.log_e()).exp();
                log_probability += (as_f64(all - canary) / as_f64(canary + 1)).ln()
                    + (share / (1.0 - share)).ln();
            }
            prop_assert!((mean - 1.0).abs() < 1e-9, "{mean}");
        }
    }
}
