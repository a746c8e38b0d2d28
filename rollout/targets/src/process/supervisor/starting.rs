//! From a request to healthy instances.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::Instant;

use super::instance::{Ending, Instance, Phase, Then};
use super::{Generation, Slot, StartReply, Supervisor, running};
use crate::process::error::StartError;
use crate::process::record::{Folder, Record};
use crate::process::spec::{Prepared, Running, Version};
use crate::process::{kernel, log, port, spawn};

/// Pause between two looks at the health path of a starting instance: short enough not to be felt
/// in a deployment, long enough to cost nothing.
const LOOK_AT_HEALTH: Duration = Duration::from_millis(100);
impl Supervisor {
    /// Adopts, starts and ends instances until the version is as asked for.
    pub(super) fn on_start(&mut self, prepared: Arc<Prepared>, replies: Vec<StartReply>) {
        if let Err(error) = self.open_folder() {
            return answer(replies, &Err(error));
        }
        let version = prepared.version.clone();
        let wanted = self.versions.entry(version.clone()).or_default();
        if wanted.ending.is_some() {
            let mut waiting = wanted.next.take().map(|(_, waiting)| waiting).unwrap_or_default();
            waiting.extend(replies);
            wanted.next = Some((prepared, waiting));
            return;
        }
        wanted.prepared = Some(Arc::clone(&prepared));
        wanted.starters.extend(replies);
        for index in 0..prepared.spec.instances {
            let slot = (version.clone(), index);
            if let Some(instance) = self.instances.get_mut(&slot) {
                join(instance, &prepared);
            } else if let Err(error) = self.begin(&slot, None, 0, 0) {
                return self.give_up(&version, error);
            }
        }
        for slot in self.slots(&version) {
            if slot.1 >= prepared.spec.instances {
                self.end(&slot, Then::Remove);
            }
        }
        self.settle(&version);
    }

    /// Starts a process for a slot, on the port that it had if that is free.
    pub(super) fn begin(
        &mut self,
        slot: &Slot,
        port: Option<u16>,
        failures: u32,
        lost_ports: u32,
    ) -> Result<(), StartError> {
        let (version, index) = slot;
        let folder = self.folder.clone().expect("a start opens the folder first");
        let wanted = self.versions.get(version);
        let established = wanted.is_some_and(|wanted| wanted.established);
        let prepared = wanted
            .and_then(|wanted| wanted.prepared.clone())
            .expect("only a version that was asked for is begun");
        let others: BTreeSet<u16> = self
            .instances
            .iter()
            .filter(|(other, _)| *other != slot)
            .map(|(_, instance)| instance.port)
            .collect();
        let port = match port {
            Some(port) if !others.contains(&port) && port::is_free(port) => port,
            Some(_) | None => port::free(&others).map_err(|error| {
                StartError::environment("cannot find a free port on 127.0.0.1", error)
            })?,
        };
        self.prune_logs(&folder, slot);
        let mut spawned = spawn::spawn(&prepared, &folder, *index, port)?;
        let record = Record {
            service: version.service.clone(),
            revision: version.revision.clone(),
            index: *index,
            process: spawned.identity.clone(),
            port,
            log_from: spawned.log_from,
            stop_grace: prepared.spec.stop_grace,
            established,
        };
        if let Err(error) = folder.write(&record) {
            // Without a record it could outlive Serin unnoticed. The runtime reaps it once dropped.
            let pid = spawned.identity.pid;
            if let Err(error) = kernel::signal_group(pid, Signal::KILL) {
                tracing::error!(pid, %error, "a process without record cannot be ended");
            }
            let path = folder.record(version, *index);
            let what = format!("cannot write the record {}", path.display());
            return Err(StartError::environment(what, error));
        }
        let generation = self.generation();
        let mut instance = Instance::found(record, generation);
        instance.adopted = false;
        instance.failures = failures;
        instance.lost_ports = lost_ports;
        instance.phase = starting(&prepared);
        self.instances.insert(slot.clone(), instance);
        let slot = slot.clone();
        self.children.push(Box::pin(async move {
            let status = spawned.child.wait().await;
            (slot, generation, status)
        }));
        Ok(())
    }

    /// Asks a starting instance how it is.
    pub(super) fn look_at_health(&mut self, slot: &Slot) {
        let prepared = self.versions.get(&slot.0).and_then(|wanted| wanted.prepared.clone());
        let (Some(prepared), Some(instance)) = (prepared, self.instances.get_mut(slot)) else {
            return;
        };
        let Phase::Starting { look_at, .. } = &mut instance.phase else {
            return;
        };
        *look_at = None;
        let (probe, slot) = (self.probe.clone(), slot.clone());
        let (port, generation) = (instance.port, instance.generation);
        self.probes.push(Box::pin(async move {
            let answer = probe.look(port, &prepared.spec.health_path).await;
            (slot, generation, answer)
        }));
    }

    /// Takes the answer of a health path.
    pub(super) fn on_answer(
        &mut self,
        slot: &Slot,
        generation: Generation,
        answer: Result<(), String>,
    ) {
        let Some(instance) = self.instances.get_mut(slot) else {
            return;
        };
        if instance.generation != generation {
            return;
        }
        let Phase::Starting { look_at, last_answer, .. } = &mut instance.phase else {
            return;
        };
        match answer {
            Ok(()) => {
                instance.phase = Phase::Healthy { since: Instant::now() };
                instance.lost_ports = 0;
                self.settle(&slot.0);
            }
            Err(text) => {
                *last_answer = text;
                *look_at = Some(Instant::now() + LOOK_AT_HEALTH);
            }
        }
    }

    /// An instance was not healthy in time.
    pub(super) fn on_unhealthy(&mut self, slot: &Slot) {
        let (version, index) = slot;
        let Some(wanted) = self.versions.get(version) else {
            return;
        };
        let Some(instance) = self.instances.get(slot) else {
            return;
        };
        let Phase::Starting { last_answer, .. } = &instance.phase else {
            return;
        };
        let patience = wanted.prepared.as_ref().map_or(Duration::ZERO, |p| p.spec.start_timeout);
        let last_answer = last_answer.clone();
        if instance.adopted {
            // It ran well once or was cut short by a crash of Serin: a fresh one gets its chance.
            self.end(slot, Then::Replace);
        } else if wanted.established {
            let seconds = patience.as_secs_f64();
            let status = format!("not healthy within {seconds} s, last answer: {last_answer}");
            self.end(slot, Then::Judge { status, was_starting: false });
        } else {
            let log_tail = self.tail(slot, instance.log_from);
            let instance = version.instance(*index);
            let error =
                StartError::NotHealthy { instance, waited: patience, last_answer, log_tail };
            self.give_up(version, error);
        }
    }

    /// A start has failed: whoever awaits it is told, and a version that was never up ends.
    pub(super) fn give_up(&mut self, version: &Version, error: StartError) {
        let Some(wanted) = self.versions.get_mut(version) else {
            return;
        };
        if wanted.established {
            let starters = std::mem::take(&mut wanted.starters);
            answer(starters, &Err(error));
        } else {
            self.end_all(version, error);
        }
    }

    /// Answers the starters if the whole version is healthy.
    fn settle(&mut self, version: &Version) {
        let Some(wanted) = self.versions.get(version) else {
            return;
        };
        let Some(prepared) = &wanted.prepared else {
            return;
        };
        let healthy: Option<Vec<Running>> = (0..prepared.spec.instances)
            .map(|index| {
                let slot = (version.clone(), index);
                running(&slot, self.instances.get(&slot)?)
            })
            .collect();
        let Some(healthy) = healthy else { return };
        if !wanted.established {
            self.establish(version);
        }
        if let Some(wanted) = self.versions.get_mut(version) {
            answer(std::mem::take(&mut wanted.starters), &Ok(healthy));
        }
        self.publish();
    }

    /// Writes down that a version has been healthy as a whole.
    fn establish(&mut self, version: &Version) {
        if let Some(wanted) = self.versions.get_mut(version) {
            wanted.established = true;
        }
        let Some(folder) = &self.folder else { return };
        for slot in self.slots(version) {
            let Some(instance) = self.instances.get(&slot) else {
                continue;
            };
            let Some(process) = instance.process.clone() else {
                continue;
            };
            let record = Record {
                service: version.service.clone(),
                revision: version.revision.clone(),
                index: slot.1,
                process,
                port: instance.port,
                log_from: instance.log_from,
                stop_grace: instance.stop_grace,
                established: true,
            };
            if let Err(error) = folder.write(&record) {
                // The older record still finds the process; only a failed restart after a crash
                // of Serin would then end the version instead of trying again.
                let instance = version.instance(slot.1);
                tracing::warn!(instance, %error, "cannot renew the record of a healthy instance");
            }
        }
    }

    pub(super) fn tail(&self, slot: &Slot, from: u64) -> Vec<String> {
        self.folder
            .as_ref()
            .map(|folder| log::tail(&folder.log(&slot.0, slot.1), from))
            .unwrap_or_default()
    }

    fn prune_logs(&self, folder: &Folder, slot: &Slot) {
        let slots = self.instances.keys().chain([slot]);
        let in_use = slots.map(|(version, index)| folder.log(version, *index)).collect();
        if let Err(error) = log::prune(&folder.logs(), &in_use) {
            tracing::warn!(%error, "cannot remove old logs");
        }
    }
}

/// Lets a start that comes later use an instance that is there already.
fn join(instance: &mut Instance, prepared: &Prepared) {
    match &mut instance.phase {
        Phase::Found => {
            instance.stop_grace = prepared.spec.stop_grace;
            instance.phase = starting(prepared);
        }
        Phase::Ending(Ending { then: then @ Then::Remove, .. }) => *then = Then::Replace,
        Phase::Ending(_)
        | Phase::Starting { .. }
        | Phase::Healthy { .. }
        | Phase::Waiting { .. } => {}
    }
}

fn starting(prepared: &Prepared) -> Phase {
    let now = Instant::now();
    Phase::Starting {
        deadline: now + prepared.spec.start_timeout,
        look_at: Some(now),
        last_answer: "none".to_owned(),
    }
}

/// Tells every caller the same. One that has gone away needs no answer.
pub(super) fn answer<T: Clone>(replies: Vec<tokio::sync::oneshot::Sender<T>>, with: &T) {
    for reply in replies {
        let _ = reply.send(with.clone());
    }
}
