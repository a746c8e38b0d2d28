//! Exact binomial statements about a count of runs: confidence limits, and whether it contradicts a probability.

use statrs::function::beta::beta_reg;

/// P(X >= `count`) for X ~ Binomial(`runs`, `share`).
pub(super) fn at_least(count: u32, runs: u32, share: f64) -> f64 {
    if count == 0 {
        return 1.0;
    }
    if count > runs || share <= 0.0 {
        return 0.0;
    }
    if share >= 1.0 {
        return 1.0;
    }
    beta_reg(f64::from(count), f64::from(runs - count + 1), share)
}

/// Exact limits of a share at 95 % (Clopper and Pearson, 1934).
pub(super) fn limits(count: u32, runs: u32) -> (f64, f64) {
    if runs == 0 {
        return (0.0, 1.0);
    }
    let lower = if count == 0 { 0.0 } else { crossing(|p| at_least(count, runs, p) >= 0.025) };
    let upper =
        if count == runs { 1.0 } else { crossing(|p| 1.0 - at_least(count + 1, runs, p) <= 0.025) };
    (lower, upper)
}

/// The share from which on `reached` holds.
fn crossing(reached: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..50 {
        let middle = f64::midpoint(low, high);
        if reached(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_and_limits_are_the_textbook_ones() {
        // 0.5^10 x (45 + 10 + 1)
        assert!((at_least(8, 10, 0.5) - 56.0 / 1024.0).abs() < 1e-12);
        assert!((at_least(30, 2000, 0.01) - 0.0216).abs() < 1e-3);
        let (lower, upper) = limits(5, 100);
        assert!((lower - 0.016_43).abs() < 1e-4 && (upper - 0.112_83).abs() < 1e-4);
        let (lower, upper) = limits(0, 2000);
        assert!(lower.abs() < 1e-12 && (upper - 0.001_843).abs() < 1e-5);
        assert!((limits(10, 10).1 - 1.0).abs() < 1e-12);
    }
}
