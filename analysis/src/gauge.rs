//! Gauges (CPU, memory, queue length): shown, and held against a guardrail; never a verdict.
//!
//! The values of a pod over time depend on each other, so the honest sample size is the number of pods. Simulated,
//! no test on the time series kept a false-alarm probability of 1 %. What remains is one exact test over pods,
//! to be read once, and a threshold that somebody knows to be too much.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::Arm;

/// Means over the pods of each arm, and since when the canary's is too high.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Gauge {
    at_most: Option<f64>,
    sustained: SignedDuration,
    /// Sum and number of values by pod.
    pods: Vec<Option<Pod>>,
    /// The newest scrape: sum and number over the canary's and the baseline's pods.
    now: [(f64, u32); 2],
    /// The canary's and the baseline's mean over pods in the newest scrape that had them.
    latest: [Option<f64>; 2],
    above_since: Option<Timestamp>,
    breached: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Pod {
    arm: Arm,
    sum: f64,
    count: u32,
}

impl Gauge {
    pub(crate) fn new(at_most: Option<f64>, sustained: std::time::Duration) -> Self {
        Self {
            at_most: at_most.filter(|bound| bound.is_finite()),
            sustained: SignedDuration::try_from(sustained).unwrap_or(SignedDuration::MAX),
            pods: Vec::new(),
            now: [(0.0, 0); 2],
            latest: [None; 2],
            above_since: None,
            breached: false,
        }
    }

    /// Takes in a pod's value, which is finite.
    pub(crate) fn take(&mut self, arm: Arm, place: usize, value: f64) {
        if self.pods.len() <= place {
            self.pods.resize(place + 1, None);
        }
        let pod = self.pods[place].get_or_insert(Pod { arm, sum: 0.0, count: 0 });
        if pod.count < u32::MAX {
            pod.sum += value;
            pod.count += 1;
        }
        let now = &mut self.now[usize::from(arm == Arm::Baseline)];
        now.0 += value;
        now.1 += 1;
    }

    /// After the last value of a scrape.
    pub(crate) fn settle(&mut self, at: Timestamp) {
        for (latest, (sum, count)) in self.latest.iter_mut().zip(&self.now) {
            if *count > 0 {
                *latest = Some(sum / f64::from(*count));
            }
        }
        let canary = (self.now[0].1 > 0).then_some(self.latest[0]).flatten();
        self.now = [(0.0, 0); 2];
        let (Some(bound), Some(value)) = (self.at_most, canary) else { return };
        if value > bound {
            let since = *self.above_since.get_or_insert(at);
            self.breached |= at.duration_since(since) >= self.sustained;
        } else {
            self.above_since = None;
        }
    }

    /// The canary's mean stayed above the guardrail for too long.
    pub(crate) fn breached(&self) -> bool {
        self.breached
    }

    /// The guardrail.
    pub(crate) fn at_most(&self) -> Option<f64> {
        self.at_most
    }

    /// The newest mean over the pods of an arm.
    pub(crate) fn latest(&self, arm: Arm) -> Option<f64> {
        self.latest[usize::from(arm == Arm::Baseline)]
    }

    /// Each pod's mean over time.
    pub(crate) fn means(&self, arm: Arm) -> Vec<f64> {
        let of_arm = self.pods.iter().flatten().filter(|pod| pod.arm == arm);
        of_arm.map(|pod| pod.sum / f64::from(pod.count)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guardrail_wants_the_mean_to_stay_above_it() {
        let mut gauge = Gauge::new(Some(100.0), std::time::Duration::from_secs(60));
        let at = |gauge: &mut Gauge, second: i64, values: [f64; 2]| {
            gauge.take(Arm::Canary, 0, values[0]);
            gauge.take(Arm::Canary, 1, values[1]);
            gauge.settle(Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second));
            gauge.breached()
        };
        assert!(!at(&mut gauge, 0, [150.0, 60.0]));
        assert!(!at(&mut gauge, 50, [90.0, 90.0]));
        assert!(!at(&mut gauge, 60, [150.0, 60.0]));
        assert!(!at(&mut gauge, 119, [150.0, 60.0]));
        assert!(at(&mut gauge, 120, [150.0, 60.0]));
        assert_eq!(gauge.means(Arm::Canary), [138.0, 66.0]);
        assert_eq!(gauge.latest(Arm::Baseline), None);
    }
}
