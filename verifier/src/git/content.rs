//! A fingerprint of what a service is made of at a revision.
//!
//! Two revisions with the same fingerprint hold the same files of the service, so there is nothing to
//! deploy between them, however many commits lie there. It also recognises a version that comes back
//! under another hash: a revert made by hand, or a bot that commits the bad version again.

use std::fmt;
use std::str::FromStr;

use git2::{ObjectType, Oid, Repository, Tree};
use sha2::{Digest, Sha256};

use super::error::GitError;
use super::mirror::Mirror;
use super::paths::Paths;
use super::tree::{DEPTH, too_deep};

/// Fingerprint of a service's files at one revision: paths, modes and contents.
///
/// Comparable only between fingerprints of the same path patterns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint([u8; 32]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Fingerprint {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FAULT: &str = "a fingerprint is `sha256:` and 64 hexadecimal digits";
        let digits = text.strip_prefix("sha256:").unwrap_or(text).as_bytes();
        if digits.len() != 64 {
            return Err(FAULT);
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| FAULT)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| FAULT)?;
        }
        Ok(Self(bytes))
    }
}

impl Mirror {
    /// The fingerprint of the files that match `paths` at a revision.
    ///
    /// # Errors
    /// When the mirror does not hold the revision; fetch, then ask again.
    pub fn content(&self, revision: Oid, paths: &Paths) -> Result<Fingerprint, GitError> {
        let repository = self.repository()?;
        let commit = self.find(&repository, revision)?;
        commit
            .tree()
            .and_then(|tree| fingerprint(&repository, &tree, paths))
            .map_err(|error| self.broken(&error))
    }
}

/// The fingerprint of the files of a tree that match `paths`.
pub(super) fn fingerprint(
    repository: &Repository,
    tree: &Tree<'_>,
    paths: &Paths,
) -> Result<Fingerprint, git2::Error> {
    let mut hash = Sha256::new();
    add(repository, tree, &mut Vec::new(), paths, &mut hash, 0)?;
    Ok(Fingerprint(hash.finalize().into()))
}

fn add(
    repository: &Repository,
    tree: &Tree<'_>,
    path: &mut Vec<u8>,
    paths: &Paths,
    hash: &mut Sha256,
    depth: usize,
) -> Result<(), git2::Error> {
    if depth > DEPTH {
        return Err(too_deep());
    }
    for entry in tree {
        let parent = path.len();
        if parent > 0 {
            path.push(b'/');
        }
        path.extend_from_slice(entry.name_bytes());
        let folder = entry.kind() == Some(ObjectType::Tree);
        // The id of a folder that belongs to the service as a whole says it all: no need to open it.
        if folder && !paths.covers(path) {
            if paths.may_hold(path) {
                let below = repository.find_tree(entry.id())?;
                add(repository, &below, path, paths, hash, depth + 1)?;
            }
        } else if folder || paths.matches(&path) {
            // A path never holds a NUL byte, so the fields cannot run into each other.
            hash.update(&path);
            hash.update([0]);
            hash.update(entry.filemode_raw().to_be_bytes());
            hash.update(entry.id().as_bytes());
        }
        path.truncate(parent);
    }
    Ok(())
}
