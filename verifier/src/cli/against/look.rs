//! What was counted, check by check: versions, pods, strata, and what the buckets can tell.

use std::collections::{BTreeMap, BTreeSet};

use analysis::{
    Arm, Assessment, Check, History, LatencyProfile, Observation, Sample, Scrape, Test,
    effective_tolerance,
};
use jiff::Timestamp;
use rollout::Policy;
use serde::Serialize;

use super::Fed;
use crate::cli::findings::seconds;

/// The quantiles that a latency check compares.
const QUANTILES: [f64; 6] = [0.5, 0.75, 0.9, 0.95, 0.99, 0.999];

/// Requests below which durations say nothing about buckets.
const ENOUGH: u64 = 200;

/// What a policy's checks would find.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Looked {
    pub(super) service: String,
    pub(super) place: String,
    /// Versions with requests.
    pub(super) versions: Vec<String>,
    /// Of a page nobody knows the version.
    pub(super) is_page: bool,
    /// What is wrong with the source.
    pub(super) told: BTreeSet<String>,
    pub(super) checks: Vec<LookedCheck>,
}

/// What one check would find.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LookedCheck {
    pub(super) check: String,
    /// The metric.
    pub(super) metric: Option<String>,
    /// Why it would find nothing.
    pub(super) problem: Option<String>,
    /// Requests, or values of a gauge, by version.
    pub(super) counted: BTreeMap<String, u64>,
    /// The newest moment with something new.
    pub(super) newest: Option<Timestamp>,
    /// Instances of the version that has most.
    pub(super) instances: usize,
    /// Parts of the traffic that are compared by themselves.
    pub(super) strata: Vec<String>,
    /// What the tolerance means at the bounds that would be compared.
    pub(super) thresholds: Vec<Threshold>,
    /// What makes the check weaker.
    pub(super) warnings: Vec<String>,
}

/// What a latency tolerance means at one bound.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Threshold {
    /// The first of the quantiles that it stands for, in (0, 1).
    pub(super) quantile: f64,
    /// Stable's requests slower than this are compared; seconds.
    pub(super) baseline: f64,
    /// With the canary's slower than this; seconds.
    pub(super) canary: f64,
    /// Allowed ratio of these shares.
    pub(super) ratio: f64,
}

impl Looked {
    /// Whether every check would find what it reads.
    pub(super) fn is_good(&self) -> bool {
        !self.checks.is_empty() && self.checks.iter().all(|check| check.problem.is_none())
    }
}

pub(super) fn look(policy: &Policy, fed: Fed) -> Looked {
    let checks = policy.analysis.checks.iter();
    let checks: Vec<LookedCheck> = checks.map(|check| look_at(policy, check, &fed)).collect();
    let versions: BTreeSet<String> = (checks.iter())
        .flat_map(|check| check.counted.iter().filter(|(_, count)| 0 < **count))
        .map(|(version, _)| version.clone())
        .collect();
    Looked {
        service: policy.name.clone(),
        place: fed.place,
        is_page: fed.seen.keys().any(String::is_empty),
        versions: versions.into_iter().collect(),
        told: fed.told,
        checks,
    }
}

fn requests(sample: &Sample) -> u64 {
    match sample {
        Sample::Events { of, .. } => *of,
        Sample::Histogram { counts, .. } => counts.iter().sum(),
        Sample::Exponential(histogram) => histogram.zero + histogram.counts.iter().sum::<u64>(),
        Sample::Gauge { .. } | Sample::Attempt { .. } => 1,
    }
}

fn look_at(policy: &Policy, check: &Check, fed: &Fed) -> LookedCheck {
    let mut looked = LookedCheck {
        check: check.name.clone(),
        metric: None,
        problem: None,
        counted: BTreeMap::new(),
        newest: None,
        instances: 0,
        strata: Vec::new(),
        thresholds: Vec::new(),
        warnings: Vec::new(),
    };
    match fed.chosen.get(&check.reads) {
        Some(Ok(metric)) => looked.metric = Some(metric.clone()),
        Some(Err(problem)) => looked.problem = Some(problem.clone()),
        None if matches!(check.test, Test::Restarts { .. }) => {
            looked.metric = Some("counted by Serin itself".to_owned());
            return looked;
        }
        None => looked.problem = Some("nothing was found that it could read".to_owned()),
    }
    let mut pods: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut strata: BTreeSet<&str> = BTreeSet::new();
    for (version, at, one) in fed.of(&check.reads) {
        *looked.counted.entry(version.to_owned()).or_default() += requests(&one.sample);
        if one.sample.says_something() {
            looked.newest = looked.newest.max(Some(at));
            pods.entry(version).or_default().insert(&one.instance);
            strata.extend(one.stratum.as_deref());
        }
    }
    looked.instances = pods.values().map(BTreeSet::len).max().unwrap_or(0);
    looked.strata = strata.into_iter().map(ToOwned::to_owned).collect();
    if looked.problem.is_none() && looked.newest.is_none() {
        looked
            .warnings
            .push("nothing was counted meanwhile; send some requests and look again".to_owned());
    }
    match &check.test {
        Test::Latency { .. } if looked.problem.is_none() => {
            buckets(policy, check, fed, &mut looked);
        }
        Test::LatencyObjective { threshold, .. } if looked.problem.is_none() => {
            looked.problem = without_bound(*threshold, &check.reads, fed);
        }
        Test::Latency { .. }
        | Test::LatencyObjective { .. }
        | Test::Errors { .. }
        | Test::ErrorObjective { .. }
        | Test::Restarts { .. }
        | Test::NewErrors
        | Test::Journey { .. }
        | Test::Gauge { .. }
        | Test::Kayenta(_) => {}
    }
    looked
}

/// An objective's threshold can be counted only where a bucket ends.
fn without_bound(threshold: f64, reads: &str, fed: &Fed) -> Option<String> {
    let classic = fed.of(reads).find_map(|(_, _, one)| match &one.sample {
        Sample::Histogram { le, .. } => Some(le),
        Sample::Exponential(_)
        | Sample::Events { .. }
        | Sample::Gauge { .. }
        | Sample::Attempt { .. } => None,
    })?;
    let ends = classic.iter().any(|bound| (bound / threshold - 1.0).abs() < 1e-9);
    (!ends).then(|| {
        let known: Vec<String> = classic.iter().map(|bound| seconds(*bound)).collect();
        format!(
            "no bucket ends at {}, so the objective cannot be counted; set its threshold to one of {}, or add a bucket",
            seconds(threshold),
            known.join(", ")
        )
    })
}

/// What the tolerance means on the buckets that are there.
fn buckets(policy: &Policy, check: &Check, fed: &Fed, looked: &mut LookedCheck) {
    // All versions together: the question is about buckets, not about who is slower.
    let mut assessment = Assessment::new(&policy.analysis, &History::default());
    for (_, at, one) in fed.of(&check.reads) {
        let one = Observation { arm: Arm::Baseline, ..one.clone() };
        assessment.observe(&policy.analysis, &Scrape { at, observations: vec![one] });
    }
    let history = assessment.history();
    let none = LatencyProfile::default();
    let profile = history.reference(&check.name).map_or(&none, |known| &known.latency);
    if profile.total() < ENOUGH {
        let seen = profile.total();
        looked.warnings.push(format!(
            "{seen} requests are too few to say what the buckets can tell; {ENOUGH} are enough"
        ));
        return;
    }
    if !profile.sees_the_tail() {
        looked.warnings.push("no bucket bound lies between p90 and p99.9 of the durations, so that a slower tail is not seen; add bounds there, or use native histograms".to_owned());
    }
    let classic = profile.classic();
    let tolerances = effective_tolerance(classic.bounds(), &check.test);
    for quantile in QUANTILES {
        let Some(bound) = profile.quantile_bound(quantile) else { continue };
        let at = tolerances.iter().find(|at| at.baseline_bound.total_cmp(&bound).is_eq());
        let Some(at) = at else { continue };
        if looked.thresholds.iter().any(|known| known.baseline.total_cmp(&bound).is_eq()) {
            continue;
        }
        looked.thresholds.push(Threshold {
            quantile,
            baseline: at.baseline_bound,
            canary: at.canary_bound,
            ratio: at.ratio,
        });
    }
    let coarse = looked.thresholds.iter().filter(|at| at.canary <= at.baseline).count();
    if coarse > 0 {
        looked.warnings.push(format!(
            "at {coarse} of {} bounds the buckets are too coarse for the tolerated stretch: more slow requests are allowed there instead",
            looked.thresholds.len()
        ));
    }
}
