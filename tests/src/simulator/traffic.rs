//! Random traffic: what a scrape at a moment says, given what the versions truly do.

use analysis::{Arm, Observation, Sample, Scrape};
use jiff::Timestamp;
use rand::rngs::StdRng;
use rand_distr::{Binomial, Distribution, Poisson};

use super::dice::Dice;

/// Upper bounds of the histogram's buckets, in seconds.
const BOUNDS: [f64; 7] = [0.03, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0];

/// Half of the requests are faster, in seconds.
const MEDIAN: f64 = 0.05;

/// One request in a hundred is slower, in seconds, where nothing makes it worse.
const P99: f64 = 0.2;

/// What one arm does during one scrape.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    /// Requests to expect.
    pub(super) requests: f64,
    /// Share that fails.
    pub(super) errors: f64,
    /// How much longer the slowest take.
    pub(super) tail: f64,
}

/// Draws a scrape. Draws depend on the time alone, so a scrape is the same in every run of a seed.
pub(super) fn scrape(
    dice: Dice,
    millisecond: i64,
    at: Timestamp,
    latency: bool,
    loads: &[(Arm, Load)],
) -> Scrape {
    let mut observations = Vec::new();
    for (arm, load) in loads {
        let purpose = if *arm == Arm::Canary { "canary" } else { "baseline" };
        let mut rng = dice.generator(purpose, millisecond.unsigned_abs());
        let of = arrivals(load.requests, &mut rng);
        let events = part(of, load.errors, &mut rng);
        observations.push(observation(*arm, "errors", Sample::Events { events, of }));
        if latency {
            let counts = durations(of, load.tail, &mut rng);
            let le = BOUNDS.to_vec();
            observations.push(observation(*arm, "latency", Sample::Histogram { le, counts }));
        }
    }
    Scrape { at, observations }
}

fn observation(arm: Arm, check: &str, sample: Sample) -> Observation {
    let (instance, check) = ("1".to_owned(), check.to_owned());
    Observation { arm, instance, check, stratum: None, sample }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count of thousands, never negative"
)]
fn arrivals(expected: f64, rng: &mut StdRng) -> u64 {
    Poisson::new(expected).map_or(0, |requests| requests.sample(rng) as u64)
}

fn part(of: u64, share: f64, rng: &mut StdRng) -> u64 {
    if of == 0 || share <= 0.0 {
        return 0;
    }
    Binomial::new(of, share.min(1.0)).map_or(0, |part| part.sample(rng))
}

/// A multinomial draw, bucket by bucket.
fn durations(of: u64, tail: f64, rng: &mut StdRng) -> Vec<u64> {
    let (mut left, mut above) = (of, 1.0);
    let mut counts = Vec::with_capacity(BOUNDS.len() + 1);
    for bound in BOUNDS {
        let slower = slower(bound, tail);
        let within = part(left, (above - slower) / above, rng);
        counts.push(within);
        left -= within;
        above = slower;
    }
    counts.push(left);
    counts
}

/// Share of requests slower than `seconds`: log-logistic through the median and the p99.
fn slower(seconds: f64, tail: f64) -> f64 {
    let shape = 99_f64.ln() / (P99 * tail / MEDIAN).ln();
    1.0 / (1.0 + (seconds / MEDIAN).powf(shape))
}
