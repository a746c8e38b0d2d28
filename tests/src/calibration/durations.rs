//! Response times: their distributions, what a regression does to them, and the buckets that count them.
//!
//! Requests are drawn in the finest buckets, the union of both layouts below, and then added up to each of
//! them, so that tools with different histograms see the same requests.

use std::sync::LazyLock;

use analysis::Exponential;
use statrs::function::erf::erfc;

/// Median and p99 of the baseline in seconds.
const MEDIAN: f64 = 0.06;
const P99: f64 = 0.2;

/// The 99th percentile of the standard normal distribution.
const Z99: f64 = 2.326_347_874_040_841;

/// Bucket bounds of Prometheus clients.
pub(super) const CLASSIC: [f64; 11] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Schema of the exponential histogram: 2^(1/8), 9.05 % per bucket.
const SCALE: i8 = 3;

/// Indices of its bounds: from 0.5 ms to 64 s.
const FIRST: i32 = -88;
const LAST: i32 = 48;

/// Upper bounds of the finest buckets.
pub(super) static FINE: LazyLock<Vec<f64>> = LazyLock::new(|| {
    let mut bounds: Vec<f64> = (FIRST..=LAST).map(exponential_bound).collect();
    bounds.extend(CLASSIC);
    bounds.sort_by(f64::total_cmp);
    bounds.dedup();
    bounds
});

/// Baseline durations: median 60 ms and p99 200 ms, or a heavy tail with the same p99.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shape {
    /// Log-normal.
    LogNormal,
    /// Lomax (Pareto II) with exponent 1.5: no variance.
    Lomax,
}

/// What the canary does to them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Change {
    /// Every duration times this.
    Stretch(f64),
    /// The slowest 2 % times 1.5: p99 goes from 200 to 300 ms, the rest stays.
    Tail,
}

impl Shape {
    /// Share of baseline requests slower than `seconds`.
    pub(super) fn slower(self, seconds: f64) -> f64 {
        match self {
            Self::LogNormal => {
                let sigma = (P99 / MEDIAN).ln() / Z99;
                erfc((seconds / MEDIAN).ln() / sigma / std::f64::consts::SQRT_2) / 2.0
            }
            Self::Lomax => {
                let scale = P99 / (0.01_f64.powf(-1.0 / 1.5) - 1.0);
                (1.0 + seconds / scale).powf(-1.5)
            }
        }
    }
}

impl Change {
    /// Share of canary requests slower than `seconds`.
    pub(super) fn slower(self, shape: Shape, seconds: f64) -> f64 {
        match self {
            Self::Stretch(factor) => shape.slower(seconds / factor),
            Self::Tail => {
                let slowest = 0.02;
                let plain = shape.slower(seconds);
                // Between the old and the new place of the slowest there is nobody.
                if plain >= slowest { plain } else { shape.slower(seconds / 1.5).min(slowest) }
            }
        }
    }
}

/// For each finest bucket, the probability of a request that is not in a lower one to be in it.
pub(super) fn conditional(slower: impl Fn(f64) -> f64) -> Vec<f64> {
    let mut left = 1.0;
    FINE.iter()
        .map(|bound| {
            let beyond = slower(*bound);
            let here = if left > 0.0 { ((left - beyond) / left).clamp(0.0, 1.0) } else { 1.0 };
            left = beyond;
            here
        })
        .collect()
}

/// The finest counts in Prometheus' default buckets, the rest last.
pub(super) fn classic(fine: &[u64]) -> Vec<u64> {
    let mut counts = vec![0; CLASSIC.len() + 1];
    for (index, count) in fine.iter().enumerate() {
        let bucket = FINE
            .get(index)
            .map_or(CLASSIC.len(), |bound| CLASSIC.partition_point(|classic| classic < bound));
        counts[bucket] += count;
    }
    counts
}

/// The finest counts as an exponential histogram, without empty buckets at its ends, as clients send it.
pub(super) fn exponential(fine: &[u64]) -> Exponential {
    let mut counts = vec![0; (LAST - FIRST + 1) as usize];
    let mut bucket = 0;
    let mut zero = 0;
    for (index, count) in fine.iter().enumerate() {
        while FINE.get(index).is_none_or(|bound| *bound > exponential_bound(FIRST + bucket))
            && bucket <= LAST - FIRST
        {
            bucket += 1;
        }
        // Bucket 0 holds everything below 0.5 ms.
        if bucket == 0 {
            zero += count;
        } else {
            counts[bucket as usize - 1] += count;
        }
    }
    let from = counts.iter().position(|count| *count > 0).unwrap_or(0);
    let to = counts.iter().rposition(|count| *count > 0).map_or(from, |last| last + 1);
    Exponential {
        scale: SCALE,
        zero,
        first: FIRST + 1 + from as i32,
        counts: counts[from..to].to_vec(),
    }
}

/// Requests in the finest buckets that are slower than `bound`, one of the bounds.
pub(super) fn slower_than(fine: &[u64], bound: f64) -> u64 {
    fine[FINE.partition_point(|fine| *fine <= bound)..].iter().sum()
}

/// A quantile by linear interpolation within its bucket, as Prometheus' `histogram_quantile` does it.
pub(super) fn quantile(fine: &[u64], quantile: f64) -> Option<f64> {
    let all: u64 = fine.iter().sum();
    if all == 0 {
        return None;
    }
    let wanted = quantile * all as f64;
    let mut below = 0.0;
    for (index, count) in fine.iter().enumerate() {
        let count = *count as f64;
        if count > 0.0 && below + count >= wanted {
            let low = if index == 0 { 0.0 } else { FINE[index - 1] };
            let high = FINE.get(index).copied().unwrap_or(low);
            return Some(low + (high - low) * (wanted - below) / count);
        }
        below += count;
    }
    FINE.last().copied()
}

fn exponential_bound(index: i32) -> f64 {
    (f64::from(index) / f64::from(SCALE).exp2()).exp2()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_layouts_count_every_request_where_it_belongs() {
        let fine: Vec<u64> = (0..=FINE.len() as u64).collect();
        let all: u64 = fine.iter().sum();
        assert_eq!(classic(&fine).iter().sum::<u64>(), all);
        let native = exponential(&fine);
        assert_eq!(native.zero + native.counts.iter().sum::<u64>(), all);
        native.validate().unwrap();
        // Requests above 2^(-18/8) s, counted in both ways.
        let bound = exponential_bound(-18);
        let above = native.counts[(-17 - native.first) as usize..].iter().sum::<u64>();
        assert_eq!(above, slower_than(&fine, bound));
        assert_eq!(classic(&fine)[6..].iter().sum::<u64>(), slower_than(&fine, 0.25));
    }

    #[test]
    fn shapes_have_the_quantiles_that_they_promise() {
        for shape in [Shape::LogNormal, Shape::Lomax] {
            assert!((shape.slower(0.2) - 0.01).abs() < 1e-9, "{shape:?}");
            for change in [Change::Stretch(1.5), Change::Tail] {
                assert!((change.slower(shape, 0.3) - 0.01).abs() < 1e-9, "{shape:?} {change:?}");
            }
        }
        assert!((Shape::LogNormal.slower(0.06) - 0.5).abs() < 1e-9);
        assert!((Change::Tail.slower(Shape::LogNormal, 0.2) - 0.02).abs() < 1e-9);
    }

    #[test]
    fn a_quantile_lies_in_its_bucket() {
        let mut fine = vec![0; FINE.len() + 1];
        let at = FINE.partition_point(|bound| *bound < 0.2);
        fine[at] = 100;
        let p99 = quantile(&fine, 0.99).unwrap();
        assert!(FINE[at - 1] < p99 && p99 <= FINE[at], "{p99}");
        assert_eq!(quantile(&vec![0; FINE.len() + 1], 0.99), None);
    }
}
