//! A verdict's findings for people: the numbers of each check, its quantiles and what to know about it.

use analysis::{Finding, Interval, Outcome, Quantile, Verdict};

/// The answer in one word.
pub(super) fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Undecided => "undecided",
        Outcome::Pass => "pass",
        Outcome::Fail => "fail",
        Outcome::Inconclusive => "inconclusive",
    }
}

/// One line for each check, and below it its quantiles and notes; the notes of the whole last.
pub(super) fn lines(verdict: &Verdict) -> Vec<String> {
    let mut lines = Vec::new();
    for finding in &verdict.findings {
        lines.push(format!(
            "  {:<12} {:>6.1} of {:.1}  {}",
            finding.check,
            tenths(finding.log_evidence),
            verdict.log_threshold,
            finding.sentence
        ));
        lines.extend(quantiles(finding).map(|line| format!("    {line}")));
        lines.extend(finding.notes.iter().map(|note| format!("    note: {note}")));
    }
    lines.extend(verdict.notes.iter().map(|note| format!("  note: {note}")));
    lines
}

/// The quantiles of both versions, one line each.
pub(super) fn quantiles(finding: &Finding) -> impl Iterator<Item = String> {
    finding.quantiles.iter().map(|Quantile { quantile, canary, baseline }| {
        let name = format!("{:.1}", quantile * 100.0);
        let name = name.trim_end_matches('0').trim_end_matches('.');
        format!("p{name}: canary {}, stable {}", interval(canary), interval(baseline))
    })
}

/// Every note, those of a check with its name.
pub(super) fn notes(verdict: &Verdict) -> Vec<String> {
    let of_check = |finding: &Finding| {
        let name = finding.check.clone();
        finding.notes.clone().into_iter().map(move |note| format!("{name}: {note}"))
    };
    verdict.findings.iter().flat_map(of_check).chain(verdict.notes.iter().cloned()).collect()
}

/// `120 ms (95 ms to 150 ms)`.
fn interval(interval: &Interval) -> String {
    let bound = |bound: Option<f64>, open: &str| bound.map_or(open.to_owned(), seconds);
    format!(
        "{} ({} to {})",
        seconds(interval.estimate),
        bound(interval.lower, "0 s"),
        bound(interval.upper, "no bound")
    )
}

/// Seconds with three digits: `4.2 ms`, `120 ms`, `1.25 s`.
pub(super) fn seconds(value: f64) -> String {
    let (number, unit) = if value.abs() < 1.0 { (value * 1e3, "ms") } else { (value, "s") };
    let decimals = match number.abs() {
        0.0 | 100.0.. => 0,
        10.0.. => 1,
        _ => 2,
    };
    let text = format!("{number:.decimals$}");
    let text =
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text} {unit}")
}

/// Rounded to a tenth, and never "-0.0".
pub(super) fn tenths(evidence: f64) -> f64 {
    (evidence * 10.0).round() / 10.0 + 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_three_digits_at_most() {
        let shown = [0.0, 0.000_42, 0.0042, 0.0123, 0.12, 0.9999, 1.25, 12.0].map(seconds);
        assert_eq!(
            shown,
            ["0 ms", "0.42 ms", "4.2 ms", "12.3 ms", "120 ms", "1000 ms", "1.25 s", "12 s"]
        );
    }

    #[test]
    fn evidence_is_never_minus_nothing() {
        assert_eq!(format!("{:.1}", tenths(-0.02)), "0.0");
        assert_eq!(format!("{:.1}", tenths(-1.26)), "-1.3");
    }
}
