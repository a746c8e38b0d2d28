//! From evidence to a verdict: fail on evidence of harm, pass on evidence against it, else say what is missing.
//!
//! Reading a verdict changes nothing, so it may be read as often as anyone likes.

use crate::{
    Assessment, Check, Counts, Finding, Outcome, Settings, Status, Test, Verdict,
    comparison::Comparison,
    evidence::{CheckEvidence, STALE, can_fail},
    sentence::{self, Needs},
    sequential::{Absolute, requests_until_allowed},
};

/// A check that needs more canary requests than this is told not to get there at this rate.
const MOST_NEEDED: f64 = 1e8;

/// `ln(1 / probability)`, finite for every input.
pub(crate) fn log_threshold(probability: f64) -> f64 {
    if probability.is_finite() {
        -probability.clamp(1e-12, 1.0).ln()
    } else {
        0.01_f64.recip().ln()
    }
}

pub(crate) fn judge(assessment: &Assessment, settings: &Settings, next: f64) -> Verdict {
    let next = if next.is_finite() { next.clamp(1e-6, 1.0) } else { 1.0 };
    let threshold = log_threshold(settings.false_alarm);
    let findings: Vec<Finding> = settings
        .checks
        .iter()
        .zip(&assessment.evidence)
        .map(|(check, evidence)| find(assessment, settings, check, evidence, next))
        .collect();

    let failed = assessment.peak >= threshold;
    let breached = findings.iter().any(|finding| finding.status == Status::Breached);
    let allowed = findings.iter().map(|finding| finding.allowed).fold(1.0, f64::min);
    let no_data =
        findings.is_empty() || findings.iter().any(|finding| finding.status == Status::NoData);
    let outcome = if failed {
        Outcome::Fail
    } else if no_data || breached || !reaches(allowed, next) {
        Outcome::Undecided
    } else {
        Outcome::Pass
    };
    let suspicion = assessment.bake.as_ref().and_then(|bake| bake.suspicion.clone());
    let merged = assessment.merged(settings);
    let allowed = if failed || findings.is_empty() { 0.0 } else { allowed };
    let mut verdict = Verdict {
        outcome,
        log_evidence: if failed { assessment.peak } else { merged },
        log_threshold: threshold,
        allowed,
        breached,
        suspicion,
        findings,
        reason: String::new(),
    };
    verdict.reason = sentence::reason(&verdict, settings, next);
    verdict
}

/// Whether an allowed weight reaches one that is asked for, up to rounding.
pub(crate) fn reaches(allowed: f64, next: f64) -> bool {
    allowed >= next * (1.0 - 1e-9)
}

fn find(
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
        Test::ErrorObjective { .. } | Test::LatencyObjective { .. } => {
            objective(settings, check, evidence)
        }
    };
    if stale && finding.status != Status::Fail {
        finding.status = Status::NoData;
    }
    if finding.status == Status::NoData {
        finding.needs = None;
        finding.allowed = 0.0;
        finding.sentence = sentence::no_data(check, evidence, assessment.latest);
    }
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
    let worst = evidence
        .comparisons
        .iter()
        .map(|comparison| (comparison.log_e(), comparison))
        .max_by(|left, right| left.0.total_cmp(&right.0));
    let (Some((allowed, slowest)), Some((worst_log_e, worst))) = (slowest, worst) else {
        return finding;
    };
    let compared = evidence
        .comparisons
        .iter()
        .all(|comparison| comparison.canary.of > 0 && comparison.baseline.of > 0);
    if !compared {
        return finding;
    }

    let failed = evidence.peak >= alpha;
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
        finding.needs = requests.filter(|needed| *needed < MOST_NEEDED).map(round_up);
        needs = finding.needs.map_or(Needs::Unknown, Needs::Requests);
        if slowest.calm.disturbed {
            needs = Needs::Calm;
        }
    }
    finding.sentence = sentence::relative(&finding, shown, alpha, next.unwrap_or(1.0), needs);
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

fn empty(check: &Check, evidence: &CheckEvidence) -> Finding {
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
        sentence: String::new(),
    }
}

fn describe(finding: &mut Finding, comparison: &Comparison, alpha: f64) {
    finding.canary = comparison.canary;
    finding.baseline = comparison.baseline;
    finding.threshold = comparison.bounds.map(|bounds| bounds.canary);
    let alpha = if alpha.is_finite() { alpha.clamp(1e-12, 0.5) } else { 0.01 };
    finding.ratio = comparison.interval.interval(alpha);
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "planning gives whole numbers between 0 and a trillion"
)]
fn round_up(requests: f64) -> u64 {
    requests.ceil() as u64
}
