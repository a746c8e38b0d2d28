//! What a policy asks of the canary: a metric with its test and tolerance.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::kayenta;

/// What a check of new errors reads.
pub const NEW_ERRORS: &str = "newErrors";

/// What a check of restarts reads.
pub const RESTARTS: &str = "restarts";

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
    /// For this long after a pod appears its requests count for the catastrophic test only: cold caches and
    /// compilers are no regression. Applied by age in both arms. Zero: count at once.
    #[serde(default)]
    pub warm_up: Duration,
    /// It only speaks against a canary and never holds a weight back: for data that come late, or from few.
    #[serde(default)]
    pub only_against: bool,
}

impl Check {
    /// A check that reads the observations of the same name, without warm-up, and holds the weight back.
    pub fn new(name: impl Into<String>, test: Test) -> Self {
        let name = name.into();
        Self { reads: name.clone(), name, test, warm_up: Duration::ZERO, only_against: false }
    }
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
    /// Fails when the canary restarts (or is killed for memory) more than `ratio` times as often per second of
    /// running as the baseline (formula 2 with seconds as exposure). Never holds a weight back.
    Restarts {
        /// Allowed ratio of restarts per second; at least 1.
        ratio: f64,
    },
    /// Fails when the canary shows an error that nobody saw before, as often as its share of the requests does not
    /// explain (`sequential::novelty`). Holds the weight only while no traces of both versions come.
    NewErrors,
    /// Fails when synthetic journeys fail or are slower on the canary than on the baseline, pair by pair
    /// (`sequential::paired`). Holds the weight until enough pairs have passed.
    Journey {
        /// Allowed stretch of a journey's duration, e.g. 0.25; at least 0.
        stretch: f64,
        /// Pairs that must pass before the canary gets any traffic.
        gate: u32,
    },
    /// A gauge (memory, CPU, queue length). Advisory: it pauses at most, since its sample size is the number
    /// of pods and no test on its values over time keeps a false-alarm probability.
    Gauge {
        /// A guardrail for the mean over the canary's pods, in the gauge's unit.
        at_most: Option<f64>,
        /// How long the mean must stay above it; then the weight is held and a person asked.
        sustained: Duration,
    },
    /// The judge of Spinnaker's Kayenta on one value per scrape and arm. Weaker than the others: no bound on false
    /// alarms over several looks, and at least 50 scrapes for an answer.
    Kayenta(kayenta::Metric),
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
