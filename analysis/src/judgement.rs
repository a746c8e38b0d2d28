//! From evidence to a verdict: fail on evidence of harm, pass on evidence against it, else say what is missing.
//!
//! Reading a verdict changes nothing, so it may be read as often as anyone likes.

mod beside;
mod find;

use crate::{
    Assessment, Check, Finding, Outcome, Settings, Status, Test, Verdict, sentence,
    sequential::as_f64,
};

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
        .map(|(check, evidence)| find::find(assessment, settings, check, evidence, next))
        .collect();

    let by_kayenta = assessment.failed_by_kayenta();
    let crossed = assessment.peak >= threshold;
    let heterogeneous = crossed && !by_kayenta && stable_differs(assessment, settings, threshold);
    let failed = by_kayenta || (crossed && !heterogeneous);
    // All pods together cross, but not without one of them: that pod is bad, the code may be good.
    let one_pod = !crossed && assessment.together_peak >= threshold;
    let breached = one_pod || findings.iter().any(|finding| finding.status == Status::Breached);
    let gating = || {
        let checks = settings.checks.iter().zip(&findings);
        checks.filter(|(check, _)| is_gating(check)).map(|(_, finding)| finding)
    };
    let allowed = gating().map(|finding| finding.allowed).fold(1.0, f64::min);
    let no_data =
        gating().next().is_none() || gating().any(|finding| finding.status == Status::NoData);
    let outcome = if failed {
        Outcome::Fail
    } else if heterogeneous {
        Outcome::Inconclusive
    } else if no_data || breached || !reaches(allowed, next) {
        Outcome::Undecided
    } else {
        Outcome::Pass
    };
    let suspicion = assessment.bake.as_ref().and_then(|bake| bake.suspicion.clone());
    let merged = assessment.merged(settings, |evidence| evidence.current);
    let nothing = failed || heterogeneous || one_pod || gating().next().is_none();
    let mut verdict = Verdict {
        outcome,
        log_evidence: if crossed { assessment.peak } else { merged },
        log_threshold: threshold,
        allowed: if nothing { 0.0 } else { allowed },
        breached,
        suspicion,
        findings,
        notes: Vec::new(),
        reason: String::new(),
    };
    if outcome != Outcome::Undecided && assessment.bake.is_none() {
        // Some 10 microseconds each: for the verdicts that decide a step, not for hours of bake.
        for (finding, evidence) in verdict.findings.iter_mut().zip(&assessment.evidence) {
            finding.quantiles = find::quantiles(settings, evidence);
        }
    }
    if heterogeneous {
        verdict.notes.push(sentence::heterogeneous(assessment));
    }
    if one_pod {
        verdict.notes.push(one_bad_pod(assessment, settings));
    }
    verdict.notes.extend(misrouted(assessment, threshold));
    verdict.reason = if heterogeneous || (one_pod && !failed) {
        verdict.notes[0].clone()
    } else {
        sentence::reason(&verdict, settings, next)
    };
    verdict
}

/// Whether a check can hold a weight back; restarts and gauges only ever speak against a canary.
pub(crate) fn is_gating(check: &Check) -> bool {
    !check.only_against
        && match &check.test {
            Test::Errors { .. }
            | Test::Latency { .. }
            | Test::ErrorObjective { .. }
            | Test::LatencyObjective { .. }
            | Test::NewErrors
            | Test::Journey { .. }
            | Test::Kayenta(_) => true,
            Test::Restarts { .. } | Test::Gauge { .. } => false,
        }
}

/// Whether an allowed weight reaches one that is asked for, up to rounding.
pub(crate) fn reaches(allowed: f64, next: f64) -> bool {
    allowed >= next * (1.0 - 1e-9)
}

/// Whether stable's own halves differ beyond the tolerance, which voids a failure: the model of the noise is wrong.
///
/// The failure stands if the interval of the ratio lies above what pods that differ like these could do by their
/// draw (11), half of alpha for either.
fn stable_differs(assessment: &Assessment, settings: &Settings, threshold: f64) -> bool {
    let blamed = assessment.evidence.iter().filter(|at| assessment.blamed.contains(&at.name));
    let mut differing = blamed.filter(|evidence| evidence.control >= threshold).peekable();
    differing.peek().is_some()
        && !differing.any(|evidence| {
            let margin = evidence.margin_of_these_pods(&assessment.pods);
            evidence.comparisons.iter().any(|comparison| {
                let alpha = settings.false_alarm.clamp(1e-12, 0.5) / 2.0;
                let lower = comparison.interval.interval(alpha).and_then(|ratio| ratio.lower);
                lower.is_some_and(|lower| lower > comparison.tolerance().0 * margin)
            })
        })
}

fn one_bad_pod(assessment: &Assessment, settings: &Settings) -> String {
    let worst = (settings.checks.iter().zip(&assessment.evidence))
        .filter(|(check, _)| crate::evidence::can_fail(check))
        .map(|(_, evidence)| evidence)
        .max_by(|left, right| left.together_peak.total_cmp(&right.together_peak));
    let pod = worst.and_then(|evidence| evidence.decisive_pod(&assessment.pods));
    sentence::one_bad_pod(worst.map_or("", |evidence| &evidence.name), pod)
}

fn misrouted(assessment: &Assessment, threshold: f64) -> Option<String> {
    let routing = &assessment.routing;
    (routing.ratio.log_e() >= threshold && routing.all > 0).then(|| {
        let all = as_f64(routing.all);
        sentence::misrouted(as_f64(routing.canary) / all, routing.expected / all)
    })
}
