//! Quantile intervals against published numbers, a prior by hand, the normal limit and simulation.

use proptest::prelude::*;
use statrs::function::beta::ln_beta;

use super::*;
use crate::sequential::draws::Draws;

#[test]
fn published_mixture_and_bound() {
    let mixture = BetaBinomial::new(10.0, 0.05, 0.1, 0.9);
    assert!((mixture.log_mixture(5.0, 10.0) + 0.325_703_277_022_157_07).abs() < 1e-11);
    let bound = BetaBinomial::new(100.0, 0.01, 0.5, 0.5).bound(250.0, 0.01).unwrap();
    assert!((bound / 57.086_201_882_810_88 - 1.0).abs() < 1e-9, "{bound}");
}

#[test]
fn it_is_the_likelihood_ratio_of_a_beta_prior() {
    for (p, total, below) in [(0.5, 40.0, 28.0), (0.99, 3000.0, 2960.0), (0.95, 200.0, 200.0)] {
        let v_opt = p * (1.0 - p) * 500.0;
        let mixture = BetaBinomial::new(v_opt, 0.02, p, 1.0 - p);
        // Steps are 1 - p for a duration below the quantile and -p for one above.
        let got = mixture.log_mixture(below - p * total, p * (1.0 - p) * total);
        let prior = (mixture.r / (1.0 - p), mixture.r / p);
        let expected = ln_beta(prior.0 + below, prior.1 + total - below)
            - ln_beta(prior.0, prior.1)
            - below * f64::ln(p)
            - (total - below) * f64::ln(1.0 - p);
        assert!((got - expected).abs() < 1e-9 * (1.0 + expected.abs()), "{got} {expected}");
    }
}

#[test]
fn billions_of_durations_cost_no_precision() {
    // Far out the radius is that of the normal mixture, sqrt((v + rho)(ln(1 + v/rho) + 2 ln(1/alpha))).
    for total in [1e6, 1e9, 1e12] {
        for p in [0.5, 0.95, 0.99, 0.999] {
            let radii = quantile_radii(p, total, 0.025, total / 4.0, 0.025);
            let v = p * (1.0 - p) * total;
            let twice = -2.0 * 0.025_f64.ln();
            let rho = v / 4.0 / (twice + twice.ln_1p());
            let normal = ((v + rho) * ((v / rho).ln_1p() + twice)).sqrt();
            let near = 20.0 / v.sqrt() + 1e-9;
            let (lower, upper) = (radii.lower.unwrap(), radii.upper.unwrap());
            assert!((lower / normal - 1.0).abs() < near, "{total} {p}: {lower} {normal}");
            assert!((upper / normal - 1.0).abs() < near, "{total} {p}: {upper} {normal}");
        }
    }
}

#[test]
fn few_durations_leave_a_high_quantile_unbounded_above() {
    let bounds = [0.1, 0.2, 0.5];
    let interval = quantile_interval(&bounds, &[200, 90, 10, 0], 0.99, 0.05, 300.0).unwrap();
    assert_eq!((interval.upper, interval.radii.upper), (None, None));
    assert_eq!(interval.lower, Some(0.1));
    assert!((interval.estimate - 0.41).abs() < 1e-12);
    let more = quantile_interval(&bounds, &[2000, 990, 10, 0], 0.99, 0.05, 300.0).unwrap();
    assert_eq!((more.lower, more.upper), (Some(0.1), Some(0.2)));
}

#[test]
fn edges_of_the_histogram() {
    let bounds = [0.1, 0.2];
    assert_eq!(quantile_interval(&bounds, &[0, 0, 0], 0.5, 0.05, 100.0), None);
    assert_eq!(quantile_interval(&bounds, &[1, 2], 0.5, 0.05, 100.0), None);
    assert_eq!(quantile_interval(&[], &[1], 0.5, 0.05, 100.0), None);
    assert_eq!(quantile_interval(&bounds, &[1, 2, 3], 1.0, 0.05, 100.0), None);
    assert_eq!(quantile_interval(&bounds, &[1, 2, 3], 0.5, f64::NAN, 100.0), None);
    let lowest = quantile_interval(&bounds, &[5000, 0, 0], 0.5, 0.05, 100.0).unwrap();
    assert_eq!((lowest.lower, lowest.upper), (None, Some(0.1)));
    let highest = quantile_interval(&bounds, &[0, 0, 5000], 0.5, 0.05, 100.0).unwrap();
    assert_eq!((highest.lower, highest.upper), (Some(0.2), None));
    assert!((highest.estimate - 0.2).abs() < 1e-15);
    let full = quantile_interval(&bounds, &[u64::MAX; 3], 0.5, 0.05, f64::MAX).unwrap();
    assert_eq!((full.lower, full.upper), (Some(0.1), Some(0.2)));
}

#[test]
fn the_true_quantile_stays_inside_at_every_look() {
    let bounds: Vec<f64> = (1..100).map(|bound| f64::from(bound) / 100.0).collect();
    let mut draws = Draws::new(31);
    for (p, truth) in [(0.5, 0.5), (0.95, 0.95)] {
        let wrong = (0..300).filter(|_| {
            let mut counts = vec![0; 100];
            (0..60).any(|_| {
                for _ in 0..20 {
                    let duration = draws.uniform();
                    counts[bounds.partition_point(|bound| *bound < duration)] += 1;
                }
                let interval = quantile_interval(&bounds, &counts, p, 0.05, 400.0).unwrap();
                interval.lower.is_some_and(|lower| lower > truth)
                    || interval.upper.is_some_and(|upper| upper < truth)
            })
        });
        assert!(wrong.count() <= 15, "{p}");
    }
}

proptest! {
    #[test]
    fn the_bound_is_where_the_mixture_crosses(
        p in 0.01..0.999_f64, total in 1.0..1e12_f64, t_opt in 1.0..1e12_f64,
    ) {
        let v = p * (1.0 - p) * total;
        let mixture = BetaBinomial::new(p * (1.0 - p) * t_opt, 0.025, p, 1.0 - p);
        let threshold = -0.025_f64.ln();
        match mixture.bound(v, 0.025) {
            Some(bound) => {
                let at = mixture.log_mixture(bound, v);
                prop_assert!((at - threshold).abs() < 1e-6 || bound < 1e-6, "{bound}: {at}");
                prop_assert!(bound <= v / p);
            }
            None => prop_assert!(mixture.log_mixture(v / p, v) < threshold),
        }
    }

    #[test]
    fn bounds_enclose_the_estimates_bucket(
        counts in proptest::collection::vec(0..10_000_u64, 12..13), p in 0.01..0.99_f64,
    ) {
        let bounds: Vec<f64> = (1..12).map(|bound| f64::from(bound) * 0.05).collect();
        if let Some(interval) = quantile_interval(&bounds, &counts, p, 0.01, 10_000.0) {
            prop_assert!(interval.lower.is_none_or(|lower| lower <= interval.estimate));
            prop_assert!(interval.upper.is_none_or(|upper| interval.estimate <= upper));
        }
    }
}
