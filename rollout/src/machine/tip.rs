//! What a new tip of the branch means: nothing, a person's revert, or a version to try.

use super::Turn;
use crate::action::News;
use crate::commit::Candidate;
use crate::deployment::Outcome;
use crate::state::Phase;

impl Turn<'_> {
    pub(super) fn tip_moved(&mut self, candidate: &Candidate) {
        self.state.seen = Some(candidate.revision().clone());
        if let Some(stable) = &mut self.state.stable
            && stable.content == candidate.content
        {
            stable.verified = candidate.revision().clone();
            self.back_to_stable(candidate);
            return;
        }
        if let Some(why) = &candidate.quarantined {
            self.state.waiting = None;
            let (short, service) = (candidate.revision().short(), self.state.service.clone());
            let why = format!("{short} is not deployed: {why}");
            self.because(why.clone());
            let key = format!("{service}:{}:refused", candidate.revision());
            let commit = Box::new(candidate.commit.clone());
            self.tell(key, candidate.policy.notify.clone(), News::Refused { service, commit, why });
            return;
        }
        self.state.waiting = None;
        self.state.frozen_until = None;
        let same = |content: &String| *content == candidate.content;
        if let Some(live) = &self.state.live
            && same(&live.deployment.canary.content)
            && !gave_way(&live.phase)
        {
            return;
        }
        let short = candidate.revision().short();
        if self.state.declined.as_ref().is_some_and(same) {
            let why = format!(
                "{short} has the content that was tried last and did not stay; `resume` tries it again"
            );
            self.because(why);
            if self.on_trial() {
                self.roll_back(Outcome::Superseded, format!("superseded by {short}"));
            }
            return;
        }
        self.state.waiting = Some(Box::new(candidate.clone()));
        self.newer(candidate);
    }

    /// Git holds what serves: nothing to deploy, and whatever was on trial is no longer wanted.
    fn back_to_stable(&mut self, candidate: &Candidate) {
        self.state.waiting = None;
        self.state.declined = None;
        let short = candidate.revision().short();
        if self.state.hold.take().is_some() {
            self.because(format!("{short} brings Git back to what serves; the hold is over"));
        }
        let Some(live) = &self.state.live else { return };
        match live.phase {
            Phase::Starting
            | Phase::Progressing { .. }
            | Phase::Baking { .. }
            | Phase::Comparing { .. } => {
                let by = &candidate.commit.author;
                self.roll_back(
                    Outcome::RevertedByPerson,
                    format!("{by} reverted it in Git with {short}"),
                );
            }
            // Too late to take it back: what Git holds now is deployed after it.
            Phase::Promoting { .. } => self.state.waiting = Some(Box::new(candidate.clone())),
            Phase::Adopting | Phase::RollingBack(_) => {}
        }
    }

    fn newer(&mut self, candidate: &Candidate) {
        let short = candidate.revision().short();
        let Some(live) = &self.state.live else {
            if let Some(hold) = &self.state.hold {
                let text = format!("{short} waits for a person: {}", hold.why);
                self.because(text);
            }
            return;
        };
        match live.phase {
            Phase::Starting
            | Phase::Progressing { .. }
            | Phase::Comparing { .. }
            | Phase::Baking { since: None, .. } => {
                self.roll_back(Outcome::Superseded, format!("superseded by {short}"));
            }
            Phase::Baking { since: Some(_), .. } if self.held() => {
                self.because(format!(
                    "{short} waits until {} is no longer held",
                    live.deployment.id
                ));
            }
            // It passed every step. Taking it back only to compare its successor with the version
            // before it would show users three versions in a row.
            Phase::Baking { since: Some(_), .. } => {
                self.promote(format!(
                    "passed every step; the bake ends early because {short} arrived"
                ));
            }
            Phase::Adopting | Phase::Promoting { .. } | Phase::RollingBack(_) => {
                self.because(format!("{short} waits until {} has ended", live.deployment.id));
            }
        }
    }
}

/// Whether a deployment ends without its version having been judged.
fn gave_way(phase: &Phase) -> bool {
    match phase {
        Phase::RollingBack(back) => match back.outcome {
            Outcome::Superseded | Outcome::RevertedByPerson => true,
            Outcome::Adopted
            | Outcome::Promoted
            | Outcome::RolledBack
            | Outcome::Inconclusive
            | Outcome::Aborted
            | Outcome::NotStarted => false,
        },
        Phase::Adopting
        | Phase::Starting
        | Phase::Progressing { .. }
        | Phase::Baking { .. }
        | Phase::Comparing { .. }
        | Phase::Promoting { .. } => false,
    }
}
