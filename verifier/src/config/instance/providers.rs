//! `providers`: the servers and stores that observations come from.
//!
//! Plain values; what can be asked of a store, and how, is told by its own file among the providers. Addresses are
//! without a login, and secrets are given by reference.

mod stores;
mod traces;

use std::path::PathBuf;
use std::time::Duration;

use super::{Context, path, secret, url};
use crate::config::policy::{Measure, duration, duration_within};
use crate::config::reader::{At, Fields, Wrong};
use crate::config::secret::{self as secrets, Secret};
use crate::config::{defaults, values};

pub use self::stores::{
    CloudWatch, Datadog, Dynatrace, DynatraceApi, Elastic, Graphite, HttpStore, Influx,
    InfluxVersion, JsonPointers, NewRelic, NewRelicRegion, TimeFormat,
};
pub(in crate::config) use self::traces::TRACES;
pub use self::traces::{Grafana, TempoServer, TraceServer, Traces};

/// A server or store that observations come from.
#[derive(Debug, Clone)]
pub struct Provider {
    /// Unique; policies refer to it.
    pub name: String,
    /// What it is.
    pub kind: ProviderKind,
}

impl From<(String, ProviderKind)> for Provider {
    fn from((name, kind): (String, ProviderKind)) -> Self {
        Self { name, kind }
    }
}

/// What a provider is.
#[derive(Debug, Clone)]
pub enum ProviderKind {
    /// A Prometheus server or one that answers like it.
    Prometheus(PrometheusServer),
    /// Datadog.
    Datadog(Datadog),
    /// New Relic.
    NewRelic(NewRelic),
    /// Dynatrace.
    Dynatrace(Dynatrace),
    /// Elasticsearch.
    Elastic(Elastic),
    /// Amazon `CloudWatch`.
    CloudWatch(CloudWatch),
    /// `InfluxDB`.
    Influx(Influx),
    /// Graphite.
    Graphite(Graphite),
    /// Anything that answers JSON.
    Http(HttpStore),
    /// A store of traces, which has no numbers for a policy.
    Traces(Traces),
}

/// Keys of the kinds that are no Prometheus.
pub(in crate::config) const STORES: [&str; 8] =
    ["datadog", "newRelic", "dynatrace", "elastic", "cloudWatch", "influx", "graphite", "http"];

impl ProviderKind {
    /// Its key.
    pub(in crate::config) fn name(&self) -> &'static str {
        match self {
            Self::Prometheus(_) => "prometheus",
            Self::Datadog(_) => "datadog",
            Self::NewRelic(_) => "newRelic",
            Self::Dynatrace(_) => "dynatrace",
            Self::Elastic(_) => "elastic",
            Self::CloudWatch(_) => "cloudWatch",
            Self::Influx(_) => "influx",
            Self::Graphite(_) => "graphite",
            Self::Http(_) => "http",
            Self::Traces(store) => store.name(),
        }
    }

    /// What a policy must write for a measure that this kind has no usual place for; `None` if it has one.
    pub(in crate::config) fn needs(&self, measure: Measure) -> Option<&'static str> {
        let requests = matches!(measure, Measure::Errors | Measure::Latency);
        let usual = match self {
            Self::Prometheus(_) => measure != Measure::Gauge,
            Self::NewRelic(_) | Self::Elastic(_) => requests,
            Self::Dynatrace(server) => requests && server.api == DynatraceApi::Grail,
            Self::Datadog(_) => measure == Measure::Errors,
            Self::CloudWatch(_) | Self::Influx(_) | Self::Graphite(_) | Self::Http(_) => false,
            // Its measures are refused before with the store itself.
            Self::Traces(_) => true,
        };
        match measure {
            _ if usual => None,
            Measure::Errors => {
                Some("errors: { bad: '<query of what failed>', total: '<query of all>' }")
            }
            Measure::Latency => Some(
                "latency: { total: '<query of all>', slower: { 250ms: '<query of those that took longer>' } }",
            ),
            Measure::Restarts => Some(
                "restarts: { bad: '<query of restarts>', total: '<query of seconds of running>' }",
            ),
            Measure::NewErrors | Measure::Browsers(_) => None,
            Measure::Gauge => Some("gauge: { query: '<query of its value>' }"),
        }
    }
}

/// How a Prometheus server is asked.
#[derive(Debug, Clone)]
pub struct PrometheusServer {
    /// Where it is and how Serin is let in.
    pub endpoint: Endpoint,
    /// How requests are signed for Amazon's managed Prometheus; `None`: not at all.
    pub signing: Option<Signing>,
    /// Longest wait for an answer.
    pub timeout: Duration,
    /// How old samples must be before they are believed to be complete.
    pub settle: Duration,
    /// How often the server scrapes: five times that without a sample is stale.
    pub interval: Duration,
}

/// An HTTP address and how Serin is let in there.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Base URL, without a slash at its end.
    pub url: String,
    /// How Serin proves who it is.
    pub login: Login,
    /// Further headers, e.g. a tenant.
    pub headers: Vec<(String, String)>,
}

/// How Serin proves who it is.
#[derive(Debug, Clone)]
pub enum Login {
    /// Not at all.
    None,
    /// `Authorization: Bearer`.
    Bearer(Secret),
    /// User and password.
    Basic {
        /// The user.
        user: String,
        /// The password.
        password: Secret,
    },
    /// `Authorization: Bearer` with what a file holds at each request, since others renew it.
    TokenFile(PathBuf),
}

/// Signatures of AWS, version 4.
#[derive(Debug, Clone)]
pub struct Signing {
    /// The region of the workspace.
    pub region: String,
    /// Whose requests they are.
    pub keys: AwsKeys,
}

/// Keys of an AWS principal.
#[derive(Debug, Clone)]
pub struct AwsKeys {
    /// The access key's id.
    pub access_key: Secret,
    /// The secret access key.
    pub secret_key: Secret,
    /// What belongs to temporary keys.
    pub session_token: Option<Secret>,
}

/// Times that a store of counts per interval may be given; `None` is the store's own default.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bounds {
    /// Length of an interval.
    pub step: Option<Duration>,
    /// How long after its end an interval is complete.
    pub settle: Option<Duration>,
    /// Longest wait for an answer.
    pub timeout: Option<Duration>,
}

/// The kinds, as people are told of them.
const EXPECTED: &str = "prometheus: { url: http://127.0.0.1:9090 }, or one of datadog, newRelic, dynatrace, elastic, cloudWatch, influx, graphite and http, or for traces jaeger, tempo or zipkin";

/// Reads what a provider is.
pub(super) fn read(fields: &Fields<'_>, context: Context<'_>) -> Option<ProviderKind> {
    let mut found: Vec<(&str, At<'_>)> =
        fields.get("prometheus").map(|at| ("prometheus", at)).into_iter().collect();
    let others = STORES.into_iter().chain(TRACES);
    found.extend(others.filter_map(|name| Some((name, fields.get(name)?))));
    if let [(one, _), (other, at), ..] = &*found {
        let message = format!("one provider is either `{one}` or `{other}`");
        at.wrong(Wrong::new(message, "make two providers of it, each with a name"));
        return None;
    }
    let Some((kind, at)) = found.first() else {
        if !fields.has_strangers() {
            let message = "the provider does not say what it is";
            fields.at().wrong(Wrong::new(message, format!("write {EXPECTED}")));
        }
        return None;
    };
    match *kind {
        "prometheus" => at.map("a map, e.g. { url: http://127.0.0.1:9090 }", |fields| {
            prometheus(fields, context).map(ProviderKind::Prometheus)
        })?,
        kind if TRACES.contains(&kind) => traces::read(kind, at, context),
        kind => stores::read(kind, at, context),
    }
}

fn prometheus(fields: &Fields<'_>, context: Context<'_>) -> Option<PrometheusServer> {
    let second = Duration::from_secs(1);
    let mut endpoint = endpoint(fields, "url: http://127.0.0.1:9090", context);
    if let Some(at) = fields.get("tokenFile") {
        if fields.raw("bearerFrom").or(fields.raw("basic")).is_some() {
            let message = "`tokenFile` goes with neither `bearerFrom` nor `basic`";
            at.wrong(Wrong::new(message, "keep one of them"));
        }
        let path = path(&at).map(|path| context.base.join(path));
        if let (Some(endpoint), Some(path)) = (&mut endpoint, path) {
            endpoint.login = Login::TokenFile(path);
        }
    }
    let signing = fields.get("sigv4").and_then(|at| {
        let others = ["bearerFrom", "basic", "tokenFile"];
        if others.into_iter().any(|name| fields.raw(name).is_some()) {
            let message = "a request carries either a signature of AWS or another proof";
            at.wrong(Wrong::new(message, "keep `sigv4` or the other"));
        }
        let example = "a map, e.g. { region: eu-central-1, accessKeyFrom: { env: NAME }, secretKeyFrom: { env: NAME } }";
        at.map(example, |fields| {
            let (region, keys) = (region(fields), aws_keys(fields, context));
            Some(Signing { region: region?, keys: keys? })
        })?
    });
    let timeout = fields.or("timeout", defaults::PROVIDER_TIMEOUT, |at| {
        duration_within(at, second / 10, 60 * second)
    });
    let settle = fields.or("settle", defaults::PROVIDER_SETTLE, duration);
    let interval = fields.or("scrapeInterval", defaults::PROMETHEUS_INTERVAL, |at| {
        duration_within(at, second, 60 * second)
    });
    Some(PrometheusServer { endpoint: endpoint?, signing, timeout, settle, interval })
}

/// `url`, `headers`, and `bearerFrom` or `basic`.
fn endpoint(fields: &Fields<'_>, example: &str, context: Context<'_>) -> Option<Endpoint> {
    let login = login(fields, context);
    let headers = fields.or("headers", vec![], headers);
    let url = fields.required("url", example).and_then(|at| url(&at))?;
    Some(Endpoint { url, login, headers })
}

/// A region of AWS.
fn region(fields: &Fields<'_>) -> Option<String> {
    let at = fields.required("region", "region: eu-central-1")?;
    at.parse("a region, e.g. eu-central-1", |text| {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if text.contains('-') && text.bytes().all(plain) {
            return Ok(text.to_owned());
        }
        let message = format!("{} is not a region of AWS", crate::config::problem::quote(text));
        Err(Wrong::new(message, "write its code, e.g. eu-central-1"))
    })
}

/// `accessKeyFrom`, `secretKeyFrom` and `sessionTokenFrom`.
fn aws_keys(fields: &Fields<'_>, context: Context<'_>) -> Option<AwsKeys> {
    let needed =
        |name, example: &str| fields.required(name, example).and_then(|at| secret(&at, context));
    let access_key = needed("accessKeyFrom", "accessKeyFrom: { env: AWS_ACCESS_KEY_ID }");
    let secret_key = needed("secretKeyFrom", "secretKeyFrom: { env: AWS_SECRET_ACCESS_KEY }");
    let session_token = fields.get("sessionTokenFrom").and_then(|at| secret(&at, context));
    Some(AwsKeys { access_key: access_key?, secret_key: secret_key?, session_token })
}

fn login(fields: &Fields<'_>, context: Context<'_>) -> Login {
    let (bearer, basic) = (fields.get("bearerFrom"), fields.get("basic"));
    if let (Some(_), Some(at)) = (&bearer, &basic) {
        at.wrong(Wrong::new("`bearerFrom` and `basic` cannot both be used", "keep one of them"));
    }
    let bearer = bearer.and_then(|at| secret(&at, context)).map(Login::Bearer);
    bearer.or_else(|| basic.and_then(|at| password(&at, context))).unwrap_or(Login::None)
}

/// User and password.
fn password(at: &At<'_>, context: Context<'_>) -> Option<Login> {
    at.map("a map, e.g. { user: serin, passwordFrom: { env: NAME } }", |fields| {
        let user =
            fields.required("user", "user: serin").and_then(|at| at.parse("a user", values::line));
        let example = "passwordFrom: { env: NAME }";
        let password = fields.required("passwordFrom", example).and_then(|at| secret(&at, context));
        Some(Login::Basic { user: user?, password: password? })
    })?
}

fn headers(at: &At<'_>) -> Option<Vec<(String, String)>> {
    let mut headers = vec![];
    for (_, name, value) in at.entries("a map, e.g. { X-Scope-OrgID: shop }")? {
        if secrets::names_secret(name) {
            at.source().hide(value.span());
            let hint = "use bearerFrom or basic, which take their secrets by reference";
            let message =
                format!("the header `{name}` holds a secret, which does not belong in this file");
            at.source().problem(value.span(), value.key(), message, Some(hint.to_owned()));
        } else {
            let header = values::header(name).map_err(|wrong| value.wrong(wrong)).ok();
            headers.extend(header.zip(value.parse("a value", values::header_value)));
        }
    }
    Some(headers)
}

/// `step`, `settle` and `timeout` of a store.
fn bounds(fields: &Fields<'_>) -> Bounds {
    let second = Duration::from_secs(1);
    let within = |name, low: Duration, high: Duration| {
        fields.get(name).and_then(|at| duration_within(&at, low, high))
    };
    Bounds {
        step: fields.get("step").and_then(|at| step(&at)),
        settle: within("settle", Duration::ZERO, 180 * second),
        timeout: within("timeout", second / 10, 60 * second),
    }
}

/// An interval of a store: data older than ten minutes is stale, and intervals begin on the hour.
fn step(at: &At<'_>) -> Option<Duration> {
    let step = duration_within(at, Duration::from_secs(1), Duration::from_mins(3))?;
    if step.subsec_nanos() == 0 && 3_600 % step.as_secs() == 0 {
        return Some(step);
    }
    let hint = "write one that an hour is a multiple of, e.g. 10s, 20s, 30s or 1m";
    at.wrong(Wrong::new("intervals of this length do not begin on the hour", hint));
    None
}
