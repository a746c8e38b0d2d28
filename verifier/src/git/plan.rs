//! Works out the commit that undoes a deployment, without writing it anywhere that counts.
//!
//! It is a three-way merge inside libgit2, with the bad tree as the common ancestor, the branch's tip
//! as one side, and as the other the bad tree with the service's files put back as they were when last
//! verified. So a deploy of one commit, a merge, a squash or many commits are all the same case, and
//! what came later survives. The result is then checked against its two sides: a merge with renames
//! may surprise, and a surprise must reach a person, not the branch.

use std::collections::BTreeSet;

use git2::build::TreeUpdateBuilder;
use git2::{Commit, FileMode, Index, IndexEntry, IndexTime, MergeOptions, Oid, Repository, Tree};

use super::changes::{patch, range, touched};
use super::commit::{DEPLOYMENT, printable, short, trailers};
use super::content::fingerprint;
use super::error::GitError;
use super::message::message;
use super::mirror::{Mirror, contains};
use super::quarantine::{QuarantineEntry, Quarantining, read, with_entry};
use super::revert::RevertRequest;
use super::tree::{Difference, Scope, differences, file_at};

/// Most bytes of a plan's patch: enough to read, little enough to send.
const PATCH_LIMIT: usize = 64 * 1024;

/// Most files that are named.
const FILES: usize = 100;

/// What a revert would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RevertPlan {
    /// It is possible.
    Clean {
        /// The tree of the commit.
        tree: Oid,
        /// Its parent: the branch's tip that was analysed.
        parent: Oid,
        /// Its whole message.
        message: String,
        /// Its changes as a patch, cut at 64 KiB.
        patch: String,
        /// The files that it changes, at most 100, without the quarantine list.
        files: Vec<String>,
        /// What becomes of the quarantine list.
        quarantine: Quarantining,
    },
    /// It has been done: by this commit of Serin's, or by somebody, when there is no commit to name.
    AlreadyDone {
        /// Serin's own revert of this deployment.
        commit: Option<Oid>,
    },
    /// Later commits changed the same lines: a person must decide. Nothing is written.
    Conflict {
        /// The files concerned, at most 100.
        files: Vec<String>,
    },
    /// It must not be done.
    Refused {
        /// Why, in one sentence.
        why: String,
    },
}

impl Mirror {
    /// Works out a revert on the tip that the last fetch saw, and writes nothing.
    ///
    /// # Errors
    /// When the mirror cannot be read or does not hold the revisions; fetch, then ask again.
    pub fn plan_revert(&self, ask: &RevertRequest) -> Result<RevertPlan, GitError> {
        match self.last_tip()? {
            Some(tip) => self.plan_on(ask, tip),
            None => Ok(refused("the branch has no commit yet")),
        }
    }

    /// Works out a revert on a given tip.
    pub(super) fn plan_on(&self, ask: &RevertRequest, tip: Oid) -> Result<RevertPlan, GitError> {
        let repository = self.repository()?;
        let tip = self.find(&repository, tip)?;
        let bad = self.find(&repository, ask.bad)?;
        let verified = self.find(&repository, ask.verified)?;
        plan(&repository, ask, &tip, &bad, &verified).map_err(|error| self.broken(&error))
    }
}

fn refused(why: impl Into<String>) -> RevertPlan {
    RevertPlan::Refused { why: why.into() }
}

fn plan(
    repository: &Repository,
    ask: &RevertRequest,
    tip: &Commit<'_>,
    bad: &Commit<'_>,
    verified: &Commit<'_>,
) -> Result<RevertPlan, git2::Error> {
    let (bad_short, verified_short) = (short(ask.bad), short(ask.verified));
    if !contains(repository, tip.id(), bad.id())? {
        return Ok(refused(format!(
            "the branch no longer contains {bad_short}: it was rewritten, and nothing on it is to be undone"
        )));
    }
    if !contains(repository, bad.id(), verified.id())? {
        return Ok(refused(format!(
            "{verified_short} is not in the history of {bad_short}: the branch was rewritten, and a \
             revert would bring back what was removed from it"
        )));
    }
    // As the trailer writes it.
    let deployment = printable(&ask.deployment, 200);
    if deployment.is_empty() {
        return Ok(refused("the deployment has no id, so that its revert could not be recognised"));
    }
    let (later, cut) = range(repository, bad.id(), tip.id())?;
    for id in &later {
        let found = trailers(repository.find_commit(*id)?.message_bytes());
        if found.iter().any(|(key, value)| key == DEPLOYMENT && *value == deployment) {
            return Ok(RevertPlan::AlreadyDone { commit: Some(*id) });
        }
    }
    if cut {
        return Ok(refused(format!("too many commits came after {bad_short} to revert it safely")));
    }
    let changes = touched(repository, verified.id(), bad.id(), &ask.paths, None)?;
    if changes.generation >= ask.generation {
        return Ok(refused(format!(
            "the change is itself a revert by Serin (generation {}), so the cause lies elsewhere: a \
             person must decide",
            changes.generation
        )));
    }
    let (tip_tree, bad_tree, verified_tree) = (tip.tree()?, bad.tree()?, verified.tree()?);
    let undo = differences(repository, &bad_tree, &verified_tree, Scope::Only(&ask.paths))?;
    if undo.is_empty() {
        return Ok(refused(format!(
            "{bad_short} holds the same files of {} as {verified_short}: there is nothing to undo",
            ask.service
        )));
    }
    let theirs = repository.find_tree(splice(repository, &bad_tree, &undo)?)?;
    let mut options = MergeOptions::new();
    options.find_renames(true);
    let mut merged = repository.merge_trees(&bad_tree, &tip_tree, &theirs, Some(&options))?;
    if merged.has_conflicts() {
        return Ok(RevertPlan::Conflict { files: conflicts(&merged)? });
    }
    let result = repository.find_tree(merged.write_tree_to(repository)?)?;
    if result.id() == tip_tree.id() {
        return Ok(RevertPlan::AlreadyDone { commit: None });
    }
    let trees = Trees { tip: &tip_tree, bad: &bad_tree, verified: &verified_tree };
    let files = differences(repository, &tip_tree, &result, Scope::All)?;
    let surprises = surprises(repository, ask, &trees, &result, &files)?;
    if !surprises.is_empty() {
        return Ok(RevertPlan::Conflict { files: surprises });
    }
    let (tree, quarantine) = enter(repository, ask, tip, &bad_tree, &result)?;
    let whole = repository.find_tree(tree)?;
    let all = differences(repository, &tip_tree, &whole, Scope::All)?;
    Ok(RevertPlan::Clean {
        tree,
        parent: tip.id(),
        message: message(ask, &changes),
        patch: patch(repository, &tip_tree, &whole, &all, PATCH_LIMIT)?,
        files: files.iter().take(FILES).map(Difference::shown).collect(),
        quarantine,
    })
}

/// The tree with the given differences applied.
fn splice(
    repository: &Repository,
    base: &Tree<'_>,
    changes: &[Difference],
) -> Result<Oid, git2::Error> {
    let mut index = Index::new()?;
    index.read_tree(base)?;
    // Removals first: a file may take the place of a folder, or the other way round.
    for change in changes.iter().filter(|change| change.new.is_none()) {
        index.remove(&bytes_path(&change.path), 0)?;
    }
    for change in changes {
        let Some(file) = change.new else { continue };
        index.add(&IndexEntry {
            ctime: IndexTime::new(0, 0),
            mtime: IndexTime::new(0, 0),
            dev: 0,
            ino: 0,
            mode: u32::try_from(file.mode).unwrap_or(0o100_644),
            uid: 0,
            gid: 0,
            file_size: 0,
            id: file.id,
            flags: 0,
            flags_extended: 0,
            path: change.path.clone(),
        })?;
    }
    index.write_tree_to(repository)
}

fn bytes_path(path: &[u8]) -> std::path::PathBuf {
    use std::os::unix::ffi::OsStrExt;
    std::path::PathBuf::from(std::ffi::OsStr::from_bytes(path))
}

fn conflicts(merged: &Index) -> Result<Vec<String>, git2::Error> {
    let mut files = BTreeSet::new();
    for conflict in merged.conflicts()? {
        let conflict = conflict?;
        let sides = [conflict.ancestor, conflict.our, conflict.their];
        files.extend(
            sides
                .into_iter()
                .flatten()
                .map(|entry| String::from_utf8_lossy(&entry.path).into_owned()),
        );
    }
    Ok(files.into_iter().take(FILES).collect())
}

/// The trees that a merge result is checked against.
struct Trees<'a> {
    tip: &'a Tree<'a>,
    bad: &'a Tree<'a>,
    verified: &'a Tree<'a>,
}

/// The files in which a clean merge is not what was asked for.
///
/// Nothing outside the service's paths may change. A file that nobody changed since the bad commit must
/// be as it was when verified, and a file that the bad commits did not change must stay as it is now.
/// Both are asked only of files that the bad tree and the tip have in common, because a file renamed
/// meanwhile is rightly followed to its new name.
fn surprises(
    repository: &Repository,
    ask: &RevertRequest,
    trees: &Trees<'_>,
    result: &Tree<'_>,
    changed: &[Difference],
) -> Result<Vec<String>, git2::Error> {
    let mut found = BTreeSet::new();
    for file in changed.iter().filter(|file| !ask.paths.matches(&file.path)) {
        found.insert(file.shown());
    }
    let undo = differences(repository, trees.bad, trees.verified, Scope::Only(&ask.paths))?;
    for file in &undo {
        let now = file_at(repository, trees.tip, &file.path)?;
        if file.old.is_some() && now == file.old {
            let then = file_at(repository, result, &file.path)?;
            if then != file.new {
                found.insert(file.shown());
            }
        }
    }
    let undone: BTreeSet<&[u8]> = undo.iter().map(|file| file.path.as_slice()).collect();
    for file in changed.iter().filter(|file| !undone.contains(file.path.as_slice())) {
        if file.old.is_some() && file_at(repository, trees.bad, &file.path)?.is_some() {
            found.insert(file.shown());
        }
    }
    Ok(found.into_iter().take(FILES).collect())
}

/// Enters the bad version in the quarantine list of the result.
fn enter(
    repository: &Repository,
    ask: &RevertRequest,
    tip: &Commit<'_>,
    bad: &Tree<'_>,
    result: &Tree<'_>,
) -> Result<(Oid, Quarantining), git2::Error> {
    if !ask.quarantine {
        return Ok((result.id(), Quarantining::NotAsked));
    }
    let path = ask.paths.quarantine_file();
    let entry = QuarantineEntry {
        service: ask.service.clone(),
        revision: ask.bad.to_string(),
        content: fingerprint(repository, bad, &ask.paths)?.to_string(),
        reason: printable(&ask.reason, 300),
        deployment: ask.deployment.clone(),
        time: jiff::Timestamp::from_second(ask.at).ok(),
    };
    let text = read(repository, tip, path)?.and_then(|text| with_entry(text.as_deref(), &entry));
    let text = match text {
        Ok(Some(text)) => text,
        Ok(None) => return Ok((result.id(), Quarantining::Already)),
        Err(why) => return Ok((result.id(), Quarantining::Skipped(why))),
    };
    let blob = repository.blob(text.as_bytes())?;
    let updated = TreeUpdateBuilder::new()
        .upsert(path, blob, FileMode::Blob)
        .create_updated(repository, result);
    Ok(match updated {
        Ok(tree) => (tree, Quarantining::Entered),
        // Somebody keeps a file where the policy folder should be.
        Err(error) => (result.id(), Quarantining::Skipped(error.message().to_owned())),
    })
}
