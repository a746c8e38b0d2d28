//! One check's finding: where it stands, with the numbers.

use super::beside::{journey, new_errors};
use super::{log_threshold, reaches};
use crate::{
    Arm, Assessment, Check, Counts, Finding, Interval, Quantile, Settings, Status, Test,
    comparison::Comparison,
    evidence::{CheckEvidence, STALE, can_fail},
    kayenta,
    sentence::{self, Needs},
    sequential::{Absolute, permutation_test, quantile_interval, requests_until_allowed},
};

/// A check that needs more canary requests than this is told not to get there at this rate.
const MOST_NEEDED: f64 = 1e8;

/// The quantiles of a report.
const QUANTILES: [f64; 3] = [0.5, 0.95, 0.99];

/// Requests at which the intervals of quantiles are narrowest.
const USUAL_REQUESTS: f64 = 10_000.0;

pub(super) fn find(
    assessment: &Assessment,
    settings: &Settings,
    check: &Check,
    evidence: &CheckEvidence,
    next: f64,
) -> Finding {
    let stale = match (assessment.latest, evidence.usable) {
        (Some(latest), Some(usable)) => latest.duration_since(usable) > STALE,
        (_, None) => true,
        (None, Some(_)) => false,
    };
    // While baking there is no weight left to be asked for.
    let next = assessment.bake.is_none().then_some(next);
    let mut finding = match &check.test {
        Test::Errors { .. } => relative(settings, check, evidence, settings.harm, next),
        Test::Latency { .. } => relative(settings, check, evidence, settings.latency_harm, next),
        Test::Restarts { .. } => restarts(settings, check, evidence),
        Test::NewErrors => new_errors(settings, check, evidence),
        Test::Journey { .. } => journey(settings, check, evidence),
        Test::ErrorObjective { .. } | Test::LatencyObjective { .. } => {
            objective(settings, check, evidence)
        }
        Test::Gauge { .. } => gauge(check, evidence),
        Test::Kayenta(metric) => judged(check, evidence, metric),
    };
    if stale && finding.status != Status::Fail {
        finding.status = Status::NoData;
    }
    if finding.status == Status::NoData {
        finding.needs = None;
        finding.allowed = if super::is_gating(check) { 0.0 } else { 1.0 };
        finding.sentence = sentence::no_data(check, evidence, assessment.latest, &assessment.pods);
    }
    finding.notes = sentence::notes(check, evidence);
    finding
}

fn relative(
    settings: &Settings,
    check: &Check,
    evidence: &CheckEvidence,
    harm: f64,
    next: Option<f64>,
) -> Finding {
    let alpha = log_threshold(settings.false_alarm);
    let beta = log_threshold(settings.false_promotion);
    let harm = if harm.is_finite() { harm.clamp(0.0, 1.0) } else { 0.0 };
    let mut finding = empty(check, evidence);

    let allowed = |comparison: &Comparison| comparison.mirror.allowed_weight(harm, beta);
    let slowest = evidence
        .comparisons
        .iter()
        .map(|comparison| (allowed(comparison), comparison))
        .min_by(|left, right| left.0.total_cmp(&right.0));
    let worst = worst(evidence);
    let (Some((allowed, slowest)), Some((worst_log_e, worst))) = (slowest, worst) else {
        return finding;
    };
    let failed = evidence.peak >= alpha;
    if !is_compared(evidence) && !failed {
        return finding;
    }

    finding.allowed = if failed { 0.0 } else { allowed };
    finding.status = if failed {
        Status::Fail
    } else if reaches(allowed, next.unwrap_or(1.0)) {
        Status::Pass
    } else {
        Status::Undecided
    };
    if failed {
        finding.log_evidence = evidence.peak;
    }
    // What speaks against the canary weighs most; without that, what keeps the weight down.
    let shown = if failed || worst_log_e > 0.0 { worst } else { slowest };
    describe(&mut finding, shown, settings.false_alarm);
    let mut needs = Needs::Nothing;
    if let Some(next) = next
        && finding.status == Status::Undecided
    {
        let requests = requests_until_allowed(
            &slowest.mirror,
            next,
            harm,
            beta,
            slowest.baseline.share(),
            slowest.proportion(),
        );
        // What counts for less takes that many more requests.
        let requests = requests.map(|requests| requests / slowest.weight());
        finding.needs = requests.filter(|needed| *needed < MOST_NEEDED).map(round_up);
        needs = finding.needs.map_or(Needs::Unknown, Needs::Requests);
        if evidence.disturbed {
            needs = Needs::Calm;
        }
    }
    finding.sentence = sentence::relative(&finding, shown, alpha, next.unwrap_or(1.0), needs);
    finding
}

/// Restarts speak against a canary, and never for it.
fn restarts(settings: &Settings, check: &Check, evidence: &CheckEvidence) -> Finding {
    let alpha = log_threshold(settings.false_alarm);
    let mut finding = empty(check, evidence);
    let Some((_, comparison)) = worst(evidence).filter(|_| is_compared(evidence)) else {
        return finding;
    };
    let failed = evidence.peak >= alpha;
    (finding.status, finding.allowed) =
        if failed { (Status::Fail, 0.0) } else { (Status::Pass, 1.0) };
    if failed {
        finding.log_evidence = evidence.peak;
    }
    describe(&mut finding, comparison, settings.false_alarm);
    finding.sentence = sentence::restarts(&finding, comparison, alpha);
    finding
}

fn objective(settings: &Settings, check: &Check, evidence: &CheckEvidence) -> Finding {
    let alpha = log_threshold(settings.false_alarm);
    let mut finding = empty(check, evidence);
    let Some(objective) = &evidence.objective else { return finding };
    if objective.counts().of == 0 {
        return finding;
    }
    if let Some(companion) = evidence.comparisons.first() {
        describe(&mut finding, companion, settings.false_alarm);
    }
    finding.canary = objective.counts();
    finding.status = if can_fail(check) && evidence.peak >= alpha {
        Status::Fail
    } else if !can_fail(check) && Absolute::log_e(objective) >= alpha {
        Status::Breached
    } else {
        Status::Pass
    };
    finding.allowed = if finding.status == Status::Pass { 1.0 } else { 0.0 };
    if finding.status == Status::Fail {
        finding.log_evidence = evidence.peak;
    }
    finding.sentence = sentence::objective(&finding, check, objective, alpha);
    finding
}

/// A gauge never fails a canary: it pauses at its guardrail and tells the one honest test.
fn gauge(check: &Check, evidence: &CheckEvidence) -> Finding {
    let mut finding = empty(check, evidence);
    let Some(gauge) = &evidence.gauge else { return finding };
    let (Some(canary), baseline) = (gauge.latest(Arm::Canary), gauge.latest(Arm::Baseline)) else {
        return finding;
    };
    (finding.status, finding.allowed) =
        if gauge.breached() { (Status::Breached, 0.0) } else { (Status::Pass, 1.0) };
    let (ours, stables) = (gauge.means(Arm::Canary), gauge.means(Arm::Baseline));
    let test = permutation_test(&ours, &stables);
    let pods = [&ours, &stables].map(|pods| u32::try_from(pods.len()).unwrap_or(u32::MAX));
    finding.sentence = sentence::gauge(gauge, canary, baseline, test.as_ref(), pods);
    finding
}

fn judged(check: &Check, evidence: &CheckEvidence, metric: &kayenta::Metric) -> Finding {
    let mut finding = empty(check, evidence);
    let Some(judged) = &evidence.kayenta else { return finding };
    let Some(said) = &judged.said else {
        if evidence.usable.is_some() {
            finding.status = Status::Undecided;
            finding.sentence = sentence::kayenta_needs(judged.series.needs());
        }
        return finding;
    };
    finding.status = if judged.failed {
        Status::Fail
    } else if metric.muted || said.label == kayenta::Label::Pass {
        Status::Pass
    } else {
        Status::NoData
    };
    finding.allowed = if finding.status == Status::Pass { 1.0 } else { 0.0 };
    finding.sentence = sentence::kayenta(said, judged.failed);
    finding
}

fn worst(evidence: &CheckEvidence) -> Option<(f64, &Comparison)> {
    evidence
        .comparisons
        .iter()
        .map(|comparison| (comparison.log_e().max(comparison.log_catastrophic()), comparison))
        .max_by(|left, right| left.0.total_cmp(&right.0))
}

fn is_compared(evidence: &CheckEvidence) -> bool {
    (evidence.comparisons.iter()).all(|at| at.canary.of > 0 && at.baseline.of > 0)
}

pub(super) fn empty(check: &Check, evidence: &CheckEvidence) -> Finding {
    Finding {
        check: check.name.clone(),
        status: Status::NoData,
        log_evidence: evidence.current,
        allowed: 0.0,
        canary: Counts::default(),
        baseline: Counts::default(),
        threshold: None,
        ratio: None,
        needs: None,
        quantiles: Vec::new(),
        notes: Vec::new(),
        sentence: String::new(),
    }
}

fn describe(finding: &mut Finding, comparison: &Comparison, alpha: f64) {
    // Pods that warm up have their own counts; they are shown where nothing else is there yet.
    finding.canary = if comparison.canary.of > 0 { comparison.canary } else { comparison.young };
    finding.baseline = comparison.baseline;
    finding.threshold = comparison.bounds.map(|bounds| bounds.canary);
    let alpha = if alpha.is_finite() { alpha.clamp(1e-12, 0.5) } else { 0.01 };
    finding.ratio = comparison.interval.interval(alpha);
}

/// The report's quantiles of both arms, each interval at half of alpha.
pub(super) fn quantiles(settings: &Settings, evidence: &CheckEvidence) -> Vec<Quantile> {
    let alpha = settings.false_alarm.clamp(1e-12, 0.5) / 2.0;
    let of = |profile: &crate::LatencyProfile, quantile: f64| {
        let classic = profile.classic();
        let (bounds, counts) = (classic.bounds(), classic.counts());
        let interval = quantile_interval(bounds, counts, quantile, alpha, USUAL_REQUESTS)?;
        Some(Interval { lower: interval.lower, estimate: interval.estimate, upper: interval.upper })
    };
    if evidence.profile.total() == 0 || evidence.canary_profile.total() == 0 {
        return Vec::new();
    }
    QUANTILES
        .iter()
        .filter_map(|quantile| {
            Some(Quantile {
                quantile: *quantile,
                canary: of(&evidence.canary_profile, *quantile)?,
                baseline: of(&evidence.profile, *quantile)?,
            })
        })
        .collect()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "planning gives whole numbers between 0 and a trillion"
)]
fn round_up(requests: f64) -> u64 {
    requests.ceil() as u64
}
