//! What is known of one service. Each phase owns just what is valid in it.

use std::collections::VecDeque;

use analysis::{Assessment, History, Verdict};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::action::{Notification, Occasion, RevertOrder};
use crate::cause::Explained;
use crate::commit::{Candidate, Release, Revision};
use crate::deployment::{Deployment, DeploymentId, GitOutcome, Outcome};
use crate::weight::Weight;

/// One service in one environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Its name.
    pub service: String,
    /// The version that serves; `None` until the first one runs.
    pub stable: Option<Release>,
    /// The deployment under way.
    pub live: Option<Box<Live>>,
    /// The newest commit that could not begin yet.
    pub waiting: Option<Box<Candidate>>,
    /// When the freeze ends that keeps `waiting` from beginning.
    pub frozen_until: Option<Timestamp>,
    /// The newest tip that was taken in; `None` asks the watcher to look at the tip afresh.
    pub seen: Option<Revision>,
    /// Why no deployment begins until a person resumes.
    pub hold: Option<Hold>,
    /// Content that was tried and did not stay; not tried again by itself.
    pub declined: Option<String>,
    /// When automatic reverts were written, oldest first, bounded.
    pub reverts: VecDeque<Timestamp>,
    /// Deployments begun so far.
    pub attempts: u32,
    /// What earlier deployments showed of the service's normal behaviour.
    pub history: History,
    /// What people have not been told yet.
    pub outbox: Vec<Notification>,
}

/// Why a service waits for a person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hold {
    /// One sentence.
    pub why: String,
    /// Since when.
    pub since: Timestamp,
    /// The revert that may be approved.
    pub revert: Option<Box<RevertOrder>>,
    /// A person approved it; it is being written.
    pub approved: bool,
}

/// A deployment under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Live {
    /// What and how.
    pub deployment: Deployment,
    /// Where it is.
    pub phase: Phase,
    /// The split that was asked for last, and whether the data plane confirmed it.
    pub shift: Shift,
    /// The evidence.
    pub assessment: Assessment,
    /// Held by a person.
    pub paused: Option<Pause>,
    /// Evidence of the newest scrape.
    pub verdict: Option<Verdict>,
    /// When the canary first got traffic.
    pub exposed: Option<Timestamp>,
    /// When a scrape last had canary requests in it.
    pub observed: Option<Timestamp>,
    /// When a scrape last had both arms in it, be it without requests.
    pub compared: Option<Timestamp>,
    /// Times that instances ended by themselves.
    pub exits: Exits,
    /// The newest trouble in reading counters, until one is read again.
    pub unobserved: Option<String>,
    /// Occasions on which people were told that it waits.
    pub told: Vec<Occasion>,
}

/// The split that was asked for last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shift {
    /// Counts the deployment's shifts.
    pub serial: u32,
    /// The canary's share.
    pub weight: Weight,
    /// When it was asked for; a step's stay counts from the confirmation, its deadline from here.
    pub asked: Timestamp,
    /// When the data plane was confirmed to serve it.
    pub confirmed: Option<Timestamp>,
}

/// Unexpected ends of instances during the deployment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exits {
    /// Of stable.
    pub stable: u32,
    /// Of the canary.
    pub canary: u32,
}

/// A person's hold on a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Who.
    pub by: String,
    /// Since when.
    pub since: Timestamp,
}

/// Where a deployment is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "camelCase")]
pub enum Phase {
    /// The first version of a service is being started.
    Adopting,
    /// The canary is being started, without traffic.
    Starting,
    /// Canary traffic at a step's weight.
    Progressing {
        /// Index from 0.
        step: usize,
        /// The deadline passed without an answer, and people were told.
        overdue: bool,
    },
    /// All traffic on the canary, the old version warm.
    Baking {
        /// Shown to have begun when the full weight was confirmed.
        since: Option<Timestamp>,
        /// The end passed without data, and people were told.
        overdue: bool,
    },
    /// The bake looked worse than the ramp: traffic is split again, to compare at the same moment.
    Comparing {
        /// Since when.
        since: Timestamp,
        /// When the bake had begun.
        baking_since: Option<Timestamp>,
        /// What looked worse.
        suspicion: String,
        /// The evidence since then: what the ramp showed says nothing about a canary that has
        /// changed, so going back to full weight needs proof of its own.
        again: Box<Assessment>,
        /// The time for it passed without an answer, and people were told.
        overdue: bool,
    },
    /// The canary is becoming stable.
    Promoting {
        /// When that was decided.
        decided: Timestamp,
        /// Why, in one sentence.
        reason: String,
    },
    /// Traffic, then Git, then the canary's removal.
    RollingBack(RollBack),
}

/// A deployment that is being undone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RollBack {
    /// How far it is.
    pub stage: Stage,
    /// How it will have ended.
    pub outcome: Outcome,
    /// Why, in one sentence.
    pub reason: String,
    /// The weight when it was decided.
    pub weight: Weight,
    /// When it was decided.
    pub decided: Timestamp,
    /// When the data plane was confirmed to serve without the canary.
    pub traffic_back: Option<Timestamp>,
    /// What traces say made the canary worse.
    #[serde(default)]
    pub cause: Option<Explained>,
    /// What became of the change in Git.
    pub git: Option<GitOutcome>,
    /// People were told that undoing takes longer than it should.
    pub told: bool,
}

/// The order in which a deployment is undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Stage {
    /// The weight goes to 0; nothing else is asked for before that is confirmed.
    Traffic,
    /// Traces are looked at, so that the revert can say what is to blame.
    Cause,
    /// The change is undone in Git.
    Git,
    /// The canary is drained and stopped.
    Removal,
}

impl State {
    /// A service of which nothing is known yet.
    pub fn new(service: &str) -> Self {
        Self {
            service: service.to_owned(),
            stable: None,
            live: None,
            waiting: None,
            frozen_until: None,
            seen: None,
            hold: None,
            declined: None,
            reverts: VecDeque::new(),
            attempts: 0,
            history: History::default(),
            outbox: Vec::new(),
        }
    }

    /// The id of the live deployment.
    pub fn live_id(&self) -> Option<&DeploymentId> {
        self.live.as_ref().map(|live| &live.deployment.id)
    }
}

impl Phase {
    /// For people: one or two words.
    pub const fn words(&self) -> &'static str {
        match self {
            Self::Adopting => "starting the first version",
            Self::Starting => "starting the canary",
            Self::Progressing { .. } => "progressing",
            Self::Baking { .. } => "baking",
            Self::Comparing { .. } => "comparing again",
            Self::Promoting { .. } => "promoting",
            Self::RollingBack(_) => "rolling back",
        }
    }
}
