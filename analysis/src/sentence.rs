//! Verdicts in words: what a colleague would say, with the numbers.
//!
//! The same text goes to the terminal, the page, the alert and the revert commit.

use jiff::Timestamp;

mod notes;

use crate::{
    Arm, Check, Counts, Finding, Observation, Outcome, Settings, Status, Test, Verdict,
    comparison::Comparison, evidence::CheckEvidence, judgement::reaches,
    latency::ENOUGH_FOR_THRESHOLDS, observation::Refusal, pods::Pods, sequential::Absolute,
};

pub(crate) use self::notes::{
    gauge, heterogeneous, journey, kayenta, kayenta_needs, misrouted, new_errors, notes,
    one_bad_pod, restarts,
};

/// What a check still needs to allow the weight asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    Nothing,
    Requests(u64),
    Unknown,
    Calm,
}

/// A relative check with data.
pub(crate) fn relative(
    finding: &Finding,
    shown: &Comparison,
    threshold: f64,
    next: f64,
    needs: Needs,
) -> String {
    let (what, also) = match shown.bounds {
        None => ("failed".to_owned(), String::new()),
        Some(bounds) if bounds.canary > bounds.baseline => (
            format!("took longer than {}", duration(bounds.canary)),
            format!(" above {}", duration(bounds.baseline)),
        ),
        Some(bounds) => (format!("took longer than {}", duration(bounds.canary)), String::new()),
    };
    let (ratio, absolute) = shown.tolerance();
    let tolerance = if absolute > 0.0 {
        format!("{} x + {}", decimal(ratio), percent(absolute))
    } else {
        format!("{} x", decimal(ratio))
    };
    let wait = match needs {
        Needs::Nothing => String::new(),
        Needs::Requests(requests) => format!(
            "; about {} more canary requests until {} is allowed",
            grouped(about(requests)),
            percent(next)
        ),
        Needs::Calm => {
            "; stable itself does unusually badly, which proves nothing for the canary".to_owned()
        }
        Needs::Unknown => format!("; {} cannot be allowed at this rate", percent(next)),
    };
    format!(
        "{} of canary requests {what} ({}) against {} of stable's{also} ({}); tolerated is {tolerance}; \
         evidence {:.1} of {threshold:.1} needed{wait}",
        percent(finding.canary.share()),
        counted(finding.canary),
        percent(finding.baseline.share()),
        counted(finding.baseline),
        without_negative_zero(finding.log_evidence),
    )
}

/// An objective with data.
pub(crate) fn objective(
    finding: &Finding,
    check: &Check,
    objective: &Absolute,
    threshold: f64,
) -> String {
    let what = match &check.test {
        Test::LatencyObjective { threshold, .. } => match finding.threshold {
            Some(bound) if bound > threshold * 1.000_001 => format!(
                "took longer than {}, the next bucket bound above {}",
                duration(bound),
                duration(*threshold)
            ),
            Some(_) | None => format!("took longer than {}", duration(*threshold)),
        },
        Test::Errors { .. }
        | Test::Latency { .. }
        | Test::ErrorObjective { .. }
        | Test::Restarts { .. }
        | Test::NewErrors
        | Test::Journey { .. }
        | Test::Gauge { .. }
        | Test::Kayenta(_) => "failed".to_owned(),
    };
    let stable = if finding.baseline.of > 0 {
        format!(" against {} of stable's", percent(finding.baseline.share()))
    } else {
        String::new()
    };
    format!(
        "{} of canary requests {what} ({}){stable}; the objective allows {}; evidence {:.1} of {threshold:.1} needed",
        percent(finding.canary.share()),
        counted(finding.canary),
        percent(objective.at_most()),
        without_negative_zero(finding.log_evidence),
    )
}

/// A check without usable data.
pub(crate) fn no_data(
    check: &Check,
    evidence: &CheckEvidence,
    latest: Option<Timestamp>,
    pods: &Pods,
) -> String {
    let trouble =
        evidence.trouble.as_ref().map(|why| format!("; left out: {why}")).unwrap_or_default();
    if let (Some(latest), Some(usable)) = (latest, evidence.usable) {
        let seconds = latest.duration_since(usable).as_secs();
        if seconds > 60 {
            return format!("no usable data for {} minutes{trouble}", seconds / 60);
        }
    }
    if let Some(seconds) = latest.and_then(|latest| pods.warming(latest, evidence.warm_up())) {
        return format!("the canary warms up; its requests count in {seconds} s from now{trouble}");
    }
    if matches!(check.test, Test::Latency { .. }) && evidence.comparisons.is_empty() {
        let seen = evidence.profile.total();
        if 0 < seen && seen < ENOUGH_FOR_THRESHOLDS {
            return format!(
                "learning how fast stable is: {} of {ENOUGH_FOR_THRESHOLDS} requests seen{trouble}",
                grouped(seen)
            );
        }
        if seen > 0 {
            return format!(
                "stable's durations are known, the canary has none with the same bucket bounds{trouble}"
            );
        }
    }
    if matches!(check.test, Test::NewErrors) {
        return format!(
            "no traces of requests to both versions yet; they count some seconds after their last span, and need \
             service.name and service.version{trouble}"
        );
    }
    let missing = evidence.comparisons.first().map_or("no data of either arm yet", |comparison| {
        match (comparison.canary.of, comparison.baseline.of) {
            (0, 0) => "no scrape with requests of both arms yet",
            (0, _) => "no canary requests yet",
            (_, 0) => "no requests to stable to compare with yet",
            (_, _) => "some thresholds have no requests yet",
        }
    });
    format!("{missing}{trouble}")
}

/// Why the canary now looks worse than the ramp led to expect.
pub(crate) fn suspicion(check: &str, comparison: &Comparison, process: &Absolute) -> String {
    let what = comparison.bounds.map_or("failed".to_owned(), |bounds| {
        format!("took longer than {}", duration(bounds.canary))
    });
    let counts = process.counts();
    format!(
        "{check}: while the canary serves everything, {} of requests {what} ({}); \
         after the ramp at most {} was to be expected",
        percent(counts.share()),
        counted(counts),
        percent(process.at_most()),
    )
}

/// The one sentence for the whole verdict.
pub(crate) fn reason(verdict: &Verdict, settings: &Settings, next: f64) -> String {
    let strongest = |status: Status| {
        verdict
            .findings
            .iter()
            .filter(|finding| finding.status == status)
            .max_by(|left, right| left.log_evidence.total_cmp(&right.log_evidence))
    };
    let told = |finding: &Finding| format!("{}: {}", finding.check, finding.sentence);
    if verdict.outcome == Outcome::Fail {
        return strongest(Status::Fail)
            .map_or_else(|| "the canary is worse than tolerated".to_owned(), told);
    }
    if let Some(finding) = strongest(Status::Breached) {
        return told(finding);
    }
    if let Some(suspicion) = &verdict.suspicion {
        return suspicion.clone();
    }
    if let Some(finding) = strongest(Status::NoData) {
        return told(finding);
    }
    if verdict.outcome == Outcome::Pass {
        let requests = verdict.findings.iter().map(|finding| finding.canary.of).max().unwrap_or(0);
        let slow = if settings.checks.iter().any(|check| matches!(check.test, Test::Latency { .. }))
        {
            format!(" or {} slower", percent(settings.latency_harm))
        } else {
            String::new()
        };
        return format!(
            "{} is allowed: {} canary requests show that it harms less than the budget \
             ({} of all requests failing{slow}); the evidence carries up to {}",
            percent(next),
            grouped(requests),
            percent(settings.harm),
            percent(verdict.allowed),
        );
    }
    let slowest = verdict
        .findings
        .iter()
        .filter(|finding| finding.status == Status::Undecided && !reaches(finding.allowed, next))
        .min_by(|left, right| left.allowed.total_cmp(&right.allowed));
    slowest.map_or_else(|| "no check has decided yet".to_owned(), told)
}

/// An observation that was left out.
pub(crate) fn refused(observation: &Observation, refusal: Refusal) -> String {
    let arm = match observation.arm {
        Arm::Canary => "canary",
        Arm::Baseline => "baseline",
    };
    let short = |name: &str| -> String { name.chars().take(64).collect() };
    format!("{} of {arm} {}: {refusal}", short(&observation.check), short(&observation.instance))
}

fn counted(counts: Counts) -> String {
    format!("{} of {}", grouped(counts.events), grouped(counts.of))
}

/// A share as a percentage with two significant digits, e.g. `3.1 %`, `0.1 %`, `12.4 %`.
pub(crate) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    let decimals = if percent >= 1.0 || percent <= 0.0 {
        1
    } else {
        // 0.1 % needs two decimals, 0.01 % three.
        let mut decimals = 1;
        let mut rest = percent;
        while rest < 1.0 && decimals < 8 {
            rest *= 10.0;
            decimals += 1;
        }
        decimals
    };
    format!("{} %", trimmed(format!("{percent:.decimals$}")))
}

fn decimal(number: f64) -> String {
    trimmed(format!("{number:.2}"))
}

fn trimmed(number: String) -> String {
    if number.contains('.') {
        number.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        number
    }
}

/// Seconds as people say them.
pub(crate) fn duration(seconds: f64) -> String {
    if seconds < 1.0 {
        format!("{} ms", trimmed(format!("{:.2}", seconds * 1000.0)))
    } else {
        format!("{} s", decimal(seconds))
    }
}

/// A whole number with a comma every three digits.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn without_negative_zero(number: f64) -> f64 {
    if number.abs() < 0.05 { 0.0 } else { number }
}

/// Rounds to two significant digits, for "about".
pub(crate) fn about(number: u64) -> u64 {
    let mut unit = 1;
    while number / unit >= 100 {
        unit *= 10;
    }
    number.div_ceil(unit) * unit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_like_prose() {
        for (share, text) in [
            (0.0, "0 %"),
            (0.031, "3.1 %"),
            (0.001_021, "0.1 %"),
            (0.000_125, "0.013 %"),
            (0.5, "50 %"),
            (1.0, "100 %"),
            (0.123_456, "12.3 %"),
        ] {
            assert_eq!(percent(share), text);
        }
        assert_eq!(grouped(8812), "8,812");
        assert_eq!(grouped(389), "389");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(duration(0.25), "250 ms");
        assert_eq!(duration(2.5), "2.5 s");
        assert_eq!(about(1187), 1200);
        assert_eq!(about(7), 7);
    }
}
