//! What a policy asks of the canary: a metric with its test and tolerance.

use serde::{Deserialize, Serialize};

/// How the evidence of one rollout is judged. Plain values; the configuration validates the ranges.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Probability of failing a harmless deployment, over all checks and looks together; in (0, 0.5].
    pub false_alarm: f64,
    /// Probability of promoting a canary that is worse than `harm` allows; in (0, 0.5].
    pub false_promotion: f64,
    /// Largest share of all requests that may fail because of the canary; in (0, 1).
    pub harm: f64,
    /// Largest share of all requests that may be slower than tolerated because of the canary; in (0, 1).
    pub latency_harm: f64,
    /// At least one.
    pub checks: Vec<Check>,
}

/// One check of the policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// Unique within the policy, e.g. `errors`, `latency`, `errors-2`.
    pub name: String,
    /// Which observations feed it: `errors` or `latency`, or its own name when it has a query of its own.
    pub reads: String,
    /// The test.
    pub test: Test,
}

/// The closed set of tests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Test {
    /// Fails when canary errors exceed `ratio` x baseline + `absolute` (statistics, formula 6).
    Errors {
        /// Allowed ratio of error ratios; at least 1.
        ratio: f64,
        /// Allowed additional share of failing requests; in [0, 1).
        absolute: f64,
    },
    /// Fails when the canary is slower than the baseline stretched by `1 + stretch` (formula 8).
    Latency {
        /// Allowed stretch of every duration, e.g. 0.1; at least 0.
        stretch: f64,
        /// Allowed ratio of the shares of slow requests; at least 1.
        ratio: f64,
    },
    /// The canary's own share of failing requests against an objective (formula 5). Pauses by default.
    ErrorObjective {
        /// Largest allowed share of failing requests, e.g. 0.005 for "99.5 %"; in (0, 1).
        at_most: f64,
        /// What a breach does.
        on_breach: OnBreach,
    },
    /// The canary's own share of requests slower than `threshold` against an objective (formula 5).
    LatencyObjective {
        /// Seconds.
        threshold: f64,
        /// Largest allowed share of requests slower than `threshold`; in (0, 1).
        at_most: f64,
        /// What a breach does.
        on_breach: OnBreach,
    },
}

/// What happens when an objective is breached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OnBreach {
    /// Hold the weight and ask a person: an objective does not cancel shared incidents.
    Pause,
    /// Fail, but only together with the relative test of the same measurement (minimum of the two e-processes).
    RollBack,
}
