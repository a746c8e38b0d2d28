//! What people are told about pushed spans: why there are none, and how to label them.

use analysis::Arm;
use analysis_traces::{ArmLabel, Arms, Refused, Unlabelled};

use super::request::cut;
use super::watch::Watch;
use crate::error::bounded;
use crate::families::Chosen;
use crate::ledger::named;
use crate::reads::Reads;
use crate::subject::{Measure, MeasureKind, Source, Subject};

/// Names that a message lists.
const MOST_NAMES: usize = 5;

/// Why there are no traces to compare.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoTraces {
    /// Nobody asked for it to be watched, or too long ago.
    #[error("the deployment {0} is not watched for traces")]
    NotWatched(String),
    /// No span of the service came.
    #[error(
        "no spans of service.name={service} were pushed to Serin{}; send them to /v1/traces: \
         OTEL_SERVICE_NAME={service}, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://<serin>/v1/traces", listed(.others)
    )]
    NoSpans {
        /// Its name in the telemetry.
        service: String,
        /// Services whose spans come.
        others: Vec<String>,
    },
    /// Requests of one version only came, and none that could be the other's.
    #[error("no request to {missing} of {service} came yet")]
    NoRequests {
        /// Its name in the telemetry.
        service: String,
        /// Which: `the canary` or `the baseline`.
        missing: &'static str,
    },
    /// Spans come, but no request of which all spans are there.
    #[error("spans of {service} come, but no request of which all spans are there; a trace counts as complete some seconds after its last span{}", reasons(*.refused))]
    NothingWhole {
        /// Its name in the telemetry.
        service: String,
        /// What was left out.
        refused: Refused,
    },
    /// The arms cannot be told apart.
    #[error("{service}: {unlabelled}")]
    Unlabelled {
        /// Its name in the telemetry.
        service: String,
        /// What is missing, and what to set.
        unlabelled: Unlabelled,
    },
}

/// Why there is nothing of a service, or of one of its arms.
pub(super) fn nothing(watch: &Watch, pushes: bool, others: Vec<String>) -> NoTraces {
    let service = watch.service.to_string();
    let requests = watch.requests();
    let missing = match (requests.baseline, requests.canary) {
        (0, 0) => "either version",
        (0, _) => "the baseline",
        (_, 0) => "the canary",
        (_, _) => return NoTraces::NothingWhole { service, refused: watch.refused },
    };
    let labelled = requests.baseline + requests.canary;
    if watch.unlabelled > 0 {
        let traces = labelled + watch.unlabelled;
        NoTraces::Unlabelled { service, unlabelled: Unlabelled { traces, missing } }
    } else if labelled > 0 {
        NoTraces::NoRequests { service, missing }
    } else if pushes {
        NoTraces::NothingWhole { service, refused: watch.refused }
    } else {
        NoTraces::NoSpans { service, others }
    }
}

fn listed(services: &[String]) -> String {
    let shown: Vec<&str> = services.iter().take(MOST_NAMES).map(|name| cut(name, 60)).collect();
    if shown.is_empty() { String::new() } else { format!(" (others do: {})", shown.join(", ")) }
}

fn reasons(refused: Refused) -> String {
    let all = [
        (refused.incomplete, "lack spans"),
        (refused.skewed, "were timed by clocks that differ"),
        (refused.oversized, "are too large"),
        (refused.synthetic, "are synthetic"),
    ];
    let told: Vec<String> = all
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, why)| format!("{count} {why}"))
        .collect();
    if told.is_empty() { String::new() } else { format!(" ({})", told.join(", ")) }
}

/// What a subject's instances say of its arms.
pub(super) fn arms_of(subject: &Subject) -> Arms {
    let label = |arm: Arm| {
        let instances = || subject.instances.iter().filter(move |instance| instance.arm == arm);
        let labelled = |names: &[&str]| {
            let labels = instances().flat_map(|instance| &instance.labels);
            labels
                .into_iter()
                .find(|(name, _)| names.contains(&&***name))
                .map(|(_, value)| value.clone())
        };
        let version = labelled(&["service.version", "service_version", "version"]);
        let is_hash =
            |text: &&String| text.len() >= 7 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let names = || instances().map(|instance| &instance.name);
        let named = labelled(&["vcs.ref.head.revision"]);
        let revision = named.or_else(|| version.iter().chain(names()).find(is_hash).cloned());
        ArmLabel {
            version: version.clone(),
            revision,
            pod_template_hash: labelled(&[
                "k8s.pod.label.pod-template-hash",
                "pod-template-hash",
                "pod_template_hash",
            ]),
            instances: names().cloned().collect(),
        }
    };
    Arms { baseline: label(Arm::Baseline), canary: label(Arm::Canary) }
}

/// The service whose spans belong to a subject: a label of its instances, else its own name.
pub(super) fn service_of(subject: &Subject) -> &str {
    let labels = subject.instances.iter().flat_map(|instance| &instance.labels);
    let mut named = labels.filter(|(name, _)| matches!(&***name, "service.name" | "service_name"));
    named.next().map_or(&subject.service, |(_, value)| value)
}

/// What a check reads, and what is to be known about it.
///
/// # Errors
/// Why it cannot be read from spans, and what to do.
pub(super) fn chosen(measure: &Measure, watch: &Watch) -> Result<Chosen, String> {
    if measure.source != Source::Auto {
        return Err("requests are counted from spans, which have no name of a metric; leave `metric` and queries \
                    out, or read this check from a metrics store"
            .to_owned());
    }
    let what = match measure.kind {
        MeasureKind::Errors => "those that failed, out of all",
        MeasureKind::Latency => "their durations",
        MeasureKind::NewErrors => {
            "those with each error that was not seen in the day before, out of all"
        }
        MeasureKind::Restarts
        | MeasureKind::Gauge
        | MeasureKind::Vital(_)
        | MeasureKind::ScriptErrors => {
            return Err("spans do not tell it; read this check from a metrics store".to_owned());
        }
    };
    let service = &watch.service;
    let metric = format!("requests of {}", cut(service, 100));
    let (sampled, stands_for) = watch.sampled;
    let why = if sampled == 0 {
        "pushed to /v1/traces".to_owned()
    } else {
        #[expect(clippy::cast_precision_loss, reason = "for people, rounded")]
        let each = stands_for / sampled as f64;
        format!(
            "pushed to /v1/traces; senders keep about one of {each:.0} requests, and only the kept ones are counted"
        )
    };
    let reading = format!("{metric} by their server spans: {what}");
    Ok(Chosen { reads: Reads::Value(metric.clone()), metric, reading, why })
}

/// How an arm stands, as one part of a sentence; `None` if all is well.
pub(super) fn standing(
    arm: Arm,
    arrived: Option<u64>,
    now: u64,
    stale_after: u64,
) -> Option<String> {
    match arrived {
        None => Some(format!("no request of the {} yet", named(arm))),
        Some(at) if now.saturating_sub(at) > stale_after => {
            let seconds = now.saturating_sub(at) / 1_000_000_000;
            Some(format!("no request of the {} for {seconds} s", named(arm)))
        }
        Some(_) => None,
    }
}

/// A text for people, of a service, bounded.
pub(super) fn of(subject: &Subject, text: &str) -> String {
    bounded(format!("{}: {text}", subject.service))
}
