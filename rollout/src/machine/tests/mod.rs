//! The machine's rules, each as a small test named after the fact.
//!
//! A [`Rig`] is one service with a clock and a journal: tests tell it what happens and look at what
//! the machine asks for, says and ends.

mod endings;
mod freshness;
mod gate;
mod people;
mod properties;
mod ramp;
mod tips;

use std::sync::Arc;
use std::time::Duration;

use analysis::{Arm, Check, Observation, Sample, Scrape, Settings, Test};
use jiff::Timestamp;

use super::{outstanding, transition};
use crate::action::Action;
use crate::cause::Explained;
use crate::commit::{Candidate, Commit, Revision};
use crate::deployment::{DeploymentId, Finished, GitOutcome, Outcome};
use crate::event::{Event, Happened, Order};
use crate::policy::{
    Metrics, OnFail, OnInconclusive, Policy, ProcessTarget, ProxyRoute, Revert, Router, StepPolicy,
    Steps, Target,
};
use crate::state::{Phase, Stage, State};
use crate::weight::Weight;

/// Content of the version that serves when a test begins.
const STABLE: &str = "content of version 1";

/// One service, told step by step what happens.
struct Rig {
    state: State,
    now: Timestamp,
    events: Vec<Event>,
    reasons: Vec<String>,
    finished: Vec<Finished>,
    policy: Policy,
}

/// What one event led to; the rest is in the rig.
#[derive(Debug)]
struct Moved {
    actions: Vec<Action>,
    withdrawn: Vec<Action>,
    reason: Option<String>,
}

impl Rig {
    /// Version 1 serves; what it took to get there is forgotten.
    fn new() -> Self {
        Self::with(policy())
    }

    fn with(policy: Policy) -> Self {
        let mut rig = Self::empty(policy);
        rig.tip(1);
        rig.started();
        rig.deliver();
        rig.reasons.clear();
        rig.finished.clear();
        rig
    }

    /// Nothing serves yet.
    fn empty(policy: Policy) -> Self {
        Self {
            state: State::new("checkout"),
            now: "2026-03-01T12:00:00Z".parse().unwrap(),
            events: Vec::new(),
            reasons: Vec::new(),
            finished: Vec::new(),
            policy,
        }
    }

    fn happen(&mut self, what: Happened) -> Moved {
        let event = Event { at: self.now, what };
        let moved = transition(self.state.clone(), &event);
        self.events.push(event);
        self.state = moved.state;
        self.reasons.extend(moved.reason.clone());
        self.finished.extend(moved.finished);
        Moved { actions: moved.actions, withdrawn: moved.withdrawn, reason: moved.reason }
    }

    fn wait(&mut self, seconds: i64) -> &mut Self {
        self.now += jiff::SignedDuration::from_secs(seconds);
        self
    }

    fn id(&self) -> DeploymentId {
        self.state.live_id().cloned().expect("a deployment is live")
    }

    fn tip(&mut self, version: u8) -> Moved {
        let candidate = self.candidate(version);
        self.tip_of(candidate)
    }

    fn tip_of(&mut self, candidate: Candidate) -> Moved {
        self.happen(Happened::TipMoved { candidate: Box::new(candidate) })
    }

    fn candidate(&self, version: u8) -> Candidate {
        candidate(version, &self.policy)
    }

    fn started(&mut self) -> Moved {
        let deployment = self.id();
        self.happen(Happened::Started { deployment })
    }

    /// The data plane confirms the split that was asked for last.
    fn confirm(&mut self) -> Moved {
        let live = self.state.live.as_ref().expect("a deployment is live");
        let (serial, weight) = (live.shift.serial, live.shift.weight);
        let deployment = self.id();
        self.happen(Happened::Shifted { deployment, serial, weight })
    }

    /// A second later: `(errors, requests)` of the canary and of the baseline.
    fn scrape(&mut self, canary: (u64, u64), baseline: (u64, u64)) -> Moved {
        self.wait(1);
        let scrape = scrape(self.now, canary, baseline);
        let deployment = self.id();
        self.happen(Happened::Observed { deployment, scrape })
    }

    /// So many good requests that any weight is allowed.
    fn good(&mut self) -> Moved {
        self.scrape((0, 20_000), (0, 20_000))
    }

    /// Far worse than tolerated.
    fn bad(&mut self) -> Moved {
        self.scrape((200, 1_000), (0, 1_000))
    }

    /// Too few requests to say anything.
    fn little(&mut self) -> Moved {
        self.scrape((0, 2), (0, 20))
    }

    fn silence(&mut self) -> Moved {
        self.wait(1);
        let deployment = self.id();
        self.happen(Happened::Unobserved { deployment, why: "the provider hangs".to_owned() })
    }

    fn woke(&mut self) -> Moved {
        self.happen(Happened::Woke)
    }

    fn order(&mut self, order: Order) -> Moved {
        self.happen(Happened::Operated { by: "alice".to_owned(), order })
    }

    /// Zero is confirmed, and traces are looked at where that is asked for.
    fn back(&mut self) -> Moved {
        let moved = self.confirm();
        if asks(&moved, "explain:") { self.explained() } else { moved }
    }

    /// Traces say nothing.
    fn explained(&mut self) -> Moved {
        let deployment = self.id();
        let cause = Explained::Nothing { why: "no traces arrive".to_owned() };
        self.happen(Happened::Explained { deployment, cause, document: None })
    }

    fn git(&mut self, outcome: GitOutcome) -> Moved {
        if let Some(Phase::RollingBack(back)) = self.state.live.as_ref().map(|live| &live.phase)
            && back.stage == Stage::Cause
        {
            let _ = self.explained();
        }
        let deployment = self.id();
        self.happen(Happened::GitAnswered { deployment, outcome })
    }

    fn removed(&mut self) -> Moved {
        let deployment = self.id();
        self.happen(Happened::Removed { deployment })
    }

    /// Every notification arrives.
    fn deliver(&mut self) {
        for key in self.state.outbox.iter().map(|n| n.key.clone()).collect::<Vec<_>>() {
            self.happen(Happened::Notified { key, given_up: None });
        }
    }

    /// To the first step's weight, confirmed.
    fn on_first_step(mut self) -> Self {
        self.tip(2);
        self.started();
        self.confirm();
        self
    }

    /// To full traffic, confirmed.
    fn in_bake(mut self) -> Self {
        self = self.on_first_step();
        while self.weight() != Weight::FULL {
            self.good();
            self.confirm();
        }
        self
    }

    /// From a failing verdict to the end of the deployment.
    fn fail_and_undo(&mut self, outcome: GitOutcome) {
        self.bad();
        self.confirm();
        self.git(outcome);
        self.removed();
    }

    fn phase(&self) -> &Phase {
        &self.state.live.as_ref().expect("a deployment is live").phase
    }

    fn weight(&self) -> Weight {
        self.state.live.as_ref().expect("a deployment is live").shift.weight
    }

    fn keys(&self) -> Vec<String> {
        outstanding(&self.state).iter().map(Action::key).collect()
    }

    /// Whether something of this kind is asked for and unanswered.
    fn wants(&self, kind: &str) -> bool {
        self.keys().iter().any(|key| key.starts_with(kind))
    }

    fn last(&self) -> &str {
        self.reasons.last().map_or("", String::as_str)
    }

    fn outcome(&self) -> Option<Outcome> {
        self.finished.last().map(|f| f.outcome)
    }
}

fn asks(moved: &Moved, kind: &str) -> bool {
    moved.actions.iter().any(|action| action.key().starts_with(kind))
}

fn revision(version: u8) -> Revision {
    Revision::new(&format!("{version:02x}").repeat(20)).unwrap()
}

fn percent(weight: u16) -> Weight {
    Weight::from_basis_points(weight * 100).unwrap()
}

fn pushed() -> GitOutcome {
    GitOutcome::Pushed { revision: revision(0xee), subject: "Revert".to_owned() }
}

fn not_written(needs_person: bool) -> GitOutcome {
    GitOutcome::NotWritten { why: "said so".to_owned(), patch: None, needs_person }
}

fn scrape(at: Timestamp, canary: (u64, u64), baseline: (u64, u64)) -> Scrape {
    let of = |arm, (events, of): (u64, u64)| Observation {
        arm,
        instance: "one".to_owned(),
        check: "errors".to_owned(),
        stratum: None,
        sample: Sample::Events { events, of },
    };
    let observations = vec![of(Arm::Canary, canary), of(Arm::Baseline, baseline)];
    Scrape { at, observations }
}

fn candidate(version: u8, policy: &Policy) -> Candidate {
    let content =
        if version == 1 { STABLE.to_owned() } else { format!("content of version {version}") };
    let commit = Commit {
        revision: revision(version),
        subject: format!("Version {version}"),
        author: "Ada".to_owned(),
        email: "ada@example.org".to_owned(),
        committed: Timestamp::UNIX_EPOCH,
    };
    Candidate {
        repository: "shop".to_owned(),
        commits: vec![commit.clone()],
        commit,
        more_commits: 0,
        files: Vec::new(),
        content,
        policy: Arc::new(policy.clone()),
        policy_problem: None,
        irreversible: Vec::new(),
        security: false,
        rewritten: false,
        revert_generation: 0,
        quarantined: None,
    }
}

/// Steps of 10 % and 50 % of at most ten minutes each, a bake of one minute, one check of errors.
fn policy() -> Policy {
    let step = |points| StepPolicy {
        weight: percent(points),
        at_least: Duration::ZERO,
        deadline: Duration::from_secs(600),
    };
    Policy {
        name: "checkout".to_owned(),
        paths: vec!["**".to_owned()],
        target: Target::Process(ProcessTarget {
            command: vec!["serve".to_owned()],
            environment: std::collections::BTreeMap::default(),
            working_directory: None,
            health_path: "/".to_owned(),
            start_timeout: Duration::from_secs(30),
            stop_grace: Duration::from_secs(5),
            instances: 1,
        }),
        router: Router::Proxy(ProxyRoute {
            listen: "127.0.0.1:8080".to_owned(),
            timeout: Duration::from_secs(15),
            sticky_cookie: None,
            testers: None,
            upstream_http2: false,
        }),
        metrics: Metrics::Proxy,
        sources: std::collections::BTreeMap::new(),
        journeys: Vec::new(),
        traces: crate::policy::Traces::default(),
        steps: Steps::ByHand(vec![step(10), step(50)]),
        bake: Duration::from_secs(60),
        analysis: Settings {
            false_alarm: 0.01,
            false_promotion: 0.05,
            harm: 0.001,
            latency_harm: 0.01,
            checks: vec![Check::new("errors", Test::Errors { ratio: 1.25, absolute: 0.001 })],
        },
        on_fail: OnFail { revert: Revert::Push, limits: Vec::new(), irreversible: Vec::new() },
        on_inconclusive: OnInconclusive::Hold,
        freezes: Vec::new(),
        notify: vec!["deploys".to_owned()],
    }
}

/// A policy with its steps' shortest stay and what a deadline does set.
fn steps(at_least: u64, on_inconclusive: OnInconclusive) -> Policy {
    let mut policy = policy();
    if let Steps::ByHand(steps) = &mut policy.steps {
        for step in steps {
            step.at_least = Duration::from_secs(at_least);
        }
    }
    policy.on_inconclusive = on_inconclusive;
    policy
}
