//! What can go wrong with Git, in words for people and in classes for the retry.
//!
//! libgit2 reports a code, a class and a sentence; which of them tells "no such host" from "wrong
//! password" depends on the transport. This file is the only one that knows, so that callers see
//! one small enum. A sentence of libgit2 may quote the URL: it is scrubbed of credentials here.

use std::path::{Path, PathBuf};

use super::remote::Remote;

/// Most characters of a server's own words that are kept.
const WORDS_LIMIT: usize = 600;

/// Why an operation on a repository failed.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// The host does not answer, or the connection broke.
    #[error("cannot reach the repository {url}")]
    Unreachable {
        /// The address without credentials.
        url: String,
        /// What the transport said.
        #[source]
        cause: Cause,
    },
    /// The server wants other credentials.
    #[error("{url} did not accept the credentials")]
    Authentication {
        /// The address without credentials.
        url: String,
        /// What the transport said.
        #[source]
        cause: Cause,
    },
    /// The certificate or the SSH host key is not trusted.
    #[error("{url} shows a certificate or host key that is not trusted here")]
    Untrusted {
        /// The address without credentials.
        url: String,
        /// What the transport said.
        #[source]
        cause: Cause,
    },
    /// Nothing at that address is a Git repository, as far as these credentials can see.
    #[error("there is no Git repository at {url}, or these credentials may not see it")]
    NotFound {
        /// The address without credentials.
        url: String,
        /// What the transport said.
        #[source]
        cause: Cause,
    },
    /// The repository has commits, but not that branch.
    #[error("{url} has no branch `{branch}`; it has {present}")]
    BranchMissing {
        /// The address without credentials.
        url: String,
        /// The branch that was asked for.
        branch: String,
        /// Some of the branches that there are, as a list for people.
        present: String,
    },
    /// The server fell silent in the middle of an operation.
    #[error("nothing was heard from {url} for {seconds} s")]
    Stalled {
        /// The address without credentials.
        url: String,
        /// How long nothing was heard.
        seconds: u64,
    },
    /// Another operation takes long, or several that stalled have not let go of their connections yet.
    #[error("earlier operations on {url} have not ended")]
    Busy {
        /// The address without credentials.
        url: String,
    },
    /// The server has a rule against this push: a protected branch, a hook, missing rights.
    #[error("the server refused the push to `{branch}`: {words}")]
    Rejected {
        /// The branch that was pushed to.
        branch: String,
        /// The server's own words, bounded.
        words: String,
    },
    /// Somebody else pushed between analysis and push, several times in a row.
    #[error("`{branch}` moved during each of {attempts} attempts to push")]
    Contended {
        /// The branch that was pushed to.
        branch: String,
        /// How many times the push was tried.
        attempts: u32,
    },
    /// The mirror does not hold that revision.
    #[error("revision {revision} is not known in {url}")]
    UnknownRevision {
        /// The address without credentials.
        url: String,
        /// The full hash.
        revision: String,
        /// What libgit2 said.
        #[source]
        cause: Cause,
    },
    /// Serin's own copy of the repository cannot be read or written.
    #[error("cannot use the mirror of {url} in {}", dir.display())]
    Mirror {
        /// The address without credentials.
        url: String,
        /// The folder of the mirror.
        dir: PathBuf,
        /// What libgit2 or the file system said.
        #[source]
        cause: Cause,
    },
    /// The files of a revision could not be written out.
    #[error("cannot check out revision {revision} to {}", to.display())]
    Checkout {
        /// The full hash.
        revision: String,
        /// The folder that was to be written.
        to: PathBuf,
        /// What libgit2 or the file system said.
        #[source]
        cause: Cause,
    },
    /// The quarantine list in Git cannot be understood.
    #[error("the quarantine list `{path}` cannot be read: {why}")]
    Quarantine {
        /// Where the list is in the repository.
        path: String,
        /// What is wrong with it, with line and column where known.
        why: String,
    },
}

impl GitError {
    /// Whether trying again later may succeed without anybody changing the configuration.
    ///
    /// A mirror that cannot be written counts: a full disk is freed by somebody who does not know of
    /// Serin, and a revert must not be lost to it.
    pub fn transient(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Stalled { .. }
            | Self::Busy { .. }
            | Self::Contended { .. }
            | Self::Mirror { .. } => true,
            Self::Authentication { .. }
            | Self::Untrusted { .. }
            | Self::NotFound { .. }
            | Self::BranchMissing { .. }
            | Self::Rejected { .. }
            | Self::UnknownRevision { .. }
            | Self::Checkout { .. }
            | Self::Quarantine { .. } => false,
        }
    }

    /// What a person can do about it, in one sentence.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => {
                "check the address, the network and the proxy; Serin tries again by itself"
            }
            Self::Authentication { .. } => {
                "check the user, token or key of this repository in serin.yaml, and that it may read and push"
            }
            Self::Untrusted { .. } => {
                "add the certificate authority to the system's store, or the host's key to known_hosts"
            }
            Self::NotFound { .. } => {
                "check the spelling of the address and the rights of the credentials"
            }
            Self::BranchMissing { .. } => "set `branch` of this repository to one that exists",
            Self::Stalled { .. } | Self::Busy { .. } => {
                "check the Git server's load; Serin tries again by itself"
            }
            Self::Rejected { .. } => {
                "allow Serin's user to push to the branch, or set `onFail: { revert: pullRequest }`"
            }
            Self::Contended { .. } => "the branch is busy; Serin tries again by itself",
            Self::UnknownRevision { .. } => {
                "the commit was removed from the branch, or the mirror was deleted; deploy a newer commit"
            }
            Self::Mirror { .. } => {
                "check free space and rights; the folder may be deleted, Serin then clones again"
            }
            Self::Checkout { .. } => "check free space and rights of the folder",
            Self::Quarantine { .. } => "mend the file, or delete it to lift every quarantine",
        }
    }

    /// Sorts an error of a network operation.
    pub(super) fn of_network(remote: &Remote, dir: &Path, error: &git2::Error) -> Self {
        let url = remote.shown();
        let cause = Cause::of_git(remote, error);
        let text = error.message();
        let said = |needles: &[&str]| needles.iter().any(|needle| text.contains(needle));
        if said(&["No space left", "Disk quota", "Read-only file system"]) {
            Self::Mirror { url, dir: dir.to_owned(), cause }
        } else if error.code() == git2::ErrorCode::Auth
            || said(&[
                "status code: 401",
                "status code: 403",
                "authentication replays",
                "authenticat",
                "no credentials",
                "credentials callback",
            ])
        {
            Self::Authentication { url, cause }
        } else if error.code() == git2::ErrorCode::Certificate
            || said(&["certificate", "hostkey", "host key"])
        {
            Self::Untrusted { url, cause }
        } else if said(&[
            "status code: 404",
            "unsupported URL protocol",
            "could not find repository",
            "failed to resolve path",
            "No such file or directory",
            "not found",
            "not owned by",
        ]) {
            Self::NotFound { url, cause }
        } else {
            Self::Unreachable { url, cause }
        }
    }
}

/// The sentence of a lower layer, without credentials and of bounded length.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Cause(String);

impl Cause {
    /// Keeps what libgit2 said, with the URL's credentials and the token blanked.
    pub(super) fn of_git(remote: &Remote, error: &git2::Error) -> Self {
        Self(bounded(&remote.scrub(error.message())))
    }

    /// Keeps any other error's text.
    pub(super) fn of(error: &(impl ToString + ?Sized)) -> Self {
        Self(bounded(&error.to_string()))
    }
}

/// Makes one printable line of what a server said, of at most a few hundred characters.
pub(super) fn bounded(words: &str) -> String {
    let mut line = String::new();
    for (index, word) in words.split(|c: char| c.is_whitespace() || c.is_control()).enumerate() {
        if word.is_empty() {
            continue;
        }
        if index > 0 && !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        if let Some((cut, _)) = line.char_indices().nth(WORDS_LIMIT) {
            line.truncate(cut);
            line.push_str(" ...");
            break;
        }
    }
    line
}
