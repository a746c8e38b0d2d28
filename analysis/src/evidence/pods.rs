//! What the pods say: how much stable's differ, which of the canary's makes the difference, and what the next
//! rollout should know.

use super::{Around, CheckEvidence, ENOUGH_PODS};
use crate::{
    Arm, Counts,
    history::{Lesson, Spread},
    pods::Pods,
    sequential::{between_pods_cv, inflated_margin},
};

impl CheckEvidence {
    /// What the next rollout should know.
    pub(crate) fn lesson(&self, around: Around<'_>) -> Lesson<'_> {
        let mut whole = self.clone();
        whole.close(around);
        let errors = whole
            .comparisons
            .first()
            .filter(|comparison| comparison.bounds.is_none())
            .map_or(Counts::default(), |errors| errors.calm.usual());
        let dispersion = (whole.comparisons.iter().map(|comparison| comparison.dispersion))
            .max_by(|left, right| left.phi().total_cmp(&right.phi()))
            .unwrap_or_default();
        let stable: Vec<Counts> = (self.by_pod.iter().enumerate())
            .filter(|(place, counts)| around.pods.is_of(Arm::Baseline, *place) && counts.of > 0)
            .map(|(_, counts)| *counts)
            .collect();
        let pods = u32::try_from(stable.len()).unwrap_or(u32::MAX);
        let spread = Spread { pods, cv: between_pods_cv(stable).unwrap_or(0.0) };
        // A check that counts stable as one instance has no pods to play the canary.
        let quiet = if pods >= ENOUGH_PODS { self.quiet.clone() } else { Vec::new() };
        Lesson { errors, latency: Some(&self.profile), dispersion, spread, quiet }
    }

    /// Widens the tolerated ratio by how much pods differ at random (11), for the pods that there are now.
    pub(super) fn widen(&mut self, pods: &Pods) {
        self.margin =
            if self.allows_for_pods() { self.margin_at(self.spread.cv, pods) } else { 1.0 };
    }

    /// The margin at a coefficient of variation, for the pods that this check counts.
    fn margin_at(&self, cv: f64, pods: &Pods) -> f64 {
        let count = |arm| {
            let counted = self.by_pod.iter().enumerate();
            let of_arm = counted.filter(|(place, seen)| seen.of > 0 && pods.is_of(arm, *place));
            u32::try_from(of_arm.count()).unwrap_or(u32::MAX)
        };
        inflated_margin(1.0, cv, count(Arm::Canary), count(Arm::Baseline), self.alpha)
    }

    /// The margin that this rollout's own stable pods ask for, whatever was known before.
    pub(crate) fn margin_of_these_pods(&self, pods: &Pods) -> f64 {
        let stable = self.by_pod.iter().enumerate();
        let stable = stable.filter(|(place, _)| pods.is_of(Arm::Baseline, *place));
        let cv = between_pods_cv(stable.map(|(_, counts)| *counts)).unwrap_or(0.0);
        self.margin_at(cv, pods)
    }

    /// The canary pod whose group makes the difference: without it the evidence is least.
    pub(crate) fn decisive_pod<'a>(&self, pods: &'a Pods) -> Option<&'a str> {
        let (group, _) = (self.comparisons.first()?.groups())
            .map(|group| {
                let worst = self.comparisons.iter().map(|at| at.log_e_without(group));
                (group, worst.fold(f64::NEG_INFINITY, f64::max))
            })
            .min_by(|left, right| left.1.total_cmp(&right.1))?;
        let of_group = self.by_pod.iter().enumerate().filter(|(place, counts)| {
            counts.of > 0 && pods.is_of(Arm::Canary, *place) && pods.group(*place) == group
        });
        let (place, _) =
            of_group.max_by(|left, right| left.1.share().total_cmp(&right.1.share()))?;
        pods.name(Arm::Canary, place)
    }

    /// Whether half of alpha is spent on pods that differ at random.
    pub(crate) fn allows_for_pods(&self) -> bool {
        self.spread.pods >= ENOUGH_PODS && self.spread.cv > 0.01
    }
}
