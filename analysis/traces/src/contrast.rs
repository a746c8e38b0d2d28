//! Which requests are worse: attributes that *change* the difference between the versions.
//!
//! What Honeycomb's `BubbleUp` shows, with a test: not "this tenant is slow" but "this tenant became slow with the
//! canary" (a difference of differences), so that what is bad in both arms cancels. Two outcomes are tested: being bad
//! (failed, or slower than 95 % of the baseline's requests of the same route; log relative risks with their
//! delta-method variance, an exact binomial tail where counts are small), and excess seconds, which sees more.

use serde::{Deserialize, Serialize};
use statrs::function::erf::erfc;

use crate::points::{ABSENT, Column, Group, Point};
use crate::statistics::{benjamini_hochberg, binomial_upper, len_f64, quantile, two_sided};

/// Smallest share of the damage that a value must hold.
const LEAST_COVERAGE: f64 = 0.3;

/// Smallest concentration of the damage.
const LEAST_LIFT: f64 = 1.5;

/// Smallest number of canary requests with the value.
const LEAST_REQUESTS: f64 = 10.0;

/// Smallest number of bad canary requests with the value, where badness is the outcome.
const LEAST_BAD: f64 = 5.0;

/// Baseline requests that the overall share of bad ones counts as, where a value has few.
const PSEUDO: f64 = 20.0;

/// False discovery rate among all values.
const FALSE_DISCOVERY: f64 = 0.1;

/// Most values of one attribute that are tested: those with the most canary requests.
const MOST_TESTED: usize = 50;

/// Values among which pairs are tried.
const PAIRED: usize = 8;

/// Values whose requests overlap by more than this share are one value under two names.
const SAME: f64 = 0.95;

/// A value of an attribute in which the damage concentrates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Contrast {
    /// For people: `tenant = acme`, `cart.size >= 10`, or two of them joined by `and`.
    pub what: String,
    /// Share of the damage that is in these requests, in [0, 1].
    pub coverage: f64,
    /// Their share of the damage over their share of the canary's requests; at least 1.5.
    pub lift: f64,
    /// Canary requests of this kind.
    pub requests: u64,
    /// Chance of any such contrast where there is none (p-value times the number of values tested).
    pub p: f64,
}

/// A contrast with the points that it means.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) contrast: Contrast,
    pub(crate) members: Vec<bool>,
    column: usize,
    weight: f64,
}

#[derive(Debug, Clone, Copy)]
enum Rule {
    Is(u32),
    AtLeast(f64),
    Below(f64),
}

impl Rule {
    fn holds(self, column: &Column, at: usize) -> bool {
        match self {
            Self::Is(value) => column.values[at] == value,
            Self::AtLeast(bound) => column.numbers.as_ref().is_some_and(|all| all[at] >= bound),
            Self::Below(bound) => column.numbers.as_ref().is_some_and(|all| all[at] < bound),
        }
    }

    fn text(self, column: &Column) -> String {
        let name = &column.name;
        match self {
            Self::Is(value) => {
                let at = usize::try_from(value).unwrap_or(1).saturating_sub(1);
                format!("{name} = {}", column.texts.get(at).map_or("", String::as_str))
            }
            Self::AtLeast(bound) => format!("{name} >= {bound}"),
            Self::Below(bound) => format!("{name} < {bound}"),
        }
    }
}

/// Whether an attribute names the arm, the outcome or a place in the code rather than a kind of request.
pub(crate) fn explains(name: &str) -> bool {
    const PREFIXES: [&str; 29] = [
        "service.",
        "k8s.",
        "container.",
        "host.",
        "process.",
        "telemetry.",
        "deployment.",
        "vcs.",
        "image",
        "otel.",
        "thread.",
        "os.",
        "error",
        "exception",
        "code.",
        "http.status",
        "http.response",
        "rpc.grpc.status",
        "rpc.response",
        "db.",
        "net.",
        "server.",
        "trace",
        "span",
        "faas.",
        "instance",
        "version",
        "git.",
        "sampl",
    ];
    const NAMES: [&str; 9] = [
        "hostname",
        "pod",
        "node",
        "timestamp",
        "client.port",
        "network.peer.port",
        "status",
        "duration",
        "network.local.address",
    ];
    !PREFIXES.iter().any(|prefix| name.starts_with(prefix)) && !NAMES.contains(&name)
}

/// The values in which the damage concentrates, strongest first; at most three.
pub(crate) fn contrasts(points: &[Point], columns: &[Column]) -> Vec<Found> {
    let all = group(points, |_| true);
    let mut tested: Vec<(usize, Rule, Tested)> = Vec::new();
    for (at, column) in columns.iter().enumerate() {
        for (rule, group) in candidates(points, column) {
            if let Some(result) = test(group, all) {
                tested.push((at, rule, result));
            }
        }
    }
    let p_values: Vec<f64> = tested.iter().map(|(.., result)| result.p).collect();
    let limit = benjamini_hochberg(&p_values, p_values.len(), FALSE_DISCOVERY);
    let tests = len_f64(p_values.len());
    let mut found: Vec<Found> = tested
        .into_iter()
        .filter(|(.., result)| result.p <= limit && result.is_telling())
        .map(|(column, rule, result)| Found {
            contrast: result.contrast(rule.text(&columns[column]), tests),
            members: (0..points.len()).map(|at| rule.holds(&columns[column], at)).collect(),
            column,
            weight: result.weight(),
        })
        .collect();
    // Columns are sorted by length of name: of two alike the shorter one stays.
    found.sort_by(|a, b| b.weight.total_cmp(&a.weight).then(a.column.cmp(&b.column)));
    found.truncate(PAIRED);
    let mut kept: Vec<Found> = Vec::new();
    for candidate in found {
        if !kept.iter().any(|kept| overlap(&kept.members, &candidate.members) > SAME) {
            kept.push(candidate);
        }
    }
    if let Some(pair) = best_pair(points, all, &kept, tests) {
        kept.insert(0, pair);
    }
    kept.truncate(3);
    kept
}

/// Two values together, where the damage stays and its concentration grows.
fn best_pair(points: &[Point], all: Group, kept: &[Found], tests: f64) -> Option<Found> {
    let mut best: Option<Found> = None;
    for (at, one) in kept.iter().enumerate() {
        for other in kept[at + 1..].iter().filter(|other| other.column != one.column) {
            let members: Vec<bool> =
                one.members.iter().zip(&other.members).map(|(a, b)| *a && *b).collect();
            let Some(result) = test(group(points, |at| members[at]), all) else { continue };
            let parents = [&one.contrast, &other.contrast];
            let stays = parents.iter().all(|parent| result.coverage >= 0.8 * parent.coverage);
            let grows = parents.iter().all(|parent| result.lift >= 1.5 * parent.lift);
            let is_better = best.as_ref().is_none_or(|best| best.weight < result.weight());
            if stays && grows && result.is_telling() && is_better {
                let what = format!("{} and {}", one.contrast.what, other.contrast.what);
                let contrast = result.contrast(what, tests + 28.0);
                best =
                    Some(Found { contrast, members, column: one.column, weight: result.weight() });
            }
        }
    }
    best
}

fn overlap(one: &[bool], other: &[bool]) -> f64 {
    let both = one.iter().zip(other).filter(|(a, b)| **a && **b).count();
    let either = one.iter().zip(other).filter(|(a, b)| **a || **b).count();
    len_f64(both) / len_f64(either.max(1))
}

fn group(points: &[Point], is_member: impl Fn(usize) -> bool) -> Group {
    let mut group = Group::default();
    for (at, point) in points.iter().enumerate() {
        if is_member(at) {
            group.add(point);
        }
    }
    group
}

fn candidates(points: &[Point], column: &Column) -> Vec<(Rule, Group)> {
    if let Some(numbers) = &column.numbers {
        return thresholds(points, numbers);
    }
    let mut groups = vec![Group::default(); column.texts.len() + 1];
    for (point, value) in points.iter().zip(&column.values) {
        if let Some(group) = usize::try_from(*value).ok().and_then(|at| groups.get_mut(at)) {
            group.add(point);
        }
    }
    let mut groups: Vec<(Rule, Group)> = (ABSENT..)
        .zip(groups)
        .filter(|(value, group)| *value != ABSENT && group.n()[1] >= LEAST_REQUESTS)
        .map(|(value, group)| (Rule::Is(value), group))
        .collect();
    groups.sort_by(|a, b| b.1.n()[1].total_cmp(&a.1.n()[1]));
    groups.truncate(MOST_TESTED);
    groups
}

/// At least, and below, each decile of the baseline.
fn thresholds(points: &[Point], numbers: &[f64]) -> Vec<(Rule, Group)> {
    let mut baseline: Vec<f64> = points
        .iter()
        .zip(numbers)
        .filter(|(point, number)| point.arm == 0 && !number.is_nan())
        .map(|(_, number)| *number)
        .collect();
    let mut bounds: Vec<f64> =
        (1..10).map(|tenth| quantile(&mut baseline, f64::from(tenth) / 10.0)).collect();
    bounds.dedup();
    let above = |bound: f64| group(points, |at| numbers[at] >= bound);
    let below = |bound: f64| group(points, |at| numbers[at] < bound);
    bounds
        .into_iter()
        .flat_map(|bound| {
            [(Rule::AtLeast(bound), above(bound)), (Rule::Below(bound), below(bound))]
        })
        .filter(|(_, group)| group.n()[1] >= LEAST_REQUESTS)
        .collect()
}

#[derive(Debug, Clone, Copy)]
struct Tested {
    p: f64,
    coverage: f64,
    lift: f64,
    requests: f64,
}

impl Tested {
    fn is_telling(self) -> bool {
        self.coverage >= LEAST_COVERAGE && self.lift >= LEAST_LIFT
    }

    fn weight(self) -> f64 {
        self.coverage * self.lift.log2().max(0.0)
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a number of requests, kept as a float for sums"
    )]
    fn contrast(self, what: String, tests: f64) -> Contrast {
        Contrast {
            what,
            coverage: self.coverage,
            lift: self.lift,
            requests: self.requests as u64,
            p: (self.p * tests).min(1.0),
        }
    }
}

/// Whether the versions differ more in this group than outside; `None` without enough of both.
fn test(of: Group, all: Group) -> Option<Tested> {
    let rest = all.minus(of);
    let is_enough =
        of.n().iter().all(|n| *n >= LEAST_REQUESTS) && rest.n().iter().all(|n| *n >= 2.0);
    if !is_enough {
        return None;
    }
    let seconds = by_seconds(of, rest, all);
    let bad = by_badness(of, rest, all);
    // Two looks at the same requests.
    let mut best = match (seconds, bad) {
        (Some(seconds), Some(bad)) => {
            if bad.p < seconds.p {
                bad
            } else {
                seconds
            }
        }
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => return None,
    };
    best.p = (2.0 * best.p).min(1.0);
    Some(best)
}

fn concentration(excess: f64, whole: f64, of: Group, all: Group) -> (f64, f64) {
    if whole <= 0.0 || excess <= 0.0 {
        return (0.0, 0.0);
    }
    let coverage = (excess / whole).min(1.0);
    (coverage, coverage * all.n()[1] / of.n()[1])
}

fn by_seconds(of: Group, rest: Group, all: Group) -> Option<Tested> {
    let delta = |group: Group| group.excess[1].mean() - group.excess[0].mean();
    let variance: f64 = [of, rest]
        .iter()
        .flat_map(|group| group.excess)
        .map(crate::statistics::Moments::of_mean)
        .sum();
    if !(variance > 0.0 && variance.is_finite()) {
        return None;
    }
    let statistic = (delta(of) - delta(rest)) / variance.sqrt();
    let half = two_sided(statistic, of.n()[1].min(of.n()[0]) - 1.0) / 2.0;
    let p = if statistic > 0.0 { half } else { 1.0 - half };
    let [_, n] = of.n();
    // All damage counts that values do, so that what others gained hides nothing.
    let whole = (n * delta(of)).max(0.0) + (rest.n()[1] * delta(rest)).max(0.0);
    let (coverage, lift) = concentration(n * delta(of), whole, of, all);
    Some(Tested { p, coverage, lift, requests: n })
}

fn by_badness(of: Group, rest: Group, all: Group) -> Option<Tested> {
    if of.bad[1] < LEAST_BAD {
        return None;
    }
    let [n_b, n_c] = of.n();
    let overall = (all.bad[0] + 0.5) / (all.n()[0] + 1.0);
    let usual = (of.bad[0] + PSEUDO * overall) / (n_b + PSEUDO);
    let usual_rest = (rest.bad[0] + PSEUDO * overall) / (rest.n()[0] + PSEUDO);
    let risk = |group: Group, arm: usize| (group.bad[arm] + 0.5) / (group.n()[arm] + 1.0);
    let p = if of.bad.iter().chain(&rest.bad).any(|cell| *cell < 5.0) {
        // As bad as the canary is elsewhere, times what is usual here.
        let ratio = (risk(rest, 1) / usual_rest).max(1.0);
        binomial_upper(whole(of.bad[1]), whole(n_c), (usual * ratio).min(1.0))
    } else {
        let log_ratio = |group: Group| (risk(group, 1) / risk(group, 0)).ln();
        let variance: f64 = [of, rest]
            .iter()
            .flat_map(|group| {
                [0, 1].map(|arm| 1.0 / (group.bad[arm] + 0.5) - 1.0 / (group.n()[arm] + 1.0))
            })
            .sum();
        let statistic = (log_ratio(of) - log_ratio(rest)) / variance.sqrt();
        erfc(statistic / std::f64::consts::SQRT_2) / 2.0
    };
    let excess = of.bad[1] - n_c * usual;
    let elsewhere = rest.bad[1] - rest.n()[1] * usual_rest;
    let (coverage, lift) = concentration(excess, excess.max(0.0) + elsewhere.max(0.0), of, all);
    Some(Tested { p, coverage, lift, requests: n_c })
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "sums of ones")]
fn whole(number: f64) -> u64 {
    number as u64
}
