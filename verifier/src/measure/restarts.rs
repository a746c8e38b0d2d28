//! Restarts of local processes, out of the seconds for which they were meant to run.
//!
//! The pause before a restart counts as well: a process that crashes all the time would otherwise have hardly any
//! seconds that its crashes could be counted against.

use std::collections::HashMap;

use analysis::{Arm, Observation, Sample};
use jiff::{SignedDuration, Timestamp};
use rollout::policy::RESTARTS;

/// The processes of one deployment that were seen so far.
#[derive(Debug, Default)]
pub(super) struct Uptimes(HashMap<String, Uptime>);

#[derive(Debug)]
struct Uptime {
    arm: Arm,
    /// Up to when its seconds were told.
    told: Timestamp,
    /// Ends that were not told yet.
    exits: u64,
}

impl Uptimes {
    /// A process ended by itself; one that was never seen running failed to start, which is told otherwise.
    pub(super) fn exited(&mut self, instance: &str) {
        if let Some(uptime) = self.0.get_mut(instance) {
            uptime.exits = uptime.exits.saturating_add(1);
        }
    }

    /// What is new since the observation before, in whole seconds, for those that have any.
    pub(super) fn observe(
        &mut self,
        at: Timestamp,
        running: impl IntoIterator<Item = (Arm, String)>,
    ) -> Vec<Observation> {
        for (arm, instance) in running {
            self.0.entry(instance).or_insert(Uptime { arm, told: at, exits: 0 });
        }
        let mut observations: Vec<Observation> =
            self.0.iter_mut().filter_map(|(name, uptime)| uptime.observation(name, at)).collect();
        observations.sort_by(|a, b| a.instance.cmp(&b.instance));
        observations
    }
}

impl Uptime {
    fn observation(&mut self, name: &str, at: Timestamp) -> Option<Observation> {
        let seconds = at.duration_since(self.told).as_secs();
        let of = u64::try_from(seconds).ok().filter(|seconds| 1 <= *seconds)?;
        self.told = self.told.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(at);
        // No more ends than seconds, as no more requests fail than there are; the rest is told later.
        let events = self.exits.min(of);
        self.exits -= events;
        Some(Observation {
            arm: self.arm,
            instance: name.to_owned(),
            check: RESTARTS.to_owned(),
            stratum: None,
            sample: Sample::Events { events, of },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_millisecond(milliseconds).unwrap()
    }

    fn told(observations: &[Observation]) -> Vec<(&str, u64, u64)> {
        observations
            .iter()
            .map(|o| match o.sample {
                Sample::Events { events, of } => (&*o.instance, events, of),
                Sample::Histogram { .. }
                | Sample::Exponential(_)
                | Sample::Gauge { .. }
                | Sample::Attempt { .. } => {
                    panic!("{o:?}")
                }
            })
            .collect()
    }

    #[test]
    fn whole_seconds_are_told_once_and_nothing_is_lost() {
        let mut uptimes = Uptimes::default();
        let both = || [(Arm::Canary, "c".to_owned()), (Arm::Baseline, "b".to_owned())];
        uptimes.exited("c");
        assert!(uptimes.observe(at(0), both()).is_empty(), "they were seen just now");
        assert!(uptimes.observe(at(900), both()).is_empty());
        uptimes.exited("c");
        uptimes.exited("never-seen");
        assert_eq!(told(&uptimes.observe(at(1_900), both())), [("b", 0, 1), ("c", 1, 1)]);
        assert_eq!(told(&uptimes.observe(at(4_000), both())), [("b", 0, 3), ("c", 0, 3)]);
        assert!(uptimes.observe(at(3_000), both()).is_empty(), "a clock that was set back");
    }

    #[test]
    fn a_process_that_crashes_all_the_time_goes_on_being_counted_while_it_is_down() {
        let mut uptimes = Uptimes::default();
        uptimes.observe(at(0), [(Arm::Canary, "c".to_owned())]);
        for _ in 0..3 {
            uptimes.exited("c");
        }
        assert_eq!(told(&uptimes.observe(at(2_000), [])), [("c", 2, 2)]);
        assert_eq!(told(&uptimes.observe(at(3_000), [])), [("c", 1, 1)]);
    }
}
