//! The world of a script: versions that start, a data plane, a provider and a branch in Git.
//!
//! It does what the machine asks for, a little later, and answers with events. What a broken part
//! cannot do waits there and is tried again when the script mends it.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use rollout::action::Occasion;
use rollout::{
    Action, DeploymentId, Explained, GitOutcome, Happened, News, RevertOrder, State, Weight,
};

use super::branch::Branch;
use super::command::{GitMode, StartMode, Works};
use super::show;
use super::traffic::Traffic;

/// How long things take, in milliseconds: ordinary values, so that the times in a script look real.
const STARTING: i64 = 2_000;
const SHIFTING: i64 = 100;
const EXPLAINING: i64 = 2_000;
const REVERTING: i64 = 2_000;
const PROMOTING: i64 = 5_000;
const REMOVING: i64 = 1_000;
const TELLING: i64 = 200;
const LOOKING: i64 = 1_000;
const SCRAPING: i64 = 1_000;

/// Something that will happen.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    /// The action that it answers.
    key: String,
    pub(super) what: Happened,
    effect: Effect,
}

impl Pending {
    /// Whether the watcher looks at the branch.
    pub(super) fn is_look(&self) -> bool {
        matches!(self.effect, Effect::Look)
    }
}

/// What an answer changes in the world when it comes.
#[derive(Debug, Clone)]
enum Effect {
    None,
    Traffic(Weight),
    Promotion,
    Revert(Box<RevertOrder>),
    Look,
    Tell(String),
}

/// Everything outside of the machine.
#[derive(Debug)]
pub(super) struct World {
    pub(super) now: Timestamp,
    pub(super) traffic: Traffic,
    pub(super) branch: Branch,
    pub(super) provider: Works,
    pub(super) start: StartMode,
    router: Works,
    git: GitMode,
    pending: BTreeMap<(Timestamp, u64), Pending>,
    sequence: u64,
    measuring: Option<(DeploymentId, Timestamp)>,
    stuck: Vec<Action>,
}

/// What comes next.
pub(super) enum Next {
    Answer(Box<Pending>),
    Scrape(DeploymentId),
}

impl World {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            now,
            traffic: Traffic::new(now),
            branch: Branch::default(),
            provider: Works::Yes,
            start: StartMode::Works,
            router: Works::Yes,
            git: GitMode::Works,
            pending: BTreeMap::new(),
            sequence: 0,
            measuring: None,
            stuck: Vec::new(),
        }
    }

    /// The next thing that happens before or at `end`; the clock goes there.
    pub(super) fn next(&mut self, end: Timestamp) -> Option<Next> {
        let scrape = self.measuring.as_ref().map(|(_, at)| *at);
        let answer = self.pending.first_key_value().map(|((at, _), _)| *at);
        let at = [scrape, answer].into_iter().flatten().min().filter(|at| *at <= end)?;
        self.now = self.now.max(at);
        if answer == Some(at) {
            let (_, pending) = self.pending.pop_first()?;
            return Some(Next::Answer(Box::new(pending)));
        }
        let (deployment, next) = self.measuring.as_mut()?;
        *next = later(at, SCRAPING);
        Some(Next::Scrape(deployment.clone()))
    }

    /// Lets an answer change the world: what happened, and how it is shown.
    pub(super) fn arrive(&mut self, pending: Pending) -> (Happened, Option<String>) {
        let Pending { what, effect, .. } = pending;
        let shown = match effect {
            Effect::None | Effect::Look => None,
            Effect::Traffic(weight) => {
                let changed = self.traffic.weight() != weight;
                self.traffic.shift(self.now, weight);
                changed.then(|| show::traffic(weight))
            }
            Effect::Promotion => {
                self.traffic.promote(self.now);
                Some(show::effect("serving", "the canary is stable, the old version is gone"))
            }
            Effect::Revert(order) => {
                let outcome = self.revert(&order);
                let shown = show::git(&outcome);
                let deployment = order.deployment.clone();
                return (Happened::GitAnswered { deployment, outcome }, shown);
            }
            Effect::Tell(text) => Some(text),
        };
        (what, shown)
    }

    /// Does what was asked for.
    pub(super) fn perform(&mut self, action: Action) -> Option<Happened> {
        let key = action.key();
        match action {
            Action::Adopt { deployment, .. } => {
                self.answer(STARTING, key, Happened::Started { deployment }, Effect::None);
            }
            Action::Start { deployment, .. } => {
                let behaviour = self.traffic.baseline;
                self.traffic.new_canary(self.now, behaviour);
                let what = match &self.start {
                    StartMode::Works => Happened::Started { deployment },
                    StartMode::Fails(why) => {
                        Happened::StartFailed { deployment, why: why.clone(), version_fault: true }
                    }
                };
                self.answer(STARTING, key, what, Effect::None);
            }
            Action::Shift { ref deployment, serial, weight } => {
                if self.router == Works::No {
                    let what = format!(
                        "the data plane does not take {weight} for the canary; trying again"
                    );
                    let stumbled = Happened::Stumbled { deployment: deployment.clone(), what };
                    self.stuck.push(action);
                    return Some(stumbled);
                }
                let what = Happened::Shifted { deployment: deployment.clone(), serial, weight };
                self.answer(SHIFTING, key, what, Effect::Traffic(weight));
            }
            Action::Measure { deployment } => {
                self.measuring = Some((deployment, later(self.now, SCRAPING)));
            }
            Action::WakeAt { at } => {
                let at = at.max(self.now);
                self.enqueue(at, Pending { key, what: Happened::Woke, effect: Effect::None });
            }
            Action::Explain { deployment } => {
                let why = "no traces are simulated".to_owned();
                let cause = Explained::Nothing { why };
                let what = Happened::Explained { deployment, cause, document: None };
                self.answer(EXPLAINING, key, what, Effect::None);
            }
            Action::Revert(ref order) => {
                if self.git == GitMode::Unreachable {
                    let what =
                        "the revert could not be pushed: the remote does not answer; trying again"
                            .to_owned();
                    let stumbled =
                        Happened::Stumbled { deployment: order.deployment.clone(), what };
                    self.stuck.push(action);
                    return Some(stumbled);
                }
                self.answer(REVERTING, key, Happened::Woke, Effect::Revert(order.clone()));
            }
            Action::Promote { deployment } => {
                self.answer(
                    PROMOTING,
                    key,
                    Happened::PromotionDone { deployment },
                    Effect::Promotion,
                );
            }
            Action::Remove { deployment } => {
                self.answer(REMOVING, key, Happened::Removed { deployment }, Effect::None);
            }
            Action::Notify(notification) => {
                let text = match &notification.news {
                    News::Ended(end) => show::told_of_end(&notification.notify, end),
                    News::Waits { so_far, occasion: Occasion::Stuck(_), .. } => {
                        show::told_of_trouble(&notification.notify, so_far)
                    }
                    News::Waits { so_far, ask, .. } => {
                        show::told_to_decide(&notification.notify, so_far, ask)
                    }
                    News::Refused { why, .. } => show::told(&notification.notify, why),
                };
                let what = Happened::Notified { key: notification.key, given_up: None };
                self.answer(TELLING, key, what, Effect::Tell(text));
            }
        }
        None
    }

    /// What was asked for and is no longer wanted does not happen.
    pub(super) fn withdraw(&mut self, action: &Action) {
        if matches!(action, Action::Measure { .. }) {
            self.measuring = None;
        }
        let key = action.key();
        self.pending.retain(|_, pending| pending.key != key);
        self.stuck.retain(|stuck| stuck.key() != key);
    }

    /// A crash: whatever was on its way is lost.
    pub(super) fn forget(&mut self) {
        self.pending.clear();
        self.stuck.clear();
        self.measuring = None;
    }

    /// Mends or breaks the data plane; returns what can be tried again.
    pub(super) fn set_router(&mut self, works: Works) -> Vec<Action> {
        self.router = works;
        self.take_stuck(|action| works == Works::Yes && matches!(action, Action::Shift { .. }))
    }

    /// Changes what a push meets; returns what can be tried again.
    pub(super) fn set_git(&mut self, mode: GitMode) -> Vec<Action> {
        let reachable = mode != GitMode::Unreachable;
        self.git = mode;
        self.take_stuck(|action| reachable && matches!(action, Action::Revert(_)))
    }

    /// Looks at the branch soon, if its tip was not taken in yet.
    pub(super) fn look(&mut self, state: &State) {
        let key = "look";
        if self.sees_branch(state) && self.pending.values().all(|pending| pending.key != key) {
            let at = later(self.now, LOOKING);
            let pending =
                Pending { key: key.to_owned(), what: Happened::Woke, effect: Effect::Look };
            self.enqueue(at, pending);
        }
    }

    /// Whether the tip can be seen and is not what the service knows.
    pub(super) fn sees_branch(&self, state: &State) -> bool {
        self.git != GitMode::Unreachable
            && self.branch.tip().is_some_and(|tip| state.seen.as_ref() != Some(tip))
    }

    fn take_stuck(&mut self, wanted: impl Fn(&Action) -> bool) -> Vec<Action> {
        let (again, stuck) = std::mem::take(&mut self.stuck).into_iter().partition(wanted);
        self.stuck = stuck;
        again
    }

    fn answer(&mut self, after: i64, key: String, what: Happened, effect: Effect) {
        let at = later(self.now, after);
        self.enqueue(at, Pending { key, what, effect });
    }

    fn enqueue(&mut self, at: Timestamp, pending: Pending) {
        self.sequence += 1;
        self.pending.insert((at, self.sequence), pending);
    }

    fn revert(&mut self, order: &RevertOrder) -> GitOutcome {
        if let Some(only_show) = &order.only_show {
            let (why, needs_person) = (only_show.why.clone(), only_show.needs_person);
            return GitOutcome::NotWritten { why, patch: None, needs_person };
        }
        if let GitMode::Conflict(file) = &self.git {
            return GitOutcome::Conflict { files: vec![file.clone()] };
        }
        self.branch.revert(order, self.now)
    }
}

fn later(at: Timestamp, milliseconds: i64) -> Timestamp {
    at.saturating_add(SignedDuration::from_millis(milliseconds))
        .expect("a signed duration without calendar units can always be added")
}
