//! What the evidence says so far, with the numbers behind it.

use serde::{Deserialize, Serialize};

use crate::sequential::as_f64;

/// The four answers. `Inconclusive` is given by the rollout at a deadline; the engine says it when stable's own pods
/// differ so much that the failure of a canary says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Evidence accumulates.
    Undecided,
    /// The weight that was asked for is allowed.
    Pass,
    /// The canary is worse than tolerated.
    Fail,
    /// The deadline came and the evidence settles nothing.
    Inconclusive,
}

/// One check's result so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Status {
    /// No usable data of one arm or of both.
    NoData,
    /// Data, but neither side is shown yet.
    Undecided,
    /// The weight that was asked for is allowed by this check.
    Pass,
    /// This check's own evidence crosses the threshold.
    Fail,
    /// An objective is breached (pauses).
    Breached,
}

/// Requests of one arm as one check counts them, since the evidence began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Failed requests, or requests slower than `Finding::threshold`.
    pub events: u64,
    /// All completed requests.
    pub of: u64,
}

impl Counts {
    /// Adds what another scrape counted; stays at the largest number rather than wrap.
    pub fn add(&mut self, more: Self) {
        self.events = self.events.saturating_add(more.events);
        self.of = self.of.saturating_add(more.of);
    }

    /// Share of events, in [0, 1]; 0 without requests.
    pub fn share(self) -> f64 {
        if self.of == 0 { 0.0 } else { as_f64(self.events) / as_f64(self.of) }
    }
}

/// A confidence interval that holds at every look.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// `None` where the data do not bound it below.
    pub lower: Option<f64>,
    /// Most likely value.
    pub estimate: f64,
    /// `None` where the data do not bound it above.
    pub upper: Option<f64>,
}

/// One quantile of the durations in both arms, in seconds; for reports only.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Quantile {
    /// Which, in (0, 1): 0.99 for p99.
    pub quantile: f64,
    /// The canary's, with an interval that holds at every look.
    pub canary: Interval,
    /// The baseline's.
    pub baseline: Interval,
}

/// One check's evidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The check's name.
    pub check: String,
    /// Where it stands.
    pub status: Status,
    /// Natural logarithm of its e-process against "not worse than tolerated".
    pub log_evidence: f64,
    /// Largest weight that this check allows, a share in [0, 1].
    pub allowed: f64,
    /// Canary counts; for latency, at `threshold`.
    pub canary: Counts,
    /// Baseline counts; for latency, at `threshold`.
    pub baseline: Counts,
    /// For latency: the bucket bound in seconds that weighs most.
    pub threshold: Option<f64>,
    /// Ratio of canary to baseline, with an interval at the rollout's alpha (formula 4).
    pub ratio: Option<Interval>,
    /// About how many more canary requests it needs to allow the weight asked for, if that can be said.
    pub needs: Option<u64>,
    /// For latency: p50, p95 and p99 of both arms, each at half of alpha (Howard and Ramdas 2022).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quantiles: Vec<Quantile>,
    /// What a reader should know about how it was judged, a sentence each without full stop: coarse buckets, pods
    /// that differ, bursts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// One sentence for people, no full stop: "3.1 % of canary requests failed (12 of 389) against 0.1 % ...".
    pub sentence: String,
}

/// The result so far of all checks together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// What it is.
    pub outcome: Outcome,
    /// Natural logarithm of the merged e-process (formula 10).
    pub log_evidence: f64,
    /// `ln(1 / alpha)`: at or above it the canary fails.
    pub log_threshold: f64,
    /// Largest weight that every check allows, a share in [0, 1].
    pub allowed: f64,
    /// An objective is breached: hold and ask a person.
    pub breached: bool,
    /// While baking at full weight: why the canary now looks worse than it did during the ramp.
    pub suspicion: Option<String>,
    /// One per check, in the policy's order.
    pub findings: Vec<Finding>,
    /// What concerns the rollout as a whole, a sentence each without full stop: requests that do not follow the
    /// weights, stable pods that differ among themselves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The one sentence of reason, no full stop.
    pub reason: String,
}
