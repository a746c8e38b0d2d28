//! Git: which commits there are, what they change, and the commit that undoes a bad one.
//!
//! Serin keeps a bare clone of each repository, a [`Mirror`], in a folder of its own and never touches
//! a working copy of the user's. Everything here is synchronous and blocking, because libgit2 is: the
//! caller runs it on a blocking thread. A [`Mirror`] may be shared between threads.
//!
//! What holds, whatever happens (each is a property test in `tests`):
//!
//! - a push is never forced and never rewrites: the old tip is an ancestor of the new one;
//! - the parent of a revert is the very tip that was analysed: the push is the compare-and-swap;
//! - the same deployment is reverted at most once, found again by a trailer in the commit message;
//! - only files that the service declares change, with one exception, the quarantine list;
//! - later commits keep their effect, and a conflict writes nothing at all.

mod changes;
mod checkout;
mod commit;
mod content;
mod diff;
mod error;
mod line;
mod message;
mod mirror;
mod paths;
mod plan;
mod push;
mod quarantine;
mod remote;
mod revert;
mod tree;
mod watch;

#[cfg(test)]
mod tests;

pub use self::changes::{FileChange, Touched};
pub use self::commit::{CommitSummary, RevertTrailers};
pub use self::content::Fingerprint;
pub use self::diff::{DeployedRange, LeftOut, deployed_range};
pub use self::error::{Cause, GitError};
pub use self::mirror::{Mirror, PolicyFiles, Tip};
pub use self::paths::{Paths, PathsError};
pub use self::plan::RevertPlan;
pub use self::quarantine::{QuarantineEntry, Quarantining, quarantined};
pub use self::remote::{Credentials, Remote};
pub use self::revert::{Author, Destination, RevertRequest, Reverted};
pub use self::watch::{Relation, Reverter, ServiceChange, Watched};
pub use git2::Oid;
