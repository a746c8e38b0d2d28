//! What answers the machine: versions, a data plane, a provider, a watcher, Git, and people's ears.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use analysis::Arm;
use jiff::{SignedDuration, Timestamp};
use rollout::{Action, DeploymentId, Explained, GitOutcome, Happened, Policy, RevertOrder, Weight};

use super::branch::{Branch, Content, read};
use super::scenario::{HARMLESS, Scenario, Truth};
use super::traffic::{self, Load};

/// Between two scrapes, in milliseconds.
pub(super) const SCRAPE: i64 = 2_000;

/// Between two looks of the watcher, in milliseconds.
pub(super) const POLL: i64 = 5_000;

/// Something in the queue.
#[derive(Debug, Clone)]
pub(super) enum Item {
    /// An action's answer; the effect on the world comes with it.
    Answer {
        key: String,
        what: Happened,
        effect: Effect,
    },
    Scrape,
    Poll,
    /// A tip that the watcher saw some time ago.
    Seen(usize),
    /// A process of the canary dies.
    Death(DeploymentId),
    Plan(usize),
    Restart,
}

/// What an action does to the world, whether or not its answer arrives.
#[derive(Debug, Clone)]
pub(super) enum Effect {
    None,
    Start(Content),
    Serve(Weight),
    Promote,
    Remove,
    Revert(Box<RevertOrder>),
    Told(String),
}

/// Everything outside of Serin; it survives Serin's crashes.
#[derive(Debug)]
pub(super) struct World {
    pub(super) now: i64,
    pub(super) branch: Branch,
    pub(super) served: Weight,
    pub(super) stable: Content,
    pub(super) canary: Option<(Content, i64)>,
    pub(super) told: BTreeSet<String>,
    pub(super) measuring: Option<DeploymentId>,
    pub(super) policy: Arc<Policy>,
    /// Somebody has pushed in the middle of a revert.
    raced: bool,
    begin: Timestamp,
    queue: BTreeMap<(i64, u64), Item>,
    sequence: u64,
}

impl World {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let mut world = Self {
            now: 0,
            branch: Branch::default(),
            served: Weight::ZERO,
            stable: Content::new(),
            canary: None,
            told: BTreeSet::new(),
            measuring: None,
            policy: Arc::new(scenario.policy.clone()),
            raced: false,
            begin: "2026-03-02T09:00:00Z".parse().expect("the constant is a timestamp"),
            queue: BTreeMap::new(),
            sequence: 0,
        };
        world.branch.commit(HARMLESS, world.time());
        world.enqueue(0, Item::Poll);
        world.enqueue(0, Item::Scrape);
        for (index, (at, _)) in scenario.plans.iter().enumerate() {
            world.enqueue(*at, Item::Plan(index));
        }
        world
    }

    pub(super) fn time(&self) -> Timestamp {
        self.begin + SignedDuration::from_millis(self.now)
    }

    pub(super) fn enqueue(&mut self, at: i64, item: Item) {
        self.sequence += 1;
        self.queue.insert((at.max(self.now), self.sequence), item);
    }

    pub(super) fn next(&mut self) -> Option<Item> {
        let ((at, _), item) = self.queue.pop_first()?;
        self.now = at;
        Some(item)
    }

    /// Whether nothing but the usual looking around is to come.
    pub(super) fn is_quiet(&self) -> bool {
        self.queue.values().all(|item| matches!(item, Item::Scrape | Item::Poll))
    }

    fn is_under_way(&self, key: &str) -> bool {
        self.queue.values().any(|item| matches!(item, Item::Answer { key: k, .. } if k == key))
    }

    /// Begins what was asked for, unless it is under way.
    pub(super) fn perform(&mut self, scenario: &Scenario, action: &Action) {
        let key = action.key();
        if self.is_under_way(&key) {
            return;
        }
        let (after, what, effect) = match action.clone() {
            Action::Adopt { deployment, .. } => {
                (3_000, Happened::Started { deployment }, Effect::None)
            }
            Action::Start { deployment, candidate } => {
                let content = read(&candidate.content);
                let starts = self.branch.truths(&content).all(|truth| truth.starts);
                // What stable does as well is no fault of the canary's.
                let new = content.difference(&self.stable).copied().collect();
                let dies = self.branch.truths(&new).any(|truth| truth.dies);
                let why = "exit status 101".to_owned();
                let what = if starts {
                    Happened::Started { deployment: deployment.clone() }
                } else {
                    Happened::StartFailed {
                        deployment: deployment.clone(),
                        why,
                        version_fault: true,
                    }
                };
                let dying = |item: &Item| matches!(item, Item::Death(id) if *id == deployment);
                if dies && starts && !self.queue.values().any(dying) {
                    for n in 1..6 {
                        self.enqueue(self.now + 9_000 + n * 7_000, Item::Death(deployment.clone()));
                    }
                }
                (8_000, what, Effect::Start(content))
            }
            Action::Shift { deployment, serial, weight } => {
                (300, Happened::Shifted { deployment, serial, weight }, Effect::Serve(weight))
            }
            Action::Measure { deployment } => {
                self.measuring = Some(deployment);
                return;
            }
            Action::WakeAt { at } => {
                let at = at.duration_since(self.begin).as_millis();
                let at = i64::try_from(at).unwrap_or(i64::MAX);
                self.enqueue(at, Item::Answer { key, what: Happened::Woke, effect: Effect::None });
                return;
            }
            Action::Explain { deployment } => {
                let cause = Explained::Nothing { why: "no traces".to_owned() };
                (4_000, Happened::Explained { deployment, cause, document: None }, Effect::None)
            }
            Action::Revert(order) => (5_000, Happened::Woke, Effect::Revert(order)),
            Action::Promote { deployment } => {
                (5_000, Happened::PromotionDone { deployment }, Effect::Promote)
            }
            Action::Remove { deployment } => {
                (3_000, Happened::Removed { deployment }, Effect::Remove)
            }
            Action::Notify(notification) => {
                let key = notification.key.clone();
                (2_000, Happened::Notified { key: key.clone(), given_up: None }, Effect::Told(key))
            }
        };
        let number = hash(&key);
        let mut takes = scenario.dice.between(after / 20, after, "takes", number);
        if scenario.dice.happens(0.03, "is late", number) {
            takes *= 10;
        }
        let reachable = match effect {
            Effect::Serve(_) => scenario.router_answers(self.now),
            Effect::Revert(_) => scenario.git_answers(self.now),
            Effect::None
            | Effect::Start(_)
            | Effect::Promote
            | Effect::Remove
            | Effect::Told(_) => self.now,
        };
        let answer = Item::Answer { key, what, effect };
        if scenario.dice.happens(0.05, "comes twice", number) {
            let again = scenario.dice.between(0, 5_000, "again after", number);
            self.enqueue(reachable + takes + again, twice(answer.clone()));
        }
        self.enqueue(reachable + takes, answer);
    }

    /// Stops what is no longer wanted.
    pub(super) fn withdraw(&mut self, action: &Action) {
        if matches!(action, Action::Measure { .. }) {
            self.measuring = None;
        }
        let unwanted = action.key();
        self.queue.retain(|_, item| !matches!(item, Item::Answer { key, .. } if *key == unwanted));
    }

    /// Serin dies: answers on their way are lost; `done` says whether the work was done nevertheless.
    pub(super) fn lose_answers(&mut self, scenario: &Scenario, mut done: impl FnMut(&str) -> bool) {
        self.measuring = None;
        let lost: Vec<_> = self
            .queue
            .extract_if(.., |_, item| matches!(item, Item::Answer { .. } | Item::Seen(_)))
            .collect();
        for (_, item) in lost {
            if let Item::Answer { key, what, effect } = item
                && done(&key)
            {
                let _ = self.apply(scenario, what, effect);
            }
        }
    }

    /// Lets an action take effect; its answer.
    pub(super) fn apply(
        &mut self,
        scenario: &Scenario,
        what: Happened,
        effect: Effect,
    ) -> Happened {
        match effect {
            Effect::None => {}
            Effect::Start(content) => {
                if self.canary.is_none() && matches!(what, Happened::Started { .. }) {
                    self.canary = Some((content, self.now));
                }
            }
            Effect::Serve(weight) => self.served = weight,
            Effect::Promote => {
                if let Some((content, _)) = self.canary.take() {
                    self.stable = content;
                }
                self.served = Weight::ZERO;
            }
            Effect::Remove => self.canary = None,
            Effect::Revert(order) => {
                let deployment = order.deployment.clone();
                return Happened::GitAnswered {
                    deployment,
                    outcome: self.revert(scenario, &order),
                };
            }
            Effect::Told(key) => {
                self.told.insert(key);
            }
        }
        what
    }

    fn revert(&mut self, scenario: &Scenario, order: &RevertOrder) -> GitOutcome {
        if let Some(only_show) = &order.only_show {
            let (why, needs_person) = (only_show.why.clone(), only_show.needs_person);
            return GitOutcome::NotWritten { why, patch: None, needs_person };
        }
        let number = hash(order.deployment.as_str());
        if scenario.dice.happens(0.08, "conflict", number) {
            return GitOutcome::Conflict { files: vec!["src/cart.rs".to_owned()] };
        }
        if scenario.dice.happens(0.15, "push race", number) && !self.raced {
            // Somebody else was faster; the revert goes on top of that.
            self.raced = true;
            self.branch.commit(HARMLESS, self.time());
        }
        self.branch.revert(order, self.time())
    }

    /// What a scrape says now.
    pub(super) fn scrape(&self, scenario: &Scenario) -> analysis::Scrape {
        let canary = self.canary.as_ref().map(|(content, since)| (content, *since));
        let mut loads = Vec::new();
        let requests = scenario.rate * SignedDuration::from_millis(SCRAPE).as_secs_f64();
        let mut load = |arm, share: f64, content: &Content, since: i64| {
            let age = (self.now - since) / 1_000;
            let truths = || self.branch.truths(content);
            let own: f64 = truths().filter(|t| t.onset <= age).map(|t: &Truth| t.errors).sum();
            let errors = 1.0
                - (1.0 - scenario.base_errors)
                    * (1.0 - own.min(1.0))
                    * (1.0 - scenario.incident(self.now));
            let tail = truths().map(|truth| truth.tail).fold(1.0, f64::max);
            loads.push((arm, Load { requests: requests * share, errors, tail }));
        };
        if let Some((content, since)) = canary {
            load(Arm::Canary, self.served.share(), content, since);
        }
        // The stable version runs for long.
        load(Arm::Baseline, self.served.rest().share(), &self.stable, i64::MIN / 2);
        let latency = self.policy.analysis.checks.len() > 1;
        traffic::scrape(scenario.dice, self.now, self.time(), latency, &loads)
    }
}

/// A second copy of an answer. What was done is not done twice, except where doing it again is the
/// point: a push that finds itself done already, and a message that is delivered twice.
fn twice(answer: Item) -> Item {
    let Item::Answer { key, what, effect } = answer else { return answer };
    let effect = match effect {
        Effect::Revert(_) | Effect::Told(_) => effect,
        Effect::None | Effect::Start(_) | Effect::Serve(_) | Effect::Promote | Effect::Remove => {
            Effect::None
        }
    };
    Item::Answer { key: format!("{key} again"), what, effect }
}

/// A number for a text, the same in every run.
pub(super) fn hash(text: &str) -> u64 {
    text.bytes().fold(0, |hash: u64, byte| hash.wrapping_mul(31).wrapping_add(u64::from(byte)))
}
