//! Simulated traffic: what both arms of a service count between two scrapes, from a seed.
//!
//! Counts are drawn per scrape (Poisson requests, binomial split and events), not per request: the same
//! distribution at a thousandth of the time.

use analysis::{Arm, Counts};
use rand::{SeedableRng, rngs::Xoshiro256PlusPlus};
use rand_distr::{Binomial, Distribution, Gamma, Geometric, Poisson, Uniform};

use super::durations::{self, Change, FINE, Shape};

/// Canary and baseline pods where pods differ.
pub(super) const PODS: [usize; 2] = [4, 36];

/// How much worse a shared incident makes both arms, and for how many seconds.
const INCIDENT: (f64, u32) = (20.0, 300);

/// Mean number of failures in a burst.
const BURST: f64 = 3.0;

/// Seconds of one swing of the load.
const SWING: f64 = 600.0;

/// What is true of the simulated service and its rollout.
#[derive(Debug, Clone, PartialEq)]
pub struct World {
    /// Requests per second of both arms together.
    pub rps: f64,
    /// Seconds between scrapes.
    pub scrape: u32,
    /// Seconds of the rollout.
    pub horizon: u32,
    /// Share by which the load swings up and down.
    pub swing: f64,
    /// The canary's share of the traffic.
    pub weights: Weights,
    /// What the arms do.
    pub truth: Truth,
}

/// The canary's share of the traffic over time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Weights {
    /// The same all the time.
    Constant(f64),
    /// 1, 5, 10, 25, 50 %, four minutes each.
    Staged,
    /// As the tool allows, from 1 %.
    ByEvidence,
}

/// What the arms do.
#[derive(Debug, Clone, PartialEq)]
pub enum Truth {
    /// Requests fail.
    Errors(Errors),
    /// Requests take time.
    Latency(Shape, Change),
}

/// Failing requests.
#[derive(Debug, Clone, PartialEq)]
pub struct Errors {
    /// Share of baseline requests that fail.
    pub baseline: f64,
    /// Share of canary requests that fail.
    pub canary: f64,
    /// Second from which on the canary differs.
    pub from: u32,
    /// Independent metrics; the canary differs in the first.
    pub metrics: usize,
    /// An outage of something that both arms need.
    pub incident: Incident,
    /// Whether failures come in bursts: geometric, three on average.
    pub bursts: bool,
    /// Coefficient of variation of a Gamma factor on each pod's share of failures, with 4 canary and 36
    /// baseline pods; `None` without pods.
    pub pods: Option<f64>,
}

/// When both arms fail 20 times as often, for five minutes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Incident {
    /// Never.
    None,
    /// From this second on.
    From(u32),
    /// From a random second of the rollout on.
    Anywhere,
}

impl World {
    /// The canary's share of the traffic in the scrape that ends at `second`, where it is fixed beforehand.
    pub(super) fn weight(&self, second: u32) -> f64 {
        match self.weights {
            Weights::Constant(weight) => weight,
            Weights::Staged => {
                [0.01, 0.05, 0.1, 0.25, 0.5][(second.saturating_sub(1) / 240).min(4) as usize]
            }
            Weights::ByEvidence => 0.01,
        }
    }

    /// Expected requests of both arms in the scrape that ends at `second`.
    pub(super) fn expected(&self, second: u32) -> f64 {
        let phase = f64::from(second) / SWING * std::f64::consts::TAU;
        self.rps * f64::from(self.scrape) * (1.0 + self.swing * phase.sin())
    }

    /// The same service with a canary that does what the baseline does.
    pub(super) fn healthy(&self) -> Self {
        let truth = match &self.truth {
            Truth::Errors(errors) => {
                Truth::Errors(Errors { canary: errors.baseline, ..errors.clone() })
            }
            Truth::Latency(shape, _) => Truth::Latency(*shape, Change::Stretch(1.0)),
        };
        Self { truth, ..self.clone() }
    }
}

/// A world with what is computed once for all its streams.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) world: World,
    /// Probabilities of the finest buckets, per arm.
    conditional: [Vec<f64>; 2],
}

impl Model {
    pub(super) fn new(world: World) -> Self {
        let conditional = match world.truth {
            Truth::Errors(_) => [Vec::new(), Vec::new()],
            Truth::Latency(shape, change) => [
                durations::conditional(|seconds| change.slower(shape, seconds)),
                durations::conditional(|seconds| shape.slower(seconds)),
            ],
        };
        Self { world, conditional }
    }
}

/// What one scrape shows; arms in the order canary, baseline.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// When the counters were read.
    pub(super) second: u32,
    /// Failures of each metric.
    pub(super) failures: Vec<[Counts; 2]>,
    /// The same by pod, where there are pods.
    pub(super) pods: Vec<(Arm, Counts)>,
    /// Durations in the finest buckets.
    pub(super) durations: Option<[Vec<u64>; 2]>,
    /// Canary requests since the start.
    pub(super) canary_requests: u64,
    /// Failed canary requests since the start.
    pub(super) canary_failures: u64,
}

/// The traffic of one rollout.
pub(super) struct Stream<'a> {
    model: &'a Model,
    rng: Xoshiro256PlusPlus,
    /// Start and end of the incident.
    incident: (u32, u32),
    /// Factors of the pods' shares of failures.
    factors: Vec<f64>,
    seen: Seen,
}

impl<'a> Stream<'a> {
    pub(super) fn new(model: &'a Model, seed: u64) -> Self {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut incident = (0, 0);
        let mut factors = Vec::new();
        if let Truth::Errors(errors) = &model.world.truth {
            let begins = match errors.incident {
                Incident::None => None,
                Incident::From(second) => Some(second),
                Incident::Anywhere => {
                    Some(Uniform::new(0, model.world.horizon).expect("not empty").sample(&mut rng))
                }
            };
            incident = begins.map_or((0, 0), |begins| (begins, begins + INCIDENT.1));
            let pods = if errors.pods.is_some() { PODS[0] + PODS[1] } else { 0 };
            let cv = errors.pods.unwrap_or(0.0);
            factors = (0..pods).map(|_| pod_factor(&mut rng, cv)).collect();
        }
        Self { model, rng, incident, factors, seen: Seen::default() }
    }

    /// The next scrape, in whose interval the canary had `weight`; `None` after the horizon.
    pub(super) fn next(&mut self, weight: f64) -> Option<&Seen> {
        let model = self.model;
        let world = &model.world;
        let second = self.seen.second + world.scrape;
        if second > world.horizon {
            return None;
        }
        self.seen.second = second;
        match &world.truth {
            Truth::Errors(errors) => self.fail(errors, weight),
            Truth::Latency(..) => {
                let requests = self.requests(weight);
                let mut fine =
                    |arm: usize| spread(&mut self.rng, requests[arm], &model.conditional[arm]);
                self.seen.durations = Some([fine(0), fine(1)]);
                self.seen.canary_requests += requests[0];
            }
        }
        Some(&self.seen)
    }

    /// The second at which the next scrape ends.
    pub(super) fn next_second(&self) -> u32 {
        self.seen.second + self.model.world.scrape
    }

    fn fail(&mut self, errors: &Errors, weight: f64) {
        let second = self.seen.second;
        let during = self.incident.0 < second && second <= self.incident.1;
        let worse = if during { INCIDENT.0 } else { 1.0 };
        let canary = if second > errors.from { errors.canary } else { errors.baseline };
        let shares = [canary * worse, errors.baseline * worse];
        self.seen.failures.clear();
        if self.factors.is_empty() {
            for metric in 0..errors.metrics {
                let of = self.requests(weight);
                let shares = if metric == 0 { shares } else { [shares[1]; 2] };
                let counts = [0, 1].map(|arm| self.failing(of[arm], shares[arm], errors.bursts));
                self.seen.failures.push(counts);
            }
        } else {
            self.fail_by_pod(shares, weight, errors.bursts);
        }
        self.seen.canary_requests += self.seen.failures[0][0].of;
        self.seen.canary_failures += self.seen.failures[0][0].events;
    }

    fn fail_by_pod(&mut self, shares: [f64; 2], weight: f64, bursts: bool) {
        let all = self.model.world.expected(self.seen.second);
        let mut sums = [Counts::default(); 2];
        self.seen.pods.clear();
        for pod in 0..PODS[0] + PODS[1] {
            let arm = usize::from(pod >= PODS[0]);
            let share = [weight, 1.0 - weight][arm] / PODS[arm] as f64;
            let of = poisson(&mut self.rng, all * share);
            let counts = self.failing(of, shares[arm] * self.factors[pod], bursts);
            sums[arm].add(counts);
            self.seen.pods.push(([Arm::Canary, Arm::Baseline][arm], counts));
        }
        self.seen.failures.push(sums);
    }

    /// Requests of both arms.
    fn requests(&mut self, weight: f64) -> [u64; 2] {
        let all = poisson(&mut self.rng, self.model.world.expected(self.seen.second));
        let canary = draw(&mut self.rng, all, weight);
        [canary, all - canary]
    }

    fn failing(&mut self, of: u64, share: f64, bursts: bool) -> Counts {
        let events = if bursts {
            let batches = poisson(&mut self.rng, of as f64 * share / BURST);
            let more = Geometric::new(1.0 / BURST).expect("a probability");
            (0..batches).map(|_| 1 + more.sample(&mut self.rng)).sum::<u64>().min(of)
        } else {
            draw(&mut self.rng, of, share)
        };
        Counts { events, of }
    }
}

fn draw(rng: &mut Xoshiro256PlusPlus, of: u64, share: f64) -> u64 {
    Binomial::new(of, share.clamp(0.0, 1.0)).expect("a probability").sample(rng)
}

fn poisson(rng: &mut Xoshiro256PlusPlus, mean: f64) -> u64 {
    if mean <= 0.0 {
        return 0;
    }
    Poisson::new(mean).expect("positive and small").sample(rng) as u64
}

/// Gamma with mean 1 and this coefficient of variation.
fn pod_factor(rng: &mut Xoshiro256PlusPlus, cv: f64) -> f64 {
    if cv <= 0.0 {
        return 1.0;
    }
    Gamma::new(1.0 / (cv * cv), cv * cv).expect("positive shape and scale").sample(rng)
}

/// Requests over the finest buckets.
fn spread(rng: &mut Xoshiro256PlusPlus, of: u64, conditional: &[f64]) -> Vec<u64> {
    let mut counts = vec![0; FINE.len() + 1];
    let mut left = of;
    for (count, share) in counts.iter_mut().zip(conditional) {
        if left == 0 {
            break;
        }
        *count = draw(rng, left, *share);
        left -= *count;
    }
    counts[FINE.len()] += left;
    counts
}
