//! `spec.metrics`: where observations come from.

use std::collections::BTreeMap;
use std::time::Duration;

use rollout::policy::{Metrics, VersionText};

use super::serving::{LONGEST, SHORTEST};
use super::{duration, duration_within};
use crate::config::problem::quote;
use crate::config::reader::{At, Fields, Wrong, near};
use crate::config::source::Span;
use crate::config::{STORES, defaults, values};

const EXPECTED: &str =
    "proxy, scrape, otlp, traces, prometheus: { provider: main } or store: { provider: main }";

/// Stores bill for each question, and keep whole minutes.
const SHORTEST_OF_STORE: Duration = Duration::from_secs(10);

/// Data older than ten minutes is stale, and a store takes some minutes to settle.
const LONGEST_OF_STORE: Duration = Duration::from_mins(3);

/// What a policy names of `serin.yaml`.
pub(in crate::config) struct Named {
    /// Where the name is.
    pub(in crate::config) at: Span,
    /// The name of a provider.
    pub(in crate::config) provider: String,
    /// Whether it speaks the query language of Prometheus.
    pub(in crate::config) prometheus: bool,
}

/// The source of observations, and the provider that it names. `service` is the policy's own name.
pub(super) fn read(at: Option<&At<'_>>, service: &str) -> (Metrics, Option<Named>) {
    let read = at.and_then(|at| {
        if at.is_text() {
            return at.parse(EXPECTED, |text| word(text, service)).map(|metrics| (metrics, None));
        }
        let mut names = vec!["proxy", "scrape", "otlp", "traces", "prometheus", "store"];
        names.extend(STORES);
        match at.choice(EXPECTED, &names, &[])? {
            ("scrape", value) => {
                value.map("a map, e.g. { path: /metrics }", |fields| (scrape(fields), None))
            }
            ("otlp", value) if value.is_null() => Some((otlp(service), None)),
            ("otlp", value) => value.map("a map, e.g. { service: checkout }", |fields| {
                let name = fields.get("service").and_then(|at| at.parse("a name", values::line));
                (name.map_or_else(|| otlp(service), |service| Metrics::Otlp { service }), None)
            }),
            ("traces", value) if value.is_null() => Some((spans(service), None)),
            ("traces", value) => value.map("a map, e.g. { service: checkout }", |fields| {
                let name = fields.get("service").and_then(|at| at.parse("a name", values::line));
                (name.map_or_else(|| spans(service), |service| Metrics::Traces { service }), None)
            }),
            ("prometheus", value) => value.map("a map, e.g. { provider: main }", prometheus)?,
            ("store", value) => value.map("a map, e.g. { provider: main }", store)?,
            ("proxy", value) if value.is_null() => Some((Metrics::Proxy, None)),
            ("proxy", value) => value
                .map("nothing, since the proxy's own counters need no settings", |_| {
                    (Metrics::Proxy, None)
                }),
            (kind, _) => {
                at.wrong(in_serin_yaml(kind));
                None
            }
        }
    });
    read.unwrap_or((Metrics::Proxy, None))
}

fn word(text: &str, service: &str) -> Result<Metrics, Wrong> {
    match text {
        "proxy" => Ok(Metrics::Proxy),
        "scrape" => Ok(Metrics::Scrape {
            path: defaults::SCRAPE_PATH.to_owned(),
            interval: defaults::SCRAPE_INTERVAL,
        }),
        "otlp" => Ok(otlp(service)),
        "traces" => Ok(spans(service)),
        _ => Err(match near(text, &STORES) {
            Some(kind) => in_serin_yaml(kind),
            None => Wrong::new(
                format!("{} is not possible here", quote(text)),
                format!("write {EXPECTED}"),
            ),
        }),
    }
}

/// Which store it is belongs to the instance, so that a policy holds no address and no credential.
fn in_serin_yaml(kind: &str) -> Wrong {
    Wrong::new(
        format!("`{kind}` is set up in serin.yaml, below `providers`, and a policy refers to it"),
        "write store: { provider: main } with the name that it has there",
    )
}

fn otlp(service: &str) -> Metrics {
    Metrics::Otlp { service: service.to_owned() }
}

fn spans(service: &str) -> Metrics {
    Metrics::Traces { service: service.to_owned() }
}

fn scrape(fields: &Fields<'_>) -> Metrics {
    Metrics::Scrape {
        path: fields.or("path", defaults::SCRAPE_PATH.to_owned(), |at| {
            at.parse("a path", values::http_path)
        }),
        interval: fields
            .or("interval", defaults::SCRAPE_INTERVAL, |at| duration_within(at, SHORTEST, LONGEST)),
    }
}

fn prometheus(fields: &Fields<'_>) -> Option<(Metrics, Option<Named>)> {
    let version_label = fields.or("versionLabel", defaults::VERSION_LABEL.to_owned(), |at| {
        at.parse("a label, e.g. version", values::label)
    });
    let labels = fields.or("labels", BTreeMap::new(), |at| labels(at, &version_label));
    let version = fields.or("version", VersionText::Full, version);
    let interval = fields.or("interval", defaults::PROMETHEUS_INTERVAL, duration);
    let named = provider(fields, true)?;
    let provider = named.provider.clone();
    Some((Metrics::Prometheus { provider, version_label, labels, interval, version }, Some(named)))
}

fn store(fields: &Fields<'_>) -> Option<(Metrics, Option<Named>)> {
    let labels = fields.or("labels", BTreeMap::new(), |at| labels(at, "version"));
    let version = fields.or("version", VersionText::Full, version);
    let interval = fields.or("interval", defaults::STORE_INTERVAL, |at| {
        duration_within(at, SHORTEST_OF_STORE, LONGEST_OF_STORE)
    });
    let named = provider(fields, false)?;
    let provider = named.provider.clone();
    Some((Metrics::Store { provider, labels, version, interval }, Some(named)))
}

fn provider(fields: &Fields<'_>, prometheus: bool) -> Option<Named> {
    let example = "provider: main, the name of a provider in serin.yaml";
    let at = fields.required("provider", example)?;
    Some(Named { at: at.span(), provider: at.parse("a name", values::name)?, prometheus })
}

pub(super) fn version(at: &At<'_>) -> Option<VersionText> {
    at.word(&[("full", VersionText::Full), ("short", VersionText::Short)])
}

/// Labels with their values, but for the one that tells the versions apart.
fn labels(at: &At<'_>, version_label: &str) -> Option<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    for (_, name, value) in at.entries("a map of labels, e.g. { job: checkout }")? {
        let label = values::label(name).map_err(|wrong| value.wrong(wrong)).ok();
        if label.as_deref() == Some(version_label) {
            let hint = "leave it out; Serin asks for each version in turn";
            let message = "this label tells the versions apart, so it has no fixed value";
            value.wrong(Wrong::new(message, hint));
            continue;
        }
        labels.extend(label.zip(value.parse("a value", values::line)));
    }
    Some(labels)
}
