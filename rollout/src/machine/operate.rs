//! What people ask for.

use super::Turn;
use crate::deployment::Outcome;
use crate::event::Order;
use crate::state::{Pause, Phase};

impl Turn<'_> {
    pub(super) fn operated(&mut self, by: &str, order: Order) {
        match order {
            Order::Pause => self.pause(by),
            Order::Resume => self.resume(by),
            Order::Promote => self.promote_by(by),
            Order::Abort => self.abort(by),
            Order::Approve => self.approve(by),
        }
    }

    /// Whether the live deployment can still be held or ended.
    pub(super) fn on_trial(&self) -> bool {
        self.state.live.as_ref().is_some_and(|live| match live.phase {
            Phase::Starting
            | Phase::Progressing { .. }
            | Phase::Baking { .. }
            | Phase::Comparing { .. } => true,
            Phase::Adopting | Phase::Promoting { .. } | Phase::RollingBack(_) => false,
        })
    }

    fn pause(&mut self, by: &str) {
        let (now, possible) = (self.now, self.on_trial());
        match &mut self.state.live {
            Some(live) if possible && live.paused.is_none() => {
                live.paused = Some(Pause { by: by.to_owned(), since: now });
                self.because(format!(
                    "paused by {by}; evidence accumulates and a failing canary still goes"
                ));
            }
            Some(_) if possible => self.because("it is paused already"),
            _ => self.because("nothing to pause: no deployment is on trial"),
        }
    }

    fn resume(&mut self, by: &str) {
        let now = self.now;
        if let Some(live) = &mut self.state.live {
            let was_paused = live.paused.take().is_some();
            let was_overdue = match &mut live.phase {
                Phase::Progressing { overdue, .. } => std::mem::take(overdue),
                Phase::Baking { since, overdue } => {
                    let was_overdue = std::mem::take(overdue);
                    if was_overdue {
                        *since = since.map(|_| now);
                    }
                    was_overdue
                }
                Phase::Comparing { since, overdue, .. } => {
                    let was_overdue = std::mem::take(overdue);
                    if was_overdue || was_paused {
                        *since = now;
                    }
                    was_overdue
                }
                Phase::Adopting
                | Phase::Starting
                | Phase::Promoting { .. }
                | Phase::RollingBack(_) => false,
            };
            if was_paused || was_overdue {
                // A resumed step, comparison or bake has its whole time again.
                live.shift.asked = now;
                self.because(format!("resumed by {by}"));
            } else {
                self.because("nothing to resume: it is not paused");
            }
        } else if self.state.hold.take().is_some() {
            self.look_again();
            self.because(format!("released by {by}; the tip of the branch is looked at again"));
        } else if self.state.declined.is_some() {
            self.look_again();
            self.because(format!("{by} wants the last version tried again"));
        } else {
            self.because("nothing to resume: no deployment is on trial and nothing is held");
        }
    }

    fn promote_by(&mut self, by: &str) {
        let Some(live) = &mut self.state.live else {
            self.because("nothing to promote: no deployment is on trial");
            return;
        };
        // To go on is what was asked for; a pause from before would stop it at the next stage.
        live.paused = None;
        match live.phase {
            Phase::Progressing { .. } => self.bake(&format!("{by} skipped the remaining steps")),
            Phase::Comparing { .. } => self.bake(&format!("{by} ended the comparison")),
            Phase::Baking { .. } => self.promote(format!("{by} ended the bake")),
            Phase::Adopting | Phase::Starting => {
                self.because("too early to promote: it has not started");
            }
            Phase::Promoting { .. } => self.because("it is being promoted already"),
            Phase::RollingBack(_) => self.because("too late to promote: it is being rolled back"),
        }
    }

    fn abort(&mut self, by: &str) {
        if self.on_trial() {
            self.roll_back(Outcome::Aborted, format!("aborted by {by}"));
        } else {
            self.because("nothing to abort: no deployment is on trial");
        }
    }

    fn approve(&mut self, by: &str) {
        match &mut self.state.hold {
            Some(hold) if hold.revert.is_some() && !hold.approved => {
                hold.approved = true;
                if let Some(revert) = &mut hold.revert {
                    revert.only_show = None;
                }
                self.because(format!("{by} approved the revert"));
            }
            Some(hold) if hold.approved => self.because("the revert is approved already"),
            _ => self.because("nothing to approve: no revert waits for a person"),
        }
    }
}
