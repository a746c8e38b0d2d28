//! What a new tip means for each service: nothing, news, or the return of what was there before.
//!
//! Pure decisions over the mirror's objects. Polling, timers and webhooks are the driver's.

use git2::{Commit, Oid, Repository};

use super::changes::{Touched, range, touched};
use super::commit::{CommitSummary, RevertTrailers, summary};
use super::content::{Fingerprint, fingerprint};
use super::error::GitError;
use super::mirror::{Mirror, contains};
use super::paths::Paths;
use super::quarantine::{QuarantineEntry, quarantined};
use super::tree::{Scope, differ};

/// How the branch's tip stands to the version under test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Relation {
    /// It holds the same files of the service: nothing to do.
    Same,
    /// It holds the stable version's files again: the change under test was taken back.
    BackToStable(Reverter),
    /// It holds something else: a newer version.
    Newer,
}

/// Who took a change back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reverter {
    /// Serin, by this commit.
    Serin {
        /// The revert commit.
        revision: Oid,
        /// What it says about itself.
        trailers: RevertTrailers,
    },
    /// A person or a bot, by this commit.
    Person(Box<CommitSummary>),
    /// A rewrite of the branch, which leaves no commit.
    Rewritten,
}

/// A service to look at.
#[derive(Debug, Clone, Copy)]
pub struct Watched<'a> {
    /// Its name.
    pub service: &'a str,
    /// Its files.
    pub paths: &'a Paths,
    /// Patterns of files whose changes must not be reverted automatically.
    pub irreversible: Option<&'a Paths>,
    /// The revision that was last deployed or is being deployed, if any.
    pub deployed: Option<Oid>,
}

/// A service whose files a new tip changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceChange {
    /// Its name.
    pub service: String,
    /// The tip, which is what would be deployed.
    pub revision: Oid,
    /// The fingerprint of its files there.
    pub content: Fingerprint,
    /// What changed since the deployed revision, when there is one in the branch's history.
    pub touched: Option<Touched>,
    /// The newest commit that changes the service, whose author is told.
    pub commit: CommitSummary,
    /// The entry of the quarantine list that forbids the version.
    pub quarantined: Option<QuarantineEntry>,
}

impl Mirror {
    /// How `tip` stands to the version under test and to the stable one, as to a service's files.
    ///
    /// # Errors
    /// When the mirror does not hold one of the revisions.
    pub fn relation(
        &self,
        live: Oid,
        stable: Oid,
        tip: Oid,
        paths: &Paths,
    ) -> Result<Relation, GitError> {
        let repository = self.repository()?;
        let [live, stable, tip] =
            [live, stable, tip].map(|revision| self.find(&repository, revision));
        relation(&repository, &live?, &stable?, &tip?, paths).map_err(|error| self.broken(&error))
    }

    /// The services, among those given, whose files at `tip` differ from what was deployed.
    ///
    /// `quarantine` is the list at the tip ([`Mirror::quarantine`]), or what the journal knows of it.
    ///
    /// # Errors
    /// When the mirror does not hold the tip. A deployed revision that is gone counts as none.
    pub fn changes(
        &self,
        tip: Oid,
        services: &[Watched<'_>],
        quarantine: &[QuarantineEntry],
    ) -> Result<Vec<ServiceChange>, GitError> {
        let repository = self.repository()?;
        let tip = self.find(&repository, tip)?;
        services
            .iter()
            .filter_map(|service| change(&repository, &tip, service, quarantine).transpose())
            .collect::<Result<_, _>>()
            .map_err(|error| self.broken(&error))
    }
}

fn relation(
    repository: &Repository,
    live: &Commit<'_>,
    stable: &Commit<'_>,
    tip: &Commit<'_>,
    paths: &Paths,
) -> Result<Relation, git2::Error> {
    let scope = Scope::Only(paths);
    let tree = tip.tree()?;
    if !differ(repository, Some(&live.tree()?), Some(&tree), scope)? {
        return Ok(Relation::Same);
    }
    if differ(repository, Some(&stable.tree()?), Some(&tree), scope)? {
        return Ok(Relation::Newer);
    }
    if !contains(repository, tip.id(), live.id())? {
        return Ok(Relation::BackToStable(Reverter::Rewritten));
    }
    Ok(Relation::BackToStable(match newest(repository, live.id(), tip.id(), paths)? {
        None => Reverter::Rewritten,
        Some(commit) => match commit.revert() {
            Some(trailers) => Reverter::Serin { revision: commit.revision, trailers },
            None => Reverter::Person(Box::new(commit)),
        },
    }))
}

/// The newest commit after `from` that changes the service, a merge only if nothing below it does.
fn newest(
    repository: &Repository,
    from: Oid,
    to: Oid,
    paths: &Paths,
) -> Result<Option<CommitSummary>, git2::Error> {
    let mut merge = None;
    for id in range(repository, from, to)?.0 {
        let commit = repository.find_commit(id)?;
        let parent = commit.parents().next().map(|parent| parent.tree()).transpose()?;
        if !differ(repository, parent.as_ref(), Some(&commit.tree()?), Scope::Only(paths))? {
            continue;
        }
        let commit = summary(&commit);
        if commit.merge() {
            merge.get_or_insert(commit);
        } else {
            return Ok(Some(commit));
        }
    }
    Ok(merge)
}

fn change(
    repository: &Repository,
    tip: &Commit<'_>,
    service: &Watched<'_>,
    quarantine: &[QuarantineEntry],
) -> Result<Option<ServiceChange>, git2::Error> {
    let tree = tip.tree()?;
    let deployed = service.deployed.and_then(|revision| repository.find_commit(revision).ok());
    let before = deployed.as_ref().map(Commit::tree).transpose()?;
    if !differ(repository, before.as_ref(), Some(&tree), Scope::Only(service.paths))? {
        return Ok(None);
    }
    let content = fingerprint(repository, &tree, service.paths)?;
    let touched = match &deployed {
        Some(deployed) if contains(repository, tip.id(), deployed.id())? => {
            Some(touched(repository, deployed.id(), tip.id(), service.paths, service.irreversible)?)
        }
        Some(_) | None => None,
    };
    let commit = touched
        .as_ref()
        .and_then(|touched| touched.commits.iter().rev().find(|commit| !commit.merge()))
        .cloned()
        .unwrap_or_else(|| summary(tip));
    Ok(Some(ServiceChange {
        service: service.service.to_owned(),
        revision: tip.id(),
        content,
        touched,
        commit,
        quarantined: quarantined(quarantine, service.service, tip.id(), content).cloned(),
    }))
}
