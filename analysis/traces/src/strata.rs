//! Which requests are compared with which: the same entry operation in both arms.
//!
//! Each stratum weighs as much as it does in the canary's traffic (direct standardisation), so that a canary which
//! happens to serve more of a slow route does not look slow.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::rows::{Row, Rows};
use crate::statistics::{as_f64, quantile};
use crate::tree::Kept;

/// Shares of the pooled rest may differ by this much of the larger one: more, and it is not the same traffic.
const POOL_SHARES: f64 = 0.25;

/// How the traces of an entry operation were compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Compared {
    /// With those of the same operation.
    Alone,
    /// Together with other operations that have few traces.
    Pooled,
    /// Not: one arm has too few.
    Not,
}

/// One entry operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stratum {
    /// Its name.
    pub entry: String,
    /// Traces of the baseline, kept by chance.
    pub baseline: u64,
    /// Traces of the canary, kept by chance.
    pub canary: u64,
    /// How they were compared.
    pub compared: Compared,
}

/// The strata that are compared.
#[derive(Debug, Default)]
pub(crate) struct Strata {
    /// Share of the canary's compared traffic; sums to 1.
    pub(crate) share: Vec<f64>,
    /// The baseline's 95th percentile, in seconds.
    pub(crate) slow: Vec<f64>,
    /// All entry operations, by falling number of canary traces.
    pub(crate) all: Vec<Stratum>,
}

/// Gives each row its stratum. An arm needs `least` traces for one.
pub(crate) fn stratify(rows: &mut Rows, least: u64) -> Strata {
    let mut counts: BTreeMap<u32, [u64; 2]> = BTreeMap::new();
    for (arm, rows) in [&rows.baseline, &rows.canary].into_iter().enumerate() {
        for row in rows.iter().filter(|row| row.kept == Kept::Uniform) {
            counts.entry(row.entry).or_default()[arm] += 1;
        }
    }
    let least = least.max(2);
    let enough = |count: &[u64; 2]| count.iter().all(|count| *count >= least);
    let mut rest = [0; 2];
    let mut all = [0; 2];
    for count in counts.values() {
        for arm in [0, 1] {
            all[arm] += count[arm];
            rest[arm] += if enough(count) { 0 } else { count[arm] };
        }
    }
    let shares = [0, 1].map(|arm| as_f64(rest[arm]) / as_f64(all[arm].max(1)));
    let is_alike = (shares[0] - shares[1]).abs() <= POOL_SHARES * shares[0].max(shares[1]);
    let pools = enough(&rest) && is_alike;

    let mut strata = Strata::default();
    let mut numbers: BTreeMap<u32, usize> = BTreeMap::new();
    let mut compared = 0;
    for (entry, count) in &counts {
        if enough(count) {
            numbers.insert(*entry, compared);
            compared += 1;
        }
    }
    for (entry, count) in &counts {
        let how = match (enough(count), pools) {
            (true, _) => Compared::Alone,
            (false, true) => Compared::Pooled,
            (false, false) => Compared::Not,
        };
        if how == Compared::Pooled {
            numbers.insert(*entry, compared);
        }
        let name = rows.operations.get(*entry).map(ToString::to_string).unwrap_or_default();
        let [baseline, canary] = *count;
        strata.all.push(Stratum { entry: name, baseline, canary, compared: how });
    }
    compared += usize::from(pools);
    strata.all.sort_by(|a, b| b.canary.cmp(&a.canary).then(b.baseline.cmp(&a.baseline)));

    for row in rows.baseline.iter_mut().chain(&mut rows.canary) {
        row.stratum = numbers.get(&row.entry).copied();
    }
    strata.share = vec![0.0; compared];
    let mut total = 0.0;
    for (row, stratum) in uniform(&rows.canary) {
        strata.share[stratum] += row.weight;
        total += row.weight;
    }
    for share in &mut strata.share {
        *share /= total;
    }
    let mut seconds = vec![Vec::new(); compared];
    for (row, stratum) in uniform(&rows.baseline) {
        seconds[stratum].push(row.seconds);
    }
    strata.slow = seconds.iter_mut().map(|seconds| quantile(seconds, 0.95)).collect();
    strata
}

/// Rows whose times are compared, with their strata.
pub(crate) fn uniform(rows: &[Row]) -> impl Iterator<Item = (&Row, usize)> {
    rows.iter().filter(|row| row.kept == Kept::Uniform).filter_map(|row| Some((row, row.stratum?)))
}
