//! Counts become samples in seconds, and samples of several streams become one.

use std::cmp::Ordering;

use analysis::{Exponential, Sample};

use super::model::Reason;
use super::stream::Counts;

/// How many units of a metric make a second; `None` when its unit is no duration, 0 when it has none.
pub(super) fn per_second(unit: &str) -> Option<u32> {
    match unit {
        "" => Some(0),
        "s" | "seconds" => Some(1),
        "ms" | "milliseconds" => Some(1_000),
        "us" | "µs" | "microseconds" => Some(1_000_000),
        "ns" | "nanoseconds" => Some(1_000_000_000),
        _ => None,
    }
}

/// Requests by duration in seconds; `None` where there are no buckets.
///
/// The bounds of exponential buckets are powers of two. So that buckets stay buckets, a thousandth is taken as
/// 1/1024 there: bounds given in milliseconds are read 2.4 % low, for both arms alike.
///
/// # Errors
/// When buckets this coarse do not exist in seconds.
pub(super) fn timed(counts: &Counts, per_second: u32) -> Result<Option<Sample>, Reason> {
    match counts {
        Counts::Number(_) => Ok(None),
        Counts::Buckets { bounds, counts } => {
            let le = bounds.iter().map(|bound| bound / f64::from(per_second)).collect();
            Ok(Some(Sample::Histogram { le, counts: counts.clone() }))
        }
        Counts::Exponential(histogram) => {
            let octaves = match per_second {
                1 => 0,
                1_000 => 10,
                1_000_000 => 20,
                1_000_000_000 => 30,
                _ => return Err(Reason::NoDuration),
            };
            Ok(Some(Sample::Exponential(lowered(histogram, octaves)?)))
        }
    }
}

/// The same durations in a unit that is 2^`octaves` times as long.
fn lowered(histogram: &Exponential, octaves: i32) -> Result<Exponential, Reason> {
    let scale = i32::from(histogram.scale);
    let shift = if scale >= 0 {
        octaves << scale.min(20)
    } else {
        let octaves_per_bucket = 1 << scale.unsigned_abs().min(20);
        if octaves % octaves_per_bucket != 0 {
            return Err(Reason::BadScale);
        }
        octaves / octaves_per_bucket
    };
    let first = histogram.first.checked_sub(shift).ok_or(Reason::BadScale)?;
    Ok(Exponential { first, ..histogram.clone() })
}

/// Adds a sample of the same instance. Histograms with other bounds keep the common ones.
///
/// # Errors
/// When they cannot be added; the first is unchanged then.
pub(super) fn add(sum: &mut Sample, more: &Sample) -> Result<(), Reason> {
    match (sum, more) {
        (Sample::Exponential(sum), Sample::Exponential(more)) => {
            sum.merge(more);
            Ok(())
        }
        (Sample::Histogram { le, counts }, Sample::Histogram { le: other, counts: further }) => {
            let common = common(le, other);
            if common.is_empty() {
                return Err(Reason::OtherBuckets);
            }
            let ours = rebucketed(le, counts, &common);
            let theirs = rebucketed(other, further, &common);
            *counts = ours.iter().zip(&theirs).map(|(a, b)| a.saturating_add(*b)).collect();
            *le = common;
            Ok(())
        }
        _ => Err(Reason::OtherBuckets),
    }
}

/// Bounds that both have; both rise.
fn common(left: &[f64], right: &[f64]) -> Vec<f64> {
    let has = |bound: &f64| right.binary_search_by(|other| order(*other, *bound)).is_ok();
    left.iter().copied().filter(has).collect()
}

fn order(left: f64, right: f64) -> Ordering {
    left.partial_cmp(&right).unwrap_or(Ordering::Equal)
}

/// Counts by fewer bounds, all of which occur among the given ones.
fn rebucketed(le: &[f64], counts: &[u64], fewer: &[f64]) -> Vec<u64> {
    let mut sums = vec![0_u64; fewer.len() + 1];
    let mut place = 0;
    for (index, count) in counts.iter().enumerate() {
        sums[place] = sums[place].saturating_add(*count);
        let ends = le.get(index).zip(fewer.get(place));
        if ends.is_some_and(|(bound, wanted)| order(*bound, *wanted).is_eq()) {
            place += 1;
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn exponential(scale: i8, first: i32, counts: &[u64]) -> Exponential {
        Exponential { scale, zero: 0, first, counts: counts.to_vec() }
    }

    #[test]
    fn milliseconds_become_seconds() {
        let counts = Counts::Buckets { bounds: vec![5.0, 250.0], counts: vec![1, 2, 3] };
        let expected = Sample::Histogram { le: vec![0.005, 0.25], counts: vec![1, 2, 3] };
        assert_eq!(timed(&counts, 1_000), Ok(Some(expected)));

        // 1024 ms are taken as a second, at every scale.
        for scale in [0, 3, 8] {
            let counts = Counts::Exponential(exponential(scale, 10 << scale, &[7]));
            let expected = Sample::Exponential(exponential(scale, 0, &[7]));
            assert_eq!(timed(&counts, 1_000), Ok(Some(expected)));
        }
        let coarse = Counts::Exponential(exponential(-2, 3, &[1]));
        assert_eq!(timed(&coarse, 1_000), Err(Reason::BadScale));
        assert_eq!(timed(&coarse, 7), Err(Reason::NoDuration));
        assert!(timed(&coarse, 1).is_ok());
        assert_eq!(timed(&Counts::Number(3), 1), Ok(None));
    }

    #[test]
    fn samples_of_other_kinds_or_bounds_are_not_added() {
        let classic =
            |le: &[f64]| Sample::Histogram { le: le.to_vec(), counts: vec![1; le.len() + 1] };
        let mut sum = classic(&[0.1, 0.5, 1.0]);
        add(&mut sum, &classic(&[0.2, 0.5])).unwrap();
        assert_eq!(sum, Sample::Histogram { le: vec![0.5], counts: vec![4, 3] });
        assert_eq!(add(&mut sum, &classic(&[0.7])), Err(Reason::OtherBuckets));
        let other = Sample::Exponential(exponential(3, 0, &[1]));
        assert_eq!(add(&mut sum, &other), Err(Reason::OtherBuckets));
        assert_eq!(sum, Sample::Histogram { le: vec![0.5], counts: vec![4, 3] });
    }

    proptest! {
        #[test]
        fn adding_loses_no_request_above_a_common_bound(
            ours in proptest::collection::btree_set(1_u32..40, 1..20),
            theirs in proptest::collection::btree_set(1_u32..40, 1..20),
            seed in 0_u64..1_000,
        ) {
            let sample = |bounds: &std::collections::BTreeSet<u32>| {
                let le: Vec<f64> = bounds.iter().map(|b| f64::from(*b)).collect();
                let counts: Vec<u64> = (0..=le.len() as u64).map(|i| (seed * (i + 7)) % 11).collect();
                (le, counts)
            };
            let (a, b) = (sample(&ours), sample(&theirs));
            let above = |(le, counts): &(Vec<f64>, Vec<u64>), bound: f64| -> u64 {
                let place = le.iter().position(|le| order(*le, bound).is_eq()).unwrap();
                counts[place + 1..].iter().sum()
            };
            let mut sum = Sample::Histogram { le: a.0.clone(), counts: a.1.clone() };
            let more = Sample::Histogram { le: b.0.clone(), counts: b.1.clone() };
            if add(&mut sum, &more).is_ok() {
                let Sample::Histogram { le, counts } = sum else { panic!() };
                prop_assert_eq!(
                    counts.iter().sum::<u64>(),
                    a.1.iter().sum::<u64>() + b.1.iter().sum::<u64>()
                );
                let sum = (le.clone(), counts);
                for bound in le {
                    prop_assert_eq!(above(&sum, bound), above(&a, bound) + above(&b, bound));
                }
            } else {
                prop_assert!(ours.is_disjoint(&theirs));
            }
        }
    }
}
