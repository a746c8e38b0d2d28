//! Looks at every repository: fetches, reads the policies at the tip, and tells the driver what a
//! new tip means for each service. One loop for all; a repository that hangs delays only itself.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use git2::Oid;
use jiff::Timestamp;
use rollout::commit::ChangedFile;
use rollout::{Candidate, Commit, Happened, Policy, Revision};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::board::{Board, Glance};
use crate::clock::now;
use crate::driver::Inbox;
use crate::git::{CommitSummary, GitError, Mirror, Paths, PathsError, Touched, quarantined};

/// Longest time between two looks at a repository that cannot be reached.
const LONGEST_PAUSE: Duration = Duration::from_mins(5);

/// Commits of a range that a deployment remembers; the page links to the rest.
const COMMITS: usize = 50;

/// Files of a range that a deployment remembers.
const FILES: usize = 100;

/// One repository of the instance.
#[derive(Debug)]
pub struct Repository {
    /// Its name in `serin.yaml`.
    pub name: String,
    /// Its clone.
    pub mirror: Arc<Mirror>,
    /// Folder of the policies in it, e.g. `.serin`.
    pub policies: String,
    /// Between two looks.
    pub poll: Duration,
}

/// The loop over all repositories.
pub struct Watcher {
    repositories: Vec<Arc<Repository>>,
    inbox: Inbox,
    board: Arc<Board>,
    nudge: Arc<Notify>,
}

/// What one look at a repository found.
struct Look {
    repository: usize,
    found: Result<Found, GitError>,
}

#[derive(Default)]
struct Found {
    candidates: Vec<Candidate>,
    problems: Vec<String>,
}

#[derive(Debug, Clone, Copy)]
struct Due {
    at: Timestamp,
    failures: u32,
    busy: bool,
}

impl Watcher {
    /// A watcher; `nudge` makes it look at once, e.g. after a webhook or a revert.
    pub fn new(
        repositories: Vec<Arc<Repository>>,
        inbox: Inbox,
        board: Arc<Board>,
        nudge: Arc<Notify>,
    ) -> Self {
        Self { repositories, inbox, board, nudge }
    }

    /// Looks until the driver stops.
    pub async fn run(self) {
        let start = Due { at: now(), failures: 0, busy: false };
        let mut due = vec![start; self.repositories.len()];
        let mut looks = JoinSet::new();
        let mut owners = HashMap::new();
        // A nudge that came during a look is not lost: it asks for another one.
        let mut again = false;
        loop {
            let at = now();
            for (index, repository) in self.repositories.iter().enumerate() {
                if !due[index].busy && (again || due[index].at <= at) {
                    due[index].busy = true;
                    let (repository, board) = (repository.clone(), self.board.clone());
                    looks.spawn_blocking(move || Look {
                        repository: index,
                        found: look(&repository, &board),
                    });
                }
            }
            again = false;
            let next = due.iter().filter(|d| !d.busy).map(|d| d.at).min();
            tokio::select! {
                () = self.nudge.notified() => again = true,
                () = until(next) => {}
                Some(look) = looks.join_next() => match look {
                    Ok(look) => {
                        let index = look.repository;
                        due[index] = Self::next_look(due[index], &self.repositories[index], &look);
                        if self.report(look, &mut owners).await.is_err() {
                            return;
                        }
                    }
                    Err(error) => {
                        tracing::error!(error = &error as &dyn std::error::Error, "a look at a repository ended in a defect; please report it");
                        for due in &mut due {
                            due.busy = false;
                        }
                    }
                },
            }
        }
    }

    fn next_look(due: Due, repository: &Repository, look: &Look) -> Due {
        let failures = if look.found.is_ok() { 0 } else { due.failures.saturating_add(1) };
        let pause = repository
            .poll
            .saturating_mul(1 << failures.min(8))
            .min(LONGEST_PAUSE.max(repository.poll));
        Due { at: now().checked_add(pause).unwrap_or(Timestamp::MAX), failures, busy: false }
    }

    async fn report(
        &self,
        look: Look,
        owners: &mut HashMap<String, String>,
    ) -> Result<(), crate::driver::Stopped> {
        let repository = &self.repositories[look.repository];
        let mut found = match look.found {
            Err(error) => {
                let text = format!("{}; {}", crate::chain(&error), error.hint());
                self.trouble(repository, Some(text));
                return Ok(());
            }
            Ok(found) => found,
        };
        // Two repositories that are looked at together may name the same new service: the first
        // keeps it, though the driver may still have to take it in.
        let mut candidates = Vec::with_capacity(found.candidates.len());
        for candidate in found.candidates {
            let service = &candidate.policy.name;
            let owner = owners.entry(service.clone()).or_insert_with(|| repository.name.clone());
            if *owner == repository.name {
                candidates.push(candidate);
            } else {
                found.problems.push(taken(service, owner));
            }
        }
        let problems = (!found.problems.is_empty()).then(|| found.problems.join("\n"));
        self.trouble(repository, problems);
        for candidate in candidates {
            let service = candidate.policy.name.clone();
            let what = Happened::TipMoved { candidate: Box::new(candidate) };
            self.inbox.send(&service, what).await?;
        }
        Ok(())
    }

    /// Shows what is wrong with a repository; the log gets it once, not at every look.
    fn trouble(&self, repository: &Repository, what: Option<String>) {
        let part = format!("repository {}", repository.name);
        let known = self.board.troubles().into_iter().find(|(known, _, _)| *known == part);
        if let Some(what) = &what
            && known.is_none_or(|(_, _, known)| known != *what)
        {
            tracing::warn!(repository = repository.name, "{what}");
        }
        self.board.trouble(&part, what);
    }
}

/// One name in two repositories.
fn taken(service: &str, owner: &str) -> String {
    format!(
        "service {service} is deployed from repository {owner} already; give one of the two another name"
    )
}

async fn until(at: Option<Timestamp>) {
    match at {
        None => std::future::pending().await,
        Some(at) => {
            let left = at.duration_since(now()).try_into().unwrap_or(Duration::ZERO);
            tokio::time::sleep(left).await;
        }
    }
}

/// Fetches, and finds what is new for each service.
#[tracing::instrument(skip_all, fields(repository = repository.name))]
fn look(repository: &Repository, board: &Board) -> Result<Found, GitError> {
    let mut found = Found::default();
    let Some(tip) = repository.mirror.fetch()? else {
        found.problems.push("the branch has no commit yet; push one".to_owned());
        return Ok(found);
    };
    let revision = revision(tip.revision);
    let policies = policies(repository, tip.revision, board, &mut found)?;
    for (policy, problem) in policies {
        let glance = board.service(&policy.name);
        if let Some(other) =
            glance.as_ref().and_then(|g| g.repository.as_ref()).filter(|r| **r != repository.name)
        {
            found.problems.push(taken(&policy.name, other));
            continue;
        }
        if glance.as_ref().is_some_and(|g| g.seen.as_ref() == Some(&revision)) {
            continue;
        }
        match candidate(repository, tip.revision, policy, problem, glance.as_deref()) {
            Ok(new) => found.candidates.extend(new),
            Err(Trouble::Git(error)) => return Err(error),
            Err(Trouble::Paths(why)) => found.problems.push(why.to_string()),
        }
    }
    Ok(found)
}

/// A service's policy, and if it is an earlier one: why.
type Judged = (Arc<Policy>, Option<String>);

/// Every service's policy at the tip; for a broken one the last good, and why.
fn policies(
    repository: &Repository,
    tip: Oid,
    board: &Board,
    found: &mut Found,
) -> Result<Vec<Judged>, GitError> {
    let files = repository.mirror.read_folder(tip, &repository.policies)?;
    found.problems.extend(files.refused.iter().map(|(path, why)| format!("{path}: {why}")));
    let mut good: BTreeMap<String, Judged> = BTreeMap::new();
    let mut broken = Vec::new();
    for (path, text) in &files.files {
        if path.ends_with("/quarantine.yaml") {
            continue;
        }
        match crate::config::policies(path, text) {
            Ok(policies) => {
                for policy in policies {
                    let name = policy.name.clone();
                    let policy = (Arc::new(policy.watched_at_the_edge()), None);
                    if good.insert(name.clone(), policy).is_some() {
                        let what = "a second policy for service";
                        found.problems.push(format!("{path}: {what} {name}; the last one counts"));
                    }
                }
            }
            Err(problems) => {
                broken
                    .push(crate::config::render_problems(&problems, crate::config::Colour::Never));
            }
        }
    }
    if !broken.is_empty() {
        let why = broken.join("\n");
        // Whose policy a broken file was cannot be told: every known service of this repository
        // that has no good one now keeps its last.
        for glance in board.services() {
            if glance.repository.as_ref() == Some(&repository.name)
                && let Some(policy) = &glance.policy
            {
                let last = (policy.clone(), Some(why.clone()));
                good.entry(glance.service.clone()).or_insert(last);
            }
        }
        found.problems.push(why);
    }
    Ok(good.into_values().collect())
}

#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Git(#[from] GitError),
    #[error(transparent)]
    Paths(#[from] PathsError),
}

/// The tip as one service sees it; `None` if it is what the service saw last.
fn candidate(
    repository: &Repository,
    tip: Oid,
    policy: Arc<Policy>,
    policy_problem: Option<String>,
    glance: Option<&Glance>,
) -> Result<Option<Candidate>, Trouble> {
    let mirror = &repository.mirror;
    let paths = Paths::new(&policy.paths, &repository.policies)?;
    let irreversible = match policy.on_fail.irreversible.as_slice() {
        [] => None,
        some => Some(Paths::new(some, &repository.policies)?),
    };
    let content = mirror.content(tip, &paths)?;
    let stable = glance.and_then(|g| g.stable.as_ref());
    let from = stable.and_then(|s| Oid::from_str(s.verified.as_str()).ok());
    let rewritten = match from {
        Some(from) => !mirror.is_ancestor(from, tip)?,
        None => false,
    };
    let touched = match from {
        Some(from) if !rewritten => {
            Some(mirror.touched(from, tip, &paths, irreversible.as_ref())?)
        }
        Some(_) | None => None,
    };
    let head = mirror.commit(tip)?;
    let newest = touched.as_ref().and_then(|t| t.commits.iter().rev().find(|c| !c.merge()));
    let head = newest.unwrap_or(&head);
    let quarantine = match mirror.quarantine(tip, &repository.policies) {
        Ok(entries) => quarantined(&entries, &policy.name, tip, content).map(|entry| {
            let at = &entry.deployment;
            format!("it is in the quarantine list since deployment {at} ({}); remove its entry to try it again", entry.reason)
        }),
        Err(GitError::Quarantine { path, why }) => {
            tracing::warn!(path, why, "the quarantine list cannot be read and is left out");
            None
        }
        Err(error) => return Err(error.into()),
    };
    Ok(Some(Candidate {
        repository: repository.name.clone(),
        // The tip is what is deployed; the newest commit that touches the service is what people know.
        commit: Commit { revision: revision(tip), ..commit(head) },
        commits: touched.as_ref().map_or_else(Vec::new, newest_commits),
        more_commits: touched.as_ref().map_or(0, left_out),
        files: touched.iter().flat_map(|t| &t.files).take(FILES).map(changed).collect(),
        content: content.to_string(),
        policy,
        policy_problem,
        irreversible: touched.as_ref().map_or_else(Vec::new, |t| t.irreversible.clone()),
        security: touched.as_ref().is_some_and(|t| t.security.is_some()),
        rewritten,
        revert_generation: touched.as_ref().map_or(0, |t| t.generation),
        quarantined: quarantine,
    }))
}

/// The newest of a range, oldest first.
fn newest_commits(touched: &Touched) -> Vec<Commit> {
    let from = touched.commits.len().saturating_sub(COMMITS);
    touched.commits[from..].iter().map(commit).collect()
}

fn left_out(touched: &Touched) -> usize {
    touched.commits_left_out + touched.commits.len().saturating_sub(COMMITS)
}

fn changed(file: &crate::git::FileChange) -> ChangedFile {
    ChangedFile { path: file.path.clone(), added: file.added, removed: file.removed }
}

fn commit(summary: &CommitSummary) -> Commit {
    Commit {
        revision: revision(summary.revision),
        subject: summary.subject.clone(),
        author: summary.author.clone(),
        email: summary.email.clone(),
        committed: Timestamp::from_second(summary.committed_at).unwrap_or(Timestamp::UNIX_EPOCH),
    }
}

/// A Git object id as a revision.
///
/// # Panics
/// Never: libgit2 writes ids as 40 or 64 hex digits.
pub fn revision(oid: Oid) -> Revision {
    Revision::new(&oid.to_string()).expect("libgit2 writes ids as 40 or 64 hex digits")
}
