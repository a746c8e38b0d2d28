//! The few tests that everything here shares: Welch, Benjamini and Hochberg, binomial and chi-square tails.
//!
//! They run once, after the verdict, on a fixed set of traces: nobody peeks, so plain tests are honest here.

use statrs::distribution::{ChiSquared, ContinuousCDF, Normal, StudentsT};
use statrs::function::beta::checked_beta_reg;

/// A count as a number; exact below 2^53.
#[expect(clippy::cast_precision_loss, reason = "counts of spans and nanoseconds are below 2^53")]
pub(crate) fn as_f64(count: u64) -> f64 {
    count as f64
}

/// A length as a number.
pub(crate) fn len_f64(length: usize) -> f64 {
    as_f64(u64::try_from(length).unwrap_or(u64::MAX))
}

/// Index of the quantile `q` among `n` ordered values, nearest rank; 0 without values.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a length, rounded up, is a length"
)]
fn rank(n: usize, q: f64) -> usize {
    ((q * len_f64(n)).ceil() as usize).clamp(1, n.max(1)) - 1
}

/// The quantile `q` of these values by nearest rank; 0 without values.
pub(crate) fn quantile(values: &mut [f64], q: f64) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    let rank = rank(values.len(), q);
    *values.select_nth_unstable_by(rank, f64::total_cmp).1
}

/// Two-sided p-value of a statistic with `freedom` degrees; 1 when it is no number.
pub(crate) fn two_sided(statistic: f64, freedom: f64) -> f64 {
    if statistic.is_nan() {
        return 1.0;
    }
    if statistic.is_infinite() {
        return 0.0;
    }
    let upper = if freedom.is_finite() && freedom >= 1.0 {
        StudentsT::new(0.0, 1.0, freedom.min(1e6)).map_or(0.5, |t| t.sf(statistic.abs()))
    } else {
        Normal::standard().sf(statistic.abs())
    };
    (2.0 * upper).min(1.0)
}

/// Largest p-value that is a discovery at this false discovery rate among `tests` tests, of which these are some
/// (Benjamini and Hochberg, 1995, theorem 1); negative when none is.
pub(crate) fn benjamini_hochberg(p_values: &[f64], tests: usize, rate: f64) -> f64 {
    let mut ordered = p_values.to_vec();
    ordered.sort_by(f64::total_cmp);
    let tests = len_f64(tests.max(ordered.len()));
    let discoveries =
        (1_u64..).zip(&ordered).filter(|(rank, p)| **p <= rate * as_f64(*rank) / tests);
    discoveries.last().map_or(-1.0, |(_, p)| *p)
}

/// Probability of at least `events` out of `of` at probability `p` each.
pub(crate) fn binomial_upper(events: u64, of: u64, p: f64) -> f64 {
    if events == 0 {
        return 1.0;
    }
    if events > of || p <= 0.0 {
        return 0.0;
    }
    if p >= 1.0 {
        return 1.0;
    }
    checked_beta_reg(as_f64(events), as_f64(of - events) + 1.0, p).unwrap_or(1.0)
}

/// Probability that a chi-square variable of this freedom is larger.
pub(crate) fn chi_square_upper(statistic: f64, freedom: usize) -> f64 {
    ChiSquared::new(len_f64(freedom)).map_or(1.0, |chi| chi.sf(statistic.max(0.0)))
}

/// Number, mean and squares of a group of values.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Moments {
    /// How many.
    pub(crate) n: f64,
    sum: f64,
    squares: f64,
}

impl Moments {
    pub(crate) fn add(&mut self, value: f64) {
        self.n += 1.0;
        self.sum += value;
        self.squares += value * value;
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            n: self.n + other.n,
            sum: self.sum + other.sum,
            squares: self.squares + other.squares,
        }
    }

    pub(crate) fn minus(self, other: Self) -> Self {
        Self {
            n: self.n - other.n,
            sum: self.sum - other.sum,
            squares: self.squares - other.squares,
        }
    }

    /// 0 without values.
    pub(crate) fn mean(self) -> f64 {
        if self.n > 0.0 { self.sum / self.n } else { 0.0 }
    }

    /// Unbiased; 0 below two values.
    pub(crate) fn variance(self) -> f64 {
        if self.n < 2.0 {
            return 0.0;
        }
        ((self.squares - self.sum * self.mean()) / (self.n - 1.0)).max(0.0)
    }

    /// Variance of the mean; infinite below two values, where it cannot be known.
    pub(crate) fn of_mean(self) -> f64 {
        if self.n < 2.0 { f64::INFINITY } else { self.variance() / self.n }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn discoveries_are_those_of_the_paper() {
        // The example of the paper's section 3.2: four of fifteen at 5 %.
        let p = [
            0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262,
            0.5719, 0.6528, 0.7590, 1.0,
        ];
        let limit = benjamini_hochberg(&p, p.len(), 0.05);
        assert_eq!(p.iter().filter(|p| **p <= limit).count(), 4);
        assert!(benjamini_hochberg(&[0.9], 1, 0.05) < 0.0);
        assert!(benjamini_hochberg(&[], 0, 0.05) < 0.0);
    }

    #[test]
    fn tails_agree_with_tables() {
        assert!((binomial_upper(3, 3, 0.1) - 0.001).abs() < 1e-12);
        assert!((binomial_upper(8, 10, 0.5) - 56.0 / 1024.0).abs() < 1e-12);
        assert!((chi_square_upper(3.841_459, 1) - 0.05).abs() < 1e-6);
        assert!((two_sided(1.959_964, f64::INFINITY) - 0.05).abs() < 1e-6);
        assert!((two_sided(2.228_139, 10.0) - 0.05).abs() < 1e-6);
        assert!((two_sided(f64::NAN, 3.0) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn quantiles_are_by_nearest_rank() {
        let mut values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert!((quantile(&mut values, 0.95) - 95.0).abs() < 1e-12);
        assert!((quantile(&mut values, 0.0) - 1.0).abs() < 1e-12);
        assert!(quantile(&mut [], 0.5).abs() < 1e-12);
    }
}
