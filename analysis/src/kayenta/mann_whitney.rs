//! How far the canary's values lie above the baseline's: the Hodges-Lehmann shift and its confidence interval.
//!
//! Both come from inverting the Wilcoxon rank-sum test, as R's `wilcox.test` does without exact tables: the shift
//! that makes the arms look alike, and the largest and smallest that the test does not reject. R and Kayenta stop the
//! search at an absolute 0.0001, and teams compare their old results, so the search steps exactly as theirs does:
//! another root finder would stop elsewhere within the tolerance.

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, Normal};

/// Absolute tolerance with which Kayenta finds a shift, in the unit of the values.
///
/// Values of a small unit, such as an error share of 0.001, are distorted by it: when all differences between the
/// arms are smaller, the interval is the range of those differences.
pub const TOLERANCE: f64 = 1e-4;

/// Steps of one search; bisection alone needs fewer than a tenth for any two doubles of similar size.
const MOST_STEPS: usize = 1001;

/// An estimated difference canary minus baseline, in the unit of the values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Shift {
    /// Lower end of the two-sided confidence interval, at one look.
    pub lower: f64,
    /// The Hodges-Lehmann estimate: about the median of all differences.
    pub estimate: f64,
    /// Upper end of the two-sided confidence interval, at one look.
    ///
    /// Below `lower` in rare cases of many ties, as in Kayenta: each end stops within the tolerance of its own.
    pub upper: f64,
}

/// The shift of `canary` against `baseline` with a two-sided interval of `confidence` in (0, 1), found to `tolerance`.
///
/// `None` if it cannot be computed: an arm is empty or has a value that is not finite, or all values are tied.
/// Corrected for ties and continuity (Hollander & Wolfe, Nonparametric Statistical Methods, sections 4.1 to 4.3).
pub fn test(canary: &[f64], baseline: &[f64], tolerance: f64, confidence: f64) -> Option<Shift> {
    invert(canary, baseline, confidence, |low, high, function| root(low, high, tolerance, function))
}

/// As [`test()`], at the precision of doubles and by definition: the smallest shift that the statistic does not exceed.
///
/// The statistic is a step function, so that a search may stop anywhere on a step of height zero. Kayenta's answer is
/// any point of it; this one is its lower edge, against which other implementations can be held.
pub fn exact(canary: &[f64], baseline: &[f64], confidence: f64) -> Option<Shift> {
    invert(canary, baseline, confidence, bisect)
}

/// Where the statistic of `Ranks` crosses zero and both quantiles of `confidence`, by the search `find`.
fn invert(
    canary: &[f64],
    baseline: &[f64],
    confidence: f64,
    find: impl Fn(Point, Point, &dyn Fn(f64) -> Option<f64>) -> Option<f64>,
) -> Option<Shift> {
    let ranks = Ranks { canary: sorted(canary), baseline: sorted(baseline) };
    let least = ranks.canary.first()? - ranks.baseline.last()?;
    let most = ranks.canary.last()? - ranks.baseline.first()?;
    if !(least.is_finite() && most.is_finite() && confidence > 0.0 && confidence < 1.0) {
        return None;
    }
    let crossing = |quantile: f64, clamped: bool| {
        let excess = |shift: f64| Some(ranks.deviation(shift)? - quantile);
        let low = Point { x: least, y: excess(least)? };
        let high = Point { x: most, y: excess(most)? };
        match clamped {
            true if low.y <= 0.0 => Some(least),
            true if high.y >= 0.0 => Some(most),
            _ => find(low, high, &excess),
        }
    };
    let quantile = -Normal::standard().inverse_cdf((1.0 - confidence) / 2.0);
    Some(Shift {
        lower: crossing(quantile, true)?,
        estimate: crossing(0.0, false)?,
        upper: crossing(-quantile, true)?,
    })
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values
}

/// Probability that a value of `canary` exceeds one of `baseline`, ties counted half; `None` if an arm is empty.
///
/// The common language effect size of Vargha & Delaney, Journal of Educational and Behavioral Statistics 25 (2000).
pub(super) fn exceedance(canary: &[f64], baseline: &[f64]) -> Option<f64> {
    if canary.is_empty() || baseline.is_empty() {
        return None;
    }
    let (sum, _) = Ranks { canary: sorted(canary), baseline: sorted(baseline) }.sum(0.0);
    let (m, n) = (size(canary.len()), size(baseline.len()));
    Some((2.0 * sum - m * (m + 1.0)) / (2.0 * n * m))
}

/// Both arms in ascending order.
struct Ranks {
    canary: Vec<f64>,
    baseline: Vec<f64>,
}

impl Ranks {
    /// Sum of the ranks of the canary's values less `shift` among all values, ties sharing their mean rank, and the
    /// sum of t^3 - t over the sizes t of the groups of ties.
    fn sum(&self, shift: f64) -> (f64, f64) {
        // Subtracting keeps the order, so that one pass over both sorted arms is enough.
        let (mut canary, mut baseline) = (self.canary.as_slice(), self.baseline.as_slice());
        let (mut ranked, mut sum, mut ties) = (0.0, 0.0, 0.0);
        loop {
            let value = match (canary.first(), baseline.first()) {
                (Some(a), Some(b)) => (a - shift).min(*b),
                (Some(a), None) => a - shift,
                (None, Some(b)) => *b,
                (None, None) => return (sum, ties),
            };
            let ours = canary.iter().take_while(|a| **a - shift <= value).count();
            let theirs = baseline.iter().take_while(|b| **b <= value).count();
            let tied = size(ours + theirs);
            sum += size(ours) * (ranked + f64::midpoint(1.0, tied));
            ties += tied * tied * tied - tied;
            ranked += tied;
            (canary, baseline) = (&canary[ours..], &baseline[theirs..]);
        }
    }

    /// Standardised rank sum of the canary's values less `shift`; `None` if all values are tied.
    fn deviation(&self, shift: f64) -> Option<f64> {
        let (m, n) = (size(self.canary.len()), size(self.baseline.len()));
        let (sum, ties) = self.sum(shift);
        let above = sum - m * (m + 1.0) / 2.0 - m * n / 2.0;
        let continuity = if above == 0.0 { 0.0 } else { 0.5_f64.copysign(above) };
        let all = m + n;
        let spread = (m * n / 12.0 * (all + 1.0 - ties / (all * (all - 1.0)))).sqrt();
        (spread > 0.0).then(|| (above - continuity) / spread)
    }
}

#[expect(clippy::cast_precision_loss, reason = "no arm has 2^53 values")]
pub(super) fn size(count: usize) -> f64 {
    count as f64
}

#[derive(Clone, Copy)]
struct Point {
    x: f64,
    y: f64,
}

/// The smallest double from `low` on at which `function`, which never rises, is not above zero; `high` if none before.
fn bisect(low: Point, high: Point, function: &dyn Fn(f64) -> Option<f64>) -> Option<f64> {
    if low.y <= 0.0 {
        return Some(low.x);
    }
    let (mut above, mut found) = (low.x, high.x);
    loop {
        let middle = f64::midpoint(above, found);
        if middle <= above || middle >= found {
            return Some(found);
        }
        if function(middle)? > 0.0 {
            above = middle;
        } else {
            found = middle;
        }
    }
}

/// A zero of `function` between `low` and `high`, where its signs differ, to within `tolerance`.
///
/// Brent, Algorithms for Minimization without Derivatives (1973), section 4.2, in the variant of R's `uniroot`.
/// Where the ends do not enclose a zero it still ends, at one of the points that it tried.
fn root(
    low: Point,
    high: Point,
    tolerance: f64,
    function: &dyn Fn(f64) -> Option<f64>,
) -> Option<f64> {
    // `best` and `opposite` enclose the zero; `previous` is the estimate before `best`.
    let (mut previous, mut best, mut opposite) = (low, high, low);
    if low.y == 0.0 {
        return Some(low.x);
    }
    for _ in 0..MOST_STEPS {
        let last_step = best.x - previous.x;
        if opposite.y.abs() < best.y.abs() {
            (previous, best, opposite) = (best, opposite, best);
        }
        let smallest = 2.0 * f64::EPSILON * best.x.abs() + tolerance / 2.0;
        let width = opposite.x - best.x;
        if (width / 2.0).abs() <= smallest || best.y == 0.0 {
            break;
        }
        let mut step = width / 2.0;
        if last_step.abs() >= smallest && previous.y.abs() > best.y.abs() {
            step = interpolated(previous, best, opposite, smallest, last_step).unwrap_or(step);
        }
        if step.abs() < smallest {
            step = if step > 0.0 { smallest } else { -smallest };
        }
        previous = best;
        let x = best.x + step;
        best = Point { x, y: function(x)? };
        if (best.y > 0.0 && opposite.y > 0.0) || (best.y < 0.0 && opposite.y < 0.0) {
            opposite = previous;
        }
    }
    Some(best.x)
}

/// The step from `best` by a line through two points or an inverse parabola through three; `None` if it would leave
/// the enclosure or be more than half as long as the last one.
fn interpolated(
    previous: Point,
    best: Point,
    opposite: Point,
    smallest: f64,
    last_step: f64,
) -> Option<f64> {
    let width = opposite.x - best.x;
    let to_previous = best.y / previous.y;
    let (numerator, denominator) = if previous.x.total_cmp(&opposite.x).is_eq() {
        (width * to_previous, 1.0 - to_previous)
    } else {
        let (a, b) = (previous.y / opposite.y, best.y / opposite.y);
        (
            to_previous * (width * a * (a - b) - (best.x - previous.x) * (b - 1.0)),
            (a - 1.0) * (b - 1.0) * (to_previous - 1.0),
        )
    };
    let (p, q) =
        if numerator > 0.0 { (numerator, -denominator) } else { (-numerator, denominator) };
    let inside = p < 0.75 * width * q - (smallest * q).abs() / 2.0;
    (inside && p < (last_step * q / 2.0).abs()).then(|| p / q)
}
