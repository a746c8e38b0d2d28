//! One metric's classification: the canary's values against the baseline's.
//!
//! Kayenta's `NetflixACAJudge-v1.0` (spinnaker/kayenta a69573b) fixes the tolerance and the confidence in its code,
//! so they are no configuration here either: the point of this judge is the same answer as there.

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, Normal};

use super::mann_whitney::{self, Shift, size};
use super::metric::{Direction, Measure, Metric, NanStrategy, Outliers};

/// Largest absolute value that is judged; larger ones, and infinities, count as missing: their differences overflow.
const LARGEST: f64 = 1e300;

/// Standard deviation of the noise on two different constants, relative to each constant.
const NOISE: f64 = 1e-5;

/// What Kayenta says of one metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Label {
    /// No difference that counts.
    Pass,
    /// The canary's values are higher.
    High,
    /// The canary's values are lower.
    Low,
    /// An arm has no values, or too few to compare.
    NoData,
    /// An arm has no values although the metric must have some; counts against the canary.
    NoDataFailMetric,
}

/// One metric's result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Classification {
    /// The result.
    pub label: Label,
    /// Whether it fails the deployment by itself, whatever the other metrics say.
    pub critical: bool,
    /// Mean of the canary over mean of the baseline, 1 where nothing was compared; `None` if either mean is zero.
    pub deviation: Option<f64>,
    /// The effect size in the metric's measure; `None` if nothing was compared or it is undefined.
    pub effect: Option<f64>,
    /// The difference canary minus baseline in the value's unit; `None` if nothing was compared.
    pub interval: Option<Shift>,
    /// For people, in one sentence without a full stop.
    pub reason: String,
}

/// What Kayenta has as constants; its tests use others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    /// Part of the estimated shift that the nearer end of the interval must exceed; in [0, 1).
    pub(super) tolerance: f64,
    /// Of the two-sided interval; in (0, 1).
    pub(super) confidence: f64,
}

/// The constants of `NetflixACAJudge-v1.0`.
pub(super) const RULE: Rule = Rule { tolerance: 0.25, confidence: 0.98 };

/// Classifies the canary's values against the baseline's, one value per scrape; NaN where one is missing.
///
/// Deterministic, and defined for every input: values that are infinite or beyond 1e300 count as missing.
/// Differs from Kayenta in two corners: where Kayenta stops with an error (all values tied although the arms differ,
/// such as one value per arm) this is [`Label::NoData`] and not critical, and the noise on constants is not random.
pub fn classify(metric: &Metric, canary: &[f64], baseline: &[f64]) -> Classification {
    classify_by(RULE, metric, canary, baseline)
}

pub(super) fn classify_by(
    rule: Rule,
    metric: &Metric,
    canary: &[f64],
    baseline: &[f64],
) -> Classification {
    let [mut canary, mut baseline] = [canary, baseline].map(|arm| prepared(metric, arm));
    if canary.is_empty() || baseline.is_empty() {
        return without_values(metric, canary.is_empty());
    }
    let [mut ascending, mut other] = [canary.clone(), baseline.clone()];
    ascending.sort_by(f64::total_cmp);
    other.sort_by(f64::total_cmp);
    if ascending == other {
        return passed("canary and baseline have the same values".into());
    }
    if let (Some(a), Some(b)) = (constant(&ascending), constant(&other)) {
        if same(a, b) {
            return passed("canary and baseline have one and the same constant value".into());
        }
        spread(&mut canary);
        spread(&mut baseline);
    }
    let Some(shift) =
        mann_whitney::test(&canary, &baseline, mann_whitney::TOLERANCE, rule.confidence)
    else {
        return Classification {
            label: Label::NoData,
            reason: "too few different values to compare the arms".into(),
            ..passed(String::new())
        };
    };
    compared(rule, metric, &canary, &baseline, shift)
}

/// The label of a computed shift.
fn compared(
    rule: Rule,
    metric: &Metric,
    canary: &[f64],
    baseline: &[f64],
    shift: Shift,
) -> Classification {
    let deviation = mean_ratio(canary, baseline);
    let limits = &metric.effect_size;
    let effect = match limits.measure {
        Measure::MeanRatio => deviation,
        Measure::Cles => mann_whitney::exceedance(canary, baseline),
    };
    // An effect that is undefined is not checked, so that the shift alone decides.
    let at_least = |limit: f64| effect.is_none_or(|effect| effect >= limit);
    let at_most = |limit: f64| effect.is_none_or(|effect| effect <= limit);
    let direction = metric.direction();
    let bound = rule.tolerance * shift.estimate.abs();
    let high = direction != Direction::Decrease
        && shift.lower > bound
        && at_least(limits.allowed_increase());
    let low = direction != Direction::Increase
        && shift.upper < -bound
        && at_most(limits.allowed_decrease());
    let (label, beyond, words) = if high {
        (Label::High, at_least(limits.critical_increase()), "canary is higher than baseline")
    } else if low {
        (Label::Low, at_most(limits.critical_decrease()), "canary is lower than baseline")
    } else {
        (Label::Pass, false, "no difference that counts")
    };
    let mean = match deviation {
        Some(ratio) => format!("mean {} times the baseline's", short(ratio)),
        None => "a mean is zero, so the effect size is not checked".into(),
    };
    Classification {
        label,
        critical: metric.critical && beyond,
        deviation,
        effect,
        interval: Some(shift),
        reason: format!(
            "{words}: difference {} ({} % interval {} to {}), {mean}",
            short(shift.estimate),
            short(rule.confidence * 100.0),
            short(shift.lower),
            short(shift.upper),
        ),
    }
}

/// The classification where an arm has no values.
fn without_values(metric: &Metric, canary: bool) -> Classification {
    let reason = format!("{} has no values", if canary { "canary" } else { "baseline" });
    let (label, critical) = match metric.nan_strategy {
        NanStrategy::Replace => (Label::Pass, false),
        NanStrategy::Remove if metric.must_have_data && !metric.critical => {
            (Label::NoDataFailMetric, false)
        }
        NanStrategy::Remove => (Label::NoData, metric.critical),
    };
    Classification { label, critical, ..passed(reason) }
}

fn passed(reason: String) -> Classification {
    Classification {
        label: Label::Pass,
        critical: false,
        deviation: Some(1.0),
        effect: None,
        interval: None,
        reason,
    }
}

/// One arm's values without gaps and, if asked for, without outliers.
fn prepared(metric: &Metric, values: &[f64]) -> Vec<f64> {
    let known = |value: &f64| value.abs() <= LARGEST;
    let values: Vec<f64> = match metric.nan_strategy {
        NanStrategy::Remove => values.iter().copied().filter(known).collect(),
        NanStrategy::Replace => values.iter().map(|v| if known(v) { *v } else { 0.0 }).collect(),
    };
    // Minus zero would count as another value than zero.
    let mut values: Vec<f64> = values.into_iter().map(|v| v + 0.0).collect();
    if let Outliers::Remove { factor } = metric.outliers
        && let Some((lower, upper)) = fences(&values, factor)
    {
        values.retain(|v| !(*v < lower || *v > upper));
    }
    values
}

/// Below and above which values are outliers; `None` without values.
///
/// `factor` interquartile ranges beyond the quartiles, but never within the 1st to 99th percentile.
pub(super) fn fences(values: &[f64], factor: f64) -> Option<(f64, f64)> {
    let mut ascending = values.to_vec();
    ascending.sort_by(f64::total_cmp);
    let at = |share| percentile(&ascending, share);
    let (lower, upper) = (at(0.25)?, at(0.75)?);
    let range = factor * (upper - lower);
    Some((at(0.01)?.min(lower - range), at(0.99)?.max(upper + range)))
}

/// Type 7 of Hyndman & Fan, The American Statistician 50 (1996): linear between the order statistics.
fn percentile(ascending: &[f64], share: f64) -> Option<f64> {
    let place = share * size(ascending.len().checked_sub(1)?);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "from 0 to the length, and the whole part is meant"
    )]
    let below = place as usize;
    let value = *ascending.get(below)?;
    let next = ascending.get(below + 1).copied().unwrap_or(value);
    Some(value + (place - place.floor()) * (next - value))
}

/// The one value of a sorted arm without any other.
fn constant(ascending: &[f64]) -> Option<f64> {
    let (first, last) = (*ascending.first()?, *ascending.last()?);
    same(first, last).then_some(first)
}

fn same(a: f64, b: f64) -> bool {
    a.total_cmp(&b).is_eq()
}

/// Spreads a constant arm a little, as a normal sample with a standard deviation of 0.00001 times the constant.
///
/// Between two constants every shift ties all values or none, so that no interval exists. Kayenta adds unseeded
/// normal noise to have one, and so answers a little differently each time. The quantiles of the same normal
/// distribution, one per value, are an even sample of it: the label can differ only where Kayenta's is a matter of
/// chance, for constants closer together than the noise. A constant of zero gets none, as there.
fn spread(values: &mut [f64]) {
    let normal = Normal::standard();
    let count = size(values.len());
    for (index, value) in values.iter_mut().enumerate() {
        *value += NOISE * value.abs() * normal.inverse_cdf((size(index) + 0.5) / count);
    }
}

/// Mean of the canary over mean of the baseline; `None` if either is zero.
fn mean_ratio(canary: &[f64], baseline: &[f64]) -> Option<f64> {
    let (canary, baseline) = (mean(canary), mean(baseline));
    (canary != 0.0 && baseline != 0.0).then(|| canary / baseline)
}

/// The mean, with the rounding error of a first pass taken out in a second.
fn mean(values: &[f64]) -> f64 {
    let count = size(values.len());
    let first = values.iter().sum::<f64>() / count;
    first + values.iter().map(|v| v - first).sum::<f64>() / count
}

/// A number with about three significant digits, for people.
fn short(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 || (1e-3..1e6).contains(&size) {
        let digits = match size {
            s if s >= 100.0 => 0,
            s if s >= 10.0 => 1,
            s if s >= 1.0 || s == 0.0 => 2,
            _ => 4,
        };
        let text = format!("{value:.digits$}");
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text
        }
    } else {
        format!("{value:.2e}")
    }
}
