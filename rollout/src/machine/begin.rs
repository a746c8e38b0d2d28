//! How a deployment begins: adoption of a first version, start of a canary, freezes, and the answers
//! of the target.

use analysis::{Arm, Assessment};
use jiff::Timestamp;

use super::Turn;
use crate::commit::Candidate;
use crate::deployment::{Deployment, DeploymentId, Outcome};
use crate::freeze;
use crate::plan::Plan;
use crate::policy::StepPolicy;
use crate::state::{Exits, Live, Phase, Shift};
use crate::weight::Weight;

/// How many more times than stable the canary may end by itself: one exit can be chance, and a
/// second a bad moment of the machine; a third without stable suffering too is a crash loop.
pub(super) const EXITS_TOLERATED: u32 = 2;

impl Turn<'_> {
    /// Begins the waiting commit when nothing stands against it.
    pub(super) fn begin_waiting(&mut self) {
        if self.state.live.is_some() || self.state.hold.is_some() {
            return;
        }
        let was_frozen = self.state.frozen_until.take();
        let Some(candidate) = self.state.waiting.take() else {
            return;
        };
        // The first version of a service is not a change: there is nothing to freeze.
        let frozen = freeze::frozen(&candidate.policy.freezes, self.now);
        if let Some((freeze, end)) = frozen
            && self.state.stable.is_some()
        {
            if was_frozen != Some(end) {
                let (short, reason) = (candidate.revision().short(), &freeze.reason);
                self.because(format!("{short} waits: frozen until {end} ({reason})"));
            }
            self.state.frozen_until = Some(end);
            self.state.waiting = Some(candidate);
            return;
        }
        self.begin(*candidate);
    }

    fn begin(&mut self, candidate: Candidate) {
        self.state.attempts += 1;
        let id = DeploymentId::new(&self.state.service, candidate.revision(), self.state.attempts);
        let plan = Plan::new(&candidate.policy.steps).unwrap_or_else(|_| Plan::smallest());
        let plan = if candidate.policy.has_gate() { plan.gated() } else { plan };
        let stable = self.state.stable.clone();
        let short = candidate.revision().short();
        let (phase, text) = if let Some(stable) = &stable {
            let old = stable.revision.short();
            (Phase::Starting, format!("starting canary {short} beside stable {old}"))
        } else {
            (Phase::Adopting, format!("starting {short} as the first version"))
        };
        let assessment = Assessment::new(&candidate.policy.analysis, &self.state.history);
        let deployment = Deployment {
            id,
            stable: stable.unwrap_or_else(|| release(&candidate)),
            canary: candidate,
            plan,
            began: self.now,
        };
        self.because(text);
        self.state.live = Some(Box::new(Live {
            deployment,
            phase,
            shift: Shift {
                serial: 0,
                weight: Weight::ZERO,
                asked: self.now,
                confirmed: Some(self.now),
            },
            assessment,
            paused: None,
            verdict: None,
            exposed: None,
            observed: None,
            compared: None,
            exits: Exits::default(),
            unobserved: None,
            told: Vec::new(),
        }));
    }

    pub(super) fn started(&mut self, deployment: &DeploymentId) {
        let now = self.now;
        let Some(live) = self.live_of(deployment) else {
            return;
        };
        match live.phase {
            Phase::Adopting => self.adopted(),
            Phase::Starting => {
                let StepPolicy { weight, .. } = live.deployment.plan.step(0);
                live.phase = Phase::Progressing { step: 0, overdue: false };
                live.ask_shift(weight, now);
                let steps = live.deployment.plan.steps().len();
                self.because(if weight == Weight::ZERO {
                    format!(
                        "step 1 of {steps}: journeys on both versions, no traffic to the canary yet"
                    )
                } else {
                    format!("step 1 of {steps}: {weight} of traffic to the canary")
                });
            }
            Phase::Progressing { .. }
            | Phase::Baking { .. }
            | Phase::Comparing { .. }
            | Phase::Promoting { .. }
            | Phase::RollingBack(_) => {}
        }
    }

    fn adopted(&mut self) {
        let Some(live) = self.state.live.take() else {
            return;
        };
        let reason = format!(
            "{} is the first version and serves all traffic",
            live.deployment.canary.revision().short()
        );
        self.state.stable = Some(release(&live.deployment.canary));
        self.close(&live, Outcome::Adopted, &reason, None);
        self.because(reason);
    }

    pub(super) fn start_failed(
        &mut self,
        deployment: &DeploymentId,
        why: &str,
        version_fault: bool,
    ) {
        let Some(live) = self.live_of(deployment) else {
            return;
        };
        match (&live.phase, version_fault) {
            (Phase::Adopting, _) => {
                let Some(live) = self.state.live.take() else {
                    return;
                };
                // The same version again only when a person says so, or with a newer commit.
                self.state.declined = Some(live.deployment.canary.content.clone());
                let reason = format!("the first version could not be started: {why}");
                self.close(&live, Outcome::NotStarted, &reason, None);
                self.because(reason);
            }
            (Phase::Starting, true) => {
                self.roll_back(
                    Outcome::RolledBack,
                    format!("the canary could not be started: {why}"),
                );
            }
            (Phase::Starting, false) => {
                self.roll_back(
                    Outcome::NotStarted,
                    format!("the canary could not be tried, through no fault of its own: {why}"),
                );
            }
            (Phase::Progressing { .. } | Phase::Baking { .. } | Phase::Comparing { .. }, _) => {
                let outcome =
                    if version_fault { Outcome::RolledBack } else { Outcome::Inconclusive };
                self.roll_back(outcome, format!("the canary could not be started again: {why}"));
            }
            (Phase::Promoting { .. } | Phase::RollingBack(_), _) => {}
        }
    }

    pub(super) fn exited(&mut self, deployment: &DeploymentId, arm: Arm, how: &str) {
        let Some(live) = self.live_of(deployment) else {
            return;
        };
        match arm {
            Arm::Baseline => live.exits.stable += 1,
            Arm::Canary => live.exits.canary += 1,
        }
        let Exits { stable, canary } = live.exits;
        let on_trial = matches!(
            live.phase,
            Phase::Progressing { .. } | Phase::Baking { .. } | Phase::Comparing { .. }
        );
        if arm == Arm::Canary && on_trial && stable + EXITS_TOLERATED < canary {
            self.roll_back(
                Outcome::RolledBack,
                format!(
                    "the canary ended by itself {canary} times, stable {stable} times; last: {how}"
                ),
            );
        } else {
            let whose = super::undo::whose(arm);
            self.because(format!("an instance of {whose} ended by itself: {how}"));
        }
    }
}

/// The release that a candidate becomes.
pub(super) fn release(candidate: &Candidate) -> crate::commit::Release {
    crate::commit::Release {
        repository: candidate.repository.clone(),
        revision: candidate.revision().clone(),
        verified: candidate.revision().clone(),
        content: candidate.content.clone(),
        subject: candidate.commit.subject.clone(),
        policy: candidate.policy.clone(),
    }
}

impl Live {
    /// Asks for a split; what was asked for before no longer counts.
    pub(super) fn ask_shift(&mut self, weight: Weight, now: Timestamp) {
        self.shift = Shift { serial: self.shift.serial + 1, weight, asked: now, confirmed: None };
    }
}
