//! Histograms whose bucket bounds grow by a constant factor: Prometheus native and OpenTelemetry exponential.
//!
//! A change of resolution merges pairs of buckets exactly, so that two histograms of different scale can be
//! compared at the coarser one without guessing.

use serde::{Deserialize, Serialize};

use crate::{
    Counts,
    observation::{MOST_BUCKETS, MOST_REQUESTS, Refusal},
};

/// A histogram whose bucket `i` holds durations in (2^((i-1)/2^scale), 2^(i/2^scale)] seconds.
///
/// That is Prometheus's schema, with the same index; an OpenTelemetry bucket `k` of the same scale has the
/// index `k + 1` here (<https://opentelemetry.io/docs/specs/otel/metrics/data-model/#exponentialhistogram>).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exponential {
    /// Resolution, from -4 (a factor of 65,536 per bucket) to 20; 3 is 9.05 % per bucket.
    pub scale: i8,
    /// Durations at or near zero, below every bucket.
    #[serde(default)]
    pub zero: u64,
    /// Index of the first of `counts`.
    pub first: i32,
    /// Requests per bucket, in the order of the index.
    pub counts: Vec<u64>,
}

impl Exponential {
    /// Whether it can be real.
    ///
    /// # Errors
    /// What is wrong; leave it out and say so.
    pub fn validate(&self) -> Result<(), Refusal> {
        if self.counts.len() > MOST_BUCKETS {
            return Err(Refusal::BoundCount);
        }
        // 2^+-60 seconds are beyond every clock; indices grow with 2^scale.
        let most = 60.0 * f64::from(self.scale).exp2();
        let outside = |index: i64| wide(index).abs() > most;
        if !(-4..=20).contains(&self.scale) || outside(self.first.into()) || outside(self.end()) {
            return Err(Refusal::BadScale);
        }
        if self.total() > MOST_REQUESTS { Err(Refusal::TooMany) } else { Ok(()) }
    }

    /// All durations, those near zero included; stays at the largest number rather than wrap.
    pub fn total(&self) -> u64 {
        self.counts.iter().fold(self.zero, |sum, count| sum.saturating_add(*count))
    }

    /// Upper bound of the bucket `index` at a scale, in seconds.
    pub fn bound(scale: i8, index: i32) -> f64 {
        (f64::from(index) / f64::from(scale).exp2()).exp2()
    }

    /// Halves the resolution until the scale is at most `scale`: pairs of buckets become one, exactly.
    pub fn coarsen(&mut self, scale: i8) {
        while self.scale > scale {
            // Bucket i goes to ceil(i / 2), as its upper bound 2^(i/2^s) lies below 2^(ceil(i/2)/2^(s-1)).
            let halved = |index: i32| index.div_euclid(2) + index.rem_euclid(2);
            let first = halved(self.first);
            let mut counts = Vec::with_capacity(self.counts.len() / 2 + 1);
            for (index, count) in (self.first..).zip(&self.counts) {
                if i64::from(halved(index)) >= i64::from(first) + length(&counts) {
                    counts.push(0_u64);
                }
                if let Some(last) = counts.last_mut() {
                    *last = last.saturating_add(*count);
                }
            }
            self.first = first;
            self.counts = counts;
            self.scale -= 1;
        }
    }

    /// Adds another valid histogram at the coarser of both scales, and coarser still where more than 512 buckets
    /// would be needed.
    pub fn merge(&mut self, other: &Self) {
        let mut other = other.clone();
        let scale = self.scale.min(other.scale);
        self.coarsen(scale);
        other.coarsen(scale);
        self.zero = self.zero.saturating_add(other.zero);
        other.trim();
        if other.counts.is_empty() {
            return;
        }
        self.trim();
        if self.counts.is_empty() {
            (self.first, self.counts) = (other.first, other.counts);
            return;
        }
        while span(self, &other) > MOST_BUCKETS && self.scale > -4 {
            let coarser = self.scale - 1;
            self.coarsen(coarser);
            other.coarsen(coarser);
        }
        let first = self.first.min(other.first);
        let mut counts = vec![0_u64; span(self, &other)];
        for part in [&*self, &other] {
            // The least index is subtracted.
            let offset = usize::try_from(part.first - first).unwrap_or(0);
            for (sum, count) in counts[offset..].iter_mut().zip(&part.counts) {
                *sum = sum.saturating_add(*count);
            }
        }
        (self.first, self.counts) = (first, counts);
    }

    /// Durations above a bound, of all; `None` where the bound lies within a bucket.
    pub fn slower_than(&self, bound: f64) -> Option<Counts> {
        let place = bound.log2() * f64::from(self.scale).exp2();
        let index = place.round();
        if !place.is_finite() || (place - index).abs() > 1e-6 {
            return None;
        }
        let from = index + 1.0 - f64::from(self.first);
        let events = (0_u32..)
            .zip(&self.counts)
            .filter(|(position, _)| f64::from(*position) >= from)
            .fold(0_u64, |sum, (_, count)| sum.saturating_add(*count));
        Some(Counts { events, of: self.total() })
    }

    /// Drops empty buckets at both ends.
    pub(crate) fn trim(&mut self) {
        let kept = self.counts.iter().rposition(|count| *count > 0).map_or(0, |last| last + 1);
        self.counts.truncate(kept);
        let empty = self.counts.iter().take_while(|count| **count == 0).count();
        self.counts.drain(..empty);
        self.first = self.first.saturating_add(i32::try_from(empty).unwrap_or(i32::MAX));
    }

    /// One more than the last index.
    fn end(&self) -> i64 {
        i64::from(self.first) + length(&self.counts)
    }
}

fn length(counts: &[u64]) -> i64 {
    i64::try_from(counts.len()).unwrap_or(i64::MAX)
}

/// Buckets from the first of both to the last of both.
fn span(left: &Exponential, right: &Exponential) -> usize {
    let from = i64::from(left.first.min(right.first));
    usize::try_from(left.end().max(right.end()) - from).unwrap_or(usize::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "compared with a bound far below 2^53")]
fn wide(index: i64) -> f64 {
    index as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(scale: i8, first: i32, counts: &[u64]) -> Exponential {
        Exponential { scale, zero: 0, first, counts: counts.to_vec() }
    }

    #[test]
    fn a_coarser_scale_merges_pairs_below_a_shared_bound() {
        let mut histogram = of(3, -1, &[1, 2, 4, 8, 16]);
        histogram.coarsen(2);
        // Indices -1 0 | 1 2 | 3 become 0, 1 and 2.
        assert_eq!(histogram, of(2, 0, &[3, 12, 16]));
    }

    #[test]
    fn a_bound_within_a_bucket_is_not_guessed() {
        let histogram = of(0, 0, &[5, 7]);
        assert_eq!(histogram.slower_than(1.0), Some(Counts { events: 7, of: 12 }));
        assert_eq!(histogram.slower_than(1.5), None);
        assert_eq!(histogram.slower_than(1024.0), Some(Counts { events: 0, of: 12 }));
        assert_eq!(histogram.slower_than(0.001), None);
        assert_eq!(histogram.slower_than(1.0 / 1024.0), Some(Counts { events: 12, of: 12 }));
        assert_eq!(histogram.slower_than(f64::NAN), None);
    }

    #[test]
    fn what_no_histogram_has_is_refused() {
        assert_eq!(of(21, 0, &[1]).validate(), Err(Refusal::BadScale));
        assert_eq!(of(0, i32::MAX, &[1]).validate(), Err(Refusal::BadScale));
        assert_eq!(of(3, 0, &[1; 513]).validate(), Err(Refusal::BoundCount));
        assert_eq!(of(3, 0, &[u64::MAX, 1]).validate(), Err(Refusal::TooMany));
        assert_eq!(of(3, -80, &[1; 160]).validate(), Ok(()));
    }

    fn histogram() -> impl Strategy<Value = Exponential> {
        (0_i8..=8, -10_i32..=5, proptest::collection::vec(0_u64..1000, 0..60), 0_u64..50).prop_map(
            |(scale, octave, counts, zero)| Exponential {
                scale,
                zero,
                first: octave * (1 << scale),
                counts,
            },
        )
    }

    proptest! {
        #[test]
        fn merging_counts_everything_and_keeps_shared_bounds(left in histogram(), right in histogram()) {
            let mut both = left.clone();
            both.merge(&right);
            prop_assert_eq!(both.total(), left.total() + right.total());
            prop_assert!(both.counts.len() <= MOST_BUCKETS);
            for octave in -12..12 {
                let bound = f64::from(octave).exp2();
                let sum = left.slower_than(bound).unwrap().events + right.slower_than(bound).unwrap().events;
                prop_assert_eq!(both.slower_than(bound).unwrap().events, sum);
            }
        }
    }
}
