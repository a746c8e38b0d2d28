//! How a deployment ends: traffic first, then Git, then the canary's removal, then word to people.

use analysis::{Arm, Verdict};
use jiff::Timestamp;

use super::Turn;
use super::begin::release;
use crate::action::{News, Occasion, OnlyShow, RevertOrder};
use crate::cause::Explained;
use crate::deployment::{DeploymentId, Finished, GitOutcome, Outcome};
use crate::policy::{Limit, Revert};
use crate::state::{Hold, Live, Phase, RollBack, Stage, State};
use crate::weight::Weight;

/// Times of automatic reverts that are remembered, for the circuit breaker; more than any sensible limit counts.
const REVERTS_REMEMBERED: usize = 64;

impl Turn<'_> {
    /// Takes the traffic back, and undoes the rest after that is confirmed.
    pub(super) fn roll_back(&mut self, outcome: Outcome, reason: impl Into<String>) {
        let (now, reason) = (self.now, reason.into());
        let Some(live) = &mut self.state.live else {
            return;
        };
        let weight = live.shift.weight;
        live.ask_shift(Weight::ZERO, now);
        live.phase = Phase::RollingBack(RollBack {
            stage: Stage::Traffic,
            outcome,
            reason: reason.clone(),
            weight,
            decided: now,
            traffic_back: None,
            cause: None,
            git: None,
            told: false,
        });
        self.because(format!("traffic goes back to stable: {reason}"));
    }

    pub(super) fn traffic_is_back(&mut self) {
        let now = self.now;
        let Some(live) = &mut self.state.live else {
            return;
        };
        let Phase::RollingBack(back) = &mut live.phase else {
            return;
        };
        if back.stage != Stage::Traffic {
            return;
        }
        back.traffic_back = Some(now);
        let text = match back.outcome {
            Outcome::RolledBack => {
                back.stage = Stage::Cause;
                "stable serves all traffic again; Git is next"
            }
            Outcome::Adopted
            | Outcome::Promoted
            | Outcome::Inconclusive
            | Outcome::Aborted
            | Outcome::RevertedByPerson
            | Outcome::Superseded
            | Outcome::NotStarted => {
                back.stage = Stage::Removal;
                "stable serves all traffic again"
            }
        };
        self.because(text);
    }

    pub(super) fn explained(&mut self, deployment: &DeploymentId, cause: &Explained) {
        let Some(live) = self.live_of(deployment) else {
            return;
        };
        let Phase::RollingBack(back) = &mut live.phase else {
            return;
        };
        if back.stage != Stage::Cause {
            return;
        }
        back.cause = Some(cause.clone());
        back.stage = Stage::Git;
        if let Explained::Found(found) = cause {
            self.because(format!("traces say: {}", found.headline));
        }
    }

    pub(super) fn git_answered(&mut self, deployment: &DeploymentId, outcome: &GitOutcome) {
        let now = self.now;
        if let Some(live) = self.live_of(deployment) {
            let Phase::RollingBack(back) = &mut live.phase else {
                return;
            };
            if back.stage != Stage::Git {
                return;
            }
            back.git = Some(outcome.clone());
            back.stage = Stage::Removal;
        } else {
            let Some(hold) = &mut self.state.hold else {
                return;
            };
            let Some(revert) = &hold.revert else { return };
            if !hold.approved || revert.deployment != *deployment {
                return;
            }
            hold.approved = false;
            hold.why = outcome.sentence();
            if outcome.undone() {
                self.state.hold = None;
            }
        }
        if let GitOutcome::Pushed { .. } = outcome {
            self.state.reverts.push_back(now);
            while REVERTS_REMEMBERED < self.state.reverts.len() {
                self.state.reverts.pop_front();
            }
        }
        if outcome.undone() {
            // What waits may contain the change that is now undone; the tip has moved past it.
            self.state.waiting = None;
            self.state.seen = None;
        }
        self.because(outcome.sentence());
    }

    pub(super) fn stumbled(&mut self, deployment: &DeploymentId, what: &str) {
        let now = self.now;
        let service = self.state.service.clone();
        self.because(what);
        let Some(live) = self.live_of(deployment) else {
            return;
        };
        let id = live.deployment.id.clone();
        let notify = live.deployment.canary.policy.notify.clone();
        let Phase::RollingBack(back) = &mut live.phase else {
            return;
        };
        if std::mem::replace(&mut back.told, true) {
            return;
        }
        let occasion = Occasion::Stuck(back.stage);
        let reason = format!("{}; {what}", back.reason);
        let so_far = Box::new(so_far(&service, live, None, &reason, now));
        let ask = "nothing yet: it is tried again until it works".to_owned();
        self.tell(
            format!("{id}:{}", occasion.key()),
            notify,
            News::Waits { so_far, occasion, ask },
        );
    }

    pub(super) fn removed(&mut self, deployment: &DeploymentId) {
        let Some(live) = self.live_of(deployment) else {
            return;
        };
        let Phase::RollingBack(back) = &live.phase else {
            return;
        };
        if back.stage != Stage::Removal {
            return;
        }
        let back = back.clone();
        let Some(live) = self.state.live.take() else {
            return;
        };
        match back.outcome {
            // Also when Git no longer holds it: a watcher that lags may still show it.
            Outcome::RolledBack
            | Outcome::Inconclusive
            | Outcome::Aborted
            | Outcome::NotStarted => {
                self.state.declined = Some(live.deployment.canary.content.clone());
            }
            Outcome::Adopted
            | Outcome::Promoted
            | Outcome::RevertedByPerson
            | Outcome::Superseded => {}
        }
        self.state.hold =
            self.state.hold.take().or_else(|| hold_after(self.state, &live, &back, self.now));
        self.because(format!("{}; the canary is gone", back.outcome.words()));
        self.close(&live, back.outcome, &back.reason, Some(&back));
    }

    pub(super) fn promote(&mut self, reason: String) {
        let decided = self.now;
        let Some(live) = &mut self.state.live else {
            return;
        };
        live.phase = Phase::Promoting { decided, reason: reason.clone() };
        self.because(reason);
    }

    pub(super) fn promotion_done(&mut self, deployment: &DeploymentId) {
        let Some(live) = self.live_of(deployment) else {
            return;
        };
        let Phase::Promoting { reason, .. } = &live.phase else {
            return;
        };
        let reason = reason.clone();
        let Some(live) = self.state.live.take() else {
            return;
        };
        let promoted = &live.deployment.canary;
        self.state.stable = Some(release(promoted));
        self.state.declined = None;
        if let Some(waiting) = &mut self.state.waiting {
            // Its commits were counted from the version before this one.
            let known = |r: &crate::commit::Commit| {
                promoted.commits.iter().any(|c| c.revision == r.revision)
            };
            waiting.commits.retain(|c| !known(c));
        }
        self.close(&live, Outcome::Promoted, &reason, None);
        self.because("promoted; the old version is gone");
    }

    /// Records the end and tells people.
    pub(super) fn close(
        &mut self,
        live: &Live,
        outcome: Outcome,
        reason: &str,
        back: Option<&RollBack>,
    ) {
        self.state.history = live.assessment.history();
        let mut finished = so_far(&self.state.service, live, None, reason, self.now);
        finished.outcome = outcome;
        if outcome == Outcome::Adopted {
            finished.stable = None;
        }
        if let Phase::Promoting { decided, .. } = &live.phase {
            finished.decided = *decided;
        }
        if let Some(back) = back {
            finished.weight = back.weight;
            finished.decided = back.decided;
            finished.traffic_back = back.traffic_back;
            finished.cause.clone_from(&back.cause);
            finished.git.clone_from(&back.git);
        }
        let key = format!("{}:ended", finished.id);
        self.tell(key, finished.notify.clone(), News::Ended(Box::new(finished.clone())));
        self.finished = Some(finished);
    }

    /// The tip of the branch is to be looked at as if for the first time.
    pub(super) fn look_again(&mut self) {
        self.state.declined = None;
        self.state.seen = None;
    }
}

/// The record of a deployment as if it ended now.
pub(super) fn so_far(
    service: &str,
    live: &Live,
    verdict: Option<&Verdict>,
    reason: &str,
    now: Timestamp,
) -> Finished {
    let verdict = verdict.cloned().or_else(|| live.verdict.clone());
    let failures = verdict.as_ref().and_then(|v| v.findings.iter().find(|f| f.threshold.is_none()));
    Finished {
        id: live.deployment.id.clone(),
        service: service.to_owned(),
        commit: live.deployment.canary.commit.clone(),
        commits: live.deployment.canary.commits.clone(),
        stable: Some(live.deployment.stable.clone()),
        outcome: Outcome::Inconclusive,
        reason: reason.to_owned(),
        canary_failures: failures.map_or(0, |f| f.canary.events),
        verdict,
        weight: live.shift.weight,
        began: live.deployment.began,
        exposed: live.exposed,
        decided: now,
        traffic_back: None,
        cause: None,
        git: None,
        ended: now,
        notify: live.deployment.canary.policy.notify.clone(),
    }
}

/// What a revert of the live deployment has to know, and whether it is to be written.
pub(super) fn revert_order(state: &State, live: &Live, back: &RollBack) -> RevertOrder {
    let candidate = live.deployment.canary.clone();
    let evidence = live.verdict.as_ref().map_or_else(Vec::new, |v| {
        v.findings.iter().map(|f| format!("{}: {}", f.check, f.sentence)).collect()
    });
    let generation = candidate.revert_generation + 1;
    let found = back.cause.as_ref().and_then(Explained::found);
    RevertOrder {
        deployment: live.deployment.id.clone(),
        stable: live.deployment.stable.clone(),
        reason: back.reason.clone(),
        evidence,
        cause: found.map_or_else(Vec::new, |found| found.lines.clone()),
        table: found.map_or_else(Vec::new, |found| found.table.clone()),
        links: found.map_or_else(Vec::new, |found| {
            found.links.iter().map(|link| link.url.clone()).collect()
        }),
        generation,
        decided: back.decided,
        only_show: only_show(state, live, generation, back.decided),
        candidate,
    }
}

/// Why the revert must not be written by itself, if anything stands against it.
fn only_show(state: &State, live: &Live, generation: u32, now: Timestamp) -> Option<OnlyShow> {
    let canary = &live.deployment.canary;
    let on_fail = &canary.policy.on_fail;
    if on_fail.revert == Revert::None {
        return Some(OnlyShow {
            why: "the policy says `revert: none`".to_owned(),
            needs_person: false,
        });
    }
    let why = if !canary.irreversible.is_empty() {
        format!(
            "the change touches {}, which a revert does not undo",
            canary.irreversible.join(", ")
        )
    } else if canary.security {
        "the change is marked as a security fix".to_owned()
    } else if canary.rewritten {
        "the branch was rewritten, so what to go back to is not in its history".to_owned()
    } else if 1 < generation {
        "it is itself a revert, so the cause may lie outside of the code".to_owned()
    } else {
        let limit = on_fail.limits.iter().find(|limit| limit_reached(state, **limit, now))?;
        let per = jiff::SignedDuration::try_from(limit.per).unwrap_or(jiff::SignedDuration::MAX);
        format!("the circuit breaker allows {} automatic reverts within {per:#}", limit.count)
    };
    Some(OnlyShow { why: format!("{why}; `serin approve` lets it go ahead"), needs_person: true })
}

fn limit_reached(state: &State, limit: Limit, now: Timestamp) -> bool {
    let from = now.checked_sub(limit.per).unwrap_or(Timestamp::MIN);
    let recent = state.reverts.iter().filter(|at| from < **at).count();
    usize::try_from(limit.count).is_ok_and(|count| count <= recent)
}

/// Whether the service waits for a person after this end.
fn hold_after(state: &State, live: &Live, back: &RollBack, now: Timestamp) -> Option<Hold> {
    let git = back.git.as_ref()?;
    let (wanted, revert) = match git {
        GitOutcome::Conflict { .. } => (true, None),
        GitOutcome::NotWritten { needs_person, .. } => {
            (*needs_person, Some(Box::new(revert_order(state, live, back))))
        }
        GitOutcome::Pushed { .. } | GitOutcome::Branch { .. } | GitOutcome::AlreadyDone { .. } => {
            (false, None)
        }
    };
    wanted.then(|| Hold { why: git.sentence(), since: now, revert, approved: false })
}

/// Whose instance, for people.
pub(super) const fn whose(arm: Arm) -> &'static str {
    match arm {
        Arm::Baseline => "stable",
        Arm::Canary => "the canary",
    }
}
