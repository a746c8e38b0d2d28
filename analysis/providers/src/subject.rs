//! What is to be measured: the instances of both arms of one live deployment, and its checks.
//!
//! Plain values that the driver builds anew for each attempt; a provider keeps only counters.

use std::collections::BTreeMap;
use std::time::Duration;

use analysis::Arm;

/// What is to be measured for one live deployment.
#[derive(Debug, Clone, PartialEq)]
pub struct Subject {
    /// The deployment's id.
    pub id: String,
    /// The service's name, for messages.
    pub service: String,
    /// Where the versions run. An arm without an instance here is not expected to have data.
    pub instances: Vec<Instance>,
    /// What the checks need; names are unique.
    pub measures: Vec<Measure>,
}

/// One place where a version's requests are counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Unique within the subject, e.g. `c1`.
    pub name: String,
    /// Which version runs there.
    pub arm: Arm,
    /// For the scraper: the address of its metrics page, e.g. `http://127.0.0.1:4711/metrics`.
    pub url: Option<String>,
    /// For Prometheus: labels that select the series of this arm, e.g. `version="4f2c1a9"`. They
    /// may match many pods; these are told apart by their `pod` or `instance` label.
    pub labels: BTreeMap<String, String>,
}

/// One measurement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measure {
    /// Under which name its observations appear: `errors`, `latency` or a check's own name.
    pub check: String,
    /// What is counted.
    pub kind: MeasureKind,
    /// Where it is found.
    pub source: Source,
    /// Labels whose values split the traffic into strata (route, zone, method); the first that a series has is
    /// used. Empty: the usual names of a route label, where its values are few.
    pub strata: Vec<String>,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MeasureKind {
    /// Failed requests out of all completed ones.
    Errors,
    /// Requests by duration.
    Latency,
    /// Restarts and kills for memory out of seconds of running.
    Restarts,
    /// The value of a gauge on each instance.
    Gauge,
    /// Requests with each error that the service did not show before; told by spans.
    NewErrors,
    /// Page views whose web vital is poor, out of all that have one; told by browsers.
    Vital(crate::rum::Vital),
    /// Sessions on a page with a script error, out of all; told by browsers.
    ScriptErrors,
}

/// Why every other provider has none of what spans tell.
pub(crate) const SPANS_TELL: &str = "new errors are only seen in spans; let the service push them to Serin and write `metrics: traces`";

/// Why every other provider has none of what browsers tell.
pub(crate) const BROWSERS_TELL: &str =
    "browsers tell this, not a source of metrics; let their pages report to Serin";

/// Which metric is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The best of the families that are known by name (see the table in the crate's documentation).
    Auto,
    /// A metric that the policy names.
    Named(Named),
    /// Two PromQL selectors of raw counters, e.g. `orders_rejected_total` and
    /// `orders_total{channel="web"}`, without `rate()` and without the arm's labels: these are added.
    Query {
        /// Counts bad events.
        bad: String,
        /// Counts all events, good and bad.
        total: String,
    },
    /// Requests by duration from a store without histograms: how many were slower than each threshold.
    Slower {
        /// Counts all requests.
        total: String,
        /// Thresholds, rising, each with a query that counts the requests slower than it.
        slower: Vec<(Duration, String)>,
    },
    /// A query whose value is a gauge.
    Value(String),
}

/// A metric by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The family's name: the counter itself, or a histogram without `_bucket` or `_count`.
    pub metric: String,
    /// Only series with exactly these labels are read.
    pub labels: BTreeMap<String, String>,
    /// For errors: which series count failed requests. `None`: one of the usual status labels, 5xx.
    pub status: Option<StatusRule>,
    /// For latency: how many units make a second, e.g. 1000 for milliseconds. `None`: by the name
    /// (`_milliseconds` or `_ms` at its end), else seconds.
    pub per_second: Option<u32>,
}

/// Which series of a family count failed requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusRule {
    /// The label that tells.
    pub label: String,
    /// Which of its values do.
    pub failed: Failed,
}

/// Which values of a status label mean a failed request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failed {
    /// HTTP: `500` to `599`, `5xx`, a class `5`, `SERVER_ERROR`.
    Http,
    /// gRPC: Unknown, `DeadlineExceeded`, Unimplemented, Internal, Unavailable, `DataLoss`, by name or number.
    Grpc,
    /// Exactly these, where `x` after a digit stands for any digit (`5xx`, `42x`).
    Values(Vec<String>),
}

impl Failed {
    /// Whether a label's value means a failed request.
    pub fn matches(&self, value: &str) -> bool {
        match self {
            Self::Http => {
                value == "5"
                    || pattern("5xx", value)
                    || value.eq_ignore_ascii_case("5xx")
                    || value.eq_ignore_ascii_case("SERVER_ERROR")
            }
            Self::Grpc => {
                let plain: String = value
                    .chars()
                    .filter(char::is_ascii_alphanumeric)
                    .map(|c| c.to_ascii_lowercase())
                    .collect();
                [
                    "unknown",
                    "deadlineexceeded",
                    "unimplemented",
                    "internal",
                    "unavailable",
                    "dataloss",
                    "2",
                    "4",
                    "12",
                    "13",
                    "14",
                    "15",
                ]
                .contains(&plain.as_str())
            }
            Self::Values(values) => values.iter().any(|v| v == value || pattern(v, value)),
        }
    }
}

/// Whether `value` fits `wanted`, in which `x` after the first character stands for a digit.
fn pattern(wanted: &str, value: &str) -> bool {
    wanted.starts_with(|c: char| c.is_ascii_digit())
        && wanted.len() == value.len()
        && wanted
            .bytes()
            .zip(value.bytes())
            .all(|(w, v)| if w == b'x' || w == b'X' { v.is_ascii_digit() } else { w == v })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_values_are_told_from_good_ones() {
        for bad in ["500", "503", "599", "5xx", "5XX", "5", "SERVER_ERROR"] {
            assert!(Failed::Http.matches(bad), "{bad}");
        }
        for good in ["200", "404", "4xx", "", "50", "5000", "OK", "5x0", "½xx"] {
            assert!(!Failed::Http.matches(good), "{good}");
        }
        for bad in ["Unknown", "UNAVAILABLE", "DEADLINE_EXCEEDED", "DataLoss", "13"] {
            assert!(Failed::Grpc.matches(bad), "{bad}");
        }
        for good in ["OK", "0", "NotFound", "5", "Canceled", ""] {
            assert!(!Failed::Grpc.matches(good), "{good}");
        }
        let own = Failed::Values(vec!["42x".into(), "failure".into()]);
        assert!(own.matches("429") && own.matches("failure") && !own.matches("430"));
        assert!(!own.matches("failurf"));
    }
}
