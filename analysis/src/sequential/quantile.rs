//! The confidence sequence of a quantile from a histogram: what is an arm's 99th percentile, at every look?
//!
//! Of `t` independent durations the number at or below the true quantile of order `p` is binomial. The mixture of
//! its likelihood ratios over a beta distribution is a martingale from 1, and the counts for which it is below
//! 1/alpha make up the interval: Howard and Ramdas, "Sequential estimation of quantiles with applications to A/B
//! testing and best-arm identification", Bernoulli 28(3) 2022, arXiv 1906.09712, for a fixed quantile; the
//! mixture is the two-sided beta-binomial one of Howard, Ramdas and others, "Time-uniform,
//! nonparametric, nonasymptotic confidence sequences", Ann. Stat. 2021, arXiv 1810.08240. Bounds are rounded outward
//! to bucket bounds, so buckets cost width and never the guarantee.
//!
//! For the report only: durations of one arm are not alike while load drifts, and there the tail test (8) holds.
//!
//! Where even all durations on one side of the quantile would not reach 1/alpha, that side is unbounded: 300 durations
//! say nothing about how high a 99th percentile may be, as all of them are below it with probability 5 %. The
//! reference implementation reports the largest duration there.

use serde::{Deserialize, Serialize};
use statrs::function::gamma::ln_gamma;

use super::as_f64;

/// The two-sided beta-binomial mixture for sums of steps between -`g` and `h` with variance `g h`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BetaBinomial {
    g: f64,
    h: f64,
    r: f64,
}

impl BetaBinomial {
    /// Narrowest about when the variance is `v_opt`, at level `alpha_opt` in (0, 1); all positive.
    pub fn new(v_opt: f64, alpha_opt: f64, g: f64, h: f64) -> Self {
        let twice = -2.0 * alpha_opt.ln();
        let rho = v_opt / (twice + twice.ln_1p());
        Self { g, h, r: (rho - g * h).max(1e-3 * g * h) }
    }

    /// Natural logarithm of the mixture at sum `s`, from `-v/h` to `v/g`, and variance `v`.
    ///
    /// In the terms of counts it is `ln B(A + a, B + b) - ln B(A, B) - a ln(h/(g+h)) - b ln(g/(g+h))`. At 1e12
    /// durations each of these is near 1e13 and their difference a few nats, so it is written by Stirling's formula
    /// as two divergences of the observed from the expected counts, which hold all of the size, and a rest.
    pub fn log_mixture(&self, s: f64, v: f64) -> f64 {
        let Self { g, h, r } = *self;
        let all = g + h;
        let (below, above) = ((r + v) / (g * all), (r + v) / (h * all));
        let prior = (r / (g * all), r / (h * all));
        let shift = s / all;
        let (a, b) = ((below - shift).max(prior.0), (above + shift).max(prior.1));
        let density = ((a + b) / a / b).ln() - ((prior.0 + prior.1) / prior.0 / prior.1).ln();
        below * divergence(-shift / below)
            + above * divergence(shift / above)
            + 0.5 * density
            + stirling_rest(a)
            + stirling_rest(b)
            - stirling_rest(a + b)
            - stirling_rest(prior.0)
            - stirling_rest(prior.1)
            + stirling_rest(prior.0 + prior.1)
    }

    /// How far the sum may rise at variance `v` before the mixture reaches 1/`alpha`. Nothing where even its
    /// largest value `v/g` stays below.
    pub fn bound(&self, v: f64, alpha: f64) -> Option<f64> {
        let threshold = -alpha.ln();
        let (mut inside, mut outside) = (0.0, v / self.g);
        if self.log_mixture(outside, v) < threshold {
            return None;
        }
        // The logarithm of a mixture of exponentials is convex and below the threshold at 0: one crossing.
        for _ in 0..64 {
            let middle = f64::midpoint(inside, outside);
            if self.log_mixture(middle, v) < threshold {
                inside = middle;
            } else {
                outside = middle;
            }
        }
        Some(outside)
    }
}

/// `(1 + x) ln(1 + x) - x` for `x >= -1`, without cancellation near 0.
fn divergence(x: f64) -> f64 {
    if x <= -1.0 {
        return 1.0;
    }
    if x.abs() > 0.02 {
        return (1.0 + x) * x.ln_1p() - x;
    }
    // sum over k >= 2 of (-x)^k / (k (k - 1))
    let terms = [1.0 / 56.0, 1.0 / 42.0, 1.0 / 30.0, 1.0 / 20.0, 1.0 / 12.0, 1.0 / 6.0, 1.0 / 2.0];
    x * x * terms.iter().fold(1.0 / 72.0, |sum, term| term - x * sum)
}

/// `ln Gamma(z)` less Stirling's formula `(z - 1/2) ln z - z + ln(2 pi)/2`, for positive `z`.
fn stirling_rest(z: f64) -> f64 {
    if z < 10.0 {
        let half_log = 0.5 * std::f64::consts::TAU.ln();
        return ln_gamma(z) - ((z - 0.5) * z.ln() - z + half_log);
    }
    let square = 1.0 / (z * z);
    let terms = [-691.0 / 360_360.0, 1.0 / 1188.0, -1.0 / 1680.0, 1.0 / 1260.0, -1.0 / 360.0];
    let beyond = terms.iter().fold(1.0 / 156.0, |sum, term| term + square * sum);
    (1.0 / 12.0 + square * beyond) / z
}

/// How many durations the count may be off: the number at or below the quantile of order `p` of `total` durations
/// is within `p total - lower` and `p total + upper`, at every look together, with probability 1 - alpha.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct QuantileRadii {
    /// Below the expected number; nothing where that side is unbounded.
    pub lower: Option<f64>,
    /// Above the expected number; nothing where that side is unbounded.
    pub upper: Option<f64>,
}

/// The radii for `total` durations, narrowest about at `t_opt` durations and level `alpha_opt`.
pub fn quantile_radii(p: f64, total: f64, alpha: f64, t_opt: f64, alpha_opt: f64) -> QuantileRadii {
    let variance = p * (1.0 - p);
    let radius =
        |g, h| BetaBinomial::new(variance * t_opt, alpha_opt, g, h).bound(variance * total, alpha);
    QuantileRadii { lower: radius(1.0 - p, p), upper: radius(p, 1.0 - p) }
}

/// A quantile with its confidence sequence, in the unit of the bucket bounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct QuantileInterval {
    /// A bucket bound; nothing where the data do not bound it below, or only by the lowest bucket.
    pub lower: Option<f64>,
    /// Where the quantile most likely lies, even within its bucket; the last bound if it lies above that.
    pub estimate: f64,
    /// A bucket bound; nothing where the data do not bound it above, or only by the last bucket.
    pub upper: Option<f64>,
    /// How many durations the count may be off.
    pub radii: QuantileRadii,
}

/// The quantile of order `p`, in (0, 1), with its interval at confidence 1 - `alpha`, from `counts` of durations
/// per bucket (not cumulative) with rising upper `bounds`, one count more than bounds. It is narrowest at about
/// `t_opt` durations: the number expected by the end, which must not be chosen after looking.
///
/// Nothing without any duration, or where counts and bounds do not fit. Takes some ten microseconds.
pub fn quantile_interval(
    bounds: &[f64],
    counts: &[u64],
    p: f64,
    alpha: f64,
    t_opt: f64,
) -> Option<QuantileInterval> {
    let total: f64 = counts.iter().map(|count| as_f64(*count)).sum();
    let orders = 0.0 < p && p < 1.0 && 0.0 < alpha && alpha < 1.0 && t_opt > 0.0;
    if bounds.is_empty() || counts.len() != bounds.len() + 1 || total <= 0.0 || !orders {
        return None;
    }
    let radii = quantile_radii(p, total, alpha, t_opt.min(1e15), alpha);
    let expected = p * total;
    let lower = radii.lower.map(|radius| (expected - radius).floor() + 1.0);
    let upper = radii.upper.map(|radius| (expected + radius).ceil());
    let lower = lower.filter(|order| *order >= 1.0).map(|order| bucket_of(counts, order));
    let upper = upper.filter(|order| *order <= total).map(|order| bucket_of(counts, order));
    Some(QuantileInterval {
        lower: lower.and_then(|bucket| bounds.get(bucket.checked_sub(1)?).copied()),
        estimate: within_bucket(bounds, counts, expected),
        upper: upper.and_then(|bucket| bounds.get(bucket).copied()),
        radii,
    })
}

/// The bucket that holds the duration of this order, counted from 1.
fn bucket_of(counts: &[u64], order: f64) -> usize {
    let mut below = 0.0;
    counts
        .iter()
        .position(|count| {
            below += as_f64(*count);
            below >= order
        })
        .unwrap_or(counts.len() - 1)
}

/// Where this many durations lie below, if they lie evenly in their bucket; the lowest begins at 0.
fn within_bucket(bounds: &[f64], counts: &[u64], expected: f64) -> f64 {
    let bucket = bucket_of(counts, expected);
    let below: f64 = counts[..bucket].iter().map(|count| as_f64(*count)).sum();
    let start = bucket.checked_sub(1).map_or(bounds[0].min(0.0), |before| bounds[before]);
    let end = bounds.get(bucket).copied().unwrap_or(start);
    let count = as_f64(counts[bucket]);
    let share = if count > 0.0 { ((expected - below) / count).clamp(0.0, 1.0) } else { 0.0 };
    start + (end - start) * share
}

#[cfg(test)]
mod tests;
