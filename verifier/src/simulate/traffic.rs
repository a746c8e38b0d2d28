//! The traffic of a script: requests, failures and durations spread evenly over time.
//!
//! Every quantity grows as a real number and is read as a whole one, like a counter: what does not
//! fill a request yet is carried on, so nothing is lost to rounding and nothing depends on chance.

use analysis::{Arm, Observation, Sample, Scrape};
use jiff::Timestamp;
use rollout::Weight;

/// Upper bounds of the histogram's buckets in seconds; neighbours differ by a half at most.
const BOUNDS: [f64; 20] = [
    0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.045, 0.065, 0.1, 0.15, 0.2, 0.3, 0.45, 0.65, 1.0,
    1.5, 2.0, 3.0, 5.0, 10.0,
];

/// How a version answers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Behaviour {
    /// Share of requests that fail.
    pub(super) error_ratio: f64,
    /// Half of the requests are faster, in seconds.
    pub(super) median: f64,
    /// One request in a hundred is slower, in seconds.
    pub(super) p99: f64,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self { error_ratio: 0.001, median: 0.05, p99: 0.2 }
    }
}

impl Behaviour {
    /// Share of requests slower than `seconds`: log-logistic, through the median and the p99.
    fn slower(&self, seconds: f64) -> f64 {
        let shape = 99_f64.ln() / (self.p99.max(self.median * 1.001) / self.median).ln();
        1.0 / (1.0 + (seconds / self.median).powf(shape))
    }
}

/// A counter that grows by fractions and is read in whole numbers.
#[derive(Debug, Clone, Copy, Default)]
struct Counter {
    grown: f64,
    read: u64,
}

impl Counter {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "counts of a script are far below 2^52, and never negative"
    )]
    fn take(&mut self, most: u64) -> u64 {
        // Half a millionth of a request is rounding of the sums, not traffic.
        let whole = (self.grown + 5e-7).floor() - self.read as f64;
        let taken = (whole.max(0.0) as u64).min(most);
        self.read += taken;
        taken
    }
}

/// The counters of one version.
#[derive(Debug, Clone, Default)]
struct Counters {
    requests: Counter,
    errors: Counter,
    buckets: [Counter; BOUNDS.len() + 1],
}

/// Both versions under traffic.
#[derive(Debug, Clone)]
pub(super) struct Traffic {
    /// Requests a second to the service.
    pub(super) rate: f64,
    /// The version that serves.
    pub(super) baseline: Behaviour,
    /// The candidate.
    pub(super) canary: Behaviour,
    /// Share of requests to both that fail because of something else.
    pub(super) incident: f64,
    weight: Weight,
    since: Timestamp,
    counters: [Counters; 2],
}

impl Traffic {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            rate: 100.0,
            baseline: Behaviour::default(),
            canary: Behaviour::default(),
            incident: 0.0,
            weight: Weight::ZERO,
            since: now,
            counters: [Counters::default(), Counters::default()],
        }
    }

    /// The canary's share as the data plane serves it.
    pub(super) fn weight(&self) -> Weight {
        self.weight
    }

    /// Lets requests flow until `now`; to be called before anything changes.
    pub(super) fn flow(&mut self, now: Timestamp) {
        let seconds = now.duration_since(self.since).as_secs_f64().max(0.0);
        self.since = now;
        let arms = [(self.weight, self.canary), (self.weight.rest(), self.baseline)];
        for (counters, (weight, behaviour)) in self.counters.iter_mut().zip(arms) {
            let requests = self.rate * seconds * weight.share();
            let own = behaviour.error_ratio;
            counters.requests.grown += requests;
            counters.errors.grown += requests * (own + (1.0 - own) * self.incident);
            let mut above = 1.0;
            for (index, bucket) in counters.buckets.iter_mut().enumerate() {
                let slower = BOUNDS.get(index).map_or(0.0, |bound| behaviour.slower(*bound));
                bucket.grown += requests * (above - slower);
                above = slower;
            }
        }
    }

    pub(super) fn shift(&mut self, now: Timestamp, weight: Weight) {
        self.flow(now);
        self.weight = weight;
    }

    /// The canary is the stable version from here on.
    pub(super) fn promote(&mut self, now: Timestamp) {
        self.shift(now, Weight::ZERO);
        self.baseline = self.canary;
        self.counters = [Counters::default(), Counters::default()];
    }

    /// A new canary, which behaves like the stable version until the script says otherwise.
    pub(super) fn new_canary(&mut self, now: Timestamp, behaviour: Behaviour) {
        self.flow(now);
        self.canary = behaviour;
        self.counters[0] = Counters::default();
    }

    /// What the counters grew by since they were read last.
    pub(super) fn scrape(&mut self, now: Timestamp) -> Scrape {
        self.flow(now);
        let mut observations = Vec::with_capacity(4);
        for (counters, arm) in self.counters.iter_mut().zip([Arm::Canary, Arm::Baseline]) {
            let of = counters.requests.take(u64::MAX);
            let events = counters.errors.take(of);
            let counts = counters.buckets.iter_mut().map(|b| b.take(u64::MAX)).collect();
            let observation = |check: &str, sample| Observation {
                arm,
                instance: "1".to_owned(),
                check: check.to_owned(),
                stratum: None,
                sample,
            };
            observations.push(observation("errors", Sample::Events { events, of }));
            let le = BOUNDS.to_vec();
            observations.push(observation("latency", Sample::Histogram { le, counts }));
        }
        Scrape { at: now, observations }
    }
}
