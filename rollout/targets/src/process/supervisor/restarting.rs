//! What an unexpected end means: another port, a failed start, or a restart after a pause.

use std::time::Duration;

use tokio::time::Instant;

use super::instance::Phase;
use super::{Slot, Supervisor};
use crate::process::error::StartError;
use crate::process::port;
use crate::process::spec::Exit;

/// Processes in a row that may lose their port to somebody else. One is bad luck; five mean that
/// the version itself does something else with ports.
const MOST_LOST_PORTS: u32 = 5;
/// First pause before a restart; it doubles with each failure in a row.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause before a restart.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

impl Supervisor {
    /// The process of a slot ended by itself and its group is gone.
    pub(super) fn judge(&mut self, slot: &Slot, status: String, was_starting: bool) {
        let (version, index) = slot;
        let Some(instance) = self.instances.get(slot) else {
            return;
        };
        let (port, failures, lost_ports) = (instance.port, instance.failures, instance.lost_ports);
        let port_was_lost = was_starting && lost_ports < MOST_LOST_PORTS && !port::is_free(port);
        if port_was_lost {
            tracing::info!(port, "the port of an instance was taken, so it gets another");
            return match self.begin(slot, None, failures, lost_ports + 1) {
                Ok(()) => {}
                Err(error) => self.failed_to_begin(slot, error),
            };
        }
        let log_tail = self.tail(slot, instance.log_from);
        let name = version.instance(*index);
        let error = StartError::Exited {
            instance: name,
            status: status.clone(),
            log_tail: log_tail.clone(),
        };
        if self.versions.get(version).is_some_and(|wanted| wanted.established) {
            self.wait_to_restart(slot, status, log_tail);
        } else {
            self.forget(slot);
        }
        self.give_up(version, error);
    }

    /// The pause before a restart is over.
    pub(super) fn on_waited(&mut self, slot: &Slot) {
        let Some(instance) = self.instances.get(slot) else {
            return;
        };
        let (port, failures) = (instance.port, instance.failures);
        if let Err(error) = self.begin(slot, Some(port), failures, 0) {
            self.failed_to_begin(slot, error);
        }
    }

    /// No process could be started for a slot that had one before.
    pub(super) fn failed_to_begin(&mut self, slot: &Slot, error: StartError) {
        if self.versions.get(&slot.0).is_some_and(|wanted| wanted.established) {
            self.wait_to_restart(slot, format!("could not be started: {error}"), Vec::new());
        } else {
            self.forget(slot);
        }
        self.give_up(&slot.0, error);
    }

    /// Reports an unexpected end and sets the time of the restart.
    fn wait_to_restart(&mut self, slot: &Slot, status: String, log_tail: Vec<String>) {
        let (version, index) = slot;
        self.remove_record(slot);
        let Some(instance) = self.instances.get_mut(slot) else {
            return;
        };
        let restart_in = pause(instance.failures);
        instance.failures = instance.failures.saturating_add(1);
        instance.process = None;
        instance.adopted = false;
        instance.phase = Phase::Waiting { until: Instant::now() + restart_in };
        let failures = instance.failures;
        self.report(Exit {
            service: version.service.clone(),
            revision: version.revision.clone(),
            instance: version.instance(*index),
            status,
            failures,
            restart_in,
            log_tail,
        });
    }
}

/// Pause before the restart after `failures` earlier ones in a row.
fn pause(failures: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(failures)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_up_to_its_longest() {
        let pauses: Vec<u64> = [0, 1, 2, 3, 4, 5, 31, 32, u32::MAX]
            .into_iter()
            .map(|failures| pause(failures).as_secs())
            .collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30, 30, 30]);
    }
}
