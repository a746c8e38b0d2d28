//! Pushes one commit so that it lands only on the very tip that was analysed.
//!
//! Over a network protocol the server compares the old value of the branch itself. libgit2's transport
//! for repositories on the same machine does not: it sets the branch to whatever it is told. There the
//! objects are copied and the branch is moved by a compare-and-swap under Git's own lock, which also
//! honours a `git push` that runs at the same time. Hooks of a repository on the same machine are not
//! run, as always with libgit2.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use git2::{ErrorClass, ErrorCode, Oid, PushOptions, Repository};

use super::error::{GitError, bounded};
use super::line::Pulse;
use super::mirror::{callbacks, proxy};
use super::remote::Remote;

/// Most bytes of a server's chatter that are kept while pushing.
const CHATTER: usize = 4096;

/// How a push ended that reached the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Pushed {
    /// The branch is at the new commit.
    Accepted,
    /// The branch is not where it was: analyse again.
    Moved,
    /// The server has a rule against it, in its own words.
    Refused(String),
}

/// Pushes `commit` to a branch that must be at `expected`, or not exist when that is `None`.
pub(super) fn push(
    repository: &Repository,
    remote: &Remote,
    commit: Oid,
    branch: &str,
    expected: Option<Oid>,
    pulse: &Arc<Pulse>,
) -> Result<Pushed, GitError> {
    let network = |error: git2::Error| GitError::of_network(remote, repository.path(), &error);
    let name = format!("refs/heads/{branch}");
    if let Some(folder) = remote.local() {
        return push_local(repository, &folder, commit, &name, expected, pulse).map_err(network);
    }
    let chatter = Rc::new(RefCell::new(String::new()));
    let refusal = Rc::new(RefCell::new(None));
    let moved = Rc::new(RefCell::new(false));
    let mut callbacks = callbacks(remote, pulse);
    let (beat, heard) = (Arc::clone(pulse), Rc::clone(&chatter));
    callbacks.sideband_progress(move |bytes| {
        let mut heard = heard.borrow_mut();
        if heard.len() < CHATTER {
            heard.push_str(&String::from_utf8_lossy(bytes));
        }
        beat.beat()
    });
    let beat = Arc::clone(pulse);
    callbacks.push_transfer_progress(move |_, _, _| {
        beat.beat();
    });
    let refused = Rc::clone(&refusal);
    callbacks.push_update_reference(move |_, status| {
        *refused.borrow_mut() = status.map(str::to_owned);
        Ok(())
    });
    let (elsewhere, asked) = (Rc::clone(&moved), Arc::clone(pulse));
    callbacks.push_negotiation(move |updates| {
        let expected = expected.unwrap_or(Oid::ZERO_SHA1);
        if updates.iter().any(|update| update.src() != expected) {
            *elsewhere.borrow_mut() = true;
            return Err(stop("the branch is not where it was"));
        }
        if asked.left() {
            return Err(stop("nobody waits for this push any more"));
        }
        Ok(())
    });
    let mut options = PushOptions::new();
    options.remote_callbacks(callbacks).proxy_options(proxy());
    let mut origin = repository.remote_anonymous(&remote.url).map_err(network)?;
    let sent = origin.push(&[format!("{commit}:{name}")], Some(&mut options));
    drop(options);
    if *moved.borrow() {
        return Ok(Pushed::Moved);
    }
    match sent {
        Err(error) if error.code() == ErrorCode::NotFastForward => return Ok(Pushed::Moved),
        Err(error) => return Err(network(error)),
        Ok(()) => {}
    }
    let refusal = refusal.borrow_mut().take();
    Ok(match refusal {
        None => Pushed::Accepted,
        Some(status) if outrun(&status) => Pushed::Moved,
        Some(status) => {
            let chatter = chatter.borrow();
            let words =
                if chatter.trim().is_empty() { status } else { format!("{status}: {chatter}") };
            Pushed::Refused(bounded(&remote.scrub(&words)))
        }
    })
}

fn stop(why: &str) -> git2::Error {
    git2::Error::new(ErrorCode::User, ErrorClass::Callback, why)
}

/// Whether a server's status says that somebody else pushed first.
fn outrun(status: &str) -> bool {
    [
        "non-fast-forward",
        "fetch first",
        "stale info",
        "cannot lock ref",
        "failed to lock",
        "failed to update ref",
        "reference already exists",
        "remote ref changed",
        "incorrect old value",
    ]
    .iter()
    .any(|words| status.contains(words))
}

fn push_local(
    repository: &Repository,
    folder: &Path,
    commit: Oid,
    name: &str,
    expected: Option<Oid>,
    pulse: &Arc<Pulse>,
) -> Result<Pushed, git2::Error> {
    let target = Repository::open(folder)?;
    if !target.is_bare() && target.head().is_ok_and(|head| head.name().is_ok_and(|at| at == name)) {
        return Ok(Pushed::Refused(
            "the repository is a working copy with this very branch checked out: \
             give Serin a bare repository"
                .into(),
        ));
    }
    let current = match target.refname_to_id(name) {
        Ok(id) => Some(id),
        Err(error) if error.code() == ErrorCode::NotFound => None,
        Err(error) => return Err(error),
    };
    if current != expected {
        return Ok(Pushed::Moved);
    }
    let mut walk = repository.revwalk()?;
    walk.push(commit)?;
    for parent in repository.find_commit(commit)?.parent_ids() {
        walk.hide(parent)?;
    }
    let mut pack = repository.packbuilder()?;
    pack.insert_walk(&mut walk)?;
    let odb = target.odb()?;
    let mut writer = odb.packwriter()?;
    let mut fault = None;
    pack.foreach(|bytes| match std::io::Write::write_all(&mut writer, bytes) {
        Ok(()) => pulse.beat(),
        Err(error) => {
            fault = Some(error);
            false
        }
    })
    .map_err(|error| match fault.take() {
        Some(fault) => git2::Error::from_str(&fault.to_string()),
        None => error,
    })?;
    writer.commit()?;
    let log = "push by serin";
    let moved = match expected {
        Some(expected) => target.reference_matching(name, commit, true, expected, log),
        None => target.reference(name, commit, false, log),
    };
    match moved {
        Ok(_) => Ok(Pushed::Accepted),
        Err(error)
            if matches!(
                error.code(),
                ErrorCode::Modified | ErrorCode::Locked | ErrorCode::Exists
            ) =>
        {
            Ok(Pushed::Moved)
        }
        Err(error) => Err(error),
    }
}
