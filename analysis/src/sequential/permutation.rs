//! The permutation test of gauges: one look, at the end of a step, on one mean per pod.
//!
//! A gauge (CPU, memory) has as many independent values as pods, however often it is read: simulated, no test on
//! the series keeps 1 % under pod effects or autocorrelation. So the question is put to the pods. Null
//! hypothesis: which pods run the canary made no difference to their means. Then every choice of as many pods out
//! of all is as likely as the one that was made, and the p-value is the share of choices whose mean is at least
//! the canary's (Fisher, "The design of experiments", 1935). No distribution is assumed.
//!
//! It is exact for one look only, and few pods cannot show much: [`smallest_p`] says how much, before anyone looks.

use serde::{Deserialize, Serialize};
use statrs::function::erf::erfc;

use super::as_f64;

/// Choices that are counted one by one at most; 10 pods out of 20 are 184,756.
const MOST_CHOICES: f64 = 200_000.0;

/// Sums that differ by less than this part of the largest value are ties, which count against significance.
const TIE: f64 = 1e-12;

/// How the p-value came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Method {
    /// Every choice was counted.
    Exact,
    /// Too many choices: their sums are taken as normal.
    NormalApproximation,
}

/// What the pods say.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Permutation {
    /// Probability, if the version makes no difference, that the canary's mean is as high; in (0, 1].
    pub p: f64,
    /// How it came about.
    pub method: Method,
}

/// The smallest p-value that this many pods can give, in (0, 1]: one over the number of choices. With 2 canary and
/// 20 baseline pods it is 1/231, with 1 and 20 it is 1/21.
pub fn smallest_p(canary_pods: u32, baseline_pods: u32) -> f64 {
    (1.0 / choices(canary_pods, baseline_pods)).max(f64::MIN_POSITIVE)
}

/// Tests whether the canary's pods have higher means than the baseline's, one mean per pod. For "lower" negate
/// both. Nothing without pods in both arms or with a mean that is no finite number.
pub fn permutation_test(canary: &[f64], baseline: &[f64]) -> Option<Permutation> {
    let means = || canary.iter().chain(baseline).copied();
    if canary.is_empty() || baseline.is_empty() || !means().all(f64::is_finite) {
        return None;
    }
    let largest = means().map(f64::abs).fold(f64::MIN_POSITIVE, f64::max);
    // The smaller arm is the one that is chosen; a high canary is the same as a low baseline.
    let swapped = baseline.len() < canary.len();
    let scale = if swapped { -largest } else { largest };
    let (chosen, rest) = if swapped { (baseline, canary) } else { (canary, baseline) };
    let mut values: Vec<f64> = chosen.iter().chain(rest).map(|mean| mean / scale).collect();
    let observed: f64 = values[..chosen.len()].iter().sum();
    let count = |pods: &[f64]| u32::try_from(pods.len()).unwrap_or(u32::MAX);
    let all = choices(count(chosen), count(rest));
    if all > MOST_CHOICES {
        let p = normal_p(&values, chosen.len(), observed)
            .clamp((1.0 / all).max(f64::MIN_POSITIVE), 1.0);
        return Some(Permutation { p, method: Method::NormalApproximation });
    }
    values.sort_by(|left, right| right.total_cmp(left));
    let mut prefix = vec![0.0; values.len() + 1];
    for (index, value) in values.iter().enumerate() {
        prefix[index + 1] = prefix[index] + value;
    }
    let enough = observed - TIE * as_f64(chosen.len() as u64);
    let as_high = as_high(&values, &prefix, chosen.len(), enough);
    Some(Permutation { p: (as_high / all).min(1.0), method: Method::Exact })
}

/// How many choices of `size` out of the falling `values` sum to at least `enough`.
///
/// By the highest value chosen, then the same for the rest. A branch whose best choice is too low, or whose worst is high
/// enough, is counted without going into it. The depth is at most `size`, ten within the limit above.
fn as_high(values: &[f64], prefix: &[f64], size: usize, enough: f64) -> f64 {
    let of = values.len();
    let best = prefix[size] - prefix[0];
    if best < enough {
        return 0.0;
    }
    let worst = prefix[of] - prefix[of - size];
    if worst >= enough {
        let count = |pods: usize| u32::try_from(pods).unwrap_or(u32::MAX);
        return choices(count(size), count(of - size));
    }
    // Here 0 < size < of: otherwise best and worst are the same choice.
    let mut sum = 0.0;
    for first in 0..=of - size {
        // Even the highest values from here on are too low.
        if prefix[first + size] - prefix[first] < enough {
            break;
        }
        sum +=
            as_high(&values[first + 1..], &prefix[first + 1..], size - 1, enough - values[first]);
    }
    sum
}

/// The tail of the normal distribution with the mean and variance of a sum drawn without replacement.
fn normal_p(values: &[f64], size: usize, observed: f64) -> f64 {
    let (of, size) = (as_f64(values.len() as u64), as_f64(size as u64));
    let mean = values.iter().sum::<f64>() / of;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / of;
    let deviation = (size * (of - size) / (of - 1.0) * variance).sqrt();
    let excess = observed - size * mean;
    if deviation <= TIE { 1.0 } else { 0.5 * erfc(excess / deviation / std::f64::consts::SQRT_2) }
}

/// Choices of `chosen` out of `chosen + rest`; infinite where a number cannot hold it.
fn choices(chosen: u32, rest: u32) -> f64 {
    let (few, many) = (chosen.min(rest), f64::from(chosen.max(rest)));
    let mut product = 1.0_f64;
    for step in 1..=few {
        product = (product * (many + f64::from(step)) / f64::from(step)).round();
        if product.is_infinite() {
            break;
        }
    }
    product
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sequential::draws::Draws;

    /// Every choice by its bits.
    fn by_hand(canary: &[f64], baseline: &[f64]) -> f64 {
        let all: Vec<f64> = canary.iter().chain(baseline).copied().collect();
        let observed: f64 = canary.iter().sum();
        let (mut high, mut count) = (0.0, 0.0);
        for set in 0_u32..1 << all.len() {
            if set.count_ones() as usize != canary.len() {
                continue;
            }
            let sum: f64 =
                (0..all.len()).filter(|pod| set >> pod & 1 == 1).map(|pod| all[pod]).sum();
            count += 1.0;
            high += f64::from(u8::from(sum >= observed - 1e-9));
        }
        high / count
    }

    #[test]
    fn few_pods_cannot_show_much() {
        assert!((smallest_p(2, 20) - 1.0 / 231.0).abs() < 1e-15);
        assert!((smallest_p(1, 20) - 1.0 / 21.0).abs() < 1e-15);
        assert!((smallest_p(0, 20) - 1.0).abs() < 1e-15);
        assert!(smallest_p(u32::MAX, u32::MAX) > 0.0);
        let baseline: Vec<f64> = (0..20).map(f64::from).collect();
        let highest = permutation_test(&[30.0, 25.0], &baseline).unwrap();
        assert_eq!(highest.method, Method::Exact);
        assert!((highest.p - 1.0 / 231.0).abs() < 1e-15);
    }

    #[test]
    fn equal_pods_and_bad_input() {
        let equal = permutation_test(&[0.1 + 0.2; 3], &[0.3; 7]).unwrap();
        assert!((equal.p - 1.0).abs() < 1e-15);
        assert_eq!(permutation_test(&[], &[1.0]), None);
        assert_eq!(permutation_test(&[1.0], &[]), None);
        assert_eq!(permutation_test(&[f64::NAN], &[1.0]), None);
        let extreme = permutation_test(&[f64::MAX; 3], &[f64::MIN; 3]).unwrap();
        assert!((extreme.p - 0.05).abs() < 1e-15);
    }

    #[test]
    fn many_pods_are_approximated_and_say_so() {
        let mut draws = Draws::new(11);
        let baseline: Vec<f64> = (0..40).map(|_| draws.normal()).collect();
        let canary: Vec<f64> = (0..20).map(|_| draws.normal() + 2.0).collect();
        let test = permutation_test(&canary, &baseline).unwrap();
        assert_eq!(test.method, Method::NormalApproximation);
        assert!(test.p < 1e-6 && test.p > 0.0);
        let flat = permutation_test(&[1.0; 1000], &[1.0; 1000]).unwrap();
        assert!((flat.p - 1.0).abs() < 1e-15);
    }

    #[test]
    fn the_approximation_is_near_the_count() {
        let mut draws = Draws::new(12);
        for _ in 0..20 {
            let values: Vec<f64> = (0..18).map(|_| draws.normal()).collect();
            let exact = permutation_test(&values[..9], &values[9..]).unwrap();
            let observed: f64 = values[..9].iter().sum();
            assert_eq!(exact.method, Method::Exact);
            assert!((normal_p(&values, 9, observed) - exact.p).abs() < 0.02);
        }
    }

    #[test]
    fn no_false_alarm_beyond_its_level() {
        let mut draws = Draws::new(13);
        let alarms = (0..4000).filter(|_| {
            let pods: Vec<f64> = (0..22).map(|_| draws.normal().exp()).collect();
            permutation_test(&pods[..2], &pods[2..]).is_some_and(|test| test.p <= 0.05)
        });
        // 11 of 231 choices: 4.8 % of 4,000, and three standard errors.
        assert!((150..=231).contains(&alarms.count()));
    }

    proptest! {
        #[test]
        fn counting_is_exact(
            canary in proptest::collection::vec(-5..5_i32, 1..6),
            baseline in proptest::collection::vec(-5..5_i32, 1..8),
        ) {
            let canary: Vec<f64> = canary.into_iter().map(|mean| f64::from(mean) / 3.0).collect();
            let baseline: Vec<f64> = baseline.into_iter().map(|mean| f64::from(mean) / 3.0).collect();
            let test = permutation_test(&canary, &baseline).unwrap();
            prop_assert_eq!(test.method, Method::Exact);
            prop_assert!((test.p - by_hand(&canary, &baseline)).abs() < 1e-12);
        }
    }
}
