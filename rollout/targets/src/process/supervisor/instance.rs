//! One instance: its process, if it has one, and what is awaited of it.

use std::time::Duration;

use tokio::time::Instant;

use super::Generation;
use crate::process::kernel::Identity;
use crate::process::record::Record;

/// A place in a version, and the process that fills it.
pub(super) struct Instance {
    /// None only while waiting for a restart.
    pub(super) process: Option<Identity>,
    pub(super) generation: Generation,
    pub(super) port: u16,
    /// Where the output of this process begins in its log.
    pub(super) log_from: u64,
    pub(super) stop_grace: Duration,
    /// Unexpected ends in a row.
    pub(super) failures: u32,
    /// Processes in a row that found their port taken by somebody else.
    pub(super) lost_ports: u32,
    /// Whether an earlier Serin started the process, so that it is not a child of this one.
    pub(super) adopted: bool,
    pub(super) phase: Phase,
}

/// What is awaited of an instance.
pub(super) enum Phase {
    /// It runs, as its record says, and nobody has asked for it yet.
    Found,
    /// Its health path has not answered well yet. `look_at` is none while an answer is awaited.
    Starting { deadline: Instant, look_at: Option<Instant>, last_answer: String },
    /// It serves.
    Healthy { since: Instant },
    /// It ended unexpectedly and is started again at this time.
    Waiting { until: Instant },
    /// It has been told to end, or its leader has ended and the rest of the group must follow.
    Ending(Ending),
}

/// An end that is awaited.
pub(super) struct Ending {
    /// When SIGKILL is due.
    pub(super) kill_at: Instant,
    /// When SIGKILL was sent.
    pub(super) killed: Option<Instant>,
    pub(super) leader_gone: bool,
    /// Whether callers were told that it outlives SIGKILL.
    pub(super) given_up: bool,
    pub(super) look_at: Instant,
    pub(super) then: Then,
}

/// What follows when the process group is gone.
pub(super) enum Then {
    /// Nothing: the instance is not wanted any more.
    Remove,
    /// Another process at once.
    Replace,
    /// It ended by itself, so decide what that means.
    Judge { status: String, was_starting: bool },
}

impl Instance {
    /// An instance that a record tells of.
    pub(super) fn found(record: Record, generation: Generation) -> Self {
        Self {
            process: Some(record.process),
            generation,
            port: record.port,
            log_from: record.log_from,
            stop_grace: record.stop_grace,
            failures: 0,
            lost_ports: 0,
            adopted: true,
            phase: Phase::Found,
        }
    }

    pub(super) fn leader_lives(&self) -> bool {
        self.process.as_ref().is_some_and(Identity::is_alive)
    }

    /// When something is due for this instance, if anything.
    pub(super) fn due(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Found | Phase::Healthy { .. } => None,
            Phase::Starting { deadline, look_at, .. } => {
                Some(look_at.map_or(*deadline, |at| at.min(*deadline)))
            }
            Phase::Waiting { until } => Some(*until),
            Phase::Ending(ending) => Some(ending.look_at),
        }
    }
}
