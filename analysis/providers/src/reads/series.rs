//! What the labels of one series say: how its requests ended, whether they are probes, in which unit they are
//! timed.

use std::collections::BTreeMap;
use std::sync::Arc;

use analysis::Sample;

use super::{Key, Part};
use crate::selector::Series;
use crate::subject::Failed;

/// Differences of cumulative buckets as counts of single buckets.
pub(super) fn histogram(counts: &BTreeMap<Key, u64>, per_second: u32) -> Sample {
    let mut cumulative: BTreeMap<u64, u64> = BTreeMap::new();
    for (key, count) in counts {
        if let Part::Bucket(bits) = key.part {
            *cumulative.entry(bits).or_default() += count;
        }
    }
    let (mut le, mut single, mut below) = (Vec::new(), Vec::new(), 0_u64);
    for (bits, count) in cumulative {
        // A page that was written while requests ended may be off by these; as in Prometheus
        // itself, a cumulative count never falls.
        single.push(count.saturating_sub(below));
        below = below.max(count);
        let bound = f64::from_bits(bits);
        if bound.is_finite() {
            le.push(bound / f64::from(per_second));
        }
    }
    Sample::Histogram { le, counts: single }
}

pub(super) fn unit(per_second: u32) -> String {
    match per_second {
        1 => "in seconds".to_owned(),
        1_000 => "in milliseconds".to_owned(),
        other => format!("{other} units a second"),
    }
}

/// Whether the requests of a series failed; `None` when it does not tell.
pub(super) fn ended(labels: &[String], failed: &Failed, series: &Series) -> Option<Part> {
    let status = labels.iter().map(|l| series.label(l)).find(|value| !value.is_empty());
    match status {
        Some(value) if failed.matches(value) => Some(Part::Failed),
        Some(_) => Some(Part::Good),
        // OpenTelemetry: no response at all, so no status, but the kind of error.
        None if !series.label("error_type").is_empty() => Some(Part::Failed),
        // Without a status it may be a sum of the others.
        None => None,
    }
}

/// The unit that a name ends with.
pub(super) fn per_second(base: &str) -> u32 {
    if base.ends_with("_milliseconds") || base.ends_with("_ms") { 1_000 } else { 1 }
}

/// The labels that tell series of one instance apart, as one text.
pub(super) fn written(series: &Series) -> Arc<str> {
    let mut text = String::new();
    for (name, value) in series.labels.iter().filter(|(name, _)| name != "le") {
        text.push_str(name);
        text.push('\u{1}');
        text.push_str(value);
        text.push('\u{2}');
    }
    text.into()
}

/// Whether a series counts requests of scrapers and probes: they always succeed, and dilute a share.
pub(super) fn is_probe(series: &Series) -> bool {
    const LABELS: &[&str] = &[
        "endpoint",
        "handler",
        "http_route",
        "http_target",
        "path",
        "route",
        "uri",
        "url",
        "url_path",
    ];
    LABELS.iter().any(|label| is_probed(series.label(label)))
}

/// Whether a path is one that scrapers and probes ask for.
pub(crate) fn is_probed(path: &str) -> bool {
    const PATHS: &[&str] = &[
        "/metrics",
        "/actuator/prometheus",
        "/actuator/health",
        "/actuator/health/liveness",
        "/actuator/health/readiness",
        "/health",
        "/healthz",
        "/livez",
        "/live",
        "/readyz",
        "/ready",
        "/-/healthy",
        "/-/ready",
    ];
    PATHS.contains(&path)
}
