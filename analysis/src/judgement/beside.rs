//! Findings of checks that compare no rates: new errors, and synthetic journeys.

use super::find::empty;
use super::log_threshold;
use crate::{
    Check, Counts, Finding, Settings, Status, evidence::CheckEvidence, sentence, sequential::as_f64,
};

/// New errors speak against a canary; without any traces nobody would see one, so that it waits for some.
pub(super) fn new_errors(settings: &Settings, check: &Check, evidence: &CheckEvidence) -> Finding {
    let alpha = log_threshold(settings.false_alarm);
    let mut finding = empty(check, evidence);
    let Some(novelty) = evidence.novelty.as_ref().filter(|_| evidence.usable.is_some()) else {
        return finding;
    };
    let failed = evidence.peak >= alpha;
    (finding.status, finding.allowed) =
        if failed { (Status::Fail, 0.0) } else { (Status::Pass, 1.0) };
    if failed {
        finding.log_evidence = evidence.peak;
    }
    let strongest = novelty.evidence.strongest();
    let [canary, baseline] = novelty.requests;
    let seen = strongest.map_or((0, 0), |(_, new)| (new.canary, new.baseline));
    finding.canary = Counts { events: seen.0.min(canary), of: canary };
    finding.baseline = Counts { events: seen.1.min(baseline), of: baseline };
    let share = as_f64(canary) / (as_f64(canary) + as_f64(baseline)).max(1.0);
    finding.sentence = sentence::new_errors(&finding, strongest, share, alpha);
    finding
}

/// A journey holds the weight until enough pairs have passed.
pub(super) fn journey(settings: &Settings, check: &Check, evidence: &CheckEvidence) -> Finding {
    let alpha = log_threshold(settings.false_alarm);
    let mut finding = empty(check, evidence);
    let Some(walked) = evidence.journey.as_ref().filter(|walked| walked.paired.pairs() > 0) else {
        return finding;
    };
    let (paired, tally) = (&walked.paired, walked.paired.tally());
    let (failed, passed) = (evidence.peak >= alpha, walked.passes());
    (finding.status, finding.allowed) = match (failed, passed) {
        (true, _) => (Status::Fail, 0.0),
        (false, true) => (Status::Pass, 1.0),
        (false, false) => (Status::Undecided, 0.0),
    };
    if failed {
        finding.log_evidence = evidence.peak;
    }
    let of = paired.pairs();
    let both = tally.both_failed;
    finding.canary = Counts { events: tally.canary_failed.saturating_add(both), of };
    finding.baseline = Counts { events: tally.baseline_failed.saturating_add(both), of };
    if !failed && !passed {
        let missing = u64::from(walked.gate).saturating_sub(tally.baseline_passed());
        finding.needs = (missing > 0).then_some(missing);
    }
    finding.sentence = sentence::journey(&finding, paired, alpha);
    finding
}
