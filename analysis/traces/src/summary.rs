//! The comparison as a whole in numbers: both arms, the change, the table, what moved and what nobody waited for.

use std::collections::{BTreeSet, HashMap};

use crate::code::Diff;
use crate::finding::{ArmSummary, Change, Finding, Moved, OperationChange, Outside};
use crate::latency::Latency;
use crate::rows::{Row, Rows};
use crate::statistics::{Moments, quantile};
use crate::strata::{Strata, uniform};
use crate::tree::EntrySubtree;

/// Rows of the table.
const MOST_ROWS: usize = 50;

/// Lines of work that nobody waited for.
const MOST_OUTSIDE: usize = 10;

/// Two-sided 95 % of a normal variable.
const Z95: f64 = 1.959_963_984_540_054;

/// The service of most entries.
pub(crate) fn service_of(arms: [&[EntrySubtree]; 2]) -> String {
    let mut counts: HashMap<&str, u64> = HashMap::new();
    for subtree in arms.into_iter().flatten() {
        *counts.entry(&subtree.entry().resource.service).or_default() += 1;
    }
    let most = counts.into_iter().max_by(|a, b| a.1.cmp(&b.1).then(b.0.cmp(a.0)));
    most.map(|(service, _)| service.to_owned()).unwrap_or_default()
}

/// The change as a whole, and what no finding explains.
pub(crate) fn change(
    rows: &Rows,
    strata: &Strata,
    latency: &Latency<'_>,
    findings: &[Finding],
) -> Change {
    let mean = |rows: &[Row]| {
        let (mut sum, mut weight) = (0.0, 0.0);
        for (row, _) in uniform(rows) {
            sum += row.weight * row.seconds;
            weight += row.weight;
        }
        if weight > 0.0 { sum / weight } else { 0.0 }
    };
    if strata.share.is_empty() {
        return Change { p: 1.0, ..Change::default() };
    }
    let total = latency.total;
    let raw = mean(&rows.canary) - mean(&rows.baseline);
    let explained: f64 = findings
        .iter()
        .filter(|finding| !finding.tail_only)
        .filter(|finding| finding.effect.is_some())
        .map(|finding| finding.share * total.change.max(0.0))
        .sum();
    let half = Z95 * total.error;
    let half = if half.is_finite() { half } else { 0.0 };
    Change {
        raw,
        mix: raw - total.change,
        adjusted: total.change,
        interval: [total.change - half, total.change + half],
        p: total.p,
        tail: latency.tail_total.change,
        unexplained: total.change - explained,
        baseline: total.baseline,
        canary: total.canary,
    }
}

/// One arm in numbers.
pub(crate) fn summary(subtrees: &[EntrySubtree], rows: &[Row]) -> ArmSummary {
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let resources = || subtrees.iter().map(|subtree| &subtree.entry().resource);
    let instances: BTreeSet<&str> =
        resources().filter_map(|resource| resource.instance()).collect();
    let versions: BTreeSet<&str> = resources().filter_map(|resource| resource.version()).collect();
    let mut seconds: Vec<f64> = uniform(rows).map(|(row, _)| row.seconds).collect();
    let mut moments = Moments::default();
    for value in &seconds {
        moments.add(*value);
    }
    ArmSummary {
        traces: count(subtrees.len()),
        compared: count(seconds.len()),
        failed: count(rows.iter().filter(|row| row.failed).count()),
        instances: count(instances.len()),
        versions: versions.into_iter().take(5).map(str::to_owned).collect(),
        mean: moments.mean(),
        p50: quantile(&mut seconds, 0.5),
        p95: quantile(&mut seconds, 0.95),
        p99: quantile(&mut seconds, 0.99),
    }
}

/// The operations that changed most, and what all others add.
pub(crate) fn table_rows(rows: &Rows, latency: &Latency<'_>) -> (Vec<OperationChange>, f64) {
    let mut all: Vec<OperationChange> = (0..)
        .zip(latency.operations.iter().zip(&latency.tail))
        .filter(|(_, (effect, _))| effect.baseline.calls > 0.0 || effect.canary.calls > 0.0)
        .filter_map(|(number, (effect, tail))| {
            let operation = rows.operations.get(number)?.clone();
            Some(OperationChange { operation, effect: *effect, tail: tail.change })
        })
        .collect();
    all.sort_by(|a, b| b.effect.change.abs().total_cmp(&a.effect.change.abs()));
    let rest = all.iter().skip(MOST_ROWS).map(|row| row.effect.change).sum();
    all.truncate(MOST_ROWS);
    (all, rest)
}

/// Renamed operations, and those between which time moved.
pub(crate) fn moves(rows: &Rows, moved: &[(u32, u32)]) -> Vec<Moved> {
    let renamed =
        (0..).zip(&rows.alias).filter(|(new, old)| new != *old).map(|(new, old)| (*old, new));
    renamed
        .chain(moved.iter().copied())
        .filter_map(|(from, to)| {
            let operation = |number| rows.operations.get(number).cloned();
            Some(Moved { from: operation(from)?, to: operation(to)? })
        })
        .collect()
}

/// Work that no request waited for, the largest changes first.
pub(crate) fn outside(rows: &Rows) -> Vec<Outside> {
    let mut sums: HashMap<u32, [f64; 2]> = HashMap::new();
    let mut counts = [0.0_f64; 2];
    for (arm, rows) in [&rows.baseline, &rows.canary].into_iter().enumerate() {
        for (row, _) in uniform(rows) {
            counts[arm] += 1.0;
            for cell in row.cells.iter().filter(|cell| cell.outside > 0.0) {
                sums.entry(cell.column).or_default()[arm] += cell.outside;
            }
        }
    }
    let mut all: Vec<Outside> = sums
        .into_iter()
        .filter_map(|(number, [baseline, canary])| {
            let operation = rows.operations.get(number)?.clone();
            let (baseline, canary) = (baseline / counts[0].max(1.0), canary / counts[1].max(1.0));
            Some(Outside { operation, baseline, canary })
        })
        .collect();
    let size = |outside: &Outside| (outside.canary - outside.baseline).abs();
    all.sort_by(|a, b| size(b).total_cmp(&size(a)).then_with(|| a.operation.cmp(&b.operation)));
    all.truncate(MOST_OUTSIDE);
    all
}

/// Changed files that can change everything, when something was found and no place in the code was changed.
pub(crate) fn elsewhere(findings: &[Finding], diff: Option<&Diff>) -> Vec<String> {
    const TELLING: [&str; 20] = [
        "cargo.lock",
        "cargo.toml",
        "go.mod",
        "go.sum",
        "package.json",
        "package-lock.json",
        "yarn.lock",
        "pnpm-lock.yaml",
        "requirements.txt",
        "poetry.lock",
        "pyproject.toml",
        "pom.xml",
        "build.gradle",
        "build.gradle.kts",
        "gemfile.lock",
        "dockerfile",
        "values.yaml",
        "kustomization.yaml",
        "uv.lock",
        "gradle.lockfile",
    ];
    let Some(diff) = diff else { return Vec::new() };
    let blames: Vec<_> = findings.iter().filter(|finding| finding.cause.blames_code()).collect();
    if blames.is_empty() || blames.iter().any(|finding| finding.suspect.is_some()) {
        return Vec::new();
    }
    let is_telling = |path: &str| {
        let path = path.to_ascii_lowercase();
        let name = path.rsplit('/').next().unwrap_or_default();
        let ends = [".sql", ".proto", ".yaml", ".yml", ".toml", ".env", ".properties"];
        TELLING.contains(&name)
            || path.contains("migration")
            || ends.iter().any(|end| name.ends_with(end))
    };
    let files = diff.commits.iter().flat_map(|commit| &commit.files);
    let found: BTreeSet<&str> =
        files.map(|file| &*file.path).filter(|path| is_telling(path)).collect();
    found.into_iter().take(20).map(str::to_owned).collect()
}
