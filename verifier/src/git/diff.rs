//! What a deployed range changed, line by line, and which of its commits did it.
//!
//! The difference of the two ends says what is there to blame: a line that a later commit took out again broke
//! nothing. Which commit wrote each of those lines is found in `blame`, by a walk from the newest commit back. Hunks
//! have no context lines, so that every line in them is one that somebody changed.
//!
//! Everything comes out of a repository that somebody else writes, so files, lines, text and time are bounded, and
//! what was left out is counted.

mod blame;
mod edits;
mod function;
mod renames;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use analysis_traces::{ChangedFile, Commit, Diff, Hunk};
use git2::{Oid, Repository};
use tokio::time::Instant;

use self::blame::{Blamed, Open, Run, blame};
use self::edits::{Edit, edits};
use self::renames::origins;
use super::changes::range;
use super::commit::summary;
use super::error::GitError;
use super::mirror::Mirror;
use super::paths::Paths;
use super::tree::{Difference, Scope, differences};

/// Most commits of a range; a longer one is an import.
const COMMITS: usize = 1_000;

/// Most files whose lines are looked at.
const FILES: usize = 1_000;

/// Most places of all files together at which lines were changed.
const HUNKS: usize = 20_000;

/// Most bytes of changed lines that are kept, of one hunk and of all.
const HUNK_TEXT: usize = 8 * 1024;
const TEXT: usize = 1024 * 1024;

/// Larger files are generated: they are listed without lines.
const LARGEST_FILE: usize = 512 * 1024;

/// The walk ends after this time, whatever the repository holds.
const PATIENCE: Duration = Duration::from_secs(5);

/// A deployed range, as far as it could be looked at.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DeployedRange {
    /// Its commits that change the service, oldest first, with what is left of each.
    pub diff: Diff,
    /// What is not in it.
    pub left_out: LeftOut,
}

/// What of a deployed range was not looked at, or belongs to none of its commits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Commits beyond the thousandth, or after the time was up.
    pub commits: usize,
    /// Files beyond the thousandth.
    pub files: usize,
    /// Files that are not text, which are skipped.
    pub binary: usize,
    /// Files of more than 512 KiB, which are listed without their lines.
    pub large: usize,
    /// Places beyond the 20,000th.
    pub hunks: usize,
    /// Bytes of changed lines beyond 8 KiB of a hunk, or 1 MiB of all.
    pub text: usize,
    /// Places with lines that no commit of the range wrote: they are older, or the time was up.
    pub unclaimed: usize,
}

impl LeftOut {
    /// In words, a sentence without full stop for each; empty when nothing was left out.
    pub fn told(&self) -> Vec<String> {
        [
            (self.commits, "commits of the range that were not looked at"),
            (self.files, "changed files that were not looked at"),
            (self.binary, "changed files that are not text"),
            (self.large, "changed files too large to compare their lines"),
            (self.hunks, "changed places that were not looked at"),
            (self.text, "bytes of changed lines that were not read"),
            (self.unclaimed, "changed places that no commit of the range made"),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{what}: {count}"))
        .collect()
    }
}

impl Mirror {
    /// What `to` changes against `from`, by commit and line, of all files or of a service's.
    ///
    /// Blocks for at most some seconds; see [`deployed_range`].
    ///
    /// # Errors
    /// When the mirror does not hold one of the revisions.
    pub fn deployed_range(
        &self,
        from: Oid,
        to: Oid,
        paths: Option<&Paths>,
    ) -> Result<DeployedRange, GitError> {
        let repository = self.repository()?;
        self.find(&repository, from)?;
        self.find(&repository, to)?;
        deployed_range(&repository, from, to, paths).map_err(|error| self.broken(&error))
    }
}

/// What `to` changes against `from` in any repository, bare or not, by commit and line.
///
/// A line belongs to the commit that wrote it, also within a merge; a squash is one commit. Files that were only
/// renamed have no hunks, renamed and changed ones only the changed lines.
///
/// # Errors
/// When the repository does not hold both commits, or is damaged.
pub fn deployed_range(
    repository: &Repository,
    from: Oid,
    to: Oid,
    paths: Option<&Paths>,
) -> Result<DeployedRange, git2::Error> {
    let until = Instant::now() + PATIENCE;
    let scope = paths.map_or(Scope::All, Scope::Only);
    let mut left_out = LeftOut::default();
    let (mut commits, _) = range(repository, from, to)?;
    left_out.commits += commits.len().saturating_sub(COMMITS);
    commits.truncate(COMMITS);
    let files = changed(repository, from, to, scope, &mut left_out)?;
    let opens = files
        .iter()
        .enumerate()
        .map(|(file, changed)| (changed.path.clone(), Open { file, lines: changed.lines.clone() }));
    let Blamed { touching, claimed, unclaimed, commits: unseen } =
        blame(repository, &commits, to, scope, opens, until)?;
    left_out.unclaimed += unclaimed;
    left_out.commits += unseen;

    let mut texts = Texts::default();
    let mut by_commit: BTreeMap<Oid, Vec<ChangedFile>> = BTreeMap::new();
    for ((commit, file), runs) in claimed {
        let changed = &files[file];
        let hunks = match &changed.content {
            Some(id) => texts.hunks(repository, changed, *id, runs, &mut left_out)?,
            None => Vec::new(),
        };
        let path = String::from_utf8_lossy(&changed.path).into_owned();
        by_commit.entry(commit).or_default().push(ChangedFile { path, hunks });
    }
    let mut diff = Diff::default();
    for id in touching.into_iter().rev() {
        let commit = summary(&repository.find_commit(id)?);
        let files = by_commit.remove(&id).unwrap_or_default();
        // A merge by itself changes nothing that its commits did not.
        if !commit.merge() || !files.is_empty() {
            diff.commits.push(Commit { id: id.to_string(), subject: commit.subject, files });
        }
    }
    Ok(DeployedRange { diff, left_out })
}

/// A file that differs between both ends.
struct Changed {
    path: Vec<u8>,
    /// What it holds in the deployed version; `None` where its lines do not matter.
    content: Option<Oid>,
    /// Its changed lines; empty where only the file as a whole counts.
    lines: Vec<Run>,
    /// The function that Git shows, by first line.
    functions: BTreeMap<u32, String>,
}

fn changed(
    repository: &Repository,
    from: Oid,
    to: Oid,
    scope: Scope<'_>,
    left_out: &mut LeftOut,
) -> Result<Vec<Changed>, git2::Error> {
    let (old, new) = (repository.find_commit(from)?.tree()?, repository.find_commit(to)?.tree()?);
    let mut differing = differences(repository, &old, &new, scope)?;
    let origins = origins(repository, &old, &new, &differing)?;
    let moved: BTreeSet<&[u8]> = origins.values().map(|origin| origin.path.as_slice()).collect();
    differing.retain(|file| file.new.is_some() || !moved.contains(file.path.as_slice()));
    left_out.files += differing.len().saturating_sub(FILES);
    differing.truncate(FILES);
    let mut files = Vec::with_capacity(differing.len());
    let mut hunks = 0;
    for Difference { path, old, new } in differing {
        let old = origins.get(&path).map(|origin| origin.file).or(old);
        let whole =
            |path| Changed { path, content: None, lines: vec![], functions: BTreeMap::new() };
        let Some(new) = new else {
            files.push(whole(path));
            continue;
        };
        match edits(repository, old.map(|file| file.id), Some(new.id), &path)? {
            Edit::Binary => left_out.binary += 1,
            Edit::Large => {
                left_out.large += 1;
                files.push(whole(path));
            }
            Edit::Lines(mut lines) => {
                left_out.hunks += (hunks + lines.len()).saturating_sub(HUNKS.max(hunks));
                lines.truncate(HUNKS.saturating_sub(hunks));
                hunks += lines.len();
                let functions =
                    lines.iter_mut().map(|edit| (edit.new, std::mem::take(&mut edit.function)));
                files.push(Changed {
                    functions: functions.collect(),
                    content: Some(new.id),
                    lines: lines.iter().map(Run::of).collect(),
                    path,
                });
            }
        }
    }
    Ok(files)
}

/// Bytes of changed lines that were kept so far.
#[derive(Default)]
struct Texts {
    bytes: usize,
}

impl Texts {
    /// The runs of one commit in one file as hunks.
    fn hunks(
        &mut self,
        repository: &Repository,
        changed: &Changed,
        content: Oid,
        mut runs: Vec<Run>,
        left_out: &mut LeftOut,
    ) -> Result<Vec<Hunk>, git2::Error> {
        let blob = repository.find_blob(content)?;
        let lines: Vec<&[u8]> = blob.content().split(|byte| *byte == b'\n').collect();
        runs.sort_unstable_by_key(|run| (run.to, run.count));
        let mut joined: Vec<Run> = Vec::with_capacity(runs.len());
        for run in runs {
            match joined.last_mut() {
                Some(last) if last.count > 0 && run.count > 0 && last.to + last.count == run.to => {
                    last.count += run.count;
                }
                Some(_) | None => joined.push(run),
            }
        }
        let hunk = |run: Run| {
            let first = usize::try_from(run.to.saturating_sub(1)).unwrap_or(usize::MAX);
            let count = usize::try_from(run.count).unwrap_or(usize::MAX);
            let added = lines.get(first..first.saturating_add(count)).unwrap_or_default();
            let shown = changed.functions.range(..=run.to).next_back();
            Hunk {
                start: run.to,
                lines: run.count,
                function: function::around(&lines, first)
                    .or_else(|| shown.map(|(_, function)| function.clone()))
                    .unwrap_or_default(),
                added: self.keep(added, left_out),
            }
        };
        Ok(joined.into_iter().map(hunk).collect())
    }

    fn keep(&mut self, lines: &[&[u8]], left_out: &mut LeftOut) -> String {
        let room = HUNK_TEXT.min(TEXT.saturating_sub(self.bytes));
        let mut text = String::new();
        for (at, line) in lines.iter().enumerate() {
            let line = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line));
            if text.len() + line.len() + 1 > room {
                left_out.text += lines[at..].iter().map(|line| line.len() + 1).sum::<usize>();
                break;
            }
            text.push_str(&line);
            text.push('\n');
        }
        self.bytes += text.len();
        text
    }
}
