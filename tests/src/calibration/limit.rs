//! Wald's bound: how soon any test with this false-alarm probability can roll back on average.
//!
//! A test that stops a harmless rollout with probability at most alpha needs ln(1/alpha) nats of information on
//! average before it stops a bad one (Wald, 1945). The information of a scrape is the smallest divergence
//! between the truth and anything that the tool tolerates, whatever the baseline does: the unknown baseline is
//! chosen worst. With ratios alone and rare events that is formula (7) of the statistics.

use super::{
    durations::{Change, FINE, Shape},
    streams::{Truth, World},
};

/// What a tool tolerates: shares of events up to `ratio` x baseline + `absolute`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Tolerance {
    /// Allowed ratio.
    pub(super) ratio: f64,
    /// Allowed additional share.
    pub(super) absolute: f64,
    /// Allowed stretch of durations.
    pub(super) stretch: f64,
}

/// When the information suffices.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limit {
    /// Seconds since the start.
    pub seconds: f64,
    /// Canary requests until then.
    pub requests: f64,
    /// Seconds between scrapes.
    scrape: u32,
}

impl Limit {
    /// The bound for a world without chance in its incident, if it is reached within the horizon.
    pub(super) fn of(world: &World, tolerance: Tolerance, alpha: f64) -> Option<Self> {
        let needed = -alpha.ln();
        let (mut nats, mut requests) = (0.0, 0.0);
        let mut second = 0;
        while second < world.horizon {
            second += world.scrape;
            let all = world.expected(second);
            let canary = all * world.weight(second);
            let gain = information(world, tolerance, second, [canary, all - canary]);
            if nats + gain >= needed {
                let part = (needed - nats) / gain;
                return Some(Self {
                    seconds: f64::from(second - world.scrape) + part * f64::from(world.scrape),
                    requests: requests + part * canary,
                    scrape: world.scrape,
                });
            }
            nats += gain;
            requests += canary;
        }
        None
    }

    /// The seconds with the wait for the next scrape, half of one on average and one at first: nobody decides in
    /// between.
    pub fn awaited(&self) -> f64 {
        let scrape = f64::from(self.scrape);
        (self.seconds + scrape / 2.0).max(scrape)
    }
}

/// Nats in the scrape that ends at `second`.
fn information(world: &World, tolerance: Tolerance, second: u32, requests: [f64; 2]) -> f64 {
    match &world.truth {
        Truth::Errors(errors) if second <= errors.from => 0.0,
        Truth::Errors(errors) => divergence(errors.canary, errors.baseline, requests, tolerance),
        Truth::Latency(shape, change) => best_threshold(*shape, *change, requests, tolerance),
    }
}

/// The most informative bound: a test of tails at single bounds has no more.
fn best_threshold(shape: Shape, change: Change, requests: [f64; 2], tolerance: Tolerance) -> f64 {
    FINE.iter()
        .map(|bound| {
            let canary = change.slower(shape, bound * (1.0 + tolerance.stretch));
            divergence(canary, shape.slower(*bound), requests, tolerance)
        })
        .fold(0.0, f64::max)
}

/// Smallest sum of both arms' divergences from shares (`ratio` q + `absolute`, q), over q; 0 when tolerated.
fn divergence(canary: f64, baseline: f64, requests: [f64; 2], tolerance: Tolerance) -> f64 {
    let Tolerance { ratio, absolute, .. } = tolerance;
    if canary <= ratio * baseline + absolute {
        return 0.0;
    }
    let at = |q: f64| {
        requests[0] * bernoulli(canary, ratio * q + absolute) + requests[1] * bernoulli(baseline, q)
    };
    // Convex; the best q lies where both arms meet half-way.
    let (mut low, mut high) = (baseline, ((canary - absolute) / ratio).min(1.0));
    for _ in 0..100 {
        let third = (high - low) / 3.0;
        if at(low + third) < at(high - third) {
            high -= third;
        } else {
            low += third;
        }
    }
    at(f64::midpoint(low, high))
}

/// Kullback and Leibler's divergence of a coin with share `q` from one with share `p`.
fn bernoulli(p: f64, q: f64) -> f64 {
    let part = |p: f64, q: f64| if p > 0.0 { p * (p / q.max(1e-300)).ln() } else { 0.0 };
    part(p, q) + part(1.0 - p, 1.0 - q)
}

#[cfg(test)]
mod tests {
    use analysis::sequential::expected_log_growth;

    use super::*;

    #[test]
    fn for_rare_events_and_ratios_it_is_formula_7() {
        for (canary, ratio) in [(0.01, 1.0), (0.005, 1.25), (0.002, 1.0)] {
            let tolerance = Tolerance { ratio, absolute: 0.0, stretch: 0.0 };
            let ours = divergence(canary, 0.001, [125.0, 2375.0], tolerance);
            let formula = expected_log_growth(0.001, canary / 0.001, ratio, 125.0, 2375.0);
            assert!((ours / formula - 1.0).abs() < 0.02, "{ours} against {formula}");
        }
    }

    #[test]
    fn what_is_tolerated_gives_no_information() {
        let tolerance = Tolerance { ratio: 1.25, absolute: 0.001, stretch: 0.0 };
        assert!(divergence(0.002_25, 0.001, [1.0, 1.0], tolerance).abs() < 1e-15);
        let stretched = Tolerance { ratio: 1.1, absolute: 0.0, stretch: 0.0905 };
        let none = best_threshold(Shape::LogNormal, Change::Stretch(1.09), [1e6, 1e6], stretched);
        assert!(none.abs() < 1e-15, "{none}");
    }
}
