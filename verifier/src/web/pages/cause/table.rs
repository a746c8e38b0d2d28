//! The table of operations: one unit for a column, so that numbers can be compared by looking.

use analysis_traces::{RootCause, p_value};
use serde::Serialize;

use super::picture::side;
use crate::cause::short::{plain, shortened};

/// Rows that are shown; the others add up in one.
const ROWS: usize = 12;

#[derive(Debug, Serialize)]
pub(super) struct Table {
    /// Unit of the seconds of one call.
    each: &'static str,
    /// Unit of the changes.
    change: &'static str,
    rows: Vec<Row>,
    others: String,
    whole: String,
}

#[derive(Debug, Serialize)]
struct Row {
    name: String,
    service: String,
    /// The first finding is about it.
    word: Option<&'static str>,
    calls: [String; 2],
    each: [String; 2],
    change: String,
    by_calls: String,
    by_time: String,
    p: String,
}

/// A unit of time in which a column is shown.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Unit {
    name: &'static str,
    factor: f64,
    decimals: usize,
}

impl Unit {
    /// The one in which the largest value has one to four digits before the point.
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let most = values.map(f64::abs).filter(|value| value.is_finite()).fold(0.0, f64::max);
        let (name, factor) = match most {
            10.0.. => ("s", 1.0),
            1e-3.. => ("ms", 1e3),
            _ => ("us", 1e6),
        };
        Self { name, factor, decimals: if most * factor >= 1_000.0 { 0 } else { 2 } }
    }

    fn plain(self, seconds: f64) -> String {
        format!("{:.*}", self.decimals, seconds * self.factor)
    }

    /// With its sign, and none where nothing is left after rounding.
    fn signed(self, seconds: f64) -> String {
        let text = self.plain(seconds.abs());
        if text.chars().all(|sign| matches!(sign, '0' | '.')) {
            text
        } else {
            format!("{}{text}", if seconds < 0.0 { '−' } else { '+' })
        }
    }
}

pub(super) fn table(root: &RootCause) -> Option<Table> {
    if root.operations.is_empty() {
        return None;
    }
    let shown = || root.operations.iter().take(ROWS);
    let each = Unit::of(shown().flat_map(|row| {
        [row.effect.baseline, row.effect.canary].map(analysis_traces::Level::each)
    }));
    let changes = shown().map(|row| row.effect.change).chain([root.change.adjusted]);
    let change = Unit::of(changes);
    let first = root.findings.first();
    let row = |row: &analysis_traces::OperationChange| {
        let effect = &row.effect;
        let of_first = first.filter(|first| first.operation.as_ref() == Some(&row.operation));
        Row {
            name: shortened(&plain(&row.operation.name), 80),
            service: side(&row.operation.service, row.operation.kind),
            word: of_first.map(|first| first.cause.words()),
            calls: [effect.baseline, effect.canary].map(|level| format!("{:.2}", level.calls)),
            each: [effect.baseline, effect.canary].map(|level| each.plain(level.each())),
            change: change.signed(effect.change),
            by_calls: change.signed(effect.by_calls),
            by_time: change.signed(effect.by_time),
            p: p_value(effect.p),
        }
    };
    let others: f64 = root.operations.iter().skip(ROWS).map(|row| row.effect.change).sum();
    Some(Table {
        each: each.name,
        change: change.name,
        rows: shown().map(row).collect(),
        others: change.signed(others + root.rest),
        whole: change.signed(root.change.adjusted),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_has_the_unit_of_its_largest_value() {
        let unit = |values: &[f64]| Unit::of(values.iter().copied());
        let shown = |values: &[f64]| {
            let unit = unit(values);
            (
                unit.name,
                values.iter().map(|value| unit.signed(*value)).collect::<Vec<_>>().join(" "),
            )
        };
        assert_eq!(shown(&[0.0315, -0.000_34, 0.000_001]), ("ms", "+31.50 −0.34 0.00".to_owned()));
        assert_eq!(shown(&[1.5, -0.02]), ("ms", "+1500 −20".to_owned()));
        assert_eq!(shown(&[20.0, f64::NAN]), ("s", "+20.00 +NaN".to_owned()));
        assert_eq!(shown(&[2e-5]), ("us", "+20.00".to_owned()));
        assert_eq!(shown(&[]), ("us", String::new()));
    }
}
