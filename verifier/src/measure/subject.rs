//! From a policy to what a provider is asked: measures, and the labels that tell the versions apart.

use std::collections::BTreeMap;

use analysis::kayenta::{Metric, Value};
use analysis::{Arm, Test};
use analysis_providers::{
    Failed, Instance, Measure, MeasureKind, Named, Source, StatusRule, Subject, Vital,
};
use rollout::Policy;
use rollout::policy::{self, Browsers, EDGE, Measurement, Metrics, RESTARTS};
use rollout_targets::process::Processes;

/// Whether Serin counts the restarts of a policy's processes itself: where the metrics come from the proxy or from
/// the processes' own pages, nothing else knows of them.
pub(super) fn counts_restarts(policy: &Policy) -> bool {
    let own = match policy.metrics {
        Metrics::Proxy | Metrics::Scrape { .. } => true,
        Metrics::Otlp { .. }
        | Metrics::Traces { .. }
        | Metrics::Prometheus { .. }
        | Metrics::Store { .. } => false,
    };
    own && policy.analysis.checks.iter().any(|check| check.reads == RESTARTS)
}

/// What a policy's checks read from a provider, each once.
pub fn measures(policy: &Policy) -> Vec<Measure> {
    let mut measures: Vec<Measure> = Vec::new();
    let counted = counts_restarts(policy);
    for check in &policy.analysis.checks {
        let kind = kind(&check.test);
        let beside = match check.test {
            Test::Journey { .. } => true,
            Test::NewErrors => !matches!(policy.metrics, Metrics::Traces { .. }),
            Test::Errors { .. }
            | Test::Latency { .. }
            | Test::ErrorObjective { .. }
            | Test::LatencyObjective { .. }
            | Test::Restarts { .. }
            | Test::Gauge { .. }
            | Test::Kayenta(_) => policy.of_browsers(&check.reads).is_some(),
        };
        let fed = beside || check.reads == EDGE || (counted && check.reads == RESTARTS);
        if fed || measures.iter().any(|measure| measure.check == check.reads) {
            continue;
        }
        let described = policy.sources.get(&check.reads);
        measures.push(Measure {
            check: check.reads.clone(),
            kind,
            source: described.map_or(Source::Auto, |described| source(&described.source)),
            strata: described.map(strata).unwrap_or_default(),
        });
    }
    measures
}

pub(super) fn kind(test: &Test) -> MeasureKind {
    match test {
        // Journeys are not asked for: Serin makes these requests itself.
        Test::Errors { .. }
        | Test::Journey { .. }
        | Test::ErrorObjective { .. }
        | Test::Kayenta(Metric { value: Value::ErrorShare, .. }) => MeasureKind::Errors,
        Test::Latency { .. }
        | Test::LatencyObjective { .. }
        | Test::Kayenta(Metric { value: Value::Latency(_), .. }) => MeasureKind::Latency,
        Test::Gauge { .. } | Test::Kayenta(Metric { value: Value::Gauge, .. }) => {
            MeasureKind::Gauge
        }
        Test::Restarts { .. } => MeasureKind::Restarts,
        Test::NewErrors => MeasureKind::NewErrors,
    }
}

/// What browsers are asked for.
pub(super) fn vital(reported: Browsers) -> MeasureKind {
    match reported {
        Browsers::Lcp => MeasureKind::Vital(Vital::Lcp),
        Browsers::Inp => MeasureKind::Vital(Vital::Inp),
        Browsers::Cls => MeasureKind::Vital(Vital::Cls),
        Browsers::Fcp => MeasureKind::Vital(Vital::Fcp),
        Browsers::Ttfb => MeasureKind::Vital(Vital::Ttfb),
        Browsers::ScriptErrors => MeasureKind::ScriptErrors,
    }
}

/// The labels that split the traffic. A provider takes the usual ones where none is named, so that "none at all" is
/// the empty label, which no series has.
fn strata(measurement: &Measurement) -> Vec<String> {
    match &measurement.by {
        None => Vec::new(),
        Some(labels) if labels.is_empty() => vec![String::new()],
        Some(labels) => labels.clone(),
    }
}

fn source(source: &policy::Source) -> Source {
    match source {
        policy::Source::Auto | policy::Source::Browsers(_) => Source::Auto,
        policy::Source::Named(named) => Source::Named(Named {
            metric: named.metric.clone(),
            labels: named.labels.clone(),
            status: named.status.as_ref().map(|rule| StatusRule {
                label: rule.label.clone(),
                failed: match &rule.failed {
                    policy::Failed::Http => Failed::Http,
                    policy::Failed::Grpc => Failed::Grpc,
                    policy::Failed::Values(values) => Failed::Values(values.clone()),
                },
            }),
            per_second: named.per_second,
        }),
        policy::Source::Query { bad, total } => {
            Source::Query { bad: bad.clone(), total: total.clone() }
        }
        policy::Source::Slower { total, slower } => {
            Source::Slower { total: total.clone(), slower: slower.clone() }
        }
        policy::Source::Value(query) => Source::Value(query.clone()),
    }
}

/// The labels by which a source knows a version.
fn labels(metrics: &Metrics, revision: &str) -> BTreeMap<String, String> {
    let with = |labels: &BTreeMap<String, String>, name: &str, version: &str| {
        let mut labels = labels.clone();
        labels.insert(name.to_owned(), version.to_owned());
        labels
    };
    match metrics {
        Metrics::Proxy | Metrics::Scrape { .. } => BTreeMap::new(),
        Metrics::Prometheus { version_label, labels, version, .. } => {
            with(labels, version_label, version.of(revision))
        }
        Metrics::Store { labels, version, .. } => with(labels, "version", version.of(revision)),
        Metrics::Otlp { service } | Metrics::Traces { service } => {
            let labels = BTreeMap::from([("service.name".to_owned(), service.clone())]);
            with(&labels, "service.version", revision)
        }
    }
}

/// What a provider is asked for one deployment, with the revisions of canary and baseline.
pub(super) fn subject(
    id: &str,
    service: &str,
    policy: &Policy,
    [canary, stable]: [&str; 2],
    processes: &Processes,
) -> Subject {
    let arms = [(Arm::Canary, canary), (Arm::Baseline, stable)];
    let instances = arms.into_iter().flat_map(|(arm, revision)| {
        let labels = labels(&policy.metrics, revision);
        // A store is asked for a version as a whole; it knows the instances itself.
        let running = match &policy.metrics {
            Metrics::Scrape { path, .. } => processes
                .running(service, revision)
                .into_iter()
                .map(|r| (r.instance, Some(format!("http://{}{path}", r.address))))
                .collect(),
            Metrics::Proxy
            | Metrics::Otlp { .. }
            | Metrics::Traces { .. }
            | Metrics::Prometheus { .. }
            | Metrics::Store { .. } => vec![(revision.to_owned(), None)],
        };
        running.into_iter().map(move |(name, url)| Instance {
            name,
            arm,
            url,
            labels: labels.clone(),
        })
    });
    Subject {
        id: id.to_owned(),
        service: service.to_owned(),
        instances: instances.collect(),
        measures: measures(policy),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(more: &str) -> Policy {
        let text = format!(
            "metadata: {{ name: shop }}\nspec:\n  paths: [a/**]\n  target: {{ process: {{ command: ./a }} }}\n{more}"
        );
        let read = crate::config::policies("p.yaml", text.as_bytes());
        let problems = |p: Vec<_>| crate::config::render_problems(&p, crate::config::Colour::Never);
        read.unwrap_or_else(|p| panic!("{}", problems(p))).remove(0)
    }

    #[test]
    fn each_thing_that_the_checks_read_is_asked_for_once() {
        let policy = policy(
            "  metrics: { prometheus: { provider: main, version: short, labels: { job: shop } } }
  checks:
    - errors: { objective: 99% }
    - errors
    - latency: { metric: rpc_seconds, unit: ms, by: [] }
    - latency: { metric: rpc_seconds, unit: ms, by: [], objective: 99%, threshold: 1s }
    - { name: orders, errors: { bad: orders_lost_total, total: orders_total, by: [zone] } }
    - { name: memory, gauge: { metric: process_resident_memory_bytes } }
    - restarts
",
        )
        .watched_at_the_edge();
        let asked: Vec<_> = measures(&policy)
            .into_iter()
            .map(|m| (m.check, m.kind, m.source != Source::Auto, m.strata))
            .collect();
        let none: Vec<String> = vec![];
        assert_eq!(
            asked,
            [
                ("errors".into(), MeasureKind::Errors, false, none.clone()),
                ("latency".into(), MeasureKind::Latency, true, vec![String::new()]),
                ("orders".into(), MeasureKind::Errors, true, vec!["zone".into()]),
                ("memory".into(), MeasureKind::Gauge, true, none.clone()),
                ("restarts".into(), MeasureKind::Restarts, false, none),
            ]
        );
        let revision = "4f2c1a9d05e8b7a6c3f2e1d0c9b8a7f6e5d4c3b2";
        let known = labels(&policy.metrics, revision);
        let known: Vec<_> = known.iter().map(|(k, v)| (&**k, &**v)).collect();
        assert_eq!(known, [("job", "shop"), ("version", "4f2c1a9")]);
    }

    #[test]
    fn restarts_are_counted_by_serin_where_nothing_else_knows_of_them() {
        for (metrics, counted) in [("proxy", true), ("scrape", true), ("otlp", false)] {
            let policy = policy(&format!("  metrics: {metrics}\n  checks: [errors, restarts]\n"));
            assert_eq!(counts_restarts(&policy), counted, "{metrics}");
            assert_eq!(measures(&policy).len(), if counted { 1 } else { 2 }, "{metrics}");
        }
        assert!(!counts_restarts(&policy("  checks: [errors]\n")));
    }

    #[test]
    fn a_store_and_a_pushing_service_are_known_by_their_own_labels() {
        let store = policy(
            "  metrics: { store: { provider: main, labels: { env: prod } } }\n  checks: [errors]\n",
        );
        assert_eq!(
            labels(&store.metrics, "abc"),
            BTreeMap::from([("env".into(), "prod".into()), ("version".into(), "abc".into())])
        );
        let pushed = labels(&policy("  metrics: otlp\n").metrics, "abc");
        let wanted = [("service.name", "shop"), ("service.version", "abc")];
        assert_eq!(pushed, wanted.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
    }
}
