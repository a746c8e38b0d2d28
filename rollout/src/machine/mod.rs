//! The only place where a decision is made.
//!
//! What is outstanding follows from the state alone ([`outstanding`]); a transition asks for what
//! is outstanding now and was not before. So nothing that was asked for can be lost in a crash: a
//! restart performs all that is outstanding.

mod begin;
mod evidence;
mod operate;
#[cfg(test)]
mod tests;
mod tip;
mod undo;

use jiff::Timestamp;

use crate::action::{Action, News, Notification};
use crate::deployment::{DeploymentId, Finished};
use crate::event::{Event, Happened};
use crate::state::{Live, Phase, Stage, State};

/// One event's effect.
#[derive(Debug, Clone, PartialEq)]
#[must_use = "a dropped transition loses actions"]
pub struct Transition {
    /// The new state.
    pub state: State,
    /// What is asked for now and was not before, in the order in which to perform it.
    pub actions: Vec<Action>,
    /// What was asked for before and is no longer wanted or has been answered.
    pub withdrawn: Vec<Action>,
    /// Why, in one sentence without full stop, if anything was decided; the same text everywhere.
    pub reason: Option<String>,
    /// The deployment that ended with this event.
    pub finished: Option<Finished>,
}

/// Moves one service forward by one event.
///
/// Pure and total: no clock, no I/O, no randomness, no error. An event that does not apply in
/// `state` leaves it as it is and asks for nothing.
pub fn transition(mut state: State, event: &Event) -> Transition {
    let before = outstanding(&state);
    let mut turn = Turn { state: &mut state, now: event.at, reason: None, finished: None };
    turn.take(&event.what);
    turn.settle();
    let (reason, finished) = (turn.reason, turn.finished);
    let after = outstanding(&state);
    let withdrawn = before.iter().filter(|a| !after.contains(a)).cloned().collect();
    let actions = after.into_iter().filter(|a| !before.contains(a)).collect();
    Transition { state, actions, withdrawn, reason, finished }
}

/// Everything that `state` asks for and has no answer to yet, most urgent first.
pub fn outstanding(state: &State) -> Vec<Action> {
    let mut asked = Vec::new();
    if let Some(live) = &state.live {
        live_actions(state, live, &mut asked);
    } else if let Some(at) = state.frozen_until {
        asked.push(Action::WakeAt { at });
    }
    if let Some(hold) = &state.hold
        && hold.approved
        && let Some(revert) = &hold.revert
    {
        asked.push(Action::Revert(revert.clone()));
    }
    asked.extend(state.outbox.iter().map(|n| Action::Notify(Box::new(n.clone()))));
    asked
}

fn live_actions(state: &State, live: &Live, asked: &mut Vec<Action>) {
    let deployment = live.deployment.id.clone();
    let candidate = || Box::new(live.deployment.canary.clone());
    match &live.phase {
        Phase::Adopting => asked.push(Action::Adopt { deployment, candidate: candidate() }),
        Phase::Starting => {
            asked.push(Action::Start { deployment: deployment.clone(), candidate: candidate() });
            asked.push(Action::Measure { deployment });
        }
        Phase::Progressing { .. } | Phase::Baking { .. } | Phase::Comparing { .. } => {
            asked.extend(unconfirmed_shift(live));
            asked.push(Action::Measure { deployment });
            asked.extend(evidence::due(live).into_iter().map(|at| Action::WakeAt { at }));
        }
        Phase::Promoting { .. } => asked.push(Action::Promote { deployment }),
        Phase::RollingBack(back) => match back.stage {
            Stage::Traffic => asked.extend(unconfirmed_shift(live)),
            Stage::Cause => asked.push(Action::Explain { deployment }),
            Stage::Git => {
                asked.push(Action::Revert(Box::new(undo::revert_order(state, live, back))));
            }
            Stage::Removal => asked.push(Action::Remove { deployment }),
        },
    }
}

fn unconfirmed_shift(live: &Live) -> Option<Action> {
    let deployment = live.deployment.id.clone();
    let (serial, weight) = (live.shift.serial, live.shift.weight);
    live.shift.confirmed.is_none().then_some(Action::Shift { deployment, serial, weight })
}

/// One event being taken in.
struct Turn<'a> {
    state: &'a mut State,
    now: Timestamp,
    reason: Option<String>,
    finished: Option<Finished>,
}

impl Turn<'_> {
    fn take(&mut self, what: &Happened) {
        match what {
            Happened::TipMoved { candidate } => self.tip_moved(candidate),
            Happened::Started { deployment } => self.started(deployment),
            Happened::StartFailed { deployment, why, version_fault } => {
                self.start_failed(deployment, why, *version_fault);
            }
            Happened::Exited { deployment, arm, how } => self.exited(deployment, *arm, how),
            Happened::Shifted { deployment, serial, weight } => {
                self.shifted(deployment, *serial, *weight);
            }
            Happened::Observed { deployment, scrape } => self.observed(deployment, scrape),
            Happened::Unobserved { deployment, why } => {
                if let Some(live) = self.live_of(deployment) {
                    live.unobserved = Some(why.clone());
                }
            }
            Happened::PromotionDone { deployment } => self.promotion_done(deployment),
            Happened::GitAnswered { deployment, outcome } => self.git_answered(deployment, outcome),
            Happened::Explained { deployment, cause, .. } => self.explained(deployment, cause),
            Happened::Removed { deployment } => self.removed(deployment),
            Happened::Notified { key, .. } => self.state.outbox.retain(|n| n.key != *key),
            Happened::Stumbled { deployment, what } => self.stumbled(deployment, what),
            Happened::Operated { by, order } => self.operated(by, *order),
            Happened::Woke => {}
        }
    }

    /// What time and evidence allow now, whatever event brought us here.
    fn settle(&mut self) {
        self.decide();
        self.begin_waiting();
    }

    /// The live deployment, if it is the one named.
    fn live_of(&mut self, deployment: &DeploymentId) -> Option<&mut Live> {
        self.state.live.as_deref_mut().filter(|live| live.deployment.id == *deployment)
    }

    /// The last reason of a turn is the one that counts; earlier ones led to it.
    fn because(&mut self, reason: impl Into<String>) {
        self.reason = Some(reason.into());
    }

    fn tell(&mut self, key: String, notify: Vec<String>, news: News) {
        if self.state.outbox.iter().all(|n| n.key != key) {
            self.state.outbox.push(Notification { key, at: self.now, notify, news });
        }
    }
}
