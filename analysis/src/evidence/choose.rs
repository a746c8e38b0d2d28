//! Latency: learning both arms' durations, and choosing once which of them are compared.

use jiff::Timestamp;

use super::{CheckEvidence, tolerance::sane_ratio};
use crate::{
    Arm, Check, History, LatencyProfile, Observation, Test, comparison::Comparison,
    latency::ENOUGH_FOR_THRESHOLDS, pods::Pods,
};

impl CheckEvidence {
    /// Before the counts of a scrape are taken in: learns the durations of both arms, and chooses the thresholds as
    /// soon as earlier rollouts say where they belong.
    pub(crate) fn learn(
        &mut self,
        check: &Check,
        observation: &Observation,
        at: Timestamp,
        pods: &Pods,
        history: &History,
    ) {
        let Test::Latency { stretch, ratio } = &check.test else { return };
        let young = pods.tag(observation.arm, &observation.instance, at, self.warm_up).is_young();
        // Bounds are learnt from young pods too, their durations are not.
        if !young || self.comparisons.is_empty() {
            match observation.arm {
                Arm::Baseline => self.profile.take(&observation.sample),
                Arm::Canary => self.canary_profile.take(&observation.sample),
            }
        }
        if !self.comparisons.is_empty() || self.canary_profile.total() == 0 {
            return;
        }
        let Some(known) = history.reference(&check.name) else { return };
        let shared = self.profile.shared_with(&self.canary_profile);
        if let Some(known_here) = known.latency.fitting(&shared, &self.canary_profile)
            && known_here.total() >= ENOUGH_FOR_THRESHOLDS
        {
            self.choose(&known_here, *stretch, *ratio, known.dispersion.allowance());
        }
    }

    /// After a scrape: chooses the thresholds from this rollout's own stable, when it has served enough.
    pub(super) fn choose_when_known(&mut self, check: &Check) {
        if let Test::Latency { stretch, ratio } = check.test
            && self.comparisons.is_empty()
            && self.canary_profile.total() > 0
            && self.profile.total() >= ENOUGH_FOR_THRESHOLDS
        {
            let shared = self.profile.shared_with(&self.canary_profile);
            self.choose(&shared, stretch, ratio, 1.0);
        }
    }

    fn choose(&mut self, profile: &LatencyProfile, stretch: f64, ratio: f64, dispersion: f64) {
        let stretch = if stretch.is_finite() { stretch.clamp(0.0, 100.0) } else { 0.0 };
        for tolerance in profile.thresholds(stretch, sane_ratio(ratio)) {
            let usual = profile.slower_than(tolerance.baseline_bound);
            self.compare(Comparison::slower(&tolerance, 0.0).knowing(usual, dispersion));
        }
    }
}
