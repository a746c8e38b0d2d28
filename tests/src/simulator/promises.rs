//! The promises of the design, checked after every event.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use rollout::policy::OnInconclusive;
use rollout::state::{Phase, Stage};
use rollout::{
    Action, DeploymentId, Event, Finished, GitOutcome, Happened, Live, Order, Outcome, State,
    Transition, Weight,
};

use super::branch::{Branch, Content, on_trial, read};
use super::scenario::Truth;
use super::world::World;

/// What a version on trial truly is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nature {
    /// Every change in it is harmless.
    Good,
    /// It fails requests from its first moment on.
    Fails,
    /// It is bad in a way that may escape: slow, late, dying, or unable to start.
    Otherwise,
}

/// How a deployment ended, with what its version truly was.
#[derive(Debug, Clone, PartialEq)]
pub struct Ending {
    /// What Serin recorded.
    pub finished: Finished,
    /// What was on trial.
    pub nature: Nature,
    /// A person or the policy said to go on without evidence.
    pub helped: bool,
    /// All versions failed requests for another reason while it was on trial.
    pub incident: bool,
}

/// What was seen so far.
#[derive(Debug, Default)]
pub(super) struct Promises {
    pub(super) endings: Vec<Ending>,
    /// When counters of both versions were read last.
    seen: Option<Timestamp>,
    helped: BTreeSet<DeploymentId>,
    incidents: BTreeSet<DeploymentId>,
    trials: BTreeMap<DeploymentId, Content>,
}

impl Promises {
    /// A shared incident goes on.
    pub(super) fn incident(&mut self, state: &State) {
        self.incidents.extend(state.live_id().cloned());
    }

    /// Checks one transition against the world before its actions are performed.
    pub(super) fn check(
        &mut self,
        before: &State,
        event: &Event,
        moved: &Transition,
        world: &World,
    ) -> Result<(), String> {
        self.remember(event, moved);
        if let (Some(old), Some(new)) = (&before.live, &moved.state.live)
            && old.deployment.id == new.deployment.id
        {
            self.check_weight(event, old, new)?;
            check_undoing(event, old, new)?;
            if phase_name(&old.phase) != phase_name(&new.phase) && moved.reason.is_none() {
                return Err(format!("the phase became {} without a reason", new.phase.words()));
            }
        }
        for action in &moved.actions {
            check_action(action, moved, world)?;
        }
        if let Some(finished) = &moved.finished {
            if finished.reason.is_empty() {
                return Err(format!("{} ended without a reason", finished.id));
            }
            if finished.outcome == Outcome::RolledBack && finished.git.is_none() {
                return Err(format!("{} was rolled back and Git never asked", finished.id));
            }
            let live = before.live.as_ref().ok_or("something ended that was not live")?;
            self.ended(finished, live, &world.branch);
        }
        Ok(())
    }

    fn remember(&mut self, event: &Event, moved: &Transition) {
        if let Happened::Observed { .. } = &event.what {
            self.seen = Some(event.at);
        }
        let Some(live) = &moved.state.live else { return };
        let by_policy = moved.reason.as_ref().is_some_and(|reason| {
            live.deployment.canary.policy.on_inconclusive == OnInconclusive::Promote
                && reason.contains("the policy")
        });
        let by_person = matches!(event.what, Happened::Operated { order: Order::Promote, .. });
        if by_policy || by_person {
            self.helped.insert(live.deployment.id.clone());
        }
    }

    /// No pass without evidence.
    fn check_weight(&self, event: &Event, old: &Live, new: &Live) -> Result<(), String> {
        let (from, to) = (old.shift.weight, new.shift.weight);
        if to <= from
            || matches!(old.phase, Phase::Starting)
            || self.helped.contains(&new.deployment.id)
        {
            return Ok(());
        }
        if matches!(old.phase, Phase::RollingBack(_)) {
            return Err(format!("the weight rose from {from} to {to} in a rollback"));
        }
        let Some(confirmed) = old.shift.confirmed else {
            return Err(format!("the weight rose from {from} to {to} before {from} was confirmed"));
        };
        if self
            .seen
            .is_none_or(|seen| seen <= confirmed || 90 < event.at.duration_since(seen).as_secs())
        {
            return Err(format!("the weight rose from {from} to {to} without fresh data"));
        }
        let passed = new.verdict.as_ref().is_some_and(|v| v.outcome == analysis::Outcome::Pass);
        if !passed {
            return Err(format!("the weight rose from {from} to {to} without a passing verdict"));
        }
        if matches!(old.phase, Phase::Comparing { .. }) {
            return Ok(());
        }
        let plan = &new.deployment.plan;
        let rungs = plan.steps().iter().filter(|s| from < s.weight && s.weight <= to).count();
        if 1 < rungs + usize::from(to == Weight::FULL && from < Weight::FULL) {
            return Err(format!("the weight rose from {from} to {to}, more than one step at once"));
        }
        Ok(())
    }

    fn ended(&mut self, finished: &Finished, live: &Live, branch: &Branch) {
        let stable = read(&live.deployment.stable.content);
        let trial: Content =
            read(&live.deployment.canary.content).difference(&stable).copied().collect();
        self.endings.push(Ending {
            finished: finished.clone(),
            nature: nature(branch, &trial),
            helped: self.helped.contains(&finished.id),
            incident: self.incidents.contains(&finished.id),
        });
        self.trials.insert(finished.id.clone(), trial);
    }

    /// What must hold once the world is calm and Serin has had its time.
    pub(super) fn check_end(&self, state: &State, world: &World) -> Result<(), String> {
        for (index, entry) in world.branch.entries.iter().enumerate() {
            let Some((deployment, _)) = &entry.ours else { continue };
            let before = &world.branch.entries[index - 1].content;
            let trial = self
                .trials
                .get(deployment)
                .ok_or_else(|| format!("{deployment} was reverted and never ended"))?;
            let expected: Content = before.difference(trial).copied().collect();
            if entry.content != expected {
                return Err(format!(
                    "the revert of {deployment} took out more or less than its change"
                ));
            }
            let reverts = world
                .branch
                .entries
                .iter()
                .filter(|e| e.ours.as_ref().is_some_and(|(id, _)| id == deployment));
            if reverts.count() != 1 {
                return Err(format!("{deployment} was reverted more than once"));
            }
        }
        for ending in &self.endings {
            let id = &ending.finished.id;
            let ours =
                world.branch.entries.iter().any(|e| e.ours.as_ref().is_some_and(|(d, _)| d == id));
            let pushed = matches!(ending.finished.git, Some(GitOutcome::Pushed { .. }));
            if pushed && !ours {
                return Err(format!("{id} says it was reverted, and was not"));
            }
            if ours && ending.finished.outcome != Outcome::RolledBack {
                return Err(format!(
                    "{id} was reverted although it was {}",
                    ending.finished.outcome.words()
                ));
            }
            if !world.told.contains(&format!("{id}:ended")) {
                return Err(format!("nobody was told how {id} ended"));
            }
        }
        if !state.outbox.is_empty() {
            return Err("people still wait for a message".to_owned());
        }
        if let Some(live) = &state.live
            && !is_held(live)
        {
            return Err(format!(
                "{} is still {} and says nothing",
                live.deployment.id,
                live.phase.words()
            ));
        }
        if state.waiting.is_some() && state.hold.is_none() && state.live.is_none() {
            return Err("a commit waits for nothing".to_owned());
        }
        Ok(())
    }
}

fn nature(branch: &Branch, trial: &Content) -> Nature {
    let fails = |t: &Truth| t.errors > 0.0 && t.onset == 0 && t.starts && !t.dies;
    if branch.truths(trial).all(Truth::is_good) {
        Nature::Good
    } else if branch.truths(trial).any(fails) {
        Nature::Fails
    } else {
        Nature::Otherwise
    }
}

/// Whether a deployment waits for a person, who knows.
pub(super) fn is_held(live: &Live) -> bool {
    let undoing = matches!(live.phase, Phase::RollingBack(_) | Phase::Promoting { .. });
    !undoing && (live.paused.is_some() || !live.told.is_empty())
}

/// No fail without evidence, and traffic first.
fn check_undoing(event: &Event, old: &Live, new: &Live) -> Result<(), String> {
    let Phase::RollingBack(back) = &new.phase else { return Ok(()) };
    if new.shift.weight != Weight::ZERO {
        return Err(format!("the weight is {} in a rollback", new.shift.weight));
    }
    if back.stage != Stage::Traffic && new.shift.confirmed.is_none() {
        return Err("Git or removal came before the traffic was confirmed to be back".to_owned());
    }
    if matches!(old.phase, Phase::RollingBack(_)) || back.outcome != Outcome::RolledBack {
        return Ok(());
    }
    let failing = new.verdict.as_ref().is_some_and(|v| v.outcome == analysis::Outcome::Fail);
    match &event.what {
        Happened::Observed { .. } if failing => Ok(()),
        Happened::StartFailed { version_fault: true, .. } | Happened::Exited { .. } => Ok(()),
        Happened::Observed { .. }
        | Happened::StartFailed { .. }
        | Happened::TipMoved { .. }
        | Happened::Started { .. }
        | Happened::Shifted { .. }
        | Happened::Unobserved { .. }
        | Happened::PromotionDone { .. }
        | Happened::Explained { .. }
        | Happened::GitAnswered { .. }
        | Happened::Removed { .. }
        | Happened::Notified { .. }
        | Happened::Stumbled { .. }
        | Happened::Operated { .. }
        | Happened::Woke => Err(format!("it fails without evidence: {}", back.reason)),
    }
}

fn check_action(action: &Action, moved: &Transition, world: &World) -> Result<(), String> {
    match action {
        Action::Revert(order) => {
            if world.served != Weight::ZERO {
                return Err(format!("Git is asked while the canary has {}", world.served));
            }
            if moved.state.live.is_some() && on_trial(order).is_empty() {
                return Err("a revert of nothing is asked for".to_owned());
            }
            Ok(())
        }
        Action::Remove { .. } if world.served != Weight::ZERO => {
            Err(format!("the canary is removed while it has {}", world.served))
        }
        Action::Start { .. } if world.served != Weight::ZERO => {
            Err(format!("a canary is started while one has {}", world.served))
        }
        Action::Adopt { .. }
        | Action::Start { .. }
        | Action::Shift { .. }
        | Action::Measure { .. }
        | Action::WakeAt { .. }
        | Action::Explain { .. }
        | Action::Promote { .. }
        | Action::Remove { .. }
        | Action::Notify(_) => Ok(()),
    }
}

/// A phase without what it holds.
fn phase_name(phase: &Phase) -> &'static str {
    phase.words()
}
