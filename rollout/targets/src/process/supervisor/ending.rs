//! From a request or an unexpected end to a process group that is gone.

use std::time::Duration;

use rustix::process::Signal;
use tokio::time::Instant;

use super::instance::{Ending, Instance, Phase, Then};
use super::starting::answer;
use super::{Generation, Slot, StopReply, Supervisor};
use crate::process::error::{StartError, StopError};
use crate::process::kernel;
use crate::process::spec::Version;

/// How often a group is looked at that should be gone soon.
const LOOK_AT_GROUP: Duration = Duration::from_millis(20);
/// How long after SIGKILL members of a group may remain once its leader is gone: they are zombies
/// that wait for a parent of theirs, and hold nothing any more.
const GROUP_LINGERS: Duration = Duration::from_secs(1);
/// How long after SIGKILL a leader may remain before callers are told.
const GIVE_UP_AFTER: Duration = Duration::from_secs(10);
/// Health of this length makes the next failure the first again.
const FORGIVEN_AFTER: Duration = Duration::from_secs(60);

impl Supervisor {
    /// Ends a version for good.
    pub(super) fn on_stop(&mut self, version: &Version, reply: StopReply) {
        // Without its folder nothing is known of what ran before, so nothing may be called ended.
        if self.open_folder().is_err() && !self.versions.contains_key(version) {
            tracing::warn!(service = version.service, "stopping without the folder of records");
        }
        let Some(wanted) = self.versions.get_mut(version) else {
            return answer(vec![reply], &Ok(()));
        };
        wanted.stoppers.push(reply);
        if let Some((_, waiting)) = wanted.next.take() {
            answer(waiting, &Err(StartError::Stopped));
        }
        self.end_all(version, StartError::Stopped);
    }

    /// Ends all instances of a version; starters are told `why` when they are gone.
    pub(super) fn end_all(&mut self, version: &Version, why: StartError) {
        if let Some(wanted) = self.versions.get_mut(version) {
            wanted.ending.get_or_insert(why);
        }
        for slot in self.slots(version) {
            self.end(&slot, Then::Remove);
        }
        self.conclude(version);
    }

    /// Tells one instance to end.
    pub(super) fn end(&mut self, slot: &Slot, then: Then) {
        let Some(instance) = self.instances.get_mut(slot) else {
            return;
        };
        match &mut instance.phase {
            Phase::Waiting { .. } => self.forget(slot),
            Phase::Ending(ending) => {
                ending.then = then;
                // One that was told before is given another chance to be reported.
                ending.given_up = false;
                ending.look_at = Instant::now();
            }
            Phase::Found | Phase::Starting { .. } | Phase::Healthy { .. } => {
                // An adopted process might have ended since the last look and its id be another's.
                let leader_gone = instance.adopted && !instance.leader_lives();
                if !leader_gone {
                    signal(instance, Signal::TERM);
                }
                let now = Instant::now();
                instance.phase = Phase::Ending(Ending {
                    kill_at: now + instance.stop_grace,
                    killed: None,
                    leader_gone,
                    given_up: false,
                    look_at: now + LOOK_AT_GROUP,
                    then,
                });
            }
        }
    }

    /// The process of an instance has ended, by itself or because it was told to.
    pub(super) fn on_end(&mut self, slot: &Slot, generation: Generation, status: &str) {
        let Some(instance) = self.instances.get_mut(slot) else {
            return;
        };
        if instance.generation != generation {
            return;
        }
        let now = Instant::now();
        let then = match &mut instance.phase {
            Phase::Ending(ending) => {
                ending.leader_gone = true;
                ending.look_at = now;
                return;
            }
            Phase::Waiting { .. } => return,
            Phase::Found => Then::Remove,
            Phase::Starting { .. } => Then::Judge { status: status.to_owned(), was_starting: true },
            Phase::Healthy { since } => {
                if now >= *since + FORGIVEN_AFTER {
                    instance.failures = 0;
                }
                Then::Judge { status: status.to_owned(), was_starting: false }
            }
        };
        // Members that outlive their leader may hold its port, and serve nobody.
        instance.phase = Phase::Ending(Ending {
            kill_at: now,
            killed: None,
            leader_gone: true,
            given_up: false,
            look_at: now,
            then,
        });
    }

    /// Looks at an instance that should be gone soon.
    pub(super) fn on_ending(&mut self, slot: &Slot, now: Instant) {
        let Some(instance) = self.instances.get_mut(slot) else {
            return;
        };
        let leader_lives = !instance.adopted || instance.leader_lives();
        let pid = instance.process.as_ref().map_or(0, |process| process.pid);
        let Phase::Ending(ending) = &mut instance.phase else {
            return;
        };
        ending.leader_gone |= !leader_lives;
        let killed_for = ending.killed.map(|at| now.saturating_duration_since(at));
        let gone = ending.leader_gone
            && (killed_for.is_some_and(|since| since >= GROUP_LINGERS)
                || !kernel::group_lives(pid));
        if gone {
            return self.on_gone(slot);
        }
        let kill = ending.killed.is_none() && now >= ending.kill_at;
        if kill {
            ending.killed = Some(now);
        }
        let overdue = !ending.given_up && killed_for.is_some_and(|since| since >= GIVE_UP_AFTER);
        ending.given_up |= overdue;
        ending.look_at = if ending.leader_gone || ending.killed.is_some() || instance.adopted {
            now + LOOK_AT_GROUP
        } else {
            // A child reports its own end.
            ending.kill_at
        };
        if kill {
            signal(instance, Signal::KILL);
        }
        if let (true, Some(waited)) = (overdue, killed_for) {
            self.tell_that_it_lives(slot, pid, waited);
        }
    }

    /// The whole group is gone.
    fn on_gone(&mut self, slot: &Slot) {
        let Some(instance) = self.instances.get_mut(slot) else {
            return;
        };
        let Phase::Ending(ending) = &mut instance.phase else {
            return;
        };
        let failures = instance.failures;
        match std::mem::replace(&mut ending.then, Then::Remove) {
            Then::Remove => {
                self.forget(slot);
                self.conclude(&slot.0);
            }
            Then::Replace => {
                if let Err(error) = self.begin(slot, None, failures, 0) {
                    self.failed_to_begin(slot, error);
                }
            }
            Then::Judge { status, was_starting } => self.judge(slot, status, was_starting),
        }
    }

    /// Tells everybody who waits for an end that it does not come.
    fn tell_that_it_lives(&mut self, slot: &Slot, pid: u32, for_long: Duration) {
        let (version, index) = slot;
        let Some(wanted) = self.versions.get_mut(version) else {
            return;
        };
        let instance = version.instance(*index);
        let error = StopError::StillAlive { instance, pid, waited: for_long };
        tracing::error!(pid, "{error}");
        let started = StartError::Environment { what: error.to_string(), source: None };
        answer(std::mem::take(&mut wanted.stoppers), &Err(error));
        answer(std::mem::take(&mut wanted.starters), &Err(started.clone()));
        if let Some((_, waiting)) = wanted.next.take() {
            answer(waiting, &Err(started));
        }
    }

    /// If a version that is being ended has no instance left, tells everybody and goes on with a
    /// start that came meanwhile.
    fn conclude(&mut self, version: &Version) {
        if !self.slots(version).is_empty() {
            return;
        }
        let Some(wanted) = self.versions.get(version) else {
            return;
        };
        if wanted.ending.is_none() && wanted.prepared.is_some() {
            return;
        }
        let Some(wanted) = self.versions.remove(version) else {
            return;
        };
        self.publish();
        answer(wanted.starters, &Err(wanted.ending.unwrap_or(StartError::Stopped)));
        answer(wanted.stoppers, &Ok(()));
        if let Some((prepared, waiting)) = wanted.next {
            self.on_start(prepared, waiting);
        }
    }

    /// Drops an instance that has no process.
    pub(super) fn forget(&mut self, slot: &Slot) {
        self.remove_record(slot);
        self.instances.remove(slot);
    }

    pub(super) fn remove_record(&self, slot: &Slot) {
        let Some(folder) = &self.folder else { return };
        if let Err(error) = folder.remove(&slot.0, slot.1) {
            // It names a process that is gone, which the next reader of the folder will see.
            let instance = slot.0.instance(slot.1);
            tracing::warn!(instance, %error, "cannot remove the record of an instance");
        }
    }
}

/// Signals the group of an instance. A failure shows in that the process stays.
fn signal(instance: &Instance, signal: Signal) {
    let Some(process) = &instance.process else {
        return;
    };
    if let Err(error) = kernel::signal_group(process.pid, signal) {
        tracing::warn!(pid = process.pid, ?signal, %error, "cannot signal a process group");
    }
}
