//! What is said beside the comparison of requests: pods, bursts, buckets, restarts, gauges, and Kayenta.

use super::{decimal, grouped, percent, without_negative_zero};
use crate::{
    Assessment, Check, Finding, Test,
    comparison::Comparison,
    evidence::{CheckEvidence, words_of},
    gauge::Gauge,
    kayenta::Classification,
    sequential::{Method, New, Paired, Permutation, smallest_p},
};

/// Beyond these a tolerance is worth a note.
const NOTABLE_STRETCH: f64 = 0.3;
const NOTABLE_RATIO: f64 = 1.5;

/// What a reader should know about how a check is judged.
pub(crate) fn notes(check: &Check, evidence: &CheckEvidence) -> Vec<String> {
    let mut notes = Vec::new();
    if evidence.allows_for_pods() && evidence.margin > 1.0 {
        notes.push(format!(
            "stable's pods differ among themselves, so only a canary more than {} times as bad can be told from \
             the luck of its pods",
            decimal(evidence.comparisons.first().map_or(1.0, |at| at.tolerance().0) * evidence.margin)
        ));
    }
    let weight = evidence.comparisons.iter().map(Comparison::weight).fold(1.0, f64::min);
    if weight < 1.0 {
        notes.push(format!(
            "events come in bursts, so {} of them count as one",
            decimal(1.0 / weight)
        ));
    }
    if let Test::Latency { stretch, .. } = &check.test {
        if !evidence.comparisons.is_empty() && !evidence.profile.sees_the_tail() {
            notes.push(
                "no bucket bound lies among the slowest tenth to thousandth of stable's requests, so its tail \
                 cannot be seen; add bounds there, or use native histograms"
                    .to_owned(),
            );
        }
        let coarsest = (evidence.comparisons.iter()).map(|at| {
            let stretched = at.bounds.map_or(0.0, |bounds| bounds.canary / bounds.baseline - 1.0);
            (stretched, at.tolerance().0)
        });
        let (stretched, ratio) = coarsest
            .fold((0.0_f64, 1.0_f64), |most, next| (most.0.max(next.0), most.1.max(next.1)));
        if stretched > stretch + NOTABLE_STRETCH || ratio > NOTABLE_RATIO {
            notes.push(format!(
                "the buckets are coarse: where a stretch of {} was asked for, up to {} times as many slow requests are \
                 tolerated",
                percent(*stretch),
                decimal(ratio)
            ));
        }
    }
    notes
}

/// Stable's own pods differ, which voids a failure.
pub(crate) fn heterogeneous(assessment: &Assessment) -> String {
    let check = assessment.blamed.first().map_or("", String::as_str);
    format!(
        "{check}: the canary looks worse, but so does one half of stable's own pods against the other; \
         what makes stable's pods differ has to be found before anything can be said"
    )
}

/// One pod alone makes the difference.
pub(crate) fn one_bad_pod(check: &str, pod: Option<&str>) -> String {
    let pod: String = pod.unwrap_or("one pod").chars().take(64).collect();
    format!(
        "{check}: the canary looks worse only because of {pod}, and not without it; replace that pod, \
         or abort if it is the version after all"
    )
}

/// Requests do not follow the weights.
pub(crate) fn misrouted(share: f64, expected: f64) -> String {
    format!(
        "the canary completed {} of the requests where its weight gives it {}: some are lost, counted elsewhere, \
         or the router does not follow",
        percent(share),
        percent(expected)
    )
}

/// A check of restarts.
pub(crate) fn restarts(finding: &Finding, comparison: &Comparison, threshold: f64) -> String {
    let (ratio, _) = comparison.tolerance();
    let hours = |seconds: u64| {
        let minutes = seconds / 60;
        if minutes < 120 { format!("{minutes} min") } else { format!("{} h", minutes / 60) }
    };
    format!(
        "the canary restarted {} times in {} of running against {} times in {} of stable's; tolerated is {} x as \
         often; evidence {:.1} of {threshold:.1} needed",
        grouped(finding.canary.events),
        hours(finding.canary.of),
        grouped(finding.baseline.events),
        hours(finding.baseline.of),
        decimal(ratio),
        without_negative_zero(finding.log_evidence),
    )
}

/// A gauge, with the one honest test; `pods` are those of the canary and of stable.
pub(crate) fn gauge(
    gauge: &Gauge,
    canary: f64,
    baseline: Option<f64>,
    test: Option<&Permutation>,
    pods: [u32; 2],
) -> String {
    let stable =
        baseline.map_or(String::new(), |value| format!(" against {} of stable's", short(value)));
    let rail = match gauge.at_most() {
        Some(bound) if gauge.breached() => {
            format!("; it stayed above the guardrail of {}", short(bound))
        }
        Some(bound) => format!("; the guardrail is {}", short(bound)),
        None => String::new(),
    };
    let by_chance = test.map_or(String::new(), |test| {
        let approximately = match test.method {
            Method::Exact => "",
            Method::NormalApproximation => "about ",
        };
        format!(
            "; by the luck of the pods it would be as high with probability {approximately}{}, and so many pods can \
             show {} at the least (advisory)",
            percent(test.p),
            percent(smallest_p(pods[0], pods[1]))
        )
    });
    format!("{} on average over the canary's pods{stable}{rail}{by_chance}", short(canary))
}

/// Kayenta has too few points.
pub(crate) fn kayenta_needs(points: usize) -> String {
    format!("Kayenta's judge needs {points} more scrapes of both arms")
}

/// What Kayenta said.
pub(crate) fn kayenta(said: &Classification, failed: bool) -> String {
    let weaker = "Kayenta's judge, without a bound on false alarms";
    if failed {
        format!("{}; {weaker}", said.reason)
    } else {
        format!("{} ({weaker})", said.reason)
    }
}

/// A value of unknown unit, with four significant digits.
fn short(value: f64) -> String {
    let size = value.abs();
    if size >= 1e12 || (size > 0.0 && size < 1e-3) {
        format!("{value:.3e}")
    } else if size >= 1_000.0 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below 1e12")]
        let whole = size.round() as u64;
        format!("{}{}", if value < 0.0 { "-" } else { "" }, grouped(whole))
    } else {
        decimal(value)
    }
}

/// A check of new errors, with the one that weighs most.
pub(crate) fn new_errors(
    finding: &Finding,
    strongest: Option<(&str, &New)>,
    share: f64,
    threshold: f64,
) -> String {
    let Some((name, new)) = strongest else {
        return format!(
            "no error that only the canary shows, in {} of its requests and {} of stable's",
            grouped(finding.canary.of),
            grouped(finding.baseline.of),
        );
    };
    let places = match new.instances.len() {
        0 | 1 => String::new(),
        _ => " on several instances".to_owned(),
    };
    format!(
        "new error `{}` in {} canary requests{places} and in none of stable's, where {} of all requests are the \
         canary's; evidence {:.1} of {threshold:.1} needed",
        words_of(name).replace('`', "'"),
        grouped(new.canary),
        percent(share),
        without_negative_zero(finding.log_evidence),
    )
}

/// A synthetic journey.
pub(crate) fn journey(finding: &Finding, paired: &Paired, threshold: f64) -> String {
    let tally = paired.tally();
    let slower = match paired.slowdown() {
        Some(times) => format!("; the canary takes {} times as long", decimal(times)),
        None => String::new(),
    };
    let more = match finding.needs {
        Some(pairs) => format!("; {} more pairs until the canary may have traffic", grouped(pairs)),
        None => String::new(),
    };
    format!(
        "of {} pairs of attempts, {} failed on the canary alone, {} on stable alone and {} on both{slower}, tolerated \
         is {}; evidence {:.1} of {threshold:.1} needed{more}",
        grouped(paired.pairs()),
        grouped(tally.canary_failed),
        grouped(tally.baseline_failed),
        grouped(tally.both_failed),
        decimal(1.0 + paired.stretch()),
        without_negative_zero(finding.log_evidence),
    )
}
