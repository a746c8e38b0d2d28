//! One attempt to take one commit to full traffic, and how it ended.

use std::fmt;

use analysis::Verdict;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::cause::Explained;
use crate::commit::{Candidate, Commit, Release, Revision};
use crate::plan::Plan;
use crate::weight::Weight;

/// `<service>-<short revision>-<attempt>`: derived, so that a replay names it alike.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeploymentId(String);

impl DeploymentId {
    /// The id of a service's `attempt`-th deployment.
    pub fn new(service: &str, revision: &Revision, attempt: u32) -> Self {
        Self(format!("{service}-{}-{attempt}", revision.short()))
    }

    /// An id that someone wrote, to be compared with known ones.
    pub fn from_text(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DeploymentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is deployed over what, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deployment {
    /// Its id.
    pub id: DeploymentId,
    /// The version on trial.
    pub canary: Candidate,
    /// The version that serves now.
    pub stable: Release,
    /// The steps.
    pub plan: Plan,
    /// When the machine began it.
    pub began: Timestamp,
}

/// How a deployment ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// The first version of a service, served without comparison.
    Adopted,
    /// It serves all traffic.
    Promoted,
    /// Traffic went back because the canary failed.
    RolledBack,
    /// Traffic went back because nothing was proven.
    Inconclusive,
    /// A person ended it.
    Aborted,
    /// A person reverted it in Git while it ran.
    RevertedByPerson,
    /// A newer commit took its place.
    Superseded,
    /// It could not be tried, for a reason that is not the version's fault.
    NotStarted,
}

impl Outcome {
    /// For people.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Adopted => "adopted",
            Self::Promoted => "promoted",
            Self::RolledBack => "rolled back",
            Self::Inconclusive => "rolled back as inconclusive",
            Self::Aborted => "aborted",
            Self::RevertedByPerson => "reverted by a person",
            Self::Superseded => "superseded",
            Self::NotStarted => "not started",
        }
    }
}

/// What became of the change in Git.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum GitOutcome {
    /// The revert is on the branch.
    Pushed {
        /// The revert commit.
        revision: Revision,
        /// Its first line.
        subject: String,
    },
    /// The revert waits on a branch of its own.
    Branch {
        /// The branch's name.
        name: String,
        /// The revert commit.
        revision: Revision,
    },
    /// Somebody, perhaps an earlier attempt of ours, had undone it.
    AlreadyDone {
        /// The commit that did, if it carries our trailer.
        revision: Option<Revision>,
    },
    /// Later changes touch the same lines: nothing was written.
    Conflict {
        /// The files.
        files: Vec<String>,
    },
    /// Not written, and why: policy, dry run, circuit breaker, irreversible change.
    NotWritten {
        /// One sentence, no full stop.
        why: String,
        /// What would have been written, bounded.
        patch: Option<String>,
        /// Whether a person must decide before the service deploys again.
        needs_person: bool,
    },
}

impl GitOutcome {
    /// Whether Git no longer holds the bad change.
    pub const fn undone(&self) -> bool {
        matches!(self, Self::Pushed { .. } | Self::AlreadyDone { .. })
    }

    /// One sentence for people, no full stop.
    pub fn sentence(&self) -> String {
        match self {
            Self::Pushed { revision, .. } => format!("reverted in Git by {}", revision.short()),
            Self::Branch { name, .. } => {
                format!("the revert waits on branch {name} for a person to merge")
            }
            Self::AlreadyDone { revision: Some(revision) } => {
                format!("Git was already reverted by {}", revision.short())
            }
            Self::AlreadyDone { revision: None } => {
                "the branch no longer contains the change".to_owned()
            }
            Self::Conflict { files } => format!(
                "not reverted in Git: later commits changed the same lines of {}; nothing was written",
                files.join(", ")
            ),
            Self::NotWritten { why, .. } => format!("not reverted in Git: {why}"),
        }
    }
}

/// The record of a deployment that is over: everything that people are told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finished {
    /// Its id.
    pub id: DeploymentId,
    /// The service.
    pub service: String,
    /// The version on trial.
    pub commit: Commit,
    /// Commits that were deployed with it, oldest first, bounded.
    pub commits: Vec<Commit>,
    /// The version that served before, if there was one.
    pub stable: Option<Release>,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, in one sentence without full stop.
    pub reason: String,
    /// The evidence at the decision.
    pub verdict: Option<Verdict>,
    /// The canary's weight at the decision.
    pub weight: Weight,
    /// Requests that the canary failed, as the checks counted them.
    pub canary_failures: u64,
    /// When it began.
    pub began: Timestamp,
    /// When the canary first got traffic.
    pub exposed: Option<Timestamp>,
    /// When it was decided how it ends.
    pub decided: Timestamp,
    /// When the data plane was confirmed to serve without the canary.
    pub traffic_back: Option<Timestamp>,
    /// What traces say made the canary worse, if they were looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Explained>,
    /// What became of the change in Git, if anything was to become of it.
    pub git: Option<GitOutcome>,
    /// When it was over.
    pub ended: Timestamp,
    /// Channels to tell.
    pub notify: Vec<String>,
}
