//! Native histograms: which bucket a pair of bounds is, how buckets merge exactly, and the sample they make.
//!
//! The query API gives only bounds and counts of the buckets that are not empty
//! (<https://prometheus.io/docs/prometheus/latest/querying/api/#native-histograms>), not the schema. It follows
//! from the bounds: in schema `s` each is `2^(2^-s)` times the one before. Bounds that follow no schema are those
//! of custom buckets (schema -53) and make an ordinary histogram. A histogram may drop to a coarser schema or
//! widen its zero bucket at any time; then what is remembered is merged the same way, which loses nothing,
//! because every bound of the coarser one is a bound of the finer one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use analysis::observation::MOST_BUCKETS;
use analysis::{Exponential, Sample};

use super::{Key, Part, Values};

/// A native histogram of one series at one moment, as read.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct NativeHistogram {
    /// All that was observed.
    pub(crate) count: f64,
    /// The buckets that are not empty, each alone.
    pub(crate) buckets: Vec<NativeBucket>,
}

/// One bucket.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct NativeBucket {
    /// Whether both bounds belong to it: only the bucket of zero has that.
    pub(crate) closed: bool,
    pub(crate) left: f64,
    pub(crate) right: f64,
    pub(crate) count: f64,
}

/// No clock counts longer than 2^60 or shorter than 2^-60 seconds.
const MOST_DOUBLINGS: i32 = 60;

/// The resolution where there is no bucket to tell it: the finest of Prometheus, so that nothing becomes coarser.
const FINEST: i8 = 8;

impl NativeHistogram {
    /// What its buckets count; always something, so that the series is known to be there.
    pub(super) fn parts(&self) -> BTreeMap<Part, f64> {
        let is_zero = |b: &NativeBucket| b.closed && b.left <= 0.0 && b.right >= 0.0;
        let (zeros, others): (Vec<&NativeBucket>, Vec<&NativeBucket>) =
            self.buckets.iter().partition(|b| is_zero(b));
        let threshold = zeros.iter().map(|b: &&NativeBucket| b.right.abs()).fold(0.0, f64::max);
        // A duration below zero is a clock that was set back: as good as none.
        let (below, above): (Vec<&NativeBucket>, Vec<&NativeBucket>) =
            others.into_iter().partition(|b| b.right <= 0.0);
        let zero = zeros.into_iter().chain(below).map(|b| b.count).sum();
        let mut parts = BTreeMap::from([(Part::Zero(threshold.to_bits()), zero)]);
        let exponential: Option<Vec<(i8, i32)>> =
            above.iter().map(|b| exponential(b.left, b.right)).collect();
        let exponential =
            exponential.filter(|found| found.windows(2).all(|pair| pair[0].0 == pair[1].0));
        for (place, bucket) in above.into_iter().enumerate() {
            let part = match &exponential {
                Some(found) => {
                    let (scale, index) = found[place];
                    Part::Exponential { scale, index }
                }
                None => Part::Custom {
                    left: bucket.left.max(0.0).to_bits(),
                    right: bucket.right.to_bits(),
                },
            };
            *parts.entry(part).or_default() += bucket.count;
        }
        parts
    }
}

/// Scale and index of an exponential bucket; `None` for bounds that no schema has.
fn exponential(left: f64, right: f64) -> Option<(i8, i32)> {
    if !(left > 0.0 && left < right) {
        return None;
    }
    let scale = -(right / left).log2().log2();
    let rounded = scale.round();
    if !(-4.0..=20.0).contains(&rounded) || (scale - rounded).abs() > 1e-6 {
        return None;
    }
    let index = right.log2() * rounded.exp2();
    let near = (index - index.round()).abs() <= 1e-6 * index.abs().max(1.0);
    #[expect(clippy::cast_possible_truncation, reason = "a scale in -4..=20, an index within 2^31")]
    near.then_some((rounded as i8, index.round() as i32))
}

/// The buckets that a series has, as far as they decide which differences can be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Grid {
    /// The bits of the zero bucket's width.
    threshold: u64,
    layout: Layout,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Layout {
    /// No bucket yet.
    #[default]
    Unknown,
    Exponential(i8),
    Custom,
}

impl Grid {
    /// The finest that both can be brought to; `None` when there is none.
    pub(crate) fn common(self, other: Self) -> Option<Self> {
        let layout = match (self.layout, other.layout) {
            (Layout::Unknown, known) | (known, Layout::Unknown) => known,
            (Layout::Exponential(one), Layout::Exponential(other)) => {
                Layout::Exponential(one.min(other))
            }
            (Layout::Custom, Layout::Custom) => Layout::Custom,
            (Layout::Custom, Layout::Exponential(_)) | (Layout::Exponential(_), Layout::Custom) => {
                return None;
            }
        };
        // The bits of numbers that are not negative are in the order of the numbers.
        Some(Self { threshold: self.threshold.max(other.threshold), layout })
    }

    /// A bucket's place in this grid.
    pub(crate) fn place(self, key: &Key) -> Key {
        let part = if let (Part::Exponential { scale, index }, Layout::Exponential(coarsest)) =
            (key.part, self.layout)
        {
            let now = scale.min(coarsest);
            let index = coarser(index, scale, now);
            let in_zero = bound(now, index) <= f64::from_bits(self.threshold);
            if in_zero {
                Part::Zero(self.threshold)
            } else {
                Part::Exponential { scale: now, index }
            }
        } else if let Part::Zero(_) = key.part {
            Part::Zero(self.threshold)
        } else {
            key.part
        };
        Key { part, labels: key.labels.clone() }
    }
}

/// The grids of a reading by the labels of its series; empty when it has no native histogram.
pub(crate) fn grids(values: &Values) -> BTreeMap<Arc<str>, Grid> {
    let mut grids: BTreeMap<Arc<str>, Grid> = BTreeMap::new();
    for key in values.keys() {
        let of_key = if let Part::Zero(threshold) = key.part {
            Grid { threshold, layout: Layout::Unknown }
        } else if let Part::Exponential { scale, .. } = key.part {
            Grid { threshold: 0, layout: Layout::Exponential(scale) }
        } else if let Part::Custom { .. } = key.part {
            Grid { threshold: 0, layout: Layout::Custom }
        } else {
            continue;
        };
        let grid = grids.entry(key.labels.clone()).or_default();
        *grid = grid.common(of_key).unwrap_or(of_key);
    }
    grids
}

/// The bounds of custom buckets among the values, as bits.
pub(crate) fn custom_bounds(values: &Values) -> impl Iterator<Item = u64> {
    let both = |key: &Key| {
        if let Part::Custom { left, right } = key.part { Some([left, right]) } else { None }
    };
    values.keys().filter_map(both).flatten()
}

/// The index of the bucket that holds bucket `index` at a coarser scale.
fn coarser(index: i32, scale: i8, to: i8) -> i32 {
    let by = u32::from(scale.saturating_sub(to).unsigned_abs()).min(31);
    ((index - 1) >> by) + 1
}

/// Upper bound of a bucket.
fn bound(scale: i8, index: i32) -> f64 {
    (f64::from(index) * (-f64::from(scale)).exp2()).exp2()
}

/// The sample that differences of native histograms make; `None` when there is nothing to say.
///
/// `bounds` are the bounds of custom buckets that are known of both arms: an empty bucket is not in an answer,
/// so each answer shows other ones.
pub(super) fn sample(
    counts: &BTreeMap<Key, u64>,
    per_second: u32,
    bounds: &BTreeSet<u64>,
) -> Option<Sample> {
    let mut zero = 0_u64;
    let mut buckets: Vec<(i8, i32, u64)> = Vec::new();
    let mut custom: Vec<(f64, f64, u64)> = Vec::new();
    for (key, count) in counts {
        if let Part::Zero(_) = key.part {
            zero += count;
        } else if let Part::Exponential { scale, index } = key.part {
            buckets.push((scale, index, *count));
        } else if let Part::Custom { left, right } = key.part {
            custom.push((f64::from_bits(left), f64::from_bits(right), *count));
        }
    }
    let scale = buckets.iter().map(|(scale, _, _)| *scale).min().unwrap_or(FINEST);
    if !custom.is_empty() {
        for (scale, index, count) in buckets {
            custom.push((bound(scale, index - 1), bound(scale, index), count));
        }
        return histogram(zero, &custom, per_second, bounds);
    }
    if buckets.is_empty() && zero == 0 {
        return None;
    }
    if per_second != 1 {
        return Some(in_other_unit(zero, &buckets, scale, per_second));
    }
    buckets.retain(|(_, _, count)| *count > 0);
    Some(Sample::Exponential(fitted(zero, &buckets, scale)))
}

/// The buckets at `scale` or the next coarser one at which they are few enough.
fn fitted(mut zero: u64, buckets: &[(i8, i32, u64)], mut scale: i8) -> Exponential {
    loop {
        let most = f64::from(MOST_DOUBLINGS) * f64::from(scale).exp2();
        #[expect(clippy::cast_possible_truncation, reason = "60 x 2^20 fits")]
        let (least, most) = (-most as i32 + 1, most as i32 - 1);
        let placed = buckets.iter().map(|(from, index, count)| {
            (coarser(*index, *from, scale).clamp(least, most.max(least)), *count)
        });
        let mut sums: BTreeMap<i32, u64> = BTreeMap::new();
        for (index, count) in placed {
            *sums.entry(index).or_default() += count;
        }
        let (Some((first, _)), Some((last, _))) = (sums.first_key_value(), sums.last_key_value())
        else {
            return Exponential { scale, zero, first: 0, counts: Vec::new() };
        };
        let first = *first;
        let span = usize::try_from(i64::from(*last) - i64::from(first) + 1).unwrap_or(usize::MAX);
        if span <= MOST_BUCKETS {
            let mut counts = vec![0; span];
            for (index, count) in sums {
                match usize::try_from(index - first).ok().and_then(|at| counts.get_mut(at)) {
                    Some(place) => *place = count,
                    None => zero += count,
                }
            }
            return Exponential { scale, zero, first, counts };
        }
        scale -= 1;
    }
}

/// Buckets of durations in another unit than seconds: 1,000 is no power of two, so that the bounds in seconds
/// belong to no scale. They are always the same ones, from about 1 microsecond to 17 minutes.
fn in_other_unit(zero: u64, buckets: &[(i8, i32, u64)], scale: i8, per_second: u32) -> Sample {
    let scale = scale.min(2);
    let unit = f64::from(per_second).log2().round();
    let per_doubling = f64::from(scale).exp2();
    #[expect(clippy::cast_possible_truncation, reason = "52 doublings times 4 fit")]
    let at = |doublings: f64| ((doublings + unit) * per_doubling).round() as i32;
    let (first, last) = (at(-20.0), at(10.0));
    let bounds: BTreeSet<u64> = (first..=last).map(|index| bound(scale, index).to_bits()).collect();
    let placed: Vec<(f64, f64, u64)> = buckets
        .iter()
        .map(|(from, index, count)| {
            let index = coarser(*index, *from, scale);
            let right = if index > last { f64::INFINITY } else { bound(scale, index.max(first)) };
            (right, right, *count)
        })
        .collect();
    let mut single = vec![0_u64; bounds.len() + 1];
    single[0] += zero;
    let bounds: Vec<f64> = bounds.into_iter().map(f64::from_bits).collect();
    for (_, right, count) in placed {
        single[bounds.partition_point(|le| *le < right)] += count;
    }
    let le = bounds.into_iter().map(|le| le / f64::from(per_second)).collect();
    Sample::Histogram { le, counts: single }
}

/// Buckets with any bounds as a histogram on all known bounds that lie within none of them.
fn histogram(
    zero: u64,
    buckets: &[(f64, f64, u64)],
    per_second: u32,
    known: &BTreeSet<u64>,
) -> Option<Sample> {
    let own = buckets.iter().flat_map(|(left, right, _)| [left.to_bits(), right.to_bits()]);
    let bounds: BTreeSet<u64> = known.iter().copied().chain(own).collect();
    let within = |le: f64| buckets.iter().any(|(left, right, _)| *left < le && le < *right);
    let mut le: Vec<f64> = bounds
        .into_iter()
        .map(f64::from_bits)
        .filter(|le| *le > 0.0 && le.is_finite() && !within(*le))
        .collect();
    le.truncate(MOST_BUCKETS);
    if le.is_empty() {
        return None;
    }
    let mut counts = vec![0_u64; le.len() + 1];
    counts[0] += zero;
    for (_, right, count) in buckets {
        counts[le.partition_point(|bound| bound < right)] += count;
    }
    let le = le.into_iter().map(|bound| bound / f64::from(per_second)).collect();
    Some(Sample::Histogram { le, counts })
}

#[cfg(test)]
mod tests;
