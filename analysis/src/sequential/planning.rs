//! Planning (7): how long until the evidence decides?
//!
//! Answers "this will not be decided before the deadline" and "about 1,200 more canary requests" before anyone
//! waits in vain.

use super::{Exposure, Mirror, Ratio, grid::log_mean_exp};

/// What mixing over alternatives costs on average, in nats (simulated).
const MIXTURE_PRICE: f64 = 2.0;

/// Expected growth of the evidence per scrape, in nats, for the alternative that is true.
///
/// `baseline_share` is the baseline's share of events, `truth` the true ratio of canary to baseline, `null` the
/// tolerated one; `canary` and `baseline` are requests per scrape. Never negative: with `truth` above `null` it
/// is the growth of the evidence that the canary is worse, below it that of the mirror; 0 at the null itself.
pub fn expected_log_growth(
    baseline_share: f64,
    truth: f64,
    null: f64,
    canary: f64,
    baseline: f64,
) -> f64 {
    let at_truth = truth * canary + baseline;
    let at_null = null * canary + baseline;
    baseline_share * (truth * canary * (truth / null).ln() - at_truth * (at_truth / at_null).ln())
}

/// Scrapes until a decision at probability `alpha` with this `growth` in nats per scrape.
/// Nothing when the evidence does not grow.
pub fn scrapes_to_decide(growth: f64, alpha: f64) -> Option<f64> {
    (growth > 0.0).then(|| ((1.0 / alpha).ln() + MIXTURE_PRICE) / growth)
}

/// How many canary errors fail a canary with `share` of the traffic while the baseline has none, with the
/// evidence that they give; `share` in (0, 1). Nothing if even a million would not.
pub fn canary_errors_to_revert(share: f64, ratio: f64, alpha: f64) -> Option<(u32, f64)> {
    let threshold = (1.0 / alpha).ln();
    let log_e = |errors: u32| {
        let mut process = Ratio::new(ratio, 0.0);
        process.update(&Exposure {
            canary_events: errors.into(),
            baseline_events: 0.0,
            canary: share,
            baseline: 1.0 - share,
        });
        process.log_e()
    };
    // Doubling, then halving: the evidence rises with every error.
    let mut enough = 1_u32;
    while log_e(enough) < threshold {
        enough = enough.checked_mul(2).filter(|errors| *errors <= 1 << 20)?;
    }
    let mut too_few = enough / 2;
    while enough - too_few > 1 {
        let middle = u32::midpoint(enough, too_few);
        if log_e(middle) < threshold {
            too_few = middle;
        } else {
            enough = middle;
        }
    }
    Some((enough, log_e(enough)))
}

/// About how many more canary requests the mirror needs until it allows a weight of `next`, if from now on both
/// arms have events with probability `share` and requests come in the proportion `canary` : `baseline`.
/// Nothing if they would not get there within a trillion requests.
pub fn requests_until_allowed(
    mirror: &Mirror,
    next: f64,
    harm: f64,
    log_threshold: f64,
    share: f64,
    (canary, baseline): (f64, f64),
) -> Option<f64> {
    if !(canary > 0.0 && baseline > 0.0 && next > 0.0) {
        return None;
    }
    let excess = (harm / next).min(1.0);
    let mut more = mirror.clone();
    more.update(&Exposure {
        canary_events: share * canary,
        baseline_events: share * baseline,
        canary,
        baseline,
    });
    let now = mirror.at(excess);
    let mut growth = more.at(excess);
    for (growth, now) in growth.iter_mut().zip(&now) {
        *growth = (*growth - now) / canary;
    }
    let log_e = |requests: f64| {
        let mut lanes = now;
        for (lane, growth) in lanes.iter_mut().zip(&growth) {
            *lane += requests * growth;
        }
        log_mean_exp(&lanes)
    };
    if log_e(0.0) >= log_threshold {
        return Some(0.0);
    }
    let mut enough = 1.0;
    while log_e(enough) < log_threshold {
        enough *= 2.0;
        if enough > 1e12 {
            return None;
        }
    }
    let mut too_few = 0.0;
    for _ in 0..30 {
        let middle = f64::midpoint(too_few, enough);
        if log_e(middle) < log_threshold {
            too_few = middle;
        } else {
            enough = middle;
        }
    }
    Some(enough.ceil())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewest_errors_that_revert() {
        for (share, errors) in [(0.01, 2), (0.05, 3), (0.1, 3), (0.25, 5), (0.5, 10)] {
            assert_eq!(canary_errors_to_revert(share, 1.0, 0.01).unwrap().0, errors);
        }
    }

    #[test]
    fn no_growth_never_decides() {
        assert!(expected_log_growth(0.01, 1.25, 1.25, 100.0, 900.0).abs() < 1e-12);
        assert_eq!(scrapes_to_decide(0.0, 0.01), None);
        assert_eq!(scrapes_to_decide(-0.1, 0.01), None);
    }

    #[test]
    fn requests_needed_are_about_three_over_the_allowed_excess() {
        let needs =
            requests_until_allowed(&Mirror::new(1.25), 0.1, 0.001, 20.0_f64.ln(), 0.0, (1.0, 99.0))
                .unwrap();
        // Nothing fails: ln(20) / (0.001 / 0.1) = 300, and the price of the mixture.
        assert!((300.0..500.0).contains(&needs), "{needs}");
    }

    #[test]
    fn a_canary_that_cannot_be_shown_good_needs_no_number() {
        let needs =
            requests_until_allowed(&Mirror::new(1.0), 1.0, 0.0, 20.0_f64.ln(), 0.0, (1.0, 1.0));
        assert_eq!(needs, None);
    }
}
