//! Commits as the rollout sees them: what changed, who changed it, and what the service would become.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::policy::Policy;

/// A full commit hash, 40 or 64 lower-case hex digits; never a branch name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Revision(Arc<str>);

/// Text that is no full commit hash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a revision is 40 or 64 hex digits, got {0:?}; write the full hash")]
pub struct RevisionError(String);

impl Revision {
    /// From a full hash.
    ///
    /// # Errors
    /// Anything but 40 or 64 hex digits.
    pub fn new(hash: &str) -> Result<Self, RevisionError> {
        let hex = hash.bytes().all(|b| b.is_ascii_hexdigit());
        if hex && (hash.len() == 40 || hash.len() == 64) {
            Ok(Self(hash.to_ascii_lowercase().into()))
        } else {
            Err(RevisionError(hash.chars().take(80).collect()))
        }
    }

    /// The whole hash.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first seven digits, for people.
    pub fn short(&self) -> &str {
        &self.0[..7]
    }
}

impl TryFrom<String> for Revision {
    type Error = RevisionError;
    fn try_from(hash: String) -> Result<Self, RevisionError> {
        Self::new(&hash)
    }
}

impl From<Revision> for String {
    fn from(revision: Revision) -> Self {
        revision.0.as_ref().to_owned()
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One Git commit on the watched branch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// Its hash.
    pub revision: Revision,
    /// First line of the message.
    pub subject: String,
    /// Author's name.
    pub author: String,
    /// Author's e-mail address.
    pub email: String,
    /// When it was committed.
    pub committed: Timestamp,
}

/// How much one file changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedFile {
    /// Path in the repository.
    pub path: String,
    /// Lines added.
    pub added: usize,
    /// Lines removed.
    pub removed: usize,
}

/// The branch tip as one service sees it: everything that a deployment of it needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Name of the repository in the instance's settings.
    pub repository: String,
    /// The tip.
    pub commit: Commit,
    /// Commits since the verified revision that touch the service's paths, oldest first, bounded.
    pub commits: Vec<Commit>,
    /// Further commits beyond the bound of `commits`.
    pub more_commits: usize,
    /// What they changed in the service's paths, bounded.
    pub files: Vec<ChangedFile>,
    /// Hash over the service's files: equal content is nothing to deploy.
    pub content: String,
    /// The policy that judges it.
    pub policy: Arc<Policy>,
    /// Why the tip's own policy could not be used and an earlier one judges.
    pub policy_problem: Option<String>,
    /// Changed files that an automatic revert must not undo (migrations, schemas).
    pub irreversible: Vec<String>,
    /// A message names a security fix, which is never reverted without a person.
    pub security: bool,
    /// The branch was rewritten: the verified revision is not an ancestor of the tip.
    pub rewritten: bool,
    /// If the tip is a revert of Serin's own: how many automatic reverts led to it.
    pub revert_generation: u32,
    /// Why this version must not be deployed, when the quarantine list names it.
    pub quarantined: Option<String>,
}

impl Candidate {
    /// The revision to deploy.
    pub fn revision(&self) -> &Revision {
        &self.commit.revision
    }
}

/// A version that serves or served all traffic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Release {
    /// Name of the repository in the instance's settings.
    pub repository: String,
    /// The revision that runs.
    pub revision: Revision,
    /// The newest commit known to have the same content; where a revert goes back to.
    pub verified: Revision,
    /// Hash over the service's files.
    pub content: String,
    /// First line of the message.
    pub subject: String,
    /// The policy that it was deployed with: how it runs, and the last good one if a later is broken.
    pub policy: Arc<Policy>,
}
