//! What a policy would have done with the past of a real metrics store, before anyone trusts it.
//!
//! Three questions, each answered with the engine that judges deployments: how past deployments would have ended;
//! how often stable's own pods, playing the canary, would have been reverted (A/A); and how fast a regression of a
//! stated size would have been found, added to these same pods. Reading the store is `fetch`; everything else is
//! pure, with seeded draws, so that the same counts and seed give the same report.

pub mod fetch;
mod inject;
mod periods;
mod replay;
mod report;
mod show;
mod split;

use std::collections::BTreeMap;
use std::time::Duration;

use analysis::Scrape;
use jiff::{SignedDuration, Timestamp};
use rollout::Policy;
use rollout::policy::EDGE;

pub use self::inject::{BadInjection, Injection};
pub use self::report::{
    Answer, Found, Injected, NoData, PastDeployment, Quiet, Rate, Report, Spread, Version,
};
pub use self::show::table;

/// The moments at which the store was read: `count` of them, the first at `from`, `step` apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeline {
    /// The first moment.
    pub from: Timestamp,
    /// Between two moments; above zero.
    pub step: Duration,
    /// How many there are.
    pub count: usize,
}

impl Timeline {
    /// The moment `index`, from 0.
    pub fn at(&self, index: usize) -> Timestamp {
        let steps = i32::try_from(index).unwrap_or(i32::MAX);
        let step = SignedDuration::try_from(self.step).unwrap_or(SignedDuration::MAX);
        let since = step.checked_mul(steps).unwrap_or(SignedDuration::MAX);
        self.from.checked_add(since).unwrap_or(Timestamp::MAX)
    }

    /// How many moments a time spans, at least one.
    fn moments(&self, time: Duration) -> usize {
        let step = self.step.as_millis().max(1);
        usize::try_from(time.as_millis() / step).unwrap_or(usize::MAX).max(1)
    }

    /// Seconds that so many steps take.
    fn seconds(&self, steps: usize) -> f64 {
        self.step.as_secs_f64() * f64::from(u32::try_from(steps).unwrap_or(u32::MAX))
    }
}

/// What one version counted, by the index of the moment; moments without counts are absent.
#[derive(Debug, Clone, PartialEq)]
pub struct Track {
    /// The version, as its label writes it.
    pub version: String,
    /// Its counts, whatever arm they say.
    pub scrapes: BTreeMap<usize, Scrape>,
}

/// What is tried on the quiet periods.
#[derive(Debug, Clone, PartialEq)]
pub struct Trials {
    /// How many times each window is split into a pseudo-canary and the rest; at least 1.
    pub splits: u32,
    /// Seed of all draws.
    pub seed: u64,
    /// How long one trial lasts at most.
    pub window: Duration,
    /// Regressions that are added to the pseudo-canary, one after the other.
    pub injections: Vec<Injection>,
}

/// Replays everything; pure, and bounded by 2,000 trials for each injection and as many without one.
pub fn backtest(policy: &Policy, timeline: Timeline, tracks: &[Track], trials: &Trials) -> Report {
    let mut settings = policy.analysis.clone();
    // The embedded proxy saw nothing of the past.
    settings.checks.retain(|check| check.reads != EDGE);
    let first = rollout::Plan::new(&policy.steps).map_or(0.01, |plan| plan.step(0).weight.share());
    let found = periods::find(timeline, tracks);
    let deployments =
        found.deployments.iter().map(|one| replay::deployment(&settings, first, timeline, one));
    let deployments = deployments.collect();
    let rollout::policy::Target::Process(target) = &policy.target;
    let pods = usize::from(target.instances.max(1));
    let quiet = split::quiet(&settings, first, pods, timeline, &found.quiet, trials);
    Report {
        service: policy.name.clone(),
        from: timeline.from,
        to: timeline.at(timeline.count.saturating_sub(1)),
        step_seconds: timeline.step.as_secs_f64(),
        false_alarm: settings.false_alarm,
        versions: periods::versions(timeline, tracks),
        deployments,
        quiet,
        notes: Vec::new(),
    }
}

#[cfg(test)]
mod tests;
