//! Finds the metric that counts a service's requests, by the names that libraries and proxies use.
//!
//! One table, best first. A family that also times requests comes before one that only counts them, so
//! that errors and latency speak of the same requests; what a server says of itself comes before what a
//! proxy says of it. Nothing is guessed: without a known name, or with two equally good ones, the answer
//! is a text that says what was seen and what to write in the policy.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::page::STARTED;
use crate::reads::{HTTP_STATUS, Reads};
use crate::selector::{Selector, Series};
use crate::subject::{Failed, MeasureKind};

/// The metric that a check reads, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// The family's name.
    pub metric: String,
    /// What is read of it, e.g. "`http_requests_total` by `code`, 5xx failed".
    pub reading: String,
    /// Why this one.
    pub why: String,
    pub(crate) reads: Reads,
}

impl fmt::Display for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.reading, self.why)
    }
}

impl Chosen {
    /// A metric that the policy names.
    pub(crate) fn given(reads: Reads) -> Self {
        let metric = if let Reads::Value(text) = &reads {
            text.clone()
        } else {
            reads.selectors().first().map_or_else(String::new, |s| s.name.clone())
        };
        let why = "named in the policy".to_owned();
        Self { metric, reading: reads.describe(), why, reads }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Counter,
    /// Per second: how many of its units make a second.
    Histogram(u32),
}

/// Which values of a row's status label mean a failed request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failing {
    Http,
    Grpc,
    /// `failure`, as Linkerd classifies responses.
    Classified,
}

/// One family that is known by name.
#[derive(Debug, Clone, Copy)]
struct Row {
    name: &'static str,
    /// Any prefix that ends with `_` may stand before the name.
    prefixed: bool,
    shape: Shape,
    /// Labels that tell how a request ended, best first; empty: it does not tell.
    status: &'static [&'static str],
    failing: Failing,
    /// Read only series with this label.
    only: Option<(&'static str, &'static str)>,
    origin: &'static str,
}

const fn row(
    name: &'static str,
    shape: Shape,
    status: &'static [&'static str],
    origin: &'static str,
) -> Row {
    Row { name, prefixed: false, shape, status, failing: Failing::Http, only: None, origin }
}

const fn grpc(
    name: &'static str,
    shape: Shape,
    status: &'static [&'static str],
    origin: &'static str,
) -> Row {
    Row { failing: Failing::Grpc, ..row(name, shape, status, origin) }
}

const fn prefixed(name: &'static str, shape: Shape, origin: &'static str) -> Row {
    Row { prefixed: true, ..row(name, shape, HTTP_STATUS, origin) }
}

const fn only(label: &'static str, value: &'static str, row: Row) -> Row {
    Row { only: Some((label, value)), ..row }
}

const SECONDS: Shape = Shape::Histogram(1);
const MILLIS: Shape = Shape::Histogram(1_000);
const GRPC_CODE: &[&str] =
    &["grpc_code", "rpc_grpc_status_code", "rpc_response_status_code", "grpc_status"];
const CLASS: &[&str] = &["envoy_response_code_class"];
const OTEL: &str = "OpenTelemetry";
const OTEL_OLD: &str = "OpenTelemetry before 1.23";
const CLIENT: &str = "Prometheus client libraries";

/// The table, best first. The README shows it; a test keeps the two alike.
const TABLE: &[Row] = &[
    row("http_server_request_duration_seconds", SECONDS, HTTP_STATUS, OTEL),
    row("http_server_request_duration", SECONDS, HTTP_STATUS, OTEL),
    row("http_server_duration_milliseconds", MILLIS, HTTP_STATUS, OTEL_OLD),
    row("http_server_duration_seconds", SECONDS, HTTP_STATUS, OTEL_OLD),
    row("http_server_duration", MILLIS, HTTP_STATUS, OTEL_OLD),
    row("http_server_requests_seconds", SECONDS, HTTP_STATUS, "Micrometer, Spring Boot"),
    row("http_request_duration_seconds", SECONDS, HTTP_STATUS, CLIENT),
    row("http_requests_duration_seconds", SECONDS, HTTP_STATUS, CLIENT),
    row("http_request_duration_milliseconds", MILLIS, HTTP_STATUS, CLIENT),
    row("http_request_duration_ms", MILLIS, HTTP_STATUS, CLIENT),
    row("http_response_time_seconds", SECONDS, HTTP_STATUS, CLIENT),
    row("http_requests_total", Shape::Counter, HTTP_STATUS, CLIENT),
    row("http_server_requests_total", Shape::Counter, HTTP_STATUS, CLIENT),
    row("http_requests_received_total", Shape::Counter, HTTP_STATUS, "prometheus-net"),
    row("http_request_total", Shape::Counter, HTTP_STATUS, CLIENT),
    row("http_responses_total", Shape::Counter, HTTP_STATUS, CLIENT),
    row("request_duration_seconds", SECONDS, HTTP_STATUS, "Weaveworks and others"),
    row("request_duration_milliseconds", MILLIS, HTTP_STATUS, CLIENT),
    row("requests_total", Shape::Counter, HTTP_STATUS, CLIENT),
    prefixed("http_server_request_duration_seconds", SECONDS, CLIENT),
    prefixed("http_request_duration_seconds", SECONDS, CLIENT),
    prefixed("http_requests_duration_seconds", SECONDS, CLIENT),
    prefixed("http_requests_total", Shape::Counter, CLIENT),
    prefixed("http_request_total", Shape::Counter, CLIENT),
    grpc("rpc_server_call_duration_seconds", SECONDS, GRPC_CODE, OTEL),
    grpc("rpc_server_duration_milliseconds", MILLIS, GRPC_CODE, OTEL_OLD),
    grpc("rpc_server_duration_seconds", SECONDS, GRPC_CODE, OTEL_OLD),
    grpc(
        "grpc_server_call_duration_seconds",
        SECONDS,
        GRPC_CODE,
        "gRPC's own OpenTelemetry plugin",
    ),
    grpc("grpc_server_handled_total", Shape::Counter, GRPC_CODE, "go-grpc-middleware and its kin"),
    grpc("grpc_server_handling_seconds", SECONDS, &[], "go-grpc-middleware and its kin"),
    only(
        "reporter",
        "destination",
        row("istio_requests_total", Shape::Counter, &["response_code"], "Istio"),
    ),
    only(
        "reporter",
        "destination",
        row("istio_request_duration_milliseconds", MILLIS, &["response_code"], "Istio"),
    ),
    only(
        "direction",
        "inbound",
        Row {
            failing: Failing::Classified,
            ..row("response_total", Shape::Counter, &["classification"], "Linkerd")
        },
    ),
    only("direction", "inbound", row("response_latency_ms", MILLIS, &[], "Linkerd")),
    row("traefik_service_request_duration_seconds", SECONDS, &["code"], "Traefik"),
    row("traefik_service_requests_total", Shape::Counter, &["code"], "Traefik"),
    row("nginx_ingress_controller_request_duration_seconds", SECONDS, &["status"], "ingress-nginx"),
    row("nginx_ingress_controller_requests", Shape::Counter, &["status"], "ingress-nginx"),
    row("envoy_cluster_upstream_rq_xx", Shape::Counter, CLASS, "Envoy"),
    row("envoy_cluster_upstream_rq_time", MILLIS, &[], "Envoy"),
    row("envoy_http_downstream_rq_xx", Shape::Counter, CLASS, "Envoy"),
    row("envoy_http_downstream_rq_time", MILLIS, &[], "Envoy"),
    row("haproxy_server_http_responses_total", Shape::Counter, &["code"], "HAProxy"),
    row("haproxy_backend_http_responses_total", Shape::Counter, &["code"], "HAProxy"),
    row("caddy_http_request_duration_seconds", SECONDS, &["code"], "Caddy"),
    row("kong_http_requests_total", Shape::Counter, &["code"], "Kong"),
    row("kong_request_latency_ms", MILLIS, &[], "Kong"),
    row("apisix_http_status", Shape::Counter, &["code"], "APISIX"),
    row("skipper_response_duration_seconds", SECONDS, &["code"], "Skipper"),
];

/// What a series is to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// A counter, or the count or a bucket of a classic histogram.
    Classic,
    /// A native histogram, which has no suffix.
    Native,
}

/// Which of a row's series are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Count,
    Buckets,
}

impl Part {
    /// What a kind of check needs; `None` where no family is known by name.
    fn of(kind: MeasureKind) -> Option<Self> {
        match kind {
            // Where no start time is shown, a counter of requests that begins anew tells of a restart.
            MeasureKind::Errors | MeasureKind::Restarts => Some(Self::Count),
            MeasureKind::Latency => Some(Self::Buckets),
            MeasureKind::Gauge
            | MeasureKind::NewErrors
            | MeasureKind::Vital(_)
            | MeasureKind::ScriptErrors => None,
        }
    }
}

impl Row {
    /// The family's name if the series belongs to this row and serves for this part.
    fn base<'a>(&self, part: Part, series: &'a str) -> Option<(&'a str, Form)> {
        let classic = match (self.shape, part) {
            (Shape::Counter, Part::Count) => Some(series),
            (Shape::Counter, Part::Buckets) => return None,
            (Shape::Histogram(_), Part::Count) => series.strip_suffix("_count"),
            (Shape::Histogram(_), Part::Buckets) => series.strip_suffix("_bucket"),
        };
        let native = matches!(self.shape, Shape::Histogram(_)).then_some(series);
        let classic = classic.filter(|base| self.fits(base)).map(|base| (base, Form::Classic));
        classic.or_else(|| native.filter(|base| self.fits(base)).map(|base| (base, Form::Native)))
    }

    fn fits(&self, base: &str) -> bool {
        if self.prefixed {
            // A service's own requests, not those that it sends or that its scraper makes.
            base.strip_suffix(self.name).is_some_and(|prefix| prefix.ends_with('_'))
                && !base.contains("client")
                && !base.contains("promhttp")
        } else {
            base == self.name
        }
    }

    /// The label that tells how a request of this series ended; `Some("")` where none is needed.
    fn status(&self, part: Part, form: Form, series: &Series) -> Option<&'static str> {
        if self.only.is_some_and(|(label, value)| series.label(label) != value) {
            return None;
        }
        // A summary has the same name as a native histogram, and no buckets.
        if form == Form::Native && !series.label("quantile").is_empty() {
            return None;
        }
        match part {
            Part::Buckets => Some(""),
            Part::Count => {
                self.status.iter().find(|label| !series.label(label).is_empty()).copied()
            }
        }
    }

    fn reads(&self, part: Part, base: &str, status: &str, form: Form) -> Reads {
        let suffix = match (self.shape, part) {
            (Shape::Histogram(_), Part::Count) => "_count",
            (Shape::Histogram(_), Part::Buckets) => "_bucket",
            (Shape::Counter, _) => "",
        };
        let selector = Selector::exact(format!("{base}{suffix}"), self.only);
        let per_second = match self.shape {
            Shape::Histogram(per_second) => per_second,
            Shape::Counter => 1,
        };
        let failed = match self.failing {
            Failing::Classified => Failed::Values(vec!["failure".to_owned()]),
            Failing::Http => Failed::Http,
            Failing::Grpc => Failed::Grpc,
        };
        let without_probes = true;
        let classic = match part {
            Part::Buckets => Reads::Buckets { selector, per_second, without_probes },
            Part::Count => {
                let labels = vec![status.to_owned()];
                Reads::Ratio { selector, labels, failed, without_probes, native: false }
            }
        };
        match form {
            Form::Native => classic.twin().unwrap_or(classic),
            Form::Classic => classic,
        }
    }
}

/// Whether a series of a metrics page may be chosen for any check. A page in text has no native histograms.
pub(crate) fn is_candidate(name: &str) -> bool {
    let classic = |row: &Row, part| matches!(row.base(part, name), Some((_, Form::Classic)));
    TABLE.iter().any(|row| classic(row, Part::Count) || classic(row, Part::Buckets))
}

/// The names of all series that may be chosen, as a regular expression for Prometheus.
pub(crate) fn names() -> String {
    let mut names = BTreeSet::from([STARTED.to_owned()]);
    for row in TABLE {
        let prefix = if row.prefixed { ".+_" } else { "" };
        names.insert(match row.shape {
            Shape::Counter => format!("{prefix}{}", row.name),
            Shape::Histogram(_) => format!("{prefix}{}(_count|_bucket)?", row.name),
        });
    }
    names.into_iter().collect::<Vec<_>>().join("|")
}

/// All labels that decide the choice.
pub(crate) fn labels() -> BTreeSet<&'static str> {
    TABLE
        .iter()
        .flat_map(|row| row.status.iter().copied().chain(row.only.map(|(label, _)| label)))
        .chain(["quantile"])
        .collect()
}

/// The names found in one arm: by row of the table, each family with its status label in each form.
type Found = BTreeMap<usize, BTreeMap<String, Statuses>>;

/// The best status label of the classic and of the native form, where the family has it.
#[derive(Debug, Clone, Copy, Default)]
struct Statuses {
    classic: Option<&'static str>,
    native: Option<&'static str>,
}

fn find(part: Part, series: &[Series]) -> Found {
    let mut found = Found::new();
    for one in series {
        let fitting = TABLE.iter().enumerate().find_map(|(rank, row)| {
            row.base(part, &one.name).map(|(b, form)| (rank, row, b, form))
        });
        let Some((rank, row, base, form)) = fitting else { continue };
        let Some(status) = row.status(part, form, one) else { continue };
        let known = found.entry(rank).or_default().entry(base.to_owned()).or_default();
        let known = match form {
            Form::Classic => &mut known.classic,
            Form::Native => &mut known.native,
        };
        let place = |label: &str| row.status.iter().position(|s| *s == label);
        if known.is_none_or(|label| place(status) < place(label)) {
            *known = Some(status);
        }
    }
    found
}

/// Chooses the family that a check reads.
///
/// `arms` holds the series that each arm has (a sample of each name and status label is enough), the
/// baseline first. Says also whether every arm had a candidate: if not, choose again later.
///
/// # Errors
/// A text for people when no family is known or several are equally good.
pub(crate) fn choose(kind: MeasureKind, arms: &[Vec<Series>]) -> Result<(Chosen, bool), String> {
    let starts = |series: &Vec<Series>| series.iter().any(|one| one.name == STARTED);
    let mut shown = arms.iter().filter(|series| !series.is_empty()).peekable();
    if kind == MeasureKind::Restarts && shown.peek().is_some() && shown.all(starts) {
        let reads = Reads::Restarts { counter: None };
        let why = "shown by the processes of both versions".to_owned();
        let chosen = Chosen { metric: STARTED.to_owned(), reading: reads.describe(), why, reads };
        return Ok((chosen, arms.iter().all(starts)));
    }
    let Some(part) = Part::of(kind) else { return Err(nothing(kind, arms)) };
    let found: Vec<Found> = arms.iter().map(|series| find(part, series)).collect();
    let settled = found.iter().all(|f| !f.is_empty());
    let some: Vec<&Found> = found.iter().filter(|f| !f.is_empty()).collect();
    let Some(first) = some.first() else { return Err(nothing(kind, arms)) };
    let in_all = |rank: &usize| some.iter().all(|f| f.contains_key(rank));
    let rank = first
        .keys()
        .find(|rank| in_all(rank))
        .or_else(|| first.keys().next())
        .expect("a found map that is not empty has a first key");
    let of_rank: Vec<&BTreeMap<String, Statuses>> =
        some.iter().filter_map(|f| f.get(rank)).collect();
    let families: BTreeSet<&String> = of_rank.iter().flat_map(|names| names.keys()).collect();
    if families.len() > 1 {
        let names: Vec<String> = families.iter().map(|name| format!("`{name}`")).collect();
        return Err(format!(
            "{} are equally good; write in the policy which one counts this service's requests",
            names.join(" and ")
        ));
    }
    let base =
        families.into_iter().next().expect("the rank was taken from a map that has a family");
    let statuses: Vec<Statuses> = of_rank.iter().filter_map(|n| n.get(base)).copied().collect();
    // A native histogram has finer buckets than any classic one; both arms must have it.
    let all_native = statuses.iter().all(|s| s.native.is_some());
    let any = |of: fn(&Statuses) -> Option<&'static str>| statuses.iter().rev().find_map(of);
    let (form, status) = if all_native {
        (Form::Native, any(|s| s.native))
    } else {
        (Form::Classic, any(|s| s.classic).or_else(|| any(|s| s.native)))
    };
    let status = status.unwrap_or_default();
    let row = &TABLE[*rank];
    let others: BTreeSet<&String> = some
        .iter()
        .flat_map(|f| f.iter().filter(|(other, _)| *other != rank))
        .flat_map(|(_, names)| names.keys())
        .collect();
    let mut why = format!("found by its name, as written by {}", row.origin);
    if !others.is_empty() {
        let others: Vec<String> = others.into_iter().take(5).map(|n| format!("`{n}`")).collect();
        why = format!("{why}; preferred to {}", others.join(", "));
    }
    let mut reads = row.reads(part, base, status, form);
    if kind == MeasureKind::Restarts {
        reads = Reads::Restarts { counter: reads.selectors().first().copied().cloned() };
    }
    Ok((Chosen { metric: base.clone(), reading: reads.describe(), why, reads }, settled))
}

/// Why nothing was found, and what to do.
fn nothing(kind: MeasureKind, arms: &[Vec<Series>]) -> String {
    let names: BTreeSet<&str> = arms
        .iter()
        .flatten()
        .map(|s| s.name.as_str())
        .filter(|name| kind == MeasureKind::Restarts || *name != STARTED)
        .collect();
    let near: Vec<String> = names.iter().take(5).map(|name| format!("`{name}`")).collect();
    let (what, lacking) = match kind {
        MeasureKind::Errors => ("requests by status", "a label that tells how a request ended"),
        MeasureKind::Latency => ("durations in buckets", "buckets"),
        MeasureKind::Restarts => ("the start of a process or its requests", "both versions"),
        MeasureKind::NewErrors => ("errors by kind", "spans"),
        MeasureKind::Gauge | MeasureKind::Vital(_) | MeasureKind::ScriptErrors => {
            ("a value", "a name in the policy")
        }
    };
    if near.is_empty() {
        format!(
            "no metric with {what} under a usual name yet; it may appear with the first request, \
             else name the metric in the policy"
        )
    } else {
        format!(
            "no metric with {what} under a usual name (found {}, without {lacking}); \
             name the metric in the policy",
            near.join(", ")
        )
    }
}

#[cfg(test)]
mod tests;
