//! What lies between two revisions, as far as a service is concerned.
//!
//! A commit counts when it changes a file of the service against its first parent. That lists both a
//! merge and the commits that it brought in, as people expect from a deployment's list of changes.

use std::collections::HashSet;

use git2::{DiffOptions, Oid, Patch, Repository, Sort, Tree};

use super::commit::{CommitSummary, summary};
use super::error::GitError;
use super::mirror::Mirror;
use super::paths::Paths;
use super::tree::{Difference, Scope, differ, differences};

/// Most commits that are listed.
const COMMITS: usize = 200;

/// Most commits that are looked at: a range beyond that is not a deployment but an import.
const WALK: usize = 10_000;

/// Most files that are listed with their line counts.
const FILES: usize = 500;

/// Files above this size count as binary: nobody reads their lines.
const TEXT_LIMIT: i64 = 1024 * 1024;

/// The commits and files of a service between two revisions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Touched {
    /// The commits that change the service, oldest first, at most 200.
    pub commits: Vec<CommitSummary>,
    /// How many more commits change it.
    pub commits_left_out: usize,
    /// Whether the range is so long (over 10,000 commits) that its oldest part was not looked at.
    pub cut: bool,
    /// How many of them landed on the branch itself, not by way of a merge.
    pub landed: usize,
    /// The one that landed, when it is one.
    pub only: Option<CommitSummary>,
    /// The files that differ, in order of their paths, at most 500.
    pub files: Vec<FileChange>,
    /// How many more files differ.
    pub files_left_out: usize,
    /// The files among all that differ that match the patterns of irreversible changes, at most 100.
    pub irreversible: Vec<String>,
    /// The newest commit that says that it closes a security hole.
    pub security: Option<Oid>,
    /// Whether a merge is among the commits.
    pub merges: bool,
    /// The highest `Revert-Generation` among the commits, 0 when none is a revert by Serin.
    pub generation: u32,
}

/// One file that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileChange {
    /// Path from the repository's root.
    pub path: String,
    /// Lines added; 0 for a binary file.
    pub added: usize,
    /// Lines removed; 0 for a binary file.
    pub removed: usize,
    /// Whether the file is not text, or too large to compare by lines.
    pub binary: bool,
}

impl Mirror {
    /// What `to` changes for a service against `from`: commits, files, and what forbids an automatic revert.
    ///
    /// # Errors
    /// When the mirror does not hold one of the revisions.
    pub fn touched(
        &self,
        from: Oid,
        to: Oid,
        paths: &Paths,
        irreversible: Option<&Paths>,
    ) -> Result<Touched, GitError> {
        let repository = self.repository()?;
        self.find(&repository, from)?;
        self.find(&repository, to)?;
        touched(&repository, from, to, paths, irreversible).map_err(|error| self.broken(&error))
    }

    /// The difference of a service's files between two revisions as a patch of bounded size.
    ///
    /// # Errors
    /// When the mirror does not hold one of the revisions.
    pub fn diff_text(
        &self,
        from: Oid,
        to: Oid,
        paths: &Paths,
        limit_bytes: usize,
    ) -> Result<String, GitError> {
        let repository = self.repository()?;
        let trees = [from, to].map(|revision| {
            let commit = self.find(&repository, revision)?;
            commit.tree().map_err(|error| self.broken(&error))
        });
        let [old, new] = trees;
        let (old, new) = (old?, new?);
        differences(&repository, &old, &new, Scope::Only(paths))
            .and_then(|files| patch(&repository, &old, &new, &files, limit_bytes))
            .map_err(|error| self.broken(&error))
    }
}

/// See [`Mirror::touched`].
pub(super) fn touched(
    repository: &Repository,
    from: Oid,
    to: Oid,
    paths: &Paths,
    irreversible: Option<&Paths>,
) -> Result<Touched, git2::Error> {
    let (range, cut) = range(repository, from, to)?;
    let mut found = Touched {
        commits: Vec::new(),
        commits_left_out: 0,
        cut,
        landed: 0,
        only: None,
        files: Vec::new(),
        files_left_out: 0,
        irreversible: Vec::new(),
        security: None,
        merges: false,
        generation: 0,
    };
    let branch = first_parents(repository, &range, to)?;
    for id in range {
        let commit = repository.find_commit(id)?;
        let parent = commit.parents().next().map(|parent| parent.tree()).transpose()?;
        if !differ(repository, parent.as_ref(), Some(&commit.tree()?), Scope::Only(paths))? {
            continue;
        }
        let commit = summary(&commit);
        if commit.security() {
            found.security.get_or_insert(id);
        }
        found.merges |= commit.merge();
        let generation = commit.revert().map_or(0, |trailers| trailers.generation);
        found.generation = found.generation.max(generation);
        if branch.contains(&id) {
            found.landed += 1;
            found.only = (found.landed == 1).then(|| commit.clone());
        }
        if found.commits.len() < COMMITS {
            found.commits.push(commit);
        } else {
            found.commits_left_out += 1;
        }
    }
    found.commits.reverse();
    let (old, new) = (repository.find_commit(from)?.tree()?, repository.find_commit(to)?.tree()?);
    let mut files = differences(repository, &old, &new, Scope::Only(paths))?;
    if let Some(irreversible) = irreversible {
        found.irreversible = files
            .iter()
            .filter(|file| irreversible.matches(&file.path))
            .map(Difference::shown)
            .take(100)
            .collect();
    }
    found.files_left_out = files.len().saturating_sub(FILES);
    files.truncate(FILES);
    found.files = count_lines(repository, &old, &new, &files)?;
    Ok(found)
}

/// The commits that `to` has and `from` has not, newest first, and whether there are too many.
pub(super) fn range(
    repository: &Repository,
    from: Oid,
    to: Oid,
) -> Result<(Vec<Oid>, bool), git2::Error> {
    let mut walk = repository.revwalk()?;
    walk.set_sorting(Sort::TOPOLOGICAL)?;
    walk.push(to)?;
    walk.hide(from)?;
    let mut range = walk.take(WALK + 1).collect::<Result<Vec<_>, _>>()?;
    let cut = range.len() > WALK;
    range.truncate(WALK);
    Ok((range, cut))
}

/// The commits of the range that the branch itself went through.
fn first_parents(
    repository: &Repository,
    range: &[Oid],
    to: Oid,
) -> Result<HashSet<Oid>, git2::Error> {
    let all: HashSet<Oid> = range.iter().copied().collect();
    let mut line = HashSet::new();
    let mut next = Some(to);
    while let Some(id) = next.filter(|id| all.contains(id)) {
        line.insert(id);
        next = repository.find_commit(id)?.parent_ids().next();
    }
    Ok(line)
}

fn count_lines(
    repository: &Repository,
    old: &Tree<'_>,
    new: &Tree<'_>,
    files: &[Difference],
) -> Result<Vec<FileChange>, git2::Error> {
    let mut changes = Vec::with_capacity(files.len());
    each_patch(repository, old, new, files, |path, patch| {
        let counted = patch.map(|patch| {
            let (_, added, removed) = patch.line_stats()?;
            Ok::<_, git2::Error>((added, removed, patch.delta().flags().is_binary()))
        });
        let (added, removed, binary) = counted.transpose()?.unwrap_or((0, 0, true));
        let path = String::from_utf8_lossy(path).into_owned();
        changes.push(FileChange { path, added, removed, binary });
        Ok(true)
    })?;
    Ok(changes)
}

/// A patch of the given files, cut at `limit` bytes with a note of how much is left out.
pub(super) fn patch(
    repository: &Repository,
    old: &Tree<'_>,
    new: &Tree<'_>,
    files: &[Difference],
    limit: usize,
) -> Result<String, git2::Error> {
    let mut text = String::new();
    let mut shown = 0;
    each_patch(repository, old, new, files, |_, patch| {
        if let Some(mut patch) = patch {
            text.push_str(&String::from_utf8_lossy(&patch.to_buf()?));
        }
        shown += 1;
        Ok(text.len() <= limit)
    })?;
    if text.len() > limit {
        let mut end = limit;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let end = text[..end].rfind('\n').map_or(end, |line| line + 1);
        text.truncate(end);
        let rest = files.len() - shown;
        text += &["[cut at ", &limit.to_string(), " bytes; ", &rest.to_string(), " more files]\n"]
            .concat();
    }
    Ok(text)
}

/// Calls `visit` with the patch of each file until it answers `false`.
fn each_patch(
    repository: &Repository,
    old: &Tree<'_>,
    new: &Tree<'_>,
    files: &[Difference],
    mut visit: impl FnMut(&[u8], Option<Patch<'_>>) -> Result<bool, git2::Error>,
) -> Result<(), git2::Error> {
    if files.is_empty() {
        return Ok(());
    }
    let mut options = DiffOptions::new();
    options.disable_pathspec_match(true).max_size(TEXT_LIMIT).include_typechange(true);
    for file in files {
        options.pathspec(file.path.as_slice());
    }
    let diff = repository.diff_tree_to_tree(Some(old), Some(new), Some(&mut options))?;
    for (at, delta) in diff.deltas().enumerate() {
        let path = delta.new_file().path_bytes().or(delta.old_file().path_bytes());
        let path = path.unwrap_or_default().to_vec();
        if !visit(&path, Patch::from_diff(&diff, at)?)? {
            break;
        }
    }
    Ok(())
}
