//! Tests over real repositories in temporary folders.

mod diff;
mod histories;
mod http;
mod message;
mod mirror;
mod revert;
mod watch;

use git2::{Oid, Repository, Signature, Time};
use tempfile::TempDir;

use super::{Author, Credentials, Destination, Mirror, Paths, Remote, RevertRequest, Reverted};

/// A bare repository that stands for the forge, and Serin's mirror of it.
pub(super) struct World {
    pub(super) forge: Repository,
    pub(super) mirror: Mirror,
    pub(super) folder: TempDir,
}

impl World {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut options = git2::RepositoryInitOptions::new();
        options.bare(true).external_template(false);
        let forge = Repository::init_opts(folder.path().join("forge.git"), &options).unwrap();
        let mirror =
            Mirror::open(&folder.path().join("mirror.git"), remote(forge.path().to_str().unwrap()))
                .unwrap();
        Self { forge, mirror, folder }
    }

    pub(super) fn tip(&self) -> Option<Oid> {
        self.forge.refname_to_id("refs/heads/main").ok()
    }

    /// Commits on the branch: each change is a path with its new text, or `None` to remove it.
    pub(super) fn commit(&self, subject: &str, changes: &[(&str, Option<&str>)]) -> Oid {
        let id = self.commit_on(self.tip().as_slice(), subject, changes);
        self.point(id);
        id
    }

    /// Writes a commit without moving the branch.
    pub(super) fn commit_on(
        &self,
        parents: &[Oid],
        message: &str,
        changes: &[(&str, Option<&str>)],
    ) -> Oid {
        let mut index = git2::Index::new().unwrap();
        if let Some(parent) = parents.first() {
            let tree = self.forge.find_commit(*parent).unwrap().tree().unwrap();
            index.read_tree(&tree).unwrap();
        }
        for (path, text) in changes {
            match text {
                Some(text) => {
                    let mut entry = entry(path);
                    entry.id = self.forge.blob(text.as_bytes()).unwrap();
                    index.add(&entry).unwrap();
                }
                None => index.remove(path.as_ref(), 0).unwrap(),
            }
        }
        let tree = index.write_tree_to(&self.forge).unwrap();
        self.commit_tree(parents, message, tree)
    }

    pub(super) fn commit_tree(&self, parents: &[Oid], message: &str, tree: Oid) -> Oid {
        let tree = self.forge.find_tree(tree).unwrap();
        let time = Time::new(1_764_000_000 + i64::try_from(parents.len()).unwrap(), 0);
        let who = Signature::new("Ann Lee", "ann@example.com", &time).unwrap();
        let parents: Vec<_> =
            parents.iter().map(|id| self.forge.find_commit(*id).unwrap()).collect();
        let parents: Vec<_> = parents.iter().collect();
        self.forge.commit(None, &who, &who, message, &tree, &parents).unwrap()
    }

    pub(super) fn point(&self, id: Oid) {
        self.forge.reference("refs/heads/main", id, true, "test").unwrap();
    }

    pub(super) fn text(&self, revision: Oid, path: &str) -> Option<String> {
        let tree = self.forge.find_commit(revision).unwrap().tree().unwrap();
        let entry = tree.get_path(path.as_ref()).ok()?;
        let blob = self.forge.find_blob(entry.id()).unwrap();
        Some(String::from_utf8(blob.content().to_vec()).unwrap())
    }

    pub(super) fn revert(&self, ask: &RevertRequest) -> Reverted {
        self.mirror.revert(ask).unwrap()
    }
}

fn entry(path: &str) -> git2::IndexEntry {
    git2::IndexEntry {
        ctime: git2::IndexTime::new(0, 0),
        mtime: git2::IndexTime::new(0, 0),
        dev: 0,
        ino: 0,
        mode: 0o100_644,
        uid: 0,
        gid: 0,
        file_size: 0,
        id: Oid::ZERO_SHA1,
        flags: 0,
        flags_extended: 0,
        path: path.as_bytes().to_vec(),
    }
}

pub(super) fn remote(url: &str) -> Remote {
    Remote { url: url.to_owned(), branch: "main".into(), credentials: Credentials::None }
}

pub(super) fn paths(patterns: &[&str]) -> Paths {
    Paths::new(patterns, ".serin").unwrap()
}

/// The request to undo `verified..bad` of service `a`.
pub(super) fn ask(verified: Oid, bad: Oid) -> RevertRequest {
    RevertRequest {
        service: "a".into(),
        deployment: format!("a-{}-1", &bad.to_string()[..10]),
        bad,
        verified,
        paths: paths(&["svc/a/**"]),
        reason: "errors failed: 3.1 % of the canary's requests against 0.2 % of the baseline's"
            .into(),
        evidence: vec!["errors: ratio 15.5 (at least 9.1, allowed 1.25), n = 5,988".into()],
        cause: Vec::new(),
        table: Vec::new(),
        evidence_hash: Some(format!("sha256:{}", "ab".repeat(32))),
        links: vec!["http://127.0.0.1:8787/deployments/a-1".into()],
        author: Author { name: "Serin".into(), email: "serin@example.com".into() },
        generation: 1,
        at: 1_764_000_100,
        quarantine: true,
        destination: Destination::Branch,
    }
}

/// Twelve lines, with the text of one replaced.
pub(super) fn lines(changed: &[(usize, &str)]) -> String {
    (0..12).fold(String::new(), |text, number| {
        let line = changed.iter().rev().find(|(at, _)| *at == number);
        text + &line.map_or_else(|| format!("line {number}"), |(_, line)| (*line).to_owned()) + "\n"
    })
}

pub(super) fn pushed(reverted: &Reverted) -> Oid {
    match reverted {
        Reverted::Pushed { revision, .. } => *revision,
        Reverted::Branch { .. }
        | Reverted::AlreadyDone { .. }
        | Reverted::Conflict { .. }
        | Reverted::Refused { .. } => panic!("not pushed: {reverted:?}"),
    }
}
