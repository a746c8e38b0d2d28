//! Writes the files of a revision out, whole or not at all.
//!
//! Files are written into a hidden sibling of the target and moved there by one rename, so that a
//! target that exists is complete, whatever was killed when. Contents are written byte by byte as they
//! are in Git, without line-ending or other filters; a submodule is an empty folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use git2::Oid;
use git2::build::CheckoutBuilder;

use super::error::{Cause, GitError};
use super::mirror::Mirror;

impl Mirror {
    /// Writes the whole tree of a revision into a folder that does not exist yet.
    ///
    /// Nothing is done when the folder is there already: it is then from an earlier checkout, and
    /// complete. libgit2 refuses paths that would lead out of it; links are written as links.
    ///
    /// # Errors
    /// When the mirror does not hold the revision, or the files cannot be written; nothing is left.
    pub fn checkout(&self, revision: Oid, to: &Path) -> Result<(), GitError> {
        let fault =
            |cause| GitError::Checkout { revision: revision.to_string(), to: to.to_owned(), cause };
        let repository = self.repository()?;
        let commit = self.find(&repository, revision)?;
        // A unit cannot be left half-written, so a panic elsewhere does not matter here.
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if to.is_dir() {
            return Ok(());
        }
        let partial = partial(to).ok_or_else(|| fault(Cause::of("the folder has no name")))?;
        clear(&partial)
            .and_then(|()| fs::create_dir_all(&partial))
            .map_err(|e| fault(Cause::of(&e)))?;
        let mut options = CheckoutBuilder::new();
        options
            .target_dir(&partial)
            .force()
            .update_index(false)
            .disable_filters(true)
            .refresh(false);
        let written = repository
            .checkout_tree(commit.as_object(), Some(&mut options))
            .map_err(|error| Cause::of_git(&self.remote, &error))
            .and_then(|()| fs::rename(&partial, to).map_err(|error| Cause::of(&error)));
        written.map_err(|cause| match clear(&partial) {
            Ok(()) => fault(cause),
            Err(error) => {
                fault(Cause::of(&format!("{cause}; {} stays behind: {error}", partial.display())))
            }
        })
    }
}

fn partial(to: &Path) -> Option<PathBuf> {
    let mut name = std::ffi::OsString::from(".");
    name.push(to.file_name()?);
    name.push(".partial");
    Some(to.with_file_name(name))
}

fn clear(folder: &Path) -> std::io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
