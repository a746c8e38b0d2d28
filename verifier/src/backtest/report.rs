//! What a backtest found, as plain numbers: the same for the table and for JSON.

use jiff::Timestamp;
use serde::Serialize;

/// Everything that a backtest found.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The service.
    pub service: String,
    /// The first moment that was read.
    pub from: Timestamp,
    /// The last one.
    pub to: Timestamp,
    /// Between two moments.
    pub step_seconds: f64,
    /// What the policy allows false reverts to be, in (0, 0.5].
    pub false_alarm: f64,
    /// The versions that had data, by their first appearance.
    pub versions: Vec<Version>,
    /// Times in which two versions had data, the oldest first.
    pub deployments: Vec<PastDeployment>,
    /// Times in which one version served alone; nothing when there was no such time that is long enough.
    pub quiet: Option<Quiet>,
    /// What a reader should know, a sentence each without full stop.
    pub notes: Vec<String>,
}

/// When a version had data.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Version {
    /// As its label writes it.
    pub version: String,
    /// First counts.
    pub from: Timestamp,
    /// Last counts.
    pub to: Timestamp,
    /// Instances that were seen, all together.
    pub instances: usize,
}

/// How a past deployment would have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    /// Rolled back and reverted.
    Fail,
    /// Held for a person: an objective is breached, or stable's own pods differ too much.
    Hold,
    /// At least the first step would have been allowed.
    Pass,
    /// Not even the first step is allowed by the evidence.
    Undecided,
}

/// A past deployment, replayed.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PastDeployment {
    /// The version that appeared later.
    pub canary: String,
    /// The version that was there before.
    pub baseline: String,
    /// When both first had data.
    pub from: Timestamp,
    /// When both last had data.
    pub to: Timestamp,
    /// How it would have ended.
    pub answer: Answer,
    /// For a failure: seconds since both had data.
    pub seconds: Option<f64>,
    /// Requests of the canary until then, or until the end.
    pub canary_requests: u64,
    /// Largest weight that every check allowed at the end, a share in [0, 1].
    pub allowed: f64,
    /// The engine's sentence.
    pub reason: String,
    /// Checks that were without data.
    pub no_data: Vec<NoData>,
    /// Whether both were there from the start, so that the one with fewer requests was taken for the canary.
    pub guessed: bool,
}

/// A check without data.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NoData {
    /// The check.
    pub check: String,
    /// Seconds without data, or trials that ended without.
    pub without: f64,
    /// Out of so many.
    pub of: f64,
}

/// What the quiet periods say.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Quiet {
    /// How many quiet periods there were.
    pub periods: usize,
    /// Their length together.
    pub seconds: f64,
    /// Windows that were tried.
    pub windows: usize,
    /// The longest of them.
    pub window_seconds: f64,
    /// Splits of each window.
    pub splits: u32,
    /// Windows with one instance only, whose requests were split at random: pods could not be tested there.
    pub by_requests: usize,
    /// The pseudo-canary's share of all requests, in [0, 1].
    pub canary_share: f64,
    /// Trials without a regression that would have been reverted.
    pub false_reverts: Rate,
    /// Trials without a regression that would have been held for a person.
    pub held: Rate,
    /// Trials without a regression whose first step would have been allowed in time.
    pub first_step: Rate,
    /// Checks that ended trials without data.
    pub no_data: Vec<NoData>,
    /// What was found of the regressions that were added.
    pub injected: Vec<Injected>,
}

/// A share of trials with its limits at 95 %.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rate {
    /// How many.
    pub count: u64,
    /// Of how many.
    pub of: u64,
    /// Wilson's lower limit.
    pub lower: f64,
    /// Wilson's upper limit.
    pub upper: f64,
}

impl Rate {
    /// A share with Wilson's score interval (Wilson 1927, equation 4 of Newcombe 1998, method 3).
    ///
    /// Splits of one window share its requests, so the interval is that of as many trials as there are `windows`:
    /// it is too wide where splits differ, and never too narrow.
    pub fn new(count: u64, of: u64, windows: u64) -> Self {
        let z = 1.959_964;
        let share = if of == 0 { 0.0 } else { as_f64(count) / as_f64(of) };
        let n = as_f64(of.min(windows.max(1)));
        if of == 0 {
            return Self { count, of, lower: 0.0, upper: 1.0 };
        }
        let middle = (share + z * z / (2.0 * n)) / (1.0 + z * z / n);
        let half =
            z / (1.0 + z * z / n) * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
        let lower = if count == 0 { 0.0 } else { (middle - half).max(0.0) };
        let upper = if count == of { 1.0 } else { (middle + half).min(1.0) };
        Self { count, of, lower, upper }
    }

    /// In [0, 1]; 0 of nothing.
    pub fn share(self) -> f64 {
        if self.of == 0 { 0.0 } else { as_f64(self.count) / as_f64(self.of) }
    }
}

/// What was found of one regression.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Injected {
    /// The regression, as it was written.
    pub what: String,
    /// What came of it; nothing when it could not be added, for the reason in `note`.
    pub found: Option<Found>,
    /// What a reader should know, without full stop.
    pub note: Option<String>,
}

/// How well one regression was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Found {
    /// Trials that would have been rolled back.
    pub caught: Rate,
    /// Seconds until then.
    pub seconds: Spread,
    /// Requests of the pseudo-canary until then.
    pub requests: Spread,
}

/// Quantiles over all trials, in which one that is not caught lasts for ever.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// Half of all trials were caught by then; nothing if fewer were caught.
    pub median: Option<f64>,
    /// 95 % of all trials were.
    pub p95: Option<f64>,
}

impl Spread {
    /// Quantiles of what was caught in `of` trials.
    pub(super) fn of(mut caught: Vec<f64>, of: usize) -> Self {
        caught.sort_by(f64::total_cmp);
        // Rank from 1: the smallest with at least that share of all trials at or below it.
        let rank = |percent: usize| (of * percent).div_ceil(100).max(1);
        let at = |percent| caught.get(rank(percent) - 1).copied();
        Self { median: at(50), p95: at(95) }
    }
}

/// A count as a number with a fraction.
#[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^52")]
pub(super) fn as_f64(count: u64) -> f64 {
    count as f64
}
