//! What is known about a service from before the rollout: chooses latency thresholds, and plans.
//!
//! Kept small and forgetful: every rollout halves what came before, so that it follows the service.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Counts, LatencyProfile, sequential::as_f64};

/// Requests of one check that are remembered at most; more would only make it slow to adapt.
const MOST_REMEMBERED: f64 = 1_000_000.0;

/// A rollout with fewer baseline requests than this does not make older knowledge fade.
const ENOUGH_TO_FADE: u64 = 200;

/// What is known about the service from before the rollout; chooses latency thresholds and plans.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    checks: BTreeMap<String, Reference>,
}

/// What the baseline of earlier rollouts showed to one check.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    /// Failed and completed requests, for checks of errors.
    pub errors: Counts,
    /// Durations, for checks of latency.
    pub latency: LatencyProfile,
}

impl History {
    /// What is known to a check, by its name.
    pub fn reference(&self, check: &str) -> Option<&Reference> {
        self.checks.get(check)
    }

    /// Adds what a rollout's baseline showed; what came before fades to at most a half, and to at most four
    /// times as many requests as are new.
    pub(crate) fn absorb(&mut self, check: &str, errors: Counts, latency: &LatencyProfile) {
        if errors.of == 0 && latency.total() == 0 {
            return;
        }
        let known = self.checks.entry(check.to_owned()).or_default();
        known.errors = scaled(known.errors, fade(known.errors.of, errors.of));
        known.errors.add(errors);
        known.errors = scaled(known.errors, cap(known.errors.of));

        known.latency.scale(fade(known.latency.total(), latency.total()));
        if !latency.bounds().is_empty() {
            let known_bounds = known.latency.bounds();
            if crate::latency::common_bounds(known_bounds, latency.bounds()) == latency.bounds() {
                known.latency.add(latency.bounds(), latency.counts());
            } else {
                // Other buckets than before: the new ones are those that the next rollout will see.
                known.latency = latency.clone();
            }
        }
        known.latency.scale(cap(known.latency.total()));
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

    #[test]
    fn newer_rollouts_outweigh_older_ones() {
        let mut history = History::default();
        let none = LatencyProfile::default();
        history.absorb("errors", Counts { events: 100, of: 10_000 }, &none);
        for _ in 0..6 {
            history.absorb("errors", Counts { events: 500, of: 10_000 }, &none);
        }
        let share = history.reference("errors").unwrap().errors.share();
        assert!((0.045..0.051).contains(&share), "{share}");
    }

    #[test]
    fn a_tiny_rollout_forgets_nothing_and_a_huge_one_is_capped() {
        let mut history = History::default();
        let none = LatencyProfile::default();
        history.absorb("errors", Counts { events: 10, of: 10_000 }, &none);
        history.absorb("errors", Counts { events: 0, of: 5 }, &none);
        assert_eq!(history.reference("errors").unwrap().errors.of, 10_005);
        history.absorb("errors", Counts { events: 0, of: u64::MAX }, &none);
        assert!(history.reference("errors").unwrap().errors.of <= 1_000_001);
    }

    #[test]
    fn changed_buckets_replace_the_profile() {
        let mut history = History::default();
        let mut profile = LatencyProfile::default();
        profile.add(&[0.1, 0.2], &[5, 5, 5]);
        history.absorb("latency", Counts::default(), &profile);
        let mut other = LatencyProfile::default();
        other.add(&[0.1, 0.3], &[50, 5, 5]);
        history.absorb("latency", Counts::default(), &other);
        assert_eq!(history.reference("latency").unwrap().latency, other);
    }
}
