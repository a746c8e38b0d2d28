//! `spec.checks` as YAML: each check with its source, its test and its warm-up written out.

use std::time::Duration;

use analysis::kayenta::{Metric, Outliers, Value};
use analysis::{Check, OnBreach, Test};
use rollout::policy::{Browsers, Failed, Measurement, Named, Policy, Source};

use super::{Page, list, map, percent, text};
use crate::config::policy::{DIRECTIONS, MEASURES, NAN_STRATEGIES, UNITS};
use crate::config::units::{Percent, show_duration, show_quantile};

/// A check that fits on a line of this many characters is written on one.
const WIDTH: usize = 100;

/// Writes all checks of a policy.
pub(super) fn write(page: &mut Page, policy: &Policy) {
    for check in &policy.analysis.checks {
        let Some((kind, test)) = test(check) else {
            continue;
        };
        let kind = policy.of_browsers(&check.reads).map_or(kind, Browsers::name);
        let mut entries = policy.sources.get(&check.reads).map(source).unwrap_or_default();
        entries.extend(test);
        let beside = matches!(check.test, Test::NewErrors) || check.only_against;
        if !beside {
            entries.push(("warmUp", show_duration(check.warm_up)));
        }
        page.line(2, &format!("- name: {}", text(&check.name)));
        let line = format!("{kind}: {}", braces(&entries));
        if line.len() <= WIDTH {
            page.line(3, &line);
            continue;
        }
        page.line(3, &format!("{kind}:"));
        for (key, value) in entries {
            page.line(4, &format!("{key}: {value}"));
        }
    }
}

type Entries = Vec<(&'static str, String)>;

/// `{ key: value }`.
fn braces(entries: &[(&'static str, String)]) -> String {
    let entries: Vec<String> =
        entries.iter().map(|(key, value)| format!("{key}: {value}")).collect();
    format!("{{ {} }}", entries.join(", "))
}

fn source(measurement: &Measurement) -> Entries {
    let mut entries = match &measurement.source {
        Source::Auto | Source::Browsers(_) => vec![],
        Source::Named(metric) => named(metric),
        Source::Query { bad, total } => vec![("bad", text(bad)), ("total", text(total))],
        Source::Slower { total, slower } => {
            let each = |(threshold, query): &(Duration, String)| {
                format!("{}: {}", show_duration(*threshold), text(query))
            };
            let slower: Vec<String> = slower.iter().map(each).collect();
            vec![("total", text(total)), ("slower", format!("{{ {} }}", slower.join(", ")))]
        }
        Source::Value(query) => vec![("query", text(query))],
    };
    entries.extend(measurement.by.as_ref().map(|labels| ("by", list(labels))));
    entries
}

fn named(metric: &Named) -> Entries {
    let mut entries = vec![("metric", text(&metric.metric))];
    if !metric.labels.is_empty() {
        entries.push(("labels", map(metric.labels.iter())));
    }
    if let Some(status) = &metric.status {
        let failed = match &status.failed {
            Failed::Http => "http".to_owned(),
            Failed::Grpc => "grpc".to_owned(),
            Failed::Values(values) => list(values),
        };
        let status = [("label", text(&status.label)), ("failed", failed)];
        entries.push(("status", braces(&status)));
    }
    if let Some(per_second) = metric.per_second {
        entries.push(("unit", word(&UNITS, &per_second)));
    }
    entries
}

/// The word for a value that was read from one.
fn word<T: PartialEq>(words: &[(&str, T)], value: &T) -> String {
    words.iter().find(|(_, other)| other == value).map_or("", |(word, _)| word).to_owned()
}

/// The kind of a check, and what its test says; nothing for a check that is written elsewhere.
fn test(check: &Check) -> Option<(&'static str, Entries)> {
    Some(match &check.test {
        Test::Errors { ratio, absolute } => {
            let tolerance =
                [("ratio", ratio.to_string()), ("absolute", percent(*absolute).to_string())];
            ("errors", vec![("tolerance", braces(&tolerance))])
        }
        Test::Latency { stretch, ratio } => {
            let tolerance =
                [("stretch", percent(*stretch).to_string()), ("ratio", ratio.to_string())];
            ("latency", vec![("tolerance", braces(&tolerance))])
        }
        Test::ErrorObjective { at_most, on_breach } => {
            ("errors", vec![objective(*at_most), breach(*on_breach)])
        }
        Test::LatencyObjective { threshold, at_most, on_breach } => {
            let threshold = Duration::try_from_secs_f64(*threshold).unwrap_or_default();
            let threshold = ("threshold", show_duration(threshold));
            ("latency", vec![objective(*at_most), threshold, breach(*on_breach)])
        }
        Test::Restarts { ratio } => {
            ("restarts", vec![("tolerance", braces(&[("ratio", ratio.to_string())]))])
        }
        Test::Gauge { at_most: None, .. } => ("gauge", vec![]),
        Test::Gauge { at_most: Some(limit), sustained } => {
            ("gauge", vec![("atMost", limit.to_string()), ("for", show_duration(*sustained))])
        }
        Test::NewErrors => (analysis::NEW_ERRORS, vec![]),
        Test::Journey { .. } => return None,
        Test::Kayenta(metric) => kayenta(metric),
    })
}

fn objective(at_most: f64) -> (&'static str, String) {
    ("objective", Percent::from_share(at_most).rest().to_string())
}

fn breach(on_breach: OnBreach) -> (&'static str, String) {
    let word = match on_breach {
        OnBreach::Pause => "pause",
        OnBreach::RollBack => "rollBack",
    };
    ("onBreach", word.to_owned())
}

fn kayenta(metric: &Metric) -> (&'static str, Entries) {
    let mut entries = vec![("judge", "kayenta".to_owned())];
    let kind = match metric.value {
        Value::ErrorShare => "errors",
        Value::Latency(quantile) => {
            entries.push(("quantile", show_quantile(quantile)));
            "latency"
        }
        Value::Gauge => "gauge",
    };
    let outliers = match metric.outliers {
        Outliers::Keep => "keep".to_owned(),
        Outliers::Remove { factor } => braces(&[("factor", factor.to_string())]),
    };
    let size = &metric.effect_size;
    let effect_size = [
        ("measure", word(&MEASURES, &size.measure)),
        ("allowedIncrease", size.allowed_increase().to_string()),
        ("allowedDecrease", size.allowed_decrease().to_string()),
        ("criticalIncrease", size.critical_increase().to_string()),
        ("criticalDecrease", size.critical_decrease().to_string()),
    ];
    let settings = [
        ("direction", word(&DIRECTIONS, &metric.direction())),
        ("nanStrategy", word(&NAN_STRATEGIES, &metric.nan_strategy)),
        ("outliers", outliers),
        ("critical", metric.critical.to_string()),
        ("mustHaveData", metric.must_have_data.to_string()),
        ("muted", metric.muted.to_string()),
        ("effectSize", braces(&effect_size)),
    ];
    entries.push(("kayenta", braces(&settings)));
    (kind, entries)
}
