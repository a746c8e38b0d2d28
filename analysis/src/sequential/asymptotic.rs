//! The asymptotic confidence sequence (13): where is the mean of one value per batch?
//!
//! For values that are no counts, as the difference of mean latencies or of a gauge between the arms. Their
//! distribution is unknown, so the interval holds at every look only in the limit of many batches
//! (Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central limit theory and asymptotic confidence
//! sequences", Ann. Stat. 2024, arXiv 2103.06476, theorem 2.2), for independent batches with a variance. Heavy
//! tails have none and successive seconds are not independent: batches of a minute or more, and a hint only,
//! never a verdict.

use serde::{Deserialize, Serialize};

use super::as_f64;
use crate::Interval;

/// Larger values are left out: their squares would not fit a number.
const LARGEST: f64 = 1e150;

/// Half the width of the interval at level `alpha` after `batches` batches with standard deviation `deviation`:
/// `sd sqrt(2 (n rho^2 + 1) / (n^2 rho^2) ln(sqrt(n rho^2 + 1) / alpha))`. `rho` is positive, see [`tuned_rho`].
pub fn asymptotic_radius(batches: f64, deviation: f64, alpha: f64, rho: f64) -> f64 {
    let scaled = batches * rho * rho;
    let width = 2.0 * (scaled + 1.0) / (batches * scaled);
    deviation * (width * ((scaled + 1.0).sqrt() / alpha).ln()).sqrt()
}

/// The `rho` that makes the interval narrowest about when `batches` batches were seen.
pub fn tuned_rho(batches: f64, alpha: f64) -> f64 {
    let twice = -2.0 * alpha.ln();
    ((twice + twice.ln_1p()) / batches).sqrt()
}

/// Mean and variance of one value per batch, by Welford's method.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct BatchMeans {
    batches: u64,
    mean: f64,
    /// Sum of squared differences from the mean.
    squares: f64,
}

impl BatchMeans {
    /// Takes in the value of one batch. What is no number, or above 1e150 in size, makes no difference.
    pub fn update(&mut self, value: f64) {
        if value.is_nan() || value.abs() > LARGEST {
            return;
        }
        self.batches += 1;
        let before = value - self.mean;
        self.mean += before / as_f64(self.batches);
        self.squares += before * (value - self.mean);
    }

    /// Batches so far.
    pub fn batches(&self) -> u64 {
        self.batches
    }

    /// The mean; 0 before the first batch.
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// The standard deviation between batches, from two batches on.
    pub fn deviation(&self) -> Option<f64> {
        let free = as_f64(self.batches.checked_sub(1).filter(|free| 0 < *free)?);
        Some((self.squares.max(0.0) / free).sqrt())
    }

    /// The interval of the mean at confidence 1 - `alpha`, narrowest about when `planned` batches were seen; from
    /// two batches on.
    pub fn interval(&self, alpha: f64, planned: u32) -> Option<Interval> {
        let rho = tuned_rho(f64::from(planned.max(1)), alpha);
        let radius = asymptotic_radius(as_f64(self.batches), self.deviation()?, alpha, rho);
        let bound = |end: f64| end.is_finite().then_some(end);
        Some(Interval {
            lower: bound(self.mean - radius),
            estimate: self.mean,
            upper: bound(self.mean + radius),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sequential::draws::Draws;

    #[test]
    fn published_radius() {
        let rho = tuned_rho(60.0, 0.05);
        assert!((rho - 0.363_688_387_719_889_6).abs() < 1e-12);
        let radius = asymptotic_radius(60.0, 1.0, 0.05, rho);
        assert!((radius - 0.391_843_795_732_875_2).abs() < 1e-12);
    }

    #[test]
    fn one_batch_bounds_nothing_and_bad_values_are_left_out() {
        let mut batches = BatchMeans::default();
        assert_eq!(batches.interval(0.05, 20), None);
        for value in [3.0, f64::NAN, f64::INFINITY, 1e200] {
            batches.update(value);
        }
        assert_eq!((batches.batches(), batches.interval(0.05, 20)), (1, None));
        batches.update(5.0);
        assert!((batches.mean() - 4.0).abs() < 1e-15);
        assert!((batches.deviation().unwrap() - 2.0_f64.sqrt()).abs() < 1e-15);
        for value in [-1e150, 1e150] {
            batches.update(value);
        }
        assert!(batches.interval(0.05, 20).unwrap().estimate.is_finite());
    }

    #[test]
    fn the_mean_stays_inside_at_every_look_from_a_few_batches_on() {
        let mut draws = Draws::new(21);
        let wrong = (0..1000).filter(|_| {
            let mut batches = BatchMeans::default();
            (1..=200).any(|batch| {
                batches.update(7.0 + draws.normal());
                let interval = batches.interval(0.05, 60);
                // In the limit: with a handful of batches the deviation itself is a guess.
                batch >= 10
                    && interval.is_some_and(|interval| {
                        interval.lower.is_some_and(|lower| lower > 7.0)
                            || interval.upper.is_some_and(|upper| upper < 7.0)
                    })
            })
        });
        assert!(wrong.count() <= 60);
    }
}
