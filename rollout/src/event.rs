//! Everything that can happen to a service. The journal of these is the database.

use analysis::{Arm, Scrape};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::cause::Explained;
use crate::commit::Candidate;
use crate::deployment::{DeploymentId, GitOutcome};
use crate::weight::Weight;

/// What happened, and when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When Serin learnt of it.
    pub at: Timestamp,
    /// What.
    pub what: Happened,
}

/// The closed set of events of one service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Happened {
    /// The branch has a new tip that matters to the service.
    TipMoved {
        /// The tip as the service sees it.
        candidate: Box<Candidate>,
    },
    /// A version runs and is healthy.
    Started {
        /// For which deployment.
        deployment: DeploymentId,
    },
    /// A version could not be started.
    StartFailed {
        /// For which deployment.
        deployment: DeploymentId,
        /// Why, with the last lines of its log.
        why: String,
        /// Whether the version is at fault rather than the machine.
        version_fault: bool,
    },
    /// A process or pod of a version ended by itself.
    Exited {
        /// For which deployment.
        deployment: DeploymentId,
        /// Which version.
        arm: Arm,
        /// How, with the last line of its log.
        how: String,
    },
    /// The data plane is confirmed to serve with this split.
    Shifted {
        /// For which deployment.
        deployment: DeploymentId,
        /// Which of its shifts.
        serial: u32,
        /// What it serves.
        weight: Weight,
    },
    /// The counters of both arms were read.
    Observed {
        /// For which deployment.
        deployment: DeploymentId,
        /// What they said.
        scrape: Scrape,
    },
    /// The counters could not be read, or only in part.
    Unobserved {
        /// For which deployment.
        deployment: DeploymentId,
        /// Why, for people.
        why: String,
    },
    /// The canary became stable and the old version is gone.
    PromotionDone {
        /// For which deployment.
        deployment: DeploymentId,
    },
    /// The change was undone in Git, or was not, for a reason that trying again does not mend.
    GitAnswered {
        /// For which deployment.
        deployment: DeploymentId,
        /// What became of it.
        outcome: GitOutcome,
    },
    /// Traces were looked at for what made the canary worse.
    Explained {
        /// For which deployment.
        deployment: DeploymentId,
        /// What came of it, in words.
        cause: Explained,
        /// The whole as JSON, for the page; bounded by who writes it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        document: Option<String>,
    },
    /// The canary is drained and gone.
    Removed {
        /// For which deployment.
        deployment: DeploymentId,
    },
    /// A notification was delivered, or given up for good.
    Notified {
        /// Which.
        key: String,
        /// Why it was given up, if it was.
        given_up: Option<String>,
    },
    /// An action failed and is tried again; for the record.
    Stumbled {
        /// For which deployment.
        deployment: DeploymentId,
        /// Which action and why, for people.
        what: String,
    },
    /// A person acted.
    Operated {
        /// Who, as far as known.
        by: String,
        /// What they asked for.
        order: Order,
    },
    /// A moment came that the machine had asked to be woken at.
    Woke,
}

/// What a person can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Order {
    /// Hold the weight; evidence accumulates and a failing canary still goes.
    Pause,
    /// Go on; also releases a service that waits for a person.
    Resume,
    /// To the next stage at once: full traffic, or the end of the bake.
    Promote,
    /// End it: traffic goes back, Git stays.
    Abort,
    /// Let a revert go ahead that waits for a person.
    Approve,
}

impl Order {
    /// For people.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Pause => "paused",
            Self::Resume => "resumed",
            Self::Promote => "promoted",
            Self::Abort => "aborted",
            Self::Approve => "approved",
        }
    }
}
