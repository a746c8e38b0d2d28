//! Arm mix: whether both arms were asked the same kinds of requests.
//!
//! A split by chance gives both the same routes, tenants and regions. Where it does not (sticky sessions, a header
//! rule, a cache in front), a difference between the arms may be one between their requests: sample ratio mismatch
//! (Fabijan et al., KDD 2019). Then nothing is blamed before the split is understood.

use serde::{Deserialize, Serialize};

use crate::points::{ABSENT, Column, Point};
use crate::statistics::{chi_square_upper, len_f64};

/// Chance of a wrong warning, over all attributes.
const FALSE_WARNING: f64 = 1e-3;

/// Smallest difference of shares worth a warning.
const LEAST_DIFFERENCE: f64 = 0.05;

/// More values than this and counts are too small.
const MOST_VALUES: usize = 50;

/// Expected counts below this are pooled.
const LEAST_EXPECTED: f64 = 5.0;

/// An attribute whose values differ between the arms.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArmMix {
    /// The attribute, or `entry` for the entry operation.
    pub attribute: String,
    /// The value that differs most.
    pub value: String,
    /// Its share of the baseline's requests.
    pub baseline: f64,
    /// Its share of the canary's requests.
    pub canary: f64,
    /// Chi-square p-value of the attribute, times the number of attributes.
    pub p: f64,
}

/// Attributes that the caller decides, whatever the version does.
fn is_of_request(name: &str) -> bool {
    ["http.route", "http.request.method", "http.method", "user_agent", "client.", "geo.", "enduser"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
        || ["tenant", "region", "customer", "country", "platform"]
            .iter()
            .any(|part| name.contains(part))
}

/// The attributes of entries whose mix differs, the largest difference first.
pub(crate) fn mix(points: &[Point], columns: &[Column]) -> Vec<ArmMix> {
    let tested: Vec<ArmMix> = columns
        .iter()
        .filter(|column| column.of_entry && column.numbers.is_none())
        .filter(|column| (2..=MOST_VALUES).contains(&column.texts.len()))
        .filter_map(|column| compare(points, &column.name, &column.values, &column.texts))
        .collect();
    let tests = len_f64(tested.len());
    let mut found: Vec<ArmMix> = tested
        .into_iter()
        .map(|mix| ArmMix { p: (mix.p * tests).min(1.0), ..mix })
        .filter(|mix| mix.p < FALSE_WARNING)
        .filter(|mix| (mix.canary - mix.baseline).abs() >= LEAST_DIFFERENCE)
        .collect();
    let difference = |mix: &ArmMix| (mix.canary - mix.baseline).abs();
    found.sort_by(|a, b| {
        difference(b).total_cmp(&difference(a)).then(a.attribute.cmp(&b.attribute))
    });
    found
}

/// Compares one attribute; values are numbers from 1 with their texts.
pub(crate) fn compare(
    points: &[Point],
    name: &str,
    values: &[u32],
    texts: &[String],
) -> Option<ArmMix> {
    let mut counts = vec![[0.0; 2]; texts.len() + 1];
    for (point, value) in points.iter().zip(values).filter(|(point, _)| point.first) {
        if let Some(count) = usize::try_from(*value).ok().and_then(|at| counts.get_mut(at)) {
            count[point.arm] += 1.0;
        }
    }
    counts[usize::try_from(ABSENT).unwrap_or(0)] = [0.0; 2];
    let total = [0, 1].map(|arm| counts.iter().map(|count| count[arm]).sum::<f64>());
    if total.iter().any(|total| *total < 2.0 * LEAST_EXPECTED) {
        return None;
    }
    let share = |count: [f64; 2]| [count[0] / total[0], count[1] / total[1]];
    // A value that one version alone sets is the version's own word.
    let is_own = |count: &[f64; 2]| {
        let [baseline, canary] = share(*count);
        baseline.min(canary) <= 0.0 && baseline.max(canary) >= LEAST_DIFFERENCE
    };
    if !is_of_request(name) && name != ENTRY && counts.iter().any(is_own) {
        return None;
    }
    let (at, most) = counts.iter().enumerate().max_by(|a, b| {
        let difference = |count: [f64; 2]| (share(count)[1] - share(count)[0]).abs();
        difference(*a.1).total_cmp(&difference(*b.1))
    })?;
    let [baseline, canary] = share(*most);
    let p = chi_square(&counts, total)?;
    let value = texts.get(at.checked_sub(1)?)?.clone();
    Some(ArmMix { attribute: name.to_owned(), value, baseline, canary, p })
}

/// The name under which entry operations are compared.
pub(crate) const ENTRY: &str = "entry";

fn chi_square(counts: &[[f64; 2]], total: [f64; 2]) -> Option<f64> {
    let all = total[0] + total[1];
    let expected = |count: [f64; 2]| total.map(|total| total * (count[0] + count[1]) / all);
    let (mut statistic, mut cells, mut rare) = (0.0, 0, [0.0; 2]);
    let mut add = |count: [f64; 2]| {
        let expected = expected(count);
        if expected.iter().all(|expected| *expected >= LEAST_EXPECTED) {
            cells += 1;
            statistic +=
                (0..2).map(|arm| (count[arm] - expected[arm]).powi(2) / expected[arm]).sum::<f64>();
            return true;
        }
        false
    };
    for count in counts {
        if !add(*count) {
            rare = [rare[0] + count[0], rare[1] + count[1]];
        }
    }
    add(rare);
    (cells > 1).then(|| chi_square_upper(statistic, cells - 1))
}
