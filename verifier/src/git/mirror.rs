//! A bare clone of one repository in a folder of Serin's own.
//!
//! The mirror is a cache: it may be deleted at any time and is filled again by the next fetch. It is
//! opened anew for each call, which costs well under a millisecond and makes a [`Mirror`] free of
//! locks. Nothing about the remote, least of all credentials, is ever written into it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use git2::{
    AutotagOption, Commit, Direction, ErrorCode, FetchOptions, ObjectType, Oid, ProxyOptions,
    RemoteCallbacks, Repository, RepositoryInitOptions,
};

use super::error::{Cause, GitError};
use super::line::{Line, PATIENCE, Pulse};
use super::paths::{QUARANTINE, within};
use super::remote::Remote;

/// Most bytes of one policy file. A real one has a few kilobytes.
pub(super) const FILE_LIMIT: usize = 256 * 1024;

/// Most policy files that are read from one folder.
const FILES_LIMIT: usize = 256;

/// A bare clone of a repository, with its remote.
#[derive(Debug)]
pub struct Mirror {
    pub(super) dir: PathBuf,
    pub(super) remote: Remote,
    pub(super) line: Line,
    /// Held while files are written out, so that a leftover of a crash can be told from work under way.
    pub(super) writing: Mutex<()>,
}

/// The branch's newest commit, as the last fetch saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tip {
    /// The newest commit.
    pub revision: Oid,
    /// The newest commit of the fetch before, if there was one.
    pub previous: Option<Oid>,
    /// Whether the branch was rewritten: the commit of the fetch before is no ancestor of this one.
    pub rewritten: bool,
}

/// The policy files of a revision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyFiles {
    /// Path from the repository's root, and text, in order of the paths.
    pub files: Vec<(String, Vec<u8>)>,
    /// Path and reason of each file that was not read.
    pub refused: Vec<(String, String)>,
}

impl Mirror {
    /// Opens the mirror in a folder, making it when it is not there yet.
    ///
    /// The folder must belong to this mirror alone, one for each repository and branch: locks that a
    /// crash left behind are removed.
    ///
    /// # Errors
    /// When the folder cannot be made or holds something else: choose another one.
    pub fn open(dir: &Path, remote: Remote) -> Result<Self, GitError> {
        let mirror = Self {
            dir: dir.to_owned(),
            remote,
            line: Line::new(PATIENCE),
            writing: Mutex::new(()),
        };
        let foreign = dir.is_dir()
            && !dir.join("HEAD").exists()
            && !dir.join("objects").exists()
            && fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some());
        if foreign {
            return Err(mirror.unusable("the folder holds something that is not a Git repository"));
        }
        make(dir).map_err(|error| mirror.broken(&error))?;
        unlock(dir, 0).map_err(|error| mirror.unusable(&error))?;
        Ok(mirror)
    }

    /// Sets how long a silent server is waited for (60 s unless set).
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.line = Line::new(patience);
        self
    }

    /// Where the repository is, for people: without credentials.
    pub fn shown_url(&self) -> String {
        self.remote.shown()
    }

    /// The branch that is watched.
    pub fn branch(&self) -> &str {
        &self.remote.branch
    }

    /// Brings the mirror up to date and returns the branch's tip; `None` while there is no commit.
    ///
    /// # Errors
    /// [`GitError::transient`] says whether to try again; a missing branch or refused credentials
    /// want a person.
    pub fn fetch(&self) -> Result<Option<Tip>, GitError> {
        self.fetch_with(None).map(|(tip, _)| tip)
    }

    /// Fetches the branch, and another one if the remote has it.
    pub(super) fn fetch_with(
        &self,
        other: Option<String>,
    ) -> Result<(Option<Tip>, Option<Oid>), GitError> {
        let (dir, remote) = (self.dir.clone(), self.remote.clone());
        self.line.run(&self.remote, move |pulse| fetch(&dir, &remote, other.as_deref(), pulse))
    }

    /// The tip that the last fetch saw, without asking the remote.
    ///
    /// # Errors
    /// When the mirror cannot be read.
    pub fn last_tip(&self) -> Result<Option<Oid>, GitError> {
        let repository = self.repository()?;
        reference(&repository, &tracking(&self.remote.branch)).map_err(|error| self.broken(&error))
    }

    /// Whether `ancestor` is `revision` or in its history.
    ///
    /// # Errors
    /// When the mirror does not hold one of them.
    pub fn is_ancestor(&self, ancestor: Oid, revision: Oid) -> Result<bool, GitError> {
        let repository = self.repository()?;
        self.find(&repository, ancestor)?;
        self.find(&repository, revision)?;
        contains(&repository, revision, ancestor).map_err(|error| self.broken(&error))
    }

    /// Reads the policy files (`*.yaml`, `*.yml`) right inside a folder; the quarantine list is none.
    ///
    /// A file over 256 KiB, a link, and every file after the 256th are refused by name.
    ///
    /// # Errors
    /// When the mirror does not hold the revision.
    pub fn read_folder(&self, revision: Oid, folder: &str) -> Result<PolicyFiles, GitError> {
        let repository = self.repository()?;
        let commit = self.find(&repository, revision)?;
        read_folder(&repository, &commit, folder.trim_matches('/'))
            .map_err(|error| self.broken(&error))
    }

    pub(super) fn repository(&self) -> Result<Repository, GitError> {
        Repository::open_bare(&self.dir).map_err(|error| self.broken(&error))
    }

    pub(super) fn find<'a>(
        &self,
        repository: &'a Repository,
        revision: Oid,
    ) -> Result<Commit<'a>, GitError> {
        repository.find_commit(revision).map_err(|error| GitError::UnknownRevision {
            url: self.remote.shown(),
            revision: revision.to_string(),
            cause: Cause::of_git(&self.remote, &error),
        })
    }

    /// An error of the mirror's own files.
    pub(super) fn broken(&self, error: &git2::Error) -> GitError {
        let cause = Cause::of_git(&self.remote, error);
        GitError::Mirror { url: self.remote.shown(), dir: self.dir.clone(), cause }
    }

    fn unusable(&self, why: &(impl ToString + ?Sized)) -> GitError {
        let cause = Cause::of(why);
        GitError::Mirror { url: self.remote.shown(), dir: self.dir.clone(), cause }
    }
}

/// Makes the mirror, or completes one whose making was interrupted.
fn make(dir: &Path) -> Result<Repository, git2::Error> {
    let mut options = RepositoryInitOptions::new();
    options.bare(true).mkdir(true).mkpath(true).external_template(false);
    Repository::init_opts(dir, &options)
}

/// The mirror's own name of a branch of the remote.
fn tracking(branch: &str) -> String {
    format!("refs/serin/{branch}")
}

/// Whether `ancestor` is `revision` or in its history.
pub(super) fn contains(
    repository: &Repository,
    revision: Oid,
    ancestor: Oid,
) -> Result<bool, git2::Error> {
    Ok(revision == ancestor || repository.graph_descendant_of(revision, ancestor)?)
}

/// Callbacks with credentials and signs of life.
pub(super) fn callbacks<'a>(remote: &Remote, pulse: &Arc<Pulse>) -> RemoteCallbacks<'a> {
    let mut callbacks = RemoteCallbacks::new();
    callbacks.credentials(remote.answer());
    let beat = Arc::clone(pulse);
    callbacks.transfer_progress(move |_| beat.beat());
    let beat = Arc::clone(pulse);
    callbacks.sideband_progress(move |_| beat.beat());
    callbacks
}

/// Proxy as Git's configuration and the usual variables say.
pub(super) fn proxy<'a>() -> ProxyOptions<'a> {
    let mut proxy = ProxyOptions::new();
    proxy.auto();
    proxy
}

fn fetch(
    dir: &Path,
    remote: &Remote,
    other: Option<&str>,
    pulse: &Arc<Pulse>,
) -> Result<(Option<Tip>, Option<Oid>), GitError> {
    let local = |error: git2::Error| GitError::Mirror {
        url: remote.shown(),
        dir: dir.to_owned(),
        cause: Cause::of_git(remote, &error),
    };
    let network = |error: git2::Error| GitError::of_network(remote, dir, &error);
    let repository = match Repository::open_bare(dir) {
        // Somebody deleted the mirror.
        Err(error) if error.code() == ErrorCode::NotFound => make(dir),
        opened => opened,
    }
    .map_err(local)?;
    let mut origin = repository.remote_anonymous(&remote.url).map_err(network)?;
    let connection = origin
        .connect_auth(Direction::Fetch, Some(callbacks(remote, pulse)), Some(proxy()))
        .map_err(network)?;
    let heads: BTreeMap<String, Oid> = connection
        .list()
        .map_err(network)?
        .iter()
        .filter_map(|head| Some((head.name().strip_prefix("refs/heads/")?.to_owned(), head.oid())))
        .collect();
    drop(connection);
    if pulse.left() {
        // Nobody waits any more, and a newer fetch may be under way: nothing may be moved back.
        return Ok((None, None));
    }
    if heads.is_empty() {
        return Ok((None, None));
    }
    let Some(&revision) = heads.get(&remote.branch) else {
        return Err(GitError::BranchMissing {
            url: remote.shown(),
            branch: remote.branch.clone(),
            present: some_of(heads.keys()),
        });
    };
    let name = tracking(&remote.branch);
    let previous = reference(&repository, &name).map_err(local)?;
    let other = other.and_then(|branch| Some((branch, *heads.get(branch)?)));
    let odb = repository.odb().map_err(local)?;
    let mut wanted = Vec::new();
    if !(previous == Some(revision) && odb.exists(revision)) {
        wanted.push(format!("+refs/heads/{}:{name}", remote.branch));
    }
    if let Some((branch, id)) = other
        && !odb.exists(id)
    {
        wanted.push(format!("+refs/heads/{branch}:{}", tracking(branch)));
    }
    if !wanted.is_empty() {
        let mut options = FetchOptions::new();
        options
            .remote_callbacks(callbacks(remote, pulse))
            .proxy_options(proxy())
            .update_fetchhead(false)
            .download_tags(AutotagOption::None);
        origin.fetch(&wanted, Some(&mut options), Some("serin: fetch")).map_err(network)?;
    }
    // The branch may have moved between listing and fetching: what was stored is what counts.
    let revision = reference(&repository, &name).map_err(local)?.unwrap_or(revision);
    let rewritten = match previous {
        Some(previous) if odb.exists(previous) => {
            !contains(&repository, revision, previous).map_err(local)?
        }
        Some(_) | None => false,
    };
    Ok((Some(Tip { revision, previous, rewritten }), other.map(|(_, id)| id)))
}

fn reference(repository: &Repository, name: &str) -> Result<Option<Oid>, git2::Error> {
    match repository.refname_to_id(name) {
        Ok(id) => Ok(Some(id)),
        Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn some_of<'a>(names: impl ExactSizeIterator<Item = &'a String>) -> String {
    const SHOWN: usize = 5;
    let rest = names.len().saturating_sub(SHOWN);
    let mut text = names.take(SHOWN).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if rest > 0 {
        text.extend([" and ", &rest.to_string(), " more"]);
    }
    text
}

/// Removes the lock files that a killed process left: references sit few folders deep.
fn unlock(dir: &Path, depth: usize) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            if entry.file_name() != "objects" && depth < 16 {
                unlock(&path, depth + 1)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "lock") {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

fn read_folder(
    repository: &Repository,
    commit: &Commit<'_>,
    folder: &str,
) -> Result<PolicyFiles, git2::Error> {
    let mut found = PolicyFiles::default();
    let root = commit.tree()?;
    let entry = if folder.is_empty() { None } else { Some(root.get_path(Path::new(folder))) };
    let tree = match entry.transpose() {
        Ok(None) => root,
        Ok(Some(entry)) if entry.kind() == Some(ObjectType::Tree) => {
            repository.find_tree(entry.id())?
        }
        Ok(Some(_)) => return Ok(found),
        Err(error) if error.code() == ErrorCode::NotFound => return Ok(found),
        Err(error) => return Err(error),
    };
    let odb = repository.odb()?;
    for entry in &tree {
        let name = String::from_utf8_lossy(entry.name_bytes()).into_owned();
        let extension = Path::new(&name).extension().and_then(std::ffi::OsStr::to_str);
        if !matches!(extension, Some("yaml" | "yml")) || name == QUARANTINE {
            continue;
        }
        let path = within(folder, &name);
        let refusal = if entry.kind() != Some(ObjectType::Blob) {
            Some("it is not a file".to_owned())
        } else if entry.filemode() == i32::from(git2::FileMode::Link) {
            Some("it is a symbolic link; write the policy itself here".to_owned())
        } else if found.files.len() == FILES_LIMIT {
            Some(format!("a folder may hold at most {FILES_LIMIT} policies"))
        } else {
            let (size, _) = odb.read_header(entry.id())?;
            (size > FILE_LIMIT)
                .then(|| format!("it has {size} bytes, a policy may have at most {FILE_LIMIT}"))
        };
        match refusal {
            Some(why) => found.refused.push((path, why)),
            None => {
                found.files.push((path, repository.find_blob(entry.id())?.content().to_vec()));
            }
        }
    }
    found.refused.truncate(FILES_LIMIT);
    Ok(found)
}
