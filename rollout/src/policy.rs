//! What the user declares in Git, validated: how a service is deployed, judged and undone.
//!
//! The text form and its defaults live in the configuration; these are the values after it.

use std::collections::BTreeMap;
use std::time::Duration;

use analysis::{Check, Settings, Test};
use serde::{Deserialize, Serialize};

use crate::freeze::Freeze;
use crate::journey::Journey;
use crate::weight::Weight;

/// A validated policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// The service's name.
    pub name: String,
    /// Globs: commits that touch these are deployments of this service.
    pub paths: Vec<String>,
    /// Where versions run.
    pub target: Target,
    /// What moves traffic.
    pub router: Router,
    /// Where observations come from.
    pub metrics: Metrics,
    /// Where a name that the checks read is found, if the policy says so; a name without an entry is looked
    /// for among the usual metrics.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sources: BTreeMap<String, Measurement>,
    /// Requests that Serin makes itself to both versions, in pairs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub journeys: Vec<Journey>,
    /// Where traces of both versions are looked at when the canary has failed.
    #[serde(default, skip_serializing_if = "Traces::is_usual")]
    pub traces: Traces,
    /// How the weight rises.
    pub steps: Steps,
    /// How long to go on watching at 100 % with the old version kept warm.
    pub bake: Duration,
    /// Checks, tolerances and error probabilities.
    pub analysis: Settings,
    /// What a failed deployment does to Git.
    pub on_fail: OnFail,
    /// What a deadline without an answer does.
    pub on_inconclusive: OnInconclusive,
    /// Times in which no step advances.
    pub freezes: Vec<Freeze>,
    /// Names of the channels that hear of it.
    pub notify: Vec<String>,
}

impl Policy {
    /// The policy with one more check where the embedded proxy is not its only source: failures as
    /// the caller sees them. A version that fails every request is then out within about a second,
    /// however seldom its own metrics are read.
    #[must_use]
    pub fn watched_at_the_edge(mut self) -> Self {
        let Router::Proxy(_) = &self.router;
        let known = self.analysis.checks.iter().any(|check| check.reads == EDGE);
        if self.metrics != Metrics::Proxy && !known {
            let test = Test::Errors { ratio: EDGE_RATIO, absolute: EDGE_ABSOLUTE };
            self.analysis.checks.push(Check::new(EDGE, test));
        }
        self
    }

    /// Whether an observation of this name counts what the source of the metrics saw: not what Serin adds of
    /// its own beside it, the proxy's view at the edge, the restarts of processes, new errors in traces, journeys and
    /// what browsers report, which arrive even when the source is silent.
    pub fn is_of_source(&self, name: &str) -> bool {
        let beside = |check: &Check| {
            matches!(check.test, Test::Restarts { .. } | Test::NewErrors | Test::Journey { .. })
                || self.of_browsers(&check.reads).is_some()
        };
        name != EDGE
            && !self.analysis.checks.iter().any(|check| check.reads == name && beside(check))
    }

    /// Whether journeys must pass before the canary gets traffic.
    pub fn has_gate(&self) -> bool {
        let gates = |check: &Check| matches!(check.test, Test::Journey { gate, .. } if gate > 0);
        self.analysis.checks.iter().any(gates)
    }

    /// What browsers report under this name, if a check reads it from them.
    pub fn of_browsers(&self, name: &str) -> Option<Browsers> {
        match self.sources.get(name)?.source {
            Source::Browsers(reported) => Some(reported),
            Source::Auto
            | Source::Named(_)
            | Source::Query { .. }
            | Source::Slower { .. }
            | Source::Value(_) => None,
        }
    }
}

/// Where traces of both versions are looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Traces {
    /// The service's name in traces; the policy's own where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// A store of traces from `serin.yaml`; without one, what services push to Serin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// How the store writes a revision.
    #[serde(default)]
    pub version: VersionText,
}

impl Traces {
    /// Whether nothing was said about it.
    pub fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

/// What browsers report of the pages that they show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Browsers {
    /// Page views whose largest content was painted late: more than 4 s.
    Lcp,
    /// Page views that answered an interaction late: more than 500 ms.
    Inp,
    /// Page views whose layout shifted: more than 0.25.
    Cls,
    /// Page views whose first content was painted late: more than 3 s.
    Fcp,
    /// Page views whose first byte came late: more than 1.8 s.
    Ttfb,
    /// Sessions with an error in a script.
    ScriptErrors,
}

/// Where versions run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// Local processes of a checkout of the revision.
    Process(ProcessTarget),
}

/// How a version runs as local processes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessTarget {
    /// Program and arguments; `${PORT}` is replaced.
    pub command: Vec<String>,
    /// Additional environment.
    pub environment: BTreeMap<String, String>,
    /// Relative to the checkout.
    pub working_directory: Option<String>,
    /// Answers 2xx or 3xx when the version can serve.
    pub health_path: String,
    /// How long it may take to become healthy.
    pub start_timeout: Duration,
    /// Between SIGTERM and SIGKILL.
    pub stop_grace: Duration,
    /// Processes per version; at least 1.
    pub instances: u16,
}

/// What moves traffic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Router {
    /// Serin's own proxy.
    Proxy(ProxyRoute),
}

/// How the embedded proxy serves the service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyRoute {
    /// Address and port to listen on, e.g. `127.0.0.1:8080`.
    pub listen: String,
    /// A request without an answer for this long counts as failed.
    pub timeout: Duration,
    /// Cookie that keeps a visitor on one version.
    pub sticky_cookie: Option<String>,
    /// Header name and value that always reach the canary.
    pub testers: Option<(String, String)>,
    /// Speak HTTP/2 cleartext to the service (gRPC).
    pub upstream_http2: bool,
}

/// Where observations come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Metrics {
    /// The embedded proxy's own counters.
    Proxy,
    /// Each instance's metrics page, read by Serin itself.
    Scrape {
        /// Path of the page.
        path: String,
        /// Between two reads.
        interval: Duration,
    },
    /// A Prometheus server from `serin.yaml`.
    Prometheus {
        /// Its name there.
        provider: String,
        /// Label that tells the versions apart, e.g. `version`.
        version_label: String,
        /// Further label matchers, e.g. `{job: checkout}`.
        labels: BTreeMap<String, String>,
        /// The server's scrape interval.
        interval: Duration,
        /// How the label writes a revision.
        #[serde(default)]
        version: VersionText,
    },
    /// Entry spans that the service pushes to Serin itself, counted: for services without metrics.
    Traces {
        /// Its `service.name`.
        service: String,
    },
    /// Metrics that the service pushes to Serin itself, by the OpenTelemetry protocol.
    Otlp {
        /// Its `service.name`.
        service: String,
    },
    /// Any other store from `serin.yaml`: Datadog, `CloudWatch`, `InfluxDB` ...
    Store {
        /// Its name there.
        provider: String,
        /// What queries may refer to as `${name}`, the same for both versions, e.g. `{env: prod}`.
        labels: BTreeMap<String, String>,
        /// How the store writes a revision, which queries refer to as `${version}`.
        version: VersionText,
        /// Between two questions; at most three minutes.
        interval: Duration,
    },
}

impl Metrics {
    /// The weight may rise, and a bake may end, only on data of this age at most; older data is stale.
    ///
    /// Longer than any interval that the configuration allows, and than the source takes to settle.
    pub fn freshness(&self) -> Duration {
        match self {
            // Exporters of spans push every few seconds, where there is traffic.
            Self::Proxy | Self::Scrape { .. } | Self::Prometheus { .. } | Self::Traces { .. } => {
                Duration::from_secs(90)
            }
            // Exporters push once a minute; one lost push is not yet silence.
            Self::Otlp { .. } => Duration::from_mins(3),
            // An interval of three minutes, asked for when it has settled for as long, and a failed attempt.
            Self::Store { .. } => Duration::from_mins(10),
        }
    }
}

/// How a metrics label writes a revision of Git.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum VersionText {
    /// All of its digits.
    #[default]
    Full,
    /// The first seven digits, as `git log --oneline` prints them.
    Short,
}

impl VersionText {
    /// The revision as the label has it.
    pub fn of(self, revision: &str) -> &str {
        match self {
            Self::Full => revision,
            Self::Short => revision.get(..7).unwrap_or(revision),
        }
    }
}

/// Where a name that the checks read is found, and how its traffic is split.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Measurement {
    /// The metric or query.
    #[serde(default)]
    pub source: Source,
    /// Labels whose values split the traffic into strata (route, zone); `Some` of nothing: it is not split.
    /// `None`: by the usual names of a route label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Vec<String>>,
}

/// Which metric is read; the values of a provider's source without what only providers know.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Source {
    /// The best of the usual ones.
    #[default]
    Auto,
    /// A metric by its name.
    Named(Named),
    /// Two queries.
    Query {
        /// Counts bad events.
        bad: String,
        /// Counts all events, good and bad.
        total: String,
    },
    /// How many requests were slower than each threshold, for stores without histograms.
    Slower {
        /// Counts all requests.
        total: String,
        /// Thresholds, rising, each with a query that counts the requests slower than it.
        slower: Vec<(Duration, String)>,
    },
    /// A query whose value is a gauge.
    Value(String),
    /// Reports of browsers.
    Browsers(Browsers),
}

/// A metric by its name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Named {
    /// The counter, gauge or histogram.
    pub metric: String,
    /// Only series with exactly these labels are read.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// For errors: which series count failed requests. `None`: one of the usual status labels, 5xx.
    #[serde(default)]
    pub status: Option<StatusRule>,
    /// For latency: how many units make a second. `None`: by the name, else seconds.
    #[serde(default)]
    pub per_second: Option<u32>,
}

/// Which series of a family count failed requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusRule {
    /// The label that tells.
    pub label: String,
    /// Which of its values do.
    pub failed: Failed,
}

/// Which values of a status label mean a failed request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Failed {
    /// HTTP: 5xx.
    Http,
    /// gRPC: the codes that are the server's fault.
    Grpc,
    /// Exactly these, where `x` after a digit stands for any digit.
    Values(Vec<String>),
}

/// How the weight rises.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Steps {
    /// The ramp by evidence: as fast as `harm` allows along a ladder.
    Auto {
        /// The first weight; above 0.
        first: Weight,
        /// Longest stay on one rung.
        deadline: Duration,
    },
    /// Weights by hand, strictly rising, below 100 %; the same evidence is their gate.
    ByHand(Vec<StepPolicy>),
}

/// One step by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepPolicy {
    /// Canary's share.
    pub weight: Weight,
    /// Shortest stay.
    pub at_least: Duration,
    /// Longest stay.
    pub deadline: Duration,
}

/// What a failed deployment does to Git.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnFail {
    /// How the revert is written.
    pub revert: Revert,
    /// Circuit breaker: at most `count` automatic reverts within `per`; beyond it a person decides.
    pub limits: Vec<Limit>,
    /// Globs of files whose change is never undone without a person.
    pub irreversible: Vec<String>,
}

/// How the revert is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Revert {
    /// On the tip of the branch, without force.
    Push,
    /// On a branch of its own, for a person to merge.
    PullRequest,
    /// Not at all; the patch is shown.
    None,
}

/// At most `count` within `per`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// At least 1.
    pub count: u32,
    /// Sliding window.
    pub per: Duration,
}

/// What a deadline without an answer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OnInconclusive {
    /// Keep the weight and ask a person; later evidence still decides.
    Hold,
    /// Traffic goes back; Git is left to a person, since nothing is proven.
    RollBack,
    /// Go on as if it had passed.
    Promote,
}

/// What a check of restarts reads.
pub const RESTARTS: &str = "restarts";

/// What a check reads that is fed by the embedded proxy beside another source: failures as the
/// caller sees them, several times a second.
pub const EDGE: &str = "edge";

/// Tolerance of the check at the edge: the defaults of `errors`.
const EDGE_RATIO: f64 = 1.25;

/// Additional share of failing requests that the check at the edge tolerates.
const EDGE_ABSOLUTE: f64 = 0.001;

impl Browsers {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Lcp, Self::Inp, Self::Cls, Self::Fcp, Self::Ttfb, Self::ScriptErrors];

    /// As in a policy.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lcp => "lcp",
            Self::Inp => "inp",
            Self::Cls => "cls",
            Self::Fcp => "fcp",
            Self::Ttfb => "ttfb",
            Self::ScriptErrors => "scriptErrors",
        }
    }
}
