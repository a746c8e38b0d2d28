//! What a check's comparisons say together.

use super::CheckEvidence;
use crate::{
    Check, OnBreach, Test,
    comparison::Comparison,
    pods::PSEUDO,
    sequential::{Absolute, weighted_mean, weighted_sum},
};

/// Share of a check's evidence that is set aside for pods that warm up.
const FOR_YOUNG_PODS: f64 = 0.1;

impl CheckEvidence {
    /// Weighs the evidence anew, and keeps the highest that it ever was.
    pub(super) fn weigh(&mut self, check: &Check) {
        // The mean over thresholds (8).
        let mean = |log_e: &dyn Fn(&Comparison) -> f64| {
            weighted_mean(self.comparisons.iter().map(|comparison| (1.0, log_e(comparison))))
        };
        let together = mean(&Comparison::log_e);
        // The least over the groups of canary pods: what is left when any one of them is not looked at.
        let apart = (self.comparisons.first().into_iter().flat_map(Comparison::groups))
            .map(|group| mean(&|comparison: &Comparison| comparison.log_e_without(group)))
            .fold(f64::INFINITY, f64::min);
        let catastrophic = mean(&Comparison::log_catastrophic);
        // Half of alpha is spent on the margin for pods; the test without a pod has no such margin.
        let halved = if self.allows_for_pods() { -2.0_f64.ln() } else { 0.0 };
        let shift = halved - self.penalty;
        let warms_up = self.comparisons.iter().any(Comparison::warms_up);
        let whole = |log_e: f64| {
            let parts = [(1.0 - FOR_YOUNG_PODS, log_e), (FOR_YOUNG_PODS, catastrophic)];
            if warms_up { weighted_sum(parts.into_iter()) } else { log_e }
        };
        let objective = self.objective.as_ref().map_or(0.0, Absolute::log_e);
        let told = |relative: f64| match &check.test {
            Test::Errors { .. } | Test::Latency { .. } | Test::Restarts { .. } => relative,
            Test::ErrorObjective { on_breach, .. } | Test::LatencyObjective { on_breach, .. } => {
                match on_breach {
                    OnBreach::Pause => objective,
                    // The minimum is valid against "never breached or never regressed".
                    OnBreach::RollBack => objective.min(relative),
                }
            }
            Test::NewErrors | Test::Journey { .. } | Test::Gauge { .. } | Test::Kayenta(_) => 0.0,
        };
        let together = shift + whole(together);
        // Infinite where this check counts one group of pods only.
        let apart =
            if apart.is_finite() { together.min(whole(apart) - self.penalty) } else { together };
        let beside = (self.novelty.as_ref().map(|new| new.evidence.log_evidence()))
            .or(self.journey.as_ref().map(|journey| journey.paired.log_evidence()));
        let (current, together) =
            beside.map_or((told(apart), told(together)), |log_e| (log_e, log_e));
        let control = mean(&Comparison::log_control);
        if self.quiet.is_empty() && self.comparisons.iter().any(|at| at.log_pseudo(0).is_some()) {
            self.quiet = vec![0.0; PSEUDO];
        }
        for (set, quiet) in self.quiet.iter_mut().enumerate() {
            let log_e: Option<Vec<(f64, f64)>> = (self.comparisons.iter())
                .map(|comparison| Some((1.0, comparison.log_pseudo(set)?)))
                .collect();
            if let Some(log_e) = log_e.filter(|log_e| !log_e.is_empty()) {
                *quiet = quiet.max(weighted_mean(log_e.into_iter()) + halved);
            }
        }
        self.control = self.control.max(control);
        (self.current, self.together) = (current, together);
        self.peak = self.peak.max(current);
        self.together_peak = self.together_peak.max(together);
    }
}

/// Whether a check's evidence enters the merge; an objective that pauses never fails a canary.
pub(crate) fn can_fail(check: &Check) -> bool {
    match &check.test {
        Test::Errors { .. }
        | Test::Latency { .. }
        | Test::Restarts { .. }
        | Test::NewErrors
        | Test::Journey { .. } => true,
        Test::Gauge { .. } | Test::Kayenta(_) => false,
        Test::ErrorObjective { on_breach, .. } | Test::LatencyObjective { on_breach, .. } => {
            *on_breach == OnBreach::RollBack
        }
    }
}
