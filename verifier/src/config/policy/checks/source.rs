//! Where a check's numbers are found: a metric by its name, or queries; and how they are split.

use std::collections::BTreeMap;
use std::time::Duration;

use rollout::policy::{Failed, Measurement, Metrics, Named, Source, StatusRule};

use super::{Measure, promql};
use crate::config::problem::quote;
use crate::config::reader::{At, Fields, Wrong};
use crate::config::{units, values};

/// Strata multiply: with more labels than this each has too few requests to be compared.
const MOST_LABELS: usize = 4;

/// Each threshold is a query for each version.
const MOST_THRESHOLDS: usize = 16;

/// Reads what a check says of its source; the default where it says nothing.
pub(super) fn read(fields: &Fields<'_>, measure: Measure, metrics: &Metrics) -> Measurement {
    let before = fields.at().source().count();
    let by = match measure {
        Measure::Errors | Measure::Latency => fields.get("by"),
        Measure::Restarts | Measure::NewErrors | Measure::Browsers(_) | Measure::Gauge => None,
    };
    let metric = fields.get("metric");
    let queries = queries(measure)
        .iter()
        .filter_map(|name| fields.get(name).map(|at| (*name, at)))
        .collect::<Vec<_>>();
    let given = by.as_ref().or(metric.as_ref()).or(queries.first().map(|(_, at)| at));
    let source = match (&metric, queries.first()) {
        (Some(_), Some((name, at))) => {
            let message = format!("`metric` and `{name}` cannot both be used");
            at.wrong(Wrong::new(message, "keep one of them"));
            None
        }
        (Some(at), None) => named(fields, at, measure),
        (None, Some(_)) => asked(fields, measure, metrics),
        (None, None) => Some(Source::Auto),
    };
    if metric.is_none() {
        without_metric(fields, measure);
    }
    let by_labels = by.as_ref().and_then(labels);
    // What cannot be used at all is told only if it is right in itself.
    if let Some(at) = given.filter(|at| at.source().count() == before) {
        possible(at, metrics, metric.as_ref(), by.as_ref());
    }
    Measurement { source: source.unwrap_or_default(), by: by_labels }
}

/// Keys whose values are queries.
fn queries(measure: Measure) -> &'static [&'static str] {
    match measure {
        Measure::Errors | Measure::Restarts => &["bad", "total"],
        Measure::NewErrors | Measure::Browsers(_) => &[],
        Measure::Latency => &["slower", "total"],
        Measure::Gauge => &["query"],
    }
}

/// Whether the policy's metrics can be read so.
fn possible(at: &At<'_>, metrics: &Metrics, metric: Option<&At<'_>>, by: Option<&At<'_>>) {
    match metrics {
        Metrics::Traces { .. } => {
            let hint = "leave it out, or name another source with spec.metrics, e.g. metrics: otlp";
            at.wrong(Wrong::new("spans are counted by themselves and have no metrics", hint));
        }
        Metrics::Proxy => {
            let hint =
                "leave it out, or name the source of it with spec.metrics, e.g. metrics: scrape";
            at.wrong(Wrong::new(
                "the proxy counts requests by itself and knows no metric of the service",
                hint,
            ));
        }
        Metrics::Store { .. } => {
            if let Some(metric) = metric {
                let hint =
                    "write the queries that count: bad and total, total and slower, or query";
                metric.wrong(Wrong::new(
                    "a store is asked by queries, not by the name of a metric",
                    hint,
                ));
            }
            if let Some(by) = by {
                let hint = "leave it out";
                by.wrong(Wrong::new("what a store counts is not split by labels", hint));
            }
        }
        Metrics::Scrape { .. } | Metrics::Prometheus { .. } | Metrics::Otlp { .. } => {}
    }
}

/// Keys that belong to a metric by its name.
fn of_metric(measure: Measure) -> &'static [&'static str] {
    match measure {
        Measure::Errors => &["labels", "status"],
        Measure::Latency => &["labels", "unit"],
        Measure::Restarts | Measure::Gauge => &["labels"],
        Measure::NewErrors | Measure::Browsers(_) => &[],
    }
}

fn without_metric(fields: &Fields<'_>, measure: Measure) {
    for name in of_metric(measure) {
        if let Some(at) = fields.get(name) {
            let hint = "add the metric's name, e.g. metric: http_requests_total, or leave it out";
            at.wrong(Wrong::new(format!("`{name}` belongs to a `metric`"), hint));
        }
    }
}

fn named(fields: &Fields<'_>, at: &At<'_>, measure: Measure) -> Option<Source> {
    let metric = at.parse("a name of a metric", values::metric);
    let labels = fields.or("labels", BTreeMap::new(), |at| {
        let pairs = at.entries("a map of labels, e.g. { job: checkout }")?;
        let pair = |(_, name, value): (_, &str, At<'_>)| {
            let label = values::label(name).map_err(|wrong| value.wrong(wrong)).ok();
            label.zip(value.parse("a value", values::line))
        };
        Some(pairs.into_iter().filter_map(pair).collect())
    });
    let status = match measure {
        Measure::Errors => fields
            .get("status")
            .and_then(|at| at.map("a map, e.g. { label: code, failed: [5xx] }", status)?),
        Measure::Latency
        | Measure::Restarts
        | Measure::NewErrors
        | Measure::Browsers(_)
        | Measure::Gauge => None,
    };
    let per_second = match measure {
        Measure::Latency => fields.get("unit").and_then(|at| at.word(&UNITS)),
        Measure::Errors
        | Measure::Restarts
        | Measure::NewErrors
        | Measure::Browsers(_)
        | Measure::Gauge => None,
    };
    Some(Source::Named(Named { metric: metric?, labels, status, per_second }))
}

/// Units of a duration, and how many make a second.
pub(in crate::config) const UNITS: [(&str, u32); 4] =
    [("s", 1), ("ms", 1_000), ("us", 1_000_000), ("ns", 1_000_000_000)];

fn status(fields: &Fields<'_>) -> Option<StatusRule> {
    let failed = fields.or("failed", Failed::Http, failed);
    let label = fields
        .required("label", "label: code, the label that tells how a request ended")
        .and_then(|at| at.parse("a label, e.g. code", values::label))?;
    Some(StatusRule { label, failed })
}

fn failed(at: &At<'_>) -> Option<Failed> {
    if at.is_text() {
        return at.parse("http, grpc or a list, e.g. [5xx]", |text| match text {
            "http" => Ok(Failed::Http),
            "grpc" => Ok(Failed::Grpc),
            _ => Err(Wrong::new(
                format!("{} is not possible here", quote(text)),
                format!("write http, grpc or a list of values, e.g. [{}]", text.trim()),
            )),
        });
    }
    let items = at.list("http, grpc or a list, e.g. [5xx]")?;
    if items.is_empty() {
        let hint = "write which values mean a failed request, e.g. [5xx]";
        at.wrong(Wrong::new("no value means a failed request", hint));
        return None;
    }
    let values: Vec<_> = items.iter().map(|item| item.parse("a value", values::line)).collect();
    values.into_iter().collect::<Option<_>>().map(Failed::Values)
}

/// Queries: `bad` and `total`, `slower` and `total`, or `query`.
fn asked(fields: &Fields<'_>, measure: Measure, metrics: &Metrics) -> Option<Source> {
    let read = |at: &At<'_>| query(at, metrics);
    let total = |example| fields.required("total", example).and_then(|at| read(&at));
    match measure {
        Measure::NewErrors | Measure::Browsers(_) => None,
        Measure::Errors | Measure::Restarts => {
            let total = total("total: orders_total, which counts all, good and bad");
            let bad = fields
                .required("bad", "bad: orders_rejected_total, which counts what failed")
                .and_then(|at| read(&at));
            Some(Source::Query { bad: bad?, total: total? })
        }
        Measure::Latency => {
            let total = total("total: '<query>', which counts all requests");
            let example = "slower: { 250ms: '<query>' }, which counts those that took longer";
            let slower = fields.required("slower", example).and_then(|at| slower(&at, metrics));
            Some(Source::Slower { total: total?, slower: slower? })
        }
        Measure::Gauge => {
            let at = fields.get("query")?;
            match metrics {
                Metrics::Store { .. } => read(&at),
                Metrics::Prometheus { .. } => at.parse("a query", promql::value),
                Metrics::Proxy
                | Metrics::Scrape { .. }
                | Metrics::Otlp { .. }
                | Metrics::Traces { .. } => {
                    let hint = "write metric: with the gauge's name";
                    at.wrong(Wrong::new("there is no server here that answers a query", hint));
                    None
                }
            }
            .map(Source::Value)
        }
    }
}

/// One query that counts events, in the language of the policy's metrics.
fn query(at: &At<'_>, metrics: &Metrics) -> Option<String> {
    match metrics {
        Metrics::Store { labels, .. } => {
            at.parse("a query", |text| of_store(&values::query(text)?, labels))
        }
        Metrics::Proxy
        | Metrics::Scrape { .. }
        | Metrics::Prometheus { .. }
        | Metrics::Otlp { .. }
        | Metrics::Traces { .. } => at.parse("a counter, e.g. orders_total", promql::counter),
    }
}

/// What stands for the ends and the length of the time that is asked for, and for the service.
const GIVEN: [&str; 5] = ["version", "service", "from", "to", "step"];

/// A query of a store says which version it is about, and names nothing that is not known.
fn of_store(text: &str, labels: &BTreeMap<String, String>) -> Result<String, Wrong> {
    if !text.contains("${version}") {
        return Err(Wrong::new(
            "the query does not say which version it counts, so it would be the same for both",
            "write ${version} where the version belongs, e.g. version:${version}",
        ));
    }
    let known = |name: &str| GIVEN.contains(&name) || labels.contains_key(name);
    let named = text.split("${").skip(1).filter_map(|rest| rest.split_once('}'));
    let stranger = named
        .map(|(name, _)| name)
        .find(|name| !known(name) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'));
    match stranger {
        Some(name) => {
            let all = GIVEN.into_iter().chain(labels.keys().map(String::as_str));
            let all: Vec<&str> = all.collect();
            Err(Wrong::new(
                format!("nothing is known by the name {}", quote(&format!("${{{name}}}"))),
                format!("known are {}; more come from metrics.store.labels", all.join(", ")),
            ))
        }
        None => Ok(text.to_owned()),
    }
}

fn slower(at: &At<'_>, metrics: &Metrics) -> Option<Vec<(Duration, String)>> {
    if !matches!(metrics, Metrics::Store { .. }) {
        let hint = "write metric: with the histogram's name, without _bucket";
        at.wrong(Wrong::new("durations are read from a histogram here", hint));
        return None;
    }
    let entries = at.entries("a map, e.g. { 250ms: '<query>', 1s: '<query>' }")?;
    if entries.is_empty() || MOST_THRESHOLDS < entries.len() {
        let message = format!("there are {} thresholds", entries.len());
        let hint = format!("write 1 to {MOST_THRESHOLDS}, around the durations that people feel");
        at.wrong(Wrong::new(message, hint));
        return None;
    }
    let mut slower: BTreeMap<Duration, String> = BTreeMap::new();
    for (_, name, value) in entries {
        let threshold = units::duration(name).and_then(|threshold| {
            if threshold.is_zero() {
                let hint = "leave it out; `total` counts every request";
                return Err(Wrong::new("every request takes longer than nothing", hint));
            }
            if slower.contains_key(&threshold) {
                let message = format!("{} is given twice", quote(name));
                return Err(Wrong::new(message, "keep one of the two"));
            }
            Ok(threshold)
        });
        let threshold = threshold.map_err(|wrong| value.wrong(wrong)).ok();
        slower.extend(threshold.zip(query(&value, metrics)));
    }
    Some(slower.into_iter().collect())
}

/// The labels of `by`.
fn labels(at: &At<'_>) -> Option<Vec<String>> {
    let items = at.list("a list of labels, e.g. [route, zone], or [] for none")?;
    if MOST_LABELS < items.len() {
        let hint = format!("keep the {MOST_LABELS} whose values behave most unlike each other");
        at.wrong(Wrong::new(format!("there are {} labels", items.len()), hint));
        return None;
    }
    let mut labels: Vec<String> = vec![];
    for item in items {
        let Some(label) = item.parse("a label, e.g. route", values::label) else { continue };
        if labels.contains(&label) {
            item.wrong(Wrong::new(format!("`{label}` is named twice"), "keep one of them"));
        }
        labels.push(label);
    }
    Some(labels)
}
