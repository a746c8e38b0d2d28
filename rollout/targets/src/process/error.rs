//! Why a version could not be started or stopped.
//!
//! The one question that a caller asks of a failed start is whose fault it was: a version that
//! cannot run is rolled back, a full disk is not the version's doing and is tried again.

use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Why a version did not come up.
///
/// Whatever the reason, a version that had never been up as a whole has nothing left running when
/// the error is returned.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StartError {
    /// The specification cannot be run as it is written; it must be mended in Git.
    #[error("{what}")]
    Invalid {
        /// What is wrong and what would be right.
        what: String,
    },
    /// The program, or the interpreter that its first line names, cannot be executed.
    #[error(
        "cannot execute `{program}` in the checkout of the revision; \
         hint: a program of the repository is written with its path, as `./bin/server`, \
         and must be executable"
    )]
    NoSuchCommand {
        /// The program as the specification names it.
        program: String,
        /// What the kernel said.
        #[source]
        source: Arc<io::Error>,
    },
    /// The process ended before it was healthy.
    #[error("{instance} ended before it was healthy ({status}){}", quoted(.log_tail))]
    Exited {
        /// Name of the instance.
        instance: String,
        /// Exit status or signal, in words.
        status: String,
        /// Its last lines of output, at most twenty.
        log_tail: Vec<String>,
    },
    /// The process runs but never answered its health path with 2xx or 3xx.
    #[error(
        "{instance} was not healthy within {} s (last answer: {last_answer}); \
         hint: it must listen on the port in PORT{}",
        .waited.as_secs_f64(), quoted(.log_tail)
    )]
    NotHealthy {
        /// Name of the instance.
        instance: String,
        /// How long it was waited for.
        waited: Duration,
        /// What the last probe got: a status, or why there was none.
        last_answer: String,
        /// Its last lines of output, at most twenty.
        log_tail: Vec<String>,
    },
    /// A stop of the same version came in between.
    #[error("the version was stopped before it was healthy")]
    Stopped,
    /// This machine or Serin's own folder is at fault, not the version; worth another attempt.
    #[error("{what}")]
    Environment {
        /// What failed and where.
        what: String,
        /// What the kernel said, if it was asked.
        #[source]
        source: Option<Arc<io::Error>>,
    },
}

impl StartError {
    /// Whether another version on this machine might well have started: if so, roll back; if not,
    /// try again and tell a person.
    pub fn is_version_fault(&self) -> bool {
        match self {
            Self::Invalid { .. }
            | Self::NoSuchCommand { .. }
            | Self::Exited { .. }
            | Self::NotHealthy { .. } => true,
            Self::Stopped | Self::Environment { .. } => false,
        }
    }

    pub(super) fn environment(what: impl Into<String>, source: io::Error) -> Self {
        Self::Environment { what: what.into(), source: Some(Arc::new(source)) }
    }

    pub(super) fn supervisor_ended() -> Self {
        Self::Environment {
            what: "the task that owns the processes has ended; hint: restart Serin".to_owned(),
            source: None,
        }
    }
}

/// Why a version could not be stopped for certain.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StopError {
    /// The process is still there after SIGKILL, so it hangs in the kernel or belongs to another
    /// user; Serin goes on watching it, and a later stop waits again.
    #[error(
        "process {pid} of {instance} is still there {} s after SIGKILL; \
         hint: it may hang on a dead disk or network mount, or run as another user",
        .waited.as_secs()
    )]
    StillAlive {
        /// Name of the instance.
        instance: String,
        /// Process id of its leader.
        pid: u32,
        /// Time since SIGKILL.
        waited: Duration,
    },
    /// The task that owns the processes has ended, which only a defect or a shutdown does.
    #[error("the task that owns the processes has ended; hint: restart Serin")]
    SupervisorEnded,
}

/// The last output as an indented block, or nothing.
fn quoted(log_tail: &[String]) -> String {
    if log_tail.is_empty() {
        return "; it wrote nothing".to_owned();
    }
    format!("; its last output:\n  | {}", log_tail.join("\n  | "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_start_quotes_the_last_output() {
        let error = StartError::Exited {
            instance: "checkout-4f2c1a9-0".to_owned(),
            status: "exit status: 3".to_owned(),
            log_tail: vec!["no database".to_owned(), "giving up".to_owned()],
        };
        assert_eq!(
            error.to_string(),
            "checkout-4f2c1a9-0 ended before it was healthy (exit status: 3); its last output:\
             \n  | no database\n  | giving up"
        );
        assert!(error.is_version_fault());
    }

    #[test]
    fn the_machine_is_not_the_versions_fault() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert!(!StartError::environment("cannot write x", full).is_version_fault());
        assert!(!StartError::Stopped.is_version_fault());
    }
}
