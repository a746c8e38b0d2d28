//! The merge (10): the evidence of all checks together.
//!
//! The weighted arithmetic mean of e-processes is an e-process whatever their dependence, and in essence the
//! only admissible way to merge them (Vovk and Wang, "E-values: calibration, combination and applications",
//! 2021, arXiv 1912.06116). Multiplying them would not be valid: checks look at the same requests.

/// Natural logarithm of the weighted mean of e-values given by weight and natural logarithm.
/// Weights are positive and are divided by their sum. Without any e-value the evidence is 0.
pub fn weighted_mean(log_evidence: impl Iterator<Item = (f64, f64)> + Clone) -> f64 {
    let weights: f64 = log_evidence.clone().map(|(weight, _)| weight).sum();
    if weights > 0.0 { weighted_sum(log_evidence) - weights.ln() } else { 0.0 }
}

/// Natural logarithm of the weighted sum of e-values, at least one of them with a positive weight.
pub(crate) fn weighted_sum(log_evidence: impl Iterator<Item = (f64, f64)> + Clone) -> f64 {
    let highest = log_evidence.clone().map(|(_, log_e)| log_e).fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = log_evidence.map(|(weight, log_e)| weight * (log_e - highest).exp()).sum();
    highest + sum.ln()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_merges_to_no_evidence() {
        assert!(weighted_mean(std::iter::empty()).abs() < f64::MIN_POSITIVE);
    }

    #[test]
    fn huge_evidence_does_not_overflow() {
        let merged = weighted_mean([(1.0, 5000.0), (1.0, -5000.0)].into_iter());
        assert!((merged - (5000.0 - 2.0_f64.ln())).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn mean_lies_between_the_least_and_the_most(
            parts in proptest::collection::vec((0.01..1.0_f64, -500.0..500.0_f64), 1..8),
        ) {
            let merged = weighted_mean(parts.iter().copied());
            let least = parts.iter().map(|part| part.1).fold(f64::INFINITY, f64::min);
            let most = parts.iter().map(|part| part.1).fold(f64::NEG_INFINITY, f64::max);
            prop_assert!(least - 1e-9 <= merged && merged <= most + 1e-9);
        }
    }
}
