//! The commits that `--repo` and `--range` name.

use std::path::Path;

use git2::{Oid, Repository};

use crate::git::{DeployedRange, deployed_range};

/// Both ends, found.
pub(super) struct Range {
    repository: Repository,
    shown: String,
    from: Oid,
    to: Oid,
}

impl Range {
    /// Finds `A..B` in the repository around a folder; an end that is left out is `HEAD`.
    pub(super) fn find(dir: &Path, range: &str) -> Result<Self, String> {
        let shown = dir.display().to_string();
        let repository = Repository::discover(dir).map_err(|error| {
            format!(
                "failed to open a Git repository at {shown}: {}\nhint: name a clone of the service's repository with --repo",
                error.message()
            )
        })?;
        let ends = range.split_once("..").filter(|(_, to)| !to.starts_with('.'));
        let (from, to) = ends.filter(|_| range != "..").ok_or_else(|| {
            format!("`{range}` is no range\nhint: write the older version, two dots and the newer one, e.g. v1.4..v1.5")
        })?;
        let find = |end: &str| {
            let end = if end.is_empty() { "HEAD" } else { end };
            let found = repository.revparse_single(end).and_then(|found| found.peel_to_commit());
            found.map(|commit| commit.id()).map_err(|error| {
                format!(
                    "failed to find `{end}` in {shown}: {}\nhint: fetch first (`git -C {shown} fetch --tags`), or write the commit's hash; a shallow clone lacks old commits",
                    error.message()
                )
            })
        };
        let (from, to) = (find(from)?, find(to)?);
        Ok(Self { repository, shown, from, to })
    }

    /// What lies between both ends, by commit and line.
    pub(super) fn diff(self) -> Result<DeployedRange, String> {
        deployed_range(&self.repository, self.from, self.to, None).map_err(|error| {
            format!(
                "failed to compare both ends of the range in {}: {}\nhint: a shallow clone lacks old commits; `git fetch --unshallow` brings them",
                self.shown,
                error.message()
            )
        })
    }
}
