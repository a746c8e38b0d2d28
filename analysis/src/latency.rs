//! Latency from histogram buckets (8): which bounds are compared, and what the tolerance means on them.
//!
//! "Not slower than stable stretched by 10 %" compares the canary's share above 1.1 u with the baseline's share
//! above u. Where a bucket bound lies near 1.1 u that is an exact shift to it. Classic buckets are often too
//! coarse for that; the same bound is then compared in both arms, and the allowed *ratio of shares* grows
//! instead: near u a tail falls like `u^-k`, so stretching all durations by 1.1 multiplies the share above u by
//! `1.1^k`. Without that, a canary that is a little slower, well inside what was meant to be tolerated, would be
//! neither promoted nor failed.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::{Counts, Exponential, Sample, Test, sequential::as_f64};

/// Most thresholds of one check: one per quantile below.
pub(crate) const MOST_THRESHOLDS: usize = 6;

/// The baseline's quantiles whose next bound is a threshold: the body and the tail.
const QUANTILES: [f64; MOST_THRESHOLDS] = [0.5, 0.75, 0.9, 0.95, 0.99, 0.999];

/// Baseline requests that choose thresholds: enough to place p99 within a bucket or two, and at 5 requests per
/// second there after 40 seconds.
pub const ENOUGH_FOR_THRESHOLDS: u64 = 200;

/// Bounds that a profile keeps; finer histograms are thinned to this.
const MOST_BOUNDS: usize = 256;

/// Finest resolution that is kept of exponential histograms: 2.2 % per bucket.
const FINEST: i8 = 5;

/// How steeply a tail falls, `k` in `u^-k`, where the data do not say it: log-normal response times with
/// p99 at three times the median have 2 at the median and 6 at p99.
const USUAL_STEEPNESS: f64 = 2.0;

/// Above this a steepness is an artefact of few requests.
const MOST_STEEPNESS: f64 = 8.0;

/// Requests above a bound that make its share usable for a steepness.
const ENOUGH_FOR_STEEPNESS: u64 = 10;

/// What a latency tolerance means at one bucket bound.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct EffectiveTolerance {
    /// Baseline requests slower than this are compared; seconds.
    pub baseline_bound: f64,
    /// Canary requests slower than this are compared; seconds, at least `baseline_bound`.
    pub canary_bound: f64,
    /// Allowed ratio of the canary's share to the baseline's.
    pub ratio: f64,
}

impl EffectiveTolerance {
    /// How much longer every duration may be at this bound by the shift alone, e.g. 0.25 for 25 %.
    pub fn stretch(&self) -> f64 {
        self.canary_bound / self.baseline_bound - 1.0
    }
}

/// What a latency test's tolerance means at each of the bounds `le`, for `validate --show`.
///
/// A rollout refines the ratios of unshifted bounds by the steepness of the baseline's own tail. Empty for
/// tests that have no latency tolerance.
pub fn effective_tolerance(le: &[f64], test: &Test) -> Vec<EffectiveTolerance> {
    match test {
        Test::Latency { stretch, ratio } => (0..le.len())
            .map(|index| tolerance_at(le, index, *stretch, *ratio, USUAL_STEEPNESS))
            .collect(),
        Test::Errors { .. }
        | Test::ErrorObjective { .. }
        | Test::LatencyObjective { .. }
        | Test::Restarts { .. }
        | Test::NewErrors
        | Test::Journey { .. }
        | Test::Gauge { .. }
        | Test::Kayenta(_) => Vec::new(),
    }
}

fn tolerance_at(
    le: &[f64],
    index: usize,
    stretch: f64,
    ratio: f64,
    steepness: f64,
) -> EffectiveTolerance {
    let bound = le[index];
    let factor = 1.0 + stretch.max(0.0);
    let shifted = le[index..]
        .iter()
        .copied()
        .find(|next| *next >= bound * factor * (1.0 - 1e-9))
        // The next bound may stretch at most twice as far as asked, else it hides too much.
        .filter(|next| bound > 0.0 && *next <= bound * factor * factor * (1.0 + 1e-9));
    match shifted {
        Some(canary_bound) => EffectiveTolerance { baseline_bound: bound, canary_bound, ratio },
        None => EffectiveTolerance {
            baseline_bound: bound,
            canary_bound: bound,
            ratio: ratio * factor.powf(steepness),
        },
    }
}

/// A distribution of durations: counts per bucket, one count more than bounds, or an exponential histogram.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LatencyProfile {
    le: Vec<f64>,
    counts: Vec<u64>,
    /// If the service has native histograms; then there are no bounds of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    native: Option<Exponential>,
}

impl LatencyProfile {
    /// Upper bounds in seconds, rising; none for an exponential histogram, which `classic` gives some.
    pub fn bounds(&self) -> &[f64] {
        &self.le
    }

    /// Requests per bucket, the last for those beyond all bounds.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// All requests.
    pub fn total(&self) -> u64 {
        let counted = self.counts.iter().fold(0_u64, |sum, count| sum.saturating_add(*count));
        counted.saturating_add(self.native.as_ref().map_or(0, Exponential::total))
    }

    /// The smallest bound that at least a share `quantile` of the requests do not exceed.
    pub fn quantile_bound(&self, quantile: f64) -> Option<f64> {
        let classic = self.classic();
        classic.quantile_index(quantile).map(|index| classic.le[index])
    }

    /// The same with bounds: an exponential histogram gets those of its buckets, and those of two octaves more.
    pub fn classic(&self) -> Cow<'_, Self> {
        let Some(native) = &self.native else { return Cow::Borrowed(self) };
        let beyond = 2 << native.scale.max(0);
        let last = native.first.saturating_add(i32::try_from(native.counts.len()).unwrap_or(0));
        let le: Vec<f64> = (native.first.saturating_sub(1)..last.saturating_add(beyond))
            .map(|index| Exponential::bound(native.scale, index))
            .collect();
        let mut counts = vec![native.zero];
        counts.extend(&native.counts);
        counts.resize(le.len() + 1, 0);
        Cow::Owned(Self { le, counts, native: None })
    }

    /// The same requests with the bounds that another profile has too: what can be compared of both.
    pub(crate) fn shared_with(&self, other: &Self) -> Self {
        if let (Some(native), Some(others)) = (&self.native, &other.native) {
            let mut native = native.clone();
            native.coarsen(others.scale);
            return Self { native: Some(native), ..Self::default() }.classic().into_owned();
        }
        let (ours, others) = (self.classic(), other.classic());
        let common = common_bounds(&ours.le, &others.le);
        ours.on(&common)
    }

    /// What is known of earlier rollouts, on the bounds of this one; nothing if it does not have them all.
    pub(crate) fn fitting(&self, shared: &Self, now: &Self) -> Option<Self> {
        if let (Some(known), Some(native)) = (&self.native, &now.native) {
            let mut known = known.clone();
            // The coarser scale is the one that the shared bounds have.
            let scale = native.scale.min(known.scale);
            known.coarsen(scale);
            let known = Self { native: Some(known), ..Self::default() };
            return Some(known.classic().into_owned());
        }
        let known = self.classic();
        let fits = !shared.le.is_empty() && common_bounds(&shared.le, &known.le) == shared.le;
        fits.then(|| known.on(&shared.le))
    }

    /// A duration that a share `quantile` of the requests do not exceed, interpolated within its bucket, in
    /// seconds. For points that are drawn or judged by Kayenta; without any claim to precision.
    pub(crate) fn interpolated(&self, quantile: f64) -> Option<f64> {
        let classic = self.classic();
        let index = classic.quantile_index(quantile)?;
        let below: u64 = classic.counts[..index].iter().sum();
        let low = if index == 0 { 0.0 } else { classic.le[index - 1] };
        let within = (quantile * as_f64(classic.total()) - as_f64(below))
            / as_f64(classic.counts[index]).max(1.0);
        Some(low + (classic.le[index] - low) * within.clamp(0.0, 1.0))
    }

    /// Adds a valid histogram of either kind. A service that changes the kind begins anew.
    pub(crate) fn take(&mut self, sample: &Sample) {
        match sample {
            Sample::Histogram { le, counts } => {
                if self.native.take().is_some() {
                    *self = Self::default();
                }
                self.add(le, counts);
            }
            Sample::Exponential(histogram) => {
                if self.native.is_none() {
                    *self = Self::default();
                }
                let empty = || Exponential { scale: FINEST, zero: 0, first: 0, counts: Vec::new() };
                self.native.get_or_insert_with(empty).merge(histogram);
            }
            Sample::Events { .. } | Sample::Gauge { .. } | Sample::Attempt { .. } => {}
        }
    }

    /// Adds another profile.
    pub(crate) fn absorb(&mut self, other: &Self) {
        match &other.native {
            Some(native) => self.take(&Sample::Exponential(native.clone())),
            None if other.le.is_empty() => {}
            None => {
                if self.native.take().is_some() {
                    *self = Self::default();
                }
                self.add(&other.le, &other.counts);
            }
        }
    }

    /// Whether both are exponential, or both have the same bounds.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        match (&self.native, &other.native) {
            (Some(_), Some(_)) => true,
            (None, None) => common_bounds(&self.le, &other.le) == other.le,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    /// Whether a bound lies where the slowest tenth to thousandth of requests are: else nothing of the tail can
    /// be seen. True without requests.
    pub fn sees_the_tail(&self) -> bool {
        let classic = self.classic();
        let total = as_f64(classic.total());
        if total <= 0.0 {
            return true;
        }
        classic.le.iter().any(|bound| {
            let share = classic.slower_than(*bound).share();
            (0.001..=0.1).contains(&share)
        })
    }

    /// Adds a valid histogram. Where its bounds differ, only the common ones are kept; with none in common it
    /// is left out.
    pub(crate) fn add(&mut self, le: &[f64], counts: &[u64]) {
        if self.le.is_empty() {
            let every = le.len().div_ceil(MOST_BOUNDS);
            self.le = le.iter().copied().skip(every - 1).step_by(every).collect();
            self.counts = rebucketed(le, counts, &self.le);
        } else if self.le == le {
            for (sum, count) in self.counts.iter_mut().zip(counts) {
                *sum = sum.saturating_add(*count);
            }
        } else {
            let common = common_bounds(&self.le, le);
            if common.is_empty() {
                return;
            }
            let mut sums = rebucketed(&self.le, &self.counts, &common);
            for (sum, count) in sums.iter_mut().zip(rebucketed(le, counts, &common)) {
                *sum = sum.saturating_add(count);
            }
            self.le = common;
            self.counts = sums;
        }
    }

    /// Requests that took longer than `bound`, of all.
    pub(crate) fn slower_than(&self, bound: f64) -> Counts {
        let faster = self.le.partition_point(|le| *le <= bound);
        let events = self.counts.iter().skip(faster).fold(0_u64, |sum, c| sum.saturating_add(*c));
        Counts { events, of: self.total() }
    }

    /// The same requests on fewer bounds, all of which it has.
    pub(crate) fn on(&self, le: &[f64]) -> Self {
        Self { le: le.to_vec(), counts: rebucketed(&self.le, &self.counts, le), native: None }
    }

    /// Multiplies all counts by a factor in [0, 1].
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count times a share is a count"
    )]
    pub(crate) fn scale(&mut self, share: f64) {
        let native = self
            .native
            .iter_mut()
            .flat_map(|native| native.counts.iter_mut().chain(std::iter::once(&mut native.zero)));
        for count in self.counts.iter_mut().chain(native) {
            *count = (as_f64(*count) * share).round() as u64;
        }
    }

    /// The thresholds for a rollout: next bounds above the profile's quantiles, with their tolerances.
    pub(crate) fn thresholds(&self, stretch: f64, ratio: f64) -> Vec<EffectiveTolerance> {
        let mut indices: Vec<usize> =
            QUANTILES.iter().filter_map(|quantile| self.quantile_index(*quantile)).collect();
        if indices.is_empty() && !self.le.is_empty() {
            // Even the median is beyond all bounds: the last one is all that can be looked at.
            indices.push(self.le.len() - 1);
        }
        indices.dedup();
        indices
            .into_iter()
            .map(|index| tolerance_at(&self.le, index, stretch, ratio, self.steepness(index)))
            .collect()
    }

    fn quantile_index(&self, quantile: f64) -> Option<usize> {
        let wanted = quantile * as_f64(self.total());
        let mut sum = 0.0;
        self.le.iter().zip(&self.counts).position(|(_, count)| {
            sum += as_f64(*count);
            sum > 0.0 && sum >= wanted
        })
    }

    /// `k` of the tail `u^-k` at a bound: the mean of its values in the two buckets beside it.
    ///
    /// Beyond the last bounds with data the buckets below go on as they bend: log-normal tails get ever steeper,
    /// and taking too little there would fail a canary within its tolerance.
    fn steepness(&self, index: usize) -> f64 {
        let above = |index: usize| {
            self.counts[index + 1..].iter().fold(0_u64, |sum, count| sum.saturating_add(*count))
        };
        let slope = |low: usize, high: usize| {
            let fall = (as_f64(above(low)) + 0.5) / (as_f64(above(high)) + 0.5);
            fall.ln() / (self.le[high] / self.le[low]).ln()
        };
        let middle = |low: usize, high: usize| (self.le[low] * self.le[high]).ln() / 2.0;
        let positive = |index: usize| self.le[index] > 0.0;
        let below = (index > 0 && positive(index - 1)).then(|| slope(index - 1, index));
        let before = (index > 1 && positive(index - 2)).then(|| {
            let bend = slope(index - 1, index) - slope(index - 2, index - 1);
            let apart = middle(index - 1, index) - middle(index - 2, index - 1);
            bend.max(0.0) / apart * (self.le[index].ln() - middle(index - 1, index))
        });
        let beyond = (index + 1 < self.le.len()
            && positive(index)
            && above(index + 1) >= ENOUGH_FOR_STEEPNESS)
            .then(|| slope(index, index + 1));
        let steepness = match (below, beyond) {
            (Some(below), Some(beyond)) => f64::midpoint(below, beyond),
            (Some(below), None) => below + before.unwrap_or(0.0),
            (None, Some(beyond)) => beyond,
            (None, None) => USUAL_STEEPNESS,
        };
        if steepness.is_finite() {
            steepness.clamp(USUAL_STEEPNESS, MOST_STEEPNESS)
        } else {
            USUAL_STEEPNESS
        }
    }
}

/// Whether two bounds are the same, up to how they were printed.
pub(crate) fn same_bound(left: f64, right: f64) -> bool {
    (left - right).abs() <= 1e-9 * left.abs().max(right.abs())
}

/// Index of a bound in rising bounds.
pub(crate) fn position_of(le: &[f64], bound: f64) -> Option<usize> {
    let near = le.partition_point(|next| *next < bound && !same_bound(*next, bound));
    (near < le.len() && same_bound(le[near], bound)).then_some(near)
}

/// Bounds that both have.
pub(crate) fn common_bounds(left: &[f64], right: &[f64]) -> Vec<f64> {
    left.iter().copied().filter(|bound| position_of(right, *bound).is_some()).collect()
}

/// Counts on fewer bounds: each bucket goes to the first that holds all of it.
fn rebucketed(le: &[f64], counts: &[u64], onto: &[f64]) -> Vec<u64> {
    let mut sums = vec![0_u64; onto.len() + 1];
    for (index, count) in counts.iter().enumerate() {
        let bucket = le.get(index).map_or(onto.len(), |bound| {
            onto.partition_point(|next| *next < *bound && !same_bound(*next, *bound))
        });
        sums[bucket] = sums[bucket].saturating_add(*count);
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN_PERCENT: Test = Test::Latency { stretch: 0.1, ratio: 1.1 };

    #[test]
    fn coarse_buckets_widen_the_ratio_and_fine_ones_shift() {
        let coarse = effective_tolerance(&[0.1, 0.25, 0.5], &TEN_PERCENT);
        assert!(coarse.iter().all(|at| at.stretch().abs() < 1e-12 && at.ratio > 1.3));

        let fine = effective_tolerance(&[0.100, 0.109, 0.119, 0.130], &TEN_PERCENT);
        assert!((fine[0].canary_bound - 0.119).abs() < 1e-12);
        assert!((fine[0].ratio - 1.1).abs() < 1e-12);
        // The last bound has no next one.
        assert!(fine[3].stretch().abs() < 1e-12);
    }

    #[test]
    fn without_stretch_the_bound_itself_is_compared() {
        let strict = effective_tolerance(&[0.1, 0.25], &Test::Latency { stretch: 0.0, ratio: 1.0 });
        assert!(
            strict.iter().all(|at| at.stretch().abs() < 1e-12 && (at.ratio - 1.0).abs() < 1e-12)
        );
    }

    #[test]
    fn thresholds_are_the_next_bounds_above_the_quantiles() {
        let mut profile = LatencyProfile::default();
        profile.add(&[0.05, 0.1, 0.25, 0.5, 1.0], &[363, 475, 159, 2, 1, 0]);
        let bounds: Vec<f64> =
            profile.thresholds(0.1, 1.1).iter().map(|at| at.baseline_bound).collect();
        assert_eq!(bounds, [0.1, 0.25, 0.5]);
        // Steeper tails widen more: 1.1 x 1.1^k.
        let ratios: Vec<f64> = profile.thresholds(0.1, 1.1).iter().map(|at| at.ratio).collect();
        assert!(ratios.iter().all(|ratio| (1.33..2.4).contains(ratio)), "{ratios:?}");
    }

    #[test]
    fn everything_beyond_the_last_bound_still_has_a_threshold() {
        let mut profile = LatencyProfile::default();
        profile.add(&[0.1, 0.2], &[0, 0, 500]);
        assert_eq!(profile.thresholds(0.1, 1.1).len(), 1);
    }

    #[test]
    fn differing_bounds_keep_what_they_share() {
        let mut profile = LatencyProfile::default();
        profile.add(&[0.1, 0.2, 0.4], &[1, 2, 3, 4]);
        profile.add(&[0.2, 0.4, 0.8], &[10, 20, 30, 40]);
        assert_eq!(profile.bounds(), [0.2, 0.4]);
        assert_eq!(profile.counts(), [13, 23, 74]);
        profile.add(&[0.3], &[5, 5]);
        assert_eq!(profile.total(), 110);
    }

    #[test]
    fn very_fine_histograms_are_thinned() {
        let le: Vec<f64> = (1..=500).map(|step| f64::from(step) / 1000.0).collect();
        let mut profile = LatencyProfile::default();
        profile.add(&le, &[1; 501]);
        assert!(profile.bounds().len() <= MOST_BOUNDS);
        assert_eq!(profile.total(), 501);
    }
}
