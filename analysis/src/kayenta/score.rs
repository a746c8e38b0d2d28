//! Many metrics to one score from 0 to 100, and the score to a grade.
//!
//! Kayenta's `WeightedSumScorer`: a metric counts as passed or not, however clear its result is, so that a score is
//! a share of metrics and no probability.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::classify::{Classification, Label};
use super::mann_whitney::size;

/// Percentage of metrics without data from which on the score is 0.
const MOST_WITHOUT_DATA: f64 = 50.0;

/// A metric's result on its way into the score.
#[derive(Debug, Clone, Copy)]
pub struct Judged<'a> {
    /// The groups that it counts in, once each; a metric in no group can still fail the deployment if it is critical.
    pub groups: &'a [&'a str],
    /// Whether it is left out of the score.
    pub muted: bool,
    /// Its result.
    pub classification: &'a Classification,
}

/// One group's share of passed metrics.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// 100 times the passed share of the metrics that have data; 0 if none has.
    pub score: f64,
    /// Metrics that have data, or must have.
    pub counted: usize,
}

/// The score of all metrics together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// From 0 to 100, with two decimals, if the weights add up to 100.
    pub total: f64,
    /// By name of the group.
    pub groups: BTreeMap<String, Group>,
    /// Why the total is 0 whatever the groups say.
    pub reason: Option<String>,
}

/// How good a score is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Grade {
    /// Good enough to go on.
    Pass,
    /// Neither; Spinnaker goes on and warns.
    Marginal,
    /// Stop.
    Fail,
}

/// Scores from which on a grade is given.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Thresholds {
    /// Passes from here on; from 0 to 100.
    pub pass: f64,
    /// Is marginal from here on; from 0 to `pass`.
    pub marginal: f64,
}

impl Thresholds {
    /// The grade of a total.
    pub fn grade(&self, total: f64) -> Grade {
        if total >= self.pass {
            Grade::Pass
        } else if total >= self.marginal {
            Grade::Marginal
        } else {
            Grade::Fail
        }
    }
}

/// Weighs the metrics' results by group; `weights` are percentages by name of the group.
///
/// Groups without a weight share equally what the weights leave of 100, including weights of groups without metrics.
/// A group whose metrics all lack data enters the total as 100.
pub fn score(results: &[Judged<'_>], weights: &BTreeMap<String, f64>) -> Score {
    let results: Vec<_> = results.iter().filter(|r| !r.muted).collect();
    let mut labels: BTreeMap<&str, Vec<Label>> = BTreeMap::new();
    for result in &results {
        for group in result.groups {
            labels.entry(group).or_default().push(result.classification.label);
        }
    }
    let groups: BTreeMap<String, Group> =
        labels.into_iter().map(|(name, labels)| (name.to_owned(), group(&labels))).collect();
    let reason = reason(&results);
    let total = if reason.is_some() { 0.0 } else { weighted(&groups, weights) };
    Score { total, groups, reason }
}

fn group(labels: &[Label]) -> Group {
    let counted = labels.iter().filter(|label| **label != Label::NoData).count();
    let passed = labels.iter().filter(|label| **label == Label::Pass).count();
    let score = if counted == 0 { 0.0 } else { size(passed) / size(counted) * 100.0 };
    Group { score, counted }
}

/// Why the total is 0, if it is.
fn reason(results: &[&Judged<'_>]) -> Option<String> {
    let mut classifications = results.iter().map(|r| r.classification);
    if let Some(failed) = classifications.clone().find(|c| c.critical && c.label != Label::Pass) {
        return Some(format!("a critical metric failed: {}", failed.reason));
    }
    let silent = size(classifications.clone().filter(|c| c.label == Label::NoData).count());
    classifications.next()?;
    (silent / size(results.len()) * 100.0 >= MOST_WITHOUT_DATA)
        .then(|| format!("{MOST_WITHOUT_DATA} % or more of the metrics have no data"))
}

fn weighted(groups: &BTreeMap<String, Group>, weights: &BTreeMap<String, f64>) -> f64 {
    let unweighted = groups.keys().filter(|name| !weights.contains_key(*name)).count();
    let share = (100.0 - weights.values().sum::<f64>()) / size(unweighted);
    let total: f64 = groups
        .iter()
        .map(|(name, group)| {
            let score = if group.counted == 0 { 100.0 } else { group.score };
            score * (weights.get(name).copied().unwrap_or(share) / 100.0)
        })
        .sum();
    // Rounds the decimal number that is meant: half a hundredth is rarely a double and often just below.
    (total * 100.0 + 1e-9_f64.copysign(total)).round() / 100.0
}
