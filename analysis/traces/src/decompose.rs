//! The exact decomposition: what each operation adds to the change of the mean, and whether that is more than chance.
//!
//! Standardised over strata, `dT = sum of D(k)`; each `D(k)` splits exactly into "called more often" and "each call
//! slower" (Kitagawa, "Components of a difference between two rates", JASA 1955). The unit of the test is the trace:
//! calls within one are not independent. Welch per stratum on winsorised values, with the variance of whole time
//! blocks where bursts make that much larger.

use serde::{Deserialize, Serialize};

use crate::pods::PodSpread;
use crate::rows::{Cell, Row};
use crate::statistics::{len_f64, two_sided};
use crate::strata::{Strata, uniform};

/// Values above this quantile count as this quantile in tests, so that one outlier decides nothing.
const WINSORISED: f64 = 0.995;

/// Block variance counts when it is larger by this factor.
const BURSTY: f64 = 1.5;

/// Fewer time blocks than this say nothing about bursts.
const LEAST_BLOCKS: f64 = 10.0;

/// Changes below this many seconds are rounding.
const ROUNDING: f64 = 1e-12;

/// How often and how long, per request, over all strata as the canary weighs them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Level {
    /// Calls per request that the request waited for.
    pub calls: f64,
    /// Seconds per request that are the operation's own.
    pub seconds: f64,
}

impl Level {
    /// Seconds per call; 0 without calls.
    pub fn each(self) -> f64 {
        if self.calls > 0.0 { self.seconds / self.calls } else { 0.0 }
    }
}

/// What one operation adds to the change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Effect {
    /// `D(k)`: seconds per request that the canary adds; the sum over all operations is the whole change.
    pub change: f64,
    /// The part of it from more calls, in seconds; all of it for a new call.
    pub by_calls: f64,
    /// The part of it from slower calls, in seconds.
    pub by_time: f64,
    /// The baseline.
    pub baseline: Level,
    /// The canary.
    pub canary: Level,
    /// Standard error of `change`, in seconds.
    pub error: f64,
    /// Two-sided p-value of "no change", from winsorised values.
    pub p: f64,
}

/// Sums of one arm by stratum and column.
struct Arm {
    weight: Vec<f64>,
    groups: [Vec<f64>; 2],
    group_squares: [Vec<f64>; 2],
    value: Vec<f64>,
    winsorised: Vec<f64>,
    calls: Vec<f64>,
    squares: [Vec<f64>; 2],
    products: [Vec<f64>; 2],
}

/// The effect of each column.
///
/// `pods` is what differing pods add to the variance, `cells` gives a row's cells, `measure` the value and the number of calls of one of them.
pub(crate) fn effects<'a>(
    columns: usize,
    strata: &Strata,
    baseline: &'a [Row],
    canary: &'a [Row],
    pods: PodSpread,
    cells: impl Fn(&'a Row) -> &'a [Cell] + Copy,
    measure: impl Fn(&Row, &Cell) -> (f64, f64) + Copy,
) -> Vec<Effect> {
    let caps = caps(columns, strata, [baseline, canary], cells, measure);
    let old = arm(columns, strata, baseline, &caps, cells, measure);
    let new = arm(columns, strata, canary, &caps, cells, measure);
    (0..columns).map(|column| effect(column, columns, strata, pods, [&old, &new])).collect()
}

fn effect(
    column: usize,
    columns: usize,
    strata: &Strata,
    pods: PodSpread,
    [old, new]: [&Arm; 2],
) -> Effect {
    let mut effect = Effect::default();
    let (mut tested, mut variance, mut spread) = (0.0, 0.0, 0.0);
    for (stratum, share) in strata.share.iter().copied().enumerate() {
        let at = stratum * columns + column;
        let mean = |arm: &Arm, of: &[f64]| of[at] / arm.weight[stratum];
        let (w_old, w_new) = (mean(old, &old.value), mean(new, &new.value));
        let (n_old, n_new) = (mean(old, &old.calls), mean(new, &new.calls));
        let change = share * (w_new - w_old);
        effect.change += change;
        if n_old > 0.0 && n_new > 0.0 {
            let (t_old, t_new) = (w_old / n_old, w_new / n_new);
            effect.by_calls += share * (n_new - n_old) * (t_old + t_new) / 2.0;
            effect.by_time += share * (t_new - t_old) * (n_old + n_new) / 2.0;
        } else {
            effect.by_calls += change;
        }
        effect.baseline.calls += share * n_old;
        effect.baseline.seconds += share * w_old;
        effect.canary.calls += share * n_new;
        effect.canary.seconds += share * w_new;
        tested += share * (mean(new, &new.winsorised) - mean(old, &old.winsorised));
        for arm in [old, new] {
            let (of_mean, groups) = arm.variance_of_mean(stratum, at);
            let part = share * share * of_mean;
            variance += part;
            spread += part * part / (groups - 1.0).max(1.0);
        }
    }
    if pods.variance > 0.0 {
        let part = pods.variance * effect.baseline.seconds.max(effect.canary.seconds).powi(2);
        variance += part;
        spread += part * part / pods.freedom;
    }
    effect.error = variance.sqrt();
    effect.p = if tested.abs() < ROUNDING {
        1.0
    } else {
        two_sided(tested / effect.error, variance * variance / spread)
    };
    effect
}

impl Arm {
    /// Variance of the weighted mean of winsorised values, and of how many independent groups.
    fn variance_of_mean(&self, stratum: usize, at: usize) -> (f64, f64) {
        let weight = self.weight[stratum];
        let mean = self.winsorised[at] / weight;
        let by = |kind: usize| {
            let groups = self.groups[kind][stratum];
            let sum = self.squares[kind][at] - 2.0 * mean * self.products[kind][at]
                + mean * mean * self.group_squares[kind][stratum];
            (sum.max(0.0) * groups / (groups - 1.0).max(1.0) / (weight * weight), groups)
        };
        let (traces, blocks) = (by(0), by(1));
        if blocks.1 >= LEAST_BLOCKS && blocks.0 > BURSTY * traces.0 { blocks } else { traces }
    }
}

/// Largest value that a test takes into account, by stratum and column, over both arms.
fn caps<'a>(
    columns: usize,
    strata: &Strata,
    arms: [&'a [Row]; 2],
    cells: impl Fn(&'a Row) -> &'a [Cell],
    measure: impl Fn(&Row, &Cell) -> (f64, f64),
) -> Vec<f64> {
    let mut values: Vec<Vec<f64>> = vec![Vec::new(); columns * strata.share.len()];
    let mut rows = vec![0_usize; strata.share.len()];
    for (row, stratum) in arms.into_iter().flat_map(uniform) {
        rows[stratum] += 1;
        for cell in cells(row) {
            let value = measure(row, cell).0;
            if value > 0.0 {
                values[stratum * columns + index(cell.column)].push(value);
            }
        }
    }
    values
        .iter_mut()
        .enumerate()
        .map(|(at, values)| {
            let above = above(rows[at / columns.max(1)]);
            if values.len() <= above {
                return f64::INFINITY;
            }
            let rank = values.len() - 1 - above;
            *values.select_nth_unstable_by(rank, f64::total_cmp).1
        })
        .collect()
}

/// How many of so many values are above the winsorising quantile.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a length is a length"
)]
fn above(rows: usize) -> usize {
    ((1.0 - WINSORISED) * len_f64(rows)) as usize
}

fn arm<'a>(
    columns: usize,
    strata: &Strata,
    rows: &'a [Row],
    caps: &[f64],
    cells: impl Fn(&'a Row) -> &'a [Cell],
    measure: impl Fn(&Row, &Cell) -> (f64, f64),
) -> Arm {
    let many = strata.share.len();
    let per_stratum = || vec![0.0; many];
    let per_column = || vec![0.0; many * columns];
    let mut arm = Arm {
        weight: per_stratum(),
        groups: [per_stratum(), per_stratum()],
        group_squares: [per_stratum(), per_stratum()],
        value: per_column(),
        winsorised: per_column(),
        calls: per_column(),
        squares: [per_column(), per_column()],
        products: [per_column(), per_column()],
    };
    let mut rows: Vec<(&Row, usize)> = uniform(rows).collect();
    let mut group = vec![0.0; columns];
    let mut touched: Vec<usize> = Vec::new();
    for kind in [0, 1] {
        let group_of = |(row, stratum): &(&Row, usize)| {
            (*stratum, if kind == 0 { row.trace.0 } else { u128::from(row.block) })
        };
        rows.sort_by_key(group_of);
        for members in rows.chunk_by(|a, b| group_of(a) == group_of(b)) {
            let stratum = members[0].1;
            let mut weight = 0.0;
            for (row, _) in members {
                weight += row.weight;
                for cell in cells(row) {
                    let column = index(cell.column);
                    let at = stratum * columns + column;
                    let (value, calls) = measure(row, cell);
                    let limited = row.weight * value.min(caps[at]);
                    if group[column] == 0.0 {
                        touched.push(column);
                    }
                    group[column] += limited;
                    if kind == 0 {
                        arm.value[at] += row.weight * value;
                        arm.winsorised[at] += limited;
                        arm.calls[at] += row.weight * calls;
                    }
                }
            }
            if kind == 0 {
                arm.weight[stratum] += weight;
            }
            arm.groups[kind][stratum] += 1.0;
            arm.group_squares[kind][stratum] += weight * weight;
            for column in touched.drain(..) {
                let at = stratum * columns + column;
                let sum = std::mem::take(&mut group[column]);
                arm.squares[kind][at] += sum * sum;
                arm.products[kind][at] += sum * weight;
            }
        }
    }
    arm
}

fn index(column: u32) -> usize {
    usize::try_from(column).unwrap_or(usize::MAX)
}
