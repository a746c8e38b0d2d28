//! What is counted of each instance, with atomics only.
//!
//! Counters are per instance and never per arm, so that a promotion moves no number: the counts
//! follow the instance. Every completed request is in exactly one bucket, hence the number of
//! completed requests is the sum of the buckets and needs no counter of its own.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use analysis::Arm;

/// Upper bounds of the duration buckets, in seconds.
///
/// Neighbours differ by a factor of at most 1.67 from 5 ms to 1 s, where most answers are, so that
/// a tail slower by half always crosses a bound.
pub const LE: [f64; 18] = [
    0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.5,
    5.0, 10.0,
];

/// [`LE`] in microseconds, so that the hot path compares integers.
const LE_MICROS: [u64; 18] = [
    5_000, 7_500, 10_000, 15_000, 20_000, 30_000, 50_000, 75_000, 100_000, 150_000, 200_000,
    300_000, 500_000, 750_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000,
];

/// The cumulative counters of one instance since it was added to its service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceCounts {
    /// The arm that the instance serves now.
    pub arm: Arm,
    /// The instance's name.
    pub instance: String,
    /// Requests with an outcome, good and bad: the sum of `counts`.
    pub completed: u64,
    /// Completed requests that failed: status 5xx, gRPC server error, no connection, no answer in
    /// time, or an answer that broke off.
    pub failed: u64,
    /// Requests that are being served now, tunnels and testers included.
    pub in_flight: usize,
    /// Failed requests that had no response head within the timeout; part of `failed`.
    pub hung: u64,
    /// Requests that the client gave up: neither completed nor failed.
    pub aborted: u64,
    /// Requests that testers sent: neither completed nor failed, as they are no fair sample.
    pub testers: u64,
    /// Completed requests per duration bucket, not cumulative; the bounds are [`LE`], the last
    /// bucket holds the rest.
    pub counts: [u64; LE.len() + 1],
}

/// How a request ended, seen from the instance that served it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The answer was handed on whole; a status of 5xx is a failure.
    Answered { status: u16 },
    /// The status was good and what followed was not: it broke off, or the trailers said so.
    Spoiled { status: u16 },
    /// No answer: not reached, or the connection broke before the response head.
    Unanswered,
    /// No response head within the timeout.
    Hung,
}

impl Outcome {
    /// The status class, 1 to 5, or 0 without an answer.
    fn class(self) -> usize {
        match self {
            Self::Answered { status } | Self::Spoiled { status } => {
                usize::from(status / 100).min(5)
            }
            Self::Unanswered | Self::Hung => 0,
        }
    }

    fn is_failure(self) -> bool {
        match self {
            Self::Answered { status } => status >= 500,
            Self::Spoiled { .. } | Self::Unanswered | Self::Hung => true,
        }
    }
}

/// The live counters behind [`InstanceCounts`].
#[derive(Debug, Default)]
pub(super) struct Counts {
    buckets: [AtomicU64; LE.len() + 1],
    classes: [AtomicU64; 6],
    micros: AtomicU64,
    failed: AtomicU64,
    hung: AtomicU64,
    aborted: AtomicU64,
    testers: AtomicU64,
    in_flight: AtomicUsize,
}

impl Counts {
    /// Counts one completed request.
    pub(super) fn complete(&self, outcome: Outcome, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = LE_MICROS.partition_point(|bound| *bound < micros);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.classes[outcome.class()].fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(micros, Ordering::Relaxed);
        // Released after the bucket, so that no reader sees more failed than completed.
        if outcome.is_failure() {
            self.failed.fetch_add(1, Ordering::Release);
        }
        if outcome == Outcome::Hung {
            self.hung.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts one request that its client gave up.
    pub(super) fn abort(&self) {
        self.aborted.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one request of a tester.
    pub(super) fn tester(&self) {
        self.testers.fetch_add(1, Ordering::Relaxed);
    }

    /// One more request is in flight.
    pub(super) fn enter(&self) {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
    }

    /// One request less is in flight; returns whether it was the last.
    pub(super) fn leave(&self) -> bool {
        self.in_flight.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Requests in flight.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }

    /// Completed requests by status class, index 0 for those without an answer.
    pub(super) fn classes(&self) -> [u64; 6] {
        std::array::from_fn(|class| self.classes[class].load(Ordering::Relaxed))
    }

    /// The sum of all durations.
    pub(super) fn duration_sum(&self) -> Duration {
        Duration::from_micros(self.micros.load(Ordering::Relaxed))
    }

    /// The counters as they are now.
    pub(super) fn read(&self, arm: Arm, instance: &str) -> InstanceCounts {
        // First failed, then the buckets: see `complete`.
        let failed = self.failed.load(Ordering::Acquire);
        let hung = self.hung.load(Ordering::Relaxed).min(failed);
        let counts = std::array::from_fn(|bucket| self.buckets[bucket].load(Ordering::Relaxed));
        InstanceCounts {
            arm,
            instance: instance.to_owned(),
            completed: counts.iter().sum(),
            failed,
            in_flight: self.in_flight(),
            hung,
            aborted: self.aborted.load(Ordering::Relaxed),
            testers: self.testers.load(Ordering::Relaxed),
            counts,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_integer_bounds_are_the_bounds() {
        for (seconds, micros) in LE.iter().zip(LE_MICROS) {
            assert_eq!(Duration::from_secs_f64(*seconds), Duration::from_micros(micros));
        }
    }

    #[test]
    fn a_duration_on_a_bound_belongs_below_it() {
        let counts = Counts::default();
        counts.complete(Outcome::Answered { status: 200 }, Duration::from_millis(5));
        counts.complete(Outcome::Answered { status: 200 }, Duration::from_micros(5001));
        counts.complete(Outcome::Hung, Duration::from_secs(99));
        let read = counts.read(Arm::Canary, "c1");
        assert_eq!((read.counts[0], read.counts[1], read.counts[18]), (1, 1, 1));
        assert_eq!((read.completed, read.failed, read.hung), (3, 1, 1));
        assert_eq!(counts.classes(), [1, 0, 2, 0, 0, 0]);
    }
}
