//! What is known about a service from before the rollout: chooses latency thresholds, and plans.
//!
//! Kept small and forgetful: every rollout halves what came before, so that it follows the service.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    Counts, LatencyProfile,
    sequential::{Dispersion, as_f64},
};

/// Requests of one check that are remembered at most; more would only make it slow to adapt.
const MOST_REMEMBERED: f64 = 1_000_000.0;

/// Sets of stable pods that are remembered: enough for one in a thousand.
const MOST_QUIET: usize = 1_000;

/// Errors that are remembered: a service shows tens.
const MOST_ERRORS: usize = 1_000;

/// A rollout with fewer baseline requests than this does not make older knowledge fade.
const ENOUGH_TO_FADE: u64 = 200;

/// What is known about the service from before the rollout; chooses latency thresholds and plans.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    checks: BTreeMap<String, Reference>,
    /// Fingerprints of errors that stable showed.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    errors: BTreeSet<String>,
}

/// What the baseline of earlier rollouts showed to one check.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    /// Failed and completed requests, for checks of errors.
    pub errors: Counts,
    /// Durations, for checks of latency.
    pub latency: LatencyProfile,
    /// How much more than chance the counts of neighbouring scrapes differ (12).
    #[serde(default)]
    pub dispersion: Dispersion,
    /// How much stable's pods differ among themselves (11).
    #[serde(default)]
    pub spread: Spread,
    /// Highest log evidence of each set of stable pods that played the canary, the newest last: what the test
    /// says of this service when nothing is wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quiet: Vec<f64>,
}

/// How much stable's pods differ among themselves beyond chance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Pods that this rests on.
    pub pods: u32,
    /// Coefficient of variation of their shares of events, without the part that is chance.
    pub cv: f64,
}

/// What one rollout teaches about a check.
#[derive(Debug, Default)]
pub(crate) struct Lesson<'a> {
    pub(crate) errors: Counts,
    pub(crate) latency: Option<&'a LatencyProfile>,
    pub(crate) dispersion: Dispersion,
    pub(crate) spread: Spread,
    pub(crate) quiet: Vec<f64>,
}

impl Reference {
    /// What stable's own pods, playing the canary, exceed with probability `alpha`: the conformal quantile of
    /// `quiet`. Nothing with fewer than 1/alpha - 1 of them.
    pub(crate) fn quiet_quantile(&self, alpha: f64) -> Option<f64> {
        let count = self.quiet.len();
        let place = ((as_f64(count as u64) + 1.0) * (1.0 - alpha)).ceil();
        let mut sorted = self.quiet.clone();
        sorted.sort_by(f64::total_cmp);
        // Places count from 1.
        (1_u32..).zip(&sorted).find(|(rank, _)| f64::from(*rank) >= place).map(|(_, value)| *value)
    }
}

impl History {
    /// What is known to a check, by its name.
    pub fn reference(&self, check: &str) -> Option<&Reference> {
        self.checks.get(check)
    }

    /// Fingerprints of errors that stable showed in earlier rollouts: no canary is to be blamed for them.
    pub fn known_errors(&self) -> &BTreeSet<String> {
        &self.errors
    }

    /// Adds errors that stable showed; of too many, those that sort first are forgotten.
    pub(crate) fn know<'a>(&mut self, fingerprints: impl Iterator<Item = &'a str>) {
        self.errors.extend(fingerprints.map(str::to_owned));
        while self.errors.len() > MOST_ERRORS {
            self.errors.pop_first();
        }
    }

    /// Adds what a rollout's baseline showed; what came before fades to at most a half, and to at most four
    /// times as many requests as are new.
    pub(crate) fn absorb(&mut self, check: &str, lesson: Lesson<'_>) {
        let none = LatencyProfile::default();
        let latency = lesson.latency.unwrap_or(&none);
        let errors = lesson.errors;
        if errors.of == 0 && latency.total() == 0 {
            return;
        }
        let known = self.checks.entry(check.to_owned()).or_default();
        known.errors = scaled(known.errors, fade(known.errors.of, errors.of));
        known.errors.add(errors);
        known.errors = scaled(known.errors, cap(known.errors.of));

        known.latency.scale(fade(known.latency.total(), latency.total()));
        if latency.total() > 0 {
            if known.latency.is_like(latency) {
                known.latency.absorb(latency);
            } else {
                // Other buckets than before: the new ones are those that the next rollout will see.
                known.latency = latency.clone();
            }
        }
        known.latency.scale(cap(known.latency.total()));

        known.dispersion.scale(0.5);
        known.dispersion.merge(&lesson.dispersion);
        known.spread = known.spread.and(lesson.spread);
        known.quiet.extend(lesson.quiet.into_iter().filter(|log_e| log_e.is_finite()));
        let surplus = known.quiet.len().saturating_sub(MOST_QUIET);
        known.quiet.drain(..surplus);
    }
}

impl Spread {
    /// The mean of both, in squares; a rollout with fewer pods than were seen before counts less.
    fn and(self, new: Self) -> Self {
        if new.pods < 2 {
            return self;
        }
        if self.pods < 2 {
            return new;
        }
        let weight = f64::from(new.pods) / f64::from(new.pods + self.pods);
        let squares = (1.0 - weight) * self.cv * self.cv + weight * new.cv * new.cv;
        Self { pods: new.pods.max(self.pods), cv: squares.sqrt() }
    }
}

fn fade(old: u64, new: u64) -> f64 {
    if old == 0 || new < ENOUGH_TO_FADE { 1.0 } else { (4.0 * as_f64(new) / as_f64(old)).min(0.5) }
}

fn cap(total: u64) -> f64 {
    (MOST_REMEMBERED / as_f64(total).max(1.0)).min(1.0)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count times a share is a count"
)]
fn scaled(counts: Counts, share: f64) -> Counts {
    let scale = |count: u64| (as_f64(count) * share).round() as u64;
    Counts { events: scale(counts.events), of: scale(counts.of) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(events: u64, of: u64) -> Lesson<'static> {
        Lesson { errors: Counts { events, of }, ..Lesson::default() }
    }

    #[test]
    fn newer_rollouts_outweigh_older_ones() {
        let mut history = History::default();
        history.absorb("errors", errors(100, 10_000));
        for _ in 0..6 {
            history.absorb("errors", errors(500, 10_000));
        }
        let share = history.reference("errors").unwrap().errors.share();
        assert!((0.045..0.051).contains(&share), "{share}");
    }

    #[test]
    fn a_tiny_rollout_forgets_nothing_and_a_huge_one_is_capped() {
        let mut history = History::default();
        history.absorb("errors", errors(10, 10_000));
        history.absorb("errors", errors(0, 5));
        assert_eq!(history.reference("errors").unwrap().errors.of, 10_005);
        history.absorb("errors", errors(0, u64::MAX));
        assert!(history.reference("errors").unwrap().errors.of <= 1_000_001);
    }

    #[test]
    fn changed_buckets_replace_the_profile() {
        let mut history = History::default();
        let mut profile = LatencyProfile::default();
        profile.add(&[0.1, 0.2], &[5, 5, 5]);
        history.absorb("latency", Lesson { latency: Some(&profile), ..Lesson::default() });
        let mut other = LatencyProfile::default();
        other.add(&[0.1, 0.3], &[50, 5, 5]);
        history.absorb("latency", Lesson { latency: Some(&other), ..Lesson::default() });
        assert_eq!(history.reference("latency").unwrap().latency, other);
    }

    #[test]
    fn what_stable_does_by_itself_gives_the_conformal_quantile() {
        let known = |trials: i32| Reference {
            quiet: (1..=trials).map(f64::from).collect(),
            ..Reference::default()
        };
        assert_eq!(known(98).quiet_quantile(0.01), None);
        let reference = known(99);
        assert_eq!(reference.quiet_quantile(0.01), Some(99.0));
        assert_eq!(reference.quiet_quantile(0.05), Some(95.0));
    }
}
