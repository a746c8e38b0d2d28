//! Everything that the machine may ask for. What is outstanding follows from the state alone, so a
//! restart asks for exactly what is missing; each action is therefore absolute or idempotent.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::commit::{Candidate, Release};
use crate::deployment::{DeploymentId, Finished};
use crate::state::Stage;
use crate::weight::Weight;

/// One thing to do. Two equal actions are the same one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Action {
    /// Run the first version of a service and give it all traffic. Answer: `Started`, `StartFailed`.
    Adopt {
        /// For which deployment.
        deployment: DeploymentId,
        /// What to run.
        candidate: Box<Candidate>,
    },
    /// Run the canary, without traffic. Answer: `Started`, `StartFailed`.
    Start {
        /// For which deployment.
        deployment: DeploymentId,
        /// What to run.
        candidate: Box<Candidate>,
    },
    /// Set the canary's share and confirm what the data plane serves. Answer: `Shifted`.
    Shift {
        /// For which deployment.
        deployment: DeploymentId,
        /// Counts the deployment's shifts.
        serial: u32,
        /// The share.
        weight: Weight,
    },
    /// Go on reading both arms' counters. Answers: `Observed`, `Unobserved`, again and again.
    Measure {
        /// For which deployment.
        deployment: DeploymentId,
    },
    /// Send `Woke` at this moment.
    WakeAt {
        /// When.
        at: Timestamp,
    },
    /// Look in traces for what made the canary worse, within some seconds. Answer: `Explained`.
    Explain {
        /// For which deployment.
        deployment: DeploymentId,
    },
    /// Undo the change in Git, with the evidence. Answer: `GitAnswered`.
    Revert(Box<RevertOrder>),
    /// Make the canary stable; drain and stop the old version. Answer: `PromotionDone`.
    Promote {
        /// For which deployment.
        deployment: DeploymentId,
    },
    /// Drain and stop the canary. Answer: `Removed`.
    Remove {
        /// For which deployment.
        deployment: DeploymentId,
    },
    /// Tell people. Answer: `Notified`.
    Notify(Box<Notification>),
}

impl Action {
    /// What sort of work it is, in one word.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Adopt { .. } => "adopt",
            Self::Start { .. } => "start",
            Self::Shift { .. } => "shift",
            Self::Measure { .. } => "measure",
            Self::WakeAt { .. } => "wake",
            Self::Explain { .. } => "explain",
            Self::Revert(_) => "revert",
            Self::Promote { .. } => "promote",
            Self::Remove { .. } => "remove",
            Self::Notify(_) => "notify",
        }
    }

    /// Names it within its service: two actions with one key are the same piece of work.
    pub fn key(&self) -> String {
        match self {
            Self::Adopt { deployment, .. } => format!("adopt:{deployment}"),
            Self::Start { deployment, .. } => format!("start:{deployment}"),
            Self::Shift { deployment, serial, .. } => format!("shift:{deployment}:{serial}"),
            Self::Measure { deployment } => format!("measure:{deployment}"),
            Self::WakeAt { at } => format!("wake:{at}"),
            Self::Explain { deployment } => format!("explain:{deployment}"),
            Self::Revert(order) => format!("revert:{}", order.deployment),
            Self::Promote { deployment } => format!("promote:{deployment}"),
            Self::Remove { deployment } => format!("remove:{deployment}"),
            Self::Notify(notification) => format!("notify:{}", notification.key),
        }
    }
}

/// What a revert needs to know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RevertOrder {
    /// For which deployment.
    pub deployment: DeploymentId,
    /// The version that failed.
    pub candidate: Candidate,
    /// Where to go back to.
    pub stable: Release,
    /// Why, in one sentence.
    pub reason: String,
    /// The numbers, one line each.
    pub evidence: Vec<String>,
    /// What traces say made the canary worse, one line each.
    #[serde(default)]
    pub cause: Vec<String>,
    /// The operations behind it as a table of text, a line each.
    #[serde(default)]
    pub table: Vec<String>,
    /// Addresses of the example traces.
    #[serde(default)]
    pub links: Vec<String>,
    /// 1 for the revert of a person's change, one more for each revert of a revert.
    pub generation: u32,
    /// When it was decided.
    pub decided: Timestamp,
    /// If not to be written: why. The answer then carries the patch.
    pub only_show: Option<OnlyShow>,
}

/// Why a revert is computed but not written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnlyShow {
    /// One sentence, no full stop.
    pub why: String,
    /// Whether a person must decide before the service deploys again.
    pub needs_person: bool,
}

/// One thing to tell people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Notification {
    /// Names it across retries and restarts.
    pub key: String,
    /// When it came up.
    pub at: Timestamp,
    /// Channels of the policy.
    pub notify: Vec<String>,
    /// What.
    pub news: News,
}

/// Why a deployment waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Occasion {
    /// A deadline passed without an answer.
    Inconclusive {
        /// From when the time was counted.
        asked: Timestamp,
    },
    /// An objective is breached.
    Breached,
    /// Undoing it is stuck at this stage and is tried again.
    Stuck(Stage),
}

impl Occasion {
    /// Names it within its deployment.
    pub fn key(self) -> String {
        match self {
            Self::Inconclusive { asked } => format!("inconclusive:{asked}"),
            Self::Breached => "breached".to_owned(),
            Self::Stuck(_) => "stuck".to_owned(),
        }
    }
}

/// What people are told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum News {
    /// A deployment ended.
    Ended(Box<Finished>),
    /// A deployment waits for a person.
    Waits {
        /// Which; the record as if it ended now.
        so_far: Box<Finished>,
        /// Why it waits.
        occasion: Occasion,
        /// What they should decide.
        ask: String,
    },
    /// A commit was not deployed.
    Refused {
        /// Which service.
        service: String,
        /// Which commit.
        commit: Box<crate::commit::Commit>,
        /// Why, one sentence.
        why: String,
    },
}
