//! Undoes a deployment in Git: fetch, plan, commit, push, and again when somebody was faster.
//!
//! Safe to repeat after a crash at any point: nothing counts before the push, and a push that landed
//! without its answer coming back is found by the deployment's trailer on the next attempt. Time is
//! an argument, so the same request on the same tip makes the same commit.

use std::sync::Arc;

use git2::{Oid, Signature, Time};

use super::commit::{printable, short};
use super::error::{Cause, GitError};
use super::mirror::Mirror;
use super::paths::Paths;
use super::plan::RevertPlan;
use super::push::{Pushed, push};
use super::quarantine::Quarantining;

/// Most attempts when others keep pushing in between. A branch that moves five times within five
/// pushes is a case for trying again in a minute.
const ATTEMPTS: u32 = 5;

/// Everything that a revert needs to know.
#[derive(Debug, Clone)]
pub struct RevertRequest {
    /// The service, for people.
    pub service: String,
    /// The deployment's id: reverted at most once.
    pub deployment: String,
    /// The revision that failed.
    pub bad: Oid,
    /// The last verified revision, in the history of `bad`.
    pub verified: Oid,
    /// The service's files.
    pub paths: Paths,
    /// Why, in one sentence.
    pub reason: String,
    /// The numbers behind the reason, one fact a line.
    pub evidence: Vec<String>,
    /// What traces say made it worse, one fact a line.
    pub cause: Vec<String>,
    /// The operations behind it as lines of text of fixed width.
    pub table: Vec<String>,
    /// Hash of the stored evidence, `sha256:...`.
    pub evidence_hash: Option<String>,
    /// Addresses of pages about the deployment.
    pub links: Vec<String>,
    /// Whom the commit names as its author.
    pub author: Author,
    /// 1 unless a person has approved the revert of a revert: then one more than that one's.
    pub generation: u32,
    /// Seconds since 1970, of the decision.
    pub at: i64,
    /// Whether the version is entered in the quarantine list.
    pub quarantine: bool,
    /// Where the commit goes.
    pub destination: Destination,
}

/// Whom a commit names as its author and committer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    /// The name.
    pub name: String,
    /// The address.
    pub email: String,
}

/// Where a revert commit goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// To the watched branch.
    Branch,
    /// To a branch of its own, named after the deployment, for a person to merge.
    Review,
}

/// How a revert ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reverted {
    /// The watched branch has the revert.
    Pushed {
        /// The revert commit.
        revision: Oid,
        /// The tip that it was put on.
        parent: Oid,
        /// The first line of its message.
        subject: String,
        /// What became of the quarantine list.
        quarantine: Quarantining,
    },
    /// A branch for review has the revert.
    Branch {
        /// The branch, without `refs/heads/`.
        name: String,
        /// The revert commit.
        revision: Oid,
    },
    /// It had been done before: by this commit of Serin's, or by somebody.
    AlreadyDone {
        /// Serin's own revert of this deployment.
        commit: Option<Oid>,
    },
    /// Later commits changed the same lines; nothing was written.
    Conflict {
        /// The files concerned.
        files: Vec<String>,
    },
    /// It must not be done; nothing was written.
    Refused {
        /// Why, in one sentence.
        why: String,
    },
}

impl Mirror {
    /// Undoes a deployment in Git.
    ///
    /// # Errors
    /// [`GitError::transient`] says whether to try again later, which is always safe. On
    /// [`GitError::Rejected`] the branch is protected: ask for [`Destination::Review`] instead.
    pub fn revert(&self, ask: &RevertRequest) -> Result<Reverted, GitError> {
        self.revert_with(ask, |_| {})
    }

    /// [`Mirror::revert`] with a hook between plan and push, where tests let somebody else push.
    pub(super) fn revert_with(
        &self,
        ask: &RevertRequest,
        mut before_push: impl FnMut(u32),
    ) -> Result<Reverted, GitError> {
        let review = match ask.destination {
            Destination::Branch => None,
            Destination::Review => Some(review_branch(ask)),
        };
        for attempt in 1..=ATTEMPTS {
            let (tip, taken) = self.fetch_with(review.clone())?;
            if let (Some(name), Some(there)) = (&review, taken) {
                return self.found(ask, name, there);
            }
            let Some(tip) = tip else {
                return Ok(Reverted::Refused { why: "the branch has no commit any more".into() });
            };
            let (tree, parent, message, quarantine) = match self.plan_on(ask, tip.revision)? {
                RevertPlan::Clean { tree, parent, message, quarantine, .. } => {
                    (tree, parent, message, quarantine)
                }
                RevertPlan::AlreadyDone { commit } => return Ok(Reverted::AlreadyDone { commit }),
                RevertPlan::Conflict { files } => return Ok(Reverted::Conflict { files }),
                RevertPlan::Refused { why } => return Ok(Reverted::Refused { why }),
            };
            let revision = self.write(ask, tree, parent, &message)?;
            before_push(attempt);
            let (branch, expected) = match &review {
                Some(name) => (name.clone(), None),
                None => (self.remote.branch.clone(), Some(parent)),
            };
            match self.send(revision, &branch, expected)? {
                Pushed::Moved => {}
                Pushed::Refused(words) => return Err(GitError::Rejected { branch, words }),
                Pushed::Accepted => {
                    return Ok(match review {
                        Some(name) => Reverted::Branch { name, revision },
                        None => Reverted::Pushed {
                            revision,
                            parent,
                            subject: message.lines().next().unwrap_or_default().to_owned(),
                            quarantine,
                        },
                    });
                }
            }
        }
        let branch = review.unwrap_or_else(|| self.remote.branch.clone());
        Err(GitError::Contended { branch, attempts: ATTEMPTS })
    }

    /// What to say when the branch for review exists already.
    fn found(&self, ask: &RevertRequest, name: &str, there: Oid) -> Result<Reverted, GitError> {
        let ours = self
            .revert_of(there)?
            .is_some_and(|revert| revert.deployment == printable(&ask.deployment, 200));
        Ok(if ours {
            Reverted::Branch { name: name.to_owned(), revision: there }
        } else {
            Reverted::Refused {
                why: format!("there is a branch `{name}` already, and it is not this revert"),
            }
        })
    }

    /// Writes the commit into the mirror, where it counts for nothing yet.
    fn write(
        &self,
        ask: &RevertRequest,
        tree: Oid,
        parent: Oid,
        message: &str,
    ) -> Result<Oid, GitError> {
        let repository = self.repository()?;
        let commit = || {
            let who = signature(&ask.author, ask.at)?;
            let parent = repository.find_commit(parent)?;
            let tree = repository.find_tree(tree)?;
            repository.commit(None, &who, &who, message, &tree, &[&parent])
        };
        commit().map_err(|error| self.broken(&error))
    }

    fn send(&self, revision: Oid, branch: &str, expected: Option<Oid>) -> Result<Pushed, GitError> {
        let (dir, remote, branch) = (self.dir.clone(), self.remote.clone(), branch.to_owned());
        self.line.run(&self.remote, move |pulse| {
            let repository =
                git2::Repository::open_bare(&dir).map_err(|error| GitError::Mirror {
                    url: remote.shown(),
                    dir: dir.clone(),
                    cause: Cause::of_git(&remote, &error),
                })?;
            push(&repository, &remote, revision, &branch, expected, &Arc::clone(pulse))
        })
    }
}

/// A signature that Git accepts, whatever the configured name holds.
fn signature(author: &Author, at: i64) -> Result<Signature<'static>, git2::Error> {
    let clean = |text: &str, otherwise: &str| {
        let text = printable(&text.replace(['<', '>'], ""), 100);
        if text.is_empty() { otherwise.to_owned() } else { text }
    };
    let (name, email) = (clean(&author.name, "Serin"), clean(&author.email, "serin@localhost"));
    Signature::new(&name, &email, &Time::new(at, 0))
}

/// The branch for review of a revert: the same for the same deployment, and a legal name.
fn review_branch(ask: &RevertRequest) -> String {
    let clean = |text: &str| {
        let text: String = text
            .chars()
            .map(|sign| if sign.is_ascii_alphanumeric() || sign == '_' { sign } else { '-' })
            .take(60)
            .collect();
        text.trim_matches('-').to_owned()
    };
    format!("revert/{}-{}-{}", clean(&ask.service), short(ask.bad), clean(&ask.deployment))
}
