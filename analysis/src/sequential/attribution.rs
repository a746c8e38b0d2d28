//! Attribution: which checks made the evidence?
//!
//! The merge (10) says that something regressed. Naming the checks needs more, or the probability of a wrong name
//! grows with their number. Closed testing with the mean keeps the probability of any wrong name within alpha
//! (Vovk and Wang, "E-values: calibration, combination and applications", 2021, arXiv 1912.06116)
//! whatever the dependence between checks. All checks weigh the same; everything is in natural logarithms.

/// The adjusted evidence of each check: the least mean of it with any number of the others, smallest first.
/// Checks whose adjusted evidence is at least ln(1/alpha) regressed, all of these statements together wrong with
/// probability at most alpha.
pub fn closed_testing(log_evidence: &[f64]) -> Vec<f64> {
    let mut rising: Vec<usize> = (0..log_evidence.len()).collect();
    rising.sort_by(|left, right| log_evidence[*left].total_cmp(&log_evidence[*right]));
    let adjust = |check: usize| {
        let mut sum = log_evidence[check];
        let (mut least, mut size) = (sum, 1.0_f64);
        for other in rising.iter().filter(|other| **other != check) {
            sum = log_add(sum, log_evidence[*other]);
            size += 1.0;
            least = least.min(sum - size.ln());
        }
        least
    };
    (0..log_evidence.len()).map(adjust).collect()
}

/// The checks that regressed by closed testing, in their order: any wrong name with probability at most `alpha`.
pub fn regressed(log_evidence: &[f64], alpha: f64) -> Vec<usize> {
    let adjusted = closed_testing(log_evidence);
    let needed = threshold(alpha);
    (0..adjusted.len()).filter(|check| adjusted[*check] >= needed).collect()
}

/// `ln(1 / alpha)`, less what rounding may take: evidence that is exactly enough is enough.
fn threshold(alpha: f64) -> f64 {
    (1.0 / alpha).ln() - 1e-12
}

/// `ln(e^left + e^right)`, also for no evidence at all (minus infinity).
fn log_add(left: f64, right: f64) -> f64 {
    let (low, high) = if left < right { (left, right) } else { (right, left) };
    if high.is_infinite() { high } else { high + (low - high).exp().ln_1p() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn logs(e: &[f64]) -> Vec<f64> {
        e.iter().map(|e| e.ln()).collect()
    }

    #[test]
    fn published_case() {
        let log_e = logs(&[50.0, 3.0, 0.2, 400.0, 1.0]);
        let expected = [13.55, 1.4, 0.2, 90.84, 0.6];
        for (got, expected) in closed_testing(&log_e).iter().zip(expected) {
            assert!((got.exp() / expected - 1.0).abs() < 1e-12);
        }
        assert_eq!(regressed(&log_e, 0.05), [3]);
    }

    #[test]
    fn nothing_zero_and_endless_evidence_are_no_trouble() {
        assert!(closed_testing(&[]).is_empty());
        let none = [f64::NEG_INFINITY; 3];
        assert_eq!(closed_testing(&none), none);
        let extreme = closed_testing(&[f64::INFINITY, 1e300, -1e300]);
        assert!((extreme[1] / 1e300 - 1.0).abs() < 1e-15 && extreme[0].is_infinite());
        assert_eq!(regressed(&[f64::INFINITY, 0.0], 0.01), [0]);
    }

    proptest! {
        #[test]
        fn adjusted_evidence_is_the_least_mean_over_all_sets(
            e in proptest::collection::vec(0.01..1000.0_f64, 1..8),
        ) {
            let adjusted = closed_testing(&logs(&e));
            for (check, got) in adjusted.iter().enumerate() {
                let sets = (1_u32..1 << e.len()).filter(|set| set >> check & 1 == 1);
                let means = sets.map(|set| {
                    let members = (0..e.len()).filter(|member| set >> member & 1 == 1);
                    members.map(|member| e[member]).sum::<f64>() / f64::from(set.count_ones())
                });
                let expected = means.fold(f64::INFINITY, f64::min);
                prop_assert!((got.exp() / expected - 1.0).abs() < 1e-9);
            }
        }
    }
}
