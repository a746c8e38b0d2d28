//! Flagger, Argo Rollouts, Kayenta and a z-test that is looked at after every scrape, on the streams of Serin.
//!
//! Behaviour as in their sources (fluxcd/flagger 15bd6ad, argoproj/argo-rollouts 9f8d111, spinnaker/kayenta
//! a69573b) with the thresholds of their documentation. Where a peer reads a quantile, it reads it from finer
//! buckets than its users have.

use std::collections::VecDeque;

use analysis::{
    Counts,
    kayenta::{Label, Metric, Value, classify},
};

use super::{
    durations::{self, FINE},
    streams::Seen,
};

/// Seconds of the metric window of Flagger and Argo Rollouts: `[1m]` in their documentation's queries.
const WINDOW: u32 = 60;

/// Largest share of failed requests and largest p99 in seconds, as in the documentation.
const MOST_FAILURES: f64 = 0.01;
const MOST_P99: f64 = 0.5;

/// One peer watching one rollout.
pub(super) trait Peer {
    /// Takes in a scrape; whether it rolls back now.
    fn observe(&mut self, seen: &Seen) -> bool;
}

/// What the canary served in the last minute.
#[derive(Debug, Default)]
struct Window(VecDeque<(u32, Counts, Vec<u64>)>);

impl Window {
    fn push(&mut self, seen: &Seen) {
        let failures = seen.failures.first().map_or(Counts::default(), |arms| arms[0]);
        let durations = seen.durations.as_ref().map_or(Vec::new(), |arms| arms[0].clone());
        self.0.push_back((seen.second, failures, durations));
        while self.0.front().is_some_and(|(second, ..)| second + WINDOW <= seen.second) {
            self.0.pop_front();
        }
    }

    /// Whether the canary meets the constant thresholds; `None` without requests.
    fn passes(&self) -> Option<bool> {
        let mut failures = Counts::default();
        let mut durations = vec![0; FINE.len() + 1];
        for (_, counts, fine) in &self.0 {
            failures.add(*counts);
            for (sum, count) in durations.iter_mut().zip(fine) {
                *sum += count;
            }
        }
        if failures.of > 0 {
            return Some(failures.share() <= MOST_FAILURES);
        }
        durations::quantile(&durations, 0.99).map(|p99| p99 <= MOST_P99)
    }
}

/// Flagger: every failed or empty check counts, success never takes one back, and the rollback comes with the
/// tick after the one that reached the threshold.
#[derive(Debug)]
pub(super) struct Flagger {
    interval: u32,
    due: u32,
    failed: u32,
    window: Window,
}

impl Flagger {
    const THRESHOLD: u32 = 5;

    pub(super) fn new(interval: u32) -> Self {
        Self { interval, due: interval, failed: 0, window: Window::default() }
    }
}

impl Peer for Flagger {
    fn observe(&mut self, seen: &Seen) -> bool {
        self.window.push(seen);
        if seen.second < self.due {
            return false;
        }
        self.due += self.interval;
        if self.failed >= Self::THRESHOLD {
            return true;
        }
        if self.window.passes() != Some(true) {
            self.failed += 1;
        }
        false
    }
}

/// Argo Rollouts: an analysis run with a measurement a minute that fails once more than `failureLimit`
/// measurements failed, or more than four in a row had no data.
#[derive(Debug)]
pub(super) struct Argo {
    failure_limit: u32,
    due: u32,
    failed: u32,
    errors: u32,
    window: Window,
}

impl Argo {
    const INTERVAL: u32 = 60;
    const CONSECUTIVE_ERROR_LIMIT: u32 = 4;

    pub(super) fn new(failure_limit: u32) -> Self {
        Self { failure_limit, due: Self::INTERVAL, failed: 0, errors: 0, window: Window::default() }
    }
}

impl Peer for Argo {
    fn observe(&mut self, seen: &Seen) -> bool {
        self.window.push(seen);
        if seen.second < self.due {
            return false;
        }
        self.due += Self::INTERVAL;
        match self.window.passes() {
            Some(true) => self.errors = 0,
            Some(false) => {
                self.errors = 0;
                self.failed += 1;
            }
            None => self.errors += 1,
        }
        self.failed > self.failure_limit || self.errors > Self::CONSECUTIVE_ERROR_LIMIT
    }
}

/// Two proportions over everything so far, one-sided p < 0.01, looked at after every scrape.
///
/// From five events on, as textbooks ask for before the normal approximation.
#[derive(Debug, Default)]
pub(super) struct PeekedZ {
    canary: Counts,
    baseline: Counts,
}

impl PeekedZ {
    const CRITICAL: f64 = 2.326_347_874_040_841;
    const ENOUGH: u64 = 5;
    /// Durations: the share above the first bound from the baseline's p99 on.
    const SLOW: f64 = 0.2;
}

impl Peer for PeekedZ {
    fn observe(&mut self, seen: &Seen) -> bool {
        let [canary, baseline] = match &seen.durations {
            None => seen.failures[0],
            Some(arms) => {
                let bound = FINE[FINE.partition_point(|bound| *bound < Self::SLOW)];
                [0, 1].map(|arm| Counts {
                    events: durations::slower_than(&arms[arm], bound),
                    of: arms[arm].iter().sum(),
                })
            }
        };
        self.canary.add(canary);
        self.baseline.add(baseline);
        let (c, b) = (self.canary, self.baseline);
        if c.of == 0 || b.of == 0 || c.events + b.events < Self::ENOUGH {
            return false;
        }
        let pooled = (c.events + b.events) as f64 / (c.of + b.of) as f64;
        let spread = (pooled * (1.0 - pooled) * (1.0 / c.of as f64 + 1.0 / b.of as f64)).sqrt();
        c.share() - b.share() > Self::CRITICAL * spread
    }
}

/// Kayenta: one value per arm and step, judged every five minutes on all of them so far; `High` fails.
///
/// A step of a minute, as Spinnaker's default; per cent and milliseconds, since its solver is too coarse for shares
/// and seconds.
#[derive(Debug)]
pub(super) struct Kayenta {
    /// When the next step and the next judgement are due.
    due: (u32, u32),
    failures: [Counts; 2],
    durations: [Vec<u64>; 2],
    values: [Vec<f64>; 2],
}

impl Kayenta {
    const STEP: u32 = 60;
    const INTERVAL: u32 = 300;

    pub(super) fn new() -> Self {
        Self {
            due: (Self::STEP, Self::INTERVAL),
            failures: [Counts::default(); 2],
            durations: [vec![0; FINE.len() + 1], vec![0; FINE.len() + 1]],
            values: [Vec::new(), Vec::new()],
        }
    }

    /// Ends a step: a value of each arm, none without requests, as its default `nanStrategy` has it.
    fn step(&mut self, timed: bool) {
        for arm in [0, 1] {
            let failures = std::mem::take(&mut self.failures[arm]);
            let value = if timed {
                durations::quantile(&self.durations[arm], 0.99).map(|seconds| 1000.0 * seconds)
            } else {
                Some(100.0 * failures.share()).filter(|_| failures.of > 0)
            };
            self.values[arm].extend(value);
            self.durations[arm].fill(0);
        }
    }
}

impl Peer for Kayenta {
    fn observe(&mut self, seen: &Seen) -> bool {
        for arm in [0, 1] {
            if let Some(durations) = &seen.durations {
                for (sum, count) in self.durations[arm].iter_mut().zip(&durations[arm]) {
                    *sum += count;
                }
            } else {
                self.failures[arm].add(seen.failures[0][arm]);
            }
        }
        let timed = seen.durations.is_some();
        if seen.second >= self.due.0 {
            self.due.0 += Self::STEP;
            self.step(timed);
        }
        if seen.second < self.due.1 {
            return false;
        }
        self.due.1 += Self::INTERVAL;
        let read = if timed { Value::Latency(0.99) } else { Value::ErrorShare };
        let [canary, baseline] = &self.values;
        classify(&Metric::new(read), canary, baseline).label == Label::High
    }
}
